"""What linear classifiers have in common: margins, predictions, sparse coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from hpcml import config
from hpcml.kernels import lookup
from hpcml.training.inputs import FLOATS, as_rows, validate_data

__all__ = ["LinearClassifier", "margins_of"]


def margins_of(
    rows: Any, coef: NDArray[Any], intercept: Any, origin: NDArray[np.float64] | None
) -> NDArray[Any]:
    """Return ``rows @ coef.T + intercept``, in the wider precision of rows and coefficients.

    Parameters
    ----------
    rows : ndarray or sparse matrix of shape (n_samples, n_features)
        Validated.
    coef : ndarray of shape (K, n_features)
    intercept : ndarray of shape (K,), or one number for all
    origin : ndarray of shape (n_features,) or None
        What training has subtracted from the rows: subtracted here too, and added again in float64.

    Returns
    -------
    ndarray of shape (n_samples, K)
    """
    # kernels know two types; what is wider, such as long double, is rounded to float64
    both = np.result_type(rows.dtype, coef.dtype)
    dtype = np.float32 if both == np.float32 else np.float64
    W = np.column_stack([coef, np.broadcast_to(intercept, len(coef))]).astype(np.float64)
    rows = as_rows(rows.astype(dtype, copy=False))
    if origin is None or not isinstance(rows, np.ndarray) or len(origin) != coef.shape[1]:
        origin = None
    else:
        W[:, -1] += (W[:, :-1] * origin).sum(axis=1)  # the same bits for any number of columns
    return np.asarray(lookup("linear_margins")(rows, origin, W, n_threads=config.n_threads()))


def _dtype_of(X: Any) -> Any:
    """Return what the values of rows become: texts become numbers, as they do in `fit`."""
    dtype = np.asarray(X).dtype if isinstance(X, (list, tuple)) else getattr(X, "dtype", None)
    return FLOATS if getattr(dtype, "kind", "") in ("U", "S") else "numeric"


class LinearClassifier(ClassifierMixin, BaseEstimator):
    """Base of the classifiers that have a ``coef_`` and an ``intercept_``.

    One row of coefficients is that of the second class against the first; several are one for each class.
    """

    classes_: NDArray[Any]
    coef_: Any
    intercept_: NDArray[Any]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Compute the margins of rows: ``X @ coef_.T + intercept_``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            With two classes that of the second one.
        """
        check_is_fitted(self)
        rows: Any = validate_data(self, X, accept_sparse="csr", reset=False, dtype=_dtype_of(X))
        if sparse.issparse(self.coef_):
            margins = rows @ self.coef_.T
            margins = margins.toarray() if sparse.issparse(margins) else np.asarray(margins)
            margins = margins + self.intercept_
        else:
            margins = margins_of(rows, self.coef_, self.intercept_, getattr(self, "_origin", None))
        return margins[:, 0] if margins.shape[1] == 1 else margins

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict the class of the largest margin.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._labels(self.decision_function(X))

    def _labels(self, margins: NDArray[Any]) -> NDArray[Any]:
        # bytes as they are: a longer copy of them would take longer than the rest
        return self.classes_[(margins > 0).view(np.uint8) if margins.ndim == 1 else margins.argmax(axis=1)]

    def _response_of(self, name: str, margins: NDArray[Any]) -> NDArray[Any]:
        """Return what a method says of rows whose margins these are."""
        return self._labels(margins) if name == "predict" else margins

    def densify(self) -> Any:
        """Turn ``coef_`` into an array, if `sparsify` has made it sparse.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        if sparse.issparse(self.coef_):
            self.coef_ = self.coef_.toarray()
        return self

    def sparsify(self) -> Any:
        """Turn ``coef_`` into a sparse matrix, which is smaller where an l1 penalty has left most of it at 0.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        self.coef_ = sparse.csr_matrix(self.coef_)
        return self
