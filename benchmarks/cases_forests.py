"""Trees, forests and their grids."""

import os

from benchmarks.data import airbnb, classes, numbers
from benchmarks.kinds import LIKE_SKLEARN, Accuracy, Case, Memory, Scaling, Speed
from benchmarks.peers import Forest
from benchmarks.work import Fit, Grid, Predict

__all__ = ["CASES"]

GRID = {"max_depth": [2, 5, 10], "n_estimators": [20, 50, 100]}
FOREST_GRID = Grid(Forest("regressor", 100, 10, "all"), GRID, 3)
CLASSIFIER = Fit(Forest("classifier", 50, 12, "sqrt"))

# Half the vector width halves what vectors gain: it has a target of its own.
AVX2 = os.environ.get("HPCML_ISA") == "avx2"


def _rows(size: int) -> Speed:
    return Speed(f"rows-{size}", f"{size:,} rows", classes(size, 28), CLASSIFIER, LIKE_SKLEARN)


def _trees(size: int) -> Speed:
    work = Fit(Forest("regressor", size, 10, "all"))
    return Speed(f"trees-{size}", f"{size} trees", numbers(7146, 33), work, LIKE_SKLEARN)


CASES: tuple[Case | Scaling, ...] = (
    Speed(
        "airbnb-grid",
        "forest grid, 9 candidates x 3 folds",
        airbnb,
        FOREST_GRID,
        LIKE_SKLEARN,
        {"intelex": 6.0 if AVX2 else 10.0},
    ),
    Speed(
        "generated-grid",
        "forest grid, 9 candidates x 3 folds",
        numbers(7146, 33),
        FOREST_GRID,
        LIKE_SKLEARN,
        {"intelex": 6.0 if AVX2 else 12.0},
    ),
    Speed(
        "classifier",
        "classifier, 50 trees, depth 12",
        classes(200_000, 28),
        CLASSIFIER,
        targets={"intelex": 8.0, "lightgbm": 15.0},
    ),
    Speed(
        "regressor",
        "regressor, 100 trees, depth 10",
        numbers(7146, 33),
        Fit(Forest("regressor", 100, 10, "all")),
        targets={"intelex": 6.0},
    ),
    Speed(
        "wide",
        "classifier, 50 trees, depth 12",
        classes(20_000, 500),
        CLASSIFIER,
        targets={"intelex": 3.0},
    ),
    Speed(
        "seven-classes",
        "classifier, 50 trees, depth 12",
        classes(100_000, 30, 7),
        CLASSIFIER,
        targets={"intelex": 3.0},
    ),
    Speed(
        "predict-classes",
        "predict, 50 trees, depth 12",
        classes(200_000, 28),
        Predict(Forest("classifier", 50, 12, "sqrt")),
        targets={"sklearn": 3.0, "intelex": 1.0},
    ),
    Speed(
        "predict-numbers",
        "predict, 100 trees, depth 10",
        numbers(200_000, 33),
        Predict(Forest("regressor", 100, 10, "all")),
        targets={"sklearn": 3.0, "intelex": 1.0},
    ),
    Scaling("rows", "classifier, 50 trees, depth 12", "rows", (10_000, 100_000, 1_000_000), _rows),
    Scaling("trees", "regressor, 7146 rows, depth 10", "trees", (25, 100, 400), _trees),
    Memory(
        "memory",
        "forest grid, 9 candidates x 3 folds",
        numbers(200_000, 50, "float32"),
        FOREST_GRID,
        ("hpcml",),
    ),
    Memory("memory-airbnb", "forest grid, 9 candidates x 3 folds", airbnb, FOREST_GRID, LIKE_SKLEARN),
    Accuracy("accuracy-airbnb-grid", "mean scores of the grid", airbnb, FOREST_GRID, LIKE_SKLEARN),
    Accuracy(
        "accuracy-generated-grid", "mean scores of the grid", numbers(7146, 33), FOREST_GRID, LIKE_SKLEARN
    ),
    Accuracy(
        "accuracy-classifier",
        "accuracy, 50 trees, depth 12",
        classes(200_000, 28),
        CLASSIFIER,
        LIKE_SKLEARN,
        allowed=0.005,
    ),
    Accuracy(
        "accuracy-seven-classes",
        "accuracy, 50 trees, depth 12",
        classes(100_000, 30, 7),
        CLASSIFIER,
        LIKE_SKLEARN,
        allowed=0.005,
    ),
)
