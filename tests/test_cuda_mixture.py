"""The CUDA kernels of mixtures, run on the CPU, against the reference."""

import itertools

import numpy as np
import pytest
from cuda_host.driver import HostDriver, on_host
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import call
from test_kernels_mixture import TOLERANCE, assert_near, mixture, reduced

import hpcml
from hpcml.mixture import GaussianMixture

SHAPES = {
    "n": st.sampled_from([1, 2, 31, 65, 150]),
    "d": st.sampled_from([1, 2, 7, 15, 16, 33]),
    "k": st.integers(1, 4),
    "dtype": st.sampled_from([np.float32, np.float64]),
    "diagonal": st.booleans(),
    "seed": st.integers(0, 1000),
}


def name_of(kernel, diagonal):
    return kernel + "_diagonal" if diagonal else kernel


@settings(max_examples=15, deadline=None)
@given(**SHAPES)
def test_steps_agree(n, d, k, dtype, diagonal, seed):
    X, model = mixture(n, d, k, dtype, seed, diagonal)
    name = name_of("gaussian_step", diagonal)
    arguments = {"X": X, **model, "shifts": model["means"] + dtype(0.5)}
    with on_host() as driver:
        found = reduced(name, "cuda", 1, **arguments)
    assert driver.launched
    assert_near(found, reduced(name, "reference", 1, **arguments), dtype, n)
    if not diagonal:
        assert not np.tril(found["squares"], -1).any()


@settings(max_examples=15, deadline=None)
@given(**SHAPES, labelled=st.booleans())
def test_moments_agree(n, d, k, dtype, diagonal, seed, labelled):
    X, model = mixture(n, d, k, dtype, seed, diagonal)
    rng = np.random.RandomState(seed)
    arguments = {"X": X, "center": model["center"], "shifts": model["means"]}
    arguments |= {"labels": None, "responsibilities": None}
    if labelled:
        arguments["labels"] = rng.randint(-1, k, size=n).astype(np.int32)
    else:
        arguments["responsibilities"] = rng.dirichlet(np.ones(k), size=n).astype(dtype)
    name = name_of("gaussian_moments", diagonal)
    with on_host():
        found = reduced(name, "cuda", 1, **arguments)
    assert_near(found, reduced(name, "reference", 1, **arguments), dtype, n)


@settings(max_examples=15, deadline=None)
@given(**SHAPES, with_responsibilities=st.integers(0, 1))
def test_rows_agree(n, d, k, dtype, diagonal, seed, with_responsibilities):
    X, model = mixture(n, d, k, dtype, seed, diagonal)
    name = name_of("gaussian_rows", diagonal)
    log_densities, labels, r = call(name, "reference", X=X, **model, with_responsibilities=1)
    with on_host():
        found = call(name, "cuda", X=X, **model, with_responsibilities=with_responsibilities)
    tolerance = TOLERANCE[np.dtype(dtype)]
    np.testing.assert_allclose(found[0], log_densities, rtol=tolerance, atol=tolerance)
    assert found[2].shape == (n, k * with_responsibilities)
    if with_responsibilities:
        scale = max(1, np.abs(log_densities).max())
        np.testing.assert_allclose(found[2], r, rtol=0, atol=10 * tolerance * scale)
    for i in np.flatnonzero(found[1] != labels):  # near ties only
        assert r[i][found[1][i]] > 0.999 * r[i][labels[i]]


@pytest.mark.parametrize("diagonal", [False, True])
def test_neither_the_order_of_threads_nor_blocks_change_a_bit(diagonal, monkeypatch):
    monkeypatch.setattr("hpcml.kernels.cuda.mixture.ROWS_OF_PART", 400)  # several parts a shard
    X, model = mixture(3100, 4, 3, np.float32, 1, diagonal)
    X.flags.writeable = False
    name = name_of("gaussian_step", diagonal)
    found = []
    for driver in (HostDriver(), HostDriver(backward=True), HostDriver(memory=95_000)):
        with on_host(driver):
            found.append(reduced(name, "cuda", 1, X=X, **model, shifts=model["means"]))
    assert driver.launched[f"densities{'_diagonal' * diagonal}_float"] > 1
    for part, values in found[0].items():
        assert values.tobytes() == found[1][part].tobytes() == found[2][part].tobytes()
    expected = reduced(name, "reference", 1, X=X, **model, shifts=model["means"])
    assert_near(found[0], expected, np.float32, 3100)


@pytest.mark.parametrize("diagonal", [False, True])
def test_several_mixtures_have_the_bits_of_single_ones(diagonal):
    X, model = mixture(300, 3, 13, np.float64, 4, diagonal)
    first = np.array([0, 5, 6, 13])
    with on_host():
        found = reduced(name_of("gaussian_steps", diagonal), "cuda", 2, X=X, first=first, **model)
        for i, (start, stop) in enumerate(itertools.pairwise(first)):
            own = {name: value if name == "center" else value[start:stop] for name, value in model.items()}
            name = name_of("gaussian_step", diagonal)
            one = reduced(name, "cuda", 1, X=X, shifts=own["means"], **own)
            assert one["log_likelihood"][0] == found["log_likelihood"][i]
            for part in ("counts", "sums", "squares"):
                assert found[part][start:stop].tobytes() == one[part].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_that_nothing_explains(dtype):
    X, model = mixture(50, 3, 2, dtype, 0, diagonal=True)
    X[7] = 1e18 if dtype == np.float32 else 1e160
    model["log_weights"][1] = -1e30
    with on_host():
        log_densities, labels, r = call(
            "gaussian_rows_diagonal", "cuda", X=X, **model, with_responsibilities=1
        )
    assert np.isfinite(log_densities).all() and np.isfinite(r).all()
    np.testing.assert_allclose(r.sum(axis=1), 1.0, rtol=1e-6)
    assert log_densities[7] <= -1e29 and labels[7] == 0


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
def test_a_fit_on_the_device_is_that_on_the_processor(covariance_type):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((240, 3)) + 4 * rng.standard_normal((2, 3))[rng.integers(0, 2, 240)]

    def fit():
        mixture = GaussianMixture(2, covariance_type=covariance_type, max_iter=5, tol=0.0, random_state=0)
        return mixture.fit(X)

    with pytest.warns(match="onverge"):
        expected = fit()
    with on_host() as driver, hpcml.config_context(device="cuda"), pytest.warns(match="onverge"):
        found = fit()
        probabilities = found.predict_proba(X)
    assert sum(count for name, count in driver.launched.items() if name.startswith("densities")) >= 5
    np.testing.assert_allclose(found.means_, expected.means_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.covariances_, expected.covariances_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(probabilities, expected.predict_proba(X), atol=1e-7)
