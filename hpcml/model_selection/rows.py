"""Rows of whatever holds a table: arrays, sparse matrices, data frames, lists."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import get_tags, indexable

__all__ = ["as_rows", "n_rows", "take_params", "take_rows", "take_table"]


def n_rows(X: Any) -> int:
    """Return the number of rows of `X`.

    Examples
    --------
    >>> from hpcml.model_selection.rows import n_rows
    >>> n_rows([[1, 2], [3, 4], [5, 6]])
    3
    """
    shape = getattr(X, "shape", None)
    return int(shape[0]) if shape else len(X)


def as_rows(indices: Any, n: int) -> Any:
    """Return those of `n` rows that a splitter names, by index or by mask, as an array of indices."""
    indices = np.asarray(indices)
    if indices.size and indices.dtype.kind not in "biu":
        raise ValueError(f"cv must give rows as integers or as a mask of bools. Got {indices.dtype} instead.")
    if indices.dtype == bool and len(indices) != n:
        raise IndexError(f"boolean index did not match: a mask of cv has {len(indices)} entries, X {n} rows")
    return np.flatnonzero(indices) if indices.dtype == bool else indices


def take_rows(X: Any, rows: Any) -> Any:
    """Return some rows of `X`, in the type of `X`; None stays None.

    Parameters
    ----------
    X : array, sparse matrix, data frame, sequence or None
    rows : ndarray of int

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.model_selection.rows import take_rows
    >>> take_rows(["a", "b", "c"], np.array([2, 0]))
    ['c', 'a']
    """
    if X is None:
        return None
    if isinstance(X, np.ndarray) or sp.issparse(X):
        return X[rows]
    if hasattr(X, "iloc"):  # pandas
        return X.take(rows, axis=0) if hasattr(X, "take") else X.iloc[rows]
    module = type(X).__module__.partition(".")[0]
    if module == "pyarrow":
        return X.take(rows)
    if hasattr(X, "__array_namespace__"):  # the standard of array libraries
        xp = X.__array_namespace__()
        device = {"device": X.device} if hasattr(X, "device") else {}
        return xp.take(X, xp.asarray(rows, **device), axis=0)
    if hasattr(X, "shape"):  # polars, torch, memory maps
        return X[rows]
    return [X[row] for row in rows]


def take_table(estimator: Any, X: Any, rows: Any, against: Any = None) -> Any:
    """Return some rows of `X`; of a pairwise estimator's matrix also only the columns of the training rows.

    Parameters
    ----------
    estimator : estimator
        Its tags say whether `X` holds precomputed kernels or distances.
    X : array-like
    rows : ndarray of int
    against : ndarray of int, optional
        The training rows, if `rows` are not those.

    Raises
    ------
    ValueError
        If a pairwise estimator gets anything else than a square matrix.
    """
    if not get_tags(estimator).input_tags.pairwise:
        return take_rows(X, rows)
    if not hasattr(X, "shape"):
        raise ValueError(
            "X must be an array or a sparse matrix for an estimator of precomputed kernels or distances. "
            f"Got {type(X).__name__} instead."
        )
    if X.shape[0] != X.shape[1]:
        raise ValueError(
            "X must be square for an estimator of precomputed kernels or distances. "
            f"Got shape {X.shape} instead."
        )
    return X[np.ix_(rows, rows if against is None else against)]


def _has_rows(value: Any, n: int) -> bool:
    if sp.issparse(value):
        return value.shape[0] == n
    if isinstance(value, (str, bytes, Mapping)):
        return False
    shape = getattr(value, "shape", None)
    if shape is not None:
        return len(shape) > 0 and shape[0] == n
    return hasattr(value, "__len__") and len(value) == n


def take_params(params: Mapping[str, Any], n: int, rows: Any = None) -> dict[str, Any]:
    """Return parameters of fit or score for some rows; those that do not have one entry a row pass unchanged.

    Parameters
    ----------
    params : mapping
    n : int
        Number of rows of the table.
    rows : ndarray of int, optional
        None only makes the values indexable.
    """
    taken = {}
    for name, value in params.items():
        if _has_rows(value, n):
            value = indexable(value)[0]
            value = value if rows is None else take_rows(value, rows)
        taken[name] = value
    return taken
