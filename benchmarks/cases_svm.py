"""Linear support vector machines."""

from typing import Any

from benchmarks.data import Dataset, classes, numbers
from benchmarks.estimate import Estimate
from benchmarks.kinds import Case, Memory, Speed

__all__ = ["CASES"]

#: scikit-learn-intelex has no linear support vector machines of its own: it would be scikit-learn twice.
PEERS = ("hpcml", "sklearn")


def _fit(name: str, **parameters: Any) -> Estimate:
    def same(data: Dataset, seed: int) -> dict[str, Any]:
        return {"random_state": seed, **parameters}

    def score(model: Any, data: Dataset) -> float:
        return float(model.score(data.X_test, data.y_test))

    return Estimate(f"svm.{name}", same, score, supervised=True)


CASES: tuple[Case, ...] = (
    Speed(
        "svc-primal",
        "LinearSVC, scikit-learn's primal solver",
        classes(200_000, 28),
        _fit("LinearSVC", dual=False),
        PEERS,
        {"sklearn": 15.0},
    ),
    Speed(
        "svc-primal-64",
        "LinearSVC, scikit-learn's primal solver",
        classes(200_000, 28, dtype="float64"),
        _fit("LinearSVC", dual=False),
        PEERS,
        {"sklearn": 15.0},
    ),
    Speed(
        "svc-dual",
        "LinearSVC, scikit-learn's dual solver",
        classes(200_000, 28),
        _fit("LinearSVC", dual=True),
        PEERS,
        {"sklearn": 15.0},
    ),
    Speed(
        "svc-hinge",
        "LinearSVC, hinge",
        classes(200_000, 28),
        _fit("LinearSVC", loss="hinge"),
        PEERS,
        {"sklearn": 10.0},
    ),
    Speed(
        "svc-l1",
        "LinearSVC, l1 penalty",
        classes(200_000, 28),
        _fit("LinearSVC", penalty="l1", dual=False),
        PEERS,
        {"sklearn": 1.0},
    ),
    Speed(
        "svc-seven-classes",
        "LinearSVC, 7 classes",
        classes(60_000, 54, n_classes=7),
        _fit("LinearSVC", dual=False),
        PEERS,
        {"sklearn": 10.0},
    ),
    Speed(
        "svr",
        "LinearSVR, epsilon-insensitive",
        numbers(200_000, 28),
        _fit("LinearSVR", epsilon=0.5),
        PEERS,
        {"sklearn": 1.0},
    ),
    Speed(
        "svr-squared",
        "LinearSVR, squared epsilon-insensitive",
        numbers(200_000, 28),
        _fit("LinearSVR", loss="squared_epsilon_insensitive"),
        PEERS,
        {"sklearn": 1.0},
    ),
    Memory(
        "svc-hinge-memory",
        "LinearSVC, hinge",
        classes(200_000, 28, dtype="float64"),
        _fit("LinearSVC", loss="hinge"),
        PEERS,
        bytes_a_value=0.8,
        bytes_more=100e6,
    ),
)
