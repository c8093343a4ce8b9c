"""Tables, weights and labels of any kind: the answer of plain ones, or an error of scikit-learn's kind."""

import inspect
import warnings
from pydoc import locate

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import hpcml
from hpcml.counterparts import COUNTERPARTS

SMALL = {
    "n_clusters": 2,
    "n_components": 1,
    "n_estimators": 3,
    "n_init": 1,
    "max_depth": 3,
    "random_state": 0,
}
NAMES = [name.removeprefix("hpcml.") for name in COUNTERPARTS]
CLASSIFIERS = ("Classifier", "SVC", "Logistic")
SUPERVISED = (*CLASSIFIERS, "Regressor", "SVR", "Regression", "Ridge")
FORMATS = [
    f"{kind}_{suffix}"
    for kind in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
    for suffix in ("array", "matrix")
]
QUICK = settings(max_examples=4, derandomize=True, deadline=None, database=None)
SHAPES = {"n": st.integers(6, 24), "d": st.integers(1, 4), "seed": st.integers(0, 2**20)}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Other tests are about threads; small fits take longer on several."""
    with hpcml.config_context(n_threads=1):
        yield


def of(name, package="hpcml"):
    kind = locate(f"{package}.{name}")
    names = inspect.signature(kind).parameters
    parameters = {k: v for k, v in SMALL.items() if k in names}
    return kind(**parameters, **({"with_mean": False} if name.endswith("Scaler") else {}))


def named(name, kinds):
    return any(kind in name for kind in kinds)


def problem(name, n, d, seed, low=-9):
    """Return a table of whole numbers, which every type holds, and a target."""
    rng = np.random.default_rng(seed)
    X = rng.integers(low, 10, size=(n, d)).astype(np.float64)
    return X, target(name, X)


def target(name, X):
    codes = np.arange(len(X)) % 2
    return codes if named(name, CLASSIFIERS) else codes + 0.25 * np.arange(len(X))


def fitted(name, X, y, weights=None, package="hpcml"):
    """Return (fitted attributes and answers, None), or (None, error); and warnings."""
    model = of(name, package)
    given_ = {} if weights is None else {"sample_weight": weights}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            model.fit(X, y, **given_) if named(name, SUPERVISED) else model.fit(X, **given_)
            answer = getattr(model, "predict", None) or model.transform
            found = {k: v for k, v in vars(model).items() if k.endswith("_") and not k.startswith("_")}
            found |= {"answer": answer(X), "n_features_in_": None}
        except Exception as error:
            return None, error, told
    found.pop("feature_names_in_", None)
    if sparse.issparse(found["answer"]):
        found["answer"] = found["answer"].toarray()
    return found, None, told


def same(a, b):
    assert set(a) == set(b)
    for key, value in a.items():
        if isinstance(value, (np.ndarray, float)):
            np.testing.assert_array_equal(np.asarray(value), np.asarray(b[key]), err_msg=key)
            assert np.asarray(value).dtype == np.asarray(b[key]).dtype, key


def builtins_of(error):
    return {kind for kind in type(error).__mro__ if kind.__module__ == "builtins"}


def unaligned(X):
    return np.ndarray(X.shape, X.dtype, bytearray(b"-" + X.tobytes()), 1)


def unwritable(X):
    X = X.copy()
    X.flags.writeable = False
    return X


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "every second": lambda X: np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2],
    "negative strides": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda X: X.T.copy().T,
    "unaligned": unaligned,
    "read-only": unwritable,
    "another byte order": lambda X: X.astype(X.dtype.newbyteorder()),
    "objects": lambda X: X.astype(object),
    "lists": lambda X: X.tolist(),
    "integers": lambda X: X.astype(np.int64),
    "bytes": lambda X: X.astype(np.int8),
    "long doubles": lambda X: X.astype(np.longdouble),
    "frame": lambda X: pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])]),
    "frame of nullable integers": lambda X: pd.DataFrame(X.astype(int)).astype("Int64"),
    "matrix without mask": lambda X: np.ma.masked_array(X, mask=False),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_how_a_table_is_held_changes_no_bit(name, layout):
    @QUICK
    @given(**SHAPES)
    def check(n, d, seed):
        X, y = problem(name, n, d, seed)
        plain, error, _ = fitted(name, X, y)
        assert error is None
        held, error, _ = fitted(name, LAYOUTS[layout](X), y)
        assert error is None, error
        same(plain, held)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_small_types(name):
    X, y = problem(name, 20, 3, 0, low=0)
    for dtype in (np.float16, np.uint8, np.bool_):
        table = X.astype(dtype)
        kept = np.float32 if name.endswith("Scaler") and dtype is np.float16 else np.float64
        held, error, _ = fitted(name, table, y)
        plain, _, _ = fitted(name, table.astype(kept), y)
        assert error is None, error
        for key in ("coef_", "components_", "cluster_centers_", "means_", "mean_", "feature_importances_"):
            if key in plain:
                np.testing.assert_array_equal(held[key], plain[key])


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_sparse_formats(name, wide):
    X, y = problem(name, 20, 4, 0)
    X[np.abs(X) < 5] = 0.0
    plain, refused, _ = fitted(name, sparse.csr_array(X), y)
    for kind in FORMATS:
        table = getattr(sparse, kind)(X)
        if wide and kind[:3] in ("bsr", "csc", "csr"):
            table.indices, table.indptr = table.indices.astype(np.int64), table.indptr.astype(np.int64)
        held, error, _ = fitted(name, table, y)
        if error is not None:
            there = fitted(name, table, y, package="sklearn")[1]
            assert there is not None and builtins_of(there) <= builtins_of(error), (kind, error)
        else:
            assert refused is None
            same(plain, held)


@pytest.mark.parametrize("name", NAMES)
def test_sparse_entries_of_any_order(name):
    # duplicates add up, zeros may be held, and the caller's table stays as it is
    rows, columns = np.repeat(np.arange(12), 3), np.tile(np.int32([2, 0, 2]), 12)
    values = np.random.default_rng(0).integers(-4, 5, size=36).astype(np.float64)
    table = sparse.coo_array((values, (rows, columns)), shape=(12, 3))
    odd = sparse.csr_array((values, columns, np.arange(0, 37, 3, dtype=np.int32)), shape=(12, 3))
    y = target(name, values[:12])
    plain, refused, _ = fitted(name, sparse.csr_array(table.toarray()), y)
    held, error, _ = fitted(name, odd, y)
    assert type(error) is type(refused)
    assert odd.nnz == 36 and np.array_equal(odd.data, values)
    if error is None:
        for key in ("coef_", "components_", "cluster_centers_", "scale_", "feature_importances_"):
            if key in plain:
                np.testing.assert_allclose(held[key], plain[key], rtol=1e-9, atol=1e-12)


def columns_of(X):
    X = X.copy()
    X[:, 0] = 3.0
    return X


SCALES = {
    "float32 of 1e18": lambda X: (X * 1e18).astype(np.float32),
    "float32 of 1e30": lambda X: (X * 1e30).astype(np.float32),
    "float32 of 1e-25": lambda X: (X * 1e-25).astype(np.float32),
    "denormal float32": lambda X: (X * 1e-40).astype(np.float32),
    "1e150": lambda X: X * 1e150,
    "1e300": lambda X: X * 1e300,
    "1e-160": lambda X: X * 1e-160,
    "denormal": lambda X: X * 1e-310,
    "far from zero": lambda X: X + 1e9,
    "different": lambda X: X * 10.0 ** (8 * (np.arange(X.shape[1]) - 1)),
    "constant": lambda X: np.full_like(X, 0.1),
    "zero": np.zeros_like,
    "a constant feature": columns_of,
    "one feature": lambda X: X[:, :1],
    "two different rows": lambda X: np.repeat(X[:2], len(X) // 2, axis=0),
    "one row": lambda X: X[:1],
    "no row": lambda X: X[:0],
    "no feature": lambda X: X[:, :0],
    "nan": lambda X: np.where(X == X[0, 0], np.nan, X),
    "inf": lambda X: np.where(X == X[0, 0], np.inf, X),
}
#: Only the shape decides, or what is no number; so scikit-learn refuses the same.
REFUSED = ("one row", "no row", "no feature", "nan", "inf")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", NAMES)
def test_extreme_tables(name, scale):
    X, y = problem(name, 20, 3, 1)
    X = SCALES[scale](X)
    y = y[: len(X)]
    found, error, told = fitted(name, X, y)
    if scale in REFUSED:
        there = fitted(name, X, y, package="sklearn")[1]
        assert (error is None) == (there is None), (error, there)
        assert error is None or builtins_of(there) <= builtins_of(error)
    if error is not None:
        assert isinstance(error, (ValueError, TypeError)) and str(error)
        return
    complete(found, told)


@pytest.mark.parametrize("scale", ["float32 of 1e18", "1e150", "far from zero", "different", "constant"])
@pytest.mark.filterwarnings("ignore")
def test_logistic_regression_is_nearer_the_minimum_than_scikit_learns(scale):
    name = "linear_model.LogisticRegression"
    X, y = problem(name, 40, 3, 1)
    X = SCALES[scale](X)
    wide = X.astype(np.longdouble)

    def objective(model):
        coef = model.coef_[0].astype(np.longdouble)
        margins = (2 * y - 1) * (wide @ coef + model.intercept_[0])
        return float(np.logaddexp(0, -margins).sum() + coef @ coef / 2)

    assert objective(of(name).fit(X, y)) <= objective(of(name, "sklearn").fit(X, y)) * (1 + 1e-6)


def complete(found, told):
    """Assert that there is a number everywhere, or a warning."""
    for key, value in found.items():
        if isinstance(value, (np.ndarray, float)) and np.asarray(value).dtype.kind == "f":
            assert np.isfinite(value).all() or told or key == "answer", (key, value)


WEIGHTS = {
    "zero": np.zeros,
    "zero but one": lambda n: np.arange(n) == 1,
    "huge": lambda n: np.full(n, 1e300),
    "tiny": lambda n: np.full(n, 1e-300),
    "different": lambda n: 10.0 ** (np.arange(n) % 20 - 10),
    "negative": lambda n: -np.ones(n),
    "nan": lambda n: np.full(n, np.nan),
    "inf": lambda n: np.full(n, np.inf),
    "words": lambda n: np.array(["one"] * n),
    "a column": lambda n: np.ones((n, 1)),
    "too few": lambda n: np.ones(n - 1),
    "too many": lambda n: np.ones(n + 1),
    "none": lambda n: [],
}
WEIGHTED = [
    name for name in NAMES if "sample_weight" in inspect.signature(locate(f"hpcml.{name}").fit).parameters
]


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("name", WEIGHTED)
def test_extreme_weights(name, kind):
    X, y = problem(name, 20, 3, 1)
    found, error, told = fitted(name, X, y, WEIGHTS[kind](20))
    if kind in ("negative", "nan", "inf", "words", "a column", "too few", "too many", "none") and not (
        kind == "negative" and name.endswith("Scaler")
    ):
        assert isinstance(error, ValueError), error
    if error is not None:
        assert isinstance(error, (ValueError, TypeError)) and str(error)
        return
    complete(found, told)


@pytest.mark.parametrize("name", WEIGHTED)
def test_how_weights_are_held_changes_no_bit(name):
    X, y = problem(name, 20, 3, 1)
    weights = np.arange(20.0) % 3 + 1
    plain, error, _ = fitted(name, X, y, weights)
    assert error is None
    for held in (
        weights.tolist(),
        weights.astype(int),
        weights.astype(np.float32),
        weights.astype(object),
        weights.astype(">f8"),
        np.repeat(weights, 2)[::2],
        unwritable(weights),
        pd.Series(weights, index=np.arange(20)[::-1]),
    ):
        found, error, _ = fitted(name, X, y, held)
        assert error is None, error
        same(plain, found)


LABELS = {
    "words": lambda codes: np.array(["no", "yes"])[codes],
    "objects": lambda codes: np.array(["no", "yes"], dtype=object)[codes],
    "truth": lambda codes: codes == 1,
    "floats": lambda codes: codes * 2.0 - 1.0,
    "bytes": lambda codes: codes.astype(np.int8),
    "another byte order": lambda codes: codes.astype(">i4"),
    "far apart": lambda codes: codes * (2**60) - 2**59,
    "the largest of int64": lambda codes: codes + (2**63 - 2),
    "beyond int64": lambda codes: codes.astype(np.uint64) + np.uint64(2**63),
    "list": lambda codes: codes.tolist(),
    "series": lambda codes: pd.Series(codes, index=codes * 0),
    "categories": lambda codes: pd.Series(codes).map({0: "no", 1: "yes"}).astype("category"),
    "a column": lambda codes: codes[:, np.newaxis],
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("name", [name for name in NAMES if named(name, CLASSIFIERS)])
def test_labels(name, kind):
    X, codes = problem(name, 20, 3, 2)
    model, plain = of(name), of(name).fit(X, codes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = np.ravel(np.asarray(LABELS[kind](codes)))
        model.fit(X, LABELS[kind](codes))
        there = of(name, "sklearn").fit(X, LABELS[kind](codes))
    assert model.classes_.dtype == there.classes_.dtype and np.array_equal(model.classes_, there.classes_)
    expected = np.unique(labels)[plain.predict(X)]
    assert np.array_equal(model.predict(X), expected) and model.predict(X).dtype == there.predict(X).dtype


WRONG_LABELS = {
    "one class": lambda n: np.zeros(n, int),
    "continuous": lambda n: np.linspace(0.1, 0.9, n),
    "nan": lambda n: np.where(np.arange(n) == 1, np.nan, np.arange(n) % 2),
    "mixed": lambda n: np.array([1, "one"] * (n // 2), dtype=object),
    "none of some": lambda n: np.array([None, "one"] * (n // 2), dtype=object),
    "too few": lambda n: np.arange(n - 1) % 2,
    "indicators": lambda n: np.eye(2, dtype=int)[np.arange(n) % 2],
    "complex": lambda n: np.arange(n) % 2 + 1j,
    "none": lambda n: None,
    "no": lambda n: [],
}


@pytest.mark.parametrize("kind", WRONG_LABELS)
@pytest.mark.parametrize("name", [name for name in NAMES if named(name, SUPERVISED)])
def test_wrong_targets(name, kind):
    X, _ = problem(name, 20, 3, 2)
    y = WRONG_LABELS[kind](20)
    error = fitted(name, X, y)[1]
    there = fitted(name, X, y, package="sklearn")[1]
    if there is None:
        several = kind == "indicators" and isinstance(error, NotImplementedError)
        assert error is None or several, error
    else:
        assert error is not None and builtins_of(there) <= builtins_of(error), (error, there)
