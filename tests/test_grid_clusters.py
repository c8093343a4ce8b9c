"""Grids of KMeans and GaussianMixture give what separate fits give, to the bit, in one pass for all."""

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from grids import batches_of, rows, separate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from separate_fits import assert_equal_to_separate_fits, score_columns
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import KFold, ParameterGrid

import hpcml
from hpcml import communicators
from hpcml.cluster import KMeans, MiniBatchKMeans
from hpcml.mixture import GaussianMixture
from hpcml.model_selection import GridSearchCV
from mpi_runs import run_ranks

N, D = 2500, 5
FOLDS = list(KFold(2, shuffle=True, random_state=1).split(np.zeros((N, 1))))
BASES = {
    KMeans: {"n_clusters": 4, "random_state": 0},
    GaussianMixture: {"n_components": 2, "random_state": 0, "max_iter": 20},
}


@pytest.fixture(autouse=True)
def one_thread():
    """Small fits on threads mostly wait for each other."""
    with hpcml.config_context(n_threads=1):
        yield


def table(dtype="float64", csr=False, n=N):
    """Return rows around six centers."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(n, D)) + 3 * rng.normal(size=(6, D))[rng.integers(6, size=n)]).astype(dtype)
    return sparse.csr_array(np.where(np.abs(X) > 1, X, 0)) if csr else X


def assert_same(got, expected):
    """Assert that two fitted estimators are equal, every attribute to the bit."""
    assert repr(got) == repr(expected) and vars(got).keys() == vars(expected).keys()
    for name in (name for name in vars(expected) if name.endswith("_")):
        mine, theirs = np.asarray(getattr(got, name)), np.asarray(getattr(expected, name))
        assert mine.dtype == theirs.dtype, name
        np.testing.assert_array_equal(mine, theirs, err_msg=name)


def assert_bits(estimator, candidates, X, folds=FOLDS, responses=(), **fit_params):
    """Assert that every candidate on every fold is the separate fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, errors = batches_of(estimator, candidates, folds, X, responses=responses, **fit_params)
        assert not errors
        assert sorted(found) == [(i, j) for i in range(len(candidates)) for j in range(len(folds))]
        for (i, j), (fitted, values) in found.items():
            train, test = folds[j]
            alone = separate(estimator, candidates[i], X, None, train, **fit_params)
            assert_same(fitted, alone)
            for name in responses:
                np.testing.assert_array_equal(values[name], getattr(alone, name)(rows(X, test)))


VALUES = {
    KMeans: {
        "n_clusters": st.sampled_from([1, 2, 3, 7, 8, 9, 21]),
        "init": st.sampled_from(["k-means++", "random"]),
        "n_init": st.sampled_from(["auto", 1, 3]),
        "max_iter": st.sampled_from([1, 2, 5, 300]),
        "tol": st.sampled_from([0.0, 1e-4, 1e-2]),
        "algorithm": st.sampled_from(["lloyd", "elkan"]),
        "random_state": st.integers(0, 2),
    },
    GaussianMixture: {
        "n_components": st.sampled_from([1, 2, 6, 9]),
        "covariance_type": st.sampled_from(["full", "tied", "diag", "spherical"]),
        "tol": st.sampled_from([0.0, 1e-3, 1e-1]),
        "reg_covar": st.sampled_from([1e-6, 0.1]),
        "max_iter": st.sampled_from([0, 1, 4, 30]),
        "n_init": st.sampled_from([1, 2]),
        "init_params": st.sampled_from(["kmeans", "k-means++", "random", "random_from_data"]),
        "warm_start": st.booleans(),
        "random_state": st.integers(0, 2),
    },
}


@st.composite
def grids(draw, kind):
    names = draw(st.lists(st.sampled_from(sorted(VALUES[kind])), min_size=1, max_size=4, unique=True))
    candidate = st.fixed_dictionaries({name: VALUES[kind][name] for name in names})
    return draw(st.lists(candidate, min_size=1, max_size=5))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    candidates=grids(KMeans),
    dtype=st.sampled_from(["float32", "float64"]),
    csr=st.booleans(),
    weighted=st.booleans(),
)
def test_kmeans_has_the_bits_of_separate_fits(candidates, dtype, csr, weighted):
    weights = np.random.default_rng(1).integers(0, 3, N).astype(float) if weighted else None
    base = KMeans(**BASES[KMeans])
    assert_bits(base, candidates, table(dtype, csr), responses=("predict",), sample_weight=weights)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(candidates=grids(GaussianMixture), dtype=st.sampled_from(["float32", "float64"]))
