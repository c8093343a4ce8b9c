"""What KMeans and MiniBatchKMeans have in common: parameters, starts, prediction."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from hpcml import blas, communicators, config
from hpcml.communicators import Communicator, Table
from hpcml.communicators.serial import SerialTable
from hpcml.kernels import lookup
from hpcml.training.inputs import (
    FLOATS,
    as_rows,
    check_finite,
    checked_weights,
    unchecked,
    validate_data,
)
from hpcml.training.kmeans import assign, origin_of
from hpcml.training.seeding import dense_rows, plus_plus, random_rows
from hpcml.validation import (
    ARRAY_LIKE,
    CALLABLE,
    RANDOM_STATE,
    VERBOSE,
    Allowed,
    check_parameters,
    integer,
    one_of,
    real,
)

__all__ = ["ALLOWED", "CentersModel"]

#: What the parameters of both estimators allow.
ALLOWED: Mapping[str, tuple[Allowed, ...]] = {
    "n_clusters": (integer(1),),
    "init": (one_of("k-means++", "random"), CALLABLE, ARRAY_LIKE),
    "n_init": (one_of("auto"), integer(1)),
    "max_iter": (integer(1),),
    "tol": (real(0.0),),
    "verbose": (VERBOSE,),
    "random_state": (RANDOM_STATE,),
}


class CentersModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Base of the estimators whose model is a set of centers."""

    _allowed: ClassVar[Mapping[str, tuple[Allowed, ...]]] = ALLOWED
    _runs_of_random_starts: ClassVar[int]
    _n_init: int
    _n_features_out: int
    n_clusters: int
    init: Any
    n_init: Any
    random_state: Any
    cluster_centers_: NDArray[Any]
    labels_: NDArray[np.int32]
    inertia_: float

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # -- before a fit ----------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        self._check_values(self.get_params(deep=False))

    def _check_values(self, values: Mapping[str, Any]) -> None:
        """Raise if a parameter among named values is not allowed."""
        check_parameters(type(self).__name__, values, self._allowed)

    def _validated(
        self, X: Any, sample_weight: Any, reset: bool = True, leave_check: bool = False
    ) -> tuple[Any, Any]:
        """Return the training table as rows, and the weights; NaN and inf may be left to a kernel."""
        rows = self._read(X, leave_check, ensure_min_samples=communicators.least_rows(), reset=reset)
        return rows, checked_weights(sample_weight, rows.shape[0], negative=False)

    def _read(self, X: Any, leave_check: bool, **options: Any) -> Any:
        X = validate_data(
            self,
            X,
            accept_sparse="csr",
            dtype=FLOATS,
            order="C",
            accept_large_sparse=False,
            ensure_all_finite=not (leave_check and unchecked(X)),
            **options,
        )
        return as_rows(X)

    def _check_rows(self, table: Table) -> None:
        if table.n_rows < self.n_clusters:
            raise ValueError(f"n_samples={table.n_rows} should be >= n_clusters={self.n_clusters}.")

    def _number_of_starts(self) -> int:
        """Resolve ``n_init``; warn where it asks for more than is done."""
        if ARRAY_LIKE.test(self.init) and self.n_init not in ("auto", 1):
            warnings.warn(
                "Explicit initial center position passed: performing only one init in "
                f"{type(self).__name__} instead of n_init={self.n_init}.",
                RuntimeWarning,
                stacklevel=3,
            )
        return self._number_of_runs()

    def _number_of_runs(self) -> int:
        if ARRAY_LIKE.test(self.init):
            return 1
        if self.n_init != "auto":
            return int(self.n_init)
        return 1 if isinstance(self.init, str) and self.init == "k-means++" else self._runs_of_random_starts

    # -- starts ----------------------------------------------------------------------------------------------

    def _given_centers(self, n_features: int, dtype: Any) -> NDArray[Any] | None:
        """Return a copy of the centers that ``init`` gives, None if it gives none."""
        if not ARRAY_LIKE.test(self.init):
            return None
        centers = check_array(self.init, dtype=dtype, copy=True, order="C", input_name="init")
        self._check_center_shape(centers, n_features)
        return centers

    def _check_center_shape(self, centers: NDArray[Any], n_features: int) -> None:
        for wanted, got, what in (
            (self.n_clusters, centers.shape[0], "clusters"),
            (n_features, centers.shape[1], "features of the data"),
        ):
            if wanted != got:
                raise ValueError(
                    f"The shape of the initial centers {centers.shape} does not match the number of {what} "
                    f"{wanted}."
                )

    def _start(
        self,
        table: Table,
        communicator: Communicator,
        rng: np.random.RandomState,
        given: NDArray[Any] | None,
        *,
        weighted: bool,
    ) -> NDArray[Any]:
        """Return first centers, of one of the kinds of ``init``."""
        init = self.init
        if given is not None:
            return given.copy()
        if isinstance(init, str):
            draw = plus_plus if init == "k-means++" else random_rows
            return dense_rows(table, draw(table, self.n_clusters, rng, weighted))
        centers, rows = None, table.rows("X")  # every rank asks for its rows
        if communicator.rank == 0:
            X = rows if isinstance(rows, np.ndarray) else rows.to_scipy()
            centers = init(X, self.n_clusters, random_state=rng)
            centers = check_array(centers, dtype=X.dtype, copy=True, order="C")
            self._check_center_shape(centers, X.shape[1])
        centers, state = communicator.bcast((centers, rng.get_state()))
        rng.set_state(state)
        return centers

    def _warn_of_overflow(self) -> None:
        if not np.isfinite(self.inertia_):
            warnings.warn(
                f"Squared distances are beyond the range of float64: inertia_ is {self.inertia_}. Scale X.",
                RuntimeWarning,
                stacklevel=3,
            )

    # -- after a fit -----------------------------------------------------------------------------------------

    def _rows(self, X: Any, leave_check: bool = False) -> Any:
        check_is_fitted(self)
        return self._read(X, leave_check, reset=False)

    def _centers(self, rows: Any) -> NDArray[Any]:
        """Return the centers in the type of the rows."""
        return np.ascontiguousarray(self.cluster_centers_, dtype=rows.dtype)

    def fit_predict(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> NDArray[Any]:
        """Fit, and return the labels of the training rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training rows.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        ndarray of int32 of shape (n_samples,)
        """
        return self.fit(X, sample_weight=sample_weight).labels_  # type: ignore[attr-defined]

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the number of the nearest center of every row, ties to the lowest.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of int32 of shape (n_samples,)
        """
        rows = self._rows(X, leave_check=True)
        centers, origin = origin_of(self._centers(rows), not isinstance(rows, np.ndarray))
        labels, overflown = lookup("nearest_center")(rows, centers, origin, config.n_threads())
        if overflown[0]:
            check_finite(rows, self)
        return labels

    def fit_transform(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Any:
        """Fit, and return the distances of the training rows to the centers.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training rows.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        ndarray of shape (n_samples, n_clusters)
        """
        return self.fit(X, sample_weight=sample_weight).transform(X)  # type: ignore[attr-defined]

    def transform(self, X: ArrayLike) -> Any:
        """Return the distances of rows to all centers.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_clusters)
        """
        rows = self._rows(X)
        return lookup("center_distances")(rows, self._centers(rows), config.n_threads())

    def score(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the sum of squared distances to the nearest centers, negated.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        float
        """
        rows = self._rows(X, leave_check=True)
        weights = checked_weights(sample_weight, rows.shape[0])
        with blas.one_thread(), SerialTable({"X": rows, "weights": weights}) as table:
            table.fill("labels", -1, np.int32)
            inertia, _ = assign(table, self._centers(rows), "labels", not isinstance(rows, np.ndarray))
        if not math.isfinite(inertia):
            check_finite(rows, self)
        return -inertia
