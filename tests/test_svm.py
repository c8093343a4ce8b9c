"""Linear support vector machines: scikit-learn's objectives and their minima, parameters, errors."""

import warnings

import numpy as np
import pytest
import sklearn.svm
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning

import hpcml
from hpcml.svm import LinearSVC, LinearSVR
from hpcml.validation import UnsupportedError

CONVERGED = {"tol": 1e-10, "max_iter": 100_000}
WEIGHTS = np.random.default_rng(5).integers(0, 3, 400).astype(float)


def objective(model, X, y, weights=None):
    """Return the objective that scikit-learn's documentation gives, of each class or of all at once."""
    parameters = model.get_params()
    C, W = parameters["C"], np.atleast_2d(model.coef_)
    scaled = np.broadcast_to(model.intercept_, len(W)) / parameters["intercept_scaling"]
    W = np.column_stack([W, scaled])
    c = np.full(len(y), C) if weights is None else C * weights
    margins = X @ np.atleast_2d(model.coef_).T + model.intercept_
    if not hasattr(model, "classes_"):
        loss = np.maximum(np.abs(margins - y[:, np.newaxis]) - parameters["epsilon"], 0.0)
    elif parameters["multi_class"] == "crammer_singer":
        own = y[:, np.newaxis] == model.classes_
        loss = (~own + margins - margins[own][:, np.newaxis]).max(axis=1, keepdims=True)
        return 0.5 * (W**2).sum() + c @ loss
    else:
        classes = model.classes_[1:] if len(model.classes_) == 2 else model.classes_
        loss = np.maximum(1.0 - np.where(y[:, np.newaxis] == classes, margins, -margins), 0.0)
    loss = loss**2 if parameters["loss"].startswith("squared") else loss
    penalty = np.abs(W).sum(axis=1) if parameters.get("penalty") == "l1" else 0.5 * (W**2).sum(axis=1)
    return penalty + c @ loss


def theirs(kind, parameters, X, y, weights=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kind(**parameters, **CONVERGED, random_state=0).fit(X, y, weights)


def classes(n_classes=2, seed=0):
    return make_classification(400, 8, n_informative=5, n_classes=n_classes, random_state=seed)


def numbers(seed=0):
    X, y = make_regression(400, 8, noise=20.0, random_state=seed)
    return X, y / y.std()


LOSSES = {
    "squared hinge": {"dual": False},
    "squared hinge, l1": {"penalty": "l1", "dual": False},
    "hinge": {"loss": "hinge", "dual": True},
}
INTERCEPTS = [{}, {"intercept_scaling": 20.0}, {"fit_intercept": False}]


# -- minima --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("intercept", INTERCEPTS, ids=["intercept", "scaled", "none"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_classifiers_reach_scikit_learns_minimum(loss, n_classes, intercept, weights):
    X, y = classes(n_classes)
    parameters = {"C": 0.05, **LOSSES[loss], **intercept}
    expected = theirs(sklearn.svm.LinearSVC, parameters, X, y, weights)
    best = objective(expected, X, y, weights)
    for rows, allowed in ((X, 1e-7), (X.astype(np.float32), 1e-6), (sparse.csr_matrix(X), 1e-7)):
        found = LinearSVC(**parameters).fit(rows, y, weights)
        np.testing.assert_allclose(objective(found, X, y, weights), best, rtol=allowed)
    found = LinearSVC(**{**parameters, "tol": 1e-10}).fit(X, y, weights)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=2e-3, atol=2e-4)
    for name in ("coef_", "intercept_", "classes_"):
        ours, other = np.asarray(getattr(found, name)), np.asarray(getattr(expected, name))
        assert (ours.shape, ours.dtype) == (other.shape, other.dtype)
    assert isinstance(found.n_iter_, int)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("intercept", INTERCEPTS, ids=["intercept", "scaled", "none"])
