"""Pipelines in the search: each equal step is fitted once a fold, and scores are those of separate fits."""

import warnings
from collections import Counter

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from separate_fits import assert_equal_to_separate_fits
from sharing_toys import SignsClassifier, SignsRegressor
from sklearn import model_selection
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import RandomForestClassifier as TheirForest
from sklearn.exceptions import FitFailedWarning
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, ShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC

from hpcml.decomposition import PCA as OurPCA
from hpcml.ensemble import RandomForestClassifier
from hpcml.linear_model import LogisticRegression as OurLogistic
from hpcml.model_selection import GridSearchCV, RandomizedSearchCV, explain_plan, step_fits
from hpcml.model_selection.tables import TableCache
from hpcml.preprocessing import StandardScaler as OurScaler

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 6))
TARGET = X[:, 0] * 2 - X[:, 1] + RNG.normal(size=90) * 0.3
LABELS = np.where(TARGET > 0, "up", "down")
WEIGHT = RNG.uniform(0.1, 2, size=90)
FITS = Counter()


class Noted(TransformerMixin, BaseEstimator):
    """Adds a number, and notes its fits."""

    def __init__(self, add=0.0, random_state=0):
        self.add = add
        self.random_state = random_state

    def fit(self, X, y=None, sample_weight=None):
        FITS[self.add] += 1
        self.mean_ = np.average(np.asarray(X), axis=0, weights=sample_weight)
        return self

    def transform(self, X):
        FITS["transform", self.add] += 1
        return np.asarray(X) - self.mean_ + self.add


def search(pipeline, grid, y=LABELS, data=X, fit=None, kind=GridSearchCV, **options):
    options.setdefault("cv", 3)
    found = kind(pipeline, grid, **options).fit(data, y, **(fit or {}))
    assert not found.plan_.fallbacks
    assert_equal_to_separate_fits(found, data, y, fit)
    return found


GRIDS = {
    "last": (make_pipeline(Noted(), StandardScaler(), SVC()), {"svc__C": [0.1, 1, 10]}),
    "middle": (
        make_pipeline(StandardScaler(), SelectKBest(), LogisticRegression()),
        {"selectkbest__k": [2, 4], "logisticregression__C": [0.1, 1.0]},
    ),
    "replaced": (
        Pipeline([("scale", StandardScaler()), ("pick", VarianceThreshold()), ("model", SVC())]),
        {"scale": [StandardScaler(), "passthrough", MinMaxScaler(), None], "model__C": [0.1, 1.0]},
    ),
    "models": (
        Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())]),
        [
            {"model": [LogisticRegression(), SignsClassifier(random_state=0)], "scale": [MinMaxScaler()]},
            {"model": [SignsClassifier(random_state=0)], "model__n_terms": [2, 5, 9]},
            {"model": [TheirForest(5, random_state=0), RandomForestClassifier(5, random_state=0)]},
        ],
    ),
    "function": (
        make_pipeline(FunctionTransformer(np.tanh), FunctionTransformer(), SignsClassifier(random_state=1)),
        {
            "functiontransformer-2__func": [None, np.exp],
            "signsclassifier__n_terms": [1, 4],
            "signsclassifier__shift": [0.0, 0.5, 1.0],
        },
    ),
    "nested": (
        make_pipeline(make_pipeline(StandardScaler(), PolynomialFeatures()), make_pipeline(Noted(), SVC())),
        {"pipeline-1__polynomialfeatures__degree": [1, 2], "pipeline-2__svc__C": [0.1, 1.0]},
    ),
    "in place": (
        make_pipeline(Noted(), StandardScaler(copy=False), SVC()),
        {"standardscaler__with_mean": [True, False], "svc__C": [0.1, 1.0]},
    ),
    "pandas": (
        make_pipeline(StandardScaler(), SelectKBest(), SignsClassifier(random_state=0)).set_output(
            transform="pandas"
        ),
        {"selectkbest__k": [2, 4], "signsclassifier__n_terms": [1, 3]},
    ),
    "target": (
        make_pipeline(
            KBinsDiscretizer(3, encode="ordinal", subsample=None, random_state=0),
            TargetEncoder(random_state=0),
            SVC(),
        ),
        {"svc__C": [0.1, 1.0, 5.0]},
    ),
    "copies": (
        Pipeline([("scale", StandardScaler()), ("model", SVC())]),
        {"scale": [StandardScaler(), StandardScaler().set_output(transform="pandas")], "model__C": [1, 2]},
    ),
    "sparse": (
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), SelectKBest(k=5), LogisticRegression()),
        {"selectkbest__k": [5, 9], "logisticregression__C": [0.1, 1.0]},
    ),
}


