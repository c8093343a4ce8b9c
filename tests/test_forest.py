"""Random forests: same bits for every n_jobs, warm start, weights, out-of-bag, sub-estimators, bad input."""

import io
import pickle
from contextlib import redirect_stderr

import joblib
import numpy as np
import pytest
import sklearn.ensemble
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from tables import few_values, same_trees

from hpcml import config_context
from hpcml.ensemble import RandomForestClassifier, RandomForestRegressor
from hpcml.training import forest as growth
from hpcml.training.trees import StopRule

KINDS = [RandomForestClassifier, RandomForestRegressor]
VARIANTS = [
    {},
    {"max_depth": 4, "max_features": 2},
    {"max_leaf_nodes": 9},
    {"bootstrap": False, "max_features": 0.5},
    {"max_samples": 0.4, "min_samples_leaf": 3, "ccp_alpha": 0.01},
]


def table(kind, **kwargs):
    X, y, labels = few_values(**kwargs)
    return X, labels if is_classifier(kind()) else y


@pytest.mark.parametrize("params", VARIANTS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_for_every_n_jobs(kind, params):
    X, y = table(kind, missing=0.1)
    forests = [kind(n_estimators=7, random_state=0, n_jobs=n, **params).fit(X, y) for n in (1, 2, 3)]
    predictions = [f.predict_proba(X) if is_classifier(f) else f.predict(X) for f in forests]
    for forest, prediction in zip(forests[1:], predictions[1:], strict=True):
        assert same_trees(forest, forests[0])
        np.testing.assert_array_equal(prediction, predictions[0])


@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_from_the_reference_kernels(kind):
    X, y = table(kind, n=60, missing=0.1)
    forest = kind(n_estimators=3, random_state=0)
    if is_classifier(forest):
        forest.set_params(class_weight="balanced_subsample")
    with config_context(kernels="reference"):
        reference = clone(forest).fit(X, y)
        expected = reference.predict(X)
    assert same_trees(forest.fit(X, y), reference)
    np.testing.assert_array_equal(forest.predict(X), expected)


@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores")
def test_batches_of_trees_change_nothing(monkeypatch):
    X, y = table(RandomForestClassifier)
    forest = RandomForestClassifier(
        n_estimators=9, random_state=0, class_weight="balanced_subsample", oob_score=True
    )
    whole = clone(forest).fit(X, y)
    monkeypatch.setattr(growth, "WORK_PER_CALL", 1)
    monkeypatch.setattr(growth, "WEIGHTS_BYTES", 1)
    lines = io.StringIO()
    with redirect_stderr(lines):
        parts = forest.set_params(n_jobs=2, verbose=1).fit(X, y)
    assert same_trees(parts, whole)
    np.testing.assert_array_equal(parts.oob_decision_function_, whole.oob_decision_function_)
    assert lines.getvalue().splitlines() == [f"{n} of 9 trees grown" for n in (2, 4, 6, 8, 9)]


@pytest.mark.parametrize("kind", KINDS)
def test_smaller_forest_is_the_beginning_and_a_cut_one_is_shallower(kind):
    X, y = table(kind)
    large = kind(n_estimators=8, max_depth=9, random_state=3).fit(X, y)
    small = kind(n_estimators=3, max_depth=4, random_state=3).fit(X, y)
    large._grown = large._trees.prefix(3).cut(StopRule(max_depth=4))
    assert same_trees(large, small)


@pytest.mark.filterwarnings("ignore:Some inputs do not have OOB scores")
@pytest.mark.parametrize("kind", KINDS)
def test_warm_start_adds_the_trees_of_a_fresh_larger_forest(kind):
    X, y = table(kind)
    fresh = kind(n_estimators=8, random_state=0, oob_score=True).fit(X, y)
    warm = kind(n_estimators=3, random_state=0, warm_start=True).fit(X, y)
    warm.set_params(n_estimators=8, oob_score=True).fit(X, y)
    assert same_trees(warm, fresh)
    assert warm.oob_score_ == fresh.oob_score_
    with pytest.warns(UserWarning, match="Warm-start fitting without increasing"):
        warm.fit(X, y)
    with pytest.raises(ValueError, match="larger or equal to len"):
        warm.set_params(n_estimators=2).fit(X, y)
    if is_classifier(warm):
        with pytest.raises(ValueError, match="3 classes"):
            warm.set_params(n_estimators=9).fit(X, np.arange(len(y)) % 5)


@pytest.mark.parametrize(
    ("kind", "load"), [(RandomForestClassifier, load_iris), (RandomForestRegressor, load_diabetes)]
)
def test_as_good_as_scikit_learn(kind, load):
    X, y = load(return_X_y=True)
    ours = kind(n_estimators=200, oob_score=True, random_state=0).fit(X, y)
    theirs = getattr(sklearn.ensemble, kind.__name__)(n_estimators=200, oob_score=True, random_state=0).fit(
        X, y
    )
    assert ours.oob_score_ == pytest.approx(theirs.oob_score_, abs=0.04)
    np.testing.assert_allclose(ours.feature_importances_, theirs.feature_importances_, atol=0.12)
    assert ours.feature_importances_.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_out_of_bag_is_the_mean_of_the_trees_that_have_not_seen_a_row(kind):
    X, y = table(kind, n=80)
    weights = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    forest = kind(n_estimators=25, max_samples=0.3, oob_score=True, random_state=0)
    forest.fit(X, y, sample_weight=weights)
    sums, counts = 0.0, np.zeros(len(X))
    for tree, rows in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        assert weights[rows].all()
        out = ~np.isin(np.arange(len(X)), rows)
        value = tree.predict_proba(X) if is_classifier(kind()) else tree.predict(X)[:, None]
        sums, counts = sums + np.where(out[:, None], value, 0.0), counts + out
    got = forest.oob_decision_function_ if is_classifier(forest) else forest.oob_prediction_[:, None]
    np.testing.assert_allclose(got, sums / counts[:, None])


@pytest.mark.parametrize("kind", KINDS)
def test_trees_are_estimators_with_their_seed(kind):
    X, y = table(kind)
    forest = kind(n_estimators=4, bootstrap=False, max_features=2, max_depth=5, random_state=0).fit(X, y)
    assert forest.estimators_ is forest.estimators_ and isinstance(forest.estimators_, list)
    assert len(forest) == 4 and forest[1] is list(forest)[1]
    codes = np.searchsorted(forest.classes_, y) if is_classifier(forest) else y
    for tree in forest:
        assert isinstance(tree, forest._tree_class) and tree.max_depth == 5 and tree.max_features == 2
        assert same_trees(clone(tree).fit(X, codes), tree)
    leaves = np.column_stack([tree.apply(X) for tree in forest])
    np.testing.assert_array_equal(forest.apply(X), leaves)
    indicator, first = forest.decision_path(X)
    assert indicator.sum() == sum(tree.decision_path(X).sum() for tree in forest)
    assert first[-1] == sum(tree.tree_.node_count for tree in forest)
    half = clone(forest).set_params(n_estimators=2).fit(X, y)
    forest.estimators_ = forest.estimators_[:2]
    np.testing.assert_array_equal(forest.predict(X), half.predict(X))
    with pytest.raises(ValueError, match="estimators_ must be"):
        forest.estimators_ = []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bootstrap", [True, False])
def test_rows_of_weight_zero_have_no_influence_on_bins(kind, bootstrap):
    X, y = table(kind, n=150, values=600)
    weights = np.random.default_rng(0).integers(0, 2, len(X)).astype(float)
    other = X.copy()
    other[weights == 0] = 1e6
    params = {"n_estimators": 4, "bootstrap": bootstrap, "random_state": 0, "max_bins": 8}
    first = kind(**params).fit(X, y, sample_weight=weights)
    assert same_trees(kind(**params).fit(other, y, sample_weight=weights), first)


def test_balanced_subsample_weighs_the_drawn_classes_alike():
    X, _, _ = few_values(n=200)
    y = (np.arange(200) % 10 == 0).astype(int)
    forest = RandomForestClassifier(
        n_estimators=5, class_weight="balanced_subsample", max_depth=2, random_state=0
    ).fit(X, y)
    for tree in forest:
        np.testing.assert_allclose(tree.tree_.value[0, 0], [0.5, 0.5])
        assert tree.tree_.weighted_n_node_samples[0] == pytest.approx(200)
    balanced = RandomForestClassifier(n_estimators=5, class_weight="balanced", random_state=0).fit(X, y)
    assert np.mean([tree.tree_.value[0, 0, 1] for tree in balanced]) == pytest.approx(0.5, abs=0.06)
    with pytest.warns(UserWarning, match="not recommended for warm_start"):
        RandomForestClassifier(n_estimators=2, class_weight="balanced", warm_start=True).fit(X, y)


def test_weights_of_a_bootstrap_are_probabilities():
    X, y = table(RandomForestRegressor, n=50)
    weights = np.ones(50)
    weights[7] = 1e6
    forest = RandomForestRegressor(n_estimators=3, random_state=0).fit(X, y, sample_weight=weights)
    assert np.mean(np.concatenate(forest.estimators_samples_) == 7) > 0.99
    assert forest.estimators_[0].tree_.weighted_n_node_samples[0] == 50


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_to_sklearn_predicts_the_same_bits(kind, params):
    X, y = table(kind, missing=0.1)
    y = np.array(["a", "b", "c"])[y] if is_classifier(kind()) else y
    ours = kind(n_estimators=6, random_state=0, n_jobs=2, **params).fit(X, y)
    theirs = ours.to_sklearn()
    new = few_values(seed=5, missing=0.3)[0]
    np.testing.assert_array_equal(theirs.predict(new), ours.predict(new))
    np.testing.assert_array_equal(theirs.apply(new), ours.apply(new))
    if is_classifier(ours):
        np.testing.assert_array_equal(theirs.predict_proba(new), ours.predict_proba(new))
    assert "max_bins" not in theirs.get_params()


@pytest.mark.parametrize("kind", KINDS)
def test_pickle_holds_the_forest(kind):
    X, y = table(kind)
    forest = kind(n_estimators=25, random_state=0, oob_score=True).fit(X, y)
    _ = forest.estimators_
    copied = pickle.loads(pickle.dumps(forest))
    assert "_read" not in vars(copied)
    assert same_trees(copied, forest)
    assert copied.oob_score_ == forest.oob_score_
    assert len(copied.estimators_) == 25


def test_names_of_pandas_and_polars_frames():
    pandas = pytest.importorskip("pandas")
    X, y = table(RandomForestRegressor)
    names = list("abcdef")
    expected = RandomForestRegressor(n_estimators=3, random_state=0).fit(X, y).predict(X)
    frames = [pandas.DataFrame(X, columns=names)]
    try:
        import polars
    except ImportError:
        pass
    else:
        frames.append(polars.DataFrame(X, schema=names))
    for frame in frames:
        forest = RandomForestRegressor(n_estimators=3, random_state=0).fit(frame, y)
        assert list(forest.feature_names_in_) == names
        np.testing.assert_array_equal(forest.predict(frame), expected)


BAD = [
    (
        {"n_estimators": 0},
        "The 'n_estimators' parameter of RandomForestRegressor must be an int in the range",
    ),
    (
        {"max_samples": -1},
        r"The 'max_samples' parameter of .* must be None, a float in the range \(0.0, inf\) or an",
    ),
    ({"bootstrap": "yes"}, "'bootstrap'"),
    ({"oob_score": "yes"}, "'oob_score'"),
    ({"n_jobs": 1.5}, "'n_jobs'"),
    ({"n_jobs": 0}, "n_jobs"),
    ({"verbose": -1}, "'verbose'"),
    ({"max_bins": 300}, r"\[2, 255\]"),
    ({"criterion": "absolute_error"}, "does not support"),
    ({"monotonic_cst": [0]}, "does not support"),
    ({"max_samples": np.inf}, "'max_samples' .* a float in the range \\(0.0, inf\\)"),
    ({"max_samples": 2**70}, "'max_samples' .* must draw at most 2147483647 rows"),
    ({"n_jobs": 2**40}, "n_jobs must be at most 1024"),
    ({"bootstrap": False, "max_samples": 5}, "`max_sample` cannot be set if `bootstrap=False`"),
    ({"bootstrap": False, "oob_score": True}, "Out of bag estimation only available"),
]


@pytest.mark.parametrize(("params", "message"), BAD, ids=str)
def test_bad_parameters_are_named(params, message):
    X, y = table(RandomForestRegressor, n=20)
    with pytest.raises(ValueError, match=message):
        RandomForestRegressor(**params).fit(X, y)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, "1", None])
