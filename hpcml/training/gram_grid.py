"""Gram matrices of the training rows of all folds, from one pass over the rows.

Rows that the same folds leave out make a part. Products are added up part by part about one centre, and the
Gram matrix of a fold's training rows is the sum of the parts that it trains on, moved to their mean: no
digits are lost, because nothing is subtracted. Where the parts are too many, it is the matrix of all rows
less that of the rows that the fold leaves out: O. G. Engstrom, M. H. Jensen, "Fast partition-based
cross-validation with centering and scaling for X^T X and X^T Y", arXiv 2401.13185 (2024). A fold that this
leaves too few digits is added up from its own rows, about their mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Communicator, Table
from hpcml.training.gram import Gram, check_finite, is_good_center, mean_of, moved_to_mean, symmetric
from hpcml.training.grids import held_out

__all__ = ["FoldSums", "Sums", "folds_of_ranks", "rows_tested", "rows_trained_on", "sums_of_folds"]

Vector = NDArray[np.float64]

#: Every part takes a pass that looks at all rows; more of them than this take longer than the folds.
MOST_PARTS = 64
#: Matrices of parts take so many bytes at most.
BYTES_OF_PARTS = 64 << 20
#: Rows whose mean is the centre.
ROWS_OF_A_CENTER = 1024
#: Digits that a difference may lose: a diagonal entry is this fraction of what it was at least.
LEAST_LEFT = 1e-4


@dataclass(frozen=True)
class Sums:
    """Sums of products about a centre over some rows; of `gram` the upper triangle."""

    parts: Mapping[str, Vector]
    x_center: Vector
    y_center: Vector

    def __add__(self, other: Sums) -> Sums:
        return self._with({name: part + other.parts[name] for name, part in self.parts.items()})

    def __sub__(self, other: Sums) -> Sums:
        return self._with({name: part - other.parts[name] for name, part in self.parts.items()})

    def _with(self, parts: Mapping[str, Vector]) -> Sums:
        return Sums(parts, self.x_center, self.y_center)

    @property
    def weight(self) -> float:
        """Sum of the weights, or number of rows."""
        return float(self.parts["weight"][0])

    def about_mean(self) -> Gram:
        """Return them about the rows' mean."""
        with np.errstate(over="ignore", invalid="ignore"):
            found = moved_to_mean(self._copied(), self.x_center, self.y_center)
        check_finite(np.diagonal(found.gram), found.cross, found.y_squares)
        return found

    def about(self, x_center: Vector, y_center: Vector) -> Gram:
        """Return them about any centre, which is called `mean` there."""
        s, weight = self._copied(), self.weight
        # sum w (x - b)(x - b)^T = sum w (x - c)(x - c)^T - S m^T - m S^T + W m m^T with m = b - c
        move, y_move = x_center - self.x_center, y_center - self.y_center
        gram = symmetric(s["gram"])
        for row, total, step in zip(gram, s["sums"], move, strict=True):
            row -= total * move + step * s["sums"] - (weight * step) * move
        cross = s["cross"] - np.outer(s["sums"], y_move) - np.outer(move, s["y_sums"] - weight * y_move)
        y_squares = s["y_squares"] - 2 * y_move * s["y_sums"] + weight * y_move**2
        check_finite(np.diagonal(gram), cross, y_squares)
        return Gram(weight, x_center, gram, y_center, np.maximum(y_squares, 0.0), cross)

    def about_zero(self) -> Gram:
        """Return them as they are without centre."""
        return self.about(np.zeros_like(self.x_center), np.zeros_like(self.y_center))

    def _copied(self) -> dict[str, Vector]:
        return {name: part.copy() for name, part in self.parts.items()}


@dataclass(frozen=True)
class FoldSums:
    """Sums over the rows that a fold trains on, and over those that it leaves out, where these are known."""

    train: Sums
    held: Sums | None


def folds_of_ranks(
    communicator: Communicator, n_local: int, trains: Sequence[Any]
) -> tuple[NDArray[np.int64], list[int], list[int]]:
    """Return what `held_out` returns for this rank's rows, and of all ranks the patterns and numbers of rows.

    Parameters
    ----------
    communicator : Communicator
    n_local : int
        This rank's rows.
    trains : sequence of array-like of int
        Those that every fold trains on.

    Returns
    -------
    held : ndarray of int64 of shape (n_local,)
    patterns : list of int
        The different numbers in ``held`` over all ranks.
    n_rows : list of int
        Rows that every fold trains on, over all ranks.
    """
    held = held_out(n_local, trains)
    found = communicator.gather((np.unique(held).tolist(), [len(train) for train in trains]))
    patterns = sorted(set().union(*(some for some, _ in found)))
    return held, patterns, [sum(each) for each in zip(*(sizes for _, sizes in found), strict=True)]


