"""The CUDA passes of the interior-point method, run on the CPU, against the reference."""

import numpy as np
import pytest
from cuda_host.driver import HostDriver, on_host
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels_interior_point import assert_same, passes, rows

import hpcml
from hpcml.svm import LinearSVC, LinearSVR

LOSSES = ("hinge", "epsilon_insensitive")


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=8, deadline=None)
@given(
    n=st.integers(1, 100), d=st.sampled_from([1, 5, 16, 70]), single=st.booleans(), weighted=st.booleans(),
    seed=st.integers(0, 5), n_models=st.integers(1, 2),
)  # fmt: skip
def test_passes_are_the_reference(loss, n, d, single, weighted, seed, n_models):
    dtype = np.float32 if single else np.float64
    point = rows(n, d, loss, dtype=dtype, weighted=weighted, seed=seed, n_models=n_models)
    with on_host() as driver:
        found = passes("cuda", *point)
    assert driver.launched["pass_over_hinges"] == 3 * n_models
    assert_same(found, passes("reference", *point))


@pytest.mark.parametrize("loss", LOSSES)
def test_neither_the_order_of_threads_nor_blocks_change_a_bit(loss, monkeypatch):
    monkeypatch.setattr("hpcml.kernels.cuda.interior_point.ROWS_OF_PART", 400)  # several parts a shard
    point = rows(3100, 3, loss, weighted=True)
    found = []
    for driver in (HostDriver(), HostDriver(backward=True), HostDriver(memory=350_000)):
        with on_host(driver):
            found.append(passes("cuda", *point))
    assert driver.launched["pass_over_hinges"] > 3
    assert_same(found[0], passes("reference", *point))
    for once, backward, blocks in zip(*found, strict=True):
        for name, value in once.items():
            assert value.tobytes() == backward[name].tobytes() == blocks[name].tobytes(), name


@pytest.mark.parametrize("estimator", [LinearSVC(loss="hinge"), LinearSVR(epsilon=0.1)])
def test_a_fit_on_the_device_is_that_on_the_processor(estimator):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 4))
    y = X[:, 0] + 0.3 * rng.standard_normal(150)
    y = y > 0 if isinstance(estimator, LinearSVC) else y
    expected = estimator.fit(X, y).coef_.copy()
    with on_host() as driver, hpcml.config_context(device="cuda"):
        found = estimator.fit(X, y).coef_
    assert driver.launched["count_overshoots"] > 0
    np.testing.assert_allclose(found, expected, atol=1e-6)
