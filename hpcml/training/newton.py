"""Newton's method for linear models: the whole Hessian where that is cheap, else one of a sample as a start.

Problems with few parameters for their rows take damped Newton steps with the exact Hessian. Others take
L-BFGS steps (Liu and Nocedal, Mathematical Programming 45, 1989) that are preconditioned with the Hessian of
a sample of the rows at the sample's own optimum, or with the diagonal of the Hessian. An l1 penalty is met by
proximal Newton steps (Lee, Sun and Saunders, SIAM Journal on Optimization 24, 2014), or, for many
parameters, by orthant-wise L-BFGS steps (Andrew and Gao, ICML 2007).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hpcml.training.close_factors import close_factors, mixed_curvature
from hpcml.training.coupled_sample import by_classes, start_from_coupled_sample
from hpcml.training.lbfgs import NEAR_BY_DIAGONAL, LbfgsSteps
from hpcml.training.line_search import MOST_POLISH, LineSearch, optima_near
from hpcml.training.linear_objective import Objective
from hpcml.training.newton_steps import ExactSteps, Steps
from hpcml.training.preconditioners import by_blocks, by_diagonal

__all__ = ["OVERFLOWED", "Solution", "minimise"]

Floats = NDArray[np.float64]

#: Most parameters of a problem whose whole Hessian is formed for any number of rows, and at all: with more
#: its Cholesky factor costs more than many passes over the rows.
EXACT_PARAMETERS = (512, 1024)
#: Products of rows and squared parameters that the Hessian may cost where there are more: some 20 ms.
EXACT_WORK = 2e9
#: Most numbers of the blocks that a preconditioner may hold (32 MB).
BLOCKS_MEMORY = 4_000_000
#: Rows of a sample: so many that its optimum is near that of all rows, and so many for each parameter that
#: its Hessian is within about a quarter of theirs.
SAMPLE_ROWS = 4096
SAMPLE_ROWS_A_PARAMETER = 27
#: The same where problems that are alike share one Hessian of all classes: it costs their number squared.
COUPLED_ROWS = 4096
COUPLED_ROWS_A_PARAMETER = 32
#: Products of rows and squared parameters up to which problems that are alike take exact steps each: some
#: 10 ms a step.
SHARED_WORK = 2e9
#: The same, of all problems of a sample, up to which exact steps find its optima: more take less time with
#: the Hessian where all parameters are 0, which they share.
SAMPLE_WORK = 1e8
#: Passes over the rows that the Hessians of all rows may cost, instead of a sample's.
HESSIAN_PASSES = 1.0
#: A sample must be this much smaller than the table to be worth its while.
SAMPLE_SHARE = 4


#: What a warning says of problems that have overflowed.
OVERFLOWED = (
    " Sums over the rows overflowed: the values of X are too large for its precision, and scaling X helps."
)


@dataclass(frozen=True)
class Solution:
    """Parameters that a minimisation found, and how it ended; one entry for every problem.

    Parameters
    ----------
    parameters : ndarray of shape (problems, parameters)
    n_iter : ndarray of int
        Accepted steps over all rows.
    converged : ndarray of bool
        Whether the gradient fell to `tol`, or no further step can be told from rounding.
    overflowed : ndarray of bool
        Whether the problem has not converged, and sums of its value, gradient or curvature were not finite.
    """

    parameters: Floats
    n_iter: NDArray[np.int64]
    converged: NDArray[np.bool_]
    overflowed: NDArray[np.bool_]


def minimise(
    objective: Objective,
    start: Floats,
    tol: float | Floats,
    max_iter: int | NDArray[np.int64],
    on_step: Callable[[int, Floats, float], None] | None = None,
    *,
    warm: bool = False,
    most_polish: int = MOST_POLISH,
) -> Solution:
    """Minimise every problem of an objective.

    Parameters
    ----------
    objective : Objective
    start : ndarray of shape (problems, parameters)
    tol : float or ndarray of shape (problems,)
        Greatest entry of the gradient (with l1: of the subgradient of least norm) at which a problem is
        solved.
    max_iter : int or ndarray of shape (problems,)
        Most steps.
    on_step : callable, optional
        Called after every round of steps with its number, the parameters and the greatest entry of all
        gradients.
    warm : bool
        Whether `start` is a solution of a similar problem rather than a mere beginning.
    most_polish : int
        Most steps after the gradient has fallen to `tol`, where the minimum is still far below.

    Returns
    -------
    Solution
    """
    P = objective.symmetric(objective.moved(np.array(start, dtype=np.float64).reshape(objective.shape)))

    def told(n_iter: int, P: Floats, largest: float) -> None:
        if on_step is not None:
            on_step(n_iter, objective.moved_back(P), largest)

    found = _minimised(objective, P, tol, max_iter, told, warm, most_polish)
    return replace(found, parameters=objective.moved_back(found.parameters))


def _minimised(
    objective: Objective,
    P: Floats,
    tol: float | Floats,
    max_iter: int | NDArray[np.int64],
    on_step: Callable[[int, Floats, float], None] | None = None,
    warm: bool = False,
    most_polish: int = MOST_POLISH,
) -> Solution:
    """Do it with the intercepts of rows less the origin."""
    if not np.any(max_iter):
        none = np.zeros(len(P), dtype=bool)
        return Solution(P, np.zeros(len(P), dtype=np.int64), none, none.copy())
    sampled, steps = _plan(objective, P, tol, max_iter, warm)
    search = LineSearch(objective, steps, tol, max_iter, most_polish)
    if sampled is None:
        search.begin(P)
    else:
        search.begin(sampled.P, sampled.known)
        misled = ~(search.values <= sampled.values_before)
        if misled.any():
            search.begin(np.where(misled[:, np.newaxis], P, sampled.P))
        search.n_iter += sampled.n_iter
    while search.live.size:
        if search.round() and on_step is not None:
            on_step(int(search.n_iter.max()), search.P, float(search.norms.max()))
    found = Solution(
        objective.symmetric(search.P), search.n_iter, search.converged, ~search.converged & ~search.finite()
    )
    return found if objective.alike is None else _again(found, objective, P, tol, max_iter)


def _again(
    found: Solution, objective: Objective, P: Floats, tol: float | Floats, max_iter: int | NDArray[np.int64]
) -> Solution:
    """Solve problems that have not converged as if there were none that are alike."""
    left = np.flatnonzero(~found.converged)
    if not left.size:
        return found
    tol, max_iter = np.broadcast_to(tol, len(P)), np.broadcast_to(max_iter, len(P))
    own = replace(objective.of(left), alike=None)
    second = _minimised(own, P[left], tol[left], max_iter[left])
    for name in ("parameters", "n_iter", "converged", "overflowed"):
        getattr(found, name)[left] = getattr(second, name)
    return found


# -- plan ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sampled:
    """The optimum of a sample, the value that it gives to the parameters before, and steps over all rows.

    Also the values and gradients there, if they are known.
    """

    P: Floats
    values_before: Floats
    n_iter: NDArray[np.int64] | int = 0
    known: tuple[Floats, Floats] | None = None


def _plan(
    objective: Objective, P: Floats, tol: float | Floats, max_iter: int | NDArray[np.int64], warm: bool
) -> tuple[_Sampled | None, Steps]:
    """Return a start from a sample, or None, and the kind of steps."""
    n_rows, e, size = objective.table.n_rows, objective.parameters, objective.shape[1]
    shared, chosen, spread = objective.shared()
    n_columns = shared.l2.size // e
    with_l1 = bool(objective.l1.any())
    few, most = EXACT_PARAMETERS
    exact = size <= few or (size <= most and (with_l1 or n_rows * size**2 <= EXACT_WORK))
    if not exact and (with_l1 or n_columns * e * e > BLOCKS_MEMORY):
        D = objective.diagonal(P) if objective.alike is None else objective.diagonal_at_zero()
        return None, LbfgsSteps(objective, by_diagonal(D), NEAR_BY_DIAGONAL)
    n_sampled = max(SAMPLE_ROWS, SAMPLE_ROWS_A_PARAMETER * (size if exact else e))
    whole = n_rows <= SAMPLE_SHARE * n_sampled
    if objective.alike is not None and size <= most and not with_l1:
        n_shared = max(COUPLED_ROWS, COUPLED_ROWS_A_PARAMETER * e) if objective.coupled else n_sampled
        cheap = len(P) * n_rows * size**2 <= SHARED_WORK
        if n_rows >= n_shared and not (whole and exact and (cheap or objective.coupled)):
            if objective.coupled:
                tol, max_iter = np.broadcast_to(tol, len(P)), np.broadcast_to(max_iter, len(P))
                coupled = start_from_coupled_sample(objective, P, tol, max_iter, n_shared)
                return _Sampled(coupled.P, coupled.values_before, coupled.n_iter), coupled.steps
            return _from_shared_sample(objective, P, tol, max_iter, n_shared)
    if whole and exact:
        return None, ExactSteps(objective)
    if whole:
        return None, LbfgsSteps(objective, by_blocks(shared.blocks(P[chosen]), spread))
    with objective.table_of_sample(n_sampled) as table:
        shared, chosen, spread = objective.told_apart(table).shared()
        sample, start = shared.of_sample(table), P[chosen]
        sampled = None
        if not warm:
            near = np.maximum(np.broadcast_to(tol, len(P))[chosen], shared.sampling_error(n_sampled))
            most_steps = np.broadcast_to(max_iter, len(P))[chosen]
            found = _optima_of_sample(sample, start, near, most_steps)
            sampled = _Sampled(found[spread], sample.values(start)[spread])
            start = found
        if exact and with_l1:
            return sampled, ExactSteps(objective)
        H = sample.hessian(start) if exact else sample.blocks(start)
        return sampled, LbfgsSteps(objective, by_blocks(H, spread))


def _from_shared_sample(
    objective: Objective, P: Floats, tol: float | Floats, max_iter: int | NDArray[np.int64], n_sampled: int
) -> tuple[_Sampled, Steps]:
    """Return starts and preconditioners of problems that are alike in groups, one of both for each group.

    Optima that are close to each other have one Hessian.
    """
    with objective.table_of_sample(n_sampled) as table:
        shared, chosen, spread = objective.told_apart(table).shared()
        sample, start = shared.of_sample(table), P[chosen]
        tol_of_each = np.broadcast_to(tol, len(P))[chosen]
        near = np.maximum(tol_of_each, shared.sampling_error(n_sampled))
        most_steps = np.broadcast_to(max_iter, len(P))[chosen]
        found = _optima_of_sample(sample, start, near, most_steps)
        before = sample.values(start)[spread]
        curvature = mixed_curvature(sample, found)
        whole = len(curvature.sources) * objective.parameters <= HESSIAN_PASSES * 4 * len(P)
        factors = curvature.factors(shared if whole else sample, found)
    if len(chosen) == len(P):  # no problems are alike
        return _Sampled(found[spread], before), LbfgsSteps(objective, factors.of(spread))
    near = np.maximum(tol_of_each, shared.sampling_error(objective.table.n_rows))
    found = optima_near(shared, factors, found, near, most_steps)
    known = objective.evaluate_alike(found, spread)
    return _Sampled(found[spread], before, known=known), LbfgsSteps(objective, factors.of(spread))


def _optima_of_sample(sample: Objective, P: Floats, near: Floats, max_iter: NDArray[np.int64]) -> Floats:
    """Return about the optima of a sample.

    Whole Hessians of all problems cost much where there are many parameters: then they are found with those
    where all parameters are 0, of which one serves all strengths of the penalty.
    """
    work = len(P) * sample.table.n_rows * P.shape[1] ** 2
    if sample.l1.any() or work <= SAMPLE_WORK:
        return _minimised(sample, P, near, max_iter, most_polish=0).parameters
    if sample.coupled:
        return optima_near(sample, by_classes(sample), P, near, max_iter)
    factors = close_factors(sample, sample.same_at_zero(), lambda p: sample.losses_hessian(p, 0.0 * P[p]))
    return optima_near(sample, factors, P, near, max_iter)
