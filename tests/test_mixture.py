"""GaussianMixture: the mixtures of scikit-learn from the same seeds, precision, restarts, errors."""

import pickle
import warnings

import numpy as np
import pytest
import sklearn.mixture
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import hpcml
from hpcml.mixture import GaussianMixture
from hpcml.training.gaussians import KINDS
from hpcml.training.mixture_moments import LEAST_SHARE

TYPES = tuple(KINDS)
STARTS = ("kmeans", "k-means++", "random", "random_from_data")
FITTED = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def blobs(n=2500, d=4, k=3, seed=0, dtype=np.float64, spread=3.0):
    rng = np.random.RandomState(seed)
    means = spread * rng.standard_normal((k, d))
    scales = 0.5 + rng.random_sample((k, d))
    group = rng.randint(k, size=n)
    return (means[group] + scales[group] * rng.standard_normal((n, d))).astype(dtype)


def assert_near(found, expected, tolerance, names=FITTED):
    for name in names:
        ours, theirs = getattr(found, name), getattr(expected, name)
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale, err_msg=name)


# -- beside scikit-learn -------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_same_seed_same_mixture(kind, start, dtype):
    X = blobs(dtype=dtype)
    parameters = {
        "n_components": 3,
        "covariance_type": kind,
        "init_params": start,
        "max_iter": 8,
        "tol": 0.0,
        "random_state": 5,
    }
    ours = GaussianMixture(**parameters).fit(X)
    # in float32, scikit-learn's first covariances of some starts are rounding errors
    theirs = sklearn.mixture.GaussianMixture(**parameters).fit(X.astype(np.float64))
    tolerance = 1e-7 if dtype == np.float64 else 1e-3
    assert_near(ours, theirs, tolerance)
    assert all(getattr(ours, name).dtype == dtype for name in FITTED)
    np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=tolerance)
    assert ours.n_iter_ == theirs.n_iter_ == 8
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=10 * tolerance)
    assert (ours.predict(X) == theirs.predict(X)).mean() > 0.999
    np.testing.assert_allclose([ours.bic(X), ours.aic(X)], [theirs.bic(X), theirs.aic(X)], rtol=tolerance)
    for found, expected in zip(ours.sample(50), theirs.sample(50), strict=True):
        np.testing.assert_allclose(found, expected, rtol=50 * tolerance, atol=50 * tolerance)


@pytest.mark.parametrize("kind", TYPES)
def test_stops_where_scikit_learn_stops(kind):
    X = blobs(seed=3, spread=1.5)
    parameters = {"n_components": 3, "covariance_type": kind, "n_init": 3, "random_state": 1, "tol": 1e-5}
    ours = GaussianMixture(**parameters).fit(X)
    theirs = sklearn.mixture.GaussianMixture(**parameters).fit(X)
    assert ours.converged_ and theirs.converged_
    assert ours.n_iter_ == theirs.n_iter_ == len(ours.lower_bounds_)
    assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, rel=1e-9)
    assert_near(ours, theirs, 1e-8)


@pytest.mark.parametrize("kind", TYPES)
def test_given_parameters(kind):
    X = blobs()
    first = sklearn.mixture.GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    given = {
        "weights_init": [0.2, 0.3, 0.5],
        "means_init": first.means_ + 0.3,
        "precisions_init": 0.7 * first.precisions_,
    }
    for names in (given, ["means_init"], ["weights_init"], ["precisions_init", "means_init"]):
        parameters = {name: given[name] for name in names} | {"covariance_type": kind, "random_state": 2}
        ours = GaussianMixture(3, max_iter=3, **parameters).fit(X)
        assert_near(ours, sklearn.mixture.GaussianMixture(3, max_iter=3, **parameters).fit(X), 1e-9)
    start = GaussianMixture(3, covariance_type=kind, max_iter=0, **given).fit(X)
    np.testing.assert_allclose(start.means_, given["means_init"])
    np.testing.assert_allclose(start.precisions_, given["precisions_init"], atol=1e-12)
    np.testing.assert_allclose(KINDS[kind].factors(start.covariances_), start.precisions_cholesky_, rtol=1e-6)
    assert (start.n_iter_, start.converged_, start.lower_bound_) == (0, False, -np.inf)


def test_twin_of_scikit_learn():
    X = blobs()
    ours = GaussianMixture(3, random_state=0).fit(X)
    theirs = ours.to_sklearn()
    assert type(theirs) is sklearn.mixture.GaussianMixture
    assert theirs.get_params() == ours.get_params()
    np.testing.assert_allclose(theirs.score_samples(X), ours.score_samples(X))
    copy = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(copy.predict_proba(X), ours.predict_proba(X))


