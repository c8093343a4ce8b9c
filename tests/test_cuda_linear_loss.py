"""The CUDA kernels of linear losses, run on the CPU, against the reference."""

import numpy as np
import pytest
from cuda_host.driver import HostDriver, on_host
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import call
from test_kernels_linear_loss import TOLERANCE, assert_close, problem, run

import hpcml
from hpcml.kernels.declared.linear_loss import LOSSES
from hpcml.linear_model import LogisticRegression
from hpcml.svm import LinearSVC

NAMES = ("linear_gradient", "linear_hessian", "linear_diagonal")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=4, deadline=None)
@given(
    n=st.integers(1, 100),
    d=st.sampled_from([1, 5, 15, 16, 40]),
    K=st.integers(1, 5),
    mixed=st.booleans(),
    weighted=st.booleans(),
)
def test_kernels_compute_what_the_definition_says(loss, dtype, n, d, K, mixed, weighted):
    K = max(K, 2) if loss == "multinomial" else K
    arguments = problem(n, d, K, loss, dtype, seed=n + d, weighted=weighted, mixed=mixed)
    rows = arguments["X"], arguments["origin"], arguments["W"]
    names = [*NAMES, *(["multinomial_hessian"] if loss == "multinomial" else [])]
    if mixed:
        names.append("linear_gradient_of_folds")
        arguments["each"] = np.array([0, 61, 1])
    with on_host() as driver:
        found = {}
        for name in names:
            launches = sum(driver.launched.values())
            found[name] = run(name, "cuda", arguments)
            assert sum(driver.launched.values()) > launches, name
        margins = call("linear_margins", "cuda", *rows)
        alone = call("linear_margins", "cuda", *rows[:2], np.ascontiguousarray(arguments["W"][-1:]))
    for name in names:
        assert_close(found[name], run(name, "reference", arguments), dtype)
    expected = call("linear_margins", "reference", *rows)
    np.testing.assert_allclose(margins, expected, atol=TOLERANCE[dtype] * 10)
    assert alone.tobytes() == np.ascontiguousarray(margins[:, -1:]).tobytes()


@pytest.mark.parametrize("loss", LOSSES)
def test_many_problems_at_once(loss):
    K = 33 * 3 if loss == "multinomial" else 70
    arguments = problem(60, 4, K, loss, np.float64, problems=33 if loss == "multinomial" else 70, mixed=True)
    if loss != "multinomial":
        arguments["positive"] = np.arange(K) % 2.0
    arguments["each"] = np.array([60, 1])
    for name in ("linear_gradient", "linear_diagonal", "linear_gradient_of_folds"):
        with on_host():
            found = run(name, "cuda", arguments)
        assert_close(found, run(name, "reference", arguments), np.float64)


@pytest.mark.parametrize("name", NAMES)
def test_neither_the_order_of_threads_nor_blocks_change_a_bit(name, monkeypatch):
    monkeypatch.setattr("hpcml.kernels.cuda.linear_loss.ROWS_OF_PART", 400)  # several parts a shard
    arguments = problem(3100, 4, 2, "logistic", np.float32)
    arguments["X"].flags.writeable = False
    found = []
    for driver in (HostDriver(), HostDriver(backward=True), HostDriver(memory=130_000)):
        with on_host(driver):
            found.append(run(name, "cuda", arguments))
    assert driver.launched["losses_float"] > 1
    for part, values in found[0].items():
        assert values.tobytes() == found[1][part].tobytes() == found[2][part].tobytes()
    assert_close(found[0], run(name, "reference", arguments), np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_margins_of_any_size_have_finite_losses(loss, dtype):
    arguments = problem(64, 3, 2, loss, dtype, weighted=False)
    arguments["X"] = arguments["X"] * dtype(1e4)
    with on_host():
        found = run("linear_hessian", "cuda", arguments)
    assert all(np.isfinite(part).all() for part in found.values())
    expected = run("linear_gradient", "reference", arguments)["loss"]
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), LogisticRegression(l1_ratio=1.0, solver="saga", C=0.1), LinearSVC()],
    ids=["logistic", "l1", "svc"],
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_fit_on_the_device_is_that_on_the_processor(estimator, n_classes):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((250, 4))
    y = (X @ rng.standard_normal((4, n_classes)) + rng.standard_normal((250, n_classes))).argmax(axis=1)
    estimator = estimator.set_params(tol=1e-7)
    expected = estimator.fit(X, y).coef_.copy()
    margins = estimator.decision_function(X)
    with on_host() as driver, hpcml.config_context(device="cuda"):
        found = estimator.fit(X, y).coef_
        assert driver.launched["margins_double"] > 0
        np.testing.assert_allclose(estimator.decision_function(X), margins, atol=1e-4)
    np.testing.assert_allclose(found, expected, atol=1e-4)
