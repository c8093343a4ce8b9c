"""Minimisation of linear objectives: exact and sampled Newton steps, proximal and orthant-wise ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse

from hpcml import communicators
from hpcml.kernels.csr import CSR
from hpcml.training import newton
from hpcml.training.linear_objective import Objective
from hpcml.training.newton import minimise
from hpcml.training.proximal import least_subgradient, minimum_of_model


def problem(n=300, d=5, n_classes=2, *, dtype=np.float64, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(dtype)
    scores = X @ rng.standard_normal((d, n_classes)) + noise * rng.gumbel(size=(n, n_classes))
    return X, scores.argmax(axis=1).astype(float)


def solve(X, y, *, loss=None, C=1.0, l1_ratio=0.0, tol=1e-10, max_iter=100, start=None, **more):
    """Return the solution, and F and its least subgradient there."""
    n, d = X.shape
    n_classes = len(np.unique(y)) if loss is None or loss == "squared_hinge" else 2
    K = 1 if n_classes == 2 else n_classes
    l2, l1 = np.full((K, d + 1), (1 - l1_ratio) / (C * n)), np.full((K, d + 1), l1_ratio / (C * n))
    l2[:, -1] = l1[:, -1] = 0.0
    loss = loss or ("logistic" if K == 1 else "multinomial")
    problems = 1 if loss == "multinomial" else K
    with communicators.current() as comm, comm.put(X=CSR.of(X) if sparse.issparse(X) else X, y=y) as table:
        objective = Objective(
            table, loss, 1.0 / n, l2.reshape(problems, -1), l1.reshape(problems, -1),
            np.ones(1) if problems == 1 else np.arange(K, dtype=float), float(n), X.dtype.itemsize,
            epsilon=0.1, classes=K // problems,
        )  # fmt: skip
        P = np.zeros(objective.shape) if start is None else start
        found = minimise(objective, P, tol, max_iter, **more)
        V = least_subgradient(
            found.parameters, objective.evaluate(found.parameters)[1], l1.reshape(found.parameters.shape)
        )
        return found, objective.values(found.parameters), np.abs(V).max()


@pytest.mark.parametrize("l1_ratio", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_gradient_vanishes(n_classes, l1_ratio):
    found, _, largest = solve(*problem(n_classes=n_classes), C=0.5, l1_ratio=l1_ratio)
    assert found.converged.all()
    assert largest <= 1e-10
    assert found.n_iter.max() < 20


@pytest.mark.parametrize("loss", ["squared_hinge", "squared_epsilon_insensitive"])
def test_other_losses_reach_their_minimum(loss):
    X, y = problem()
    y = y if loss == "squared_hinge" else X @ np.arange(5.0) + 0.3
    found, values, _ = solve(X, y, loss=loss)

    def F(p):
        z = X @ p[:-1] + p[-1]
        rest = 1 - (2 * y - 1) * z if loss == "squared_hinge" else np.abs(z - y) - 0.1
        return (np.maximum(rest, 0) ** 2).mean() + 0.5 / len(y) * (p[:-1] ** 2).sum()

    assert F(found.parameters[0]) == pytest.approx(values[0])
    best = optimize.minimize(F, np.zeros(6), method="BFGS", options={"gtol": 1e-9}).fun
    assert values[0] <= best * (1 + 1e-9)


def test_columns_of_their_own_are_solved_as_alone():
    X, y = problem(n_classes=3)
    together, _, _ = solve(X, y, loss="squared_hinge")
    for k in range(3):
        alone, _, _ = solve(X, (y == k).astype(float), loss="squared_hinge")
        np.testing.assert_allclose(together.parameters[k], alone.parameters[0], atol=1e-9)


@pytest.fixture
def small_samples(monkeypatch):
    monkeypatch.setattr(newton, "SAMPLE_ROWS", 500)
    monkeypatch.setattr(newton, "SAMPLE_ROWS_A_PARAMETER", 4)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_a_start_from_a_sample_leads_to_the_same_optimum(n_classes, l1_ratio, small_samples, monkeypatch):
    X, y = problem(6000, 8, n_classes)
    sampled, values, _ = solve(X, y, l1_ratio=l1_ratio)
    monkeypatch.setattr(newton, "SAMPLE_ROWS", 6000)
    whole, expected, _ = solve(X, y, l1_ratio=l1_ratio)
    assert sampled.converged.all()
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    np.testing.assert_allclose(sampled.parameters, whole.parameters, atol=1e-6)


def test_a_sample_that_misleads_is_dropped(small_samples):
    """A feature that is there in few rows, and a class that is rare, are not in the sample."""
    X, y = problem(6000, 3)
    X[::12] *= 1e-3  # the rows of the sample
    y[::12] = X[::12, 0] > 0
    found, _, largest = solve(X, y, C=100.0)
    assert found.converged.all()
    assert largest <= 1e-10


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_many_parameters(form, l1_ratio, monkeypatch):
    X, y = problem(400, 30, 3)
    if form == "csr":
        X = sparse.csr_array(np.where(np.abs(X) > 1, X, 0.0))
    _, expected, _ = solve(X, y, l1_ratio=l1_ratio)
    monkeypatch.setattr(newton, "EXACT_PARAMETERS", (10, 10))
    blocks, values, _ = solve(X, y, l1_ratio=l1_ratio, tol=1e-7, max_iter=500)
    assert blocks.converged.all()
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    monkeypatch.setattr(newton, "BLOCKS_MEMORY", 10)
    diagonal, values, _ = solve(X, y, l1_ratio=l1_ratio, tol=1e-7, max_iter=500)
    assert diagonal.converged.all()
    np.testing.assert_allclose(values, expected, rtol=1e-9)


def test_an_l1_penalty_leaves_parameters_at_exactly_zero(monkeypatch):
    X, y = problem(300, 20)
    exact, _, _ = solve(X, y, C=0.05, l1_ratio=1.0)
    zeros = exact.parameters == 0
    assert 3 < zeros.sum() < 20
    monkeypatch.setattr(newton, "EXACT_PARAMETERS", (1, 1))
    orthants, _, _ = solve(X, y, C=0.05, l1_ratio=1.0, tol=1e-8, max_iter=1000)
    np.testing.assert_array_equal(orthants.parameters == 0, zeros)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_separable_classes_without_a_penalty_end(dtype):
    X = np.array([[-2.0], [-1.0], [1.0], [2.0]], dtype=dtype)
    found, values, _ = solve(X, np.array([0.0, 0.0, 1.0, 1.0]), C=np.inf, tol=1e-4)
    assert found.converged.all()
    assert np.isfinite(found.parameters).all()
    assert values[0] < 1e-3


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_features_of_any_scale(scale):
    X, y = problem()
    X[:, 0] *= scale
    found, values, _ = solve(X, y, C=np.inf, tol=1e-6)
    X[:, 0] /= scale
    _, expected, _ = solve(X, y, C=np.inf)
    assert found.converged.all()
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_constant_and_repeated_features_are_no_obstacle():
    X, y = problem()
    X = np.column_stack([X, X[:, 0], np.zeros(len(X)), np.ones(len(X))])
    for C in (1.0, np.inf):
        found, _, largest = solve(X, y, C=C)
        assert found.converged.all()
        assert largest <= 1e-9
        assert np.isfinite(found.parameters).all()


def test_rounding_of_float32_ends_a_search_for_more_digits():
    X, y = problem(2000, 6, dtype=np.float32)
    found, values, _ = solve(X, y, tol=1e-14, max_iter=100)
    _, expected, _ = solve(X.astype(np.float64), y)
    assert found.converged.all()
    assert found.n_iter.max() < 30
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_iterations_are_limited_counted_and_told():
    X, y = problem(n_classes=3)
    steps = []
    found, _, _ = solve(X, y, max_iter=2, on_step=lambda *arguments: steps.append(arguments))
    assert found.n_iter.tolist() == [2]
    assert not found.converged.any()
    assert [step[0] for step in steps] == [1, 2]
    assert steps[0][2] > steps[1][2]
    nothing, _, _ = solve(X, y, max_iter=0)
    assert not nothing.parameters.any()
    assert nothing.n_iter.tolist() == [0]


def test_a_start_at_the_solution_takes_no_step():
    X, y = problem(n_classes=3)
    found, _, _ = solve(X, y)
    again, _, _ = solve(X, y, start=found.parameters, tol=1e-6, warm=True, most_polish=0)
    assert again.n_iter.tolist() == [0]
    assert again.converged.all()


# -- the model under an l1 penalty ---------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(p=st.integers(1, 40), n=st.integers(1, 60), strength=st.floats(1e-3, 3.0), seed=st.integers(0, 10**6))
def test_the_minimum_of_a_model_is_one(p, n, strength, seed):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, p))
    H = A.T @ A / n + 1e-4 * np.eye(p)
    g, w = rng.standard_normal(p), rng.standard_normal(p) * (rng.random(p) < 0.5)
    l1 = strength * (rng.random(p) < 0.9)
    u = minimum_of_model(H, g, w, l1)
    V = least_subgradient(u, g + H @ (u - w), l1)
    assert np.abs(V).max() <= 1e-9 * (1 + np.abs(u).max() * np.diag(H).max())
