"""Estimators on ranks of which some have few rows or none: the same model as in one process."""

import os

import numpy as np
import pytest

from hpcml import machine
from hpcml.cluster import KMeans, MiniBatchKMeans
from hpcml.communicators import current
from hpcml.decomposition import PCA, IncrementalPCA
from hpcml.linear_model import LinearRegression, LogisticRegression, Ridge
from hpcml.mixture import GaussianMixture
from hpcml.preprocessing import StandardScaler
from hpcml.svm import LinearSVC, LinearSVR
from mpi_runs import run_ranks

N, D = 3000, 4

CASES = {
    "scaler": (StandardScaler(), ("mean_", "var_")),
    "k-means": (KMeans(3, random_state=0, max_iter=10), ("cluster_centers_", "inertia_")),
    "batches": (MiniBatchKMeans(3, random_state=0, max_iter=3), ("cluster_centers_",)),
    "mixture": (GaussianMixture(2, random_state=0, max_iter=5, tol=0.0), ("means_", "covariances_")),
    "logistic": (LogisticRegression(), ("coef_", "classes_")),
    "linear": (LinearRegression(), ("coef_",)),
    "ridge": (Ridge(), ("coef_",)),
    "pca": (PCA(2), ("components_", "explained_variance_")),
    "incremental": (IncrementalPCA(2), ("components_", "explained_variance_")),
    "svr": (LinearSVR(max_iter=10), ("coef_",)),
    "svc": (LinearSVC(), ("coef_", "classes_")),
}


def table():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, N)
    return rng.normal(size=(N, D)) + y[:, None] * np.eye(3, D)[y] * 3, np.array(["a", "b", "c"])[y]


def fitted_in_turn(all_cuts):
    return [fitted(cuts) for cuts in all_cuts]


def fitted(cuts):
    X, y = table()
    rank = current().rank
    X, y = X[cuts[rank] : cuts[rank + 1]], y[cuts[rank] : cuts[rank + 1]]
    found = {}
    for name, (estimator, attributes) in CASES.items():
        estimator.fit(X, (y == "b").astype(float) if name in ("linear", "ridge", "svr") else y)
        found[name] = {each: getattr(estimator, each) for each in attributes}
        if name == "k-means":
            found["labels"] = estimator.labels_.tolist()
    return found


@pytest.mark.require("mpi")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_ranks_with_few_rows_or_none_take_part():
    expected = fitted([0, N])
    run = run_ranks(3, fitted_in_turn, [[0, 0, 2, N], [0, N, N, N]], HPCML_NUM_THREADS="1")
    for results in zip(*run.results, strict=True):
        for found in results:
            for name in CASES:
                for attribute, value in expected[name].items():
                    np.testing.assert_array_equal(
                        found[name][attribute], value, err_msg=f"{name} {attribute}"
                    )
        assert [label for found in results for label in found["labels"]] == expected["labels"]


WIDE = {
    "pca": (PCA(5), "components_"),
    "ridge": (Ridge(), "coef_"),
    "mixture": (GaussianMixture(4, random_state=0, max_iter=3, tol=0.0), "means_"),
    "logistic": (LogisticRegression(), "coef_"),
    "k-means": (KMeans(90, random_state=0, max_iter=3), "cluster_centers_"),
}


def fitted_wide(cuts):
    """Fit where the sums of a shard are long, and rows are so few that only one rank has a shard."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((1800, 120)), rng.integers(0, 10, 1800)
    rows = slice(*cuts[current().rank : current().rank + 2])
    return {
        name: getattr(estimator.fit(X[rows], y[rows]), attribute)
        for name, (estimator, attribute) in WIDE.items()
    }


@pytest.mark.require("mpi")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_long_sums_of_ranks_without_a_shard():
    expected = fitted_wide([0, 1800])
    for found in run_ranks(3, fitted_wide, [0, 600, 1200, 1800], HPCML_NUM_THREADS="1").results:
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def fitted_with_mixed_instruction_sets(cuts):
    os.environ["HPCML_ISA"] = ("avx512", "avx2")[int(os.environ["PMI_RANK"])]
    return fitted(cuts)


@pytest.mark.require("mpi", "cython")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_ranks_with_other_instruction_sets_fit_as_the_lower_one_alone(monkeypatch):
    if "avx512" not in machine.supported_isas():
        pytest.skip("needs AVX-512")
    run = run_ranks(2, fitted_with_mixed_instruction_sets, [0, 1600, N])
    monkeypatch.setenv("HPCML_ISA", "avx2")
    expected = fitted([0, N])
    for found in run.results:
        for name in CASES:
            for attribute, value in expected[name].items():
                np.testing.assert_array_equal(found[name][attribute], value, err_msg=name)


def nothing():
    try:
        StandardScaler().fit(np.empty((0, 2)))
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.require("mpi")
def test_ranks_without_any_row_at_all_are_refused():
    told = "Found array with 0 sample(s) on all ranks together while a minimum of 1 is required."
    assert run_ranks(2, nothing).results == [told] * 2
