"""The CUDA kernels of products, run on the CPU, against the reference."""

import numpy as np
import pytest
from cuda_host.driver import HostDriver, on_host
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels_gram import TAKES, arguments, assert_same, run

import hpcml
from hpcml.decomposition import PCA
from hpcml.linear_model import Ridge


@pytest.mark.parametrize("name", TAKES)
@settings(max_examples=5, deadline=None)
@given(
    n=st.integers(1, 90),
    d=st.integers(1, 30),
    k=st.integers(1, 70),
    dtype=st.sampled_from([np.float32, np.float64]),
    weighted=st.booleans(),
    with_y=st.booleans(),
    centered=st.booleans(),
)
def test_kernels_equal_their_definition(name, n, d, k, dtype, **kinds):
    given_ = arguments(n, d, k, dtype, **kinds)
    with on_host() as driver:
        got = run(name, "cuda", given_)
    assert driver.launched
    assert_same(got, run(name, "reference", given_), dtype)


@pytest.mark.parametrize("name", TAKES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neither_the_order_of_threads_nor_blocks_change_a_bit(name, dtype):
    given_ = arguments(3100, 5, 3, dtype, weighted=True)
    given_["X"].flags.writeable = False
    found, short = [], {np.float32: 160_000, np.float64: 240_000}[dtype]
    for driver in (HostDriver(), HostDriver(backward=True), HostDriver(memory=short)):
        with on_host(driver):
            found.append(run(name, "cuda", given_))
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    assert sum(driver.launched.values()) > 2 or name == "project"
    assert_same(found[0], run(name, "reference", given_), dtype)


def test_long_shards_have_several_parts(monkeypatch):
    given_ = arguments(2040, 3, 2, np.float64)  # one shard
    expected = run("gram", "reference", given_)
    monkeypatch.setattr("hpcml.kernels.cuda.gram.ROWS_OF_PART", 500)
    with on_host():
        assert_same(run("gram", "cuda", given_), expected, np.float64)


def test_no_components():
    given_ = arguments(50, 4, 0, np.float64, with_y=False)
    with on_host():
        assert run("project", "cuda", given_).shape == (50, 0)
        assert run("projected_gram", "cuda", given_).shape == (0,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fits_on_the_device_are_those_on_the_processor(dtype):
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6)) + 5).astype(dtype)
    y = (X @ rng.standard_normal((6, 2)) + 0.1 * rng.standard_normal((300, 2))).astype(dtype)

    def fits():
        ridge, pca = Ridge(0.5).fit(X, y), PCA(3, svd_solver="covariance_eigh").fit(X)
        return ridge.coef_, ridge.predict(X), pca.explained_variance_, pca.transform(X)

    expected = fits()
    with on_host() as driver, hpcml.config_context(device="cuda"):
        found = fits()
    assert driver.launched["gather_products"] >= 2
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(
            a, b, rtol=2e-3 if dtype == np.float32 else 1e-8, atol=1e-3 * (dtype == np.float32)
        )
