"""Decision trees: equal to scikit-learn's where bins hold one value each, cuts, pruning, what they say."""

import pickle
import sys

import numpy as np
import pytest
import sklearn.tree
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.tree import export_text
from tables import few_values, same_trees

from hpcml.training.trees import StopRule
from hpcml.tree import DecisionTreeClassifier, DecisionTreeRegressor

KINDS = [DecisionTreeClassifier, DecisionTreeRegressor]
FIELDS = ("children_left", "children_right", "feature", "n_node_samples", "missing_go_to_left")
REALS = ("threshold", "impurity", "weighted_n_node_samples", "value")
#: Rules that leave no ties: between features none with large leaves, on one feature none at all.
LARGE_LEAVES = [
    {"max_depth": 3, "min_samples_leaf": 20},
    {"min_samples_split": 100, "min_samples_leaf": 40},
    {"min_samples_leaf": 0.08, "min_weight_fraction_leaf": 0.1},
    {"min_impurity_decrease": 0.02, "min_samples_leaf": 20},
    {"max_leaf_nodes": 8, "min_samples_leaf": 20},
    {"max_leaf_nodes": 9, "min_samples_leaf": 20, "ccp_alpha": 0.02},
]
ONE_FEATURE = [{}, {"max_depth": 4}, {"min_samples_split": 9}, {"ccp_alpha": 0.01}, {"max_leaf_nodes": 12}]
RULES = [(6, rule) for rule in LARGE_LEAVES] + [(1, rule) for rule in ONE_FEATURE]


def theirs(kind):
    return getattr(sklearn.tree, kind.__name__)


def table(kind, **kwargs):
    X, y, labels = few_values(**kwargs)
    return X, labels if is_classifier(kind()) else y


@pytest.mark.parametrize(("n_features", "rule"), RULES, ids=str)
@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_scikit_learn_on_few_values(kind, weighted, missing, n_features, rule):
    X, y = table(kind, n=640, values=40, missing=missing)
    X = X[:, :n_features]
    weights = np.random.default_rng(2).uniform(0.5, 2.0, len(X)) if weighted else None
    ours = kind(random_state=0, **rule).fit(X, y, sample_weight=weights)
    reference = theirs(kind)(random_state=0, **rule).fit(X, y, sample_weight=weights)
    splits = (
        ours.tree_.children_left >= 0
    )  # in a leaf, scikit-learn may leave where missing values would have gone
    for name in FIELDS:
        got, wanted = getattr(ours.tree_, name), getattr(reference.tree_, name)
        at = splits if name == "missing_go_to_left" else slice(None)
        np.testing.assert_array_equal(got[at], wanted[at], err_msg=name)
    for name in REALS:
        got, wanted = getattr(ours.tree_, name), getattr(reference.tree_, name)
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(ours.feature_importances_, reference.feature_importances_, atol=1e-9)
    assert ours.get_depth() == reference.get_depth() and ours.get_n_leaves() == reference.get_n_leaves()


@pytest.mark.parametrize("kind", KINDS)
def test_depth_10_cut_at_5_is_depth_5(kind):
    X, y = table(kind, missing=0.05)
    deep = kind(max_depth=10, max_features=2, random_state=4).fit(X, y)
    shallow = kind(max_depth=5, max_features=2, random_state=4).fit(X, y)
    deep._grown = deep._trees.cut(StopRule(max_depth=5))
    assert same_trees(deep, shallow)
    assert shallow.get_depth() == 5


def test_fewer_leaves_are_the_first_splits():
    X, y = table(DecisionTreeRegressor)
    large = DecisionTreeRegressor(max_leaf_nodes=30, random_state=0).fit(X, y)
    for leaves in (2, 7, 29):
        small = DecisionTreeRegressor(max_leaf_nodes=leaves, random_state=0).fit(X, y)
        large_cut = pickle.loads(pickle.dumps(large))
        large_cut._grown = large._trees.cut(StopRule(max_leaf_nodes=leaves))
        assert same_trees(large_cut, small)
        assert small.get_n_leaves() == leaves


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_weight_zero_have_no_influence(kind):
    X, y = table(kind, n=120, values=400)
    weights = np.random.default_rng(0).integers(0, 2, len(X)).astype(float)
    X[weights == 0] *= 1000.0
    kept = weights > 0
    with_zeros = kind(random_state=0).fit(X, y, sample_weight=weights)
    without = kind(random_state=0).fit(X[kept], y[kept])
    assert same_trees(with_zeros, without)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_repetitions(kind):
    X, y = table(kind, n=100)
    counts = np.random.default_rng(0).integers(1, 4, len(X))
    weighted = kind(random_state=0, max_depth=6).fit(X, y, sample_weight=counts.astype(float))
    repeated = kind(random_state=0, max_depth=6).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-12)
    np.testing.assert_array_equal(weighted.tree_.feature, repeated.tree_.feature)


