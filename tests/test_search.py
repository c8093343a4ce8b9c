"""The searches beside scikit-learn's, over stock estimators: same results, same errors, same words."""

import pickle
import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
from call_counts import calls_of
from scipy.stats import loguniform
from sklearn import model_selection
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_classification, make_regression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, make_scorer, roc_auc_score
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from hpcml.model_selection import GridSearchCV, RandomizedSearchCV
from ids import plain

X, Y = make_classification(n_samples=90, n_features=6, random_state=0)
WEIGHT = np.random.default_rng(0).uniform(0.1, 2, size=90)
GROUPS = np.arange(90) % 5
TREE = DecisionTreeClassifier(random_state=0)
GRID = {"max_depth": [1, 3, None], "criterion": ["gini", "entropy"]}


def several(estimator, X, y):
    predicted = estimator.predict(X)
    return {"right": accuracy_score(y, predicted), "wrong": int((predicted != y).sum())}


def share_of_ones(estimator, X, y):
    return float(np.mean(estimator.predict(X)))


def last_of_the_best(results):
    return int(np.flatnonzero(results["rank_test_score"] == 1)[-1])


def assert_same(ours, theirs, times=True):
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for key, expected in theirs.cv_results_.items():
        found = ours.cv_results_[key]
        assert type(found) is type(expected), key
        if key == "params":
            assert found == expected
            continue
        assert found.dtype == expected.dtype, key
        assert found.shape == expected.shape, key
        if key.endswith("_time"):
            assert (found >= 0).all()
        else:
            np.testing.assert_array_equal(found, expected, err_msg=key)
        if isinstance(expected, np.ma.MaskedArray):
            np.testing.assert_array_equal(found.mask, expected.mask)
    for name in ("best_index_", "best_score_", "best_params_", "multimetric_", "n_splits_", "n_features_in_"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name):
            assert getattr(ours, name) == getattr(theirs, name), name
    assert type(ours.scorer_) is type(theirs.scorer_)
    assert hasattr(ours, "refit_time_") == hasattr(theirs, "refit_time_")


def both(grid, estimator=TREE, fit=None, data=(X, Y), **settings):
    ours = GridSearchCV(estimator, grid, **settings).fit(*data, **(fit or {}))
    theirs = model_selection.GridSearchCV(estimator, grid, **settings).fit(*data, **(fit or {}))
    assert_same(ours, theirs)
    return ours, theirs


@pytest.mark.parametrize("return_train_score", [False, True])
@pytest.mark.parametrize(
    "scoring, refit",
    [
        (None, True),
        ("accuracy", True),
        ("roc_auc", False),
        ("neg_log_loss", True),
        (make_scorer(roc_auc_score, response_method="predict_proba"), True),
        (share_of_ones, True),
        (["accuracy", "roc_auc"], "roc_auc"),
        (("accuracy",), "accuracy"),
        ({"a": "accuracy", "b": share_of_ones}, "b"),
        ({"a": "f1", "b": "recall"}, False),
        (several, "right"),
        (several, False),
        ("accuracy", last_of_the_best),
    ],
    ids=plain,
)
def test_scoring_and_refit(scoring, refit, return_train_score):
    both(GRID, scoring=scoring, refit=refit, return_train_score=return_train_score, cv=3)


@pytest.mark.parametrize(
    "cv",
    [
        None,
        2,
        KFold(3, shuffle=True, random_state=1),
        ShuffleSplit(2, test_size=0.3, random_state=0),
        "pairs",
        "masks",
    ],
    ids=plain,
)
def test_cv(cv):
    if cv == "pairs":
        cv = list(KFold(4).split(X))
    if cv == "masks":
        mask = np.arange(90) % 3 == 0
        cv = [(mask, ~mask), (~mask, mask)]
    both(GRID, cv=cv)


def test_cv_generator_is_read_once():
    ours = GridSearchCV(TREE, GRID, cv=KFold(3).split(X)).fit(X, Y)
    theirs = model_selection.GridSearchCV(TREE, GRID, cv=KFold(3).split(X)).fit(X, Y)
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    "grid",
    [
        {},
        [{"max_depth": [1, 2]}, {"criterion": ["gini"]}],
        {"max_depth": np.array([1, 2])},
        {"class_weight": [None, "balanced", {0: 1, 1: 2}]},
        {"ccp_alpha": np.array([0.0, 0.01], dtype=np.float32)},
        {"max_depth": range(1, 4)},
    ],
    ids=plain,
)
def test_grids(grid):
    both(grid, cv=2)


