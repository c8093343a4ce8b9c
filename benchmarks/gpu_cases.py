"""Work for a GPU: the kernels that passes over all rows take their time in, and whole fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import hpcml
from benchmarks.gpu_peers import LIBRARIES
from hpcml import config
from hpcml.ensemble import RandomForestClassifier
from hpcml.kernels import away, lookup
from hpcml.kernels.shards import bounds_of
from hpcml.linear_model import LogisticRegression
from hpcml.model_selection import GridSearchCV

__all__ = ["CASES", "GpuCase", "Work"]

#: Fewest rows, however small the scale.
LEAST_ROWS = 64
OURS, PROCESSOR = "hpcml", "hpcml on the processor"


@dataclass(frozen=True)
class Work:
    """What the work of a case needs at least.

    Parameters
    ----------
    bytes : float
        Read from and written to the memory of the device, each input once.
    operations : float
        Sums and products.
    precision : str
        Of these.
    """

    bytes: float
    operations: float
    precision: str = "float32"


Run = Callable[[], Any]


@dataclass(frozen=True)
class GpuCase:
    """One piece of work, and who does it.

    Parameters
    ----------
    name, title : str
    rows, columns : int
    prepare : callable
        From the table and the name of a contestant, the call that is timed.
    work : callable
        From the numbers of rows and columns, the least `Work`.
    kernels : tuple of str
        Those whose thresholds of ``device="auto"`` follow from the case.
    peers : tuple of str
        Libraries of `benchmarks.gpu_peers`.
    targets : mapping of str to float
        Ratios to contestants that are to be reached; "bound": share of the bound.
    rounds : int
        Samples at most.
    """

    name: str
    title: str
    rows: int
    columns: int
    prepare: Callable[[np.ndarray, str], Run]
    work: Callable[[int, int], Work]
    kernels: tuple[str, ...]
    peers: tuple[str, ...] = ()
    targets: Mapping[str, float] = field(default_factory=dict)
    rounds: int = 100

    def table(self, rows: int, seed: int = 0) -> np.ndarray:
        """Return rows that nobody writes to, so that they stay on the device."""
        X = np.random.default_rng(seed).standard_normal((rows, self.columns), dtype=np.float32)
        X.flags.writeable = False
        return X

    @property
    def contestants(self) -> tuple[str, ...]:
        """hpcml on both, then the libraries that are installed."""
        return OURS, PROCESSOR, *(name for name in self.peers if LIBRARIES[name]() is not None)


def _reduce(name: str, X: np.ndarray, contestant: str, **arguments: Any) -> Run:
    """Return the call of a kernel over all shards, as a table makes it: row arrays stay where they are."""
    bounds = bounds_of(len(X))
    cut = {"bounds": bounds, "first_shard": 0, "n_shards": len(bounds) - 1}
    device = "cuda" if contestant == OURS else "cpu"

    def run() -> Any:
        with hpcml.config_context(device=device), away.lent():
            return lookup(name)(X=X, **cut, **arguments, n_threads=config.n_threads())[1]

    return run


def _fit(estimator: Any, X: np.ndarray, y: np.ndarray, contestant: str) -> Run:
    device = "cuda" if contestant == OURS else "cpu"

    def run() -> Any:
        with hpcml.config_context(device=device):
            return estimator.fit(X, y)

    return run


def _kmeans(X: np.ndarray, contestant: str) -> Run:
    k = min(256, len(X) // 4)
    if contestant not in (OURS, PROCESSOR):
        return LIBRARIES[contestant]().kmeans_step(X, X[:k])
    labels = np.zeros(len(X), dtype=np.int32)
    arguments = {"weights": None, "labels": labels, "centers": X[:k].copy(), "origin": None}
    return _reduce("lloyd_step", X, contestant, **arguments, with_inertia=0)


def _mixture(X: np.ndarray, contestant: str) -> Run:
    d, k = X.shape[1], 16
    rng = np.random.default_rng(1)
    model = {
        "center": np.zeros(d, dtype=X.dtype),
        "means": rng.standard_normal((k, d)).astype(X.dtype),
        "factors": np.tile(np.eye(d, dtype=X.dtype), (k, 1, 1)),
        "log_weights": np.full(k, -math.log(k), dtype=X.dtype),
    }
    if contestant not in (OURS, PROCESSOR):
        return LIBRARIES[contestant]().mixture_step(X, model)
    return _reduce("gaussian_step", X, contestant, **model, shifts=model["means"])


def _targets(X: np.ndarray) -> np.ndarray:
    """Return classes that overlap."""
    rng = np.random.default_rng(2)
    return (X[:, 0] - X[:, 1] + rng.standard_normal(len(X), dtype=np.float32) > 0).astype(np.float64)


def _logistic_pass(X: np.ndarray, contestant: str) -> Run:
    K = 60
    y, W = _targets(X), np.random.default_rng(3).standard_normal((K, X.shape[1] + 1))
    held = np.int64(1) << np.arange(len(X), dtype=np.int64) % 5
    if contestant not in (OURS, PROCESSOR):
        return LIBRARIES[contestant]().logistic_pass(X, y, held, W)
    y.flags.writeable = held.flags.writeable = False
    arguments = {
        "y": y, "weights": None, "held": held, "origin": None, "W": W, "positive": np.ones(K),
        "folds": np.arange(K) % 5, "factors": None, "problems": K, "loss": "logistic", "epsilon": 0.0,
    }  # fmt: skip
    return _reduce("linear_gradient", X, contestant, **arguments)


def _grid(X: np.ndarray, contestant: str) -> Run:
    search = GridSearchCV(LogisticRegression(), {"C": np.logspace(-4, 4, 12).tolist()}, cv=5, refit=False)
    return _fit(search, X, _targets(X), contestant)


def _forest(X: np.ndarray, contestant: str) -> Run:
    trees = 100 if len(X) > 10_000 else 3
    return _fit(RandomForestClassifier(trees, max_depth=12, random_state=0), X, _targets(X), contestant)


def _work_of_forest(n: int, d: int) -> Work:
    # a level of a tree reads number, word and some bins of the 63 % of rows in the bag, and writes the former
    trees, depth, looked_at = (100 if n > 10_000 else 3), 12, max(1, int(math.sqrt(d)))
    return Work(trees * depth * 0.632 * n * (12 + looked_at + 12), 0.0)


CASES: tuple[GpuCase, ...] = (
    GpuCase(
        "kmeans",
        "k-means, a step, 256 clusters",
        10_000_000,
        64,
        _kmeans,
        lambda n, d: Work(4.0 * n * d + 8.0 * n, 2.0 * n * d * min(256, n // 4)),
        ("lloyd_step", "lloyd_steps", "assign_rows", "nearest_center", "add_seed"),
        ("PyTorch", "CuPy"),
        {"bound": 0.7, "PyTorch": 2.0, "CuPy": 2.0},
    ),
    GpuCase(
        "mixture",
        "mixture, a step, 16 full components",
        4_000_000,
        16,
        _mixture,
        lambda n, d: Work(4.0 * n * d, 2.0 * n * 16 * d * (d + 1)),
        ("gaussian_step", "gaussian_rows"),
        ("PyTorch", "CuPy"),
        {"bound": 0.6},
    ),
    GpuCase(
        "logistic",
        "losses and gradients of 60 logistic models",
        4_000_000,
        28,
        _logistic_pass,
        lambda n, d: Work(4.0 * n * d + 16.0 * n, 4.0 * n * (d + 1) * 60),
        ("linear_gradient", "linear_gradient_of_folds", "linear_hessian", "linear_margins"),
        ("PyTorch", "CuPy"),
        {"bound": 0.6},
    ),
    GpuCase(
        "logistic-grid",
        "LogisticRegression, grid of 12 C, 5 folds",
        4_000_000,
        28,
        _grid,
        lambda n, d: Work(4.0 * n * d + 16.0 * n, 4.0 * n * (d + 1) * 60),  # of one pass
        (),
        rounds=3,
    ),
    GpuCase(
        "forest",
        "RandomForestClassifier, 100 trees, depth 12",
        4_000_000,
        28,
        _forest,
        _work_of_forest,
        ("grow",),
        targets={PROCESSOR: 4.0},
        rounds=3,
    ),
)
