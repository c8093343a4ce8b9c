"""Linear models of a whole grid, candidates on folds, that step together over one pass of the rows.

Every pair of a candidate and a fold is a problem, or one a class against the rest. Rows that a fold does not
train on have weight 0 in its problems: no rows are copied. Problems that differ in their fold alone have one
start and one preconditioner, from a sample of all rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.training.grids import held_out
from hpcml.training.linear_objective import Objective
from hpcml.training.newton import Solution, minimise

__all__ = ["Folds", "folds_of", "minimise_together", "problems_of"]

Floats = NDArray[np.float64]

#: Parameters of the problems that step together, about; what L-BFGS keeps of each is some 30 times that.
PARAMETERS_AT_ONCE = 1_500_000


@dataclass(frozen=True)
class Folds:
    """Which rows train which fold.

    Attributes
    ----------
    numbers : tuple of int
        The folds.
    bits : ndarray of int64 of shape (folds,)
        Bit of every fold in `held`.
    held : ndarray of int64 of shape (n,)
        Set of the folds that leave a row out.
    counts : ndarray of int64 of shape (folds, classes)
        Training rows of every class.
    sums : ndarray of shape (folds, classes)
        Their weights.
    """

    numbers: tuple[int, ...]
    bits: NDArray[np.int64]
    held: NDArray[np.int64]
    counts: NDArray[np.int64]
    sums: Floats

    def that_have_all(self) -> Folds:
        """Return the folds whose training rows are of all classes, with weight."""
        good = (self.counts > 0).all(axis=1) & (self.sums.sum(axis=1) > 0)
        if good.all():
            return self
        numbers = tuple(number for number, is_good in zip(self.numbers, good, strict=True) if is_good)
        return Folds(numbers, self.bits[good], self.held, self.counts[good], self.sums[good])


def folds_of(
    train: Mapping[int, NDArray[Any]],
    codes: Floats | None,
    classes: NDArray[Any] | None,
    weights: Floats | None,
    n_rows: int,
) -> Folds:
    """Return folds as sets.

    Parameters
    ----------
    train : mapping of int to ndarray of int
        Numbers of the training rows by number of the fold.
    codes : ndarray of shape (n_rows,) or None
        Numbers of the classes of the rows; None if there are none.
    classes : ndarray or None
    weights : ndarray of shape (n_rows,) or None
    n_rows : int

    Raises
    ------
    ValueError
        If there are more than 63 folds, or if a fold trains on a row more than once.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.training.linear_grid import folds_of
    >>> folds = folds_of({0: np.array([0, 1]), 1: np.array([1, 2])}, None, None, None, 3)
    >>> folds.held.tolist(), folds.counts.tolist()
    ([2, 0, 1], [[2], [2]])
    """
    held = held_out(n_rows, list(train.values()))
    number = np.zeros(n_rows, dtype=np.intp) if codes is None else codes.astype(np.intp)
    n_classes = 1 if classes is None else len(classes)
    counts = np.empty((len(train), n_classes), dtype=np.int64)
    sums = np.empty((len(train), n_classes))
    for j in range(len(train)):
        inside = (held >> j & 1) == 0
        own = number[inside]
        counts[j] = np.bincount(own, minlength=n_classes)
        own_weights = None if weights is None else weights[inside]
        sums[j] = np.bincount(own, weights=own_weights, minlength=n_classes)
    return Folds(tuple(train), np.arange(len(train), dtype=np.int64), held, counts, sums)


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
        nothing = np.zeros((len(some), size))
        found.append(minimise(objective.of(some), nothing, tol[some], max_iter[some]))
        start = stop
    names = ("parameters", "n_iter", "converged", "overflowed")
    parts: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in found]) for name in names}
    return Solution(**parts)