def test_mixtures_have_the_bits_of_separate_fits(candidates, dtype):
    base = GaussianMixture(**BASES[GaussianMixture])
    assert_bits(base, candidates, table(dtype), responses=("predict", "predict_proba"))


# -- starts --------------------------------------------------------------------------------------------------


def first_rows(X, n_clusters, random_state):
    """Return rows drawn by the generator, as a callable ``init`` may."""
    return X[random_state.permutation(X.shape[0])[:n_clusters]]


def test_starts_that_the_user_gives():
    X = table()
    candidates = [
        {"init": X[:4]},
        {"init": X[5:9].tolist(), "n_init": 3},
        {"init": first_rows, "n_init": 2},
        {"init": first_rows, "n_clusters": 9},
        {"n_init": 4},
    ]
    assert_bits(KMeans(**BASES[KMeans]), candidates, X)
    mixtures = [
        {"means_init": X[:2]},
        {"means_init": X[3:5], "weights_init": [0.3, 0.7], "precisions_init": [np.eye(D)] * 2, "tol": 1e-1},
        {"means_init": X[3:5], "weights_init": [0.3, 0.7], "precisions_init": [np.eye(D)] * 2},
    ]
    assert_bits(GaussianMixture(**BASES[GaussianMixture]), mixtures, X)


@pytest.mark.parametrize("kind", BASES)
def test_generators_are_left_as_separate_fits_leave_them(kind):
    base = kind(**{**BASES[kind], "random_state": np.random.RandomState(5)})
    name = next(iter(BASES[kind]))
    candidates = [{name: 3}, {name: 9, "n_init": 2}]
    found, _ = batches_of(base, candidates, FOLDS, table())
    for (i, j), (fitted, _) in found.items():
        alone = separate(base, candidates[i], table(), None, FOLDS[j][0])
        assert fitted.random_state is not base.random_state
        assert fitted.random_state.tomaxint() == alone.random_state.tomaxint()
        if kind is GaussianMixture:
            np.testing.assert_array_equal(fitted.sample(4)[0], alone.sample(4)[0])


def test_clusters_that_lose_all_rows_and_rows_that_are_few():
    X = np.repeat(np.arange(12.0)[:, np.newaxis], 40, axis=0)
    X[::40] += 0.25
    folds = list(KFold(3).split(X))
    candidates = [{"n_clusters": k, "init": init} for k in (3, 11, 14) for init in ("random", "k-means++")]
    far = np.concatenate([np.full((2, 1), 500.0), np.linspace(0, 5, 5)[:, np.newaxis]])
    assert_bits(KMeans(random_state=0, n_init=2), [*candidates, {"n_clusters": 7, "init": far}], X, folds)
    assert_bits(KMeans(2, random_state=0), [{"n_clusters": k} for k in (1, 2, 4)], table(n=9), [
        (np.arange(4), np.arange(4, 9))
    ])  # fmt: skip


def test_more_runs_than_are_under_way_at_a_time():
    X = table("float32", n=400)
    folds = list(KFold(2).split(X))
    assert_bits(
        KMeans(random_state=0, init="random", n_init=12), [{"n_clusters": k} for k in (2, 5)], X, folds
    )


# -- errors and warnings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bad", "named"),
    [
        (KMeans, {"n_clusters": 0}, "n_clusters"),
        (KMeans, {"verbose": 1}, "verbose"),
        (KMeans, {"nonsense": 1}, "nonsense"),
        (GaussianMixture, {"covariance_type": "round"}, "covariance_type"),
        (GaussianMixture, {"verbose": 2}, "verbose"),
    ],
)
def test_what_is_refused(kind, bad, named):
    with pytest.raises(ValueError, match=named):
        kind().plan_grid([{}, bad], 3)


