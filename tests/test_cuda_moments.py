"""The CUDA kernel of moments, run on the CPU, against the reference."""

import numpy as np
import pytest
from cuda_host.driver import HostDriver, on_host
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels_moments import moments, rows

import hpcml
from hpcml.preprocessing import StandardScaler


@settings(max_examples=8, deadline=None)
@given(
    n=st.integers(1, 300),
    d=st.sampled_from([1, 2, 3, 17, 32, 33, 70]),
    dtype=st.sampled_from([np.float32, np.float64]),
    missing=st.booleans(),
    weighted=st.booleans(),
)
def test_moments_equal_their_definition(n, d, dtype, missing, weighted):
    X, rng = rows(n, d, dtype, missing=missing), np.random.default_rng(0)
    weights, centers = rng.random(n) if weighted else None, rng.standard_normal(d)
    with on_host() as driver:
        found = moments("cuda", X, weights, centers)
    assert sum(driver.launched.values()) == 2
    np.testing.assert_allclose(found, moments("reference", X, weights, centers), rtol=1e-11, atol=1e-11 * n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neither_the_order_of_threads_nor_blocks_change_a_bit(dtype, monkeypatch):
    monkeypatch.setattr("hpcml.kernels.cuda.moments.ROWS_OF_PART", 400)  # several parts a shard
    X, weights = rows(5003, 5, dtype, missing=True), np.random.default_rng(0).random(5003)
    X[4000] = np.inf
    found = []
    for driver in (HostDriver(), HostDriver(backward=True), HostDriver(memory=150_000)):
        with on_host(driver), np.errstate(invalid="ignore"):
            found.append(moments("cuda", X, weights, np.zeros(5)))
    assert sum(driver.launched.values()) > 2
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    np.testing.assert_allclose(found[0], moments("reference", X, weights, np.zeros(5)), rtol=1e-11)


def test_a_scaler_on_the_device_is_that_on_the_processor():
    X = rows(1500, 6, np.float32, missing=True)
    expected = StandardScaler().fit(X)
    with on_host() as driver, hpcml.config_context(device="cuda", strict_device=True):
        found = StandardScaler().fit(X)
    assert driver.launched["feature_moments_float"] >= 1
    np.testing.assert_allclose(found.mean_, expected.mean_, rtol=1e-12)
    np.testing.assert_allclose(found.var_, expected.var_, rtol=1e-12, atol=1e-20)
    assert found.n_samples_seen_.tolist() == expected.n_samples_seen_.tolist()
