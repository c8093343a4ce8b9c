"""grow: every implementation and instruction set has the bits of the reference, on every way to search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcml
from hpcml import kernels, machine
from hpcml.kernels import contract
from hpcml.kernels.nodes import LEAF
from hpcml.kernels.reference import binning, growth
from needs import implementations

UNLIMITED = 2**31 - 1
DEFAULTS = {
    "max_depth": UNLIMITED,
    "min_samples_split": 2,
    "min_samples_leaf": 1,
    "min_weight_leaf": 0.0,
    "max_leaf_nodes": 0,
    "min_impurity_decrease": 0.0,
    "target_bits": 18,
}


def problem(
    seed, n, d, n_classes, *, values="many", missing=0.0, weights="none", heavy_tail=False, max_bins=255
):
    """Return the positional arguments of grow for two trees on a random table."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(np.float32)
    if values == "few":
        X = np.round(2 * X)
    X[rng.random(X.shape) < missing] = np.nan
    if d > 1:
        X[:, 1] = 1.0
    signal = np.nan_to_num(X[:, : d // 2 + 1]).sum(axis=1) + rng.standard_normal(n)
    if n_classes:
        ranks = np.argsort(np.argsort(signal))
        y = (ranks * n_classes // n).astype(np.float64)
    else:
        y = np.exp(2.0 * signal.clip(-5, 5)) if heavy_tail else signal.astype(np.float64)
    lower, upper, n_bins = binning.find_bins(X, max_bins)
    w, cumulative, n_draws = None, None, 0
    if weights == "bootstrap":
        n_draws = n
    elif weights == "weighted bootstrap":
        cumulative, n_draws = np.cumsum(rng.random(n) * (rng.random(n) < 0.8) + 1e-9), n // 2 + 1
    elif weights == "whole":
        w = rng.integers(0, 4, (1, n)).astype(np.float64)
    elif weights == "fractional":
        w = rng.random((2, n)) * (rng.random((2, n)) < 0.8)
    if w is not None:
        w[:, 0] = 1.0
    seeds = rng.integers(0, 2**63, 2).astype(np.uint64)
    return binning.apply_bins(X, upper, n_bins), lower, upper, n_bins, y, w, cumulative, seeds, n_draws


def grow(implementation, args, **keywords):
    dimensions = contract.check_call("grow", args, keywords)
    with hpcml.config_context(kernels=implementation):
        result = kernels.lookup("grow")(*args, **keywords)
    contract.check_result("grow", result, dimensions)
    return result


def assert_same_trees(got, expected):
    for name in expected[0].dtype.names:
        np.testing.assert_array_equal(got[0][name], expected[0][name], err_msg=name)
    np.testing.assert_array_equal(got[1], expected[1])
    np.testing.assert_array_equal(got[2], expected[2])


@st.composite
def calls(draw):
    """Return arguments and keywords of grow over shapes, weights, missing values and stop rules."""
    n_classes = draw(st.sampled_from([0, 0, 2, 2, 3, 7]))
    d = draw(st.sampled_from([1, 3, 9, 33, 70]))
    args = problem(
        draw(st.integers(0, 2**32)),
        draw(st.sampled_from([8, 30, 120, 500])),
        d,
        n_classes,
        values=draw(st.sampled_from(["many", "few"])),
        missing=draw(st.sampled_from([0.0, 0.2])),
        weights=draw(st.sampled_from(["none", "bootstrap", "weighted bootstrap", "whole", "fractional"])),
        heavy_tail=draw(st.booleans()),
        max_bins=draw(st.sampled_from([2, 7, 255])),
    )
    criterion = draw(st.sampled_from(["gini", "entropy", "log_loss"])) if n_classes else "squared_error"
    keywords = DEFAULTS | {
        "criterion": criterion,
        "n_classes": n_classes,
        "max_features": draw(st.integers(1, d + 1)),  # beyond d: all
        "max_depth": draw(st.sampled_from([1, 4, UNLIMITED])),
        "min_samples_split": draw(st.sampled_from([2, 6])),
        "min_samples_leaf": draw(st.sampled_from([1, 1, 3])),
        "min_weight_leaf": draw(st.sampled_from([0.0, 0.7])),
        "max_leaf_nodes": draw(st.sampled_from([0, 0, 2, 6])),
        "min_impurity_decrease": draw(st.sampled_from([0.0, 0.01])),
        "target_bits": draw(st.sampled_from([18, 30, 51])),
    }
    return args, keywords


@pytest.mark.parametrize("implementation", implementations("grow"))
@given(call=calls(), n_threads=st.sampled_from([1, 3]), isa=st.sampled_from(machine.supported_isas()))
@settings(max_examples=60, deadline=None)
def test_grow_equals_the_reference(implementation, call, n_threads, isa):
    args, keywords = call
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPCML_ISA", isa)
        got = grow(implementation, args, **keywords, n_threads=n_threads)
    assert_same_trees(got, growth.grow(*args, **keywords))


# Sizes at which each way to search a node is taken: sorted rows, sparse and full histograms, the larger
# child's histogram by subtraction, bins beside the rows (up to 64 features) or in columns, words or planes.
PATHS = {
    "all features, subtraction": ({"n": 2500, "d": 12, "n_classes": 0}, {"max_features": 12}),
    "all features, missing": ({"n": 2500, "d": 12, "n_classes": 2, "missing": 0.1}, {"max_features": 12}),
    "few features, two classes": ({"n": 2500, "d": 40, "n_classes": 2}, {"max_features": 5}),
    "columns": ({"n": 1500, "d": 90, "n_classes": 2}, {"max_features": 9}),
    "columns, all features": ({"n": 600, "d": 90, "n_classes": 0}, {"max_features": 90}),
    "planes of classes": ({"n": 2500, "d": 12, "n_classes": 7}, {"max_features": 4}),
    "planes of a heavy tail": ({"n": 2500, "d": 12, "n_classes": 0, "heavy_tail": True}, {"target_bits": 51}),
    "rows counted": ({"n": 2500, "d": 12, "n_classes": 2, "weights": "whole"}, {"min_samples_leaf": 5}),
    "rows counted, planes": (
        {"n": 900, "d": 12, "n_classes": 3, "weights": "whole"},
        {"min_samples_leaf": 5},
    ),
    "constant features drawn": ({"n": 300, "d": 3, "n_classes": 0, "values": "few"}, {"max_features": 1}),
}


@pytest.mark.parametrize("isa", machine.supported_isas())
@pytest.mark.parametrize("implementation", implementations("grow"))
@pytest.mark.parametrize("path", PATHS)
def test_every_path_equals_the_reference(path, implementation, isa, monkeypatch):
    table, keywords = PATHS[path]
    table = {"weights": "bootstrap"} | table
    args = problem(3, **table)
    criterion = "gini" if table["n_classes"] else "squared_error"
    keywords = DEFAULTS | {
        "max_features": 4, "max_depth": 7, "criterion": criterion, "n_classes": table["n_classes"],
    } | keywords  # fmt: skip
    monkeypatch.setenv("HPCML_ISA", isa)
    got = grow(implementation, args, **keywords, n_threads=2)
    expected = growth.grow(*args, **keywords)
    assert len(expected[0]) > 20
    assert_same_trees(got, expected)


def test_a_tree_of_depth_7_begins_with_the_tree_of_depth_3():
    args = problem(5, 800, 6, 3, weights="bootstrap")
    keywords = DEFAULTS | {"criterion": "gini", "n_classes": 3, "max_features": 2}
    deep = growth.grow(*args, **keywords | {"max_depth": 7})
    flat = growth.grow(*args, **keywords | {"max_depth": 3})
    for t in range(2):
        nodes = deep[0][deep[2][t] : deep[2][t + 1]]
        upper = nodes[nodes["depth"] <= 3]
        short = flat[0][flat[2][t] : flat[2][t + 1]]
        inner = short["left"] != LEAF
        np.testing.assert_array_equal(upper["n_samples"], short["n_samples"])
        np.testing.assert_array_equal(upper["impurity"], short["impurity"])
        np.testing.assert_array_equal(upper["threshold"][inner], short["threshold"][inner])


def test_logarithm_is_accurate():
    x = np.concatenate([np.arange(1.0, 2000.0), np.random.default_rng(0).random(2000) * 1e9 + 1e-9])
    assert np.max(np.abs(growth.logarithm(x) - np.log(x)) / np.maximum(1.0, np.abs(np.log(x)))) < 4e-16


@pytest.mark.parametrize("n_classes", [0, 2])
def test_splits_are_the_best_to_a_millionth(n_classes):
    """Fixed-point sums find splits whose gain is within 1e-6 of the best in exact arithmetic."""
    binned, lower, upper, n_bins, y, *rest = problem(11, 4000, 5, n_classes)
    keywords = DEFAULTS | {
        "criterion": "gini" if n_classes else "squared_error",
        "n_classes": n_classes,
        "max_features": 5,
        "max_depth": 1,
    }
    nodes, _, _ = grow("auto", (binned, lower, upper, n_bins, y, *rest), **keywords)
    root = nodes[0]
    best = 0.0
    for f in range(5):
        order = np.argsort(binned[:, f], kind="stable")
        sums, at = np.cumsum((y - y.mean())[order]), np.flatnonzero(np.diff(binned[order, f].astype(int)))
        n_left = at + 1.0
        if len(at):
            best = max(best, np.max(sums[at] ** 2 / n_left + sums[at] ** 2 / (len(y) - n_left)) / len(y))
    scale = 2.0 if n_classes else 1.0  # Gini impurity of two classes is twice the variance
    assert root["improvement"] == pytest.approx(scale * best, rel=1e-6)