@pytest.mark.parametrize("scoring", [None, "roc_auc", ["accuracy", "neg_log_loss"]], ids=str)
@pytest.mark.parametrize("name", GRIDS)
def test_scores_equal_separate_fits(name, scoring):
    pipeline, grid = GRIDS[name]
    if isinstance(scoring, list) and "SVC" in str(pipeline) + str(grid):
        scoring = ["accuracy", "roc_auc"]
    refit = "accuracy" if isinstance(scoring, list) else True
    y = (LABELS == "up").astype(int)
    found = search(pipeline, grid, y, scoring=scoring, refit=refit, return_train_score=True)
    assert not found.plan_.separate
    assert found.plan_.done["fits"] <= found.plan_.asked["fits"]
    np.testing.assert_array_equal(
        found.predict(X), clone(pipeline).set_params(**found.best_params_).fit(X, y).predict(X)
    )


def test_every_step_is_fitted_once_a_fold():
    pipeline = Pipeline(
        [("a", Noted(1.0)), ("b", Noted(2.0)), ("c", "passthrough"), ("m", SignsClassifier(random_state=0))]
    )
    grid = {"b__add": [2.0, 3.0], "m__n_terms": [1, 2, 5]}
    FITS.clear()
    found = GridSearchCV(pipeline, grid, cv=3, refit=False).fit(X, LABELS)
    assert {name: n for name, n in FITS.items() if isinstance(name, float)} == {1.0: 3, 2.0: 3, 3.0: 3}
    assert FITS["transform", 1.0] == 6
    assert found.plan_.asked == {"fits": 18, "Noted": 36, "terms": 48}
    assert found.plan_.done == {"fits": 6, "Noted": 9, "terms": 30}
    assert str(found.plan_) == "18 fits asked for, 36 Noted, 48 terms; 6 fits, 9 Noted, 30 terms done"
    assert "6 candidates take their steps from 3 Noted; SignsClassifier" in found.plan_.table()["shared"][0]
    assert_equal_to_separate_fits(found, X, LABELS)


def test_what_shares_nothing_is_fitted_alone():
    pipeline = make_pipeline(PCA(2, svd_solver="randomized"), Noted(), SVC())
    found = GridSearchCV(pipeline, {"svc__C": [1, 2]}, cv=2).fit(X, LABELS)
    assert set(found.plan_.separate.values()) == {
        "PCA has random_state=None: every fit draws other random numbers"
    }
    pipeline.set_params(pca__random_state=0)
    found = search(pipeline, {"pca__n_components": [1, 2, 3]})
    assert set(found.plan_.separate.values()) == {
        "no other candidate has PCA with these parameters as its first step"
    }
    found = search(make_pipeline(SVC()), {"svc__C": [1, 2]})
    assert set(found.plan_.separate.values()) == {"SVC does not share work between candidates"}
    found = search(Pipeline(pipeline.steps, verbose=True), {"svc__C": [1, 2]})
    assert all("verbose of a pipeline" in reason for reason in found.plan_.separate.values())


def test_unseeded_steps_after_shared_ones():
    pipeline = make_pipeline(Noted(), PCA(2, svd_solver="randomized"), SVC())
    FITS.clear()
    found = GridSearchCV(pipeline, {"svc__C": [1, 1, 1]}, cv=2, refit=False).fit(X, LABELS)
    assert FITS[0.0] == 2 and found.plan_.done["PCA"] == 6


