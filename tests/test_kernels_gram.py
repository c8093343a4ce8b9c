"""Compiled products of features against their definition, and against every number of threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import call
from scipy import sparse

from hpcml import machine
from hpcml.kernels.csr import CSR
from hpcml.kernels.shards import bounds_of

pytestmark = pytest.mark.require("cython")

#: Relative to the largest entry: float32 rows are rounded about their centres, and products within a block.
TOLERANCE = {np.dtype(np.float32): 3e-6, np.dtype(np.float64): 1e-13}


def rows(n, d, dtype, seed=0, *, is_sparse=False):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 3 * rng.standard_normal(d)
    if is_sparse:
        X[rng.random((n, d)) < 0.7] = 0.0
        return CSR.of(sparse.csr_array(X.astype(dtype)))
    return np.ascontiguousarray(X, dtype=dtype)


def arguments(n, d, k, dtype, *, is_sparse=False, weighted=False, with_y=True, centered=True, seed=0):
    rng = np.random.default_rng(seed + 1)
    return {
        "X": rows(n, d, dtype, seed, is_sparse=is_sparse),
        "weights": rng.random(n) if weighted else None,
        "centers": rng.standard_normal(d) if centered else np.zeros(d),
        "y": (rng.standard_normal((n, k)) + 1).astype(dtype) if with_y else None,
        "y_centers": rng.standard_normal(k) if with_y else None,
        "W": rng.standard_normal((d, k)),
        "offsets": rng.standard_normal(k),
        "first": d // 3,
        "width": max(d // 2, 1),
        "held": rng.integers(0, 8, n),
        "mask": 5,
        "value": 4,
    }


TAKES = {
    "gram": ("X", "weights", "centers", "y", "y_centers"),
    "masked_gram": ("X", "weights", "held", "mask", "value", "centers", "y", "y_centers"),
    "gram_panel": ("X", "weights", "centers", "first", "width"),
    "projected_gram": ("X", "weights", "centers", "W"),
    "residual_products": ("X", "weights", "centers", "y", "W", "offsets"),
    "project": ("X", "centers", "W", "offsets"),
}


def run(name, implementation, given, n_threads=1):
    taken = {key: given[key] for key in TAKES[name]}
    if name == "project":
        return call(name, implementation, **taken, n_threads=n_threads)
    n = given["X"].shape[0]
    bounds = bounds_of(n)
    pieces, statistics = call(
        name,
        implementation,
        bounds=bounds,
        first_shard=0,
        n_shards=len(bounds) - 1,
        **taken,
        n_threads=n_threads,
    )
    assert len(pieces) == 1
    return statistics[0]


def assert_same(got, expected, dtype):
    np.testing.assert_allclose(
        got, expected, rtol=0, atol=TOLERANCE[np.dtype(dtype)] * max(1.0, np.abs(expected).max(initial=0))
    )


@pytest.mark.parametrize("name", TAKES)
@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 400),
    d=st.integers(1, 90),
    k=st.integers(1, 70),
    dtype=st.sampled_from([np.float32, np.float64]),
    is_sparse=st.booleans(),
    weighted=st.booleans(),
    with_y=st.booleans(),
    centered=st.booleans(),
    isa=st.sampled_from(machine.supported_isas()),
)
def test_kernels_equal_their_definition(name, n, d, k, dtype, isa, **kinds):
    given_ = arguments(n, d, k, dtype, **kinds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPCML_ISA", isa)
        got = run(name, "cython", given_)
    assert_same(got, run(name, "reference", given_), dtype)


@pytest.mark.parametrize("name", TAKES)
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_number_of_threads_changes_no_bit(name, is_sparse, dtype):
    given_ = arguments(5000, 37, 5, dtype, is_sparse=is_sparse, weighted=True)
    one = run(name, "cython", given_)
    for n_threads in (2, 3):
        assert run(name, "cython", given_, n_threads).tobytes() == one.tobytes()
    assert_same(one, run(name, "reference", given_), dtype)


@pytest.mark.parametrize("k", [1, 9])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_coordinates_do_not_depend_on_the_block(is_sparse, k):
    given_ = arguments(300, 21, k, np.float32, is_sparse=is_sparse)
    whole = run("project", "cython", given_)
    X = given_["X"]
    for start, stop in ((0, 1), (7, 140), (299, 300)):
        part = X.rows(start, stop) if is_sparse else X[start:stop]
        got = run("project", "cython", {**given_, "X": part})
        assert got.tobytes() == whole[start:stop].tobytes()


def test_gram_of_no_components_is_empty():
    given_ = arguments(50, 4, 0, np.float64, with_y=False)
    assert run("project", "cython", given_).shape == (50, 0)
    assert run("projected_gram", "cython", given_).shape == (0,)
