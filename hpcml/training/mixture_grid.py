"""Mixtures for many candidates on the same rows: one pass over the rows improves all of them.

Runs from equal starts are one path, whatever their tolerance and their most steps: each candidate leaves it
where it stops. Clusters of k-means that several kinds of covariances start from are found once. Every number
is computed in the order in which a fit of its own computes it, so that the results have the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Communicator, Table
from hpcml.training.gaussians import NotPositiveDefinite
from hpcml.training.grids import Failed
from hpcml.training.kmeans_grid import Asked as AskedClusters
from hpcml.training.kmeans_grid import Draws, Starts, fit_together
from hpcml.training.mixture import EM, Mixture, Run, steps
from hpcml.training.mixture_starts import (
    KMEANS_STEPS,
    STARTS,
    Given,
    Moments,
    from_given,
    from_moments,
    kmeans_tolerance,
    on_rows,
)
from hpcml.training.seeding import dense_rows

__all__ = ["Asked", "fit_mixtures"]

#: A run of a candidate: the candidate, and the number of the run.
Follower = tuple[int, int]


@dataclass(frozen=True)
class Asked:
    """What a candidate asks for.

    Parameters
    ----------
    em : EM
        Of the table that all share.
    k : int
        Number of components.
    how : str
        A key of `hpcml.training.mixture_starts.STARTS`.
    given : Given
    draws : Draws
        The candidate's own, in the state in which its fit begins; it is changed.
    n_runs, max_iter : int
    tol : float
    """

    em: EM
    k: int
    how: str
    given: Given
    draws: Draws
    n_runs: int
    max_iter: int
    tol: float


@dataclass
class _Path:
    """A mixture that improves, and the runs that follow it."""

    em: EM
    mixture: Mixture
    followers: list[Follower]
    lower_bounds: list[float] = field(default_factory=list)


def fit_mixtures(
    table: Table, communicator: Communicator, asked: Mapping[int, Asked]
) -> Iterator[tuple[int, list[Run] | Failed]]:
    """Fit candidates on the rows of a table.

    Parameters
    ----------
    table : Table
    communicator : Communicator
    asked : mapping of int to Asked
        By number of the candidate.

    Yields
    ------
    (int, list of Run or Failed) : tuple
        The candidate, as soon as its runs have ended, and these in the order of their starts.
    """
    failed: dict[int, Failed] = {}
    paths: dict[Any, _Path] = {}
    for (i, number), start in _starts(table, communicator, asked):
        if isinstance(start, Failed):
            failed.setdefault(i, start)
            continue
        em = asked[i].em
        key = (em.covariance_type, em.reg_covar, *(a.tobytes() for a in _arrays(start)), start.means.shape)
        paths.setdefault(key, _Path(em, start, [])).followers.append((i, number))
    yield from failed.items()
    ended: dict[int, dict[int, Run]] = {i: {} for i in asked if i not in failed}
    for (i, number), run in _runs(asked, list(paths.values())):
        if i not in ended:
            continue
        if isinstance(run, Failed):
            del ended[i]
            yield i, run
            continue
        ended[i][number] = run
        if len(ended[i]) == asked[i].n_runs:
            runs = ended.pop(i)
            yield i, [runs[number] for number in sorted(runs)]


def _arrays(mixture: Mixture) -> tuple[NDArray[np.float64], ...]:
    return mixture.weights, mixture.means, mixture.covariances, mixture.factors


# -- starts --------------------------------------------------------------------------------------------------


def _starts(
    table: Table, communicator: Communicator, asked: Mapping[int, Asked]
) -> Iterator[tuple[Follower, Mixture | Failed]]:
    """Yield the mixture that every run starts from."""
    plus_plus = Starts(table, weighted=False)
    clusters: dict[tuple[int, bytes], tuple[NDArray[np.int64], list[Follower]]] = {}
    for number in range(max((one.n_runs for one in asked.values()), default=0)):
        seeded: list[int] = []
        for i, one in asked.items():
            if one.n_runs <= number:
                continue
            try:
                complete = from_given(one.em, one.given)
                if complete is not None:
                    yield (i, number), complete
                elif one.how in ("kmeans", "k-means++"):
                    seeded.append(i)
                else:
                    moments = STARTS[one.how](one.em, communicator, one.k, one.draws.rng)
                    yield (i, number), from_moments(one.em, moments, one.given)
            except ValueError as error:
                yield (i, number), Failed(error)
        drawn = plus_plus([(asked[i].k, asked[i].draws, number + 1 < asked[i].n_runs) for i in seeded])
        for i, rows in zip(seeded, drawn, strict=True):
            if asked[i].how == "k-means++":
                yield (i, number), _start(asked[i], partial(on_rows, asked[i].em, rows))
            else:
                clusters.setdefault((len(rows), rows.tobytes()), (rows, []))[1].append((i, number))
    yield from _from_clusters(table, communicator, asked, list(clusters.values()))


def _from_clusters(
    table: Table,
    communicator: Communicator,
    asked: Mapping[int, Asked],
    clusters: list[tuple[NDArray[np.int64], list[Follower]]],
) -> Iterator[tuple[Follower, Mixture | Failed]]:
    """Run k-means from rows; yield the mixtures of the clusters."""
    if not clusters:
        return
    em = next(iter(asked.values())).em  # all have the same rows
    tol, nothing = kmeans_tolerance(em), Draws(communicator, 0)
    runs = {
        at: AskedClusters(
            n_clusters=len(rows),
            start=partial(_centers, dense_rows(table, rows)),
            draws=nothing,
            n_runs=1,
            max_iter=KMEANS_STEPS,
            tol=tol,
        )
        for at, (rows, _) in enumerate(clusters)
    }
    for at, best in fit_together(table, communicator, runs, em.center, weighted=False):
        assert not isinstance(best, Failed)
        first_means = em.first_means(len(best.centers))
        for i, number in clusters[at][1]:
            yield (i, number), _start(asked[i], partial(asked[i].em.moments_about, first_means))
        table.drop(best.labels)


def _centers(centers: NDArray[Any], draws: Draws) -> NDArray[Any]:
    return centers


def _start(one: Asked, moments: Callable[[], Moments]) -> Mixture | Failed:
    """Return the mixture of the moments that a function returns."""
    try:
        return from_moments(one.em, moments(), one.given)
    except ValueError as error:
        return Failed(error)


# -- steps ---------------------------------------------------------------------------------------------------


def _runs(asked: Mapping[int, Asked], paths: list[_Path]) -> Iterator[tuple[Follower, Run | Failed]]:
    """Step all paths; yield the runs that end."""
    live = []
    for path in paths:
        stay = []
        for i, number in path.followers:
            if asked[i].max_iter == 0:
                yield (i, number), Run(path.mixture)
            else:
                stay.append((i, number))
        path.followers = stay
        live += [path] if stay else []
    while live:
        found = steps([path.em for path in live], [path.mixture for path in live])
        going = []
        for path, improved in zip(live, found, strict=True):
            if isinstance(improved, NotPositiveDefinite):
                for follower in path.followers:
                    yield follower, Failed(improved)
                continue
            before = path.lower_bounds[-1] if path.lower_bounds else -np.inf
            path.mixture, lower_bound = improved
            path.lower_bounds.append(lower_bound)
            change, stay = lower_bound - before, []
            for i, number in path.followers:
                converged = bool(abs(change) < asked[i].tol)
                if converged or len(path.lower_bounds) == asked[i].max_iter:
                    yield (i, number), Run(path.mixture, list(path.lower_bounds), converged)
                else:
                    stay.append((i, number))
            path.followers = stay
            going += [path] if stay else []
        live = going
