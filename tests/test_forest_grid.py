"""A grid of forests or trees gives what separate fits give, to the bit, and grows each tree once."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.model_selection import KFold
from tables import few_values, same_trees

from hpcml.ensemble import RandomForestClassifier, RandomForestRegressor
from hpcml.tree import DecisionTreeClassifier, DecisionTreeRegressor

KINDS = [DecisionTreeClassifier, DecisionTreeRegressor, RandomForestClassifier, RandomForestRegressor]
N = 90

VALUES = {
    "n_estimators": st.integers(1, 7),
    "max_depth": st.one_of(st.none(), st.integers(1, 8)),
    "min_samples_split": st.one_of(st.integers(2, 30), st.floats(0.01, 0.4)),
    "min_samples_leaf": st.sampled_from([1, 4, 0.1]),
    "min_impurity_decrease": st.one_of(st.just(0.0), st.floats(0.0, 0.1)),
    "ccp_alpha": st.one_of(st.just(0.0), st.floats(0.0, 0.1)),
    "max_leaf_nodes": st.one_of(st.none(), st.integers(2, 30)),
    "max_features": st.sampled_from([None, 1, 1.0, "sqrt"]),
    "bootstrap": st.booleans(),
    "max_bins": st.sampled_from([255, 4]),
    "min_weight_fraction_leaf": st.sampled_from([0.0, 0.05]),
}


@st.composite
def grids(draw):
    kind = draw(st.sampled_from(KINDS))
    estimator = kind(random_state=draw(st.integers(0, 99)))
    names = sorted(set(VALUES) & set(estimator.get_params()))
    varied = draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))
    fixed = draw(st.fixed_dictionaries({}, optional={n: VALUES[n] for n in names if n not in varied}))
    candidate = st.fixed_dictionaries({name: VALUES[name] for name in varied})
    candidates = draw(st.lists(candidate, min_size=1, max_size=6))
    if is_classifier(estimator) and draw(st.booleans()):
        fixed["class_weight"] = "balanced" if "Tree" in kind.__name__ else "balanced_subsample"
    base = {"n_estimators": 4} if "n_estimators" in names and "n_estimators" not in varied else {}
    return estimator.set_params(**{**base, **fixed}), candidates


def run_grid(estimator, X, y, candidates, folds, responses, fit_params=None):
    """Yield what every batch yields, checking that the batches cover the grid once."""
    batches = estimator.plan_grid(candidates, len(folds))
    pairs = [(i, j) for b in batches for i in b.candidates for j in b.folds]
    assert sorted(pairs) == [(i, j) for i in range(len(candidates)) for j in range(len(folds))]
    for b in batches:
        part = {i: candidates[i] for i in b.candidates}
        cut = {j: folds[j] for j in b.folds}
        yield from clone(estimator).fit_grid(
            X, y, part, cut, responses=responses, fit_params=fit_params or {}
        )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(grid=grids(), missing=st.sampled_from([0.0, 0.1]), weighted=st.booleans())
def test_grid_equals_separate_fits(grid, missing, weighted):
    estimator, candidates = grid
    X, y, labels = few_values(N, missing=missing)
    y = labels if is_classifier(estimator) else y
    weights = np.random.default_rng(1).integers(0, 3, N).astype(float) if weighted else None
    folds = dict(enumerate(KFold(2, shuffle=True, random_state=0).split(X)))
    responses = ("predict", "predict_proba") if is_classifier(estimator) else ("predict",)
    params = {"sample_weight": weights}
    for i, j, fitted, values in run_grid(estimator, X, y, candidates, folds, responses, params):
        train, test = folds[j]
        alone = clone(estimator).set_params(**candidates[i])
        alone.fit(X[train], y[train], sample_weight=weights[train] if weighted else None)
        for name in responses:
            np.testing.assert_array_equal(values[name], getattr(alone, name)(X[test]))
        assert same_trees(fitted, alone)
        assert fitted.get_params() == alone.get_params()


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_is_the_separate_fit(kind):
    X, y, labels = few_values(N)
    y = labels if is_classifier(kind()) else y
    folds = dict(enumerate(KFold(3).split(X)))
    candidates = [{"max_depth": 2}, {"max_depth": 5}]
    for i, j, fitted, _ in run_grid(kind(random_state=3), X, y, candidates, folds, ("predict",)):
        train, test = folds[j]
        alone = kind(random_state=3, **candidates[i]).fit(X[train], y[train])
        copied = pickle.loads(pickle.dumps(fitted))
        assert same_trees(copied, alone)
        assert {k for k in vars(copied) if not k.startswith("__")} == {k for k in vars(alone) if k != "_read"}
        np.testing.assert_array_equal(copied.predict(X[test]), alone.predict(X[test]))
        np.testing.assert_array_equal(copied.feature_importances_, alone.feature_importances_)
        if hasattr(alone, "estimators_"):
            for a, b in zip(copied.estimators_samples_, alone.estimators_samples_, strict=True):
                np.testing.assert_array_equal(a, b)


def test_shared_work_is_counted():
    candidates = [{"max_depth": d, "n_estimators": n} for d in (2, 5, 10) for n in (20, 50, 100)]
    batches = RandomForestRegressor(random_state=0).plan_grid(candidates, 3)
    assert [b.folds for b in batches] == [(0,), (1,), (2,)]
    assert all(b.asked == {"fits": 9, "trees": 510} and b.done == {"fits": 1, "trees": 100} for b in batches)
    assert all("100 trees" in b.shared for b in batches)


def test_what_is_not_shared_lies_in_other_batches():
    candidates = [{"max_features": 1}, {"max_features": 1.0}, {"max_bins": 9}, {"max_leaf_nodes": 4}]
    candidates += [{"max_leaf_nodes": 9}, {"max_leaf_nodes": 9, "max_depth": 3}, {}]
    batches = RandomForestRegressor(random_state=0).plan_grid(candidates, 1)
    # for regression max_features=1.0 is the default
    assert {b.candidates for b in batches} == {(0,), (1, 6), (2,), (3, 4), (5,)}


@pytest.mark.parametrize(
    "settings_", [{"oob_score": True}, {"warm_start": True}, {"max_depth": 0}, {"nonsense": 1}]
)
def test_what_cannot_be_shared_is_refused_by_name(settings_):
    with pytest.raises(ValueError, match=next(iter(settings_))):
        RandomForestRegressor().plan_grid([{}, settings_], 2)


def test_generators_are_copied_and_none_is_drawn_once():
    X, y, _ = few_values(N)
    folds = dict(enumerate(KFold(2).split(X)))
    generator = np.random.RandomState(5)
    forest = RandomForestRegressor(n_estimators=3, random_state=generator)
    for _, j, fitted, _ in run_grid(forest, X, y, [{"max_depth": 2}, {"max_depth": 4}], folds, ()):
        train, _ = folds[j]
        assert same_trees(
            fitted, clone(forest).set_params(max_depth=fitted.max_depth).fit(X[train], y[train])
        )
    drawn = {}
    for _, j, fitted, _ in run_grid(
        RandomForestRegressor(n_estimators=3), X, y, [{}, {"max_depth": 2}], folds, ()
    ):
        drawn.setdefault(j, []).append([tree.random_state for tree in fitted.estimators_])
    assert all(first == second for first, second in drawn.values())


@pytest.mark.parametrize("form", [np.float32, np.float64, np.int16, "csr", "frame", "list"])
def test_every_kind_of_table(form):
    import pandas as pd

    X, y, _ = few_values(N)
    table = {"csr": sparse.csr_matrix, "frame": pd.DataFrame, "list": np.ndarray.tolist}.get(form)
    table = X.astype(form) if table is None else table(X)
    if form == "frame":
        table.columns = list("abcdef")
    train, test = np.arange(60), np.arange(60, N)
    grid = [{"max_depth": 2}, {"max_depth": 4}]
    for i, _, fitted, values in run_grid(
        RandomForestRegressor(n_estimators=5, random_state=0),
        table,
        y,
        grid,
        {0: (train, test)},
        ("predict",),
    ):
        alone = RandomForestRegressor(n_estimators=5, random_state=0, **grid[i]).fit(X[train], y[train])
        np.testing.assert_array_equal(values["predict"], alone.predict(X[test]))
        assert hasattr(fitted, "feature_names_in_") == (form == "frame")


def test_values_too_large_for_float32_are_refused():
    X, y, _ = few_values(N)
    X[3, 2] = 1e200
    folds = {0: (np.arange(60), np.arange(60, N))}
    with pytest.raises(ValueError, match="too large for dtype"):
        list(run_grid(DecisionTreeRegressor(), X, y, [{}], folds, ("predict",)))


def test_small_blocks_and_few_held_values_change_nothing(monkeypatch):
    from hpcml.training import forest_grid, prediction

    X, y, _ = few_values(N)
    folds = {0: (np.arange(60), np.arange(60, N))}
    grid = [{"max_depth": d, "n_estimators": n} for d in (1, 3, None) for n in (2, 5)]
    forest = RandomForestRegressor(random_state=0)
    whole = {i: v["predict"] for i, _, _, v in run_grid(forest, X, y, grid, folds, ("predict",))}
    monkeypatch.setattr(forest_grid, "HELD_BYTES", 1)
    monkeypatch.setattr(prediction, "BLOCK_BYTES", 500)
    for i, _, _, values in run_grid(forest, X, y, grid, folds, ("predict",)):
        np.testing.assert_array_equal(values["predict"], whole[i])


def test_a_bad_value_that_every_candidate_overrides_does_no_harm():
    forest = RandomForestRegressor(max_depth=0)
    assert len(forest.plan_grid([{"max_depth": 1}, {"max_depth": 2}], 2)) == 2
    with pytest.raises(ValueError, match="'max_depth'"):
        forest.plan_grid([{"max_depth": 1}, {}], 2)
