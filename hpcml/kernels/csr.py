"""Sparse rows as kernels read them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["CSR"]


class CSR(NamedTuple):
    """Rows in compressed sparse form; any range of rows is a view of the same memory.

    Parameters
    ----------
    data : ndarray of shape (nnz,)
        The stored values.
    indices : ndarray of int32 of shape (nnz,)
        Their columns.
    indptr : ndarray of int64 of shape (n + 1,)
        Where every row starts, then where the last one ends; the first entry is 0.
    n_columns : int
        Number of columns.
    kept : dict, optional
        Where `by_columns` keeps what it made; None: it is made at every call.

    Examples
    --------
    >>> from scipy import sparse
    >>> from hpcml.kernels.csr import CSR
    >>> X = CSR.of(sparse.csr_array([[0.0, 2.0], [3.0, 0.0]]))
    >>> X.shape, X.rows(1, 2).to_scipy().toarray().tolist()
    ((2, 2), [[3.0, 0.0]])
    """

    data: NDArray[Any]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]
    n_columns: int
    kept: dict[str, CSR] | None = None

    @classmethod
    def of(cls, X: Any) -> CSR:
        """Return the rows of a SciPy matrix or array in CSR form; no value is copied."""
        data, indices = np.ascontiguousarray(X.data), np.ascontiguousarray(X.indices, dtype=np.int32)
        return cls(data, indices, np.ascontiguousarray(X.indptr, dtype=np.int64), X.shape[1], {})

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return len(self.indptr) - 1, self.n_columns

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored values."""
        return self.data.dtype

    def rows(self, start: int, stop: int) -> CSR:
        """Return the rows from `start` to `stop`, as views apart from `indptr`."""
        first, last = self.indptr[start], self.indptr[stop]
        indptr = self.indptr[start : stop + 1] - first
        return CSR(self.data[first:last], self.indices[first:last], indptr, self.n_columns)

    def by_columns(self) -> CSR:
        """Return the same entries column after column, the transposed rows; kept as long as these."""
        kept = {} if self.kept is None else self.kept
        if "columns" not in kept:
            kept["columns"] = CSR.of(self.to_scipy().T.tocsr())
        return kept["columns"]

    def to_scipy(self) -> Any:
        """Return them as a SciPy array."""
        from scipy import sparse

        return sparse.csr_array((self.data, self.indices, self.indptr), shape=self.shape)