@pytest.mark.parametrize("kind", KINDS)
def test_pruning_path_agrees_with_scikit_learn_and_with_fits(kind):
    X, y = table(kind, n=150)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, len(X))
    path = kind(random_state=0).cost_complexity_pruning_path(X, y, sample_weight=weights)
    reference = theirs(kind)(random_state=0).cost_complexity_pruning_path(X, y, sample_weight=weights)
    # of branches of the same strength to rounding, scikit-learn may prune two at once or one by one
    np.testing.assert_allclose(path.impurities[-1], reference.impurities[-1])
    np.testing.assert_allclose(
        np.unique(path.ccp_alphas.round(9)), np.unique(reference.ccp_alphas.round(9)), atol=1e-9
    )
    leaves = [
        kind(random_state=0, ccp_alpha=a).fit(X, y, sample_weight=weights).get_n_leaves()
        for a in path.ccp_alphas[::15]
    ]
    assert leaves == sorted(leaves, reverse=True)
    assert (
        kind(random_state=0, ccp_alpha=path.ccp_alphas[-1]).fit(X, y, sample_weight=weights).get_n_leaves()
        == 1
    )


@pytest.mark.parametrize("rule", [{}, {"max_leaf_nodes": 15}])
@pytest.mark.parametrize("kind", KINDS)
def test_to_sklearn_predicts_the_same_bits(kind, rule):
    X, y = table(kind, missing=0.1)
    ours = kind(random_state=0, **rule).fit(X, y)
    copied = ours.to_sklearn()
    assert type(copied) is theirs(kind)
    new = few_values(seed=9, missing=0.2)[0]
    np.testing.assert_array_equal(copied.predict(new), ours.predict(new))
    np.testing.assert_array_equal(copied.apply(new), ours.apply(new))
    np.testing.assert_array_equal(copied.decision_path(new).toarray(), ours.decision_path(new).toarray())
    np.testing.assert_allclose(copied.feature_importances_, ours.feature_importances_, atol=1e-12)
    assert copied.get_depth() == ours.get_depth()
    assert export_text(copied, max_depth=2).startswith("|---")
    with_classes = is_classifier(ours)
    if with_classes:
        np.testing.assert_array_equal(copied.predict_proba(new), ours.predict_proba(new))
    again = pickle.loads(pickle.dumps(copied))
    np.testing.assert_array_equal(again.predict(new), ours.predict(new))


def test_plot_tree_draws_the_copy():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    X, y = table(DecisionTreeClassifier)
    figure = pyplot.figure()
    drawn = sklearn.tree.plot_tree(
        DecisionTreeClassifier(max_depth=2).fit(X, y).to_sklearn(), ax=figure.gca()
    )
    assert len(drawn) >= 5
    pyplot.close(figure)


def test_tree_has_what_readers_of_scikit_learn_trees_use():
    X, y = table(DecisionTreeClassifier)
    model = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, y)
    tree, reference = model.tree_, model.to_sklearn().tree_
    for name in (n for n in dir(reference) if not n.startswith("_") and n != "compute_partial_dependence"):
        got, wanted = getattr(tree, name), getattr(reference, name)
        if not callable(wanted):
            assert np.shape(got) == np.shape(wanted), name
            np.testing.assert_array_equal(got, wanted, err_msg=name)
    rows = X.astype(np.float32)
    np.testing.assert_array_equal(tree.predict(rows), reference.predict(rows))
    np.testing.assert_array_equal(tree.compute_node_depths(), reference.compute_node_depths())
    np.testing.assert_array_equal(tree.decision_path(rows).toarray(), reference.decision_path(rows).toarray())
    with pytest.raises(ValueError, match="float32"):
        tree.apply(X)


@pytest.mark.parametrize(
    "container", [sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix, sparse.csr_array]
)
def test_sparse_tables_give_the_same_tree(container):
    X, y = table(DecisionTreeRegressor)
    X[X < 5] = 0
    dense = DecisionTreeRegressor(random_state=0).fit(X, y)
    assert same_trees(DecisionTreeRegressor(random_state=0).fit(container(X), y), dense)
    np.testing.assert_array_equal(dense.predict(container(X)), dense.predict(X))


def test_columns_are_binned_in_blocks(monkeypatch):
    from hpcml.training import bins

    X, _ = table(DecisionTreeRegressor, missing=0.1)
    rows = np.arange(0, len(X), 2)
    whole = bins.bin_table(X, 255, rows)
    monkeypatch.setattr(bins, "BLOCK_BYTES", 4 * len(rows) * 4)
    blocks = bins.bin_table(X, 255, rows)
    for name in ("binned", "n_bins"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(blocks, name))
    for f, n in enumerate(whole.n_bins):
        np.testing.assert_array_equal(whole.upper[f, :n], blocks.upper[f, :n])


