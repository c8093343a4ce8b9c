"""predict_leaves and predict_values: every implementation equals the reference to the bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_calls import call

from hpcml.kernels.nodes import LEAF, NODE_DTYPE, UNDEFINED
from hpcml.kernels.reference import prediction as reference
from needs import implementations

HUGE = float(np.finfo(np.float32).max)


def random_trees(rng, n_trees, n_features, n_outputs, max_splits, thresholds):
    """Return (nodes, values, offsets) of trees of any shape, the root of each first."""
    trees = []
    for _ in range(n_trees):
        nodes = np.zeros(1, dtype=NODE_DTYPE)
        nodes["left"] = nodes["right"] = LEAF
        nodes["feature"] = nodes["threshold"] = UNDEFINED
        for _ in range(rng.integers(0, max_splits + 1)):
            at = rng.choice(np.flatnonzero(nodes["left"] == LEAF))
            children = np.repeat(nodes[:1], 2)
            children["left"] = children["right"] = LEAF
            nodes["left"][at], nodes["right"][at] = rng.permutation([len(nodes), len(nodes) + 1])
            nodes["feature"][at] = rng.integers(n_features)
            nodes["threshold"][at] = rng.choice(thresholds)
            nodes["missing_go_to_left"][at] = rng.integers(2)
            nodes = np.concatenate([nodes, children])
        trees.append(nodes)
    offsets = np.concatenate([[0], np.cumsum([len(tree) for tree in trees])]).astype(np.int64)
    values = rng.standard_normal((offsets[-1], n_outputs)) * 10.0 ** rng.integers(-8, 8, (offsets[-1], 1))
    return np.concatenate(trees), values, offsets


@st.composite
def calls(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_features = draw(st.integers(1, 4))
    # thresholds that values hit exactly, that float32 cannot hold, and the one that sends only NaN right
    thresholds = np.array([0.0, 1.0, -1.0, 0.1, 1.0 + 2.0**-40, HUGE, -HUGE, np.inf])
    trees = random_trees(rng, draw(st.integers(1, 6)), n_features, draw(st.integers(1, 4)), 12, thresholds)
    X = rng.choice(
        [0.0, -0.0, 1.0, -1.0, 0.1, np.nan, HUGE, -HUGE, 0.5], (draw(st.integers(1, 40)), n_features)
    )
    return X.astype(np.float32), *trees


@pytest.mark.parametrize("implementation", implementations("predict_leaves"))
@given(given_call=calls(), n_threads=st.sampled_from([1, 2, 3]))
def test_leaves_equal_the_reference(implementation, given_call, n_threads):
    X, nodes, _, offsets = given_call
    got = call("predict_leaves", implementation, X, nodes, offsets, n_threads)
    np.testing.assert_array_equal(got, reference.predict_leaves(X, nodes, offsets))


@pytest.mark.parametrize("implementation", implementations("predict_values"))
@given(given_call=calls(), n_threads=st.sampled_from([1, 2, 3]))
def test_values_equal_the_reference_to_the_bit(implementation, given_call, n_threads):
    X, nodes, values, offsets = given_call
    got = call("predict_values", implementation, X, nodes, values, offsets, n_threads)
    expected = reference.predict_values(X, nodes, values, offsets)
    np.testing.assert_array_equal(got.view(np.uint64), expected.view(np.uint64))


@pytest.mark.parametrize("implementation", implementations("predict_values"))
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_larger_forests_in_several_blocks(implementation, n_outputs):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((5003, 6)).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    nodes, values, offsets = random_trees(rng, 20, 6, n_outputs, 60, rng.standard_normal(50))
    leaves = reference.predict_leaves(X, nodes, offsets)
    total = reference.predict_values(X, nodes, values, offsets)
    for n_threads in (1, 2, 3):
        got = call("predict_leaves", implementation, X, nodes, offsets, n_threads)
        np.testing.assert_array_equal(got, leaves)
        got = call("predict_values", implementation, X, nodes, values, offsets, n_threads)
        np.testing.assert_array_equal(got.view(np.uint64), total.view(np.uint64))


@pytest.mark.parametrize("implementation", implementations("predict_leaves", reference=True))
def test_a_tree_by_hand(implementation):
    #        0: x0 <= 0.5, NaN right
    #   1: leaf       2: x1 <= 0, NaN left
    #                 3: leaf   4: leaf
    nodes = np.zeros(5, dtype=NODE_DTYPE)
    nodes["left"] = [1, LEAF, 3, LEAF, LEAF]
    nodes["right"] = [2, LEAF, 4, LEAF, LEAF]
    nodes["feature"] = [0, UNDEFINED, 1, UNDEFINED, UNDEFINED]
    nodes["threshold"] = [0.5, UNDEFINED, 0.0, UNDEFINED, UNDEFINED]
    nodes["missing_go_to_left"] = [0, 0, 1, 0, 0]
    offsets = np.array([0, 5], dtype=np.int64)
    X = np.array([[0.5, 9], [0.6, -0.0], [0.6, 1], [np.nan, np.nan], [np.nan, 1]], dtype=np.float32)
    leaves = call("predict_leaves", implementation, X, nodes, offsets, 1)
    assert leaves[:, 0].tolist() == [1, 3, 4, 3, 4]
    values = np.arange(5.0)[:, None]
    assert call("predict_values", implementation, X, nodes, values, offsets, 2)[:, 0].tolist() == [
        1,
        3,
        4,
        3,
        4,
    ]
