"""Compiled moments against their definition, and against every number of threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import call
from scipy import sparse

from hpcml import machine
from hpcml.kernels.csr import CSR
from hpcml.kernels.shards import bounds_of

pytestmark = pytest.mark.require("cython")


def rows(n, d, dtype, *, is_sparse=False, missing=False):
    rng = np.random.default_rng(n + d)
    X = rng.standard_normal((n, d)) + 3
    X[:, 0] = 0.1  # a constant feature
    if is_sparse:
        X[rng.random((n, d)) < 0.6] = 0.0
    if missing:
        X[rng.random((n, d)) < 0.1] = np.nan
    X = X.astype(dtype)
    return CSR.of(sparse.csr_array(X)) if is_sparse else X


def moments(implementation, X, weights, centers, n_threads=1):
    bounds = bounds_of(X.shape[0])
    shards = {"bounds": bounds, "first_shard": 0, "n_shards": len(bounds) - 1}
    _, found = call(
        "moments", implementation, **shards, X=X, weights=weights, centers=centers, n_threads=n_threads
    )
    return found[0]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 300),
    d=st.integers(1, 40),
    dtype=st.sampled_from([np.float32, np.float64]),
    is_sparse=st.booleans(),
    missing=st.booleans(),
    weighted=st.booleans(),
    isa=st.sampled_from(machine.supported_isas()),
)
def test_moments_equal_their_definition(n, d, dtype, is_sparse, missing, weighted, isa):
    X = rows(n, d, dtype, is_sparse=is_sparse, missing=missing)
    rng = np.random.default_rng(0)
    weights, centers = rng.random(n) if weighted else None, rng.standard_normal(d)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPCML_ISA", isa)
        got = moments("cython", X, weights, centers)
    np.testing.assert_allclose(got, moments("reference", X, weights, centers), rtol=1e-11, atol=1e-11 * n)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_number_of_threads_changes_no_bit(is_sparse):
    X = rows(6000, 17, np.float32, is_sparse=is_sparse, missing=True)
    weights = np.random.default_rng(0).random(6000)
    one = moments("cython", X, weights, np.zeros(17))
    assert one.tobytes() == moments("cython", X, weights, np.zeros(17), 2).tobytes()
    assert one.tobytes() == moments("cython", X, weights, np.zeros(17), 3).tobytes()


def test_constant_feature_about_its_value_has_no_variance():
    X = rows(5000, 3, np.float64)
    assert moments("cython", X, None, X[0].copy()).reshape(3, 3)[1:, 0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("way", ["there", "back"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", machine.supported_isas())
def test_rescaled_rows_have_the_bits_of_numpy(way, dtype, isa, monkeypatch):
    monkeypatch.setenv("HPCML_ISA", isa)
    rng = np.random.default_rng(0)
    X = rows(9000, 13, dtype, missing=True)
    centers, scales = rng.standard_normal(13), rng.random(13) + 0.5
    expected = call("rescale", "reference", X, centers, scales, way, 1)
    for n_threads in (1, 3):
        got = call("rescale", "cython", X, centers, scales, way, n_threads)
        assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", machine.supported_isas())
def test_sums_of_shards(dtype, isa, monkeypatch):
    monkeypatch.setenv("HPCML_ISA", isa)
    values = np.random.default_rng(0).random(40_011).astype(dtype)
    bounds = np.array([0, 1, 17, 33, 49, 70, 3000, 20_000, 20_007, *range(21_000, 40_000, 1000), 40_011])
    sums = [call("shard_sums", "cython", values, bounds, n_threads) for n_threads in (1, 3)]
    np.testing.assert_allclose(sums[0], call("shard_sums", "reference", values, bounds, 1), rtol=1e-13)
    assert sums[0].tobytes() == sums[1].tobytes()
    monkeypatch.setenv("HPCML_ISA", machine.supported_isas()[0])
    assert call("shard_sums", "cython", values, bounds, 1).tobytes() == sums[0].tobytes()