def rows_tested(n_rows: int, tests: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """Return for every row the folds that test on it once, as bits; no fold that tests on rows repeatedly.

    Parameters
    ----------
    n_rows : int
        Rows of the table.
    tests : sequence of ndarray of int
        Test rows of every fold.
    """
    tested = np.zeros(n_rows, dtype=np.int64)
    for j, test in enumerate(tests):
        tested[test] |= np.int64(1 << j)
        if np.count_nonzero(tested >> j & 1) != len(test):
            tested &= ~np.int64(1 << j)
    return tested


def sums_of_folds(
    table: Table, patterns: Sequence[int], n_folds: int, n_features: int, n_targets: int = 0
) -> Iterator[FoldSums]:
    """Add up products over the training rows of every fold, in float64 whatever the type of the rows.

    Parameters
    ----------
    table : Table
        With the row arrays ``X`` and ``held`` of `held_out`; ``y`` of shape (n, t), if there are targets;
        ``weights`` or None.
    patterns : sequence of int
        The different numbers in ``held``.
    n_folds : int
        Folds.
    n_features, n_targets : int
        Columns of ``X`` and of ``y``.

    Yields
    ------
    FoldSums
        Of one fold after another.
    """
    about = _Center.of(table, n_features, n_targets)
    bytes_of_parts = 8 * n_features * n_features * len(patterns)
    if len(patterns) <= max(MOST_PARTS, n_folds + 1) and bytes_of_parts <= BYTES_OF_PARTS:
        yield from _from_parts(table, about, patterns, n_folds)
    else:
        yield from _by_subtraction(table, about, n_folds)


@dataclass(frozen=True)
class _Center:
    """What products are about; sparse rows are about 0, so that their zeros cost nothing."""

    x: Vector
    y: Vector
    dense: bool

    @classmethod
    def of(
        cls, table: Table, n_features: int, n_targets: int, numbers: NDArray[np.int64] | None = None
    ) -> Any:
        """Return the mean of some rows, of all or of those of these numbers."""
        n = table.n_rows if numbers is None else len(numbers)
        rows = np.unique(np.linspace(0, n - 1, ROWS_OF_A_CENTER).astype(np.int64))
        rows = rows if numbers is None else numbers[rows]
        some = table.take(rows)
        dense = isinstance(some, np.ndarray)
        x = mean_of(some) if dense else np.zeros(n_features)
        return cls(x, mean_of(table.take(rows, "y")) if n_targets else np.zeros(0), dense)

    def sums(self, table: Table, mask: int, value: int) -> Sums:
        """Add up the rows whose bits under the mask are the value."""
        targets = {"y_centers": self.y} if len(self.y) else {"y": None, "y_centers": None}
        found = table.map_reduce("masked_gram", mask=mask, value=value, centers=self.x, **targets)
        return Sums(found, self.x, self.y)

    def better(self, sums: Sums) -> _Center | None:
        """Return the mean of the rows of some sums where it is too far from their centre, else None."""
        if not self.dense:
            return None
        found = sums.about_mean()
        if is_good_center(found, sums.x_center, sums.y_center):
            return None
        return _Center(found.mean, found.y_mean, True)


def _from_parts(table: Table, about: _Center, patterns: Sequence[int], n_folds: int) -> Iterator[FoldSums]:
    whole = (1 << n_folds) - 1
    parts = {pattern: about.sums(table, whole, pattern) for pattern in patterns}
    better = about.better(_total(list(parts.values())))
    if better is not None:
        about = better
        parts = {pattern: about.sums(table, whole, pattern) for pattern in patterns}
    for j in range(n_folds):
        train = _total([sums for pattern, sums in parts.items() if not pattern >> j & 1])
        held = [sums for pattern, sums in parts.items() if pattern >> j & 1]
        yield FoldSums(_checked(table, about, train, j), _total(held) if held else None)


def _by_subtraction(table: Table, about: _Center, n_folds: int) -> Iterator[FoldSums]:
    whole = about.sums(table, 0, 0)
    better = about.better(whole)
    if better is not None:
        about = better
        whole = about.sums(table, 0, 0)
    for j in range(n_folds):
        held = about.sums(table, 1 << j, 1 << j)
        train = whole - held
        if _lost(whole, train):
            train = about.sums(table, 1 << j, 0)
        yield FoldSums(_checked(table, about, train, j), held)


def _total(several: Sequence[Sums]) -> Sums:
    if not several:
        raise ValueError("a fold has no rows to train on")
    total = several[0]
    for sums in several[1:]:
        total = total + sums
    return total


def _lost(whole: Sums, left: Sums) -> bool:
    """Say whether a difference has lost so many digits that another sum is better."""
    before, after = np.diagonal(whole.parts["gram"]), np.diagonal(left.parts["gram"])
    y_before, y_after = whole.parts["y_squares"], left.parts["y_squares"]
    kept = (after >= LEAST_LEFT * before).all() and (y_after >= LEAST_LEFT * y_before).all()
    return not kept or left.weight < LEAST_LEFT * whole.weight


def _checked(table: Table, about: _Center, train: Sums, j: int) -> Sums:
    """Return the sums of a fold, about its own mean where the common centre is too far off it."""
    if not train.weight > 0 or about.better(train) is None:  # of no weight: its fit says so
        return train
    own = _Center.of(table, len(about.x), len(about.y), rows_trained_on(table, j))
    train = own.sums(table, 1 << j, 0)
    better = own.better(train)
    return train if better is None else better.sums(table, 1 << j, 0)


def rows_trained_on(table: Table, fold: int) -> NDArray[np.int64]:
    """Return the numbers of the rows that a fold trains on, by the row array ``held``."""
    held = table.take(np.arange(table.n_rows), "held")
    return np.flatnonzero(held >> fold & 1 == 0)
