"""PCA and IncrementalPCA against scikit-learn's and against exact decompositions."""

import numpy as np
import pytest
import sklearn.decomposition as theirs
from checked_calls import checked_kernels
from scipy import sparse
from scipy.stats import ortho_group

import hpcml
from hpcml.decomposition import PCA, IncrementalPCA
from hpcml.model_selection import GridSearchCV
from hpcml.training.wide_rows import decomposed

SOLVERS = ("full", "covariance_eigh", "randomized", "arpack")


def table(n=4000, d=20, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.linspace(1, 5, d) @ rng.standard_normal((d, d))
    return (X + 10 * rng.standard_normal(d)).astype(dtype)


def of_condition(condition, n=20_000, d=24, seed=0):
    """Return centred rows with given singular values, and their right singular vectors, in rows."""
    rng = np.random.default_rng(seed)
    Q = rng.standard_normal((n, d))
    Q = np.linalg.qr(Q - Q.mean(axis=0))[0]
    values = np.logspace(0, -np.log10(condition), d)
    V = ortho_group.rvs(d, random_state=seed)
    return (Q * values) @ V, values, V


def assert_model(ours, other, rtol):
    for name in (
        "components_",
        "explained_variance_",
        "explained_variance_ratio_",
        "singular_values_",
        "mean_",
    ):
        a, b = getattr(ours, name), getattr(other, name)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())
        assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_allclose(ours.noise_variance_, other.noise_variance_, rtol=10 * rtol)
    assert ours.n_components_ == other.n_components_ and ours.n_samples_ == other.n_samples_


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-10), (np.float32, 2e-3)])
def test_pca_is_scikit_learns(solver, dtype, rtol):
    X = table(dtype=dtype)
    with checked_kernels():
        ours = PCA(5, svd_solver=solver, random_state=0, n_oversamples=15).fit(X)
    other = theirs.PCA(5, svd_solver=solver, random_state=0, n_oversamples=15).fit(X)
    assert_model(ours, other, rtol)
    np.testing.assert_allclose(ours.transform(X), other.transform(X), atol=rtol * 100, rtol=rtol)
    np.testing.assert_allclose(ours.score(X), other.score(X), rtol=1e-4 if dtype == np.float32 else 1e-9)
    np.testing.assert_allclose(
        ours.inverse_transform(ours.transform(X)),
        other.inverse_transform(other.transform(X)),
        rtol=rtol,
        atol=rtol,
    )


