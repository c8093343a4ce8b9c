"""Rows of one rank among those that all ranks of an MPI job share in the searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcml.model_selection.rows import n_rows, take_rows

__all__ = ["Shards", "cut"]


@dataclass(frozen=True)
class Shards:
    """This rank's rows among those of all.

    Parameters
    ----------
    communicator : Communicator
    X : array-like
        This rank's rows.
    starts : ndarray of int64 of shape (ranks + 1,)
        First row of every rank, then the end.
    """

    communicator: Any
    X: Any
    starts: np.ndarray

    @classmethod
    def of(cls, communicator: Any, X: Any) -> Shards:
        """Ask every rank how many rows it has."""
        counts = communicator.gather(n_rows(X))
        return cls(communicator, X, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    @property
    def n_rows(self) -> int:
        """Rows of all ranks."""
        return int(self.starts[-1])

    def own(self, rows: np.ndarray) -> np.ndarray:
        """Return those of some rows that this rank has, by their numbers there."""
        first, stop = self.starts[self.communicator.rank : self.communicator.rank + 2]
        rows = np.where(rows < 0, rows + self.n_rows, rows)
        return rows[(rows >= first) & (rows < stop)] - first

    def gathered(self, values: Any, rows: np.ndarray | None = None) -> Any:
        """Return values of rows of all ranks, in the order of `rows`, from each rank's values of its own.

        Parameters
        ----------
        values : array-like or None
            None: this rank has no such rows.
        rows : ndarray of int, optional
            By default all rows.
        """
        found = _joined([part for part in self.communicator.gather(values) if part is not None])
        if rows is None:
            return found
        rows = np.where(rows < 0, rows + self.n_rows, rows)
        order = np.argsort(np.searchsorted(self.starts, rows, side="right"), kind="stable")
        if (order == np.arange(len(order))).all():
            return found
        return take_rows(found, np.argsort(order))

    def gathered_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters of which those with one entry a row are gathered from all ranks."""
        counts = np.diff(self.starts)
        found = {}
        for name, value in params.items():
            lengths = self.communicator.gather(None if value is None else np.shape(value)[:1])
            by_row = all(length == (count,) for length, count in zip(lengths, counts.tolist(), strict=True))
            found[name] = self.gathered(np.asarray(value)) if by_row else value
        return found


def cut(X: Any, rows: np.ndarray) -> Any:
    """Return some rows; those of an array that follow each other as a view, so that a file stays mapped."""
    if isinstance(X, np.ndarray) and len(rows) and (np.diff(rows) == 1).all():
        return X[rows[0] : rows[-1] + 1]
    return take_rows(X, rows)


def _joined(parts: Sequence[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if hasattr(parts[0], "iloc"):
        import pandas as pd

        return pd.concat(parts)
    if hasattr(parts[0], "tocsr"):
        from scipy import sparse

        return sparse.vstack(parts, format="csr")
    return np.concatenate([np.asarray(part) for part in parts])
