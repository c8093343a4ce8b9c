"""Which rank computes which shards when every rank brings rows of its own, and which rows move for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.kernels.shards import TreeSum, bounds_of

__all__ = ["Layout", "Move"]


@dataclass(frozen=True)
class Move:
    """Rows `start` to `stop` of the table go from rank `source`, which put them, to rank `target`."""

    source: int
    target: int
    start: int
    stop: int


class Layout:
    """The shards of a table that lies on several ranks.

    A shard is computed by the rank that put its first row. The rows of one that reaches into the next ranks
    move there first; all other rows stay where they are.

    Parameters
    ----------
    counts : sequence of int
        Rows that every rank put.

    Attributes
    ----------
    starts : ndarray of shape (P + 1,)
        First row that every rank put, then the number of rows.
    bounds : ndarray of shape (S + 1,)
        First row of every shard, then the number of rows.
    shards : ndarray of shape (P + 1,)
        First shard that every rank computes, then the number of shards.
    moves : list of Move
        In the order of their rows.
    everyone_computes : bool
        Whether every rank has a shard.
    additions : list of (int, int)
        Which sums of all ranks, one after another, are added to which; the last sum lies at 0.

    Examples
    --------
    >>> from hpcml.communicators.layout import Layout
    >>> layout = Layout([1500, 1500])
    >>> layout.bounds.tolist(), layout.shards.tolist(), layout.moves
    ([0, 1500, 3000], [0, 1, 2], [])
    >>> Layout([1000, 2000]).moves
    [Move(source=1, target=0, start=1000, stop=1500)]
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self.bounds = bounds_of(int(self.starts[-1]))
        P = len(counts)
        owners = np.minimum(np.searchsorted(self.starts[1:], self.bounds[:-1], side="right"), P - 1)
        self.shards = np.searchsorted(owners, np.arange(P + 1))
        self.moves = [move for target in range(P) for move in self._to(target)]
        self.everyone_computes = bool((np.diff(self.shards) > 0).all())
        self._ranges: list[NDArray[np.int64]] = [self._ranges_of(rank) for rank in range(P)]
        self.additions = self._additions()

    @property
    def n_rows(self) -> int:
        """Rows of the table."""
        return int(self.starts[-1])

    @property
    def n_shards(self) -> int:
        """Shards of the table."""
        return len(self.bounds) - 1

    def owned(self, rank: int) -> tuple[int, int]:
        """Return the rows that a rank computes."""
        return int(self.bounds[self.shards[rank]]), int(self.bounds[self.shards[rank + 1]])

    def owners(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ranks that compute rows."""
        stops = self.bounds[self.shards[1:]]
        return np.minimum(np.searchsorted(stops, numbers, side="right"), len(stops) - 1)

    def _to(self, target: int) -> list[Move]:
        start, stop = self.owned(target)
        moves = []
        for source in range(target + 1, len(self.starts) - 1):
            first, last = max(start, int(self.starts[source])), min(stop, int(self.starts[source + 1]))
            if first < last:
                moves.append(Move(source, target, first, last))
        return moves

    # -- sums ----------------------------------------------------------------------------------------------

    def ranges(self, rank: int) -> NDArray[np.int64]:
        """Return the ranges of shards, at most 2 log2 S, that a rank adds up before it sends them."""
        return self._ranges[rank]

    def n_pieces(self) -> list[int]:
        """Return how many sums every rank sends."""
        return [len(ranges) for ranges in self._ranges]

    def _ranges_of(self, rank: int) -> NDArray[np.int64]:
        tree = TreeSum(self.n_shards)
        nothing = np.empty(0)
        for shard in range(*self.shards[rank : rank + 2].tolist()):
            tree.add(shard, shard + 1, nothing)
        return tree.pieces()[0]

    def _additions(self) -> list[tuple[int, int]]:
        additions: list[tuple[int, int]] = []
        tree: Any = TreeSum(self.n_shards)
        for i, (first, stop) in enumerate(np.concatenate(self._ranges).tolist()):
            tree.add(first, stop, _Noted(i, additions))
        return additions


@dataclass(frozen=True)
class _Noted:
    """Stands for a sum, and notes what is added to it."""

    number: int
    additions: list[tuple[int, int]]

    def __add__(self, other: _Noted) -> _Noted:
        self.additions.append((self.number, other.number))
        return self