def test_weights_of_classes_that_are_no_weights_are_refused(weight):
    X, y = table(RandomForestClassifier, n=20)
    with pytest.raises(ValueError, match=r"'class_weight' .* for class 1"):
        RandomForestClassifier(class_weight={0: 1.0, 1: weight, 2: 1.0}).fit(X, y)


def test_weights_whose_sum_overflows_are_refused():
    X, y = table(RandomForestClassifier, n=20)
    with pytest.raises(ValueError, match=r"'sample_weight' must be 0 or in the range .* Got 1e\+308"):
        RandomForestClassifier().fit(X, y, sample_weight=np.full(20, 1e308))
    with pytest.raises(ValueError, match="sum that float64 can hold"):
        RandomForestClassifier(class_weight=dict.fromkeys(range(3), 1e300)).fit(X, y, np.full(20, 1e90))


def test_balanced_classes_may_have_rows_of_weight_zero_alone():
    X, y = table(RandomForestClassifier, n=60)
    weight = (y == y[0]).astype(float)
    forest = RandomForestClassifier(3, class_weight="balanced", random_state=0).fit(X, y, weight)
    assert (forest.predict(X) == y[0]).all()


@pytest.mark.parametrize("name", ["max_features", "max_depth", "max_leaf_nodes"])
@pytest.mark.parametrize("value", [100, 2**31, 2**70])
def test_limits_beyond_the_table_are_no_limits(name, value):
    X, y = table(RandomForestRegressor, n=40)
    base = RandomForestRegressor(3, random_state=0, max_leaf_nodes=40 if name == "max_leaf_nodes" else None)
    limited = clone(base).set_params(**{name: value}).fit(X, y)
    assert np.array_equal(limited._trees.nodes, base.fit(X, y)._trees.nodes)