@pytest.mark.parametrize(
    "table",
    [X, X.tolist(), pd.DataFrame(X), pl.DataFrame(X), sp.csr_array(X), sp.coo_array(X)],
    ids=lambda t: type(t).__name__,
)
def test_tables(table):
    both({"max_depth": [1, 3]}, data=(table, Y), cv=3)


@pytest.mark.parametrize(
    "target", [Y.tolist(), pd.Series(Y), pl.Series(Y), np.where(Y, "yes", "no")], ids=type
)
def test_targets(target):
    both({"max_depth": [1, 3]}, data=(X, target), cv=3, scoring="accuracy")


def test_feature_names():
    table = pd.DataFrame(X, columns=list("abcdef"))
    ours, _ = both({"max_depth": [1, 3]}, data=(table, Y))
    assert list(ours.feature_names_in_) == list("abcdef")
    np.testing.assert_array_equal(ours.classes_, [0, 1])


def test_pipeline_and_estimators_in_the_grid():
    pipe = make_pipeline(StandardScaler(), Ridge())
    grid = {"ridge__alpha": [0.1, 10.0], "standardscaler": ["passthrough", StandardScaler()]}
    kernels = {"svc": [SVC(), SVC(kernel="linear")], "svc__C": [0.1, 1.0]}
    both(grid, pipe, data=make_regression(60, 4, random_state=0))
    ours = GridSearchCV(make_pipeline(SVC()), kernels, cv=2).fit(X, Y)
    theirs = model_selection.GridSearchCV(make_pipeline(SVC()), kernels, cv=2).fit(X, Y)
    np.testing.assert_array_equal(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    assert not hasattr(kernels["svc"][0], "support_")


@pytest.mark.parametrize("n_jobs", [1, 2, -1])
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_backends(n_jobs, backend):
    import joblib

    with joblib.parallel_config(backend=backend):
        both(GRID, n_jobs=n_jobs, cv=2)


@pytest.mark.parametrize("scoring", ["accuracy", ["accuracy", "f1"], None])
def test_sample_weight_and_groups(scoring):
    refit = "f1" if isinstance(scoring, list) else True
    both(
        GRID,
        scoring=scoring,
        refit=refit,
        cv=GroupKFold(3),
        fit={"sample_weight": WEIGHT, "groups": GROUPS},
        return_train_score=True,
    )


def test_weights_that_a_scorer_cannot_take():
    search = GridSearchCV(TREE, GRID, scoring=share_of_ones, cv=2)
    with pytest.warns(UserWarning, match="does not support sample_weight"):
        search.fit(X, Y, sample_weight=WEIGHT)


@pytest.mark.parametrize("weighted_score", [True, False])
def test_metadata_routing(weighted_score):
    with sklearn.config_context(enable_metadata_routing=True):
        tree = DecisionTreeClassifier(random_state=0).set_fit_request(sample_weight=True)
        scorer = make_scorer(accuracy_score).set_score_request(sample_weight=weighted_score)
        fit = {"sample_weight": WEIGHT, "groups": GROUPS}
        both(GRID, tree, scoring=scorer, cv=GroupKFold(3), fit=fit)
        with pytest.raises(TypeError, match="unknown"):
            GridSearchCV(tree, GRID, scoring=scorer, cv=2).fit(X, Y, unknown=WEIGHT)


def test_randomized():
    settings = {"n_iter": 5, "random_state": 3, "cv": 3}
    space = [{"C": loguniform(1e-2, 1e2)}, {"C": [1.0], "kernel": ["linear", "poly"]}]
    ours = RandomizedSearchCV(SVC(), space, **settings).fit(X, Y)
    theirs = model_selection.RandomizedSearchCV(SVC(), space, **settings).fit(X, Y)
    assert_same(ours, theirs)


class Fails(ClassifierMixin, BaseEstimator):
    """Fails to fit, or to predict, where it is told to."""

    def __init__(self, how="no"):
        self.how = how

    def fit(self, X, y):
        if self.how == "fit":
            raise RuntimeError("no fit today")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        if self.how == "predict":
            raise RuntimeError("no prediction today")
        return np.zeros(len(X), dtype=int)


@pytest.mark.parametrize(
    "scoring, refit", [(None, True), (["accuracy", "recall"], "recall"), (several, "right")]
)
@pytest.mark.parametrize("error_score", [np.nan, 0.25])
@pytest.mark.parametrize("how", ["fit", "predict"])
def test_failures(how, error_score, scoring, refit):
    found = []
    for kind in (GridSearchCV, model_selection.GridSearchCV):
        grid = {"how": ["no", how]}
        search = kind(Fails(), grid, cv=2, error_score=error_score, scoring=scoring, refit=refit)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found.append(search.fit(X, Y))
            except (ValueError, AttributeError, RuntimeError, TypeError) as error:
                found.append(error)
        # tracebacks name other files: compare kinds and first lines
        found.append(sorted((w.category.__name__, str(w.message).strip().splitlines()[0]) for w in caught))
    if isinstance(
        found[2], TypeError
    ):  # scikit-learn stumbles over a callable that fails for one candidate only
        assert np.isin(error_score, found[0].cv_results_["mean_test_right"]) or np.isnan(error_score)
        return
    if isinstance(found[2], Exception):
        assert type(found[0]) is type(found[2])
        return
    assert_same(found[0], found[2])
    assert found[1] == found[3]


def test_all_fits_fail():
    message = r"All the 4 fits failed(.|\n)*4 fits failed with the following error(.|\n)*no fit today"
    with pytest.raises(ValueError, match=message):
        GridSearchCV(Fails(), {"how": ["fit"] * 2}, cv=2).fit(X, Y)
    with pytest.raises(RuntimeError, match="no fit today"):
        GridSearchCV(Fails(), {"how": ["fit"] * 2}, cv=2, error_score="raise").fit(X, Y)


@pytest.mark.parametrize("verbose", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("scoring", [None, ["accuracy", "f1"]])
def test_verbose_prints_what_scikit_learn_prints(verbose, scoring, capsys):
    settings = {"verbose": verbose, "cv": 2, "scoring": scoring, "refit": False, "return_train_score": True}
    said = []
    for kind in (GridSearchCV, model_selection.GridSearchCV):
        kind(TREE, {"max_depth": [1, 2]}, **settings).fit(X, Y)
        said.append(
            re.sub(r"\.*((?<=\.)[^.]*?)total time= *[\d.]+s", r"\1total time", capsys.readouterr().out)
        )
    assert said[0].splitlines() == said[1].splitlines()


@pytest.mark.parametrize(
    "settings",
    [
        {"scoring": 3},
        {"scoring": "sharpness"},
        {"n_jobs": 1.5},
        {"n_jobs": 0},
        {"refit": 1.0},
        {"cv": 1.5},
        {"cv": 1},
        {"verbose": -1},
        {"pre_dispatch": 2.5},
        {"error_score": "raised"},
        {"return_train_score": "yes"},
        {"journal": 3},
        {"refit": True, "scoring": ["accuracy", "f1"]},
    ],
    ids=plain,
)
def test_bad_arguments_are_named(settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(ValueError, match=f"(?s){name}.*{re.escape(repr(value))}"):
        GridSearchCV(TREE, GRID, **settings).fit(X, Y)


def test_bad_grids():
    with pytest.raises(TypeError, match="max_depth"):
        GridSearchCV(TREE, {"max_depth": 3}).fit(X, Y)
    with pytest.raises(ValueError, match="estimator"):
        GridSearchCV(DecisionTreeClassifier, GRID).fit(X, Y)
    with pytest.raises(ValueError, match="n_iter"):
        RandomizedSearchCV(TREE, GRID, n_iter=0).fit(X, Y)
    with pytest.raises(ValueError, match="deepness"):
        GridSearchCV(TREE, {"deepness": [3]}).fit(X, Y)


def test_is_a_scikit_learn_search():
    search = GridSearchCV(TREE, GRID, journal="j.jsonl")
    assert isinstance(search, model_selection.GridSearchCV)
    assert clone(search).get_params(deep=False)["journal"] == "j.jsonl"
    assert isinstance(RandomizedSearchCV(TREE, GRID), model_selection.RandomizedSearchCV)


def test_pickle_leaves_the_data_out():
    rows = np.random.default_rng(0).normal(size=(4000, 6))
    search = GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}).fit(rows, rows[:, 0])
    stored = pickle.dumps(search)
    assert len(stored) < rows.nbytes / 4
    again = pickle.loads(stored)
    np.testing.assert_array_equal(again.predict(rows[:5]), search.predict(rows[:5]))
    with pytest.raises(ValueError, match="fit first"):
        again.verify()


def test_callbacks_run_scikit_learns_own_search(tmp_path):
    class Counting:
        begun = 0

        def setup(self, estimator, context): ...

        teardown = on_fit_task_end = setup

        def on_fit_task_begin(self, estimator, context):
            self.begun += 1

    callback = Counting()
    search = GridSearchCV(TREE, {"max_depth": [1, 2]}, cv=2).set_callbacks(callback)
    search = clone(search).fit(X, Y)
    assert callback.begun == 1 + 1 + 4 + 1  # all, search, fits, refit
    assert "callbacks" in search.plan_.table()["shared"][0]
    with pytest.raises(ValueError, match="journal"):
        search.set_params(journal=tmp_path / "j").fit(X, Y)


def test_reason_for_not_sharing_is_told():
    search = GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}, cv=2).fit(X, Y)
    assert str(search.plan_) == "4 fits asked for; 4 done"
    table = search.plan_.table()
    assert table["shared"].tolist() == ["nothing: LogisticRegression does not share work between candidates"]
    assert table["fits done"].sum() == 4


