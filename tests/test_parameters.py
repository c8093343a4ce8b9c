"""Numbers as parameters: what scikit-learn refuses is refused, of all estimators and all their parameters."""

import inspect
import warnings
from fractions import Fraction
from pydoc import locate

import numpy as np
import pytest

import hpcml
from hpcml.counterparts import COUNTERPARTS
from hpcml.validation import UnsupportedError

#: Parameters that are numbers in some of their forms, where the default does not say so.
NUMBERS = {
    *("batch_size", "init_size", "iterated_power", "max_depth", "max_features", "max_leaf_nodes"),
    *("max_samples", "n_components", "n_init"),
}
#: Small ones, so that fits are quick.
BASE = {"n_clusters": 2, "n_components": 2, "n_estimators": 2, "init": "random", "n_init": 1}
BASE |= {"random_state": 0}
VALUES = [
    *(-np.inf, -1.0, -1, -0.0, 0.0, 0, 1e-3, 0.5, 1, 1.0, 1.5, 3, 1e3, np.inf, np.nan),
    *(None, "one", True, False, np.True_, [1.0], np.array(1.0), 1j, Fraction(1, 2)),
    *(np.float32(0.5), np.float32(np.inf), np.float32(np.nan), np.int64(1), np.float64(0.5)),
]
PAIRS = [
    pytest.param(ours, theirs, name, id=f"{ours.rpartition('.')[2]}-{name}")
    for ours, theirs in COUNTERPARTS.items()
    for name, parameter in inspect.signature(locate(ours)).parameters.items()
    if name not in ("verbose", "random_state", "n_jobs", "max_bins")
    and (type(parameter.default) in (int, float) or name in NUMBERS)
]
RNG = np.random.RandomState(0)
X = RNG.randn(12, 3)
Y = (X[:, 0] > 0).astype(int)
#: Refused there by accident, deep in a fit.
ACCIDENTS = {("max_samples", "True"), ("n_clusters", "True")}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small fits take longer on several."""
    with hpcml.config_context(n_threads=1):
        yield


def outcome(kind, params):
    names = inspect.signature(kind).parameters
    try:
        kind(**{k: v for k, v in {**BASE, **params}.items() if k in names}).fit(X, Y)
    except Exception as error:
        return error
    return None


def builtins_of(error):
    return {kind for kind in type(error).__mro__ if kind.__module__ == "builtins"}


@pytest.mark.parametrize(("ours", "theirs", "name"), PAIRS)
def test_numbers_are_refused_as_by_scikit_learn(ours, theirs, name):
    wrong = []
    for value in VALUES:
        if (name, repr(value)) in ACCIDENTS:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            here, there = outcome(locate(ours), {name: value}), outcome(locate(theirs), {name: value})
        if there is None:
            right = here is None or (isinstance(here, UnsupportedError) and f"{name!r}" in str(here))
        else:
            right = here is not None and builtins_of(there) <= builtins_of(here)
        if not right:
            wrong.append(f"{value!r}: here {here!r}, there {there!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("ours", "theirs", "name"), PAIRS)
def test_extreme_numbers_are_honoured_or_refused(ours, theirs, name):
    # without scikit-learn's answer: liblinear needs hours under such a C
    for value in (5e-324, 1e-300, 1e300):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            error = outcome(locate(ours), {name: value})
        assert error is None or isinstance(error, ValueError), (value, error)


@pytest.mark.parametrize("name", ["linear_model.LogisticRegression", "svm.LinearSVC", "svm.LinearSVR"])
@pytest.mark.parametrize("scaling", [5e-324, 1e-300, 1e300])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_extreme_scalings_of_the_intercept(name, scaling):
    kind = locate(f"hpcml.{name}")
    more = {"solver": "liblinear"} if name.startswith("linear") else {}
    model = kind(intercept_scaling=scaling, **more).fit(X, Y)
    instead = {"intercept_scaling": 1e10, **more} if scaling > 1 else {"fit_intercept": False}
    other = kind(**instead).fit(X, Y)
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(model.intercept_, other.intercept_, rtol=1e-3, atol=1e-3)
