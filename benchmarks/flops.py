"""Rates of k-means' products beside those of this machine's BLAS: ``python -m benchmarks.flops [ROUNDS]``."""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.cases_kmeans import clusters
from hpcml import config
from hpcml.kernels import lookup
from hpcml.kernels.shards import bounds_of

__all__ = ["main"]

SHAPES = ((200_000, 32, 64, "float32"), (50_000, 128, 256, "float32"), (1_000_000, 8, 8, "float64"))
PRODUCT = 2048  # rows and columns of the square product


def _step(rows: int, columns: int, k: int, dtype: str) -> tuple[float, Callable[[], object]]:
    """Return the operations of a Lloyd step, 2 n k d, and the step."""
    X = clusters(rows, columns, k, dtype)(0, 1.0).X
    origin = X.mean(axis=0)
    bounds, labels = bounds_of(len(X)), np.zeros(len(X), dtype=np.int32)
    arguments = {"X": X, "weights": None, "labels": labels, "centers": X[:k] - origin, "origin": origin}
    cut = {"bounds": bounds, "first_shard": 0, "n_shards": len(bounds) - 1, "n_threads": config.n_threads()}
    kernel = lookup("lloyd_step")
    return 2.0 * rows * columns * k, lambda: kernel(**cut, **arguments, with_inertia=0)


def _product(dtype: str) -> tuple[float, Callable[[], object]]:
    a = np.random.default_rng(0).random((PRODUCT, PRODUCT)).astype(dtype)
    return 2.0 * PRODUCT**3, lambda: a @ a


def main(rounds: int = 10) -> None:
    """Print best and median rate of every contestant, measured in turn.

    Parameters
    ----------
    rounds : int
    """
    work = {f"k-means step {n:,} x {d}, k = {k}, {dtype}": _step(n, d, k, dtype) for n, d, k, dtype in SHAPES}
    work |= {
        f"BLAS product {PRODUCT} x {PRODUCT}, {dtype}": _product(dtype) for dtype in ("float32", "float64")
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, (_, run) in work.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    print(f"{'GF/s, ' + str(config.n_threads()) + ' threads':<48}{'best':>8}{'median':>8}")
    for name, (operations, _) in work.items():
        best, middle = min(seconds[name]), statistics.median(seconds[name])
        print(f"{name:<48}{operations / best / 1e9:>8.0f}{operations / middle / 1e9:>8.0f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
