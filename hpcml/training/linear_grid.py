"""Linear models of a whole grid, candidates on folds, that step together over one pass of the rows.

Every pair of a candidate and a fold is a problem, or one a class against the rest. Rows that a fold does not
train on have weight 0 in its problems: no rows are copied. Problems that differ in their fold alone have one
start, the optimum over all rows or a sample of them, and one preconditioner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Communicator, Table
from hpcml.training.linear_objective import Objective
from hpcml.training.newton import EXACT_PARAMETERS, Solution, minimise

__all__ = ["Folds", "folds_of", "minimise_together", "problems_of"]

Floats = NDArray[np.float64]

#: Parameters of the problems that step together, about; what L-BFGS keeps of each is some 30 times that.
PARAMETERS_AT_ONCE = 1_500_000
#: Folds whose sets are counted together: one pass over the rows for so many.
FOLDS_OF_A_SET = 5


@dataclass(frozen=True)
class Folds:
    """Which rows train which fold.

    Attributes
    ----------
    numbers : tuple of int
        The folds.
    bits : ndarray of int64 of shape (folds,)
        Bit of every fold in the row array ``held`` of the table.
    counts : ndarray of int64 of shape (folds, classes)
        Training rows of every class.
    sums : ndarray of shape (folds, classes)
        Their weights.
    whole : ndarray of shape (classes,)
        Weights of all rows.
    """

    numbers: tuple[int, ...]
    bits: NDArray[np.int64]
    counts: NDArray[np.int64]
    sums: Floats
    whole: Floats

    def that_have_all(self) -> Folds:
        """Return the folds whose training rows are of all classes, with weight."""
        good = (self.counts > 0).all(axis=1) & (self.sums.sum(axis=1) > 0)
        if good.all():
            return self
        numbers = tuple(number for number, is_good in zip(self.numbers, good, strict=True) if is_good)
        return Folds(numbers, self.bits[good], self.counts[good], self.sums[good], self.whole)


def folds_of(
    communicator: Communicator,
    table: Table,
    numbers: Sequence[int],
    *,
    n_classes: int | None = None,
    weighted: bool = False,
) -> Folds:
    """Return folds, with what they train on over all ranks.

    Parameters
    ----------
    communicator : Communicator
    table : Table
        With the row array ``held`` of `hpcml.training.grids.held_out`, numbers of classes as ``y`` if there
        are any, and ``weights`` if `weighted`.
    numbers : sequence of int
        Of the folds, in the order of their bits.
    n_classes : int, optional
    weighted : bool

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml import communicators
    >>> from hpcml.training.grids import held_out
    >>> from hpcml.training.linear_grid import folds_of
    >>> with communicators.current() as communicator:
    ...     with communicator.put(held=held_out(3, [[0, 1], [1, 2]])) as table:
    ...         folds_of(communicator, table, [0, 1]).counts.tolist()
    [[2], [2]]
    """
    sizes = {"n_folds": len(numbers), "n_classes": n_classes or 1}
    classes = None if n_classes is None else "y"  # targets of a regression are no classes
    y = None if classes is None else table.rows(classes)
    # whole numbers add up to the same in any order; weights are added shard by shard
    counts = sum(communicator.gather(_sums_of_sets(**sizes, held=table.rows("held"), y=y)["sums"]))
    sums = table.map_reduce(_sums_of_sets, **sizes, y=classes)["sums"] if weighted else counts
    whole = sums[0].sum(axis=0).astype(np.float64)
    sets = np.arange(1 << FOLDS_OF_A_SET)
    inside = [(j // FOLDS_OF_A_SET, sets >> j % FOLDS_OF_A_SET & 1 == 0) for j in range(len(numbers))]
    counts, sums = (np.array([of[at, those].sum(axis=0) for at, those in inside]) for of in (counts, sums))
    bits = np.arange(len(numbers), dtype=np.int64)
    return Folds(tuple(numbers), bits, counts, sums.astype(np.float64), whole)


def _sums_of_sets(
    n_folds: int, n_classes: int, held: Any, y: Any = None, weights: Any = None
) -> dict[str, NDArray[Any]]:
    """Return weights of rows, or their number, by group of folds, which of it leave them out, and class."""
    codes = 0 if y is None else y.astype(np.int64)
    n_sets = 1 << FOLDS_OF_A_SET
    parts = [
        np.bincount((held >> first & n_sets - 1) * n_classes + codes, weights, n_sets * n_classes)
        for first in range(0, n_folds, FOLDS_OF_A_SET)
    ]
    return {"sums": np.reshape(parts, (-1, n_sets, n_classes))}


def problems_of(n_candidates: int, n_folds: int, n_columns: int = 1) -> tuple[NDArray[np.intp], ...]:
    """Return candidate, fold and column of every problem: candidate after candidate, in each fold after fold.

    Examples
    --------
    >>> from hpcml.training.linear_grid import problems_of
    >>> problems_of(2, 2)[1]
    array([0, 1, 0, 1])
    """
    return tuple(np.indices((n_candidates, n_folds, n_columns)).reshape(3, -1))


def minimise_together(
    objective: Objective, tol: Floats, max_iter: NDArray[np.int64], candidates: NDArray[np.intp]
) -> Solution:
    """Minimise the problems of a grid, those of so many candidates at once as memory is for.

    Parameters
    ----------
    objective : Objective
        With `folds` and `alike`.
    tol, max_iter : ndarray of shape (problems,)
    candidates : ndarray of int of shape (problems,)
        Candidate of every problem; those of one follow each other.

    Returns
    -------
    Solution
    """
    n_problems, size = objective.shape
    at_once = max(1, PARAMETERS_AT_ONCE // size)
    ends = np.append(np.flatnonzero(np.diff(candidates)) + 1, n_problems)
    found, start = [], 0
    while start < n_problems:
        inside = ends[(ends > start) & (ends <= start + at_once)]
        stop = int(inside[-1]) if inside.size else int(ends[ends > start][0])
        some = np.arange(start, stop)
        found.append(_minimised(objective.of(some), tol[some], max_iter[some]))
        start = stop
    return _joined(found)


def _minimised(objective: Objective, tol: Floats, max_iter: NDArray[np.int64]) -> Solution:
    """Minimise problems from 0; under an l1 penalty those of one fold, from whose optima all others start.

    Proximal Newton steps need a Hessian for every problem: the optima of another fold save a third of them.
    A path along the strengths of the penalty saves no more, and its steps cannot be taken together. L-BFGS
    steps cost a pass for any number of problems: all of them are taken together.
    """
    nothing = np.zeros(objective.shape)
    if objective.alike is None or not objective.l1.any() or objective.shape[1] > EXACT_PARAMETERS[1]:
        return minimise(objective, nothing, tol, max_iter)
    _, first, group = np.unique(objective.alike, return_index=True, return_inverse=True)
    rest = np.setdiff1d(np.arange(len(nothing)), first)
    if not rest.size:
        return minimise(objective, nothing, tol, max_iter)
    of_one = minimise(objective.of(first), nothing[first], tol[first], max_iter[first])
    starts = of_one.parameters[group[rest]]
    of_others = minimise(objective.of(rest), starts, tol[rest], max_iter[rest], warm=True)
    return _joined([of_one, of_others], np.argsort(np.concatenate([first, rest])))


def _joined(parts: list[Solution], order: NDArray[np.intp] | None = None) -> Solution:
    """Return the solutions of some problems after those of others, or in another order."""
    names = ("parameters", "n_iter", "converged", "overflowed")
    every = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Solution(**{name: whole if order is None else whole[order] for name, whole in every.items()})
