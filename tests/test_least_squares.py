"""LinearRegression and Ridge against scikit-learn's objectives; dense and sparse, of any condition."""

import numpy as np
import pytest
import sklearn.linear_model as theirs
from checked_calls import checked_kernels
from scipy import optimize, sparse

import hpcml
from hpcml.linear_model import LinearRegression, Ridge

FORMS = ("dense", "csr")


def problem(n=3000, d=12, targets=1, dtype=np.float64, condition=10.0, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    X = X * np.logspace(0, -np.log10(condition), d) @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    X = (X + 3 * rng.standard_normal(d)).astype(dtype)
    y = X @ rng.standard_normal((d, targets)) + noise * rng.standard_normal((n, targets)) + 5
    return X, (y[:, 0] if targets == 1 else y).astype(dtype)


def objective(model, X, y, alpha=0.0, weights=None):
    """Return the penalised sum of squares in float64."""
    W = np.atleast_2d(model.coef_).astype(np.float64)
    X = X.toarray() if sparse.issparse(X) else X
    r = np.atleast_2d(y.T).T - X.astype(np.float64) @ W.T - model.intercept_
    w = np.ones(len(r)) if weights is None else weights
    return (w @ r**2).sum() + (alpha * (W**2).sum(axis=1)).sum()


def as_form(X, form):
    return sparse.csr_array(np.where(np.abs(X) > 2.5, X, 0)) if form == "csr" else X


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("targets", [1, 3, 7])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_objectives_are_scikit_learns(form, dtype, targets, fit_intercept, weighted):
    X, y = problem(targets=targets, dtype=dtype)
    X = as_form(X, form)
    weights = np.random.default_rng(1).random(len(y)) if weighted else None
    exact = X.astype(np.float64), y.astype(np.float64)
    for ours, other, alpha in (
        (LinearRegression, theirs.LinearRegression, 0.0),
        (Ridge, theirs.Ridge, np.full(targets, 30.0)),
    ):
        options = {"fit_intercept": fit_intercept}
        if ours is Ridge:
            options["alpha"] = alpha if targets > 1 else 30.0
        with checked_kernels():
            model = ours(**options).fit(X, y, sample_weight=weights)
        tight = {"tol": 1e-12}
        best = other(**options, **tight).fit(*exact, sample_weight=weights)
        found, least = (objective(m, X, y, alpha, weights) for m in (model, best))
        assert found <= least * (1 + 1e-6), (ours, found, least)
        assert model.coef_.dtype == dtype and model.coef_.shape == best.coef_.shape
        np.testing.assert_allclose(model.predict(X), best.predict(exact[0]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("condition", [1e3, 1e5])
@pytest.mark.parametrize("noise", [1.0, 1e-6])
def test_badly_conditioned_tables(condition, noise):
    X, y = problem(20_000, 15, condition=condition, noise=noise)
    exact = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y)[0]
    for model in (LinearRegression(tol=1e-12), Ridge(alpha=1e-12), Ridge(alpha=1e-12, solver="svd")):
        model.fit(X, y)
        residual = y - X @ model.coef_ - model.intercept_
        least = ((y - X @ exact[:-1] - exact[-1]) ** 2).sum()
        assert (residual**2).sum() <= least * (1 + 1e-6)


def test_float32_of_high_condition_is_no_worse_than_scikit_learns():
    X, y = problem(20_000, 10, dtype=np.float32, condition=3e3, noise=0.1)
    ours, other = LinearRegression().fit(X, y), theirs.LinearRegression().fit(X, y)
    assert objective(ours, X, y) <= objective(other, X, y) * (1 + 1e-5)


@pytest.mark.parametrize("shape", [(50, 120), (120, 50), (40, 40)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_solution_of_least_norm(shape, fit_intercept):
    n, d = shape
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 10)) @ rng.standard_normal((10, d))
    y = rng.standard_normal(n)
    other = theirs.LinearRegression(fit_intercept=fit_intercept).fit(X, y)
    for table in (X, sparse.csr_array(X)):
        ours = LinearRegression(fit_intercept=fit_intercept, tol=1e-9).fit(table, y)
        np.testing.assert_allclose(ours.coef_, other.coef_, atol=1e-8)
        np.testing.assert_allclose(ours.intercept_, other.intercept_, atol=1e-8)
    ours = LinearRegression(fit_intercept=fit_intercept).fit(X, y)
    assert ours.rank_ == other.rank_ == 10
    np.testing.assert_allclose(ours.singular_[:10], other.singular_[:10], rtol=1e-9)
    assert ours.singular_.shape == other.singular_.shape


@pytest.mark.parametrize("solver", ["svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga"])
@pytest.mark.parametrize("shape", [(300, 20), (30, 90)])
def test_every_solver_finds_the_same(solver, shape):
    X, y = problem(*shape, targets=2)
    alpha = np.array([0.5, 4.0])
    with checked_kernels():
        ours = Ridge(alpha, solver=solver, tol=1e-10).fit(X, y)
    other = theirs.Ridge(alpha, solver="svd").fit(X, y)
    np.testing.assert_allclose(ours.coef_, other.coef_, atol=1e-7)
    np.testing.assert_allclose(ours.intercept_, other.intercept_, atol=1e-6)
    assert ours.solver_ == solver and (ours.n_iter_ is not None) == (solver in ("lsqr", "sag", "saga"))


def test_rows_are_compared_in_blocks(monkeypatch):
    from hpcml.training import least_squares

    X, y = problem(70, 100)
    whole = Ridge(2.0).fit(X, y), LinearRegression().fit(X, y)
    monkeypatch.setattr(least_squares, "NUMBERS_OF_A_BLOCK", 1500)
    for before, model in zip(whole, (Ridge(2.0), LinearRegression()), strict=True):
        np.testing.assert_allclose(model.fit(X, y).coef_, before.coef_, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_columns_at_a_time(form, weighted, fit_intercept, monkeypatch):
    from hpcml.training import gram

    X, y = problem(700, 11, targets=2)
    X = as_form(X, form)
    weights = np.random.default_rng(1).random(len(y)) if weighted else None
    whole = Ridge(2.0, fit_intercept=fit_intercept).fit(X, y, sample_weight=weights)
    monkeypatch.setattr(gram, "MOST_FEATURES", 5)
    monkeypatch.setattr(gram, "COLUMNS_OF_A_PANEL", 3)
    with checked_kernels():
        parts = Ridge(2.0, fit_intercept=fit_intercept).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(parts.coef_, whole.coef_, atol=1e-10)
    np.testing.assert_allclose(parts.intercept_, whole.intercept_, atol=1e-9)


@pytest.mark.parametrize("model", [Ridge(alpha=0.0), LinearRegression(tol=0.0)])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_rounding_of_float32_is_no_rank(model, offset):
    X, y = problem(n=300, d=30, dtype=np.float32)
    X[:, -1] = X[:, 0]
    X[:, 5] = offset
    model.fit(X, y)
    found = theirs.LinearRegression().fit(X.astype(float), y.astype(float))
    assert objective(model, X, y) == pytest.approx(objective(found, X, y), rel=1e-6)
    assert np.abs(model.coef_).max() < 2 * np.abs(found.coef_).max()


def test_no_penalty_on_a_table_that_lacks_rank():
    X, y = problem(400, 6)
    X = np.hstack([X, X[:, :2]])
    model = Ridge(0.0).fit(X, y)
    assert model.solver_ == "svd"
    np.testing.assert_allclose(model.coef_, theirs.LinearRegression().fit(X, y).coef_, atol=1e-8)


@pytest.mark.parametrize("shape", [(500, 12), (15, 40)])
@pytest.mark.parametrize("weighted", [True, False])
def test_positive_coefficients(shape, weighted):
    X, y = problem(*shape, targets=2)
    weights = np.random.default_rng(1).random(len(y)) if weighted else None
    with checked_kernels():
        ours = LinearRegression(positive=True).fit(X, y, sample_weight=weights)
        ridge = Ridge(1.0, positive=True, tol=1e-10).fit(X, y, sample_weight=weights)
    other = theirs.LinearRegression(positive=True).fit(X, y, sample_weight=weights)
    assert (ours.coef_ >= 0).all() and (ridge.coef_ >= 0).all() and ridge.solver_ == "lbfgs"
    found, least = (objective(m, X, y, 0.0, weights) for m in (ours, other))
    assert found <= least * (1 + 1e-6) + 1e-9
    best = theirs.Ridge(1.0, positive=True, tol=1e-12, max_iter=20_000).fit(X, y, sample_weight=weights)
    assert objective(ridge, X, y, 1.0, weights) <= objective(best, X, y, 1.0, weights) * (1 + 1e-6)


def test_positive_ridge_of_many_sparse_features(monkeypatch):
    from hpcml.training import nonnegative

    X, y = problem(500, 12)
    X = as_form(X, "csr")
    before = Ridge(1.0, positive=True, tol=1e-12).fit(X, y)
    monkeypatch.setattr(nonnegative, "FEATURES_OF_A_GRAM", 4)
    by_passes = Ridge(1.0, positive=True, tol=1e-12).fit(X, y)
    np.testing.assert_allclose(by_passes.coef_, before.coef_, atol=1e-5)


def test_many_sparse_features():
    rng = np.random.default_rng(0)
    X = sparse.random_array((3000, 1500), density=0.01, rng=rng, format="csr")
    y = X @ rng.standard_normal(1500) + 0.1 * rng.standard_normal(3000) + 1
    with checked_kernels():
        ours = LinearRegression(tol=1e-10).fit(X, y)
    other = theirs.LinearRegression(tol=1e-12).fit(X, y)
    assert not hasattr(ours, "rank_")
    assert objective(ours, X, y) <= objective(other, X, y) * (1 + 1e-6)
    ours, other = Ridge(0.1).fit(X, y), theirs.Ridge(0.1, tol=1e-12).fit(X, y)
    assert objective(ours, X, y, 0.1) <= objective(other, X, y, 0.1) * (1 + 1e-6)


def test_active_set_meets_its_conditions():
    X, y = problem(600, 8)
    model = LinearRegression(positive=True, fit_intercept=False).fit(X, y)
    np.testing.assert_allclose(model.coef_, optimize.nnls(X, y)[0], atol=1e-9)


@pytest.mark.parametrize("y_shape", [(40,), (40, 1), (40, 3)])
@pytest.mark.parametrize("kind", [(LinearRegression, theirs.LinearRegression), (Ridge, theirs.Ridge)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_shapes(kind, y_shape, fit_intercept):
    X, y = problem(40, 5)[0], np.random.default_rng(0).standard_normal(y_shape)
    ours, other = (k(fit_intercept=fit_intercept).fit(X, y) for k in kind)
    assert ours.coef_.shape == other.coef_.shape
    assert np.shape(ours.intercept_) == np.shape(other.intercept_)
    assert ours.predict(X).shape == other.predict(X).shape
    np.testing.assert_allclose(ours.score(X, y), other.score(X, y))
    sklearns = ours.to_sklearn()
    assert type(sklearns) is kind[1]
    np.testing.assert_allclose(sklearns.predict(X), ours.predict(X))


def test_tables_are_not_written_to():
    X, y = problem(100, 4)
    for array in (X, y):
        array.flags.writeable = False
    LinearRegression(copy_X=False).fit(X, y)
    Ridge(copy_X=False).fit(X, y, sample_weight=np.ones(100))


@pytest.mark.parametrize(
    "model, message",
    [
        (Ridge(alpha=-1.0), "'alpha' parameter of Ridge"),
        (Ridge(alpha=[1.0, 2.0, 3.0]), "Number of targets and number of penalties do not correspond: 3 != 1"),
        (Ridge(alpha=[-1.0]), "'alpha' parameter of Ridge must be finite and not negative"),
        (Ridge(solver="lbfgs"), "'lbfgs' solver can be used only when positive=True"),
        (Ridge(solver="svd", positive=True), "does not support positive fitting"),
        (Ridge(max_iter=0), "'max_iter' parameter of Ridge"),
        (LinearRegression(tol=-1.0), "'tol' parameter of LinearRegression"),
        (LinearRegression(n_jobs=1.5), "'n_jobs' parameter of LinearRegression"),
    ],
)
def test_bad_parameters_raise(model, message):
    with pytest.raises(ValueError, match=message):
        model.fit(*problem(30, 3))


@pytest.mark.parametrize("model", [LinearRegression(), Ridge()])
def test_bad_input_raises(model):
    X, y = problem(30, 3)
    for weights, message in (
        (-np.ones(30), "Negative values"),
        (np.zeros(30), "at least one non-zero"),
        (np.ones(29), r"sample_weight.shape == \(29,\), expected \(30,\)"),
        (np.ones((30, 1)), "Sample weights must be 1D array or scalar"),
        (np.full(30, np.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, sample_weight=weights)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y[:-1])
    y[3] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        model.fit(X, y)


def test_threads_of_linear_regression():
    X, y = problem(5000, 6)
    one, two = (LinearRegression(n_jobs=n).fit(X, y).coef_ for n in (1, 2))
    assert one.tobytes() == two.tobytes()
    with hpcml.config_context(kernels="reference"):
        np.testing.assert_allclose(LinearRegression().fit(X, y).coef_, one, atol=1e-10)
