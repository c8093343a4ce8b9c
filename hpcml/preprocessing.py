"""Features on a common scale, under scikit-learn's names."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from hpcml import communicators, config
from hpcml.counterparts import ToSklearnMixin
from hpcml.kernels import lookup
from hpcml.training.inputs import as_rows, check_weight, checked_weights, validate_data
from hpcml.training.moments import Moments, feature_moments, is_constant, merged
from hpcml.validation import BOOLEAN, Allowed, check_parameters

__all__ = ["StandardScaler"]

#: Types that a table keeps; float16 is computed with as float32.
_FLOATS = [np.float64, np.float32, np.float16]


class StandardScaler(
    ToSklearnMixin, CallbackSupportMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    """Scale every feature to mean 0 and variance 1: ``(x - mean_) / scale_``.

    Parameters
    ----------
    copy : bool, default=True
        Whether `transform` leaves its table alone. False scales float arrays in their place.
    with_mean : bool, default=True
        Whether the mean is subtracted; sparse tables need False.
    with_std : bool, default=True
        Whether rows are divided by the standard deviation.

    Attributes
    ----------
    scale_ : ndarray of shape (n_features_in_,) or None
        Standard deviation; 1 for a feature that is constant up to rounding. None without `with_std`.
    mean_ : ndarray of shape (n_features_in_,) or None
        Mean. None without both `with_mean` and `with_std`.
    var_ : ndarray of shape (n_features_in_,) or None
        Variance, divided by the number of rows. None without `with_std`.
    n_samples_seen_ : int or ndarray of shape (n_features_in_,)
        Rows, or their weight; an array if it is not the same for all features because of missing values.
    n_features_in_ : int
        Number of features of the training table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if all are strings.

    Notes
    -----
    NaN is a missing value: `fit` leaves it out, and it stays NaN. Callbacks of scikit-learn's `set_callbacks`
    are told about a fit as a whole. Mean and variance are added up in float64
    for any table, about a value near the mean [1]_.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance: analysis and
       recommendations", The American Statistician 37 (1983), 242-247.

    Examples
    --------
    >>> from hpcml.preprocessing import StandardScaler
    >>> scaler = StandardScaler().fit([[0.0, 1.0], [2.0, 1.0]])
    >>> scaler.mean_, scaler.scale_
    (array([1., 1.]), array([1., 1.]))
    >>> scaler.transform([[4.0, 3.0]])
    array([[3., 2.]])
    """

    _allowed: ClassVar[dict[str, tuple[Allowed, ...]]] = {
        "copy": (BOOLEAN,),
        "with_mean": (BOOLEAN,),
        "with_std": (BOOLEAN,),
    }

    scale_: NDArray[np.float64] | None
    mean_: NDArray[np.float64] | None
    var_: NDArray[np.float64] | None
    n_samples_seen_: Any

    def __init__(self, *, copy: bool = True, with_mean: bool = True, with_std: bool = True) -> None:
        self.with_mean = with_mean
        self.with_std = with_std
        self.copy = copy

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = not self.with_mean
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> StandardScaler:
        """Compute mean and variance.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Training table; NaN is a missing value.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter, the table or the weights are not allowed.
        """
        for name in ("scale_", "mean_", "var_", "n_samples_seen_"):
            self.__dict__.pop(name, None)
        return self.partial_fit(X, y, sample_weight)

    @with_callbacks
    def partial_fit(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> StandardScaler:
        """Compute mean and variance of these rows and all those before, since the last `fit`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Further rows; NaN is a missing value.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        self
        """
        with communicators.current() as communicator:
            check_parameters("StandardScaler", self.get_params(deep=False), self._allowed)
            first = not hasattr(self, "n_samples_seen_")
            rows: Any = validate_data(
                self,
                X,
                accept_sparse=("csr", "csc"),
                dtype=_FLOATS,
                ensure_all_finite="allow-nan",
                ensure_min_samples=communicators.least_rows(),
                reset=first,
            )
            self._refuse_sparse(rows, "center")
            weights = checked_weights(sample_weight, rows.shape[0], dtype=rows.dtype)
            check_weight(communicator, weights)
            # one task without parts; the hook is that which scikit-learn documents for users of this mixin
            context = self._init_callback_context()
            data = {"X": rows, "y": y, "metadata": {"sample_weight": weights}}
            context.call_on_fit_task_begin(estimator=self, **data)
            with communicator.put(X=as_rows(_computed_with(rows)), weights=weights) as table:
                found = feature_moments(table, rows.shape[1])
        counted = np.int64 if weights is None else rows.dtype
        self._keep(found if first else merged(self._moments, found), counted)
        context.call_on_fit_task_end(estimator=self, reconstruction_attributes={}, **data)
        return self

    def _keep(self, moments: Moments, counted: Any) -> None:
        self._moments = moments
        seen = moments.counts.astype(counted)
        self.n_samples_seen_ = seen[0] if (seen == seen[0]).all() else seen
        self.mean_ = moments.mean if self.with_mean or self.with_std else None
        self.var_ = self.scale_ = None
        if self.with_std:
            self.var_ = moments.variance
            self.scale_ = np.where(is_constant(moments), 1.0, np.sqrt(moments.variance))

    def _refuse_sparse(self, X: Any, verb: str) -> None:
        if self.with_mean and sparse.issparse(X):
            raise ValueError(
                f"Cannot {verb} sparse matrices: pass `with_mean=False` instead. A table without zeros would "
                "not fit where a sparse one does."
            )

    def transform(self, X: ArrayLike, copy: bool | None = None) -> Any:
        """Scale rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows; NaN stays NaN.
        copy : bool, optional
            As the parameter of the class, which it goes before.

        Returns
        -------
        ndarray or sparse matrix of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        return self._rescaled(X, copy, "there")

    def inverse_transform(self, X: ArrayLike, copy: bool | None = None) -> Any:
        """Bring scaled rows back to the scale of the training table.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Scaled rows.
        copy : bool, optional
            As the parameter of the class, which it goes before.

        Returns
        -------
        ndarray or sparse matrix of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        return self._rescaled(X, copy, "back")

    def _rescaled(self, X: Any, copy: bool | None, way: str) -> Any:
        in_place = not (self.copy if copy is None else copy)
        reading: dict[str, Any] = {
            "accept_sparse": "csr",
            "dtype": _FLOATS,
            "force_writeable": in_place,
            "ensure_all_finite": "allow-nan",
            "ensure_min_samples": communicators.least_rows(),
        }
        if way == "there":
            X = validate_data(self, X, reset=False, **reading)
        else:
            X = check_array(X, **reading)
        self._refuse_sparse(X, "center" if way == "there" else "uncenter")
        if sparse.issparse(X):
            return _scaled_sparse(X if in_place else X.copy(), self.scale_, way)
        n_features = X.shape[1]
        centers = self.mean_ if self.with_mean and self.mean_ is not None else np.zeros(n_features)
        scales = np.ones(n_features) if self.scale_ is None else self.scale_
        if len(centers) != n_features:
            raise ValueError(
                f"operands could not be broadcast together: X has {n_features} features, but StandardScaler "
                f"is expecting {len(centers)} features as input."
            )
        if in_place:
            return _rescale_in_place(X, centers.astype(X.dtype), scales.astype(X.dtype), way)
        table = np.ascontiguousarray(_computed_with(X))
        return lookup("rescale")(table, centers, scales, way, config.n_threads()).astype(X.dtype, copy=False)


def _computed_with(X: Any) -> Any:
    return X.astype(np.float32) if X.dtype == np.float16 else X


def _rescale_in_place(X: Any, centers: Any, scales: Any, way: str) -> Any:
    if way == "there":
        X -= centers
        X /= scales
    else:
        X *= scales
        X += centers
    return X


def _scaled_sparse(X: Any, scales: NDArray[np.float64] | None, way: str) -> Any:
    if scales is not None:
        factors = 1.0 / scales if way == "there" else scales
        X.data *= factors.take(X.indices, mode="clip")
    return X
