"""MiniBatchKMeans."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from hpcml import blas, communicators
from hpcml.cluster.base import ALLOWED, CentersModel
from hpcml.communicators import Communicator, Table
from hpcml.counterparts import counterpart, take_attributes
from hpcml.training.inputs import check_weight
from hpcml.training.kmeans import assign
from hpcml.training.minibatch_kmeans import BatchModel, minibatch_kmeans, sample
from hpcml.training.moments import mean_and_variance
from hpcml.validation import BOOLEAN, NONE, Allowed, integer, real

__all__ = ["MiniBatchKMeans"]

#: Rows that the starts are chosen on, where `init_size` does not say: as multiples of the batch or of k.
STARTS_OF = 3


class MiniBatchKMeans(CentersModel):
    """K-means that moves its centers by small random batches of rows.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    init : {'k-means++', 'random'}, callable or array-like of shape (n_clusters, n_features), \
default='k-means++'
        First centers, as in `KMeans`; drawn from `init_size` random rows.
    max_iter : int, default=100
        Most passes over as many rows as X has.
    batch_size : int, default=1024
        Rows of a batch.
    verbose : int, default=0
        Above 0, every batch prints its inertia.
    compute_labels : bool, default=True
        Whether `fit` labels all rows when it has found the centers.
    random_state : int, RandomState instance or None, default=None
        Decides starts and batches. An int makes fits repeatable.
    tol : float, default=0.0
        Ends when the squared moves of the centers in a step add up to no more than `tol` times the mean
        variance of the features; 0 does not look at them.
    max_no_improvement : int or None, default=10
        Ends after so many batches in turn that do not improve the smoothed inertia. None does not look.
    init_size : int or None, default=None
        Random rows that each start is drawn from, and that judge it; 3 times `batch_size`, or 3 times
        `n_clusters` where that is less than `n_clusters`.
    n_init : 'auto' or int, default='auto'
        Starts that are compared. 'auto' is 3 for 'random' and a callable, 1 for 'k-means++' and an array.
    reassignment_ratio : float, default=0.01
        Centers with less than this share of the largest center's weight start anew at random rows.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        The centers.
    labels_ : ndarray of int32 of shape (n_samples,)
        Number of the nearest center of every training row; with `compute_labels` only.
    inertia_ : float
        Sum of the squared distances of the rows to their centers, times their weights; without
        `compute_labels`, an estimate from the batches.
    n_iter_ : int
        Passes over as many rows as X has, the last one counted as a whole.
    n_steps_ : int
        Batches.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.

    References
    ----------
    .. [1] D. Sculley, "Web-scale k-means clustering", World Wide Web Conference, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.cluster import MiniBatchKMeans
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [9.0, 8.0]])
    >>> kmeans = MiniBatchKMeans(n_clusters=2, random_state=0, batch_size=4).fit(X)
    >>> bool(kmeans.labels_[0] == kmeans.labels_[1] != kmeans.labels_[2] == kmeans.labels_[3])
    True
    """

    _allowed: ClassVar[Mapping[str, tuple[Allowed, ...]]] = {
        **ALLOWED,
        "batch_size": (integer(1),),
        "compute_labels": (BOOLEAN,),
        "max_no_improvement": (integer(0), NONE),
        "init_size": (integer(1), NONE),
        "reassignment_ratio": (real(0.0),),
    }
    _runs_of_random_starts: ClassVar[int] = 3
    _model: BatchModel
    n_iter_: int
    n_steps_: int

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        max_iter: int = 100,
        batch_size: int = 1024,
        verbose: int = 0,
        compute_labels: bool = True,
        random_state: Any = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: Any = "auto",
        reassignment_ratio: float = 0.01,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio

    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> MiniBatchKMeans:
        """Find the centers by random batches of the rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training rows; float32 and float64 are kept, C-contiguous arrays and CSR are not copied.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, not negative; batches draw rows by them.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter, the rows or the weights are not allowed.
        """
        with blas.one_thread(), communicators.current() as communicator:
            self._check_parameters()
            rows, weights = self._validated(X, sample_weight)
            sparse, weighted = not isinstance(rows, np.ndarray), weights is not None
            with communicator.put(X=rows, weights=weights) as table:
                given = self._prepare(table, rows, weights, communicator)
                rng = communicator.random_state(self.random_state)
                tol = float(mean_and_variance(table)[1].mean() * self.tol) if self.tol > 0 else 0.0
                self._model, self.n_steps_, smoothed = minibatch_kmeans(
                    table,
                    communicator,
                    lambda: self._first_centers(table, rng, given, weighted, communicator),
                    rng,
                    n_starts=self._n_init,
                    init_size=self._init_size,
                    batch_size=self._batch_size,
                    max_iter=self.max_iter,
                    tol=tol,
                    max_no_improvement=self.max_no_improvement,
                    ratio=self.reassignment_ratio,
                    weighted=weighted,
                    sparse=sparse,
                    verbose=bool(self.verbose),
                )
                self._keep_centers()
                self.n_iter_ = math.ceil(self.n_steps_ * self._batch_size / table.n_rows)
                if self.compute_labels:
                    table.fill("labels", -1, np.int32)
                    self.inertia_, _ = assign(table, self.cluster_centers_, "labels", sparse)
                    self._warn_of_overflow()
                    self.labels_ = table.rows("labels")
                else:
                    local = float(rows.shape[0] if weights is None else weights.sum())
                    total = math.fsum(communicator.gather(local))
                    self.inertia_ = (math.nan if smoothed is None else smoothed) * total
        return self

    def partial_fit(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> MiniBatchKMeans:
        """Move the centers by one batch.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The batch; the first one also gives the first centers.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, not negative.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter, the rows or the weights are not allowed.
        """
        first = not hasattr(self, "cluster_centers_")
        with blas.one_thread(), communicators.current() as communicator:
            self._check_parameters()
            rows, weights = self._validated(X, sample_weight, reset=first)
            sparse, weighted = not isinstance(rows, np.ndarray), weights is not None
            if first or not hasattr(self, "_rng"):
                self._rng = communicator.random_state(self.random_state)
            with communicator.put(X=rows, weights=weights) as table:
                if first:
                    given = self._prepare(table, rows, weights, communicator)
                    centers = self._first_centers(table, self._rng, given, weighted, communicator)
                    self._model = BatchModel(centers, np.zeros(self.n_clusters))
                    self.n_steps_ = 0
                else:
                    centers = self._model.centers.astype(rows.dtype)
                    self._model = BatchModel(centers, self._model.counts, self._model.rows_since)
                self._model.step(
                    table,
                    self._rng,
                    rows=self._batch_size,
                    ratio=self.reassignment_ratio,
                    sparse=sparse,
                    verbose=bool(self.verbose) and communicator.rank == 0,
                )
                self._keep_centers()
                if self.compute_labels:
                    self.inertia_, _ = assign(table, self.cluster_centers_, "labels", sparse)
                    self._warn_of_overflow()
                    self.labels_ = table.rows("labels")
        self.n_steps_ += 1
        return self

    def _prepare(
        self, table: Table, rows: Any, weights: NDArray[np.float64] | None, communicator: Communicator
    ) -> NDArray[Any] | None:
        """Resolve parameters for a table; return the centers that ``init`` gives, None if it gives none."""
        self._check_rows(table)
        check_weight(communicator, weights)
        self._n_init = self._number_of_starts()
        self._batch_size = min(self.batch_size, table.n_rows)
        size = STARTS_OF * self._batch_size if self.init_size is None else self.init_size
        if size < self.n_clusters:
            if self.init_size is not None:
                warnings.warn(
                    f"init_size={size} should be larger than n_clusters={self.n_clusters}. Setting it to "
                    "min(3*n_clusters, n_samples)",
                    RuntimeWarning,
                    stacklevel=3,
                )
            size = STARTS_OF * self.n_clusters
        self._init_size = min(size, table.n_rows)
        return self._given_centers(rows.shape[1], rows.dtype)

    def _first_centers(
        self,
        table: Table,
        rng: np.random.RandomState,
        given: NDArray[Any] | None,
        weighted: bool,
        communicator: Communicator,
    ) -> NDArray[Any]:
        """Return first centers, from random rows where the table has more than `init_size`."""
        if self._init_size < table.n_rows:
            drawn = rng.randint(0, table.n_rows, self._init_size)
            with sample(table, drawn, weighted) as some:
                return self._start(some, communicator, rng, given, weighted=weighted)
        return self._start(table, communicator, rng, given, weighted=weighted)

    def _keep_centers(self) -> None:
        self.cluster_centers_ = self._model.centers
        self._n_features_out = len(self.cluster_centers_)

    def to_sklearn(self) -> Any:
        """Return the fitted estimator as scikit-learn's, which predicts the same and can be fitted further.

        Examples
        --------
        >>> from hpcml.cluster import MiniBatchKMeans
        >>> X = [[0.0], [1.0], [9.0]]
        >>> theirs = MiniBatchKMeans(2, random_state=0).fit(X).to_sklearn()
        >>> theirs.predict(X).tolist() == theirs.labels_.tolist()
        True
        """
        check_is_fitted(self)
        theirs = counterpart(self)
        given = theirs.get_params()
        # a batch of the centers with their weights makes what scikit-learn keeps beside the public attributes
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.set_params(init=self.cluster_centers_, n_init=1, reassignment_ratio=0.0, verbose=0)
            theirs.partial_fit(self.cluster_centers_, sample_weight=self._model.counts)
        theirs.set_params(**given)
        take_attributes(theirs, self)
        return theirs
