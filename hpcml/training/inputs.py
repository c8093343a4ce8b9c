"""Validated tables and weights as communicators take them."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import assert_all_finite, check_array, validation

from hpcml.communicators import Communicator
from hpcml.kernels import on_host
from hpcml.kernels.csr import CSR

__all__ = [
    "FLOATS",
    "INTERCEPT_SCALINGS",
    "NO_WEIGHT",
    "as_rows",
    "check_finite",
    "check_weight",
    "checked_weights",
    "unchecked",
    "validate_data",
]

#: Types that rows keep; others become the first one.
FLOATS = [np.float64, np.float32]

#: Scalings of an intercept beyond these count as these: it is 0, or free, by either, and squares stay finite.
INTERCEPT_SCALINGS = (1e-50, 1e50)

#: What is wrong where all weights are 0.
NO_WEIGHT = "Sample weights must contain at least one non-zero number."


def validate_data(estimator: Any, X: Any = "no_validation", y: Any = "no_validation", **reading: Any) -> Any:
    """Do as `sklearn.utils.validation.validate_data`, also for arrays that live on a device."""
    return validation.validate_data(estimator, on_host(X), on_host(y), **reading)


def as_rows(X: Any) -> Any:
    """Return a validated table as rows: a C-contiguous array, or a CSR whose entries are there once.

    Parameters
    ----------
    X : ndarray or sparse matrix or array of shape (n_samples, n_features)
        It is not changed; a copy is made where it is not in this form.

    Returns
    -------
    ndarray or CSR
    """
    if not sparse.issparse(X):
        return np.ascontiguousarray(X)
    rows = X.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy() if rows is X else rows
        rows.sum_duplicates()
    return CSR.of(rows)


def unchecked(X: Any) -> bool:
    """Return whether a kernel may look for NaN and inf in a table, which is read where it is.

    A look at every value takes as long as the nearest of few centers, and one thread has to do it.
    """
    return isinstance(X, np.ndarray) and X.dtype in FLOATS


def check_finite(rows: Any, owner: Any) -> None:
    """Raise scikit-learn's error if there are NaN or inf among the rows given to an estimator."""
    values = rows if isinstance(rows, np.ndarray) else rows.data
    assert_all_finite(values, estimator_name=type(owner).__name__, input_name="X")


def check_weight(communicator: Communicator, weights: NDArray[np.float64] | None) -> None:
    """Raise if the rows of all ranks have weight 0."""
    if weights is not None and not communicator.total(int(weights.any())):
        raise ValueError(NO_WEIGHT)


def checked_weights(
    sample_weight: Any, n_samples: int, *, dtype: Any = np.float64, negative: bool = True
) -> NDArray[np.float64] | None:
    """Return the weights of rows as a float64 array, None for None.

    Parameters
    ----------
    sample_weight : float or array-like of shape (n_samples,), optional
        A number is the weight of every row.
    n_samples : int
        Rows of the table.
    dtype : dtype
        What the weights are rounded to before they become float64.
    negative : bool
        Whether they may be negative.

    Raises
    ------
    ValueError, TypeError
        If they are not one finite number for each row.
    """
    if sample_weight is None:
        return None
    sample_weight = on_host(sample_weight)
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(n_samples, sample_weight, dtype=dtype)
    weights = check_array(
        sample_weight,
        ensure_2d=False,
        dtype=FLOATS,
        order="C",
        ensure_min_samples=0,  # their number is compared below
        input_name="sample_weight",
    )
    if weights.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weights.ndim}D array.")
    if len(weights) != n_samples:
        raise ValueError(
            f"sample_weight.shape == {weights.shape}, expected {(n_samples,)}: one weight for each row of X."
        )
    if not negative and (weights < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`.")
    return weights.astype(dtype, copy=False).astype(np.float64, copy=False)
