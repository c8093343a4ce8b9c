"""Interleaved rounds, A B C A B C, in a new order each round, so that drift of the machine hits all alike."""

import gc
import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.data import Dataset, head
from benchmarks.kinds import Accuracy, Scaling, Speed
from benchmarks.peers import PEERS, contestant

__all__ = ["Options", "measure_accuracy", "measure_scaling", "measure_speed"]

# Rows of the warm-up: enough to start pools of threads and workers and to compile what is compiled late.
WARM_UP_ROWS = 500

# A number of jobs that takes this much longer than the contestant's best one is not tried again.
HOPELESS = 1.5

# Two mean scores differ if they are this many standard errors apart. With 5 seeds each (8 degrees of freedom)
# that happens by chance once in 250 comparisons; a grid has 9 of them, and they go together.
STANDARD_ERRORS = 4.0


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Parameters
    ----------
    rounds : int
        Samples of each contestant, as far as the budget lasts.
    budget : float
        Seconds a case may spend on one contestant with one number of jobs; one sample is always taken.
    jobs : tuple of int
        Numbers of jobs that each contestant runs with; the better one counts.
    seed : int
        Seed of data, estimators and order.
    scale : float
        Share of the rows.
    say : callable
        Told what is being done.
    """

    rounds: int = 5
    budget: float = 60.0
    jobs: tuple[int, ...] = (1, 2)
    seed: int = 0
    scale: float = 1.0
    say: Callable[[str], None] = print


#: Seconds before a sample, in which threads of the contestant before, that still look for work, fall asleep.
REST = 0.1


@dataclass
class _Entry:
    """One contestant with one number of jobs."""

    peer: str
    n_jobs: int
    run: Callable[[], Any]
    samples: list[float] = field(default_factory=list)
    result: Any = None
    given_up: bool = False

    def sample(self) -> None:
        gc.collect()
        time.sleep(REST)
        started = time.perf_counter()
        self.result = self.run()
        self.samples.append(time.perf_counter() - started)

    def record(self) -> dict[str, Any]:
        return {"n_jobs": self.n_jobs, "samples": self.samples}


def measure_speed(case: Speed, options: Options) -> dict[str, Any]:
    """Time every installed contestant of a case.

    Parameters
    ----------
    case : Speed
    options : Options

    Returns
    -------
    dict
        For each contestant its better number of jobs, the samples of all, median, quality, ratio to hpcml.
    """
    data = case.data(options.seed, options.scale)
    results, entries = [], []
    for name in case.peers:
        result = contestant(name)
        results.append(result)
        if "skipped" in result:
            continue
        try:
            entries += [_prepared(case, data, name, n_jobs, options) for n_jobs in options.jobs]
        except Exception as error:  # a contestant that fails is a result, not the end of the run
            result["skipped"] = f"{type(error).__name__}: {error}"
    _rounds(case.name, entries, options)
    for result in results:
        own = [entry for entry in entries if entry.peer == result["contestant"] and entry.samples]
        if "skipped" in result or not own:
            result.setdefault("skipped", "failed")
            continue
        best = min(own, key=lambda entry: statistics.median(entry.samples))
        result |= {
            "n_jobs": best.n_jobs,
            "median": statistics.median(best.samples),
            "samples": best.samples,
            "variants": [entry.record() for entry in own],
            "quality": float(np.mean(case.work.quality(best.result, data))),
        }
    _compare(results, case.targets)
    return {"kind": "speed", "case": case.name, "title": case.title, "data": data.about, "results": results}


def _prepared(case: Speed, data: Dataset, name: str, n_jobs: int, options: Options) -> _Entry:
    options.say(f"{case.name}: {PEERS[name].name} warms up with {n_jobs} jobs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case.work.prepare(PEERS[name], head(data, WARM_UP_ROWS), n_jobs, options.seed)()
        return _Entry(name, n_jobs, case.work.prepare(PEERS[name], data, n_jobs, options.seed))


def _rounds(name: str, entries: list[_Entry], options: Options) -> None:
    rng = np.random.default_rng(options.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(options.rounds):
            options.say(f"{name}: round {i + 1} of {options.rounds}")
            for j in rng.permutation(len(entries)):
                entry = entries[j]
                if not entry.given_up:
                    entry.sample()
            for entry in entries:
                best = min(sum(e.samples) / len(e.samples) for e in entries if e.peer == entry.peer)
                hopeless = sum(entry.samples) / len(entry.samples) > HOPELESS * best
                too_long = sum(entry.samples) + entry.samples[-1] > options.budget
                entry.given_up = entry.given_up or hopeless or too_long


def _compare(results: list[dict[str, Any]], targets: Any) -> None:
    own = next((each for each in results if each["contestant"] == "hpcml" and "median" in each), None)
    for result in results:
        name = result["contestant"]
        if own is not None and "median" in result:
            result["ratio"] = result["median"] / own["median"]
        if name in targets:
            result["target"] = targets[name]
            result["met"] = result["ratio"] >= targets[name] if "ratio" in result else None


def measure_scaling(scaling: Scaling, options: Options) -> dict[str, Any]:
    """Time every contestant at every size.

    Parameters
    ----------
    scaling : Scaling
    options : Options

    Returns
    -------
    dict
        The results of each size; for each contestant the time per unit as a multiple of the least size's.
    """
    sizes = [(size, measure_speed(scaling.case(size), options)) for size in scaling.sizes]
    growth: dict[str, list[float]] = {}
    for size, measured in sizes:
        for result in measured["results"]:
            if "median" in result:
                growth.setdefault(result["contestant"], []).append(result["median"] / size)
    growth = {name: [each / values[0] for each in values] for name, values in growth.items()}
    own = growth.get("hpcml")
    return {
        "kind": "scaling",
        "case": scaling.name,
        "title": scaling.title,
        "axis": scaling.axis,
        "sizes": [{"size": size, **measured} for size, measured in sizes],
        "growth": growth,
        "allowed": scaling.allowed,
        "met": own is not None and own[-1] <= scaling.allowed,
    }


def measure_accuracy(case: Accuracy, options: Options) -> dict[str, Any]:
    """Compare the scores that contestants reach over several seeds.

    Parameters
    ----------
    case : Accuracy
    options : Options

    Returns
    -------
    dict
        For each contestant its scores, mean and spread, and the greatest difference to scikit-learn.
    """
    data = case.data(options.seed, options.scale)
    scores: dict[str, np.ndarray] = {}
    results: list[dict[str, Any]] = []
    for name in case.peers:
        result = contestant(name)
        results.append(result)
        if "skipped" in result:
            continue
        rows = []
        try:
            for seed in range(case.n_seeds):
                options.say(f"{case.name}: {PEERS[name].name}, seed {seed + 1} of {case.n_seeds}")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    fitted = case.work.prepare(PEERS[name], data, max(options.jobs), seed)()
                    rows.append(case.work.quality(fitted, data))
        except Exception as error:
            result["skipped"] = f"{type(error).__name__}: {error}"
            continue
        scores[name] = np.array(rows)
        result |= {
            "scores": scores[name].tolist(),
            "mean": scores[name].mean(axis=0).tolist(),
            "spread": scores[name].std(axis=0, ddof=1).tolist(),
        }
    for result in results:
        if result["contestant"] in scores and "sklearn" in scores:
            result |= _difference(scores[result["contestant"]], scores["sklearn"], case.allowed)
    return {
        "kind": "accuracy",
        "case": case.name,
        "title": case.title,
        "data": data.about,
        "results": results,
    }


def _difference(ours: np.ndarray, theirs: np.ndarray, allowed: float) -> dict[str, Any]:
    """Compare two arrays of shape (seeds, candidates), candidate by candidate."""
    n = len(ours)
    difference = ours.mean(axis=0) - theirs.mean(axis=0)
    error = np.sqrt((ours.var(axis=0, ddof=1) + theirs.var(axis=0, ddof=1)) / n)
    limit = np.maximum(STANDARD_ERRORS * error, allowed)
    worst = int(np.argmax(np.abs(difference) - limit))
    return {
        "difference": float(difference[worst]),
        "limit": float(limit[worst]),
        "met": bool(math.fabs(difference[worst]) <= limit[worst] or not np.any(difference)),
    }
