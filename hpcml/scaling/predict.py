"""Predictions for more workers than there are: a model of components, and a replay of tasks.

Nothing here is a curve through measured speed-ups. What is computed is measured on one worker, what travels
is counted, what a message costs is declared (`hpcml.scaling.networks`). Every result is predicted, not
measured.
"""

from __future__ import annotations

import heapq
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from hpcml.communicators.layout import Layout
from hpcml.scaling import laws
from hpcml.scaling.analysis import accepted
from hpcml.scaling.networks import Network
from hpcml.scaling.statistics import LEVEL, Estimate

__all__ = ["LARGEST", "FarmCosts", "predict", "predict_farm", "replay"]

#: The model has nothing to say of more workers: their nodes fail, their network is shared.
LARGEST = 4096
#: Draws behind an interval.
DRAWS = 400
#: Replays behind an interval.
REPLAYS = 200


def _longest(p: int) -> float:
    """Return the expected largest of p standard normal numbers (Blom, "Statistical estimates", 1958)."""
    return float(special.ndtri((p - 0.375) / (p + 0.25))) if p > 1 else 0.0


@dataclass(frozen=True)
class _OneWorker:
    """What the samples of one worker that were not rejected tell."""

    seconds: np.ndarray
    compute: np.ndarray  # seconds in kernels
    sums: float  # over the rows, in a fit
    bytes_a_sum: float
    shards: int  # of which no more workers than these compute
    sigma: float  # relative deviation of equal work


def _one_worker(document: Mapping[str, Any]) -> _OneWorker | None:
    """Return what one worker spent; None if all of its samples were rejected, and raise if there are none."""
    n_rows = document["rows"]

    def of_one_worker(samples: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[Any]]:
        one = [each for each in samples if each["kind"] == "work" and each["p"] == 1 and each["n"] == n_rows]
        return one, [each["activity"][0] for each in one if each.get("activity")]

    _, told = of_one_worker(document["samples"])
    if not told or not any(each.get("sums") for each in told):
        raise ValueError(
            "predict needs samples that report kernels and sums over rows: fits on threads, processes or "
            "mpi, measured with --strong. Got none of them."
        )
    kept = accepted(document)
    one, told = of_one_worker(kept)
    if not told:
        return None
    seconds = np.array([each["seconds"] for each in one])
    compute = np.minimum([each["compute"] for each in told], seconds)
    sums, n_bytes = (float(np.median([each[name] for each in told])) for name in ("sums", "sum_bytes"))
    spins = np.log([each["seconds"] for each in kept if each["kind"] == "spin" and each["p"] == 1])
    # the deviation of a normal of the same median absolute deviation
    sigma = float(np.median(np.abs(spins - np.median(spins))) / special.ndtri(0.75)) if len(spins) else 0.0
    return _OneWorker(seconds, compute, sums, n_bytes / max(1.0, sums), Layout([n_rows]).n_shards, sigma)