def test_without_transformers_the_model_shares_over_all_folds():
    found = search(Pipeline([("model", SignsRegressor(random_state=0))]), {"model__n_terms": [1, 5]}, TARGET)
    assert found.plan_.done == {"fits": 3, "terms": 15}
    models = {"model": [SignsRegressor(2, random_state=0), Ridge()], "scale": ["passthrough"]}
    found = search(Pipeline([("scale", None), ("model", Ridge())]), models, TARGET)
    assert list(found.plan_.separate) == [1]


def test_one_seed_for_the_steps_that_share():
    pipeline = make_pipeline(StandardScaler(), SignsRegressor())
    found = search(pipeline, {"signsregressor__n_terms": [4, 4, 6]}, TARGET)
    scores = found.cv_results_["mean_test_score"]
    assert isinstance(found.plan_.seed, int) and scores[0] == scores[1]
    assert found.best_estimator_[-1].random_state == found.plan_.seed
    assert "signsregressor__random_state" not in found.best_params_
    assert GridSearchCV(make_pipeline(Noted(), TheirForest(2)), {}, cv=2).fit(X, LABELS).plan_.seed is None


def test_weights_and_groups():
    pipeline = make_pipeline(Noted(), SignsRegressor(random_state=0))
    fit = {"noted__sample_weight": WEIGHT, "signsregressor__sample_weight": WEIGHT}
    fit["groups"] = np.arange(90) % 5
    grid = {"noted__add": [0.0, 1.0], "signsregressor__n_terms": [2, 4]}
    found = search(pipeline, grid, TARGET, fit=fit, cv=GroupKFold(3))
    bare = GridSearchCV(pipeline, grid, cv=GroupKFold(3)).fit(X, TARGET, groups=fit["groups"])
    assert np.any(found.cv_results_["mean_test_score"] != bare.cv_results_["mean_test_score"])
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(
            Noted().set_fit_request(sample_weight=True),
            SignsRegressor(random_state=0)
            .set_fit_request(sample_weight=True)
            .set_score_request(sample_weight=True),
        )
        fit = {"sample_weight": WEIGHT, "groups": fit["groups"]}
        again = search(routed, grid, TARGET, fit=fit, cv=GroupKFold(3))
        assert not again.plan_.separate
        routed[-1].set_score_request(sample_weight=False)
        for one in (GridSearchCV, model_selection.GridSearchCV):
            with pytest.raises(TypeError, match="Pipeline.score got unexpected argument"):
                one(routed, grid, cv=GroupKFold(3), error_score="raise").fit(X, TARGET, **fit)


def test_scorers_do_not_repeat_the_transformers():
    calls = []

    def noted(X):
        calls.append(len(X))
        return 2 * X

    def steps(pipeline, X, y):
        return len(pipeline.steps) + (pipeline.predict(X) == y).mean()

    named = {name: name for name in ("accuracy", "roc_auc", "neg_log_loss")}
    asked, pipeline = {}, make_pipeline(FunctionTransformer(noted), OurLogistic())
    for scoring in ("accuracy", steps, named, {**named, "steps": steps}):
        key = len(scoring) if isinstance(scoring, dict) else scoring
        for train in (False, True):
            calls.clear()
            options = {"scoring": scoring, "refit": False, "return_train_score": train, "cv": 3}
            varied = {"logisticregression__C": [0.01, 0.1, 1, 10]}
            found = GridSearchCV(pipeline, varied, **options).fit(X, LABELS).cv_results_
            asked[key, train] = len(calls)
    theirs = model_selection.GridSearchCV(pipeline, varied, **options).fit(X, LABELS).cv_results_
    for name in (name for name in theirs if name.startswith("split")):
        np.testing.assert_allclose(found[name], theirs[name], rtol=1e-9)
    # 3 folds are transformed for training and for testing; each of the 12 fits again for its train scores,
    # and for a callable
    expected = {"accuracy": (6, 18), steps: (18, 30), 3: (6, 18), 4: (18, 42)}
    assert asked == {(key, bool(i)): n[i] for key, n in expected.items() for i in (0, 1)}


