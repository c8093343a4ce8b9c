"""The CUDA kernel of growth, run on the CPU: the bits of the reference, on every way to search a node."""

import numpy as np
import pytest
from cuda_host.driver import HostDriver, on_host
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import call as run
from sklearn.base import clone
from tables import same_trees
from test_kernels_growth import DEFAULTS, PATHS, assert_same_trees, calls, problem

import hpcml
from hpcml.ensemble import RandomForestClassifier, RandomForestRegressor
from hpcml.errors import DeviceMemoryError
from hpcml.kernels import lookup
from hpcml.kernels.cuda.driver import OutOfDeviceMemory
from hpcml.kernels.reference import growth


@settings(max_examples=20, deadline=None)
@given(call=calls(), backward=st.booleans())
def test_trees_equal_the_reference_to_the_bit(call, backward):
    args, keywords = call
    with on_host(backward=backward) as driver:
        found = run("grow", "cuda", *args, **keywords)
    assert driver.launched["start_rows"] == 1 and not driver.arrays
    assert_same_trees(found, growth.grow(*args, **keywords))


@pytest.mark.parametrize("path", PATHS)
def test_every_path_equals_the_reference(path, monkeypatch):
    table, keywords = PATHS[path]
    table = {"weights": "bootstrap"} | table
    table["n"] = min(table["n"], 700)
    args = problem(3, **table)
    criterion = "gini" if table["n_classes"] else "squared_error"
    keywords = DEFAULTS | {
        "max_features": 4, "max_depth": 4, "criterion": criterion, "n_classes": table["n_classes"],
    } | keywords  # fmt: skip
    expected = growth.grow(*args, **keywords)
    # the last one: large nodes in several blocks, several nodes, features and groups of them in turn
    for small in (False, True):
        if small:
            monkeypatch.setattr("hpcml.kernels.cuda.growing.ROWS_OF_A_BLOCK", 90)
            monkeypatch.setattr("hpcml.kernels.cuda.growing.ROWS_OF_A_TILE", 100)
            monkeypatch.setattr("hpcml.kernels.cuda.growing.MOST_SLOTS", 3)
            monkeypatch.setattr("hpcml.kernels.cuda.growing.WORKSPACE", 100_000)
        with on_host() as driver:
            found = run("grow", "cuda", *args, **keywords)
        assert small == any(name.startswith("fill_") for name in driver.launched)
        assert_same_trees(found, expected)


@pytest.mark.parametrize("wide", [False, True])
def test_histograms_that_no_shared_memory_holds(wide, monkeypatch):
    monkeypatch.setattr("hpcml.kernels.cuda.growing.SHARED", 1000)
    args = problem(3, 150, 4, 3, weights="fractional" if wide else "bootstrap", missing=0.1)
    keywords = DEFAULTS | {"max_features": 2, "max_depth": 3, "criterion": "entropy", "n_classes": 3}
    with on_host() as driver:
        found = run("grow", "cuda", *args, **keywords)
    assert driver.launched["fill_wide" if wide else "fill_narrow"] > 0
    assert_same_trees(found, growth.grow(*args, **keywords))


def test_little_memory_grows_fewer_trees_at_a_time_and_then_says_the_sizes(monkeypatch):
    monkeypatch.setattr("hpcml.kernels.cuda.growing.WORKSPACE", 50_000)
    monkeypatch.setattr("hpcml.kernels.cuda.growth.WORKSPACE", 50_000)
    args = list(problem(3, 400, 3, 0, weights="bootstrap"))
    args[7] = np.arange(5, dtype=np.uint64)
    keywords = DEFAULTS | {"max_features": 2, "max_depth": 3, "criterion": "squared_error", "n_classes": 0}
    expected = growth.grow(*args, **keywords)

    class Shared(HostDriver):
        """Another library takes the memory that this one has been told of."""

        def free_memory(self):
            return 1 << 30

        def allocate(self, n_bytes):
            if n_bytes > HostDriver.free_memory(self):
                raise OutOfDeviceMemory("taken")
            return super().allocate(n_bytes)

    for driver in (HostDriver(memory=190_000), Shared(memory=25_000)):
        with on_host(driver):
            assert_same_trees(run("grow", "cuda", *args, **keywords), expected)
        assert driver.launched["start_rows"] > 1 and not driver.arrays
    with on_host(HostDriver(memory=8_000)) as driver:
        with pytest.raises(DeviceMemoryError, match="a tree on 400 rows of 3 features needs up to 0.1"):
            run("grow", "cuda", *args, **keywords)
    assert not driver.arrays


@pytest.mark.parametrize("forest", [RandomForestClassifier, RandomForestRegressor])
def test_a_forest_on_the_device_is_that_on_the_processor(forest, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] > 0) + (X[:, 2] > 1.0)
    if forest is RandomForestClassifier:
        model = forest(4, max_depth=4, random_state=0, class_weight="balanced_subsample")
    else:
        model = forest(4, max_leaf_nodes=9, random_state=0)
    monkeypatch.setattr("hpcml.training.forest.WORK_PER_CALL", 2)  # a call for every tree
    expected = clone(model).fit(X, y)
    with on_host() as driver, hpcml.config_context(device="cuda"):
        found = clone(model).fit(X, y)
    # bins and targets go there once for all trees
    assert driver.launched["start_rows"] > 1 and driver.sent[X.size] == 1 and driver.sent[8 * len(X)] == 1
    assert same_trees(found, expected)


def test_one_row_no_tree_and_too_many_rows():
    args = list(problem(1, 8, 3, 2))
    keywords = DEFAULTS | {"max_features": 3, "criterion": "gini", "n_classes": 2}
    one = [args[0][:1], *args[1:4], args[4][:1], None, None, args[7], 0]
    with on_host():
        assert_same_trees(run("grow", "cuda", *one, **keywords), growth.grow(*one, **keywords))
        args[7] = args[7][:0]
        nodes, values, offsets = run("grow", "cuda", *args, **keywords)
        assert len(nodes) == 0 and values.shape == (0, 2) and offsets.tolist() == [0]
        many = np.lib.stride_tricks.as_strided(args[0], (1 << 32, 3), (0, 1))
        with hpcml.config_context(kernels="cuda"):
            with pytest.raises(ValueError, match="at most 4,294,967,295 rows"):
                lookup("grow")(many, *args[1:], **keywords)
