"""Directions of Newton's method: with the exact Hessian, or with L-BFGS and a preconditioner."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from scipy.linalg.blas import daxpy

from hpcml.training.linear_objective import Objective
from hpcml.training.preconditioners import RIDGE, Preconditioner, factor_of, finite_curvature
from hpcml.training.proximal import least_subgradient, minimum_of_model

__all__ = ["NEAR_BY_DIAGONAL", "ExactSteps", "LbfgsSteps", "Steps"]

Floats = NDArray[np.float64]
Problems = NDArray[np.intp]

#: Greatest damping of a proximal step, relative to the diagonal, and how exact it is at least, relative to
#: the subgradient at its start.
PROXIMAL_DAMPING = 1e-3
PROXIMAL_TOLERANCE = 1e-2
#: Numbers of the Hessians that are added up at a time (16 MB): every thread has its own sum.
HESSIANS_MEMORY = 2_000_000
#: How much above the minimum, relative to it, steps from a Hessian and from its diagonal may leave a value.
#: The first leaves scores of test rows within some 1e-6 of the optimum's, because one more step follows that
#: needs no pass over the rows; with the second it would take too long.
NEAR, NEAR_BY_DIAGONAL = 2e-8, 2e-7
#: Pairs of steps and gradients that L-BFGS keeps; more bring little (Liu and Nocedal 1989).
MOST_PAIRS = 10
#: Numbers of a row from which on it is worth a call of BLAS, without room for what is added.
LONG = 2048
#: Memory for them, in numbers.
PAIRS_MEMORY = 5_000_000


def _dot(A: Floats, B: Floats) -> Floats:
    """Return the inner product of every row of A with that of B."""
    return np.asarray(np.einsum("ij,ij->i", A, B))


def _dot_of(i: Problems, A: Floats, B: Floats) -> Floats:
    """Return the same; of rows that are not in `i`, which are 0 in B, it is 0."""
    if A.shape[1] < LONG:
        return _dot(A, B)
    found = np.zeros(len(A))
    found[i] = [A[p] @ B[p] for p in i]
    return found


def _add_multiples(i: Problems, a: Floats, A: Floats, to: Floats) -> None:
    """Add multiples of the rows of A, 0 but of those in `i`."""
    if A.shape[1] < LONG:
        to += a[:, np.newaxis] * A
        return
    for p in i:
        daxpy(A[p], to[p], a=a[p])


class Steps(Protocol):
    """What a line search asks for, of some of the problems.

    Attributes
    ----------
    near : float
        A value that is this much above the minimum, relative to it, is as good.
    finite : ndarray of bool
        Whether all curvature of every problem has been finite so far.
    """

    near: float
    finite: NDArray[np.bool_]

    def of(self, problems: Problems) -> Steps:
        """Return the same for some of the problems, before the first step."""
        ...

    def directions(self, i: Problems, P: Floats, G: Floats) -> tuple[Floats, Floats]:
        """Return directions from P, where the gradient is G, and the decrease they promise (below 0)."""
        ...

    def trial(self, i: Problems, P: Floats, G: Floats, D: Floats) -> Floats:
        """Return the point that a step D leads to."""
        ...

    def accepted(self, i: Problems, step: Floats, change: Floats) -> None:
        """Learn from a step and the change of the gradient along it."""
        ...

    def decrement(self, i: Problems, P: Floats, G: Floats) -> Floats:
        """Return about how far the values are above the minimum."""
        ...

    def last_step(self) -> Floats | None:
        """Return steps to where those minima are, of the problems of the last decrement, or None."""
        ...


def _proximal_step(H: Floats, g: Floats, p: Floats, l1: Floats, first: float) -> Floats:
    """Return the step to the minimum of the quadratic model.

    The closer the parameters are to the optimum, the less damped and the more exact it is, so that steps
    converge faster than linearly (M.-C. Yue, Z. Zhou, A. M.-C. So, "A family of inexact SQA methods for
    non-smooth convex minimization", Mathematical Programming 174, 2019). How close they are is told by the
    subgradient beside `first`, that of the first step.
    """
    largest = np.abs(least_subgradient(p, g, l1)).max()
    near = min(largest / first, 1.0) if first else 1.0
    diagonal = np.diag(H).copy()
    diagonal[diagonal <= 0] = max(diagonal.max(), np.finfo(float).tiny)
    H[np.diag_indices(len(H))] += (RIDGE + PROXIMAL_DAMPING * near) * diagonal
    return minimum_of_model(H, g, p, l1, min(PROXIMAL_TOLERANCE, near) * largest) - p


class ExactSteps:
    """Newton steps; proximal ones where there is an l1 penalty."""

    near = 1e-12  # one more step gives all digits

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._l1 = objective.l1
        self.finite = np.ones(objective.shape[0], dtype=bool)
        self._factors: dict[int, Any] = {}
        self._first: dict[int, float] = {}  # largest entry of the subgradient at the first step

    def of(self, problems: Problems) -> ExactSteps:
        return ExactSteps(self._objective.of(problems))

    def directions(self, i: Problems, P: Floats, G: Floats) -> tuple[Floats, Floats]:
        D, promised = np.empty_like(P), np.empty(len(i))
        for at, (problem, H) in enumerate(zip(i.tolist(), self._hessians(i, P), strict=True)):
            p, g, l1 = P[at], G[at], self._l1[problem]
            H, finite = finite_curvature(H)
            self.finite[problem] &= finite
            self._factors[problem] = factor_of(H)
            if l1.any():
                first = self._first.setdefault(problem, float(np.abs(least_subgradient(p, g, l1)).max()))
                D[at] = _proximal_step(H, g, p, l1, first)
            else:
                D[at] = -cho_solve(self._factors[problem], g, check_finite=False)
            promised[at] = g @ D[at] + l1 @ (np.abs(p + D[at]) - np.abs(p))
        return D, promised

    def _hessians(self, i: Problems, P: Floats) -> Iterator[Floats]:
        """Return the Hessian of every problem, of as many at a time as memory is for."""
        step = max(1, HESSIANS_MEMORY // P.shape[1] ** 2)
        for start in range(0, len(i), step):
            some = slice(start, start + step)
            yield from self._objective.of(i[some]).hessian(P[some])

    def trial(self, i: Problems, P: Floats, G: Floats, D: Floats) -> Floats:
        return P + D

    def accepted(self, i: Problems, step: Floats, change: Floats) -> None:
        pass

    def decrement(self, i: Problems, P: Floats, G: Floats) -> Floats:
        V = least_subgradient(P, G, self._l1[i])
        found = np.full(len(i), np.inf)
        for at, problem in enumerate(i.tolist()):
            if problem in self._factors:
                found[at] = 0.5 * V[at] @ cho_solve(self._factors[problem], V[at], check_finite=False)
        return found

    def last_step(self) -> Floats | None:
        return None  # steps were taken until all digits are there


class LbfgsSteps:
    """L-BFGS steps from a preconditioner; orthant-wise ones where there is an l1 penalty.

    Parameters
    ----------
    objective : Objective
    precondition : Preconditioner
    near : float
        As `Steps` has it.
    """

    def __init__(self, objective: Objective, precondition: Preconditioner, near: float = NEAR) -> None:
        self.near = near
        self._objective = objective
        self.finite = np.full(objective.shape[0], precondition.finite)
        self._l1 = objective.l1
        self._with_l1 = bool(objective.l1.any())
        self._precondition = precondition
        self._most_pairs = max(3, min(MOST_PAIRS, PAIRS_MEMORY // (2 * objective.l1.size)))
        self._pairs: deque[tuple[Floats, Floats, Floats]] = deque()
        self._sizes = np.ones(objective.shape[0])  # of the steps, relative to the preconditioner's
        self._known: tuple[Problems, Floats] | None = None  # what the last decrement has got

    def of(self, problems: Problems) -> LbfgsSteps:
        own = LbfgsSteps(self._objective.of(problems), self._precondition.of(problems), self.near)
        own._most_pairs = self._most_pairs
        return own

    def _times_inverse(self, i: Problems, R: Floats) -> Floats:
        """Multiply by the inverse of the Hessian that the pairs describe (two-loop recursion)."""
        whole = np.zeros(self._objective.shape)
        whole[i] = R
        kept = []
        for s, y, rho in reversed(self._pairs):
            a = rho * _dot_of(i, s, whole)
            _add_multiples(i, -a, y, whole)
            kept.append(a)
        whole = self._solve(whole) * self._sizes[:, np.newaxis]
        for (s, y, rho), a in zip(self._pairs, reversed(kept), strict=True):
            _add_multiples(i, a - rho * _dot_of(i, y, whole), s, whole)
        return whole[i]

    def _subgradient(self, i: Problems, P: Floats, G: Floats) -> Floats:
        return least_subgradient(P, G, self._l1[i]) if self._with_l1 else G

    def _solve(self, R: Floats) -> Floats:
        return self._objective.symmetric(self._precondition(self._objective.symmetric(R)))

    def directions(self, i: Problems, P: Floats, G: Floats) -> tuple[Floats, Floats]:
        V, D, new = self._subgradient(i, P, G), np.empty_like(P), np.ones(len(i), dtype=bool)
        if self._known is not None:
            known, found = self._known
            at = np.minimum(np.searchsorted(known, i), len(known) - 1)
            new = known[at] != i
            D[~new] = -found[at[~new]]
        if new.any():
            D[new] = -self._times_inverse(i[new], V[new])
        if self._with_l1:
            D[(D * V >= 0) & (self._l1[i] > 0)] = 0.0  # only downhill, entry by entry
        promised = _dot(V, D)
        lost = ~(promised < 0)
        if lost.any():  # rounding has spoilt the pairs
            D[lost] = -V[lost] / np.maximum(np.abs(V[lost]).max(axis=1, keepdims=True), 1.0)
            promised[lost] = _dot(V, D)[lost]
        return D, promised

    def trial(self, i: Problems, P: Floats, G: Floats, D: Floats) -> Floats:
        if not self._with_l1:
            return P + D
        V = least_subgradient(P, G, self._l1[i])
        orthant = np.where(P != 0, np.sign(P), -np.sign(V))
        left = ((P + D) * orthant <= 0) & (self._l1[i] > 0)
        return np.where(left, 0.0, P + D)

    def accepted(self, i: Problems, step: Floats, change: Floats) -> None:
        self._known = None
        if len(self._pairs) == self._most_pairs:  # memory that is there costs less than more of it
            s, y, rho = self._pairs.popleft()
            s[:], y[:], rho[:] = 0.0, 0.0, 0.0
        else:
            s, y, rho = (np.zeros(shape) for shape in (*2 * [self._objective.shape], len(self._sizes)))
        s[i], y[i] = step, change
        curvature = _dot(s, y)
        fine = curvature > np.finfo(float).eps * _dot(y, y)
        rho[fine] = 1.0 / curvature[fine]
        lengths = _dot(y, self._solve(y))
        self._sizes[fine] = (curvature[fine] / lengths[fine]) if fine.any() else 1.0
        self._pairs.append((s, y, rho))

    def decrement(self, i: Problems, P: Floats, G: Floats) -> Floats:
        V = self._subgradient(i, P, G)
        self._known = i, self._times_inverse(i, V)
        return 0.5 * _dot(V, self._known[1])

    def last_step(self) -> Floats | None:
        return None if self._with_l1 or self._known is None else -self._known[1]
