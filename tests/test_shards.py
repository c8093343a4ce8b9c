"""Shards follow from the number of rows alone, and their statistics are added up in one fixed tree."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse

import hpcml
from hpcml.kernels import lookup
from hpcml.kernels.csr import CSR
from hpcml.kernels.shards import TreeSum, bounds_of, cut, n_shards, over_shards
from needs import implementations


@given(st.integers(1, 10**10))
def test_shards_cover_all_rows_evenly(n_rows):
    bounds = bounds_of(n_rows)
    sizes = np.diff(bounds)
    assert bounds[0] == 0 and bounds[-1] == n_rows
    assert len(sizes) == n_shards(n_rows) <= 256
    assert sizes.max() - sizes.min() <= 1
    assert n_rows < 1024 or sizes.min() >= 1024


def sums_of_halves(vectors):
    """The tree as its definition says it, from the root down."""

    def node(first, width):
        if first >= len(vectors):
            return None
        if width == 1:
            return vectors[first]
        left, right = node(first, width // 2), node(first + width // 2, width // 2)
        return left if right is None else left + right

    return node(0, 1 << (len(vectors) - 1).bit_length())


@given(st.integers(1, 70), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_bits_of_the_definition(n, random):
    vectors = np.random.default_rng(n).standard_normal((n, 3)) * 10.0 ** np.arange(-8, n - 8)[:, np.newaxis]
    order = list(range(n))
    random.shuffle(order)
    tree = TreeSum(n)
    for shard in order:
        tree.add(shard, shard + 1, vectors[shard].copy())
    ranges, sums = tree.pieces()
    assert ranges.tolist() == [[0, n]]
    assert_array_equal(sums[0], sums_of_halves(vectors))


@given(st.integers(1, 70), st.lists(st.integers(0, 70), max_size=4))
def test_processes_that_share_the_shards_give_the_bits_of_one(n, cuts):
    vectors = np.random.default_rng(n).standard_normal((n, 2))
    ends = sorted({0, n, *(min(cut, n) for cut in cuts)})
    whole = TreeSum(n)
    for first, stop in pairwise(ends):
        own = TreeSum(n)
        for shard in range(first, stop):
            own.add(shard, shard + 1, vectors[shard].copy())
        ranges, sums = own.pieces()
        assert len(ranges) <= 2 * max(n.bit_length(), 1)
        for (a, b), vector in zip(ranges.tolist(), sums, strict=True):
            whole.add(a, b, vector)
    assert_array_equal(whole.pieces()[1][0], sums_of_halves(vectors))


def table(n=5000, d=3):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d)), rng.random(n)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 7])
@pytest.mark.parametrize("implementation", implementations("moments", reference=True))
def test_kernels_give_the_same_bits_on_any_number_of_threads_and_processes(implementation, n_threads):
    X, weights = table(20_000)
    bounds = bounds_of(len(X))
    S, centers = len(bounds) - 1, np.zeros(3)
    with hpcml.config_context(kernels=implementation):
        kernel = lookup("moments")

    def run(first, stop, n_threads):
        rows = slice(bounds[first], bounds[stop])
        return kernel(
            bounds=bounds[first : stop + 1] - bounds[first],
            first_shard=first,
            n_shards=S,
            X=X[rows],
            weights=weights[rows],
            centers=centers,
            n_threads=n_threads,
        )

    ranges, whole = run(0, S, 1)
    assert ranges.tolist() == [[0, S]]
    tree = TreeSum(S)
    for first, stop in ((0, 5), (5, 12), (12, S)):
        for (a, b), vector in zip(*map(list, run(first, stop, n_threads)), strict=True):
            tree.add(int(a), int(b), vector)
    assert_array_equal(tree.pieces()[1], whole)
    assert_array_equal(run(0, S, n_threads)[1], whole)


def test_a_function_of_one_shard_sees_its_rows_and_whole_arguments():
    X, weights = table(3000)
    seen = []

    def function(X, weights, shift):
        seen.append((X.shape, weights.shape, shift.shape))
        return X.sum(), weights @ X + shift

    kernel = over_shards(function, ["X", "weights"])
    ranges, sums = kernel(bounds_of(3000), 0, 2, X=X, weights=weights, shift=np.zeros(3))
    assert seen == [((1500, 3), (1500,), (3,))] * 2
    assert ranges.tolist() == [[0, 2]] and sums.shape == (1, 4)
    np.testing.assert_allclose(sums[0], [X.sum(), *(weights @ X)])


def test_an_error_in_a_shard_arrives():
    def function(X):
        raise ZeroDivisionError("this shard")

    for n_threads in (1, 2):
        with pytest.raises(ZeroDivisionError, match="this shard"):
            over_shards(function, ["X"])(bounds_of(3000), 0, 2, X=np.zeros((3000, 1)), n_threads=n_threads)


def test_sparse_rows_are_views():
    X = sparse.random_array((50, 7), density=0.3, rng=0, format="csr")
    rows = CSR.of(X)
    assert rows.shape == (50, 7) and rows.dtype == X.dtype
    assert rows.indptr.dtype == np.int64 and rows.indices.dtype == np.int32
    assert np.shares_memory(rows.data, X.data)
    part = cut(rows, 10, 20)
    assert np.shares_memory(part.data, X.data)
    assert_array_equal(part.to_scipy().toarray(), X.toarray()[10:20])
