"""The CUDA kernel of growth, run on the CPU: the bits of the reference, on every way to search a node."""

import mmap
import sys

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
@given(call=calls().filter(lambda call: call[0][0].size <= 9000), backward=st.booleans())  # larger ones below
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


@pytest.mark.parametrize("weights", ["bootstrap", "fractional"])
def test_little_memory_grows_fewer_trees_at_a_time_and_then_says_the_sizes(weights, monkeypatch):
    monkeypatch.setattr("hpcml.kernels.cuda.growing.WORKSPACE", 50_000)
    monkeypatch.setattr("hpcml.kernels.cuda.growth.WORKSPACE", 50_000)
    args = list(problem(3, 400, 3, 0, weights=weights))
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


@pytest.mark.parametrize("n_classes", [0, 1, 2])
def test_weights_beside_a_bootstrap_and_a_single_class(n_classes):
    args = list(problem(5, 90, 3, 2 if n_classes else 0, weights="whole"))
    args[8] = 60
    if n_classes == 1:
        args[4] = np.zeros(90)
    criterion = "gini" if n_classes else "squared_error"
    keywords = DEFAULTS | {"max_features": 2, "criterion": criterion, "n_classes": n_classes}
    with on_host():
        assert_same_trees(run("grow", "cuda", *args, **keywords), growth.grow(*args, **keywords))


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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is reserved that is not used")
def test_tables_and_streams_beyond_two_to_the_31_elements():
    """A node at the end of tables that are address space alone: only their last pages are ever touched."""
    n, d, at, no_reserve = (1 << 31) // 3 + 5000, 3, (1 << 31) + 77, 0x4000
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve

    def reserved(count, dtype):
        return np.frombuffer(mmap.mmap(-1, count * np.dtype(dtype).itemsize, flags=flags), dtype)

    binned, rows, a = reserved(n * d, "u1").reshape(n, d), reserved(at + 400, "u4"), reserved(at + 400, "u8")
    rng = np.random.default_rng(0)
    bins = binned[-100:] = rng.integers(0, 4, (100, d))
    classes = (bins[:, 1] > 1).astype(np.uint64)
    rows[at : at + 100], a[at : at + 100] = np.arange(n - 100, n), classes << 32 | 1
    given = {
        "binned": binned, "rows": rows, "a": a, "n_bins": np.full(d, 4, dtype=np.int32),
        "nodes": np.array([[at, 100, 0, 0, -1]]), "order": np.arange(d, dtype=np.int32),
        "active": np.zeros(1, dtype=np.int64), "trees": np.array([[1, 0, 0, 0]], dtype=np.uint64),
        "totals": np.array([[100 - classes.sum(), classes.sum()]], dtype=np.uint64),
        "scores": np.zeros(d), "splits": np.zeros(d, dtype=np.uint32),
        "sums": np.zeros((d, 2), dtype=np.uint64), "left": np.zeros(1, dtype=np.int64),
        "tiles": np.array([[0, 0, 100]]),
        "cuts": np.array([[at, at + 150, 100, 1, 1, 4, 0, np.count_nonzero(classes == 0)]]),
    }  # fmt: skip
    at_ = {name: array.ctypes.data for name, array in given.items()}
    driver = HostDriver()
    with driver.active():
        stream = driver.stream()
        table = (
            at_["binned"], d, at_["n_bins"], at_["rows"], at_["a"], 0, at_["nodes"], 1, at_["order"], 0, d, d,
            1, 2, 0, 5, 0,
        )  # fmt: skip
        found = at_["scores"], at_["splits"], at_["sums"]
        more = (at_["active"], at_["trees"], at_["totals"], 2, 0, 1, 2, *found)
        driver.launch("growth", "search_narrow", (1, 1), 256, table + more, stream, 4096)
        cut = at_["binned"], d, at_["cuts"], at_["tiles"], at_["left"], at_["rows"], at_["a"], 0
        driver.launch("growth_rows", "count_left", (1, 1), 256, cut, stream)
        driver.wait(stream)
        assert given["left"][0] == np.count_nonzero(classes == 0)
        given["left"][0] = 0
        driver.launch("growth_rows", "move_rows", (1, 1), 256, cut, stream)
        driver.wait(stream)
    assert given["scores"].argmax() == 1 and given["splits"][1] & 0x1FF == 1  # the class is that of the bin
    assert given["sums"][1].tolist() == [np.count_nonzero(classes == 0), 0]
    order = np.argsort(classes, kind="stable")
    assert (rows[at + 150 : at + 250] == np.arange(n - 100, n)[order]).all()
    assert (a[at + 150 : at + 250] >> 32 == classes[order]).all()