def predict(document: Mapping[str, Any], workers: Sequence[int], network: Network) -> dict[str, Any]:
    """Predict the time of a measured fit on p ranks of a cluster, one core each.

    T(p) = serial + (compute / shards) x ceil(shards / p) x (1 + σ E[max of p]) + Σ of sums (α, β, γ): the
    time of one worker's own kernels is shared out by whole shards, the slowest of p workers is waited for,
    and every sum over the rows is one allreduce, by recursive doubling or on a ring, whichever is cheaper.

    Parameters
    ----------
    document : mapping
        A strong measurement whose samples at p = 1 report activity: fits on threads, processes or MPI.
    workers : sequence of int
        At most 4096 each.
    network : Network

    Returns
    -------
    dict
        ``label``, ``network`` and ``rows``: for every p the seconds, the speed-up and its interval.

    Raises
    ------
    ValueError
        If a p is out of range or the document does not report what is needed.
    """
    for p in workers:
        if not 1 <= p <= LARGEST:
            raise ValueError(f"predict must be asked for 1 to {LARGEST} workers. Got {p} instead.")
    found = {"label": "predicted, not measured", "network": network.name, "source": network.source}
    one = _one_worker(document)
    if one is None:
        return {**found, "reason": "every sample of 1 worker was rejected", "rows": []}
    rng = np.random.default_rng(0)
    n, m = len(one.seconds), one.bytes_a_sum
    picked = rng.integers(n, size=(DRAWS, n))
    drawn_compute = np.median(one.compute[picked], axis=1)
    drawn_total = np.median(one.seconds[picked], axis=1)
    alpha, beta, gamma = (
        rng.uniform(low, high, size=DRAWS) for low, high in (network.alpha, network.beta, network.gamma)
    )
    rows = []
    for p in workers:
        chunk = -(-one.shards // p) / one.shards
        waited = 1 + one.sigma * _longest(min(p, one.shards))
        doubling = laws.allreduce_doubling(p, m, alpha, beta, gamma)
        exchange = one.sums * np.minimum(doubling, laws.allreduce_ring(p, m, alpha, beta, gamma))
        drawn = (drawn_total - drawn_compute) + drawn_compute * chunk * waited + exchange
        speedups = drawn_total / drawn
        low, high = np.quantile(speedups, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        rows.append(
            {
                "p": int(p),
                "seconds": float(np.median(drawn)),
                "speedup": float(np.median(speedups)),
                "low": float(low),
                "high": float(high),
                "exchange_seconds": float(np.median(exchange)),
            }
        )
    return {
        **found,
        "alpha": list(network.alpha),
        "beta": list(network.beta),
        "sums": one.sums,
        "bytes_a_sum": one.bytes_a_sum,
        "shards": one.shards,
        "sigma": one.sigma,
        "rows": rows,
    }


def replay(
    times: ArrayLike,
    p: int,
    *,
    dispatch: ArrayLike = 0.0,
    overhead: ArrayLike = 0.0,
    start: float = 0.0,
    end: float = 0.0,
    computing: float = 1.0,
    cores: int | None = None,
) -> float:
    """Return the makespan of independent tasks, event by event: the next task goes to the first free worker.

    Parameters
    ----------
    times : array-like
        Seconds of every task, in the order in which they are handed out.
    p : int
        Workers; more than tasks are idle.
    dispatch : float or array-like
        Seconds that the one dispatcher is busy with each task.
    overhead : float or array-like
        Seconds that a worker spends on each task beside computing.
    start : float
        Seconds from the call to the first dispatch, and of the way of a task to a worker.
    end : float
        Seconds from the end of the last task to the return of the call.
    computing : float
        Share of the overhead in which something computes; in the rest a worker waits for others.
    cores : int, optional
        On which the computing overheads of all workers take turns, as they do where tasks only sleep. None:
        as many as workers.

    Raises
    ------
    ValueError, TypeError
        If `p` or `cores` is below 1 or no whole number, a time below 0, or `computing` not from 0 to 1.

    Examples
    --------
    >>> from hpcml.scaling.predict import replay
    >>> replay([3, 3, 2, 2], 2), replay([1] * 4, 4, dispatch=0.5), replay([3, 3], 2, start=1, end=0.5)
    (5.0, 3.0, 4.5)
    """
    times = np.asarray(times, dtype=np.float64)
    for name, number in (("p", p), ("cores", cores)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, numbers.Integral)):
            raise TypeError(f"{name} must be a whole number of at least 1. Got {number!r} instead.")
    laws.farm_bounds(times.tolist(), p)  # checks the arguments
    p = min(p, max(1, len(times)))
    costs = {"dispatch": dispatch, "overhead": overhead, "start": start, "end": end}
    for name, value in costs.items():
        if not np.all(np.asarray(value) >= 0):
            raise ValueError(f"{name} must be at least 0. Got {value} instead.")
    if not 0 <= computing <= 1:
        raise ValueError(f"computing must lie between 0 and 1. Got {computing} instead.")
    if cores is not None and cores < 1:
        raise ValueError(f"cores must be at least 1. Got {cores} instead.")
    dispatched = start + np.cumsum(np.broadcast_to(dispatch, times.shape))
    beside = np.broadcast_to(overhead, times.shape)
    free, idle, last = [0.0] * p, [0.0] * min(p, cores or p), 0.0
    for ready, cost, seconds in zip(dispatched.tolist(), beside.tolist(), times.tolist(), strict=True):
        begun = max(heapq.heappop(free), heapq.heappop(idle), ready)
        heapq.heappush(idle, begun + computing * cost)
        finished = begun + cost + seconds
        heapq.heappush(free, finished)
        last = max(last, finished)
    return last + end if len(times) else 0.0


@dataclass(frozen=True)
class FarmCosts:
    """What one call of a farm spent beside its tasks.

    Parameters
    ----------
    dispatch : sequence of float
        Seconds that the one dispatcher was busy with a task: some samples.
    overhead : sequence of float
        Seconds that a worker spent on a task beside computing: some samples.
    start : float
        Seconds from the call until the first task began, without its dispatch.
    end : float
        Seconds from the end of the last task to the return of the call.
    computing : float
        Share of the overhead in which something computes.

    Raises
    ------
    ValueError
        If there is no sample of one of them.
    """

    dispatch: Sequence[float] = (0.0,)
    overhead: Sequence[float] = (0.0,)
    start: float = 0.0
    end: float = 0.0
    computing: float = 1.0

    def __post_init__(self) -> None:
        for name in ("dispatch", "overhead"):
            if not len(getattr(self, name)):
                raise ValueError(f"{name} must hold at least one sample. Got none.")


def predict_farm(
    times: ArrayLike,
    p: int,
    costs: Sequence[FarmCosts] = (FarmCosts(),),
    *,
    spread: float = 0.05,
    cores: int | None = None,
    seed: int = 0,
) -> Estimate:
    """Predict the makespan of a farm of tasks, with an interval from what its costs and tasks vary by.

    Every replay draws one of the calls whose costs are known, and the costs of every task from that call:
    what disturbs one task disturbs those beside it.

    Parameters
    ----------
    times : array-like
        Measured seconds of every task.
    p : int
        Workers, at most 4096.
    costs : sequence of FarmCosts
        Of measured calls; by default none cost anything.
    spread : float
        Relative deviation of a task's time from run to run.
    cores : int, optional
        As in `replay`.
    seed : int
        Of the draws.

    Returns
    -------
    Estimate
        Predicted, not measured.

    Raises
    ------
    ValueError
        If `p` is out of range, or there are no costs.

    Examples
    --------
    >>> from hpcml.scaling.predict import FarmCosts, predict_farm
    >>> found = predict_farm([1.0] * 128, 64)
    >>> 1.9 < found.low <= found.value <= found.high < 2.5
    True
    >>> round(predict_farm([1.0] * 4, 2, [FarmCosts(overhead=[0.25], end=0.5)], spread=0.0).value, 2)
    3.0
    """
    if not 1 <= p <= LARGEST:
        raise ValueError(f"p must lie between 1 and {LARGEST}. Got {p} instead.")
    if not costs:
        raise ValueError("costs must hold those of at least one call. Got none.")
    rng = np.random.default_rng(seed)
    times = np.asarray(times, dtype=np.float64)
    n = len(times)
    found = []
    for _ in range(REPLAYS):
        call = costs[int(rng.integers(len(costs)))]
        found.append(
            replay(
                times * np.exp(spread * rng.standard_normal(n)),
                p,
                dispatch=rng.choice(call.dispatch, n),
                overhead=rng.choice(call.overhead, n),
                start=call.start,
                end=call.end,
                computing=call.computing,
                cores=cores,
            )
        )
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(np.median(found)), float(low), float(high), n)
