"""What a farm of MPI ranks costs: ``mpirun -n 2 python -m hpcml.farm -m benchmarks.farm [--only CASE]``.

The same tasks run in turns on the ranks and on as many of joblib's own processes, or on as many threads of
this process; all do a part of them before the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
from joblib import Parallel, delayed
from sklearn.datasets import make_regression

import hpcml
from hpcml import machine
from hpcml.ensemble import RandomForestRegressor
from hpcml.joblib_backends import register_mpi
from hpcml.model_selection import GridSearchCV

__all__ = ["measure"]

ROUNDS = 5
#: Of the long case.
FEW_ROUNDS = 3
#: Share of the rows of a grid before the clock.
WARM_UP = 0.02
#: Tasks that do nothing, and tasks of 50 ms.
EMPTY, BUSY = 500, 40
SECONDS = 0.05
#: Float64 values of 80 MB.
VALUES = 10_000_000
#: Trees of the largest forest of the grid.
TREES = 200


def _spin(seconds: float) -> None:
    start = time.thread_time()
    while time.thread_time() - start < seconds:
        pass


def _first(X: np.ndarray) -> float:
    return float(X[0])


def _empty(ranks: int, _: float) -> None:
    Parallel(batch_size=1)(delayed(abs)(i) for i in range(EMPTY))


def _busy(ranks: int, _: float) -> None:
    Parallel(batch_size=1)(delayed(_spin)(SECONDS) for _ in range(BUSY))


_X = np.random.default_rng(0).random(VALUES)


def _array(ranks: int, _: float) -> None:
    Parallel()(delayed(_first)(_X) for _ in range(ranks))


def _grid(ranks: int, scale: float) -> None:
    X, y = make_regression(max(60, int(6000 * scale)), 20, noise=1.0, random_state=0)
    grid = {"max_features": [4, 8, 12, 16], "max_depth": [6, None], "n_estimators": [TREES // 2, TREES]}
    with hpcml.config_context(n_threads=ranks if _is_here() else None):
        GridSearchCV(RandomForestRegressor(random_state=0), grid, cv=3, refit=False).fit(X, y)


def _is_here() -> bool:
    return "Mpi" not in type(joblib.parallel.get_active_backend()[0]).__name__


#: What is measured, and who does it besides the farm.
CASES: dict[str, tuple[Callable[[int, float], None], str]] = {
    "empty tasks": (_empty, "loky"),
    "tasks of 50 ms": (_busy, "loky"),
    "80 MB to every rank": (_array, "loky"),
    "a grid of forests": (_grid, "threads"),
}


def _seconds(backend: str, ranks: int, case: Callable[[int, float], None], scale: float) -> float:
    where: Any = contextlib.nullcontext()
    if backend != "threads":
        where = joblib.parallel_backend(backend, n_jobs=ranks)
    with where:
        start = time.perf_counter()
        case(ranks, scale)
        return time.perf_counter() - start


def measure(name: str, rounds: int | None = None, scale: float = 1.0) -> dict[str, list[float]]:
    """Return seconds of a case, by who did it: the farm and the other one, in turns.

    Parameters
    ----------
    name : str
        Of `CASES`.
    rounds : int, optional
    scale : float
        Share of the rows of the grid.
    """
    case, other = CASES[name]
    with joblib.parallel_backend("mpi"):
        ranks = joblib.effective_n_jobs()
    samples: dict[str, list[float]] = {"mpi": [], other: []}
    for i in range(1 + (rounds or (FEW_ROUNDS if other == "threads" else ROUNDS))):
        for backend, times in samples.items():
            seconds = _seconds(backend, ranks, case, scale if i else scale * WARM_UP)
            if i:
                times.append(seconds)
    return samples


if __name__ == "__main__":
    parser = argparse.ArgumentParser("benchmarks.farm", description=__doc__)
    parser.add_argument("--only", action="append", choices=CASES, help="a case; repeat for more")
    parser.add_argument("--rounds", type=int, help="after one that warms up")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the grid's rows (default: 1)")
    given = parser.parse_args()
    register_mpi()
    print(f"{machine.cpu_model()}, {machine.usable_cores()[1]}; ms: median (least to most)")
    for each in given.only or CASES:
        by_whom = measure(each, given.rounds, given.scale)
        told = "; ".join(
            f"{who} {1e3 * np.median(t):.1f} ({1e3 * min(t):.1f} to {1e3 * max(t):.1f})"
            for who, t in by_whom.items()
        )
        mine, theirs = (float(np.median(t)) for t in by_whom.values())
        print(f"{each:20} {told}; {theirs / mine:.2f} x its speed", flush=True)
    print(f"empty tasks: {EMPTY}, tasks of 50 ms: {BUSY}")
