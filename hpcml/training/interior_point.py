"""Losses that are sums of hinges: a primal-dual interior-point method, Mehrotra's predictor and corrector.

Ferris, Munson (2002), Interior-point methods for massive support vector machines, SIAM J. Optim. 13(3);
Mehrotra (1992), On the implementation of a primal-dual interior point method, SIAM J. Optim. 2(4).

    minimise over w   w^T R w / 2 + sum_j c_j max(0, o_j - s_j w.x)
    maximise over a   sum_j o_j a_j - |sum_j s_j a_j x|^2 / 2  (in the norm of R^-1),  0 <= a_j <= c_j

Rows enter through sums alone: every iteration solves (R + sum D x x^T) dw = g twice, with one number D a row.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from hpcml.communicators import Table
from hpcml.kernels.overshoot import largest_ratio_of

__all__ = ["HingePasses", "Hinges", "Passes", "Solution", "interior_point"]

Floats = NDArray[np.float64]
Sums = dict[str, Floats]

#: Share of the way to the boundary that a step takes.
TO_THE_BOUNDARY = 0.995
#: Power of Mehrotra's guess at how much of the barrier to keep.
CENTERING_POWER = 3
#: An objective this small, relative to that of coefficients 0, counts as 0.
LEAST_OBJECTIVE = 1e-12
#: Rounding hides smaller gaps between the two objectives, relative to them.
LEAST_GAP = 1e-13
#: A gap below this, relative to the objectives, that so many iterations do not halve is as small as rounding
#: lets it become.
SMALL_GAP, PATIENCE = 1e-7, 4
#: So many iterations that do not halve a larger gap will not do so later.
LAST_PATIENCE = 25
#: First multiple of the unit matrix that is added to normal equations that rounding has made indefinite.
FIRST_SHIFT = 1e-15
MOST_SHIFTS = 20


class Passes(Protocol):
    """Passes over the rows of a table, whose state is the dual variables and their multipliers.

    Vectors hold coefficients, their predicted and their corrected direction.
    """

    def begin(self) -> None:
        """Put the state where the method starts, for coefficients that are 0."""
        ...

    def equations(self, vectors: Floats, barrier: float, step: float) -> Sums:
        """Take a step, and return what the next one needs, and the objectives.

        ``gram`` is the matrix of the normal equations without R, ``pull`` R w as the dual variables have it,
        ``target`` the right-hand side for a barrier of 0 less pull - R w, ``products`` the sum of the
        products of variables and multipliers, ``live`` their number, ``primal`` the losses of the rows,
        ``dual`` the linear part of the dual objective.
        """
        ...

    def correct(self, vectors: Floats) -> Sums:
        """Return ``centering``, ``correction``, ``cross``, ``overshoot`` of the predicted direction.

        They are right-hand sides for a unit of the barrier and for the products of the direction's parts, the
        sum of these products, and shards by the codes of their farthest overshoots.
        """
        ...

    def limit(self, vectors: Floats, barrier: float) -> Sums:
        """Return ``overshoot`` of the corrected direction."""
        ...

    def end(self) -> None:
        """Forget the state."""
        ...


@dataclass(frozen=True)
class Hinges:
    """Which hinges rows have, as the kernels of ``interior_point`` take it.

    Parameters
    ----------
    loss : {'hinge', 'epsilon_insensitive'}
    price : float
        Weight of the loss of a row, of the class +1 under hinge.
    other_price : float
        That of rows of the class -1 under hinge.
    positive : float
        The class +1.
    epsilon : float
        Half width of the tube.
    """

    loss: str
    price: float
    other_price: float = 0.0
    positive: float = 0.0
    epsilon: float = 0.0


def _spread(y: Floats, weights: Floats | None = None) -> dict[str, float]:
    live = np.ones(len(y), dtype=bool) if weights is None else weights > 0
    return {"rows": float(live.sum()), "sum": float(np.abs(y[live]).sum())}


class HingePasses:
    """The passes for hinges, by the kernels of ``interior_point``.

    Parameters
    ----------
    table : Table
        Holds X, ``y`` and perhaps ``weights``; at least one row must have a weight.
    hinges : Hinges
        Which hinges the rows have.
    """

    def __init__(self, table: Table, hinges: Hinges) -> None:
        self._table, self._what = table, dict[str, Any](vars(hinges))

    def begin(self) -> None:
        least = 1.0
        if self._what["loss"] == "epsilon_insensitive":
            spread = self._table.map_reduce(_spread)
            least = float(spread["sum"] / spread["rows"]) or 1.0
        self._table.map_rows("interior_start", least=least, **self._what)

    def equations(self, vectors: Floats, barrier: float, step: float) -> Sums:
        found = self._table.map_reduce(
            "interior_gram", vectors=vectors, barrier=barrier, step=step, **self._what
        )
        return found | {"live": 2.0 * found["live"]}  # a hinge has two bounds

    def correct(self, vectors: Floats) -> Sums:
        return self._table.map_reduce("interior_correct", vectors=vectors[:2], **self._what)

    def limit(self, vectors: Floats, barrier: float) -> Sums:
        return self._table.map_reduce("interior_step", vectors=vectors, barrier=barrier, **self._what)

    def end(self) -> None:
        self._table.drop("alpha", "lower", "upper")


@dataclass(frozen=True)
class Solution:
    """What was found.

    Parameters
    ----------
    coef : ndarray of shape (d + 1,)
        Coefficients, the intercept last.
    n_iter : int
        Iterations.
    converged : bool
        Whether the gap is small enough.
    objective, gap : float
        The objective, and by how much it may exceed its minimum.
    """

    coef: Floats
    n_iter: int
    converged: bool
    objective: float
    gap: float


class _Equations:
    """R + sum D x x^T, factored; entries of w with an infinite penalty stay 0."""

    def __init__(self, gram: Floats, penalty: Floats) -> None:
        self._free = np.isfinite(penalty)
        matrix = gram[np.ix_(self._free, self._free)]
        matrix[np.diag_indices_from(matrix)] += penalty[self._free]
        self._scale = 1.0 / np.sqrt(np.diag(matrix))  # features of any scale: a unit diagonal
        matrix *= self._scale[:, np.newaxis] * self._scale
        for attempt in range(MOST_SHIFTS):
            try:
                self._factor = cho_factor(matrix, lower=False, check_finite=False)
                break
            except LinAlgError:
                matrix[np.diag_indices_from(matrix)] += FIRST_SHIFT * 10.0**attempt

    def solve(self, right: Floats) -> Floats:
        found = np.zeros(len(right))
        inner = cho_solve(self._factor, self._scale * right[self._free], check_finite=False)
        found[self._free] = self._scale * inner
        return found


def _stalls(gaps: list[float], patience: int) -> bool:
    """Return whether the last iterations have not halved the least gap before them."""
    return len(gaps) > patience and min(gaps[-patience:]) > min(gaps[:-patience]) / 2


def interior_point(
    passes: Passes, penalty: Floats, *, tol: float, max_iter: int, verbose: int = 0
) -> Solution:
    """Minimise the penalty and the losses of all rows.

    Parameters
    ----------
    passes : Passes
        What the rows are asked.
    penalty : ndarray
        The diagonal of R; inf holds an entry at 0.
    tol : float
        Largest gap between the two objectives, relative to them.
    max_iter : int
        Most iterations.
    verbose : int
        Above 0, every iteration tells its objective and gap on stderr.

    Returns
    -------
    Solution
    """
    free = np.isfinite(penalty)
    R = np.where(free, penalty, 0.0)
    vectors = np.zeros((3, len(penalty)))  # w, its predicted and its corrected direction
    step, barrier, floor, tol = 0.0, 0.0, 0.0, max(tol, LEAST_GAP)
    best = Solution(vectors[0], 0, False, np.inf, np.inf)
    gaps: list[float] = []
    passes.begin()
    for n_iter in range(max_iter + 1):
        at = passes.equations(vectors, barrier, step)
        w = vectors[0] + step * vectors[2]
        pull = np.where(free, at["pull"], 0.0)
        residual = pull - R * w
        objective = float(w @ (R * w) / 2 + at["primal"])
        floor = floor or LEAST_OBJECTIVE * objective
        if not all(np.isfinite(found).all() for found in (objective, residual, at["gram"])):
            break
        equations = _Equations(at["gram"], penalty)
        # The gap is what the rows lack of complementarity, and residual^T R^-1 residual / 2. Rounding holds
        # up the second where R says little about a coefficient; the equations tell better what it is worth.
        gap = float(at["primal"] - at["dual"] + w @ pull + residual @ equations.solve(residual) / 2)
        gaps.append(max(gap, 0.0) / max(objective, floor) if floor else 0.0)  # nothing is below 0
        if verbose:
            print(f"interior point {n_iter}: objective {objective:.9g}, gap {gap:.3g}", file=sys.stderr)
        if objective <= best.objective:
            best = Solution(w, n_iter, False, objective, gap)
        # rounding may have held up an objective that is tiny beside that of coefficients 0
        small = SMALL_GAP if gap > LEAST_GAP * floor / LEAST_OBJECTIVE else np.inf
        if gaps[-1] <= tol or (min(gaps) <= small and _stalls(gaps, PATIENCE)):
            best = replace(best, converged=True)
            break
        if n_iter == max_iter or _stalls(gaps, LAST_PATIENCE):
            break
        products = float(at["products"])
        right = residual + at["target"]
        vectors = np.stack([w, equations.solve(right), np.zeros_like(w)])
        ahead = passes.correct(vectors)
        reach = min(1.0, 1.0 / largest_ratio_of(ahead["overshoot"]))
        # what is left of the products after the predicted direction: Mehrotra keeps the cube of its share
        left = max((1.0 - reach) * products + reach * reach * float(ahead["cross"]), 0.0)
        barrier = min(left / products, 1.0) ** CENTERING_POWER * products / float(at["live"])
        vectors[2] = equations.solve(right + barrier * ahead["centering"] + ahead["correction"])
        step = min(1.0, TO_THE_BOUNDARY / largest_ratio_of(passes.limit(vectors, barrier)["overshoot"]))
    passes.end()
    return replace(best, n_iter=n_iter)