@pytest.mark.parametrize("epsilon", [0.0, 0.3])
@pytest.mark.parametrize("loss", ["epsilon_insensitive", "squared_epsilon_insensitive"])
def test_regressors_reach_scikit_learns_minimum(loss, epsilon, intercept, weights):
    X, y = numbers()
    parameters = {"C": 0.05, "loss": loss, "epsilon": epsilon, "dual": True, **intercept}
    expected = theirs(sklearn.svm.LinearSVR, parameters, X, y, weights)
    best = objective(expected, X, y, weights)
    for rows, allowed in ((X, 1e-7), (X.astype(np.float32), 1e-6), (sparse.csr_matrix(X), 1e-7)):
        found = LinearSVR(**parameters).fit(rows, y, weights)
        reached = objective(found, X, y, weights)  # scikit-learn's may need more than its iterations
        assert best * (1 - 1e-5) < reached < best * (1 + allowed)
    for name in ("coef_", "intercept_"):
        ours, other = np.asarray(getattr(found, name)), np.asarray(getattr(expected, name))
        assert (ours.shape, ours.dtype) == (other.shape, other.dtype)
    np.testing.assert_allclose(found.predict(X), X @ found.coef_ + found.intercept_, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("intercept", INTERCEPTS, ids=["intercept", "scaled", "none"])
def test_all_classes_at_once_reach_scikit_learns_minimum(n_classes, intercept):
    X, y = classes(n_classes)
    parameters = {"C": 0.05, "multi_class": "crammer_singer", **intercept}
    expected = theirs(sklearn.svm.LinearSVC, parameters, X, y, WEIGHTS)
    for rows in (X, X.astype(np.float32), sparse.csr_matrix(X)):
        found = LinearSVC(**parameters).fit(rows, y, WEIGHTS)
        np.testing.assert_allclose(found.decision_function(X), expected.decision_function(X), atol=1e-4)
    if n_classes > 2:
        np.testing.assert_allclose(
            objective(found, X, y, WEIGHTS), objective(expected, X, y, WEIGHTS), rtol=1e-7
        )


@pytest.mark.parametrize("class_weight", ["balanced", {0: 3.0, 1: 0.5}])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "parameters", [*LOSSES.values(), {"multi_class": "crammer_singer"}], ids=[*LOSSES, "all classes"]
)
def test_weights_of_classes_are_scikit_learns(parameters, n_classes, class_weight):
    X, y = classes(n_classes)
    parameters = {"C": 0.05, "class_weight": class_weight, **parameters}
    expected = theirs(sklearn.svm.LinearSVC, parameters, X, y, WEIGHTS)
    found = LinearSVC(**parameters, tol=1e-8).fit(X, y, WEIGHTS)
    np.testing.assert_allclose(found.decision_function(X), expected.decision_function(X), atol=1e-4)


@pytest.mark.parametrize("C", [1e-6, 1.0, 1e5])
@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_features_of_any_scale(C, scale):
    """The dual objective of the method bounds the primal one from below, whatever the data."""
    X, y = classes()
    X[:, 0] *= scale
    for model in (LinearSVC(C=C, loss="hinge"), LinearSVR(C=C, epsilon=0.1)):
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            model.fit(X, y)
        best = objective(model, X, y)
        rng = np.random.default_rng(0)
        for size in (1e-2, 1e-4):
            kept = model.coef_
            for _ in range(20):
                model.coef_ = kept * (1 + size * rng.standard_normal(kept.shape))
                assert (objective(model, X, y) >= best * (1 - 1e-8)).all()
            model.coef_ = kept


def test_separable_rows_and_rows_that_lie_in_the_tube():
    X = np.array([[-2.0, -1], [-1, -1], [1, 1], [2, 1]])
    wide = LinearSVC(loss="hinge", C=1e6).fit(X, [0, 0, 1, 1])
    np.testing.assert_allclose(wide.decision_function(X)[[1, 2]], [-1.0, 1.0], atol=1e-6)
    flat = LinearSVR(epsilon=5.0).fit(X, [1.0, -2.0, 3.0, 0.0])
    assert not flat.coef_.any() and flat.intercept_ == 0.0 and flat.n_iter_ == 0


def test_many_features_and_few_rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 300))
    y = (X[:, 0] > 0).astype(int)
    for parameters in LOSSES.values():
        expected = objective(theirs(sklearn.svm.LinearSVC, parameters, X, y), X, y)
        np.testing.assert_allclose(objective(LinearSVC(**parameters).fit(X, y), X, y), expected, rtol=1e-6)