@pytest.mark.parametrize("kind", BASES)
def test_a_candidate_that_fails_has_its_own_error(kind):
    name = next(iter(BASES[kind]))
    X = table(n=60)
    grid = {name: [2, 50, 3]}
    with pytest.warns(FitFailedWarning, match="2 fits failed"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One or more of the test scores", UserWarning)
        search = GridSearchCV(kind(random_state=0), grid, cv=2, refit=False).fit(X)
    scores = search.cv_results_["mean_test_score"]
    assert np.isnan(scores).tolist() == [False, True, False]
    assert len(search.plan_.fallbacks) == 2 and all("n_samples" in why for why in search.plan_.fallbacks)
    with pytest.raises(ValueError, match="n_samples"):
        GridSearchCV(kind(random_state=0), grid, cv=2, error_score="raise").fit(X)


def test_a_mixture_without_covariance_fails_alone():
    X = np.repeat(np.arange(3.0)[:, np.newaxis] * [1, 2], 30, axis=0)
    candidates = [{"reg_covar": 0.0}, {"reg_covar": 1e-3}, {"reg_covar": 0.0, "covariance_type": "diag"}]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, errors = batches_of(GaussianMixture(3, random_state=0), candidates, [FOLDS_OF_90], X)
    assert list(found) == [(1, 0)]
    assert "ill-defined empirical covariance" in errors[0]


FOLDS_OF_90 = (np.arange(0, 90, 2), np.arange(1, 90, 2))


@pytest.mark.parametrize(
    ("estimator", "X"),
    [
        (KMeans(4, random_state=0), np.repeat(np.eye(3), 30, axis=0)),
        (GaussianMixture(3, random_state=0, max_iter=1, tol=0), table(n=90)),
    ],
)
def test_warnings_are_those_of_separate_fits(estimator, X):
    with pytest.warns(ConvergenceWarning) as alone:
        separate(estimator, {}, X, None, FOLDS_OF_90[0])
    with pytest.warns(ConvergenceWarning) as together:
        batches_of(estimator, [{}], [FOLDS_OF_90], X)
    assert [str(w.message) for w in together] == [str(w.message) for w in alone]


# -- in a search ---------------------------------------------------------------------------------------------

GRIDS = {
    KMeans: {"n_clusters": [2, 5, 9], "tol": [1e-4, 1e-1]},
    GaussianMixture: {"n_components": [2, 4], "covariance_type": ["full", "diag"]},
}


@pytest.mark.parametrize("kind", BASES)
def test_search_on_any_backend_and_after_a_resume(kind, tmp_path):
    X = table()
    options = {"cv": 2, "refit": False, "return_train_score": True}
    search = GridSearchCV(kind(random_state=0), GRIDS[kind], **options).fit(X)
    assert_equal_to_separate_fits(search, X, None)
    n = len(search.cv_results_["params"])
    assert search.plan_.asked["fits"] == 2 * n and search.plan_.done["fits"] == 2
    assert not search.plan_.fallbacks and not search.plan_.separate
    path = tmp_path / "journal"
    for backend, n_jobs in (("threading", 4), ("loky", 2)):
        with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
            other = GridSearchCV(kind(random_state=0), GRIDS[kind], journal=path, **options).fit(X)
        for key, values in score_columns(search).items():
            np.testing.assert_array_equal(other.cv_results_[key], values, err_msg=key)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-2]))  # the next search lacks two fits
    assert other.plan_.resumed == 2 * n - 2


@pytest.mark.parametrize("kind", BASES)
def test_metrics_frames_and_the_best_one(kind):
    X = pd.DataFrame(table("float32"), columns=list("abcde"))
    y = (X["a"] > 0).to_numpy().astype(int)
    scoring = {"own": lambda model, X, y: model.score(X), "rand": "adjusted_rand_score"}
    for metric in (scoring, "adjusted_rand_score", None):
        options = {"cv": 2, "scoring": metric, "refit": "own" if metric is scoring else True}
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # names of features
            search = GridSearchCV(kind(random_state=0), GRIDS[kind], **options).fit(X, y)
        assert not search.plan_.fallbacks
        assert_equal_to_separate_fits(search, X, y)
    alone = kind(random_state=0, **search.best_params_).fit(X)
    assert_same(search.best_estimator_, alone)
    assert search.verify(2).candidates


