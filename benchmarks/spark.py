"""joblib's backends on one cluster: ``python -m benchmarks.spark [--rounds 3] [--only NAME]``.

A real master and two executors of one core each (``local-cluster[2,1,1024]``) serve hpcml's backend and
joblibspark's in turns; serial runs and joblib's own two processes are beside them. Each has Python workers of
its own. The start of the session and a small call of each contestant come before the clock. Forests take no
more threads than a task has cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import numpy as np
from joblib import Parallel, delayed
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV

import hpcml
from hpcml import machine

__all__ = ["CASES", "cluster", "measure"]

#: What is looked for: how many times as fast as another contestant.
TARGETS = {
    "grid": {"joblibspark": 1.8, "serial": 1.0},
    "shared-grid": {"joblibspark": 10.0},
    "long-grid": {"threads": 0.85},
    "short": {"joblibspark": 10.0},
    "table": {"joblibspark": 4.0},
}

#: Share of the work that each contestant does before the clock.
WARM_UP = 0.02

GRID = {"max_depth": [4, 8, 12], "max_features": [2, 4, 8]}


def _forest_grid(scale: float) -> Callable[[str], Any]:
    X, y = make_classification(max(60, int(3000 * scale)), 20, n_informative=8, random_state=0)

    def run(_: str) -> Any:
        forest = RandomForestClassifier(100, n_jobs=1, random_state=0)
        return GridSearchCV(forest, GRID, cv=3, refit=False).fit(X, y)

    return run


def _shared_grid(scale: float) -> Callable[[str], Any]:
    X, y = make_classification(max(60, int(3000 * scale)), 20, n_informative=8, random_state=0)

    def run(who: str) -> Any:
        ours = who == "hpcml"
        module = hpcml.ensemble.RandomForestClassifier if ours else RandomForestClassifier
        search = hpcml.model_selection.GridSearchCV if ours else GridSearchCV
        return search(module(100, n_jobs=1, random_state=0), GRID, cv=3, refit=False).fit(X, y)

    return run


def _long_grid(scale: float) -> Callable[[str], Any]:
    X, y = make_regression(max(60, int(6000 * scale)), 20, noise=1.0, random_state=0)
    grid = {"max_features": [4, 8, 12, 16], "max_depth": [6, None], "n_estimators": [100, 200]}

    def run(who: str) -> Any:
        here = who == "threads"
        with hpcml.config_context(n_threads=2 if here else None):
            search = hpcml.model_selection.GridSearchCV(
                hpcml.ensemble.RandomForestRegressor(random_state=0), grid, cv=3, refit=False
            )
            return search.fit(X, y)

    return run


def _short_tasks(scale: float) -> Callable[[str], Any]:
    n = max(4, int(200 * scale))
    return lambda _: Parallel()(delayed(time.sleep)(0.005) for _ in range(n))


def _large_table(scale: float) -> Callable[[str], Any]:
    X = np.random.default_rng(0).random((max(100, int(1_000_000 * scale)), 10))
    return lambda _: Parallel()(delayed(np.sum)(X) for _ in range(12))


#: Title, maker of the work, contestants beside hpcml.
CASES: dict[str, tuple[str, Callable[[float], Callable[[str], Any]], tuple[str, ...]]] = {
    "grid": (
        "9 x 3 scikit-learn forests, 3000 x 20",
        _forest_grid,
        ("joblibspark", "loky", "serial"),
    ),
    "shared-grid": ("the same grid over hpcml's forest", _shared_grid, ("joblibspark",)),
    "long-grid": ("4 x 2 x 2 x 3 forests of hpcml, 6000 x 20, against 2 threads", _long_grid, ("threads",)),
    "short": ("200 tasks of 5 ms", _short_tasks, ("joblibspark", "loky")),
    "table": ("12 tasks over 80 MB", _large_table, ("joblibspark", "loky")),
}

_BACKENDS = {"hpcml": "spark", "joblibspark": "joblibspark", "loky": "loky", "serial": "threading"}


def _backend(who: str) -> contextlib.AbstractContextManager[Any]:
    if who == "threads":  # hpcml's own
        return contextlib.nullcontext()
    return joblib.parallel_backend(_BACKENDS[who], n_jobs=1 if who == "serial" else 2)


@contextlib.contextmanager
def cluster(settings: dict[str, str] | None = None) -> Iterator[Any]:
    """Give a session with a master and two executors of one core each, and both backends.

    Parameters
    ----------
    settings : dict of str to str, optional
        Of Spark.
    """
    import joblibspark.backend
    from pyspark.sql import SparkSession

    from hpcml.joblib_backends import register_spark

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    folder = os.path.dirname(os.path.dirname(os.path.abspath(hpcml.__file__)))
    builder = SparkSession.builder.master("local-cluster[2,1,1024]").appName("hpcml benchmarks")
    builder = builder.config("spark.ui.showConsoleProgress", "false").config("spark.ui.enabled", "false")
    for name, value in (settings or {}).items():
        builder = builder.config(name, value)
    session = builder.config("spark.executorEnv.PYTHONPATH", folder).getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    register_spark()
    joblib.register_parallel_backend("joblibspark", joblibspark.backend.SparkDistributedBackend)
    try:
        yield session
    finally:
        session.stop()


def measure(names: list[str], rounds: int, scale: float) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of every contestant of the cases, one after another in turns.

    Parameters
    ----------
    names : list of str
        Of `CASES`.
    rounds : int
    scale : float
        Share of rows and tasks.
    """
    found: dict[str, dict[str, list[float]]] = {}
    with cluster() as session:
        for name in names:
            _, make, others = CASES[name]
            run = make(scale)
            times = found[name] = {who: [] for who in ("hpcml", *others)}
            warm_up = make(scale * WARM_UP)
            for turn in range(-1, rounds):
                for who in times:
                    session.sparkContext.environment["HPCML_CONTESTANT"] = who  # Spark keeps workers by it
                    with _backend(who):
                        start = time.perf_counter()
                        (run if turn >= 0 else warm_up)(who)
                        if turn >= 0:
                            times[who].append(time.perf_counter() - start)
    return found


def main() -> None:
    """Measure what the command line asks for and print it."""
    parser = argparse.ArgumentParser("python -m benchmarks.spark", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of rows and tasks (default: 1)")
    parser.add_argument("--only", action="append", choices=CASES, help="a case; repeat for more")
    given = parser.parse_args()
    found = measure(given.only or list(CASES), given.rounds, given.scale)
    print(f"{machine.cpu_model()}, {machine.usable_cores()[1]}; seconds: median (least to most)")
    for name, times in found.items():
        print(CASES[name][0])
        own = float(np.median(times["hpcml"]))
        for who, samples in times.items():
            target = TARGETS[name].get(who)
            ratio = "" if who == "hpcml" else f", {np.median(samples) / own:.2f} times hpcml's"
            asked = f" (target {target:g})" if target else ""
            spread = f"{np.median(samples):.2f} ({min(samples):.2f} to {max(samples):.2f})"
            print(f"  {who:12} {spread}{ratio}{asked}")


if __name__ == "__main__":
    main()
