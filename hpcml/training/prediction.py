"""Prediction of trees for dense and sparse tables, in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hpcml import activity
from hpcml.kernels import lookup
from hpcml.training.bins import is_kernel_table
from hpcml.training.trees import Trees

__all__ = ["decision_path", "dense_blocks", "leaves", "values"]

#: A block of a sparse table is made dense, and one of a table of another type float32: at most so many bytes.
BLOCK_BYTES = 32 << 20


def dense_blocks(
    X: Any, rows: NDArray[np.int64] | None = None, width: int = 0
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Cut a table into blocks of rows that are C-contiguous float32.

    Parameters
    ----------
    X : ndarray or sparse matrix or array of shape (n_samples, n_features)
        The table.
    rows : ndarray of int, optional
        Rows to take; None is all.
    width : int
        Bytes that the caller needs for a row, beside the row itself.
    """
    n_samples, n_features = X.shape[0] if rows is None else len(rows), X.shape[1]
    ready = rows is None and is_kernel_table(X)
    needed = width + (0 if ready else 4 * n_features)
    size = max(1, BLOCK_BYTES // needed) if needed else n_samples
    if sparse.issparse(X):
        X = X.tocsr()
    for start in range(0, n_samples, size):
        at = slice(start, min(n_samples, start + size))
        block = X[at] if rows is None else X[rows[at]]
        if sparse.issparse(block):
            block = block.toarray()
        yield at, np.ascontiguousarray(block, dtype=np.float32)


def leaves(trees: Trees, X: Any, n_threads: int = 1) -> NDArray[np.int32]:
    """Return the leaf of every row in every tree, (n_samples, n_trees), counted from the tree's root."""
    return _by_blocks("predict_leaves", X, trees.nodes, trees.offsets, n_threads)


def values(trees: Trees, X: Any, n_threads: int = 1) -> NDArray[np.float64]:
    """Return the sum over the trees of the values of every row's leaves, shape (n_samples, K)."""
    return _by_blocks("predict_values", X, trees.nodes, trees.values, trees.offsets, n_threads)


def _by_blocks(name: str, X: Any, *args: Any) -> NDArray[Any]:
    kernel = lookup(name)
    with activity.during("compute"):
        blocks = [kernel(block, *args) for _, block in dense_blocks(X)]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def decision_path(trees: Trees, X: Any, n_threads: int = 1) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
    """Return which nodes of all trees every row passes, and the trees' first nodes, then their number."""
    at = leaves(trees, X, n_threads) + trees.offsets[:-1]
    counts = trees.depth[at] + 1  # nodes from the root to the leaf
    indptr = np.concatenate([[0], np.cumsum(counts.sum(axis=1))])
    indices = np.empty(indptr[-1], dtype=np.int64)
    position = np.cumsum(counts, axis=1) + indptr[:-1, np.newaxis] - 1
    at, position = at.ravel(), position.ravel()
    while len(at):  # from the leaves up to the roots
        indices[position] = at
        at = trees.parent[at]
        alive = at >= 0
        at, position = at[alive], position[alive] - 1
    ones = np.ones(len(indices), dtype=np.int64)
    shape = (X.shape[0], len(trees.nodes))
    return sparse.csr_matrix((ones, indices, indptr), shape=shape), trees.offsets.copy()