def test_fitted_is_complete():
    X = pd.DataFrame(table(), columns=list("abcde"))
    for estimator in (KMeans(3, random_state=0), GaussianMixture(3, random_state=0)):
        found, _ = batches_of(estimator, [{}], FOLDS, X)
        fitted = pickle.loads(pickle.dumps(found[0, 0][0]))
        assert_same(fitted, separate(estimator, {}, X, None, FOLDS[0][0]))
        assert fitted.feature_names_in_.tolist() == list("abcde")
        np.testing.assert_array_equal(fitted.to_sklearn().predict(X), fitted.predict(X))


def test_one_pass_moves_all_candidates(monkeypatch):
    from hpcml.communicators.serial import SerialTable

    counted = []
    whole = SerialTable.map_reduce

    def map_reduce(self, kernel, /, **arguments):
        counted.append((kernel, arguments))
        return whole(self, kernel, **arguments)

    monkeypatch.setattr(SerialTable, "map_reduce", map_reduce)
    candidates = [{"n_clusters": k} for k in range(8, 15)]
    found, _ = batches_of(KMeans(random_state=0), candidates, FOLDS[:1], table())
    steps = [arguments for kernel, arguments in counted if kernel == "lloyd_steps"]
    assert len(steps) == max(fitted.n_iter_ for fitted, _ in found.values())
    assert len(steps[0]["columns"]) == 7
    # k-means++ of 14 clusters begins with that of 8
    assert sum(kernel == "add_seed" for kernel, _ in counted) == 13
    counted.clear()
    candidates = [{"covariance_type": kind, "tol": tol} for kind in ("full", "tied") for tol in (1e-3, 1e-2)]
    found, _ = batches_of(GaussianMixture(3, random_state=0), candidates, FOLDS[:1], table())
    steps = [arguments for kernel, arguments in counted if kernel == "gaussian_steps"]
    assert len(steps) == max(fitted.n_iter_ for fitted, _ in found.values())
    assert steps[0]["first"].tolist() == [0, 3, 6]  # two tolerances follow one path


def test_mini_batches_are_fitted_separately():
    search = GridSearchCV(MiniBatchKMeans(random_state=0), {"n_clusters": [2, 3]}, cv=2).fit(table(n=300))
    assert set(search.plan_.separate.values()) == {"MiniBatchKMeans does not share work between candidates"}


# -- ranks ---------------------------------------------------------------------------------------------------


def on_ranks():
    """Fit the grids on this rank's part of the rows; return all fits of a fold, and what a search found."""
    X, rank = table(), communicators.current().rank
    start, stop = N * rank // 5, N if rank == 2 else N * (rank + 1) // 5
    mine, found = X[start:stop], {}
    train = np.sort(FOLDS[0][0])
    own = train[(train >= start) & (train < stop)] - start
    for kind, grid in GRIDS.items():
        candidates = list(ParameterGrid(grid))
        fits, _ = batches_of(kind(random_state=0, n_init=2), candidates, [(own, own[:0])], mine)
        search = GridSearchCV(kind(random_state=0), grid, cv=2, refit=False)
        search.fit(mine)
        fitted = [fits[key][0] for key in sorted(fits)]
        found[kind.__name__] = fitted, score_columns(search), search.plan_
    return found


@pytest.mark.require("mpi")
def test_ranks_share_the_rows_of_a_grid():
    run = run_ranks(3, on_ranks)
    train = np.sort(FOLDS[0][0])
    for kind, grid in GRIDS.items():
        search = GridSearchCV(kind(random_state=0), grid, cv=2, refit=False).fit(table())
        alone = [
            separate(kind(random_state=0, n_init=2), parameters, table(), None, train)
            for parameters in ParameterGrid(grid)
        ]
        for fits, scores, plan in (found[kind.__name__] for found in run.results):
            assert plan.batches == search.plan_.batches and not plan.fallbacks
            for key, values in score_columns(search).items():
                np.testing.assert_array_equal(scores[key], values, err_msg=key)
            for fitted, expected in zip(fits, alone, strict=True):
                for name in ("cluster_centers_", "inertia_", "means_", "covariances_", "n_iter_"):
                    if hasattr(expected, name):
                        np.testing.assert_array_equal(getattr(fitted, name), getattr(expected, name))
        fits_of_ranks = zip(*(found[kind.__name__][0] for found in run.results), strict=True)
        for parts, expected in zip(fits_of_ranks, alone, strict=True):
            if kind is KMeans:
                joined = np.concatenate([part.labels_ for part in parts])
                np.testing.assert_array_equal(joined, expected.labels_)
