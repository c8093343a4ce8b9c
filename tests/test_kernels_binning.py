"""find_bins and apply_bins: what they must do, and every implementation equal to the reference to the bit."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_calls import call

from hpcml.kernels.reference import binning as reference
from needs import implementations

HUGE = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).smallest_subnormal)


def assert_same_bits(got, expected):
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8))


@st.composite
def tables(draw, max_rows=60):
    """Return a table whose columns hold few or many values, ties, both zeros, extremes, NaN or only NaN."""
    shape = draw(st.tuples(st.integers(1, max_rows), st.integers(1, 5)))
    few = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.5, np.nan, HUGE, -HUGE, TINY, -TINY])
    many = st.floats(width=32, allow_infinity=False, allow_nan=True)
    columns = [
        draw(hnp.arrays(np.float32, shape[0], elements=draw(st.sampled_from([few, many, st.just(np.nan)]))))
        for _ in range(shape[1])
    ]
    return np.ascontiguousarray(np.stack(columns, axis=1))


@pytest.mark.parametrize("implementation", implementations("find_bins"))
@given(X=tables(), max_bins=st.integers(2, 255), n_threads=st.sampled_from([1, 2, 3]))
def test_find_bins_equals_the_reference(implementation, X, max_bins, n_threads):
    got = call("find_bins", implementation, X, max_bins, n_threads)
    assert_same_bits(got, reference.find_bins(X, max_bins))


@pytest.mark.parametrize("implementation", implementations("apply_bins"))
@given(
    X=tables(),
    other=tables(),
    max_bins=st.sampled_from([2, 3, 17, 255]),
    n_threads=st.sampled_from([1, 2, 3]),
)
def test_apply_bins_equals_the_reference(implementation, X, other, max_bins, n_threads):
    _, upper, n_bins = reference.find_bins(X, max_bins)
    unseen = np.resize(other, (len(other), X.shape[1])).astype(np.float32)
    for rows in (X, unseen):
        got = call("apply_bins", implementation, rows, upper, n_bins, n_threads)
        assert_same_bits([got], [reference.apply_bins(rows, upper, n_bins)])


@pytest.mark.parametrize("implementation", implementations("find_bins"))
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_larger_tables_in_several_blocks(implementation, n_threads):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5001, 7)).astype(np.float32)
    X[:, 1] = rng.integers(0, 9, 5001)
    X[:, 2] = np.round(np.exp(X[:, 2]), 1)
    X[rng.random(X.shape) < 0.1] = np.nan
    found = call("find_bins", implementation, X, 255, n_threads)
    assert_same_bits(found, reference.find_bins(X, 255))
    binned = call("apply_bins", implementation, X, *found[1:], n_threads)
    assert_same_bits([binned], [reference.apply_bins(X, *found[1:])])


@pytest.mark.parametrize("implementation", implementations("find_bins", reference=True))
@given(X=tables(), max_bins=st.sampled_from([2, 5, 255]))
def test_bins_cover_the_values_without_overlap(implementation, X, max_bins):
    lower, upper, n_bins = call("find_bins", implementation, X, max_bins, 1)
    binned = call("apply_bins", implementation, X, upper, n_bins, 1)
    for f in range(X.shape[1]):
        values = X[:, f][~np.isnan(X[:, f])]
        n = n_bins[f]
        assert n <= min(max_bins, len(np.unique(values)))
        assert (n == 0) == (len(values) == 0)
        assert np.all(lower[f, :n] <= upper[f, :n])
        assert np.all(upper[f, : n - 1] < lower[f, 1:n]) if n else True
        assert np.isnan(upper[f, n:]).all()
        codes = binned[:, f]
        np.testing.assert_array_equal(codes == n, np.isnan(X[:, f]))
        for i in np.flatnonzero(codes < n):
            assert lower[f, codes[i]] <= X[i, f] <= upper[f, codes[i]]
        assert set(range(n)) <= set(codes.tolist())  # no bin is empty
        if len(np.unique(values)) <= max_bins:
            assert n == len(np.unique(values))


@pytest.mark.parametrize("implementation", implementations("find_bins", reference=True))
def test_a_frequent_value_takes_one_bin_and_makes_no_other_larger(implementation):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(10_000).astype(np.float32)
    x[:4000] = 0.25
    X = rng.permutation(x)[:, None].copy()
    _, upper, n_bins = call("find_bins", implementation, X, 100, 1)
    counts = np.bincount(call("apply_bins", implementation, X, upper, n_bins, 1)[:, 0])
    assert n_bins[0] == 100
    rest = np.delete(counts, counts.argmax())
    assert counts.max() >= 4000
    assert rest.max() <= 10_000 / 100


@pytest.mark.parametrize("implementation", implementations("find_bins", reference=True))
def test_one_row_one_column(implementation):
    lower, upper, n_bins = call("find_bins", implementation, np.array([[-0.0]], dtype=np.float32), 2, 3)
    assert n_bins.tolist() == [1]
    assert lower[0, 0] == upper[0, 0] == 0.0
    assert not np.signbit(lower[0, 0])
    assert not np.signbit(upper[0, 0])