@pytest.mark.parametrize("kind", TYPES)
def test_reference_kernels_give_the_same_mixture(kind):
    X = blobs()
    model = GaussianMixture(3, covariance_type=kind, random_state=0)
    with hpcml.config_context(kernels="reference"):
        expected = clone(model).fit(X)
    assert_near(model.fit(X), expected, 1e-9)


# -- precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_float32_far_from_the_origin(kind):
    """scikit-learn subtracts squares there, and finds negative variances (its issue 30382)."""
    X = (blobs(spread=4.0) / 50 + 300).astype(np.float32)
    parameters = {"n_components": 3, "covariance_type": kind, "random_state": 0, "reg_covar": 0.0}
    single = GaussianMixture(**parameters).fit(X)
    double = GaussianMixture(**parameters).fit(X.astype(np.float64))
    assert_near(single, double, 1e-3)
    assert single.lower_bound_ == pytest.approx(double.lower_bound_, rel=1e-3)


@pytest.mark.parametrize("kind", TYPES)
def test_float32_with_clusters_far_from_each_other(kind):
    X = blobs(spread=1.0)
    X[: len(X) // 2] += 3e3
    parameters = {"n_components": 2, "covariance_type": kind, "random_state": 0}
    single = GaussianMixture(**parameters).fit(X.astype(np.float32))
    double = GaussianMixture(**parameters).fit(X.astype(np.float32).astype(np.float64))
    assert_near(single, double, 1e-3)


@pytest.mark.parametrize("kind", TYPES)
def test_means_that_jump(kind):
    """One component, whose first mean is far away: moments about that cancel, and are taken once more."""
    X = blobs(k=1, spread=0.0, dtype=np.float32)
    far = np.full((1, X.shape[1]), 2e3)
    model = GaussianMixture(1, covariance_type=kind, means_init=far, max_iter=1, tol=0.0).fit(X)
    expected = sklearn.mixture.GaussianMixture(1, covariance_type=kind, max_iter=1).fit(X.astype(np.float64))
    assert_near(model, expected, 1e-5)
    assert LEAST_SHARE[X.dtype] > 1 / far[0, 0] ** 2


def test_likelihood_never_falls():
    X = blobs(spread=1.0, seed=4)
    for kind in TYPES:
        model = GaussianMixture(4, covariance_type=kind, tol=0.0, max_iter=60, reg_covar=0.0, random_state=0)
        assert np.diff(model.fit(X).lower_bounds_).min() > -1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", TYPES)
def test_outliers_and_components_without_rows(kind, dtype):
    X = blobs(dtype=dtype)
    X[5] = 1e3
    means = np.concatenate([X[:2], np.full((1, 4), -1e4)])
    model = GaussianMixture(
        3, covariance_type=kind, means_init=means, weights_init=[0.5, 0.5, 0.0], random_state=0
    ).fit(X)
    for name in FITTED:
        assert np.isfinite(getattr(model, name)).all()
    r = model.predict_proba(X)
    np.testing.assert_allclose(r.sum(axis=1), 1.0, rtol=1e-5)
    assert np.isfinite(model.score_samples(np.full((1, 4), 1e15, dtype=dtype))).all()


# -- going on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_warm_start_goes_on(kind):
    X = blobs(spread=1.0)
    whole = GaussianMixture(3, covariance_type=kind, max_iter=6, tol=0.0, random_state=0).fit(X)
    parts = GaussianMixture(
        3, covariance_type=kind, max_iter=2, tol=0.0, random_state=0, warm_start=True, n_init=4
    )
    parts.set_params(n_init=1).fit(X)
    bounds = [*parts.lower_bounds_, *parts.fit(X).lower_bounds_, *parts.fit(X).lower_bounds_]
    np.testing.assert_allclose(bounds, whole.lower_bounds_, rtol=1e-12)
    assert_near(parts, whole, 1e-12)


def test_warm_start_needs_the_same_shape():
    X = blobs()
    model = GaussianMixture(3, random_state=0, warm_start=True).fit(X)
    for change, rows in [({"n_components": 2}, X), ({"covariance_type": "diag"}, X), ({}, X[:, :2])]:
        with pytest.raises(ValueError, match="With warm_start=True"):
            pickle.loads(pickle.dumps(model)).set_params(**change).fit(rows)


def test_best_of_several_starts():
    X = blobs(k=6, spread=1.5)
    rng = np.random.RandomState(0)
    one = GaussianMixture(6, init_params="random_from_data", random_state=rng, max_iter=15)
    bounds = [clone(one).set_params(random_state=rng).fit(X).lower_bound_ for _ in range(4)]
    several = GaussianMixture(6, init_params="random_from_data", random_state=0, max_iter=15, n_init=4)
    assert several.fit(X).lower_bound_ == max(bounds) > min(bounds)


def test_fit_predict_is_fit_then_predict():
    X = blobs(spread=1.0)
    model = GaussianMixture(3, max_iter=3, random_state=0)
    labels = model.fit_predict(X)
    np.testing.assert_array_equal(labels, model.predict(X))
    np.testing.assert_array_equal(labels, model.predict_proba(X).argmax(axis=1))
    assert labels.dtype == np.int64


def test_mixed_types_are_promoted_as_numpy_does():
    X = blobs()
    single = GaussianMixture(2, random_state=0).fit(X.astype(np.float32))
    assert single.score_samples(X).dtype == np.float64
    assert single.score_samples(X.astype(np.float32)).dtype == np.float32
    assert single.score_samples((10 * X).astype(int)).dtype == np.float64


def test_progress_is_told(capsys):
    X = blobs()
    model = GaussianMixture(3, random_state=0, verbose=2, verbose_interval=1, n_init=2, init_params="random")
    model.fit(X)
    text = capsys.readouterr().out
    assert text.count("Initialization") == 4 and "Iteration 1\tlog-likelihood -" in text
    model.set_params(verbose=0).fit(X)
    assert capsys.readouterr().out == ""


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "'n_components' parameter of GaussianMixture must be an int"),
        ({"covariance_type": "round"}, "'covariance_type' parameter"),
        ({"init_params": "best"}, "'init_params' parameter"),
        ({"tol": -1.0}, "'tol' parameter"),
        ({"reg_covar": -1e-9}, "'reg_covar' parameter"),
        ({"max_iter": -1}, "'max_iter' parameter"),
        ({"means_init": "zeros"}, "'means_init' parameter"),
        ({"means_init": np.float64(3)}, "'means_init' parameter"),
        ({"weights_init": [0.5, 0.5]}, "'weights' should have the shape"),
        ({"weights_init": [0.5, 0.6, 0.1]}, "should be normalized"),
        ({"weights_init": [1.5, -0.5, 0.0]}, "should be in the range"),
        ({"means_init": np.zeros((3, 2))}, "'means' should have the shape"),
        ({"means_init": np.full((3, 4), np.nan)}, "contains NaN"),
        ({"precisions_init": np.zeros((3, 4, 4))}, "symmetric, positive-definite"),
        ({"precisions_init": np.triu(np.ones((3, 4, 4)))}, "symmetric, positive-definite"),
        ({"covariance_type": "diag", "precisions_init": np.zeros((3, 4))}, "should be positive"),
        ({"n_components": 3000}, "Expected n_samples >= n_components"),
    ],
)
def test_bad_parameters(parameters, message):
    model = GaussianMixture(**{"n_components": 3, **parameters})
    with pytest.raises(ValueError, match=message):
        model.fit(blobs())
    assert not hasattr(model, "means_")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("communicator", ["serial", "processes"])
