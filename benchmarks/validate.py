"""``python -m benchmarks.validate``: predicted makespans beside measured ones, as a table of Markdown.

Real joblib backends hand tasks to workers that sleep for measured durations: dispatch is real, computing is
emulated, so this validates dispatch and scheduling alone. The dispatch cost is measured on two workers; the
predictions are made before the larger runs.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from hpcml.scaling.predict import predict_farm

__all__ = ["Row", "durations", "emulated", "table", "validate"]

#: Measured durations are slept this many times as long: 64 sleepers wake on two cores without queueing.
STRETCH = 10.0


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


def emulated(run: Callable[..., object], times: Sequence[float]) -> float:
    """Return the seconds in which a warm joblib pool sleeps through tasks of these durations.

    Parameters
    ----------
    run : Parallel
    times : sequence of float
    """
    started = time.perf_counter()
    run(delayed(time.sleep)(each) for each in times)
    return time.perf_counter() - started


def _costs(backend: str) -> tuple[float, float]:
    """Return least and greatest seconds that a task costs beside computing, measured on two workers."""
    with Parallel(2, backend=backend, batch_size=1, pre_dispatch="all") as run:
        run(delayed(time.sleep)(0) for _ in range(20))
        costs = [emulated(run, [0.002] * 60) / 30 - 0.002 for _ in range(5)]
    return max(0.0, min(costs)), max(0.0, statistics.median(costs))


def validate(backend: str, workers: Sequence[int], *, sets: int = 3, tasks_a_worker: int = 4) -> list[Row]:
    """Predict, then run.

    Parameters
    ----------
    backend : str
        Of joblib.
    workers : sequence of int
    sets : int
        Of tasks.
    tasks_a_worker : int
    """
    overhead = _costs(backend)
    rows = []
    for p in workers:
        cases = [durations(tasks_a_worker * p, seed) for seed in range(sets)]
        predicted = [predict_farm(times, p, overhead=overhead, spread=0.01) for times in cases]
        with Parallel(p, backend=backend, batch_size=1, pre_dispatch="all") as run:
            run(delayed(time.sleep)(0.2) for _ in range(2 * p))  # all workers are there
            for times, told in zip(cases, predicted, strict=True):
                measured = emulated(run, times.tolist())
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
    lines += [
        "",
        f"Median error {100 * statistics.median(errors):.1f} %, largest {100 * max(errors):.1f} %.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Validate on joblib's own processes."""
    workers = [int(each) for each in sys.argv[1:]] or [8, 32, 64]
    print(table([row for backend in ("multiprocessing",) for row in validate(backend, workers)]))


if __name__ == "__main__":
    main()
