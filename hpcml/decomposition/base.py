"""What PCA and IncrementalPCA have in common: rows to components and back, covariances."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from hpcml import blas, communicators, config
from hpcml.counterparts import ToSklearnMixin
from hpcml.kernels import lookup
from hpcml.training.inputs import FLOATS, as_rows, validate_data

__all__ = ["Components", "check_variances", "warn_of_no_variance"]


def check_variances(
    values: NDArray[np.float64], variances: NDArray[np.float64], dtype: np.dtype[Any]
) -> None:
    """Raise if the variances that belong to some singular values are beyond the range of their type."""
    if not len(values) or np.isnan(variances[0]):  # of a single row
        return
    limits = np.finfo(dtype)
    if not variances[0] <= limits.max or variances[0] < limits.tiny < values[0]:
        raise ValueError(
            f"X has the singular value {values[0]:.3g}, and the variance that belongs to it cannot be held "
            f"by {np.dtype(dtype)}. Scale X; by a power of two, no digit is lost."
        )


def warn_of_no_variance(total: float) -> None:
    """Warn if features do not vary, so that no component explains a share of their variance."""
    if total == 0.0:
        warnings.warn(
            "All features of X are constant: explained_variance_ratio_ is 0 / 0, NaN.",
            RuntimeWarning,
            stacklevel=4,
        )


class Components(ToSklearnMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base of the estimators whose model is `components_` about `mean_`."""

    whiten: bool
    components_: NDArray[Any]
    mean_: NDArray[Any]
    explained_variance_: NDArray[Any]
    explained_variance_ratio_: NDArray[Any]
    singular_values_: NDArray[Any]
    noise_variance_: Any
    n_components_: int

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def transform(self, X: ArrayLike) -> Any:
        """Project rows on the components.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Coordinates along the components, of variance 1 each if `whiten`.
        """
        check_is_fitted(self)
        return self._coordinates(self._validated(X, reset=False))

    def _validated(self, X: Any, *, reset: bool = True) -> Any:
        least = communicators.least_rows()
        return validate_data(
            self, X, dtype=FLOATS, accept_sparse=("csr", "csc"), reset=reset, ensure_min_samples=least
        )

    def _coordinates(self, X: Any) -> NDArray[Any]:
        W = self.components_.T.astype(np.float64)
        if self.whiten:
            # components of a table that lacks rank may have no variance at all
            smallest = float(np.finfo(self.explained_variance_.dtype).eps)
            W /= np.maximum(np.sqrt(self.explained_variance_.astype(np.float64)), smallest)
        return _projected(X, self.mean_, W)

    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]:
        """Return the rows whose coordinates these are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Coordinates along the components.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        rows: Any = check_array(X, input_name="X", dtype=FLOATS)
        W = np.array(self.components_, dtype=np.float64, order="C")
        if rows.shape[1] != len(W):
            raise ValueError(
                f"X must have {len(W)} columns, one for each component. Got {rows.shape[1]} instead."
            )
        if self.whiten:
            W *= np.sqrt(self.explained_variance_.astype(np.float64))[:, np.newaxis]
        return lookup("project")(
            np.ascontiguousarray(rows), np.zeros(len(W)), W, self.mean_.astype(np.float64), config.n_threads()
        )

    def _scaled_components(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the components as covariances need them, and the variance of each beyond the noise."""
        components = self.components_
        if self.whiten:
            components = components * np.sqrt(self.explained_variance_[:, np.newaxis])
        return components, np.maximum(self.explained_variance_ - self.noise_variance_, 0.0)

    def get_covariance(self) -> NDArray[Any]:
        """Return the covariance of the model: its components, and noise of equal variance everywhere.

        Returns
        -------
        ndarray of shape (n_features, n_features)
            ``components_.T * S * components_ + noise_variance_ * I`` with ``S`` what the components explain
            beyond the noise [1]_.

        References
        ----------
        .. [1] M. E. Tipping, C. M. Bishop, "Probabilistic principal component analysis", Journal of the Royal
           Statistical Society B 61 (1999), 611-622.
        """
        check_is_fitted(self)
        components, beyond = self._scaled_components()
        covariance = (components.T * beyond) @ components
        covariance.flat[:: len(covariance) + 1] += self.noise_variance_
        return covariance

    def get_precision(self) -> NDArray[Any]:
        """Return the inverse of the covariance of the model, by the matrix inversion lemma.

        Returns
        -------
        ndarray of shape (n_features, n_features)
        """
        check_is_fitted(self)
        n_features = self.components_.shape[1]
        if self.n_components_ == 0:
            return np.eye(n_features) / self.noise_variance_
        if self.noise_variance_ == 0.0:
            try:
                return linalg.inv(self.get_covariance())
            except linalg.LinAlgError:  # a feature that others add up to: the inverse on what they span
                return linalg.pinvh(self.get_covariance())
        # (s I + C^T B C)^-1 = I/s - C^T (B^-1 + C C^T / s)^-1 C / s^2
        components, beyond = self._scaled_components()
        inner = components @ components.T / self.noise_variance_
        with np.errstate(divide="ignore"):
            inner.flat[:: len(inner) + 1] += 1.0 / beyond
        precision = components.T @ linalg.inv(inner) @ components
        precision /= -(self.noise_variance_**2)
        precision.flat[:: n_features + 1] += 1.0 / self.noise_variance_
        return precision


def _projected(X: Any, mean: NDArray[Any], W: NDArray[np.float64]) -> NDArray[Any]:
    """Return W^T (x - mean) of every row."""
    with blas.one_thread():
        return lookup("project")(
            as_rows(X),
            mean.astype(np.float64),
            np.ascontiguousarray(W),
            np.zeros(W.shape[1]),
            config.n_threads(),
        )
