"""Start and preconditioner of multinomial problems that differ in their fold or the strength of the penalty.

A whole Hessian, of all classes, costs as much as many passes over the rows. So there are few of them, of a
sample, as `hpcml.training.close_factors` has it. The sample's optima are found with the Hessian where all
parameters are 0, which is that of one class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from hpcml.training.close_factors import close_factors
from hpcml.training.lbfgs import LbfgsSteps
from hpcml.training.line_search import LineSearch, optima_near
from hpcml.training.linear_objective import Objective, apart
from hpcml.training.preconditioners import Inverses, factor_of, finite_curvature

__all__ = ["by_classes", "close_optima", "start_from_coupled_sample"]

Floats = NDArray[np.float64]

#: Rows, and the mean square root of differences of margins, by which optima of a sample are close.
CLOSE_ROWS = 256
CLOSE = 0.3
#: How much above the minimum, relative to it, optima over all rows may be: those of folds are further away.
NEAR_ALL_ROWS = 1e-7


@dataclass(frozen=True)
class CoupledStart:
    """Where the problems start, and with what steps.

    Parameters
    ----------
    P : ndarray of shape (problems, parameters)
    values_before : ndarray of shape (problems,)
        The values that the sample gives to the parameters before.
    n_iter : ndarray of int of shape (problems,)
        Steps over all rows of the folds that have led there.
    steps : LbfgsSteps
    """

    P: Floats
    values_before: Floats
    n_iter: NDArray[np.int64]
    steps: LbfgsSteps


def start_from_coupled_sample(
    objective: Objective, P: Floats, tol: Floats, max_iter: NDArray[np.int64], n_sampled: int
) -> CoupledStart:
    """Return where the problems start, after solving one of those that share a factor.

    Those with another penalty start as far from its optimum as their own optima over all rows are apart.

    Parameters
    ----------
    objective : Objective
        Multinomial, with problems that are alike and no l1 penalty.
    P : ndarray of shape (problems, parameters)
    tol, max_iter : ndarray of shape (problems,)
    n_sampled : int
        Rows of the sample.
    """
    with objective.table_of_sample(n_sampled) as table:
        shared, chosen, spread = objective.told_apart(table).shared()
        sample, start = shared.of_sample(table), P[chosen]
        near = np.maximum(tol[chosen], shared.sampling_error(n_sampled))
        optima = optima_near(sample, by_classes(sample), start, near, max_iter[chosen])
        before = sample.values(start)[spread]
        factors = close_factors(
            sample, close_optima(sample, optima), lambda p: sample.losses_hessian(p, optima[p])
        )
    steps = LbfgsSteps(shared, factors, NEAR_ALL_ROWS)
    search = LineSearch(shared, steps, tol[chosen], max_iter[chosen])
    search.run(optima)
    found = shared.symmetric(search.P)
    leader = _leaders(objective, spread, factors.owners[factors.own[spread]])
    leaders, at = np.unique(leader, return_inverse=True)
    P, n_iter = found[spread], np.zeros(len(P), dtype=np.int64)
    if len(leaders) < len(P):
        first = objective.of(leaders)
        steps = LbfgsSteps(first, factors.of(spread[leaders]))
        search = LineSearch(first, steps, tol[leaders], max_iter[leaders])
        search.run(P[leaders])
        P += objective.symmetric(search.P[at] - P[leader])
        n_iter = np.minimum(search.n_iter[at], max_iter - 1)
    return CoupledStart(P, before, n_iter, LbfgsSteps(objective, factors.of(spread)))


def _leaders(objective: Objective, shared: NDArray[np.intp], owners: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for every problem that of the same fold whose shared problem owns the factor, or itself."""
    folds = np.zeros(len(shared), dtype=np.int64) if objective.folds is None else objective.folds
    places = {key: p for p, key in enumerate(zip(shared.tolist(), folds.tolist(), strict=True))}
    wanted = zip(owners.tolist(), folds.tolist(), strict=True)
    return np.array([places.get(key, p) for p, key in enumerate(wanted)])


def by_classes(objective: Objective) -> Inverses:
    """Return what solves with the Hessians at 0, which are the same for all classes and couple none."""
    inverses, all_finite = [], True
    for block in objective.blocks_at_zero():
        block, finite = finite_curvature(block)
        inverses.append(cho_solve(factor_of(block), np.eye(len(block)), check_finite=False))
        all_finite &= finite
    return Inverses(np.array(inverses), all_finite)


def close_optima(sample: Objective, P: Floats) -> NDArray[np.intp]:
    """Return for every problem one whose margins, and with them the curvature of the losses, are similar.

    Parameters
    ----------
    sample : Objective
    P : ndarray of shape (problems, parameters)
    """
    n = min(CLOSE_ROWS, sample.table.n_rows)
    rows = sample.table.take(apart(n, sample.table.n_rows))
    Z, group = sample.margins(rows, P), sample.same_at_zero()
    source = np.arange(len(P))
    for p in range(len(P)):
        for q in np.flatnonzero((source[:p] == np.arange(p)) & (group[:p] == group[p])):
            if ((Z[:, p] - Z[:, q]) ** 2).mean() <= CLOSE**2:
                source[p] = q
                break
    return source