def test_verify_against_scikit_learns_own_estimator(capsys):
    search = GridSearchCV(TREE, GRID, scoring=["accuracy", "f1"], refit="f1", cv=3).fit(X, Y)
    found = search.verify(n=4)
    said = capsys.readouterr().out
    assert len(found.candidates) == 4 and search.best_index_ in found.candidates
    assert all(np.all(difference == 0) for difference in found.differences.values())
    assert found.winner_agrees == {"accuracy": True, "f1": True}
    scores = np.array([[0.9, 0.9], [0.7, 0.7], [0.9, 0.9], [0.5, 0.5]])
    for theirs, agrees, told in (
        (scores, True, "agrees, the first of 2 equal ones with hpcml, the first of 2 equal ones with scikit"),
        (scores - [[0.1], [0], [0], [0]], False, "with scikit-learn (both are equal with hpcml)"),
        (scores[::-1], False, " with scikit-learn"),
    ):
        tied = replace(found, ours={"f1": scores}, theirs={"f1": theirs}, winner_agrees={"f1": agrees})
        assert tied.lines()[0].startswith("f1: the winner among these ") and told in tied.lines()[0]
    assert found.speedup > 0 and "scikit-learn on" in said and "max_depth" in said
    assert len(search.verify(n=100).candidates) == 6
    for n in (0, 1.5, True):
        with pytest.raises(ValueError, match="n must be"):
            search.verify(n=n)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_verify_shows_a_table_without_scikit_learns_warnings(n_jobs, capfd):
    search = GridSearchCV(LogisticRegression(max_iter=1), {"C": [1.0, 100.0]}, cv=2, n_jobs=n_jobs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(X, Y)
        capfd.readouterr()
        warnings.simplefilter("error")
        found = search.verify(n=2)
    said = capfd.readouterr()
    assert "Warning" not in said.err + said.out and said.out.lstrip().startswith("hpcml beside scikit-learn")
    for seconds, words in ((2 * found.their_seconds, "2.0 times slower"), (found.their_seconds, "as fast")):
        assert replace(found, seconds=seconds).lines()[-1].endswith(words)


class Quick(ClassifierMixin, BaseEstimator):
    """Takes no time to fit."""

    def __init__(self, a=0):
        self.a = a

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)


def test_single_fits_take_no_more_calls_than_scikit_learns():
    made = {}
    for kind in (GridSearchCV, model_selection.GridSearchCV):
        search = kind(Quick(), {"a": list(range(5))}, cv=2, refit=False)
        search.fit(X, Y)  # what is loaded once
        made[kind] = calls_of(lambda search=search: search.fit(X, Y))
    assert made[GridSearchCV] <= made[model_selection.GridSearchCV]


@pytest.mark.parametrize("n", [100, 200])
def test_a_mask_of_another_length_is_refused(n):
    X = np.random.default_rng(0).normal(size=(150, 3))
    mask = np.arange(n) < 50
    with pytest.raises(IndexError, match=f"mask of cv has {n} entries, X 150 rows"):
        GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=[(mask, ~mask)]).fit(X, X[:, 0])