def test_parameters_of_fit_that_no_step_takes():
    with pytest.raises(ValueError, match="Pipeline.fit does not accept the sample_weight"):
        GridSearchCV(make_pipeline(Noted(), SVC()), {"svc__C": [1, 2]}, cv=2, error_score="raise").fit(
            X, LABELS, sample_weight=WEIGHT
        )


TABLE = pd.DataFrame(X[:, :3], columns=list("abc")).assign(
    k=RNG.choice(["red", "green", "blue"], 90), m=RNG.choice(["x", "y"], 90)
)


@pytest.mark.parametrize("output", ["default", "pandas"])
def test_branches_of_column_transformers_are_fitted_once_for_each_setting(output):
    columns = ColumnTransformer(
        [
            ("numbers", Noted(), ["a", "b"]),
            (
                "bins",
                KBinsDiscretizer(3, encode="onehot", quantile_method="averaged_inverted_cdf", random_state=0),
                ["c"],
            ),
            ("words", OneHotEncoder(sparse_output=False), make_column_selector(dtype_exclude="number")),
        ],
        remainder="passthrough",
    )
    if output == "pandas":
        columns.set_params(numbers=StandardScaler(), bins__encode="onehot-dense").set_output(
            transform="pandas"
        )
    pipeline = Pipeline([("columns", columns), ("model", LogisticRegression())])
    grid = {
        "columns__bins__n_bins": [2, 3, 4],
        "columns__words__drop": [None, "first"],
        "model__C": [1.0, 9.0],
    }
    FITS.clear()
    found = search(pipeline, grid, data=TABLE)
    assert not found.plan_.separate
    assert found.plan_.asked["OneHotEncoder"] == 36 and found.plan_.done["OneHotEncoder"] == 6
    assert found.plan_.done["KBinsDiscretizer"] == 9
    if output == "default":
        assert found.plan_.done["Noted"] == 3 and FITS[0.0] == 3 + 1 + 36
    else:
        names = found.best_estimator_[0].get_feature_names_out()
        assert list(found.best_estimator_[-1].feature_names_in_) == list(names)


def test_a_column_transformer_that_does_not_vary_is_a_step():
    columns = ColumnTransformer(
        [("n", StandardScaler(), [0, 1]), ("r", Noted(), [2])], remainder=MinMaxScaler()
    )
    FITS.clear()
    found = GridSearchCV(make_pipeline(columns, SVC()), {"svc__C": [1, 2, 3]}, cv=2, refit=False).fit(
        X, LABELS
    )
    assert FITS[0.0] == 2 and found.plan_.done["Noted"] == 2
    assert_equal_to_separate_fits(found, X, LABELS)


def test_memory_is_looked_into(tmp_path):
    pipeline = make_pipeline(Noted(), SVC(), memory=joblib.Memory(tmp_path, verbose=0))
    FITS.clear()
    for _ in range(2):
        GridSearchCV(pipeline, {"svc__C": [1, 2, 3]}, cv=2, refit=False).fit(X, LABELS)
    assert FITS[0.0] == 2


def test_a_small_cache_changes_nothing(monkeypatch):
    pipeline = Pipeline(
        [("a", Noted(1.0)), ("b", Noted(2.0)), ("t", TargetEncoder(random_state=0)), ("m", SVC())]
    )
    grid = {"b__add": [2.0, 3.0], "t__smooth": [1.0, 2.0], "m__C": [1, 2]}
    found = []
    for limit in (1 << 30, 0):
        monkeypatch.setattr(step_fits, "TableCache", lambda limit=limit: TableCache(limit))
        FITS.clear()
        found.append(search(pipeline, grid, TARGET > 0, cv=2))
        found.append(FITS[1.0])
    assert found[1] < found[3]
    np.testing.assert_array_equal(*(f.cv_results_["mean_test_score"] for f in found[::2]))


