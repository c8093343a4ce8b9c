"""What a line search asks of the directions of Newton's method, and those of the exact Hessian."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from hpcml.training.linear_objective import Objective
from hpcml.training.preconditioners import RIDGE, factor_of, finite_curvature
from hpcml.training.proximal import least_subgradient, minimum_of_model

__all__ = ["ExactSteps", "Steps"]

Floats = NDArray[np.float64]
Problems = NDArray[np.intp]

#: Greatest damping of a proximal step, relative to the diagonal, and how exact it is at least, relative to
#: the subgradient at its start.
PROXIMAL_DAMPING = 1e-3
PROXIMAL_TOLERANCE = 1e-2
#: Numbers of the Hessians that are added up at a time (16 MB): every thread has its own sum.
HESSIANS_MEMORY = 2_000_000


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
