"""What holds for every estimator over shards: errors as scikit-learn's, fits in several threads, its twin."""

import importlib
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from bits import CASES, N_ROWS, table
from sklearn.base import clone
from test_same_bits import NOT_SHARED

import hpcml
from hpcml.counterparts import COUNTERPARTS, counterpart

PATHS = sorted(path for path in COUNTERPARTS if not path.removeprefix("hpcml.").startswith(NOT_SHARED))
DENSE_CASES = [name for name, case in CASES.items() if "float64" in case[3]]


def load(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def make(name):
    dotted, parameters, target, _ = CASES[name]
    X, targets = table("float64")
    few = slice(0, 600)
    return load(f"hpcml.{dotted}")(**parameters), X[few], None if target is None else targets[target][few]


def spoiled(X, value):
    X = X.copy()
    X[17, 2] = value
    return X


#: What is wrong -> rows, target and arguments of `fit`.
BAD = {
    "nan": lambda X, y: (spoiled(X, np.nan), y, {}),
    "inf": lambda X, y: (spoiled(X, np.inf), y, {}),
    "one-dimension": lambda X, y: (X[:, 0], y, {}),
    "three-dimensions": lambda X, y: (X[np.newaxis], y, {}),
    "no-rows": lambda X, y: (X[:0], None if y is None else y[:0], {}),
    "no-columns": lambda X, y: (X[:, :0], y, {}),
    "words": lambda X, y: (np.full(X.shape, "a", dtype=object), y, {}),
    "complex": lambda X, y: (X + 1j, y, {}),
    "short-target": lambda X, y: (X, None if y is None else y[:-1], {}),
    "short-weights": lambda X, y: (X, y, {"sample_weight": np.ones(len(X) - 1)}),
    "nan-weights": lambda X, y: (X, y, {"sample_weight": np.full(len(X), np.nan)}),
    "table-of-weights": lambda X, y: (X, y, {"sample_weight": np.ones((len(X), 2))}),
}


def outcome(estimator, X, y, arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            estimator.fit(X, y, **arguments)
        except Exception as error:
            return error
    return None


@pytest.mark.parametrize("wrong", BAD)
@pytest.mark.parametrize("name", DENSE_CASES)
def test_bad_rows_raise_what_scikit_learn_raises(name, wrong):
    estimator, X, y = make(name)
    X, y, arguments = BAD[wrong](X, y)
    theirs = outcome(counterpart(estimator), X, y, arguments)
    ours = outcome(estimator, X, y, arguments)
    if theirs is None:
        assert ours is None, f"scikit-learn takes it, hpcml raises {ours!r}"
    else:
        assert isinstance(ours, (ValueError, TypeError)), f"scikit-learn raises {theirs!r}, hpcml {ours!r}"
        assert isinstance(ours, type(theirs)) or isinstance(theirs, type(ours)), f"{ours!r} for {theirs!r}"
        fitted = [key for key in vars(estimator) if key.endswith("_") and not key.startswith("_")]
        assert set(fitted) <= {"n_features_in_", "feature_names_in_"}, "an error left a half-fitted model"


@pytest.mark.parametrize("name", DENSE_CASES)
def test_parameters_of_no_allowed_kind_are_refused(name):
    estimator, X, y = make(name)
    allowed = counterpart(estimator).get_params()
    refused = 0
    for parameter in set(estimator.get_params()) & set(allowed):
        for value in (object(), -7.5, "no such word"):
            theirs = outcome(counterpart(estimator).set_params(**{parameter: value}), X, y, {})
            ours = outcome(clone(estimator).set_params(**{parameter: value}), X, y, {})
            if isinstance(theirs, ValueError) and "parameter of" in str(theirs):
                refused += 1
                assert isinstance(ours, ValueError), f"{parameter}={value!r}: {ours!r}"
                assert f"'{parameter}'" in str(ours) and "must be" in str(ours), str(ours)
    assert refused > 0


@pytest.mark.parametrize("name", DENSE_CASES)
def test_two_fits_in_two_python_threads_are_two_fits_in_turn(name):
    estimator, X, y = make(name)

    def fit(shift):
        with warnings.catch_warnings(), hpcml.config_context(n_threads=2):
            return vars(clone(estimator).fit(X + shift, y))

    shifts = [0.0, 1.0, 0.5]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        in_turn = [fit(shift) for shift in shifts]
        with ThreadPoolExecutor(3) as pool:
            at_once = list(pool.map(fit, shifts))
    for one, other in zip(in_turn, at_once, strict=True):
        for key, value in one.items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(other[key], value, err_msg=key)


@pytest.mark.parametrize("name", DENSE_CASES)
def test_twin_of_scikit_learn_and_pickle_answer_alike(name):
    estimator, X, y = make(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, y)
    twin, back = estimator.to_sklearn(), pickle.loads(pickle.dumps(estimator))
    assert type(twin).__module__.startswith("sklearn.")
    asked = [
        method
        for method in ("predict", "predict_proba", "decision_function", "transform", "score_samples")
        if hasattr(estimator, method)
    ]
    assert asked
    for method in asked:
        ours = getattr(estimator, method)(X)
        np.testing.assert_array_equal(getattr(back, method)(X), ours)
        theirs = getattr(twin, method)(X)
        assert theirs.shape == ours.shape and theirs.dtype == ours.dtype, method
        if ours.dtype.kind == "f":
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8, err_msg=method)
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=method)


@pytest.mark.parametrize("path", PATHS)
def test_every_estimator_over_shards_has_a_twin(path):
    assert callable(load(path)().to_sklearn)


def test_rows_are_numerous_enough_for_several_shards():
    assert N_ROWS > 10 * 1024
