"""Grids that share Gram matrices: Ridge, linear regression, principal components."""

import numpy as np

from benchmarks.data import numbers
from benchmarks.kinds import LIKE_SKLEARN, Case, Memory, Speed
from benchmarks.search import Search

__all__ = ["CASES"]

RIDGE = Search("linear_model.Ridge", {"alpha": np.logspace(-3, 5, 30).tolist()})
REGRESSION = Search(
    "linear_model.LinearRegression", {"fit_intercept": [True, False], "positive": [True, False]}
)
#: "auto" is "covariance_eigh" for all contestants on these tables.
PCA = Search("decomposition.PCA", {"n_components": list(range(5, 101, 5))}, supervised=False)

CASES: tuple[Case, ...] = (
    *(
        Speed(
            f"ridge-grid-{dtype[5:]}",
            "Ridge grid, 30 penalties x 5 folds",
            numbers(200_000, 100, dtype),
            RIDGE,
            LIKE_SKLEARN,
            {"intelex": 10.0, "sklearn": 10.0},
        )
        for dtype in ("float32", "float64")
    ),
    Speed(
        "regression-grid",
        "LinearRegression grid, 4 candidates x 5 folds",
        numbers(100_000, 50, "float64"),
        REGRESSION,
        LIKE_SKLEARN,
    ),
    *(
        Speed(
            f"pca-grid-{dtype[5:]}",
            "PCA grid, 20 numbers of components x 5 folds",
            numbers(50_000, 100, dtype),
            PCA,
            LIKE_SKLEARN,
            {"intelex": 10.0, "sklearn": 10.0},
        )
        for dtype in ("float32", "float64")
    ),
    *(
        Memory(
            f"{name}-grid-memory",
            f"{name} grid",
            numbers(200_000, 100, "float64"),
            work,
            LIKE_SKLEARN,
            bytes_a_value=4.0,
            bytes_more=100e6,
        )
        for name, work in (("ridge", RIDGE), ("pca", PCA))
    ),
)
