"""The binned training table: one byte a value, from dense or sparse tables, by blocks of columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hpcml import machine
from hpcml.communicators.shared_memory import memory_left
from hpcml.kernels import lookup
from hpcml.kernels.nodes import MAX_CODES

__all__ = ["Bins", "bin_table", "is_kernel_table"]

#: Columns are made float32 in blocks of at most so many bytes, so that binning needs no second table.
BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Bins:
    """A binned table.

    Parameters
    ----------
    binned : ndarray of uint8, shape (n_samples, n_features)
        Number of the bin of every value; ``n_bins`` of the feature where it is missing.
    lower, upper : ndarray of float32, shape (n_features, 256)
        Smallest and largest training value of every bin.
    n_bins : ndarray of int32, shape (n_features,)
        Bins of every feature.
    """

    binned: NDArray[np.uint8]
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]
    n_bins: NDArray[np.int32]


def bin_table(X: Any, max_bins: int, rows: NDArray[np.int64] | None, n_threads: int = 1) -> Bins:
    """Bin the rows of a table; bins come from these rows alone.

    Parameters
    ----------
    X : ndarray or sparse matrix or array of shape (n_samples, n_features)
        The table; NaN is a missing value. Values are read as float32.
    max_bins : int
        Most bins of a feature.
    rows : ndarray of int, or None
        Rows to bin; None is all.
    n_threads : int
        Threads of the kernels.

    Returns
    -------
    Bins

    Raises
    ------
    MemoryError
        If `X` is sparse and its dense bins need more memory than there is.
    """
    n_samples, n_features = X.shape[0] if rows is None else len(rows), X.shape[1]
    find_bins, apply_bins = lookup("find_bins"), lookup("apply_bins")
    if sparse.issparse(X):
        _check_memory(n_samples, n_features)
        X = X.tocsc() if rows is None else X.tocsr()[rows].tocsc()
        rows = None
    width = max(1, BLOCK_BYTES // (4 * n_samples))
    if width >= n_features or (rows is None and is_kernel_table(X)):
        block = _block(X, rows, slice(0, n_features))
        lower, upper, n_bins = find_bins(block, max_bins, n_threads)
        binned = apply_bins(block, upper, n_bins, n_threads)
    else:
        binned = np.empty((n_samples, n_features), dtype=np.uint8)
        lower = np.empty((n_features, MAX_CODES), dtype=np.float32)
        upper = np.empty((n_features, MAX_CODES), dtype=np.float32)
        n_bins = np.empty(n_features, dtype=np.int32)
        for start in range(0, n_features, width):
            at = slice(start, min(n_features, start + width))
            block = _block(X, rows, at)
            lower[at], upper[at], n_bins[at] = find_bins(block, max_bins, n_threads)
            binned[:, at] = apply_bins(block, upper[at], n_bins[at], n_threads)
    binned.flags.writeable = False  # what nobody changes may stay where kernels have copied it to
    return Bins(binned, lower, upper, n_bins)


def is_kernel_table(X: Any) -> bool:
    """Return whether kernels can read a table as it is."""
    return isinstance(X, np.ndarray) and X.dtype == np.float32 and X.flags.c_contiguous


def _block(X: Any, rows: NDArray[np.int64] | None, columns: slice) -> NDArray[np.float32]:
    whole = columns == slice(0, X.shape[1])
    block = X if whole else X[:, columns]
    if rows is not None:
        block = np.take(block, rows, axis=0)
    if sparse.issparse(block):
        block = block.toarray()
    return np.ascontiguousarray(block, dtype=np.float32)


def _check_memory(n_samples: int, n_features: int) -> None:
    needed, left = n_samples * n_features, memory_left()
    available = machine.memory_bytes() if left is None else left
    if available is not None and needed > available:
        raise MemoryError(
            f"A sparse X must fit into memory as a dense table of bins, one byte a value: {n_samples} rows "
            f"of {n_features} features need {needed / 2**30:.1f} GiB, and {available / 2**30:.1f} GiB are "
            "available. Reduce the features first, or use scikit-learn's estimator of the same name."
        )
