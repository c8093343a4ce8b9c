"""Scaling, principal components and least squares."""

from typing import Any

import numpy as np

from benchmarks.data import Dataset, numbers
from benchmarks.estimate import Estimate
from benchmarks.kinds import LIKE_SKLEARN, Case, Memory, Speed

__all__ = ["CASES"]


def _fit(
    name: str, judge: Any, call: str = "fit", *, supervised: bool = False, **parameters: Any
) -> Estimate:
    def same(data: Dataset, seed: int) -> dict[str, Any]:
        return dict(parameters, **({"random_state": seed} if "svd_solver" in parameters else {}))

    return Estimate(name, same, judge, call, supervised)


def _explained(model: Any, data: Dataset) -> float:
    return float(np.sum(model.explained_variance_ratio_))


def _variance(rows: Any, data: Dataset) -> float:
    """Return the variance of a thousand rows: every contestant returns the same ones."""
    return float(np.var(rows[:1000]))


def _near_unit(rows: Any, data: Dataset) -> float:
    return -abs(float(np.std(rows[:, 0])) - 1.0)


def _r2(model: Any, data: Dataset) -> float:
    return float(model.score(data.X_test, data.y_test))


def _fitted_r2(predicted: Any, data: Dataset) -> float:
    return -float(np.mean((predicted - data.y) ** 2))


def _pca(solver: str, judge: Any = _explained, call: str = "fit") -> Estimate:
    return _fit("decomposition.PCA", judge, call, n_components=10, svd_solver=solver)


TALL, WIDER = (200_000, 100), (200_000, 200)
SKLEARN = ("hpcml", "sklearn")

#: "auto" is "covariance_eigh" for all contestants on these tables.
CASES: tuple[Case, ...] = (
    *(
        Speed(
            f"pca-{dtype[5:]}",
            "PCA, 10 components",
            numbers(*WIDER, dtype),
            _pca("auto"),
            LIKE_SKLEARN,
            {"intelex": 1.0, "sklearn": 1.0},
        )
        for dtype in ("float32", "float64")
    ),
    Speed(
        "pca-full",
        "PCA, 10 components, full",
        numbers(*WIDER, "float64"),
        _pca("full"),
        LIKE_SKLEARN,
        {"intelex": 1.0, "sklearn": 1.0},
    ),
    Speed(
        "pca-randomized",
        "PCA, 10 components, randomized",
        numbers(20_000, 1000, "float32"),
        _pca("randomized"),
        SKLEARN,
        {"sklearn": 1.0},
    ),
    Speed(
        "pca-transform",
        "PCA transform, 10 components",
        numbers(*WIDER, "float32"),
        _pca("auto", _variance, "transform"),
        LIKE_SKLEARN,
        {"sklearn": 1.0},
    ),
    Speed(
        "incremental-pca",
        "IncrementalPCA, 10 components",
        numbers(50_000, 100, "float32"),
        _fit("decomposition.IncrementalPCA", _explained, n_components=10, batch_size=500),
        SKLEARN,
        {"sklearn": 1.0},
    ),
    *(
        Speed(
            f"scaler-{dtype[5:]}",
            "StandardScaler, fit and transform",
            numbers(*TALL, dtype),
            _fit("preprocessing.StandardScaler", _near_unit, "fit_transform"),
            SKLEARN,
            {"sklearn": 1.0},
        )
        for dtype in ("float32", "float64")
    ),
    *(
        Speed(
            f"{name.lower()}-{dtype[5:]}",
            name,
            numbers(*TALL, dtype),
            _fit(f"linear_model.{name}", _r2, supervised=True),
            LIKE_SKLEARN,
            {"intelex": 1.0, "sklearn": 1.0},
        )
        for name in ("LinearRegression", "Ridge")
        for dtype in ("float32", "float64")
    ),
    Speed(
        "ridge-predict",
        "Ridge predict",
        numbers(*TALL, "float32"),
        _fit("linear_model.Ridge", _fitted_r2, "predict", supervised=True),
        LIKE_SKLEARN,
        {"sklearn": 1.0},
    ),
    Memory(
        "pca-memory",
        "PCA, 10 components",
        numbers(*WIDER, "float64"),
        _pca("auto"),
        LIKE_SKLEARN,
        bytes_a_value=0.8,
        bytes_more=100e6,
    ),
    Memory(
        "ridge-memory",
        "Ridge",
        numbers(*WIDER, "float64"),
        _fit("linear_model.Ridge", _r2, supervised=True),
        LIKE_SKLEARN,
        bytes_a_value=0.8,
        bytes_more=100e6,
    ),
)