def test_rows_that_are_not_finite(communicator, bad):
    X = blobs()
    X[-1, 2] = bad
    with pytest.raises(ValueError, match="Input X contains") as expected:
        sklearn.mixture.GaussianMixture(3).fit(X)
    for dtype in (np.float64, np.float32):
        with (
            hpcml.config_context(communicator=communicator, n_workers=2),
            pytest.raises(ValueError, match="Input X contains") as found,
        ):
            GaussianMixture(3).fit(X.astype(dtype))
        assert str(found.value) == str(expected.value).replace("float64", np.dtype(dtype).name)


@pytest.mark.parametrize("kind", TYPES)
def test_collapsed_components_raise(kind):
    X = np.repeat([[0.0, 1.0], [2.0, 3.0]], 10, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="ill-defined empirical covariance"):
            GaussianMixture(3, covariance_type=kind, reg_covar=0.0, random_state=0).fit(X)
        assert GaussianMixture(3, covariance_type=kind, random_state=0).fit(X).converged_


def test_no_convergence_warns_at_the_callers_line():
    X = blobs(spread=1.0)
    with pytest.warns(ConvergenceWarning, match="did not converge") as caught:
        GaussianMixture(3, max_iter=1, random_state=0).fit(X)
    assert caught[0].filename == __file__


def test_nothing_to_sample():
    with pytest.raises(ValueError, match="Invalid value for 'n_samples'"):
        GaussianMixture().fit(blobs()).sample(0)