@pytest.mark.parametrize("n_components", [None, 3, 0.9, "mle"])
@pytest.mark.parametrize("whiten", [False, True])
def test_numbers_of_components(n_components, whiten):
    X = table(3000, 12)
    for solver in ("full", "covariance_eigh"):
        ours = PCA(n_components, svd_solver=solver, whiten=whiten).fit(X)
        other = theirs.PCA(n_components, svd_solver=solver, whiten=whiten).fit(X)
        assert_model(ours, other, 1e-9)
        np.testing.assert_allclose(ours.get_covariance(), other.get_covariance(), rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(ours.get_precision(), other.get_precision(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("condition", [1e2, 1e5, 1e8, 1e11])
def test_full_is_as_exact_as_a_singular_value_decomposition(condition):
    X, values, V = of_condition(condition)
    assert X.size > 1 << 18  # not LAPACK's
    with checked_kernels():
        found = PCA(svd_solver="full").fit(X)
    np.testing.assert_allclose(found.singular_values_, values, rtol=0, atol=1e-15 * 10)
    # the angle of a vector is at most the rounding over the gap
    cosines = np.abs(np.einsum("kd,kd->k", found.components_, V))
    gaps = np.min(np.abs(values[:, None] - values + np.eye(len(values))), axis=1)
    assert (1 - cosines <= (1e-14 / gaps) ** 2 + 1e-13).all()


@pytest.mark.parametrize(("n", "d", "by_products"), [(300, 900, True), (520, 520, False)])
def test_full_of_few_rows_is_as_exact(n, d, by_products):
    X = np.random.default_rng(0).random((n, d)) + 5
    found = decomposed(lambda start, stop: X[start:stop], n, d)
    assert (found is not None) == by_products  # of products of rows, or else by LAPACK
    pca = PCA(svd_solver="full").fit(X)
    A = X - X.mean(axis=0)
    values = np.linalg.svd(A, compute_uv=False)
    np.testing.assert_allclose(pca.singular_values_, values, rtol=0, atol=1e-14 * values[0])
    V = pca.components_
    np.testing.assert_allclose(V @ V.T, np.eye(n), rtol=0, atol=1e-14)
    turned = A @ V.T
    np.testing.assert_allclose(turned.T @ turned, np.diag(values**2), rtol=0, atol=1e-13 * values[0] ** 2)
    np.testing.assert_allclose(turned @ V, A, rtol=0, atol=1e-13)
    assert (V[np.arange(n), np.abs(V).argmax(axis=1)] > 0).all()
    with hpcml.config_context(n_threads=1):
        np.testing.assert_array_equal(PCA(svd_solver="full").fit(X).components_, V)


def test_full_of_a_table_that_lacks_rank():
    X, _, _ = of_condition(1e3)
    X = np.hstack([X, X[:, :6] * 2.0, np.zeros((len(X), 1))])
    found = PCA(svd_solver="full").fit(X)
    exact = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(found.singular_values_, exact, rtol=0, atol=1e-13)
    C = found.components_
    np.testing.assert_allclose(C @ C.T, np.eye(len(C)), atol=1e-12)


@pytest.mark.parametrize("order", ["sorted", "shifted"])
@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-14), (np.float32, 1e-6)])
def test_rows_whose_mean_moves_lose_no_digits(order, dtype, rtol):
    X = table(20_000, 6)
    X = np.sort(X, axis=0) if order == "sorted" else X + 1e4
    X = X.astype(dtype)
    ours = PCA(svd_solver="covariance_eigh").fit(X)
    exact = theirs.PCA(svd_solver="full").fit(X.astype(np.float64))
    np.testing.assert_allclose(
        ours.explained_variance_, exact.explained_variance_, rtol=0, atol=rtol * exact.explained_variance_[0]
    )


@pytest.mark.parametrize("solver", ["arpack", "covariance_eigh"])
def test_sparse_rows_are_as_dense_ones(solver):
    X = sparse.random_array((2500, 30), density=0.1, rng=np.random.default_rng(0), format="csr")
    with checked_kernels():
        ours = PCA(4, svd_solver=solver, random_state=0).fit(X)
    assert_model(ours, theirs.PCA(4, svd_solver="full").fit(X.toarray()), 1e-9)
    np.testing.assert_allclose(ours.transform(X), ours.transform(X.toarray()), atol=1e-12)


def test_many_features_take_part_of_the_spectrum():
    X = table(1500, 520)
    ours = PCA(4, svd_solver="covariance_eigh").fit(X)
    assert_model(ours, theirs.PCA(4, svd_solver="covariance_eigh").fit(X), 1e-8)


def test_tables_are_not_written_to():
    X = table(500, 8)
    X.flags.writeable = False
    before = X.copy()
    for estimator in (PCA(3, copy=False), IncrementalPCA(3, copy=False)):
        estimator.fit_transform(X)
        np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-9), (np.float32, 1e-2)])
