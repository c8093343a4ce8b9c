"""Every benchmark as one small declaration: data, work, contestants, and the ratio it is to reach."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.data import Maker, airbnb, classes, numbers
from benchmarks.peers import Forest
from benchmarks.work import Fit, Grid, Predict, Work

__all__ = ["CASES", "Accuracy", "Case", "Memory", "Scaling", "Speed"]

ALL = ("hpcml", "intelex", "lightgbm", "xgboost", "sklearn")
LIKE_SKLEARN = ("hpcml", "intelex", "sklearn")


@dataclass(frozen=True)
class Case:
    """What all cases have.

    Parameters
    ----------
    name : str
        As ``--only`` takes it.
    title : str
        What the table says.
    data : Maker
    work : Work
    peers : tuple of str
        Contestants, keys of `benchmarks.peers.PEERS`.
    """

    name: str
    title: str
    data: Maker
    work: Work
    peers: tuple[str, ...] = ALL


@dataclass(frozen=True)
class Speed(Case):
    """Times beside the peers'.

    Parameters
    ----------
    targets : mapping of str to float
        How many times faster than a peer hpcml is to be.
    """

    targets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Accuracy(Case):
    """Scores over several seeds, which must not differ by more than the seeds make them differ.

    Parameters
    ----------
    n_seeds : int
    allowed : float
        Difference of mean scores that is allowed whatever the noise.
    """

    n_seeds: int = 5
    allowed: float = 0.0


@dataclass(frozen=True)
class Memory(Case):
    """Peak memory above what the process held before, in a fresh process a contestant.

    Parameters
    ----------
    bytes_a_value : float
        Allowed for each value of the table.
    bytes_more : float
        Allowed beside.
    """

    bytes_a_value: float = 2.0
    bytes_more: float = 200e6


@dataclass(frozen=True)
class Scaling:
    """How time grows with one number.

    Parameters
    ----------
    name, title : str
    axis : str
        What grows.
    sizes : tuple of int
    case : callable
        ``case(size)`` is the `Speed` case of a size.
    allowed : float
        Time per unit at the largest size, as a multiple of that at the smallest, that still counts as linear.
    """

    name: str
    title: str
    axis: str
    sizes: tuple[int, ...]
    case: Callable[[int], Speed]
    allowed: float = 1.5


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


#: All benchmarks by name.
CASES: dict[str, Case | Scaling] = {
    case.name: case
    for case in (
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
}
