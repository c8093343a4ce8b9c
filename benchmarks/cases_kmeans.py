"""K-means: twenty steps from the same rows, prediction, starts, and random batches."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.data import LEAST_ROWS, Dataset, Maker
from benchmarks.estimate import Estimate
from benchmarks.kinds import Case, Memory, Scaling, Speed

__all__ = ["CASES", "clusters"]

PEERS = ("hpcml", "intelex", "faiss", "sklearn")
LIKE_SKLEARN = ("hpcml", "intelex", "sklearn")
STEPS = 20


def clusters(rows: int, columns: int, k: int, dtype: str) -> Maker:
    """Make a maker of rows around k centers, near enough to each other that steps go on moving them.

    Centers and the rows about them are standard normal in every column.

    Parameters
    ----------
    rows, columns, k : int
    dtype : str
    """

    def make(seed: int, scale: float) -> Dataset:
        n = max(LEAST_ROWS, 3 * k, round(rows * scale))
        rng = np.random.default_rng([seed, rows, columns, k])
        y = rng.integers(k, size=n + n // 10)
        X = rng.standard_normal((len(y), columns), dtype=np.float32)
        X += rng.standard_normal((k, columns), dtype=np.float32)[y]
        X = X.astype(dtype)
        about = f"{k} clusters, {n:,} x {columns} {X.dtype}"
        return Dataset(X[:n], y[:n], X[n:], y[n:], about)

    return make


def _first_rows(k: int, **others: Any) -> Callable[[Dataset, int], dict[str, Any]]:
    """Return parameters with k random rows as the start."""

    def parameters(data: Dataset, seed: int) -> dict[str, Any]:
        rows = np.random.default_rng(seed).choice(len(data.X), min(k, len(data.X)), replace=False)
        return {"n_clusters": len(rows), "init": data.X[rows].copy(), "n_init": 1, "tol": 0.0, **others}

    return parameters


def _least_squares(model: Any, data: Dataset) -> float:
    """Return the mean squared distance of unseen rows to the nearest center, negated."""
    centers = model.cluster_centers_ if hasattr(model, "cluster_centers_") else model.centroids
    X, c = data.X_test.astype(np.float64), np.asarray(centers, dtype=np.float64)
    squared = (c**2).sum(axis=1) - 2 * X @ c.T
    return -float((squared.min(axis=1) + (X**2).sum(axis=1)).mean())


def _agreement(labels: Any, data: Dataset) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(data.y, labels))


def _faiss_fit(data: Dataset, parameters: dict[str, Any], n_jobs: int | None) -> Callable[[], Any]:
    import faiss

    X, start = np.ascontiguousarray(data.X, dtype=np.float32), parameters["init"].astype(np.float32)

    def run() -> Any:
        kmeans = faiss.Kmeans(
            X.shape[1],
            len(start),
            niter=parameters["max_iter"],
            min_points_per_centroid=1,
            max_points_per_centroid=len(X),  # all rows, as the others
        )
        kmeans.train(X, init_centroids=start)
        return kmeans

    return run


def _faiss_predict(data: Dataset, parameters: dict[str, Any], n_jobs: int | None) -> Callable[[], Any]:
    import faiss

    X = np.ascontiguousarray(data.X, dtype=np.float32)
    index = faiss.IndexFlatL2(X.shape[1])
    index.add(_faiss_fit(data, parameters, n_jobs)().centroids)
    return lambda: index.search(X, 1)[1][:, 0]


def _speed(shape: tuple[int, int], k: int, dtype: str, target: float, call: str = "fit") -> Speed:
    rows, columns = shape
    steps = STEPS if call == "fit" else 5
    work = Estimate(
        "cluster.KMeans",
        _first_rows(k, max_iter=steps),
        _least_squares if call == "fit" else _agreement,
        call,
        others={"faiss": _faiss_fit if call == "fit" else _faiss_predict},
    )
    name = "-".join(["kmeans", f"{columns}x{k}", dtype[5:], *([call] if call != "fit" else [])])
    title = f"k-means, {STEPS} steps" if call == "fit" else f"k-means, {call}"
    data = clusters(rows, columns, k, dtype)
    return Speed(name, title, data, work, PEERS, dict.fromkeys(("intelex", "faiss", "sklearn"), target))


def _batches(columns: int, k: int) -> Speed:
    def parameters(data: Dataset, seed: int) -> dict[str, Any]:
        return {"n_clusters": min(k, len(data.X)), "random_state": seed}

    work = Estimate("cluster.MiniBatchKMeans", parameters, _least_squares)
    data = clusters(1_000_000, columns, k, "float32")
    return Speed(
        f"minibatch-{columns}x{k}", "mini-batch k-means", data, work, ("hpcml", "sklearn"), {"sklearn": 2.0}
    )


def _seeded(k: int) -> Estimate:
    def parameters(data: Dataset, seed: int) -> dict[str, Any]:
        return {"n_clusters": min(k, len(data.X)), "max_iter": 1, "random_state": seed}

    return Estimate("cluster.KMeans", parameters, _least_squares)


def _bounded(k: int) -> Estimate:
    return Estimate("cluster.KMeans", _first_rows(k, max_iter=100, algorithm="elkan"), _least_squares)


CASES: tuple[Case | Scaling, ...] = (
    _speed((200_000, 32), 64, "float32", 2.0),
    _speed((50_000, 128), 256, "float32", 1.3),
    _speed((1_000_000, 8), 8, "float64", 2.0),
    _speed((200_000, 32), 64, "float64", 1.0),
    _speed((1_000_000, 2), 5, "float32", 1.0),
    _speed((20_000, 1000), 100, "float32", 1.0),
    _speed((100_000, 16), 1000, "float32", 1.0),
    _speed((200_000, 32), 64, "float32", 1.5, "predict"),
    _speed((50_000, 128), 256, "float32", 1.5, "predict"),
    _speed((1_000_000, 8), 8, "float64", 1.5, "predict"),
    Speed(
        "kmeans-seeds",
        "k-means++ and one step",
        clusters(200_000, 32, 64, "float32"),
        _seeded(64),
        LIKE_SKLEARN,
        {"sklearn": 1.0},
    ),
    Speed(
        "kmeans-elkan",
        "k-means with bounds, 100 steps at most",
        clusters(100_000, 32, 200, "float32"),
        _bounded(200),
        ("hpcml", "sklearn"),
        {"sklearn": 1.0},
    ),
    _batches(16, 20),
    Memory(
        "kmeans-memory",
        "k-means, 20 steps",
        clusters(2_000_000, 32, 16, "float32"),
        Estimate("cluster.KMeans", _first_rows(16, max_iter=STEPS), _least_squares),
        LIKE_SKLEARN,
        bytes_a_value=0.4,  # a tenth of X
        bytes_more=100e6,
    ),
)
