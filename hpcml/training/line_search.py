"""Rounds of steps with a line search; each costs one pass over the rows for all problems together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hpcml.training.lbfgs import LbfgsSteps
from hpcml.training.linear_objective import Objective
from hpcml.training.newton_steps import Steps
from hpcml.training.preconditioners import Preconditioner
from hpcml.training.proximal import least_subgradient

__all__ = ["MOST_POLISH", "LineSearch", "optima_near"]

Floats = NDArray[np.float64]
Problems = NDArray[np.intp]

#: Parameters of problems whose vectors are computed with together: what is made of them on the way stays in
#: the second cache.
NUMBERS_AT_ONCE = 1 << 16
#: Share of the promised decrease that a step must bring (Armijo).
ARMIJO = 1e-4
#: A step that fails is cut to between these shares of its length.
CUT = (0.1, 0.5)
MOST_CUTS = 40
#: The same for steps that promise no more than rounding.
MOST_ROUNDING_CUTS = 4
#: Differences of values, relative to them, that rounding makes: those of 64 last bits, as in SciPy's L-BFGS
#: where scikit-learn calls it; values of float32 rows change by the rounding of margins.
ROUNDING = {8: 64 * np.finfo(np.float64).eps, 4: 1e-7}
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
    """The state of problems while they are minimised.

    A step is tried in all of them at a time, for which the rows are read once; all else is done for some
    problems after others.

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
    n_iter: NDArray[np.int64]
    converged: NDArray[np.bool_]

    def __init__(
        self,
        objective: Objective,
        steps: Steps,
        tol: float | Floats,
        max_iter: int | NDArray[np.int64],
        most_polish: int = MOST_POLISH,
    ) -> None:
        n_problems, size = objective.shape
        tol, max_iter = np.broadcast_to(tol, n_problems), np.broadcast_to(max_iter, n_problems)
        each = max(1, NUMBERS_AT_ONCE // size)
        self._objective, self._parts = objective, []
        for start in range(0, n_problems, each):
            own = np.arange(start, min(start + each, n_problems))
            part = _Part(objective.of(own), steps.of(own), tol[own], max_iter[own], most_polish)
            self._parts.append((slice(start, start + len(own)), part))

    @property
    def live(self) -> Problems:
        """Return the problems that are not finished."""
        return np.concatenate([own.start + part.live for own, part in self._parts])

    def begin(self, P: Floats, known: tuple[Floats, Floats] | None = None) -> None:
        """Go to parameters, where the objective's values and gradients may be known."""
        smooth, G = self._objective.evaluate(P) if known is None else known
        self.P, self.values, self.norms = P.copy(), np.empty(len(P)), np.empty(len(P))
        self.n_iter, self.converged = np.zeros(len(P), dtype=np.int64), np.zeros(len(P), dtype=bool)
        for own, part in self._parts:
            part.P, part.values, part.norms = self.P[own], self.values[own], self.norms[own]
            part.n_iter, part.converged = self.n_iter[own], self.converged[own]
            part.begin(smooth[own], G[own])

    def run(self, P: Floats) -> None:
        """Go to parameters, and on until all problems are finished."""
        self.begin(P)
        while self.live.size:
            self.round()

    def finite(self) -> NDArray[np.bool_]:
        """Return whether value, gradient and all curvature of every problem are finite."""
        return np.concatenate([part.finite() for _, part in self._parts])

    def round(self) -> bool:
        """Try a step in every problem that is not finished; return whether one was taken."""
        live, taken, stop = self.live, False, 0
        trial, places = np.empty((len(live), self.P.shape[1])), []
        for _, part in self._parts:
            start, stop = stop, stop + len(part.live)
            if stop > start:
                places.append((slice(start, stop), part))
                trial[start:stop] = part.trial()
        smooth, gradient = self._objective.of(live).evaluate(trial)
        for own, part in places:
            taken |= part.take(trial[own], smooth[own], gradient[own])
        return taken


class _Part:
    """The state of some problems; what all of them have is in views of the arrays of `LineSearch`."""

    P: Floats
    values: Floats
    norms: Floats
    n_iter: NDArray[np.int64]
    converged: NDArray[np.bool_]
    live: Problems

    def __init__(
        self, objective: Objective, steps: Steps, tol: Floats, max_iter: NDArray[np.int64], most_polish: int
    ) -> None:
        self._objective, self._steps, self._most_polish = objective, steps, most_polish
        self._tol, self._max_iter = tol, max_iter
        self._l1, self._with_l1 = objective.l1, bool(objective.l1.any())
        self._rounding = ROUNDING[objective.itemsize]

    def begin(self, smooth: Floats, G: Floats) -> None:
        n_problems = len(self.P)
        self._G = G.copy()
        self.values[:] = smooth + self._absolute(self.P, self._l1)
        self.norms[:] = self._norms(np.arange(n_problems))
        self._best = self.values.copy(), self.norms.copy()
        self._idle = np.zeros(n_problems, dtype=np.int64)
        self._polished = np.zeros(n_problems, dtype=np.int64)
        self._first_above = np.zeros(n_problems)  # the minimum, where the gradient had become small
        self._D, self._promised = np.zeros_like(self.P), np.zeros(n_problems)
        self._t, self._cuts = np.ones(n_problems), np.zeros(n_problems, dtype=np.int64)
        self._above = np.full(n_problems, np.inf)  # the minimum, before the last step
        self.live = np.arange(n_problems)
        self._next(self.live)

    def finite(self) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(self.values) & np.isfinite(self._G).all(axis=1) & self._steps.finite)

    def trial(self) -> Floats:
        """Return where the steps of the problems that are not finished lead."""
        i = self.live
        D = self._t[i][:, np.newaxis] * self._D[i]
        return self._steps.trial(i, self.P[i], self._G[i], D)

    def take(self, trial: Floats, smooth: Floats, gradient: Floats) -> bool:
        """Take the steps that are good, and shorten the others; return whether one was taken."""
        i = self.live
        P, t = self.P[i], self._t[i]
        values = smooth + self._absolute(trial, self._l1[i])
        good = self._is_good(i, values - self.values[i], self._slope(i, P, trial, gradient))
        taken = i[good]
        if taken.size:
            step, change = (trial, gradient) if good.all() else (trial[good], gradient[good])
            self._steps.accepted(taken, step - self.P[taken], change - self._G[taken])
            self.P[taken], self._G[taken], self.values[taken] = step, change, values[good]
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
    objective: Objective,
    precondition: Preconditioner,
    start: Floats,
    near: Floats,
    max_iter: NDArray[np.int64],
) -> Floats:
    """Return about the optima of problems without an l1 penalty, by L-BFGS steps.

    Parameters
    ----------
    objective : Objective
    precondition : Preconditioner
    start : ndarray of shape (problems, parameters)
    near : ndarray of shape (problems,)
        Greatest entry of the gradient that is left.
    max_iter : ndarray of int of shape (problems,)
    """
    search = LineSearch(objective, LbfgsSteps(objective, precondition), near, max_iter, most_polish=0)
    search.run(start)
    return objective.symmetric(search.P)
