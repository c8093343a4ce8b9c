"""``python -m benchmarks.validate [WORKERS ...]``: predicted makespans beside measured ones, in Markdown.

Real joblib backends hand tasks to workers that sleep for measured durations: dispatch is real, computing is
emulated, so this validates dispatch and scheduling alone. What a call and a task cost is measured on two
workers; the predictions are made before the larger runs.
"""

import argparse
import contextlib
import dataclasses
import itertools
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from joblib import Parallel, delayed

from benchmarks.processes import processor_seconds
from hpcml import machine
from hpcml.scaling.predict import FarmCosts, predict_farm

__all__ = ["Row", "costs", "durations", "table", "validate"]

#: Measured durations are slept this many times as long: 64 sleepers then seldom wake at the same time.
STRETCH = 30.0
#: Calls on two workers that tell the costs, and between how many seconds their tasks sleep. joblib looks for
#: results every 10 ms: short tasks meet all phases of it. Spark takes three times as long between short tasks
#: as between those that are predicted.
CALLS = {"multiprocessing": (40, 0.01, 0.02), "loky": (40, 0.01, 0.02), "spark": (12, 0.1, 0.4)}


@dataclass(frozen=True)
class Row:
    """One emulated run."""

    backend: str
    p: int
    tasks: int
    predicted: float
    low: float
    high: float
    measured: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return abs(self.predicted / self.measured - 1)


def durations(n_tasks: int, seed: int) -> np.ndarray:
    """Return measured seconds of fits of forests of different sizes, drawn with replacement.

    Parameters
    ----------
    n_tasks : int
    seed : int
    """
    from hpcml.ensemble import RandomForestRegressor

    rng = np.random.default_rng(seed)
    X, y = rng.random((1500, 10)), rng.random(1500)
    measured = []
    for n in (5, 10, 20, 40, 60):
        forest = RandomForestRegressor(n, max_depth=8, n_jobs=1, random_state=0)
        forest.fit(X, y)
        runs = []
        for _ in range(3):
            started = time.perf_counter()
            forest.fit(X, y)
            runs.append(time.perf_counter() - started)
        measured.append(min(runs))
    return STRETCH * rng.choice(measured, n_tasks)


#: Who slept, from when to when.
_Nap = tuple[int, float, float]


def _nap(seconds: float) -> _Nap:
    """Sleep; return who slept, from when to when by the clock of the machine."""
    begun = time.monotonic()
    time.sleep(seconds)
    return os.getpid(), begun, time.monotonic()


def _sleep(run: Parallel, times: Sequence[float]) -> tuple[float, list[float], list[_Nap]]:
    """Let a warm pool sleep through tasks: seconds, when joblib took each task, and what `_nap` tells."""
    taken: list[float] = []

    def tasks() -> Iterator[Any]:
        for each in times:
            taken.append(time.monotonic())
            yield delayed(_nap)(each)

    started = time.monotonic()
    naps = run(tasks())
    return (
        time.monotonic() - started,
        [each - started for each in taken],
        [(who, begun - started, ended - started) for who, begun, ended in naps],
    )


def costs(run: Parallel, calls: int, least: float, most: float, *, tasks: int = 8) -> list[FarmCosts]:
    """Return what calls and their tasks cost on a warm pool of two workers beside sleeping.

    Parameters
    ----------
    run : Parallel
    calls : int
    least, most : float
        Between how many seconds the tasks of a call sleep, all the same.
    tasks : int
        Of each call.
    """
    rng = np.random.default_rng(0)
    found: list[FarmCosts] = []
    used = processor_seconds()
    for _ in range(calls):
        seconds = rng.uniform(least, most)
        whole, taken, naps = _sleep(run, [seconds] * tasks)
        dispatch = np.diff(taken).tolist()
        overhead = []
        for worker in {who for who, *_ in naps}:
            own = sorted((begun, ended) for who, begun, ended in naps if who == worker)
            # from the end of one task to that of the next, which was asleep for its own seconds
            overhead += [after[1] - before[1] - seconds for before, after in itertools.pairwise(own)]
        start = min(begun for _, begun, _ in naps) - statistics.median(dispatch)
        end = whole - max(ended for *_, ended in naps)
        found.append(FarmCosts(dispatch, overhead, max(0.0, start), end))
    # what processes compute, here and below, is part of what tasks take beside sleeping; the rest is waiting
    spent = tasks * sum(statistics.mean(call.overhead) for call in found)
    share = min(1.0, max(0.0, processor_seconds() - used) / spent)
    return [dataclasses.replace(call, computing=share) for call in found]


@contextlib.contextmanager
def _pool(backend: str, p: int) -> Iterator[Parallel]:
    """Open a warm pool of p workers."""
    with contextlib.ExitStack() as opened:
        if backend == "spark":
            from hpcml.joblib_backends import register_spark
            from hpcml.joblib_backends.spark_session import new_session

            register_spark()
            opened.callback(new_session("hpcml validation", f"local[{p}]").stop)
        opened.enter_context(joblib.parallel_config(backend, n_jobs=p))
        run = opened.enter_context(Parallel(batch_size=1, pre_dispatch="all"))
        for _ in range(64 // p if backend == "spark" else 3):  # Java compiles what it has run often
            run(delayed(time.sleep)(0.02) for _ in range(4 * p))  # all workers are there
        yield run


def validate(backend: str, workers: Sequence[int], *, sets: int = 3, tasks_a_worker: int = 4) -> list[Row]:
    """Predict, then run.

    Parameters
    ----------
    backend : {'multiprocessing', 'loky', 'spark'}
        Of joblib.
    workers : sequence of int
    sets : int
        Of tasks.
    tasks_a_worker : int
        Not more than Spark makes partitions of.
    """
    with _pool(backend, 2) as run:
        spent = costs(run, *CALLS[backend])
    cores = machine.usable_cores()[0]
    rows = []
    for p in workers:
        cases = [durations(tasks_a_worker * p, seed) for seed in range(sets)]
        predicted = [predict_farm(times, p, spent, spread=0.0, cores=cores) for times in cases]
        with _pool(backend, p) as run:
            for times, told in zip(cases, predicted, strict=True):
                measured, *_ = _sleep(run, times.tolist())
                rows.append(Row(backend, p, len(times), told.value, told.low, told.high, measured))
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return rows as Markdown, with the median and the largest error below.

    Parameters
    ----------
    rows : sequence of Row
    """
    lines = [
        "| backend | workers | tasks | predicted | interval | measured | error |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in rows:
        lines.append(
            f"| {each.backend} | {each.p} | {each.tasks} | {each.predicted:.3f} s | "
            f"{each.low:.3f}–{each.high:.3f} s | {each.measured:.3f} s | {100 * each.error:.1f} % |"
        )
    errors = [each.error for each in rows]
    covered = sum(each.low <= each.measured <= each.high for each in rows)
    lines += [
        "",
        f"Median error {100 * statistics.median(errors):.1f} %, largest {100 * max(errors):.1f} %; "
        f"{covered} of {len(rows)} intervals hold what was measured.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Validate what the command line asks for."""
    parser = argparse.ArgumentParser("python -m benchmarks.validate", description=__doc__)
    parser.add_argument("workers", type=int, nargs="*", default=[8, 32, 64])
    parser.add_argument("--backend", default="multiprocessing", choices=["multiprocessing", "loky", "spark"])
    parser.add_argument("--sets", type=int, default=3, help="of tasks (default: 3)")
    given = parser.parse_args()
    print(table(validate(given.backend, given.workers, sets=given.sets)))


if __name__ == "__main__":
    main()
