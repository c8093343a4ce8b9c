"""LogisticRegression: optimum, parameters, forms of tables, bad input."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as Theirs
from sklearn.preprocessing import scale

import hpcml
from hpcml import blas
from hpcml.linear_model import LogisticRegression
from hpcml.svm import LinearSVC


def objective(model, X, y, weights=1.0):
    """Return scikit-learn's objective of a fitted model."""
    margins = X @ model.coef_.T.astype(float) + model.intercept_
    if len(model.classes_) == 2:
        margins = np.column_stack([np.zeros(len(y)), margins])
    codes = np.searchsorted(model.classes_, y)
    losses = logsumexp(margins, axis=1) - margins[np.arange(len(y)), codes]
    w, r = model.coef_.astype(float), model.l1_ratio
    return (weights * losses).sum() + ((1 - r) / 2 * (w**2).sum() + r * np.abs(w).sum()) / model.C


TABLES = {
    "iris": (scale(load_iris().data), load_iris().target),
    "cancer": (scale(load_breast_cancer().data), load_breast_cancer().target),
    "digits": (load_digits().data / 16.0, load_digits().target),
}
PARAMETERS = {
    "default": {},
    "weak": {"C": 100.0},
    "no intercept": {"fit_intercept": False},
    "balanced": {"class_weight": "balanced"},
    "l1": {"solver": "saga", "l1_ratio": 1.0},
    "elasticnet": {"solver": "saga", "l1_ratio": 0.5, "C": 0.3},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("table", TABLES)
def test_objective_is_that_of_scikit_learn_converged(table, parameters, dtype):
    X, y = TABLES[table]
    X, parameters = X.astype(dtype), PARAMETERS[parameters]
    ours = LogisticRegression(**parameters).fit(X, y)
    weights = 1.0
    if "class_weight" in parameters:
        weights = (len(y) / len(ours.classes_) / np.bincount(y))[y]
    found = objective(ours, X.astype(float), y, weights)
    with warnings.catch_warnings(), blas.one_thread():
        warnings.simplefilter("ignore")
        if table == "digits":  # scikit-learn's would take minutes to the end
            theirs = Theirs(**parameters, max_iter=100).fit(X.astype(float), y)
            converged = LogisticRegression(**parameters, tol=1e-9).fit(X.astype(float), y)
            assert found <= objective(converged, X.astype(float), y, weights) * (1 + 1e-6)
        else:
            theirs = Theirs(**parameters, tol=1e-7, max_iter=5000).fit(X.astype(float), y)
    assert found <= objective(theirs, X.astype(float), y, weights) * (1 + 1e-6)
    assert ours.coef_.dtype == ours.intercept_.dtype == np.dtype(dtype)


@pytest.mark.parametrize("solver", ["lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"])
def test_every_solver_has_the_optimum_of_scikit_learns(solver):
    X, y = TABLES["cancer"]
    ours = LogisticRegression(solver=solver, C=0.1).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = Theirs(solver=solver, C=0.1, tol=1e-7, max_iter=2000).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-4)


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_liblinear_penalises_the_intercept_by_its_scaling(l1_ratio):
    X, y = TABLES["cancer"]
    for scaling in (0.5, 3.0):
        parameters = {"solver": "liblinear", "intercept_scaling": scaling, "C": 0.05, "l1_ratio": l1_ratio}
        ours = LogisticRegression(**parameters).fit(X + 1.0, y)
        theirs = Theirs(**parameters, tol=1e-8, max_iter=5000).fit(X + 1.0, y)
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-4)


@pytest.mark.parametrize("table", ["iris", "cancer"])
def test_predictions_are_those_of_the_sklearn_model(table):
    X, y = TABLES[table]
    ours = LogisticRegression().fit(X, y)
    theirs = ours.to_sklearn()
    assert type(theirs) is Theirs
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_allclose(getattr(ours, name)(X), getattr(theirs, name)(X), atol=1e-12)
    assert ours.score(X, y) == theirs.score(X, y)
    again = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(again.predict_proba(X), ours.predict_proba(X))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_sparse_tables_have_the_model_of_dense_ones(n_classes, l1_ratio):
    rng = np.random.default_rng(0)
    X = np.where(rng.random((400, 20)) < 0.2, rng.standard_normal((400, 20)), 0.0)
    y = (X @ rng.standard_normal((20, n_classes)) + rng.gumbel(size=(400, n_classes))).argmax(axis=1)
    parameters = {"solver": "saga", "l1_ratio": l1_ratio}
    dense = LogisticRegression(**parameters).fit(X, y)
    for form in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        model = LogisticRegression(**parameters).fit(form(X), y)
        np.testing.assert_allclose(model.coef_, dense.coef_, atol=1e-7)
        np.testing.assert_allclose(model.predict_proba(form(X)), dense.predict_proba(X), atol=1e-7)


