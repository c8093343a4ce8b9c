"""Rounds of steps with a line search; each costs one pass over the rows for all problems together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hpcml.training.linear_objective import Objective
from hpcml.training.newton_steps import LbfgsSteps, Steps
from hpcml.training.proximal import least_subgradient

__all__ = ["MOST_POLISH", "LineSearch", "optima_near"]

Floats = NDArray[np.float64]
Precondition = tuple[Callable[[Floats], Floats], bool]

#: Share of the promised decrease that a step must bring (Armijo).
ARMIJO = 1e-4
#: A step that fails is cut to between these shares of its length.
CUT = (0.1, 0.5)
MOST_CUTS = 40
#: The same for steps that promise no more than rounding.
MOST_ROUNDING_CUTS = 4
#: Differences of values, relative to them, that rounding makes: those of 64 last bits, as in SciPy's L-BFGS
#: where scikit-learn calls it; values of float32 rows change by the rounding of margins.
ROUNDING = {8: 64 * np.finfo(np.float64).eps, 4: 1e-8}
#: Steps without progress beyond rounding after which a problem is solved as well as it can be.
MOST_IDLE = 5
#: The gradient may be small where the objective is flat and the minimum far below: then up to this many
#: further steps are taken while the value is estimated to be further above the minimum than `Steps.near`, but
#: not if the mean loss is below the other number: classes that are told apart have their minimum at infinity.
MOST_POLISH = 20
#: Further steps after which it shows whether as many as these will do; if not, there are no more.
SURE_OF_POLISH = 6
#: What one more step, at whose end nothing looks, may leave of `Steps.near`; and from where it may start.
LEFT, MOST_LEFT = 0.1, 100.0
NO_LOSS = 1e-4


class LineSearch:
    """The state of every problem while it is minimised.

    Parameters
    ----------
    objective : Objective
    steps : Steps
    tol : float or ndarray of shape (problems,)
        Greatest entry of the least subgradient of a solved problem.
    max_iter : int or ndarray of shape (problems,)
        Most steps.
    most_polish : int
        Most steps after the gradient has become small, see `MOST_POLISH`.
    """

    P: Floats  # parameters of every problem
    values: Floats
    norms: Floats  # greatest entries of the least subgradients
    live: NDArray[np.intp]  # problems that are not finished

    def __init__(
        self,
        objective: Objective,
        steps: Steps,
        tol: float | Floats,
        max_iter: int | NDArray[np.int64],
        most_polish: int = MOST_POLISH,
    ) -> None:
        self._objective, self._steps, self._most_polish = objective, steps, most_polish
        self._tol = np.broadcast_to(tol, len(objective.l1))
        self._max_iter = np.broadcast_to(max_iter, len(objective.l1))
        self._l1, self._with_l1 = objective.l1, bool(objective.l1.any())
        self._rounding = ROUNDING[objective.itemsize]

    def begin(self, P: Floats, known: tuple[Floats, Floats] | None = None) -> None:
        """Go to parameters, where the objective's values and gradients may be known."""
        n_problems = len(P)
        self.P = P.copy()
        smooth, self._G = self._objective.evaluate(P) if known is None else known
        self.values = smooth + self._absolute(P, self._l1)
        self.norms = self._norms(np.arange(n_problems))
        self.n_iter = np.zeros(n_problems, dtype=np.int64)
        self.converged = np.zeros(n_problems, dtype=bool)
        self._best = self.values.copy(), self.norms.copy()
        self._idle = np.zeros(n_problems, dtype=np.int64)
        self._polished = np.zeros(n_problems, dtype=np.int64)
        self._first_above = np.zeros(n_problems)  # the minimum, where the gradient had become small
        self._D, self._promised = np.zeros_like(self.P), np.zeros(n_problems)
        self._t, self._cuts = np.ones(n_problems), np.zeros(n_problems, dtype=np.int64)
        self._above = np.full(n_problems, np.inf)  # the minimum, before the last step
        self.live = np.arange(n_problems)
        self._next(self.live)

    def run(self, P: Floats) -> None:
        """Go to parameters, and on until all problems are finished."""
        self.begin(P)
        while self.live.size:
            self.round()

    def finite(self) -> NDArray[np.bool_]:
        """Return whether value, gradient and all curvature of every problem are finite."""
        return np.asarray(np.isfinite(self.values) & np.isfinite(self._G).all(axis=1) & self._steps.finite)

    def round(self) -> bool:
        """Try a step in every problem that is not finished; return whether one was taken."""
        i = self.live
        P, G, t = self.P[i], self._G[i], self._t[i]
        D = t[:, np.newaxis] * self._D[i]
        trial = self._steps.trial(i, P, G, D)
        smooth, gradient = self._objective.of(i).evaluate(trial)
        values = smooth + self._absolute(trial, self._l1[i])
        good = self._is_good(i, values - self.values[i], self._slope(i, P, trial, gradient))
        taken = i[good]
        if taken.size:
            self._steps.accepted(taken, (trial - P)[good], (gradient - G)[good])
            self.P[taken], self._G[taken], self.values[taken] = trial[good], gradient[good], values[good]
            self.norms[taken] = self._norms(taken)
            self.n_iter[taken] += 1
            self._above[taken] = np.where(t[good] == 1.0, 0.5 * np.abs(self._promised[taken]), np.inf)
        self._shorten(i[~good], values[~good])
        self._next(taken)
        return bool(taken.size)

    def _absolute(self, P: Floats, l1: Floats) -> Floats:
        return np.asarray((l1 * np.abs(P)).sum(axis=1)) if self._with_l1 else np.zeros(len(P))

    def _norms(self, i: NDArray[np.intp]) -> Floats:
        V = self._G[i]
        if self._with_l1:
            V = least_subgradient(self.P[i], V, self._l1[i])
        return np.asarray(np.abs(V).max(axis=1))

    def _slope(self, i: NDArray[np.intp], P: Floats, trial: Floats, gradient: Floats) -> Floats:
        """Return how the value changes at the end of a step, along it."""
        if not self._with_l1:
            return np.asarray(np.einsum("ij,ij->i", gradient, trial - P))
        signs = np.sign(np.where(trial != 0, trial, P))
        return np.asarray(((gradient + self._l1[i] * signs) * (trial - P)).sum(axis=1))

    def _is_good(self, i: NDArray[np.intp], change: Floats, slope: Floats) -> NDArray[np.bool_]:
        """Return whether the steps may be taken."""
        promised = self._t[i] * self._promised[i]
        with np.errstate(invalid="ignore"):
            good = change <= ARMIJO * promised
            # Values hide small changes behind rounding, gradients do not: the objective is convex, and has
            # fallen all the way where it still falls at the end of the step.
            small = np.abs(change) <= self._rounding * np.abs(self.values[i])
            good |= (
                small & (self._t[i] == 1.0) & (np.abs(promised) <= self._rounding * np.abs(self.values[i]))
            )
            good |= small & (slope <= 0)
        return np.asarray(good & np.isfinite(change))

    def _shorten(self, i: NDArray[np.intp], values: Floats) -> None:
        """Cut the steps of problems to where a parabola has its minimum."""
        promised = self._t[i] * self._promised[i]
        above = values - self.values[i] - promised
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            factor = -promised / (2.0 * above)
        factor = np.clip(np.where(np.isfinite(factor), factor, 0.0), *CUT)
        self._t[i] *= factor
        self._cuts[i] += 1
        hopeless = self._t[i] * np.abs(self._promised[i]) <= self._rounding * np.abs(self.values[i])
        stuck = i[(self._cuts[i] >= MOST_CUTS) | (hopeless & (self._cuts[i] >= MOST_ROUNDING_CUTS))]
        if stuck.size:  # no step brings anything: what is left to gain is rounding, or the problem is broken
            promised, values = np.abs(self._promised[stuck]), np.abs(self.values[stuck])
            self.converged[stuck] = (promised <= np.sqrt(self._rounding) * values) & self.finite()[stuck]
            self.live = np.setdiff1d(self.live, stuck)

    def _reach(self, i: NDArray[np.intp], above: Floats) -> NDArray[np.bool_]:
        """Return whether further steps seem to lead near the minimum before they are too many."""
        n, near = self._polished[i], self._steps.near * np.abs(self.values[i])
        self._first_above[i] = np.where(n == 0, above, self._first_above[i])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            fallen = np.log(above / self._first_above[i]) / n  # by a step
            last = n + np.log(near / above) / fallen
        return np.asarray((n < SURE_OF_POLISH) | ((fallen < 0) & (last <= self._most_polish)))

    def _is_far(self, i: NDArray[np.intp], above: Floats, with_last: bool) -> NDArray[np.bool_]:
        """Return whether values are so far above the minimum that one more look at the rows is worth it."""
        near = self._steps.near * np.abs(self.values[i])
        far = (above > near) & np.isfinite(above)
        if with_last:  # the step that follows leaves about the share that the last one has left
            share = np.minimum(above / self._above[i], 1.0)
            far &= (above > MOST_LEFT * near) | (above * share > LEFT * near)
        return np.asarray(far)

    def _next(self, i: NDArray[np.intp]) -> None:
        """Find out which problems are solved, and the directions of the others."""
        if not i.size:
            return
        broken = ~(np.isfinite(self.values[i]) & np.isfinite(self._G[i]).all(axis=1))
        if broken.any():  # nothing leads on from there
            self.live = np.setdiff1d(self.live, i[broken])
            i = i[~broken]
            if not i.size:
                return
        solved = self.norms[i] <= self._tol[i]
        unsure = i[solved & (self._polished[i] < self._most_polish) & (self.n_iter[i] < self._max_iter[i])]
        if unsure.size:
            above = self._steps.decrement(unsure, self.P[unsure], self._G[unsure])
            last = self._steps.last_step()
            far = self._is_far(unsure, above, last is not None)
            nothing = (NO_LOSS * self._objective.scale * self._objective.total_weight)[unsure]
            more = far & (self.values[unsure] > nothing) & self._reach(unsure, above)
            if last is not None:  # so small that nothing needs to look at where it leads
                ends = ~far & np.isfinite(above)
                self.P[unsure[ends]] += last[ends]
            on = unsure[more]
            self._polished[on] += 1
            solved &= ~np.isin(i, on)
        value, norm = self._best
        progress = (self.values[i] < value[i] - self._rounding * np.abs(value[i])) | (
            self.norms[i] < 0.5 * norm[i]
        )
        self._idle[i] = np.where(progress, 0, self._idle[i] + 1)
        value[i], norm[i] = np.minimum(value[i], self.values[i]), np.minimum(norm[i], self.norms[i])
        idle = self._idle[i] > MOST_IDLE
        self.converged[i] = solved | (idle & self._steps.finite[i]) | (self.norms[i] <= self._tol[i])
        finished = solved | idle | (self.n_iter[i] >= self._max_iter[i])
        self.live = np.setdiff1d(self.live, i[finished])
        on = i[~finished]
        if on.size:
            self._D[on], self._promised[on] = self._steps.directions(on, self.P[on], self._G[on])
            self._t[on], self._cuts[on] = 1.0, 0


def optima_near(
    objective: Objective, precondition: Precondition, start: Floats, near: Floats, max_iter: NDArray[np.int64]
) -> Floats:
    """Return about the optima of problems without an l1 penalty, by L-BFGS steps.

    Parameters
    ----------
    objective : Objective
    precondition : (callable, bool)
        What `LbfgsSteps` takes after the objective.
    start : ndarray of shape (problems, parameters)
    near : ndarray of shape (problems,)
        Greatest entry of the gradient that is left.
    max_iter : ndarray of int of shape (problems,)
    """
    search = LineSearch(objective, LbfgsSteps(objective, *precondition), near, max_iter, most_polish=0)
    search.run(start)
    return objective.symmetric(search.P)
