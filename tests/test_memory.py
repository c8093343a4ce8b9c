"""The grid's peak memory: the caller's table, two bytes a value, and a fixed part."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FIXED = 200e6  # bytes: trees, threads, and blocks of rows and columns

CODE = """
    import sys
    import numpy as np
    from hpcml.ensemble import RandomForestRegressor
    from hpcml.model_selection import GridSearchCV

    def status(key):
        lines = open("/proc/self/status").read().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))

    def run(X):
        grid = {"max_depth": [1, 3], "n_estimators": [2, 4]}
        forest = RandomForestRegressor(max_features=5, random_state=0)
        search = GridSearchCV(forest, grid, cv=3, refit=sys.argv[2] == "refit").fit(X, X[:, 0])
        assert not search.plan_.fallbacks

    X = np.random.default_rng(0).random((500_000, 50), dtype=np.float32).astype(sys.argv[1])
    run(X[:500].copy())  # what is loaded once
    before = status("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # the peak becomes the present size
    run(X)
    print(status("VmHWM") - before, X.size)
"""


@pytest.mark.require("cython")
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize(("dtype", "refit"), [("float32", "refit"), ("float64", "refit")])
def test_a_grid_takes_two_bytes_a_value(dtype, refit):
    command = [sys.executable, "-c", textwrap.dedent(CODE), dtype, refit]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak, values = map(int, done.stdout.split())
    assert peak <= 2 * values + FIXED, f"{peak / 1e6:.0f} MB beside a table of {values} values"


FITS = """
    import importlib
    import sys
    import warnings
    import numpy as np

    FITS = {
        "preprocessing.StandardScaler": [{}],
        "cluster.KMeans": [
            {"n_clusters": 4, "max_iter": 2, "n_init": 1, "random_state": 0},
            {"n_clusters": 4, "max_iter": 2, "n_init": 1, "algorithm": "elkan", "random_state": 0},
        ],
        "cluster.MiniBatchKMeans": [{"n_clusters": 4, "max_iter": 1, "n_init": 1, "random_state": 0}],
        "mixture.GaussianMixture": [
            {"n_components": 2, "max_iter": 2, "init_params": start, "random_state": 0}
            for start in ("kmeans", "random")
        ],
        "decomposition.PCA": [
            {"n_components": 3, "svd_solver": solver} for solver in ("full", "covariance_eigh", "randomized")
        ],
        "decomposition.IncrementalPCA": [{"n_components": 3, "batch_size": 5000}],
        "linear_model.LinearRegression": [{}],
        "linear_model.Ridge": [{}],
        "linear_model.LogisticRegression": [{"max_iter": 5}],
        "svm.LinearSVC": [{"max_iter": 5}, {"loss": "hinge", "max_iter": 3}],
        "svm.LinearSVR": [{"max_iter": 3}, {"loss": "squared_epsilon_insensitive", "max_iter": 5}],
    }

    def status(key):
        lines = open("/proc/self/status").read().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))

    warnings.simplefilter("ignore")
    X = np.random.default_rng(0).random((500_000, 60)).astype(sys.argv[1])
    y = X[:, 0] + X[:, 1]
    for name, several in FITS.items():
        module, _, kind = name.rpartition(".")
        kind = getattr(importlib.import_module(f"hpcml.{module}"), kind)
        for parameters in several:
            target = y > 1 if kind.__name__ in ("LogisticRegression", "LinearSVC") else y
            kind(**parameters).fit(X[:2000].copy(), target[:2000])  # what is loaded once
            before = status("VmRSS")
            open("/proc/self/clear_refs", "w").write("5")  # the peak becomes the present size
            kind(**parameters).fit(X, target)
            print(f"{name}({parameters})\\t{status('VmHWM') - before}\\t{X.nbytes}")
"""


@pytest.mark.require("cython")
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fits_over_shards_take_a_tenth_of_the_table(dtype):
    command = [sys.executable, "-c", textwrap.dedent(FITS), dtype]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    too_much = []
    for line in done.stdout.splitlines():
        fit, peak, table = line.split("\t")
        if int(peak) > 0.1 * int(table) + 100e6:
            too_much.append(f"{fit}: {int(peak) / 1e6:.0f} MB beside a table of {int(table) / 1e6:.0f} MB")
    assert len(done.stdout.splitlines()) >= 15
    assert not too_much


WIDE_FIT = """
    import sys
    import numpy as np
    from hpcml.decomposition import PCA
    from hpcml.linear_model import LinearRegression

    def status(key):
        lines = open("/proc/self/status").read().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))

    X = np.random.default_rng(0).random(tuple(map(int, sys.argv[2:])))
    y = X[:, 0] + X[:, 1]
    estimator = PCA(svd_solver="full") if sys.argv[1] == "pca" else LinearRegression()
    estimator.fit(X[:200, :50].copy(), y[:200])  # what is loaded once
    before = status("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # the peak becomes the present size
    estimator.fit(X, y)
    print(status("VmHWM") - before, X.nbytes)
"""


@pytest.mark.require("cython")
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize("fit", [("regression", "20000", "2000"), ("pca", "2000", "3000")], ids=" ".join)
def test_many_features_take_few_matrices(fit):
    command = [sys.executable, "-c", textwrap.dedent(WIDE_FIT), *fit]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak, table = map(int, done.stdout.split())
    assert peak <= 0.1 * table + 100e6, f"{peak / 1e6:.0f} MB beside a table of {table / 1e6:.0f} MB"