def test_repeated_entries_of_sparse_rows_add_up():
    X, y = classes()
    twice = sparse.hstack([sparse.csr_matrix(X / 2)] * 2).tocsr()
    doubled = sparse.csr_matrix((twice.data, twice.indices % 8, twice.indptr), shape=X.shape)
    found = LinearSVC(loss="hinge").fit(doubled, y)
    np.testing.assert_allclose(found.coef_, LinearSVC(loss="hinge").fit(X, y).coef_, rtol=1e-6)


# -- use -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LinearSVC, LinearSVR])
def test_scikit_learns_twin_predicts_the_same(kind):
    X, y = classes(3)
    model = kind().fit(X, y)
    twin = model.to_sklearn()
    assert type(twin) is getattr(sklearn.svm, kind.__name__)
    np.testing.assert_allclose(twin.predict(X), model.predict(X), rtol=1e-12, atol=1e-12)
    assert twin.score(X, y) == pytest.approx(model.score(X, y))


@pytest.mark.parametrize("dtype", [np.longdouble, np.float16, np.int8, ">f8"])
def test_margins_of_tables_of_any_type(dtype):
    X, y = classes()
    X = np.round(X)
    model = LinearSVC().fit(X, y)
    margins = model.decision_function(X.astype(dtype))
    assert margins.dtype == np.float64
    np.testing.assert_array_equal(margins, model.decision_function(X))


def test_coefficients_become_sparse_and_dense_again():
    X, y = classes()
    model = LinearSVC(penalty="l1", C=0.01, dual=False).fit(X, y)
    dense, margins = model.coef_.copy(), model.decision_function(X)
    assert (dense == 0).any()
    assert sparse.issparse(model.sparsify().coef_)
    np.testing.assert_allclose(model.decision_function(X), margins)
    np.testing.assert_array_equal(model.densify().coef_, dense)


def test_no_intercept_of_several_classes():
    X, y = classes(3)
    model = LinearSVC(fit_intercept=False).fit(X, y)
    assert model.intercept_ == 0.0
    np.testing.assert_allclose(model.decision_function(X), X @ model.coef_.T)


def test_iterations_are_told(capfd):
    X, y = classes()
    LinearSVC(verbose=1).fit(X, y)
    LinearSVC(verbose=1, loss="hinge").fit(X, y)
    told = capfd.readouterr().err
    assert "gradient" in told and "gap" in told


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dual", [True, False, "auto"])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_combinations_are_refused_as_scikit_learn_refuses_them(penalty, loss, dual):
    for shape in ((30, 4), (10, 20)):
        X, y = np.random.default_rng(0).standard_normal(shape), np.arange(shape[0]) % 2
        outcomes = []
        for kind in (sklearn.svm.LinearSVC, LinearSVC):
            try:
                kind(penalty=penalty, loss=loss, dual=dual).fit(X, y)
                outcomes.append(None)
            except ValueError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]
    with pytest.raises(ValueError, match=r"Unsupported set of arguments.*dual=False"):
        LinearSVR(dual=False).fit(X, y)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (LinearSVC, {"C": 0.0}),
        (LinearSVC, {"C": "1"}),
        (LinearSVC, {"tol": 0.0}),
        (LinearSVC, {"penalty": "l3"}),
        (LinearSVC, {"loss": "logistic"}),
        (LinearSVC, {"dual": "never"}),
        (LinearSVC, {"multi_class": "ovo"}),
        (LinearSVC, {"max_iter": -1}),
        (LinearSVC, {"intercept_scaling": 0}),
        (LinearSVC, {"fit_intercept": 1}),
        (LinearSVC, {"class_weight": "even"}),
        (LinearSVC, {"random_state": -1}),
        (LinearSVC, {"verbose": -1}),
        (LinearSVR, {"loss": "hinge"}),
        (LinearSVR, {"epsilon": "wide"}),
        (LinearSVR, {"epsilon": -0.1}),
    ],
)
def test_parameters_that_are_not_allowed(kind, parameters):
    X, y = classes()
    with pytest.raises(
        ValueError, match=f"The '{next(iter(parameters))}' parameter of {kind.__name__} must be"
    ):
        kind(**parameters).fit(X, y)


