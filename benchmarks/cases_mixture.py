"""Mixtures of normal densities: twenty steps of EM from the same rows."""

from typing import Any

import numpy as np

from benchmarks.data import LEAST_ROWS, Dataset, Maker
from benchmarks.estimate import Estimate
from benchmarks.kinds import Case, Memory, Scaling, Speed

__all__ = ["CASES"]

PEERS = ("hpcml", "sklearn")
STEPS = 20


def blobs(rows: int, columns: int, components: int, dtype: str = "float64") -> Maker:
    """Make a maker of rows from normal densities with covariances of their own, which overlap.

    Means are normal with deviation 2, covariances A A^T / columns + I / 2 with A of standard normal numbers.

    Parameters
    ----------
    rows, columns, components : int
    dtype : str
    """

    def make(seed: int, scale: float) -> Dataset:
        n = max(LEAST_ROWS, round(rows * scale))
        rng = np.random.default_rng([seed, rows, columns, components])
        means = 2 * rng.standard_normal((components, columns))
        A = rng.standard_normal((components, columns, columns)) / np.sqrt(columns)
        y = rng.integers(components, size=n + n // 5)
        X = np.empty((len(y), columns), dtype=dtype)
        for k in range(components):
            here = y == k
            noise = rng.standard_normal((here.sum(), columns)) @ A[k].T
            noise += np.sqrt(0.5) * rng.standard_normal(noise.shape)
            X[here] = means[k] + noise
        about = f"{components} normal densities, {n:,} x {columns} {X.dtype}"
        return Dataset(X[:n], y[:n], X[n:], y[n:], about)

    return make


def _log_likelihood(model: Any, data: Dataset) -> float:
    return float(model.score(data.X_test))


def _agreement(labels: Any, data: Dataset) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(data.y, labels))


def _em(kind: str, components: int, call: str = "fit") -> Estimate:
    def parameters(data: Dataset, seed: int) -> dict[str, Any]:
        return {
            "n_components": components,
            "covariance_type": kind,
            "init_params": "random_from_data",
            "max_iter": STEPS,
            "tol": 0.0,  # every contestant takes all steps
            "reg_covar": 1e-3,
            "random_state": seed,
        }

    judge = _log_likelihood if call == "fit" else _agreement
    return Estimate("mixture.GaussianMixture", parameters, judge, call)


def _speed(
    kind: str,
    shape: tuple[int, int],
    components: int,
    target: float,
    dtype: str = "float64",
    call: str = "fit",
) -> Speed:
    name = "-".join(
        ["mixture", kind, f"{shape[1]}x{components}", dtype[5:], *([call] if call != "fit" else [])]
    )
    work = "20 steps" if call == "fit" else call
    return Speed(
        name,
        f"mixture of {components}, {kind}, {work}",
        blobs(*shape, components, dtype),
        _em(kind, components, call),
        PEERS,
        {"sklearn": target},
    )


LARGE = (100_000, 16)

CASES: tuple[Case | Scaling, ...] = (
    _speed("full", LARGE, 16, 12.0),
    _speed("full", LARGE, 16, 12.0, "float32"),
    _speed("diag", LARGE, 16, 8.0),
    _speed("diag", LARGE, 16, 8.0, "float32"),
    _speed("tied", LARGE, 16, 1.0),
    _speed("spherical", LARGE, 16, 1.0),
    _speed("full", (200_000, 2), 3, 1.0),
    _speed("full", (30_000, 64), 8, 1.0),
    _speed("diag", (50_000, 8), 64, 1.0),
    _speed("full", LARGE, 16, 1.0, call="predict"),
    Memory(
        "mixture-memory",
        "mixture of 16, full, 20 steps",
        blobs(1_000_000, 16, 16),
        _em("full", 16),
        PEERS,
        bytes_a_value=0.8,  # a tenth of X
        bytes_more=100e6,
    ),
)