@pytest.mark.parametrize("name", ["min_samples_split", "min_samples_leaf"])
def test_nodes_of_more_rows_than_an_integer_holds_are_never_split(name):
    X, y = table(RandomForestRegressor, n=40)
    forest = RandomForestRegressor(2, random_state=0).set_params(**{name: 2**70}).fit(X, y)
    assert [tree.get_n_leaves() for tree in forest] == [1, 1]


def test_trees_are_not_read_with_the_features_of_another_table():
    X, y = table(RandomForestRegressor, n=40)
    forest = RandomForestRegressor(2, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="features, as in the fits before"):
        forest.set_params(n_estimators=4).fit(X[:, :1], y)
    with pytest.raises(ValueError, match="as the trees have"):
        forest.predict(X[:, :1])


def test_unfitted_and_unweighted_forests_say_so():
    X, y = table(RandomForestClassifier, n=20)
    for name in ("estimators_", "estimators_samples_", "feature_importances_"):
        with pytest.raises(NotFittedError):
            getattr(RandomForestClassifier(), name)
    with pytest.raises(ValueError, match="Got only zeros"):
        RandomForestClassifier(class_weight=dict.fromkeys(range(3), 0.0)).fit(X, y)
    with pytest.raises(ValueError, match="class_weight"):
        RandomForestClassifier(class_weight="equal").fit(X, y)
    with pytest.warns(UserWarning, match=r"low number \(1\) of bootstrap samples"):
        RandomForestClassifier(max_samples=1e-4).fit(X, y)
    with pytest.warns(UserWarning, match="Some inputs do not have OOB scores"):
        RandomForestClassifier(n_estimators=1, oob_score=True).fit(X, y)


class CountingBackend(joblib.parallel.BACKENDS["threading"]):
    """A backend of another package: it counts the batches that it gets."""

    batches = 0

    def submit(self, func, callback=None):
        type(self).batches += 1
        return super().submit(func, callback)


def test_a_backend_of_another_package_gets_the_batches():
    X, y = table(RandomForestRegressor)
    forest = RandomForestRegressor(n_estimators=7, random_state=0, n_jobs=2)
    alone = clone(forest).fit(X, y)
    joblib.register_parallel_backend("counting", CountingBackend)
    with joblib.parallel_config("counting"):
        assert same_trees(forest.fit(X, y), alone)
        grown = CountingBackend.batches
        forest.predict(X)
    assert grown == CountingBackend.batches == 2
