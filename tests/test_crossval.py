"""Cross-validation and curves: scikit-learn's results, over the shared plan."""

import numpy as np
import pytest
import sharing_toys
import sklearn
from sharing_toys import SignsClassifier, SignsRegressor
from sklearn import model_selection as theirs
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from upstream import run_upstream

from hpcml import model_selection as ours
from hpcml.ensemble import RandomForestRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 4))
TARGET = X[:, 0] * 2 - X[:, 1] + RNG.normal(size=80) * 0.1
LABELS = np.where(TARGET > 0, "up", "down")
MODELS = {
    "shares": (SignsRegressor(random_state=0), TARGET),
    "classes": (SignsClassifier(random_state=0), LABELS),
    "forest": (RandomForestRegressor(3, random_state=0), TARGET),
    "other": (LogisticRegression(), LABELS),
    "pipeline": (make_pipeline(StandardScaler(), SignsClassifier(random_state=0)), LABELS),
}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        if not key.endswith("_time"):
            np.testing.assert_array_equal(found[key], values, err_msg=key)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_scores_are_scikit_learns(name, n_jobs):
    model, y = MODELS[name]
    scoring = ["r2", "neg_max_error"] if y is TARGET else ["accuracy", "balanced_accuracy"]
    for options in ({}, {"scoring": scoring, "return_train_score": True, "cv": KFold(3)}):
        assert_same(
            ours.cross_validate(model, X, y, n_jobs=n_jobs, **options),
            theirs.cross_validate(model, X, y, **options),
        )
    for options in ({}, {"scoring": scoring[0], "cv": 3}):
        np.testing.assert_array_equal(
            ours.cross_val_score(model, X, y, **options), theirs.cross_val_score(model, X, y, **options)
        )
    options = {"train_sizes": [0.3, 0.6, 1.0], "cv": 3, "shuffle": True, "random_state": 0}
    found, expected = (kind.learning_curve(model, X, y, **options) for kind in (ours, theirs))
    np.testing.assert_equal(found, expected)


@pytest.mark.parametrize(
    "model, name, values",
    [
        (SignsClassifier(random_state=0), "n_terms", [1, 3, 8]),
        (SVC(), "C", [0.1, 1.0]),
        (make_pipeline(StandardScaler(), SVC()), "svc__C", [0.1, 1.0]),
    ],
)
def test_validation_curves(model, name, values):
    options = {"param_name": name, "param_range": values, "cv": 3}
    found, expected = (kind.validation_curve(model, X, LABELS, **options) for kind in (ours, theirs))
    np.testing.assert_equal(found, expected)


def test_a_validation_curve_is_one_plan():
    sharing_toys.COUNTS.clear()
    ours.validation_curve(
        SignsRegressor(random_state=0), X, TARGET, param_name="n_terms", param_range=[1, 2, 7], cv=3
    )
    assert sharing_toys.COUNTS["terms"] == 21


def test_estimators_and_indices_and_times():
    options = {"return_estimator": True, "return_indices": True, "cv": KFold(3)}
    found = ours.cross_validate(SignsRegressor(random_state=0), X, TARGET, **options)
    expected = theirs.cross_validate(SignsRegressor(random_state=0), X, TARGET, **options)
    for mine, other in zip(found["estimator"], expected["estimator"], strict=True):
        np.testing.assert_array_equal(mine.predict(X), other.predict(X))
    np.testing.assert_equal(found["indices"], expected["indices"])
    curve = ours.learning_curve(SVC(), X, LABELS, cv=2, train_sizes=[20, 40], return_times=True)
    assert len(curve) == 5 and curve[3].shape == (2, 2)
    model = SGDClassifier(random_state=0)
    np.testing.assert_equal(
        *(k.learning_curve(model, X, LABELS, exploit_incremental_learning=True) for k in (ours, theirs))
    )


def test_parameters_of_fit():
    weight, groups = RNG.uniform(0.1, 2, 80), np.arange(80) % 5
    model = SignsRegressor(random_state=0)
    options = {"params": {"sample_weight": weight}, "groups": groups, "cv": GroupKFold(3)}
    assert_same(*(kind.cross_validate(model, X, TARGET, **options) for kind in (ours, theirs)))
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        options = {"params": {"sample_weight": weight, "groups": groups}, "cv": GroupKFold(3)}
        assert_same(*(kind.cross_validate(model, X, TARGET, **options) for kind in (ours, theirs)))
        with pytest.raises(ValueError, match="`groups` can only be passed if"):
            ours.cross_validate(model, X, TARGET, groups=groups)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"'return_times' parameter of learning_curve must be .*'yes'"):
        ours.learning_curve(SVC(), X, LABELS, return_times="yes")
    with pytest.raises(ValueError, match="'scoring' parameter of cross_val_score"):
        ours.cross_val_score(SVC(), X, LABELS, scoring=["accuracy"])
    with pytest.raises(ValueError, match=r"must be within \(0, 1\]"):
        ours.learning_curve(SVC(), X, LABELS, train_sizes=[0.5, 2.0])
    with pytest.raises(ValueError, match="All the 3 fits failed"):
        ours.cross_val_score(SVC(C=-1), X, LABELS, cv=3)


#: Test -> why ours may fail it.
EXPECTED_FAILURES = {}


@pytest.mark.upstream
def test_scikit_learns_tests_of_validation():
    names = ("cross_validate", "cross_val_score", "learning_curve", "validation_curve")
    module = "sklearn.model_selection.tests.test_validation"
    found = run_upstream(module, {name: f"hpcml.model_selection.{name}" for name in names}, EXPECTED_FAILURES)
    assert len(found.tests("passed")) > 80
