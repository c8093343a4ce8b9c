"""Linear models: logistic regression to scikit-learn's default gradient norm."""

from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.data import LEAST_ROWS, Dataset, Maker
from benchmarks.estimate import Estimate
from benchmarks.kinds import Case, Memory, Speed

__all__ = ["CASES"]

PEERS = ("hpcml", "intelex", "sklearn")
#: scikit-learn-intelex hands sparse tables to scikit-learn.
SPARSE_PEERS = ("hpcml", "sklearn")


def log_odds(rows: int, columns: int, n_classes: int = 2, dtype: str = "float32") -> Maker:
    """Make a maker of standard normal rows whose classes follow the model: linear log-odds of deviation 2.

    Parameters
    ----------
    rows, columns : int
    n_classes : int
    dtype : str
    """

    def make(seed: int, scale: float) -> Dataset:
        n = max(LEAST_ROWS, round(rows * scale))
        rng = np.random.default_rng([seed, rows, columns, n_classes])
        X = rng.standard_normal((n + n // 5, columns)).astype(dtype)
        W = 2 * rng.standard_normal((columns, n_classes)) / np.sqrt(columns)
        y = np.argmax(X @ W + rng.gumbel(size=(len(X), n_classes)), axis=1)
        about = f"{n_classes} classes of linear log-odds, {n:,} x {columns} {dtype}"
        return Dataset(X[:n], y[:n], X[n:], y[n:], about)

    return make


def sparse_log_odds(rows: int, columns: int, entries: int) -> Maker:
    """Make a maker of CSR rows with normal entries in random columns, of which a tenth bears on the class.

    Parameters
    ----------
    rows, columns, entries : int
    """

    def make(seed: int, scale: float) -> Dataset:
        n = max(LEAST_ROWS, round(rows * scale))
        rng = np.random.default_rng([seed, rows, columns, entries])
        m = n + n // 5
        indices = np.sort(rng.integers(0, columns, (m, entries)), axis=1).astype(np.int32)
        indptr = np.arange(m + 1, dtype=np.int32) * entries
        shape = (m, columns)
        X = sparse.csr_array((rng.standard_normal(m * entries), indices.ravel(), indptr), shape=shape)
        X.sum_duplicates()
        w = rng.standard_normal(columns) * (rng.random(columns) < 0.1)
        y = (X @ w + rng.logistic(size=m) > 0).astype(np.int64)
        about = f"CSR of linear log-odds, {n:,} x {columns:,}, {entries} entries a row"
        return Dataset(X[:n], y[:n], X[n:], y[n:], about)

    return make


def _minus_log_loss(model: Any, data: Dataset) -> float:
    from sklearn.metrics import log_loss

    return -float(log_loss(data.y_test, model.predict_proba(data.X_test)))


def _logistic(**parameters: Any) -> Estimate:
    def same(data: Dataset, seed: int) -> dict[str, Any]:
        return dict(parameters)

    return Estimate("linear_model.LogisticRegression", same, _minus_log_loss, supervised=True)


CASES: tuple[Case, ...] = (
    Speed(
        "logistic",
        "LogisticRegression",
        log_odds(200_000, 28),
        _logistic(),
        PEERS,
        {"intelex": 4.0, "sklearn": 4.0},
    ),
    Speed(
        "logistic-newton-cg",
        "LogisticRegression, peers with newton-cg",
        log_odds(200_000, 28),
        _logistic(solver="newton-cg"),
        PEERS,
        {"intelex": 4.0, "sklearn": 4.0},
    ),
    Speed(
        "logistic-ten-classes",
        "LogisticRegression, 10 classes",
        log_odds(60_000, 100, 10),
        _logistic(),
        PEERS,
        {"intelex": 2.0, "sklearn": 2.0},
    ),
    Speed(
        "logistic-ten-classes-newton-cg",
        "LogisticRegression, 10 classes, peers with newton-cg",
        log_odds(60_000, 100, 10),
        _logistic(solver="newton-cg"),
        PEERS,
        {"intelex": 2.0, "sklearn": 2.0},
    ),
    Speed(
        "logistic-sparse",
        "LogisticRegression, lbfgs",
        sparse_log_odds(100_000, 50_000, 50),
        _logistic(),
        SPARSE_PEERS,
        {"sklearn": 2.0},
    ),
    Speed(
        "logistic-sparse-liblinear",
        "LogisticRegression, liblinear",
        sparse_log_odds(100_000, 50_000, 50),
        _logistic(solver="liblinear"),
        SPARSE_PEERS,
        {"sklearn": 2.0},
    ),
    Speed(
        "logistic-l1",
        "LogisticRegression, l1 penalty, liblinear",
        log_odds(200_000, 28),
        _logistic(solver="liblinear", l1_ratio=1.0),
        SPARSE_PEERS,
        {"sklearn": 2.0},
    ),
    Memory(
        "logistic-memory",
        "LogisticRegression",
        log_odds(1_000_000, 50),
        _logistic(),
        PEERS,
        bytes_a_value=0.4,
        bytes_more=100e6,
    ),
)