def test_what_is_not_supported_names_what_is():
    X, y = np.zeros((4, 2001)), [0, 1, 0, 1]
    with pytest.raises(UnsupportedError, match="'squared_hinge' for more than 2000 features"):
        LinearSVC(loss="hinge").fit(X, y)
    with pytest.raises(UnsupportedError, match="'squared_epsilon_insensitive' for more than 2000 features"):
        LinearSVR().fit(X, y)
    with pytest.raises(UnsupportedError, match="'ovr' for more than 2000 coefficients"):
        LinearSVC(multi_class="crammer_singer").fit(X, y)


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1.0])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_weights_of_classes_that_are_not_allowed(weight, loss):
    with pytest.raises(ValueError, match="class_weight must give every class a finite weight"):
        LinearSVC(loss=loss, class_weight={0: weight}).fit(*classes())


def test_rows_and_labels_that_are_not_allowed():
    X, y = classes()
    for kind in (LinearSVC, LinearSVR):
        with pytest.raises(ValueError, match="at least one non-zero"):
            kind().fit(X, y, np.zeros(400))
        with pytest.raises(ValueError, match="Negative"):
            kind().fit(X, y, np.full(400, -1.0))
        with pytest.raises(ValueError, match="NaN"):
            kind().fit(np.full((3, 2), np.nan), [0, 1, 0])
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            kind().fit(X, y[:-1])
    with pytest.raises(ValueError, match="at least 2 classes"):
        LinearSVC().fit(X, np.zeros(400))
    with pytest.raises(ValueError, match="Unknown label type"):
        LinearSVC().fit(X, np.linspace(0, 1, 400))


@pytest.mark.parametrize(
    "model",
    [
        LinearSVC(max_iter=1, loss="hinge"),
        LinearSVC(max_iter=1, multi_class="crammer_singer"),
        LinearSVR(max_iter=1),
        LinearSVC(max_iter=0),
        LinearSVC(max_iter=1, penalty="l1", C=100.0),
    ],
    ids=str,
)
def test_too_few_iterations_warn(model):
    X, y = classes()
    with pytest.warns(ConvergenceWarning, match=f"ended after {model.max_iter} of max_iter={model.max_iter}"):
        model.fit(X, y)
    assert model.n_iter_ == model.max_iter
    assert np.isfinite(model.coef_).all()


def test_compiled_and_reference_kernels_agree():
    X, y = classes(3)
    for model in (LinearSVC(loss="hinge"), LinearSVC(), LinearSVR()):
        found = model.fit(X, y).coef_
        with hpcml.config_context(kernels="reference"):
            np.testing.assert_allclose(model.fit(X, y).coef_, found, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("n", [500, 40_000])
def test_float32_features_far_from_zero_cost_no_digits(n, fit_intercept):
    rng = np.random.default_rng(n)
    X = (rng.standard_normal((n, 4)) + 3000.0 * np.array([1.0, -1.0, 0.0, 0.5])).astype(np.float32)
    exact = X.astype(np.float64)
    z = (exact - exact.mean(axis=0)) @ rng.standard_normal(4)
    y = z + rng.standard_normal(n)
    for model, target in ((LinearSVC(), y > 0), (LinearSVR(loss="squared_epsilon_insensitive"), y + 2.0)):
        model.set_params(fit_intercept=fit_intercept)
        found = clone(model).fit(X, target)
        best = clone(model).set_params(tol=1e-8).fit(exact, target)

        def F(fitted, model=model, target=target):
            coef, intercept = np.ravel(fitted.coef_), np.ravel(fitted.intercept_)[0]
            z = exact @ coef + intercept
            rest = z - target if isinstance(model, LinearSVR) else np.maximum(1 - np.where(target, z, -z), 0)
            return (rest**2).sum() + 0.5 * (coef**2).sum() + 0.5 * intercept**2

        assert F(found) == pytest.approx(F(best), rel=1e-6)