def test_a_wide_sparse_table_is_never_made_dense():
    rng = np.random.default_rng(0)
    X = sparse.random_array((2000, 200_000), density=2e-4, rng=rng, format="csr")  # dense: 3 GB
    y = np.asarray(X.sum(axis=1)).ravel() > 20
    model = LogisticRegression().fit(X, y)
    assert model.score(X, y) > 0.99
    few = LogisticRegression(C=10, l1_ratio=1, solver="saga", tol=1e-3, max_iter=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert few.fit(X, y).score(X, y) > 0.9


def test_weights_are_repeated_rows():
    X, y = TABLES["iris"]
    counts = np.arange(len(y)) % 3
    weighted = LogisticRegression().fit(X, y, sample_weight=counts)
    repeated = LogisticRegression().fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-8)
    by_class = LogisticRegression(class_weight={0: 1, 1: 2, 2: 0.5}).fit(X, y)
    by_row = LogisticRegression().fit(X, y, sample_weight=np.array([1, 2, 0.5])[y])
    np.testing.assert_allclose(by_class.coef_, by_row.coef_, atol=1e-8)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "yes"]),
        np.array([-1.0, 1.0]),
        np.array([False, True]),
        np.array([3, 10**12]),
        np.array([0, 255], dtype=np.uint8),
        np.array([-128, 127], dtype=np.int8),
        np.array(["a", "b"], dtype=object),
    ],
    ids=str,
)
def test_labels_of_any_kind(labels):
    X, y = TABLES["cancer"]
    model = LogisticRegression().fit(X, labels[y])
    np.testing.assert_array_equal(model.classes_, labels)
    assert model.classes_.dtype == labels.dtype
    np.testing.assert_array_equal(model.predict(X), labels[LogisticRegression().fit(X, y).predict(X)])


def test_a_warm_start_goes_on():
    X, y = TABLES["digits"]
    model = LogisticRegression(warm_start=True).fit(X, y)
    first = model.n_iter_[0]
    coef = model.coef_
    model.fit(X, y)
    assert model.n_iter_[0] < first
    np.testing.assert_allclose(model.coef_, coef, atol=1e-3)
    model.sparsify().fit(X, y)
    assert not sparse.issparse(model.coef_)
    with pytest.raises(ValueError, match="Initialization coef is of shape"):
        model.fit(X[:, :5], y)


def test_few_iterations_warn(capsys):
    X, y = TABLES["digits"]
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after 2 iteration"):
        model = LogisticRegression(max_iter=2, verbose=1).fit(X, y)
    assert model.n_iter_.tolist() == [2]
    assert capsys.readouterr().err.count("iteration") == 2


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("size", [1e19, 1e25, 3e38])
def test_sums_that_overflow_warn(n_classes, size):
    rng = np.random.default_rng(0)
    X = (np.clip(rng.standard_normal((2000, 4)), -1, 1) * size).astype(np.float32)
    y = np.digitize(X[:, 0], [0] if n_classes == 2 else [-0.5 * size, 0.5 * size])
    with pytest.warns(ConvergenceWarning, match="Sums over the rows overflowed.* scaling X helps"):
        model = LogisticRegression(C=1e6).fit(X, y)
    assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()
    model = LogisticRegression(C=1e6).fit(X / np.float32(size), y)  # warns of nothing, and has the classes
    assert model.score(X / np.float32(size), y) > 0.99


