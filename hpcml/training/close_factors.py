"""Hessians of problems that differ in their fold or the strength of the penalty: few are formed and factored.

Problems with similar margins have the same curvature of the losses, and those whose penalties differ by
little beside it the same Cholesky factor. For one column, what curvature there is between two problems is
made of theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from scipy.optimize import nnls
from scipy.special import expit

from hpcml.training.linear_objective import Objective, apart
from hpcml.training.preconditioners import SharedFactors, factor_of, finite_curvature

__all__ = ["Factors", "MixedCurvature", "close_factors", "mixed_curvature"]

Floats = NDArray[np.float64]
Problems = NDArray[np.intp]

#: Differences of penalties, relative to the least curvature, by which problems have one factor: what that
#: adds to the error of a sample's Hessian is small.
CLOSE_PENALTY = 0.05
#: Steps of inverse iteration that find the least curvature well enough.
INVERSE_ITERATIONS = 4
#: Rows, at equal distances, by which curvatures are compared.
CURVATURE_ROWS = 256
#: Difference of the curvatures of rows, relative to them, that is left where they are made of those of some
#: problems, and by which problems have one factor.
UNLIKE_CURVATURE, CLOSE_CURVATURE = 0.03, 0.05


@dataclass(frozen=True)
class Factors(SharedFactors):
    """Cholesky factors that problems share.

    Parameters
    ----------
    owners : ndarray of int of shape (factors,)
        Problem for whose Hessian each was made.
    """

    owners: Problems


def close_factors(objective: Objective, source: Problems, losses_of: Callable[[int], Floats]) -> Factors:
    """Factor Hessians, one for all problems whose curvature and penalties are close.

    Parameters
    ----------
    objective : Objective
    source : ndarray of int of shape (problems,)
        For every problem the first one whose losses have the same curvature, but for their scale.
    losses_of : callable
        ``losses_of(p)`` returns the Hessian of the losses of one of these, of their scale.
    """
    factors: list[Floats] = []
    made: list[tuple[int, float]] = []  # for which problem, and the least curvature
    own, sizes = np.empty(len(source), dtype=np.intp), np.ones(len(source))
    finite, losses = True, np.empty((0, 0))
    for p in np.argsort(source, kind="stable").tolist():
        for f, (q, least) in enumerate(made):
            ratio = objective.scale[q] / objective.scale[p]
            near = np.abs(ratio * objective.l2[p] - objective.l2[q]).max() <= CLOSE_PENALTY * least
            if source[q] == source[p] and near:
                own[p], sizes[p] = f, ratio
                break
        else:
            if p == source[p]:
                losses = losses_of(p)
            H, known = finite_curvature(objective.penalised_hessian(losses, p, int(source[p])))
            factor = factor_of(H)
            own[p], finite = len(factors), finite and known
            made.append((p, _least_curvature(objective.of(np.array([p])), factor)))
            factors.append(factor[0])
    return Factors(factors, own, sizes, finite, np.array([q for q, _ in made]))


def _least_curvature(objective: Objective, factor: tuple[Floats, bool]) -> float:
    """Return about the least eigenvalue where the mean over the classes is 0, of one problem."""
    v = objective.symmetric(np.cos(np.arange(len(factor[0]), dtype=np.float64))[np.newaxis])[0]
    size = 1.0
    for _ in range(INVERSE_ITERATIONS):
        v = objective.symmetric(cho_solve(factor, v / np.linalg.norm(v), check_finite=False)[np.newaxis])[0]
        size = float(np.linalg.norm(v))
    return 1.0 / size if np.isfinite(size) and size > 0 else 0.0


# -- one column ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MixedCurvature:
    """Problems of one column of whose curvature that of every problem is made.

    Parameters
    ----------
    sources : ndarray of int of shape (sources,)
    shares : ndarray of shape (problems, sources)
    first : ndarray of int of shape (problems,)
        For every problem the first one with about its curvature.
    """

    sources: Problems
    shares: Floats
    first: Problems

    def factors(self, objective: Objective, P: Floats) -> Factors:
        """Return the factors of Hessians whose losses' part is mixed, where parameters are P."""
        some = objective.of(self.sources)
        H = some.losses_blocks(P[self.sources])

        def losses_of(p: int) -> Floats:
            shares = self.shares[p] * (objective.scale[p] / some.scale)
            return np.asarray((shares @ H.reshape(len(H), -1)).reshape(H.shape[1:]))

        return close_factors(objective, self.first, losses_of)


def mixed_curvature(objective: Objective, P: Floats) -> MixedCurvature:
    """Find problems of whose curvature that of all is made, but for what need not be told apart.

    Parameters
    ----------
    objective : Objective
        Of problems of one column.
    P : ndarray of shape (problems, parameters)
        Where it is looked at.
    """
    n = min(CURVATURE_ROWS, objective.table.n_rows)
    numbers = apart(n, objective.table.n_rows)
    margins = objective.margins(objective.table.take(numbers), P)[:, :, 0]
    D, same = _curvatures(objective, margins, objective.table.take(numbers, "y")), objective.same_at_zero()
    sizes = np.maximum(np.linalg.norm(D, axis=0), np.finfo(float).tiny)
    sources: list[int] = []
    shares, first = np.zeros((len(P), len(P))), np.arange(len(P))
    for group in np.unique(same):
        members = np.flatnonzero(same == group)
        own = [int(members[np.argmax(sizes[members])])]
        while True:
            left = np.empty(len(members))
            for at, p in enumerate(members):
                shares[p, own], left[at] = nnls(D[:, own], D[:, p])
            worst = int(np.argmax(left / sizes[members]))
            if left[worst] <= UNLIKE_CURVATURE * sizes[members[worst]] or members[worst] in own:
                break
            own.append(int(members[worst]))
        sources += own
        for p in members:
            away = np.linalg.norm(D[:, members] - D[:, [p]], axis=0)
            close = members[(first[members] == members) & (away <= CLOSE_CURVATURE * sizes[p])]
            first[p] = min(p, close[0]) if close.size else p
    return MixedCurvature(np.array(sources), shares[:, sources], first)


def _curvatures(objective: Objective, margins: Floats, y: Floats) -> Floats:
    """Return the second derivative of the losses of rows, for every problem of one column."""
    if objective.loss == "logistic":
        return np.asarray(expit(margins) * expit(-margins))
    if objective.loss == "squared_hinge":
        signs = np.where(y[:, np.newaxis] == objective.positive, 1.0, -1.0)
        return np.where(signs * margins < 1.0, 2.0, 0.0)
    return np.where(np.abs(margins - y[:, np.newaxis]) > objective.epsilon, 2.0, 0.0)