@pytest.mark.parametrize("whiten", [False, True])
def test_incremental_pca_is_scikit_learns(dtype, rtol, whiten):
    X = table(1000, 12, dtype)
    with checked_kernels():
        ours = IncrementalPCA(4, batch_size=90, whiten=whiten).fit(X)
    other = theirs.IncrementalPCA(4, batch_size=90, whiten=whiten).fit(X)
    for name in ("components_", "explained_variance_", "singular_values_", "mean_", "var_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(other, name), rtol=rtol, atol=rtol)
    np.testing.assert_allclose(ours.noise_variance_, other.noise_variance_, rtol=rtol)
    assert ours.n_samples_seen_ == 1000 and ours.batch_size_ == 90
    np.testing.assert_allclose(ours.transform(X), other.transform(X), rtol=rtol, atol=rtol * 10)
    parts = IncrementalPCA(4, whiten=whiten)
    for start in range(0, 1000, 250):
        parts.partial_fit(X[start : start + 250])
    assert parts.n_samples_seen_ == 1000
    np.testing.assert_allclose(parts.explained_variance_, ours.explained_variance_, rtol=0.2)


def test_incremental_pca_of_sparse_rows():
    X = sparse.random_array((600, 20), density=0.2, rng=np.random.default_rng(0), format="csr")
    ours = IncrementalPCA(3, batch_size=100).fit(X)
    dense = IncrementalPCA(3, batch_size=100).fit(X.toarray())
    np.testing.assert_allclose(ours.components_, dense.components_, atol=1e-12)
    np.testing.assert_allclose(ours.transform(X), dense.transform(X.toarray()), atol=1e-12)
    with pytest.raises(TypeError, match="partial_fit does not support sparse input"):
        ours.partial_fit(X)


@pytest.mark.parametrize("estimator", [PCA(2), PCA(2, whiten=True), IncrementalPCA(2)])
def test_to_sklearn_transforms_the_same(estimator):
    X = table(300, 5)
    other = estimator.fit(X).to_sklearn()
    assert type(other).__module__.startswith("sklearn.decomposition")
    np.testing.assert_allclose(other.transform(X), estimator.transform(X), atol=1e-9)


def test_frames_and_names():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(table(100, 3), columns=["a", "b", "c"])
    found = PCA(2).set_output(transform="pandas").fit_transform(X)
    assert list(found.columns) == ["pca0", "pca1"] and list(found.index) == list(X.index)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"n_components": -1}, "'n_components' parameter of PCA"),
        ({"n_components": 1.5}, "'n_components' parameter of PCA"),
        ({"svd_solver": "svd"}, "'svd_solver' parameter of PCA"),
        ({"tol": -1.0}, "'tol' parameter of PCA"),
        ({"n_components": 9}, "must be between 0 and"),
    ],
)
def test_bad_parameters_raise_before_work(parameters, message):
    with pytest.raises(ValueError, match=message):
        PCA(**parameters).fit(table(50, 4))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_numbers_raise(bad):
    X = table(50, 4)
    X[3, 2] = bad
    for estimator in (PCA(), IncrementalPCA()):
        with pytest.raises(ValueError, match="NaN|infinity"):
            estimator.fit(X)


@pytest.mark.parametrize("implementation", ["reference", "cython"])
def test_every_implementation_finds_the_same(implementation):
    X = table(5000, 9)
    with hpcml.config_context(kernels=implementation):
        found = PCA(3, svd_solver="randomized", random_state=1).fit(X)
    exact = theirs.PCA(3, svd_solver="full").fit(X)
    np.testing.assert_allclose(found.components_, exact.components_, atol=1e-6)


def test_precision_of_a_singular_covariance_is_its_pseudo_inverse():
    X = np.random.default_rng(0).standard_normal((50, 3))
    model = PCA().fit(np.hstack([X, np.zeros((50, 1))]))  # a feature of no variance at all
    covariance, precision = model.get_covariance(), model.get_precision()
    np.testing.assert_allclose(covariance @ precision @ covariance, covariance, atol=1e-12)


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("k", [1, 2, 0.9, None])
def test_likelihoods_are_those_of_scikit_learn_whitened_or_not(k, whiten):
    X = np.random.default_rng(0).normal(size=(90, 5)) * [1, 2, 3, 4, 5]
    ours = PCA(k, whiten=whiten, svd_solver="covariance_eigh").fit(X[:60])
    stock = theirs.PCA(k, whiten=whiten, svd_solver="covariance_eigh").fit(X[:60])
    np.testing.assert_allclose(ours.score_samples(X[60:]), stock.score_samples(X[60:]), rtol=1e-10)
    search = GridSearchCV(PCA(k), {"whiten": [whiten]}, cv=[(range(60), range(60, 90))]).fit(X)
    assert not search.plan_.fallbacks
    np.testing.assert_allclose(search.best_score_, stock.score(X[60:]), rtol=1e-10)


def test_a_grid_over_lacking_rank_is_fitted_separately():
    X = np.random.default_rng(0).normal(size=(90, 5))
    X = np.c_[X, X[:, 0]]
    search = GridSearchCV(PCA(), {"n_components": [3, 6]}, cv=[(range(60), range(60, 90))]).fit(X)
    assert "nothing but rounding varies" in search.plan_.fallbacks[0]
    separate = [PCA(k).fit(X[:60]).score(X[60:]) for k in (3, 6)]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], separate, rtol=1e-8)
