"""StandardScaler against scikit-learn's."""

import pickle

import numpy as np
import pytest
import sklearn.preprocessing as theirs
from checked_calls import checked_kernels
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from hpcml.preprocessing import StandardScaler


def table(n=2000, d=6, dtype=np.float64, missing=0.0, seed=0):
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((n, d)) * 10.0 ** np.arange(-3, d - 3) + 100).astype(dtype)
    X[rng.random((n, d)) < missing] = np.nan
    return X


def assert_same(ours, other, rtol=1e-10):
    for name in ("mean_", "var_", "scale_", "n_samples_seen_"):
        a, b = getattr(ours, name), getattr(other, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=rtol, err_msg=name)
            assert np.shape(a) == np.shape(b), name


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60),
    dtype=st.sampled_from([np.float64, np.float32]),
    missing=st.sampled_from([0.0, 0.3]),
    weighted=st.booleans(),
    with_mean=st.booleans(),
    with_std=st.booleans(),
    as_csr=st.booleans(),
)
def test_scaler_is_scikit_learns(n, dtype, missing, weighted, with_mean, with_std, as_csr):
    X = table(n, dtype=dtype)
    X[1:][np.random.default_rng(1).random((n - 1, 6)) < missing] = np.nan  # one value at least
    weighted = weighted and (with_mean or with_std)  # scikit-learn's counts rows otherwise, not their weight
    weights = np.random.default_rng(2).random(n) + 0.5 if weighted else None
    if as_csr:
        X, with_mean = sparse.csr_array(X), False
    options = {"with_mean": with_mean, "with_std": with_std}
    with checked_kernels():
        ours = StandardScaler(**options).fit(X, sample_weight=weights)
    other = theirs.StandardScaler(**options).fit(X, sample_weight=weights)
    assert_same(ours, other, rtol=1e-5 if dtype == np.float32 else 1e-8)
    got, expected = ours.transform(X), other.transform(X)
    back = ours.inverse_transform(got)
    if as_csr:
        assert sparse.issparse(got)
        got, expected, back, X = (S.toarray() for S in (got, expected, back, X))
    assert got.dtype == dtype
    tolerance = 2e-2 if dtype == np.float32 else 1e-8
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(back, X, rtol=1e-4 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_parts_are_as_the_whole(missing, weighted):
    X = table(missing=missing)
    X[:300, 2] = np.nan  # nothing in the first part
    weights = np.random.default_rng(0).random(len(X)) if weighted else None
    whole = StandardScaler().fit(X, sample_weight=weights)
    parts = StandardScaler()
    for start in range(0, len(X), 300):
        some = slice(start, start + 300)
        parts.partial_fit(X[some], sample_weight=None if weights is None else weights[some])
        parts = pickle.loads(pickle.dumps(parts))
    assert_same(parts, whole)
    assert parts.fit(X[:5]).n_samples_seen_[0] <= 5


@pytest.mark.parametrize("value", [0.1, 1e10, -3e-7])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_constant_features_are_not_scaled(value, dtype):
    X = table(5000, dtype=dtype)
    X[:, 1] = value
    model = StandardScaler().fit(X)
    assert model.var_[1] == 0.0 and model.scale_[1] == 1.0
    assert (model.transform(X)[:, 1] == 0).all()


@pytest.mark.parametrize("shift", [0.0, 1e8])
def test_variance_far_from_zero_and_in_sorted_rows(shift):
    X = np.sort(table(20_000, 3), axis=0) + shift
    exact = np.var(X.astype(np.longdouble), axis=0)
    found = StandardScaler().fit(X).var_
    np.testing.assert_allclose(found, exact.astype(float), rtol=1e-12)


def test_in_place():
    X = table(100)
    model = StandardScaler(copy=False).fit(X)
    expected = model.transform(X, copy=True)
    got = model.transform(X)
    assert got is X
    np.testing.assert_array_equal(got, expected)
    back = model.inverse_transform(X)
    assert back is X
    np.testing.assert_allclose(X, table(100), rtol=1e-10)


def test_float16_is_kept():
    X = table(50, 3, np.float32).astype(np.float16)
    assert StandardScaler().fit_transform(X).dtype == np.float16


def test_sparse_tables_are_not_centred():
    X = sparse.csr_array(table(20))
    with pytest.raises(ValueError, match="Cannot center sparse matrices"):
        StandardScaler().fit(X)
    model = StandardScaler().fit(table(20))
    for method, message in (("transform", "Cannot center"), ("inverse_transform", "Cannot uncenter")):
        with pytest.raises(ValueError, match=message):
            getattr(model, method)(X)


def test_frames():
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    X = pandas.DataFrame(table(20, 2), columns=["a", "b"])
    found = StandardScaler().set_output(transform="pandas").fit_transform(X)
    assert list(found.columns) == ["a", "b"]
    frame = StandardScaler().set_output(transform="polars").fit_transform(polars.DataFrame({"a": [1.0, 3.0]}))
    assert frame["a"].to_list() == [-1.0, 1.0]


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"X": np.full((3, 2), np.inf)}, "infinity"),
        ({"X": np.array([["a", "b"]])}, "could not convert"),
        ({"sample_weight": np.zeros(20)}, "at least one non-zero"),
        ({"sample_weight": np.ones(3)}, "sample_weight.shape"),
    ],
)
def test_bad_input_raises(bad, message):
    with pytest.raises(ValueError, match=message):
        StandardScaler().fit(**{"X": table(20), **bad})
    with pytest.raises(ValueError, match="'with_mean' parameter of StandardScaler"):
        StandardScaler(with_mean="yes").fit(table(20))


def test_to_sklearn_scales_the_same():
    X = table(50)
    ours = StandardScaler().fit(X)
    other = ours.to_sklearn()
    assert type(other) is theirs.StandardScaler
    np.testing.assert_array_equal(other.transform(X), ours.transform(X))
