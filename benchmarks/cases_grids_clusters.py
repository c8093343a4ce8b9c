"""Grids of clusterings and mixtures: a search over the number of clusters, or components, on three folds."""

from typing import Any

from benchmarks.cases_kmeans import clusters
from benchmarks.cases_mixture import blobs
from benchmarks.kinds import LIKE_SKLEARN, Case, Memory, Scaling, Speed
from benchmarks.search import Search

__all__ = ["CASES"]

FOLDS = 3


def _search(estimator: str, grid: dict[str, list[Any]], **parameters: Any) -> Search:
    return Search(estimator, grid, FOLDS, {"random_state": 0, **parameters}, supervised=False)


SIZES = {"n_clusters": list(range(2, 21))}
EIGHT: dict[str, list[Any]] = {"n_components": [2, 4, 6, 8], "covariance_type": ["full", "diag"]}


def _kmeans(dtype: str, target: float) -> Speed:
    return Speed(
        f"grid-kmeans-{dtype[5:]}",
        "grid of k-means, 2 to 20 clusters, 3 folds",
        clusters(100_000, 16, 12, dtype),
        _search("cluster.KMeans", SIZES),
        LIKE_SKLEARN,
        {"intelex": target, "sklearn": target},
    )


def _mixture(dtype: str, target: float) -> Speed:
    return Speed(
        f"grid-mixture-{dtype[5:]}",
        "grid of mixtures, 8 candidates, 3 folds",
        blobs(20_000, 8, 6, dtype),
        _search("mixture.GaussianMixture", EIGHT),
        ("hpcml", "sklearn"),
        {"sklearn": target},
    )


CASES: tuple[Case | Scaling, ...] = (
    _kmeans("float32", 4.0),
    _kmeans("float64", 3.0),
    _mixture("float64", 10.0),
    _mixture("float32", 7.0),
    Memory(
        "grid-kmeans-memory",
        "grid of k-means, 2 to 20 clusters, 3 folds, 5 steps",
        clusters(1_000_000, 16, 12, "float32"),
        _search("cluster.KMeans", SIZES, max_iter=5),
        LIKE_SKLEARN,
        bytes_a_value=6.0,  # 1.5 times X
        bytes_more=100e6,
    ),
)