class Breaks(Noted):
    """Cannot be fitted with a negative number."""

    def fit(self, X, y=None):
        if self.add < 0:
            raise RuntimeError("not below nought")
        return super().fit(X, y)


def test_errors_are_those_of_separate_fits():
    pipeline = make_pipeline(Noted(), Breaks(), SVC())
    grid = {"breaks__add": [1.0, -1.0], "svc__C": [1.0, -1.0]}
    with pytest.warns(FitFailedWarning) as caught:
        found = GridSearchCV(pipeline, grid, cv=2).fit(X, LABELS)
    told = "".join(str(w.message) for w in caught)
    assert "not below nought" in told and "'C' parameter of SVC" in told and "6 fits failed" in told
    np.testing.assert_array_equal(np.isnan(found.cv_results_["mean_test_score"]), [False, True, True, True])
    assert len(found.plan_.fallbacks) == 6
    with pytest.raises(ValueError, match="Invalid parameter 'add2'"):
        GridSearchCV(pipeline, {"breaks__add2": [1, 2]}, cv=2).fit(X, LABELS)


@settings(max_examples=6, deadline=None)
@given(
    terms=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    add=st.lists(st.sampled_from([0.0, 1.0, -2.0]), min_size=1, max_size=3),
    n_jobs=st.sampled_from([2, 4]),
    backend=st.sampled_from(["threading", "loky"]),
    cv=st.sampled_from([3, ShuffleSplit(2, test_size=0.3, train_size=0.4, random_state=0)]),
)
def test_same_bits_on_any_workers_and_after_a_resume(tmp_path_factory, terms, add, n_jobs, backend, cv):
    pipeline = make_pipeline(StandardScaler(), Noted(), SignsRegressor())
    grid = {"noted__add": add, "signsregressor__n_terms": terms}
    np.random.seed(0)  # noqa: NPY002 - the generator that scikit-learn draws from
    path = tmp_path_factory.mktemp("journal") / "search"
    one = GridSearchCV(pipeline, grid, cv=cv, journal=path).fit(X, TARGET)
    with joblib.parallel_config(backend=backend):
        np.random.seed(0)  # noqa: NPY002
        many = GridSearchCV(pipeline, grid, cv=cv, n_jobs=n_jobs).fit(X, TARGET)
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(content[: 1 + len(content) // 2]))
    resumed = GridSearchCV(pipeline, grid, cv=cv, journal=path).fit(X, TARGET)
    for other in (many, resumed):
        for key in ("mean_test_score", "split0_test_score", "split1_test_score"):
            np.testing.assert_array_equal(one.cv_results_[key], other.cv_results_[key])
        assert one.plan_.seed == other.plan_.seed
        np.testing.assert_array_equal(one.predict(X), other.predict(X))


def test_random_search_and_verify(capsys):
    from scipy.stats import loguniform

    pipeline = make_pipeline(OurScaler(), RandomForestClassifier(3))
    space = {
        "randomforestclassifier__max_depth": range(1, 6),
        "randomforestclassifier__min_impurity_decrease": loguniform(1e-4, 1e-2),
    }
    found = search(pipeline, space, kind=RandomizedSearchCV, n_iter=5, random_state=0)
    assert found.plan_.done["trees"] < found.plan_.asked["trees"]
    assert len(found.verify(n=2).candidates) == 2 and "scikit-learn on" in capsys.readouterr().out


@pytest.fixture(scope="module")
def decomposed():
    pipeline = make_pipeline(OurScaler(), OurPCA(svd_solver="full"), OurLogistic())
    grid = {"pca__n_components": [2, 3, 5], "logisticregression__C": [0.01, 0.1, 1.0, 10.0]}
    wide = np.hstack([X, X @ RNG.normal(size=(6, 6)) + 5])
    return pipeline, grid, wide, GridSearchCV(pipeline, grid, cv=3, scoring="neg_log_loss").fit(wide, LABELS)


def test_one_decomposition_a_fold_and_one_batch_of_models_a_width(decomposed):
    pipeline, grid, wide, found = decomposed
    assert not found.plan_.separate and not found.plan_.fallbacks
    assert found.plan_.asked["fits"] == 36 and found.plan_.asked["PCA"] == 36
    assert found.plan_.done["StandardScaler"] == 3 and found.plan_.done["PCA"] == 3
    separate = model_selection.GridSearchCV(pipeline, grid, cv=3, scoring="neg_log_loss", refit=False)
    expected = separate.fit(wide, LABELS).cv_results_["mean_test_score"]
    np.testing.assert_allclose(found.cv_results_["mean_test_score"], expected, rtol=1e-4)


@pytest.mark.parametrize("n_jobs, backend", [(2, "threading"), (4, "threading"), (2, "loky")])
def test_decompositions_have_the_same_bits_on_any_workers(decomposed, n_jobs, backend, tmp_path):
    _, _, wide, found = decomposed
    with joblib.parallel_config(backend=backend):
        again = clone(found).set_params(n_jobs=n_jobs, journal=tmp_path / "j").fit(wide, LABELS)
    content = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "j").write_bytes(b"".join(content[:17]))
    resumed = clone(again).set_params(n_jobs=None).fit(wide, LABELS)
    assert resumed.plan_.resumed == 16
    for other in (again, resumed):
        np.testing.assert_array_equal(
            found.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"]
        )
        np.testing.assert_array_equal(found.predict_proba(wide), other.predict_proba(wide))


def test_own_steps_keep_all_threads_busy(decomposed):
    pipeline, grid, wide, _ = decomposed
    theirs = make_pipeline(StandardScaler(), OurPCA(svd_solver="full"), OurLogistic())
    for steps, threaded in ((pipeline, True), (theirs, False)):
        plan = explain_plan(GridSearchCV(steps, grid, cv=3), wide, LABELS)
        assert [batch.threaded for batch in plan.batches] == [threaded] * 3


@pytest.mark.parametrize(
    "cv, rows_of_each",
    [(3, [90]), (ShuffleSplit(2, train_size=0.5, test_size=0.2, random_state=0), [45, 18])],
)
def test_own_steps_are_applied_to_both_parts_in_one_go(cv, rows_of_each, monkeypatch):
    seen, transform = [], OurScaler.transform

    def noted(self, X, copy=None):
        seen.append(len(X))
        return transform(self, X, copy)

    monkeypatch.setattr(OurScaler, "transform", noted)
    pipeline = make_pipeline(OurScaler(), OurPCA(2, svd_solver="full"), Ridge())
    found = GridSearchCV(pipeline, {"ridge__alpha": [0.1, 1.0, 10.0]}, cv=cv, refit=False).fit(X, TARGET)
    assert seen == rows_of_each * found.n_splits_
    separate = model_selection.GridSearchCV(pipeline, {"ridge__alpha": [0.1, 1.0, 10.0]}, cv=cv, refit=False)
    expected = separate.fit(X, TARGET).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"], expected)


def test_sparse_tables():
    table = sp.random_array((90, 8), density=0.4, rng=np.random.default_rng(0), format="csr")
    found = search(
        make_pipeline(TruncatedSVD(3, random_state=0), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
        data=table,
    )
    assert found.plan_.done["TruncatedSVD"] == 3
    forests = make_pipeline(VarianceThreshold(), RandomForestClassifier(3, random_state=0))
    search(forests, {"randomforestclassifier__n_estimators": [2, 3]}, data=table)


def test_warnings_of_shared_steps_are_given():
    grid = {"svc__C": [1, 2]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search(make_pipeline(SelectKBest(k=50), SVC()), grid)
    assert any("k=50 is greater than n_features" in str(w.message) for w in caught)