def test_large_tables_start_from_a_sample():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((60_000, 6), dtype=np.float32)
    y = X @ np.arange(6) + rng.logistic(size=len(X)) > 0
    model = LogisticRegression().fit(X, y)
    assert model.n_iter_[0] <= 4
    np.testing.assert_allclose(model.coef_[0], np.arange(6), atol=0.2)
    exact = LogisticRegression(tol=1e-7).fit(X.astype(float), y)
    assert objective(model, X.astype(float), y) <= objective(exact, X.astype(float), y) * (1 + 1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_number_of_threads_gives_the_same_bits():
    X, y = TABLES["digits"]
    X, y = np.tile(X, (4, 1)), np.tile(y, 4)
    models = []
    for n_threads in (1, 2, 3):
        with hpcml.config_context(n_threads=n_threads):
            model = LogisticRegression(max_iter=3, tol=0).fit(X, y)
            models.append((model.coef_.tobytes(), model.predict_proba(X[:100]).tobytes()))
    assert models[0] == models[1] == models[2]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"C": 0.0}, "'C' parameter of LogisticRegression must be a float in the range"),
        ({"tol": -1.0}, "'tol' parameter"),
        ({"l1_ratio": 1.5}, "'l1_ratio' parameter"),
        ({"solver": "magic"}, "'solver' parameter"),
        ({"max_iter": 1.5}, "'max_iter' parameter"),
        ({"l1_ratio": 1.0}, "Solver lbfgs supports only 'l2' or None penalties"),
        ({"dual": True}, "Solver lbfgs supports only dual=False"),
        ({"solver": "liblinear", "C": np.inf}, "not supported for the liblinear solver"),
        ({"class_weight": {7: 1.0}}, "class_weight"),
    ],
    ids=str,
)
def test_parameters_that_are_not_allowed_raise(parameters, message):
    X, y = TABLES["cancer"]
    with pytest.raises(ValueError, match=message):
        LogisticRegression(**parameters).fit(X, y)


def test_tables_that_are_not_allowed_raise():
    X, y = TABLES["cancer"]
    bad = X.copy()
    bad[3, 2] = np.nan
    for table in (bad, sparse.csr_array(bad)):
        with pytest.raises(ValueError, match="NaN"):
            LogisticRegression().fit(table, y)
    with pytest.raises(ValueError, match="Unknown label type"):
        LogisticRegression().fit(X, X[:, 0])
    with pytest.raises(ValueError, match="at least 2 classes"):
        LogisticRegression().fit(X, np.zeros(len(y)))
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        LogisticRegression().fit(X, y, sample_weight=-np.ones(len(y)))
    with pytest.raises(ValueError, match="non-zero"):
        LogisticRegression().fit(X, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(ValueError, match="liblinear"):
        LogisticRegression(solver="liblinear").fit(*TABLES["iris"])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n", [500, 40_000])
def test_float32_features_far_from_zero_cost_no_digits(n, n_classes):
    rng = np.random.default_rng(n)
    X = (rng.standard_normal((n, 4)) + 3000.0 * np.array([1.0, -1.0, 0.0, 0.5])).astype(np.float32)
    exact = X.astype(np.float64)
    z = (exact - exact.mean(axis=0)) @ rng.standard_normal((4, n_classes))
    y = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    found = LogisticRegression().fit(X, y)
    best = LogisticRegression(tol=1e-9).fit(exact, y)

    def F(model):
        coef, intercept = model.coef_.astype(float), model.intercept_.astype(float)
        margins = exact @ coef.T + intercept
        margins = np.column_stack([np.zeros(n), margins]) if n_classes == 2 else margins
        losses = np.logaddexp.reduce(margins, axis=1) - margins[np.arange(n), y]
        return losses.sum() + 0.5 * (coef**2).sum()

    assert F(found) == pytest.approx(F(best), rel=1e-6)
    margins = exact @ found.coef_.astype(float).T + found.intercept_.astype(float)
    np.testing.assert_allclose(found.decision_function(X).reshape(n, -1), margins, atol=1e-5)


@pytest.mark.parametrize("kind", [str, "S24", list])
@pytest.mark.parametrize("model", [LogisticRegression(), LinearSVC()], ids=lambda model: type(model).__name__)
def test_texts_that_are_numbers_are_numbers_in_fit_and_in_prediction(model, kind):
    X, y = make_classification(60, 4, random_state=0)
    X = X.round(3)
    texts = X.astype(str).tolist() if kind is list else X.astype(kind)
    fitted, expected = clone(model).fit(texts, y), clone(model).fit(X, y)
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)
    np.testing.assert_array_equal(fitted.decision_function(texts), expected.decision_function(X))
    np.testing.assert_array_equal(fitted.predict(texts), expected.predict(X))
    with pytest.raises(ValueError, match="could not convert string to float"):
        fitted.predict(np.array([["1", "2", "3", "many"]]))
