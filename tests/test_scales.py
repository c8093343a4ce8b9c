"""Tables of extreme scale: the answer that scaling by a power of two gives, or one clear error."""

import warnings

import numpy as np
import pytest

from hpcml.decomposition import PCA, IncrementalPCA
from hpcml.linear_model import LinearRegression, Ridge

#: Powers of two by which tables are multiplied.
FLOAT32 = [60, 100, -60, -100]
FLOAT64 = [500, 530, 1000, -530, -1000]
SCALES = [(np.float32, s) for s in FLOAT32] + [(np.float64, s) for s in FLOAT64]


def rows(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 6))
    y = X @ np.arange(6.0) + 1 + 0.1 * rng.normal(size=1500)
    return X.astype(dtype), y.astype(dtype)


def answer(fit):
    """Return what a function returns, or None where it raises the error that says what to do."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return fit()
        except ValueError as error:
            assert "by a power of two, no digit is lost" in str(error), error
            return None


@pytest.mark.parametrize("estimator", [LinearRegression(), LinearRegression(positive=True)])
@pytest.mark.parametrize(("dtype", "exponent"), SCALES)
def test_linear_regression(estimator, dtype, exponent):
    X, y = rows(dtype)
    expected = estimator.fit(X, y).coef_.astype(np.float64)
    found = answer(lambda: estimator.fit(np.ldexp(X, exponent), y).coef_)
    if found is not None:
        tolerance = 1e-5 if dtype == np.float32 else 1e-9
        np.testing.assert_allclose(np.ldexp(found.astype(np.float64), exponent), expected, atol=tolerance)


@pytest.mark.parametrize("parameters", [{}, {"solver": "svd"}, {"solver": "lsqr"}, {"positive": True}])
@pytest.mark.parametrize(("dtype", "exponent"), SCALES)
def test_ridge(parameters, dtype, exponent):
    X, y = rows(dtype)
    alpha = 10.0
    found = answer(lambda: Ridge(alpha=alpha, **parameters).fit(np.ldexp(X, exponent), y).coef_)
    if found is None:
        return
    # the same problem for coefficients times the scale, in float64
    with np.errstate(over="ignore", under="ignore"):
        penalty = float(np.ldexp(alpha, -2 * exponent))
    found = np.ldexp(found.astype(np.float64), exponent)
    if not np.isfinite(penalty) or penalty > 1e12:  # of no weight beside the penalty
        assert np.abs(found).max() < 1e-6
        return
    expected = Ridge(alpha=penalty, positive="positive" in parameters).fit(X.astype(np.float64), y).coef_
    np.testing.assert_allclose(found, expected, atol=1e-4 if dtype == np.float32 else 1e-7)


@pytest.mark.parametrize("solver", ["full", "covariance_eigh", "randomized", "arpack"])
@pytest.mark.parametrize(("dtype", "exponent"), SCALES)
def test_components(solver, dtype, exponent):
    X, _ = rows(dtype)
    pca = PCA(2, svd_solver=solver, random_state=0)
    expected = pca.fit(X).singular_values_.astype(np.float64)
    found = answer(lambda: pca.fit(np.ldexp(X, exponent)).singular_values_)
    if found is not None:
        tolerance = 1e-5 if dtype == np.float32 else 1e-8
        np.testing.assert_allclose(np.ldexp(found.astype(np.float64), -exponent), expected, rtol=tolerance)
        assert np.isfinite(pca.explained_variance_ratio_).all()


@pytest.mark.parametrize(("dtype", "exponent"), SCALES)
def test_components_of_batches(dtype, exponent):
    X, _ = rows(dtype)
    pca = IncrementalPCA(2)
    expected = pca.fit(X).singular_values_.astype(np.float64)
    found = answer(lambda: pca.fit(np.ldexp(X, exponent)).singular_values_)
    if found is not None:
        np.testing.assert_allclose(np.ldexp(found.astype(np.float64), -exponent), expected, rtol=1e-5)
        assert np.isfinite(pca.explained_variance_ratio_).all()


def test_a_constant_table_is_no_matter_of_scale():
    X = np.full((1200, 3), 1e-200)
    assert (LinearRegression().fit(X, np.arange(1200.0)).coef_ == 0).all()
    with pytest.warns(RuntimeWarning, match="constant"):
        assert (PCA(2, svd_solver="covariance_eigh").fit(X).singular_values_ == 0).all()
