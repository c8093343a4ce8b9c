"""Grids of linear models that step together: logistic regression, linear support vector machines."""

import numpy as np

from benchmarks.cases_linear import PEERS, SPARSE_PEERS, log_odds, sparse_log_odds
from benchmarks.data import classes
from benchmarks.kinds import Case, Memory, Speed
from benchmarks.search import Search

__all__ = ["CASES"]


def _logistic(n_strengths: int) -> Search:
    return Search("linear_model.LogisticRegression", {"C": np.logspace(-4, 4, n_strengths).tolist()})


CASES: tuple[Case, ...] = (
    Speed(
        "grid-logistic",
        "LogisticRegression grid, 12 C x 5 folds",
        log_odds(200_000, 28),
        _logistic(12),
        PEERS,
        {"intelex": 40.0, "sklearn": 40.0},
    ),
    Speed(
        "grid-logistic-wide",
        "LogisticRegression grid, 25 C x 5 folds",
        log_odds(50_000, 300),
        _logistic(25),
        PEERS,
        {"intelex": 15.0, "sklearn": 15.0},
    ),
    Speed(
        "grid-logistic-ten-classes",
        "LogisticRegression grid, 10 classes, 12 C x 5 folds",
        log_odds(20_000, 64, 10),
        _logistic(12),
        PEERS,
        {"intelex": 15.0, "sklearn": 15.0},
    ),
    Speed(
        "grid-logistic-sparse",
        "LogisticRegression grid, 12 C x 5 folds",
        sparse_log_odds(50_000, 20_000, 50),
        _logistic(12),
        SPARSE_PEERS,
        {"sklearn": 4.0},
    ),
    Speed(
        "grid-svc",
        "LinearSVC grid, 10 C x 5 folds",
        classes(100_000, 50),
        Search("svm.LinearSVC", {"C": np.logspace(-3, 2, 10).tolist()}),
        ("hpcml", "sklearn"),
        {"sklearn": 20.0},
    ),
    Speed(
        "grid-hinge",
        "LinearSVC grid, hinge, 10 C x 5 folds",
        classes(20_000, 30),
        Search("svm.LinearSVC", {"C": np.logspace(-3, 2, 10).tolist()}, parameters={"loss": "hinge"}),
        ("hpcml", "sklearn"),
        {"sklearn": 10.0},
    ),
    Memory(
        "grid-logistic-memory",
        "LogisticRegression grid, 12 C x 5 folds",
        log_odds(1_000_000, 50),
        _logistic(12),
        ("hpcml",),
        bytes_a_value=2.0,
        bytes_more=200e6,
    ),
)
