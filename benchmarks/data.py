"""The tables that benchmarks run on: one real, the others drawn from a seed, the same for everybody."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification

__all__ = ["Dataset", "Maker", "airbnb", "classes", "head", "numbers"]

#: Fewer rows than this measure nothing but overhead, whatever the scale.
LEAST_ROWS = 300


@dataclass(frozen=True)
class Dataset:
    """Rows to fit on and rows to judge by.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
    X_test, y_test : ndarray
        Rows that no fit sees.
    about : str
        What it is, in a few words.
    """

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    about: str


#: Makes a data set from a seed and a scale of its number of rows; FileNotFoundError if its file is not there.
Maker = Callable[[int, float], Dataset]


def _scaled(rows: int, scale: float) -> int:
    return max(LEAST_ROWS, round(rows * scale))


def _cut(X: np.ndarray, y: np.ndarray, rows: int, about: str) -> Dataset:
    return Dataset(X[:rows], y[:rows], X[rows:], y[rows:], f"{about}, {rows:,} x {X.shape[1]} {X.dtype}")


def head(data: Dataset, rows: int) -> Dataset:
    """Return the same data with only the first rows to fit on.

    Parameters
    ----------
    data : Dataset
    rows : int
    """
    return Dataset(data.X[:rows], data.y[:rows], data.X_test, data.y_test, data.about)


def airbnb(seed: int, scale: float) -> Dataset:
    """San Francisco Airbnb listings: 7146 x 26 numbers with few distinct values, target the price of a night.

    Read from ``sf-airbnb-numeric.csv`` in the folder that ``HPCML_DATA`` names. Rows keep their order with
    seed 0 and are shuffled with any other. The grid uses all rows; those "to judge by" are the last fifth.

    Parameters
    ----------
    seed : int
    scale : float
    """
    path = Path(os.environ.get("HPCML_DATA", "data"), "sf-airbnb-numeric.csv")
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: set HPCML_DATA to the folder of sf-airbnb-numeric.csv")
    table = pd.read_csv(path)
    if seed:
        table = table.sample(frac=1, random_state=seed)
    rows = _scaled(len(table), scale)
    table = table.iloc[:rows]
    X = np.ascontiguousarray(table.drop(columns="price").to_numpy(dtype=np.float64))
    y = table["price"].to_numpy(dtype=np.float64)
    tail = rows - rows // 5
    return Dataset(X, y, X[tail:], y[tail:], f"Airbnb listings, {rows:,} x {X.shape[1]} {X.dtype}")


def numbers(rows: int, columns: int, dtype: str = "float64") -> Maker:
    """Make a maker of regression data in which all values are distinct.

    Columns are uniform on [0, 1). The target is Friedman's function (10 sin(pi x0 x1) + 20 (x2 - 1/2)^2 +
    10 x3 + 5 x4; Friedman, Annals of Statistics 19, 1991), plus 1, 2, ..., 5 times the next five columns,
    plus normal noise of deviation 3; the others mean nothing. No model can reach an R² above about 0.8.

    Parameters
    ----------
    rows, columns : int
    dtype : str
    """

    def make(seed: int, scale: float) -> Dataset:
        n = _scaled(rows, scale)
        rng = np.random.default_rng([seed, rows, columns])
        X = rng.random((n + n // 5, columns))
        y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
        y += X[:, 5:10] @ np.arange(1.0, 6.0) + rng.normal(0, 3, len(X))
        return _cut(X.astype(dtype), y, n, "generated numbers")

    return make


def classes(rows: int, columns: int, n_classes: int = 2, dtype: str = "float32") -> Maker:
    """Make a maker of classification data whose classes overlap.

    scikit-learn's ``make_classification``: three normal clusters a class on the corners of a cube of twelve
    dimensions, corners 1.4 apart, four more columns mixed from these, the others noise; 3 % of the labels
    are drawn at random.

    Parameters
    ----------
    rows, columns : int
    n_classes : int
    dtype : str
    """

    def make(seed: int, scale: float) -> Dataset:
        n = _scaled(rows, scale)
        X, y = make_classification(
            n + n // 5,
            columns,
            n_informative=12,
            n_redundant=4,
            n_classes=n_classes,
            n_clusters_per_class=3,
            class_sep=0.7,
            flip_y=0.03,
            random_state=seed,
        )
        return _cut(np.ascontiguousarray(X, dtype=dtype), y, n, f"{n_classes} generated classes")

    return make
