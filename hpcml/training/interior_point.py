"""Losses that are sums of hinges: a primal-dual interior-point method, Mehrotra's predictor and corrector.

Ferris, Munson (2002), Interior-point methods for massive support vector machines, SIAM J. Optim. 13(3);
Mehrotra (1992), On the implementation of a primal-dual interior point method, SIAM J. Optim. 2(4).

    minimise over w   w^T R w / 2 + sum_j c_j max(0, o_j - s_j w.x)
    maximise over a   sum_j o_j a_j - |sum_j s_j a_j x|^2 / 2  (in the norm of R^-1),  0 <= a_j <= c_j

Rows enter through sums alone: every iteration solves (R + sum D x x^T) dw = g twice, with one number D a row.
Several models step together: a pass over the rows serves all of them, and those that have ended leave it.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from hpcml.communicators import Table
from hpcml.kernels.overshoot import largest_ratio_of

__all__ = ["HingePasses", "Hinges", "Passes", "Solution", "interior_point", "minimise_hinges"]

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
#: Hinges of a row that are stepped together, at most: what a block of rows has of them stays in the cache.
HINGES_AT_ONCE = 16
#: Normal equations that are added up together take at most so many bytes: they are kept for every thread.
EQUATIONS_BYTES = 4 << 20
#: The state of the rows takes at most so many bytes, unless that of one model takes more.
STATE_BYTES = 256 << 20
#: Row arrays of the state.
_STATE = ("alpha", "lower", "upper")


class Passes(Protocol):
    """Passes over the rows of a table, whose state is the dual variables and their multipliers.

    Vectors hold coefficients, their predicted and their corrected direction, each of all models. Barriers and
    steps have one number a model, and so have all sums.
    """

    def begin(self) -> None:
        """Put the state where the method starts, for coefficients that are 0."""
        ...

    def equations(self, vectors: Floats, barrier: Floats, step: Floats) -> Sums:
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

    def limit(self, vectors: Floats, barrier: Floats) -> Sums:
        """Return ``overshoot`` of the corrected direction."""
        ...

    def keep(self, models: list[int]) -> None:
        """Go on with these models alone."""
        ...

    def end(self) -> None:
        """Forget the state."""
        ...


@dataclass(frozen=True)
class Hinges:
    """Which hinges rows have under M models, as the kernels of ``interior_point`` take it.

    Parameters
    ----------
    loss : {'hinge', 'epsilon_insensitive'}
    price : ndarray of shape (M,)
        Weight of the loss of a row, of the class +1 under hinge.
    other_price : ndarray of shape (M,)
        That of rows of the class -1 under hinge.
    positive : ndarray of shape (M,)
        The class +1.
    epsilon : float
        Half width of the tube.
    """

    loss: str
    price: Floats
    other_price: Floats
    positive: Floats
    epsilon: float = 0.0

    def of(self, models: Any) -> Hinges:
        """Return those of some models."""
        some = {name: getattr(self, name)[models] for name in ("price", "other_price", "positive")}
        return replace(self, **some)

    @property
    def of_a_row(self) -> int:
        """Hinges that a row has under each model."""
        return 1 if self.loss == "hinge" else 2


def _spread(y: Floats, weights: Floats | None = None) -> dict[str, float]:
    live = np.ones(len(y), dtype=bool) if weights is None else weights > 0
    return {"rows": float(live.sum()), "sum": float(np.abs(y[live]).sum())}


def _left(alpha: Floats, lower: Floats, upper: Floats, columns: NDArray[np.intp]) -> dict[str, Floats]:
    states = {"alpha": alpha, "lower": lower, "upper": upper}
    return {name: np.take(state, columns, axis=1) for name, state in states.items()}


class HingePasses:
    """The passes for hinges, by the kernels of ``interior_point``.

    Parameters
    ----------
    table : Table
        Holds X, ``y`` and perhaps weights; at least one row must have a weight.
    hinges : Hinges
        Which hinges the rows have.
    """

    def __init__(self, table: Table, hinges: Hinges) -> None:
        self._table, self._hinges = table, hinges

    @property
    def _what(self) -> dict[str, Any]:
        return dict(vars(self._hinges))

    def begin(self) -> None:
        least = 1.0
        if self._hinges.loss == "epsilon_insensitive":
            spread = self._table.map_reduce(_spread)
            least = float(spread["sum"] / spread["rows"]) or 1.0
        self._table.map_rows("interior_start", least=least, **self._what)

    def equations(self, vectors: Floats, barrier: Floats, step: Floats) -> Sums:
        found = self._table.map_reduce(
            "interior_gram", vectors=vectors, barrier=barrier, step=step, **self._what
        )
        return found | {"live": 2.0 * found["live"]}  # a hinge has two bounds

    def correct(self, vectors: Floats) -> Sums:
        return self._table.map_reduce("interior_correct", vectors=vectors[:2], **self._what)

    def limit(self, vectors: Floats, barrier: Floats) -> Sums:
        return self._table.map_reduce("interior_step", vectors=vectors, barrier=barrier, **self._what)

    def keep(self, models: list[int]) -> None:
        J = self._hinges.of_a_row
        columns = (J * np.array(models)[:, np.newaxis] + np.arange(J)).ravel()
        self._table.map_rows(_left, columns=columns)
        self._hinges = self._hinges.of(models)

    def end(self) -> None:
        self._table.drop(*_STATE)


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


class _Model:
    """One of the models: its coefficients and how near they are to the optimum."""

    def __init__(self, penalty: Floats, tol: float, max_iter: int, verbose: int) -> None:
        self._penalty, self._max_iter, self._verbose = penalty, max_iter, verbose
        self._tol = max(tol, LEAST_GAP)
        self._free = np.isfinite(penalty)
        self._R = np.where(self._free, penalty, 0.0)
        self._best = Solution(np.zeros(len(penalty)), 0, False, np.inf, np.inf)
        self._gaps: list[float] = []
        self._floor = 0.0
        self.barrier = 0.0
        #: What was found, as soon as it is.
        self.solution: Solution | None = None

    def predicted(self, n_iter: int, at: Sums, w: Floats) -> Floats:
        """Return the predicted direction at coefficients `w`; the model may have ended there."""
        pull = np.where(self._free, at["pull"], 0.0)
        residual = pull - self._R * w
        objective = float(w @ (self._R * w) / 2 + at["primal"])
        self._floor = floor = self._floor or LEAST_OBJECTIVE * objective
        if not all(np.isfinite(found).all() for found in (objective, residual, at["gram"])):
            self._end(n_iter)
            return np.zeros_like(w)
        self._equations = _Equations(at["gram"], self._penalty)
        # The gap is what the rows lack of complementarity, and residual^T R^-1 residual / 2. Rounding holds
        # up the second where R says little about a coefficient; the equations tell better what it is worth.
        gap = float(at["primal"] - at["dual"] + w @ pull + residual @ self._equations.solve(residual) / 2)
        gaps = self._gaps
        gaps.append(max(gap, 0.0) / max(objective, floor) if floor else 0.0)  # nothing is below 0
        if self._verbose:
            print(f"interior point {n_iter}: objective {objective:.9g}, gap {gap:.3g}", file=sys.stderr)
        if objective <= self._best.objective:
            self._best = Solution(w, n_iter, False, objective, gap)
        # rounding may have held up an objective that is tiny beside that of coefficients 0
        small = SMALL_GAP if gap > LEAST_GAP * floor / LEAST_OBJECTIVE else np.inf
        if gaps[-1] <= self._tol or (min(gaps) <= small and _stalls(gaps, PATIENCE)):
            self._best = replace(self._best, converged=True)
            self._end(n_iter)
        elif n_iter == self._max_iter or _stalls(gaps, LAST_PATIENCE):
            self._end(n_iter)
        self._products, self._live = float(at["products"]), float(at["live"])
        self._right = residual + at["target"]
        return self._equations.solve(self._right)

    def corrected(self, ahead: Sums) -> Floats:
        """Return the corrected direction, and set the barrier that it is to reach."""
        products, reach = self._products, min(1.0, 1.0 / largest_ratio_of(ahead["overshoot"]))
        # what is left of the products after the predicted direction: Mehrotra keeps the cube of its share
        left = max((1.0 - reach) * products + reach * reach * float(ahead["cross"]), 0.0)
        self.barrier = min(left / products, 1.0) ** CENTERING_POWER * products / self._live
        return self._equations.solve(self._right + self.barrier * ahead["centering"] + ahead["correction"])

    def _end(self, n_iter: int) -> None:
        self.solution = replace(self._best, n_iter=n_iter)


def interior_point(
    passes: Passes, penalty: Floats, limits: Sequence[tuple[float, int]], *, verbose: int
) -> list[Solution]:
    """Minimise the penalty and the losses of all rows, for every model.

    Parameters
    ----------
    passes : Passes
        What the rows are asked.
    penalty : ndarray of shape (M, d + 1)
        The diagonal of R of every model; inf holds an entry at 0.
    limits : sequence of (float, int)
        Of every model: the largest gap between the two objectives, relative to them; most iterations.
    verbose : int
        Above 0, every iteration tells objective and gap of every model on stderr.

    Returns
    -------
    list of Solution
    """
    models = [_Model(own, *limit, verbose) for own, limit in zip(penalty, limits, strict=True)]
    going = list(models)
    vectors = np.zeros((3, *penalty.shape))  # w, its predicted and its corrected direction
    step, barrier = np.zeros(len(models)), np.zeros(len(models))
    passes.begin()
    for n_iter in itertools.count():
        at = passes.equations(vectors, barrier, step)
        w = vectors[0] + step[:, np.newaxis] * vectors[2]
        sums = zip(going, _apart(at), w, strict=True)
        predicted = np.stack([model.predicted(n_iter, own, own_w) for model, own, own_w in sums])
        on = [m for m, model in enumerate(going) if model.solution is None]
        if not on:
            break
        if len(on) < len(going):
            passes.keep(on)
            going, w, predicted = [going[m] for m in on], w[on], predicted[on]
        vectors = np.stack([w, predicted, np.zeros_like(w)])
        ahead = _apart(passes.correct(vectors))
        vectors[2] = [model.corrected(own) for model, own in zip(going, ahead, strict=True)]
        barrier = np.array([model.barrier for model in going])
        ratios = [largest_ratio_of(counts) for counts in passes.limit(vectors, barrier)["overshoot"]]
        step = np.minimum(1.0, TO_THE_BOUNDARY / np.array(ratios))
    passes.end()
    solutions = [model.solution for model in models if model.solution is not None]
    assert len(solutions) == len(models)
    return solutions


def _apart(sums: Sums) -> list[Sums]:
    """Return the sums of every model."""
    names, parts = list(sums), zip(*sums.values(), strict=True)
    return [dict(zip(names, of_one, strict=True)) for of_one in parts]


def minimise_hinges(
    table: Table,
    hinges: Hinges,
    penalty: Floats,
    limits: Sequence[tuple[float, int]],
    *,
    verbose: int = 0,
) -> list[Solution]:
    """Minimise the penalty and the hinges of all models, so many of them together as gain by it.

    Parameters
    ----------
    table : Table
        Holds X, ``y`` and perhaps weights; at least one row must have a weight.
    hinges : Hinges
        Of every model.
    penalty, limits, verbose
        As for `interior_point`.

    Returns
    -------
    list of Solution
    """
    n_models, size = penalty.shape
    state = len(_STATE) * hinges.of_a_row * np.dtype(np.float64).itemsize * table.n_rows
    at_once = min(
        HINGES_AT_ONCE // hinges.of_a_row, EQUATIONS_BYTES // (8 * size * size), STATE_BYTES // state
    )
    found: list[Solution] = []
    for some in np.array_split(np.arange(n_models), -(-n_models // max(1, at_once))):
        passes = HingePasses(table, hinges.of(some))
        found += interior_point(passes, penalty[some], [limits[m] for m in some], verbose=verbose)
    return found
