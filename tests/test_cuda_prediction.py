"""The CUDA kernel of prediction, run on the CPU: the bits of the reference."""

import numpy as np
import pytest
from cuda_host.driver import HostDriver, on_host
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import call
from test_kernels_prediction import calls, random_trees

import hpcml
from hpcml.ensemble import RandomForestClassifier
from hpcml.kernels.reference import prediction as reference


@settings(max_examples=25, deadline=None)
@given(given_call=calls(), backward=st.booleans())
def test_trees_equal_the_reference_to_the_bit(given_call, backward):
    X, nodes, values, offsets = given_call
    with on_host(backward=backward) as driver:
        leaves = call("predict_leaves", "cuda", X, nodes, offsets, 1)
        total = call("predict_values", "cuda", X, nodes, values, offsets, 1)
    assert driver.launched["predict_rows"] == 2
    np.testing.assert_array_equal(leaves, reference.predict_leaves(X, nodes, offsets))
    expected = reference.predict_values(X, nodes, values, offsets)
    np.testing.assert_array_equal(total.view(np.uint64), expected.view(np.uint64))


@pytest.mark.parametrize("memory", [1 << 30, 100_000])
def test_larger_forests_in_several_blocks(memory):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((5003, 3)).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    nodes, values, offsets = random_trees(rng, 4, 3, 2, 20, rng.standard_normal(50))
    with on_host(HostDriver(memory=memory)) as driver:
        total = call("predict_values", "cuda", X, nodes, values, offsets, 1)
    assert (driver.launched["predict_rows"] > 1) == (memory < 1 << 20)
    expected = reference.predict_values(X, nodes, values, offsets)
    np.testing.assert_array_equal(total.view(np.uint64), expected.view(np.uint64))


def test_a_forest_predicts_on_the_device_what_it_does_on_the_processor():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4)).astype(np.float32)
    forest = RandomForestClassifier(5, max_depth=4, random_state=0).fit(X, X[:, 0] + X[:, 1] > 0)
    expected = forest.predict_proba(X)
    with on_host() as driver, hpcml.config_context(device="cuda"):
        assert forest.predict_proba(X).tobytes() == expected.tobytes()
    assert driver.launched["predict_rows"] >= 1