def test_sparse_table_larger_than_memory_is_refused_with_its_size(monkeypatch):
    from hpcml.training import bins

    monkeypatch.setattr(bins, "memory_left", lambda: 1 << 20)
    with pytest.raises(MemoryError, match=r"20000 rows of 1000 features"):
        DecisionTreeRegressor().fit(sparse.csr_matrix((20000, 1000)), np.arange(20000.0))


BAD = [
    ({"max_depth": 0}, "The 'max_depth' parameter of DecisionTreeRegressor must be an int in the range"),
    ({"max_depth": 2.5}, "'max_depth'"),
    ({"max_bins": 256}, r"'max_bins' parameter .* \[2, 255\]. Got 256"),
    ({"max_bins": 1}, "'max_bins'"),
    ({"min_samples_split": 1}, "'min_samples_split'"),
    ({"min_samples_leaf": 1.0}, "'min_samples_leaf'"),
    ({"min_weight_fraction_leaf": 0.6}, "'min_weight_fraction_leaf'"),
    ({"max_features": "auto"}, "'max_features'"),
    ({"max_leaf_nodes": 1}, "'max_leaf_nodes'"),
    ({"ccp_alpha": -1.0}, "'ccp_alpha'"),
    ({"min_impurity_decrease": float("nan")}, "'min_impurity_decrease'"),
    ({"criterion": "gini"}, "'criterion'"),
    ({"criterion": "poisson"}, "'squared_error'.*does not support"),
    ({"splitter": "random"}, "'best'"),
    ({"monotonic_cst": [1, 0]}, "must be None"),
    ({"random_state": -1}, "'random_state'"),
]


@pytest.mark.parametrize(("params", "message"), BAD, ids=str)
def test_bad_parameters_are_named(params, message):
    X, y = table(DecisionTreeRegressor, n=20)
    with pytest.raises(ValueError, match=message):
        DecisionTreeRegressor(**params).fit(X, y)


def test_bad_tables_and_weights_are_named():
    X, y = table(DecisionTreeRegressor, n=20)
    tree = DecisionTreeRegressor()
    with pytest.raises(NotImplementedError, match="several outputs"):
        tree.fit(X, np.c_[y, y])
    with pytest.raises(ValueError, match="sample_weight must not be negative"):
        tree.fit(X, y, sample_weight=-np.ones(20))
    with pytest.raises(ValueError, match="at least one row"):
        tree.fit(X, y, sample_weight=np.zeros(20))
    with pytest.raises(ValueError, match="one weight for each row"):
        tree.fit(X, y, sample_weight=np.ones(19))
    with pytest.raises(ValueError, match="spread that float64 can hold"):
        tree.fit(X, np.where(y > 0, 1.7e308, -1.7e308))
    with pytest.raises(ValueError, match="infinity"):
        tree.fit(np.where(X > 5, np.inf, X), y)
    with pytest.raises(NotFittedError):
        DecisionTreeRegressor().predict(X)


def test_extreme_targets_are_still_learnt():
    for y in (np.full(60, 7.25), np.r_[np.zeros(59), 1e12], np.linspace(1e-100, 2e-100, 60)):
        tree = DecisionTreeRegressor(random_state=0).fit(np.arange(60.0)[:, None], y)
        np.testing.assert_allclose(tree.predict(np.arange(60.0)[:, None]), y)


def test_pickles_carry_a_format_and_another_is_refused():
    X, y = table(DecisionTreeClassifier)
    tree = DecisionTreeClassifier(random_state=0).fit(X, y)
    copied = pickle.loads(pickle.dumps(tree))
    np.testing.assert_array_equal(copied.predict_proba(X), tree.predict_proba(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tree.tree_)).value, tree.tree_.value)
    state = tree._trees.__getstate__()
    with pytest.raises(ValueError, match="format of pickled trees must be 1. Got 99"):
        tree._trees.__setstate__({**state, "format": 99})


def test_integer_random_state_is_the_seed_and_global_state_is_left_alone():
    X, y = table(DecisionTreeRegressor, values=3)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = DecisionTreeRegressor(max_features=1, random_state=11).fit(X, y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert same_trees(first, DecisionTreeRegressor(max_features=1, random_state=11).fit(X, y))
    assert not same_trees(first, DecisionTreeRegressor(max_features=1, random_state=12).fit(X, y))


def test_a_chain_deeper_than_any_recursion():
    n = sys.getrecursionlimit() + 500
    # the last row always stands out: each split takes one row off
    y = np.cumsum(np.arange(n) % 2 * 1.0)
    X = np.arange(n, dtype=float)[:, None]
    tree = DecisionTreeRegressor(min_samples_leaf=1).fit(X, y)
    assert tree.get_n_leaves() > 100
    assert tree.decision_path(X).shape == (n, tree.tree_.node_count)
