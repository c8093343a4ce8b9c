"""One fit of every estimator in every way that it computes, so that their bits can be compared."""

import functools
import importlib
import warnings

import numpy as np
from scipy import sparse

from hpcml import communicators

N_ROWS = 12_007  # eleven shards
N_FEATURES = 6

DENSE, BOTH = ("float32", "float64"), ("float32", "float64", "csr")
#: Name -> class, parameters, target, and in which forms the rows come. Iterations are few, because in each
#: all ranks wait for the slowest, and there are more of them than cores.
CASES = {
    "scaler": ("preprocessing.StandardScaler", {}, None, DENSE),
    "scaler-sparse": ("preprocessing.StandardScaler", {"with_mean": False}, None, ("csr",)),
    "kmeans": (
        "cluster.KMeans",
        {"n_clusters": 7, "n_init": 2, "max_iter": 8, "random_state": 0},
        None,
        BOTH,
    ),
    "kmeans-elkan": (
        "cluster.KMeans",
        {
            "n_clusters": 5,
            "algorithm": "elkan",
            "n_init": 1,
            "max_iter": 9,
            "init": "random",
            "random_state": 3,
        },
        None,
        DENSE,
    ),
    "minibatch": (
        "cluster.MiniBatchKMeans",
        {"n_clusters": 6, "n_init": 2, "max_iter": 2, "random_state": 0},
        None,
        BOTH,
    ),
    "mixture-full": ("mixture.GaussianMixture", {"n_components": 4, "random_state": 0}, None, DENSE),
    "mixture-tied": (
        "mixture.GaussianMixture",
        {"n_components": 3, "covariance_type": "tied", "init_params": "k-means++", "random_state": 1},
        None,
        DENSE,
    ),
    "mixture-diag": (
        "mixture.GaussianMixture",
        {"n_components": 3, "covariance_type": "diag", "init_params": "random_from_data", "random_state": 1},
        None,
        DENSE,
    ),
    "mixture-spherical": (
        "mixture.GaussianMixture",
        {"n_components": 3, "covariance_type": "spherical", "init_params": "random", "random_state": 1},
        None,
        DENSE,
    ),
    "pca-full": ("decomposition.PCA", {"svd_solver": "full"}, None, DENSE),
    "pca-covariance": (
        "decomposition.PCA",
        {"n_components": 3, "svd_solver": "covariance_eigh"},
        None,
        DENSE,
    ),
    "pca-randomized": (
        "decomposition.PCA",
        {"n_components": 3, "svd_solver": "randomized", "random_state": 0},
        None,
        DENSE,
    ),
    "pca-arpack": (
        "decomposition.PCA",
        {"n_components": 2, "svd_solver": "arpack", "random_state": 0},
        None,
        ("csr",),
    ),
    "incremental-pca": ("decomposition.IncrementalPCA", {"n_components": 3, "batch_size": 1000}, None, DENSE),
    "linear-regression": ("linear_model.LinearRegression", {}, "numbers", BOTH),
    "ridge": ("linear_model.Ridge", {"alpha": 2.0}, "numbers", BOTH),
    "ridge-lsqr": ("linear_model.Ridge", {"solver": "lsqr"}, "numbers", BOTH),
    "ridge-positive": ("linear_model.Ridge", {"positive": True}, "numbers", DENSE),
    "linear-positive": ("linear_model.LinearRegression", {"positive": True}, "numbers", ("float32",)),
    "logistic": ("linear_model.LogisticRegression", {}, "two", BOTH),
    "logistic-multinomial": ("linear_model.LogisticRegression", {"C": 0.1}, "three", BOTH),
    "logistic-elasticnet": (
        "linear_model.LogisticRegression",
        {"C": 0.01, "l1_ratio": 0.5, "solver": "saga"},
        "two",
        DENSE,
    ),
    "svc": ("svm.LinearSVC", {}, "three", BOTH),
    "svc-hinge": ("svm.LinearSVC", {"loss": "hinge", "max_iter": 10}, "two", DENSE),
    "svc-l1": ("svm.LinearSVC", {"penalty": "l1", "C": 0.01, "dual": False}, "two", DENSE),
    "svr": ("svm.LinearSVR", {"epsilon": 0.1, "max_iter": 10}, "numbers", DENSE),
    "svr-squared": ("svm.LinearSVR", {"loss": "squared_epsilon_insensitive"}, "numbers", DENSE),
}


@functools.cache
def table(form):
    """Return rows with three clusters in them, and targets by name."""
    rng = np.random.default_rng(5)
    group = rng.integers(0, 3, N_ROWS)
    X = rng.standard_normal((N_ROWS, N_FEATURES)) + 2.5 * rng.standard_normal((3, N_FEATURES))[group]
    noisy = X @ rng.standard_normal(N_FEATURES) + rng.standard_normal(N_ROWS)
    flipped = rng.random(N_ROWS) < 0.1
    targets = {
        None: None,
        "numbers": noisy,
        "two": np.where((noisy > 0) ^ flipped, "yes", "no"),
        "three": np.where(flipped, (group + 1) % 3, group),
    }
    if form == "csr":
        return sparse.csr_array(np.where(np.abs(X) > 1.5, X, 0.0)), targets
    return X.astype(form), targets


def fitted(name, form, rows):
    """Return what one fit on some of the rows leaves: the model's numbers, and those of every row."""
    dotted, parameters, target, _ = CASES[name]
    module, _, kind = dotted.rpartition(".")
    X, targets = table(form)
    y = None if targets[target] is None else targets[target][rows]
    estimator = getattr(importlib.import_module(f"hpcml.{module}"), kind)(**parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X[rows], y)
    model = {key: value for key, value in vars(estimator).items() if key.endswith("_") and key[0] != "_"}
    of_rows = {"labels_": model.pop("labels_")} if "labels_" in model else {}
    return {"model": {key: np.asarray(value) for key, value in model.items()}, "rows": of_rows}


def fit_all(rows=slice(None)):
    """Return every case in every form."""
    return {(name, form): fitted(name, form, rows) for name in CASES for form in CASES[name][3]}


def rows_of_rank(rank, size):
    """Return uneven shares of the rows that no shard's bounds meet."""
    ends = [0, *(N_ROWS * (i + 1) ** 2 // (size + 1) ** 2 for i in range(1, size)), N_ROWS]
    return slice(ends[rank], ends[rank + 1])


def fit_on_rank():
    """Return every case, fitted by one rank of an MPI job on its own rows; for `mpi_runs.run_ranks`."""
    with communicators.current() as communicator:
        rank, size = communicator.rank, communicator.size
    return fit_all(rows_of_rank(rank, size))
