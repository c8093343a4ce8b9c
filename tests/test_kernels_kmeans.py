"""Kernels of k-means: the compiled ones against the reference, and what all of them promise."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import call
from scipy import sparse

from hpcml import machine
from hpcml.kernels.csr import CSR
from hpcml.kernels.shards import bounds_of

IMPLEMENTATIONS = ["reference", pytest.param("cython", marks=pytest.mark.require("cython"))]
TOLERANCE = {"float32": 3e-5, "float64": 1e-11}  # of sums of up to 1000 products


def problem(n, d, k, dtype, *, seed=0, weighted=False, csr=False, distinct=False):
    """Return rows, weights, centers, and the origin."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)).astype(dtype)
    if csr:
        X[rng.random(X.shape) < 0.6] = 0
    centers = X[np.sort(rng.choice(n, k, replace=not distinct))] + 0.1 * rng.normal(size=(k, d)).astype(dtype)
    w = rng.random(n) * (rng.random(n) < 0.8) if weighted else None
    if csr:
        return CSR.of(sparse.csr_array(X)), w, centers, None
    return X, w, centers, X.mean(axis=0)


def shards(n, n_threads=1):
    bounds = bounds_of(n)
    return {"bounds": bounds, "first_shard": 0, "n_shards": len(bounds) - 1, "n_threads": n_threads}


def less(centers, origin):
    return centers if origin is None else centers - origin


def total(result):
    """Return the statistic of one call over all shards."""
    assert result[0].tolist() == [[0, result[0][-1, 1]]]
    return result[1][0]


def run_all(implementation, X, w, centers, origin, n_threads=1):
    """Return what every kernel returns, by name."""
    n, k = X.shape[0], len(centers)
    c = less(centers, origin)
    cut = shards(n, n_threads)
    found = {"nearest_center": call("nearest_center", implementation, X, c, origin, n_threads)[0]}
    labels = np.full(n, -1, dtype=np.int32)
    found["lloyd_step"] = total(
        call(
            "lloyd_step",
            implementation,
            X=X,
            weights=w,
            labels=labels,
            centers=c,
            origin=origin,
            with_inertia=1,
            **cut,
        )
    )
    found["labels"] = labels.copy()
    found["assign_rows"] = total(
        call("assign_rows", implementation, X=X, weights=w, labels=labels, centers=c, origin=origin, **cut)
    )
    found["center_distances"] = call("center_distances", implementation, X, centers, n_threads)
    found["label_distances"] = call("label_distances", implementation, X, labels, c, origin, n_threads)
    shares = np.full(n, np.inf, dtype=centers.dtype)
    found["add_seed"] = total(
        call("add_seed", implementation, X=X, weights=w, shares=shares, seed=centers[:1], **cut)
    )
    found["try_seeds"] = total(
        call("try_seeds", implementation, X=X, weights=w, shares=shares, seeds=centers, **cut)
    )
    found["shares"] = shares
    if k > 1:
        found |= bounded(implementation, X, w, c, origin, cut)
    return found


def bounded(implementation, X, w, c, origin, cut):
    """Return labels, statistics and bounds of a first step, and of a second after small moves."""
    n, k = X.shape[0], len(c)
    labels = np.full(n, -1, dtype=np.int32)
    upper, lower = np.zeros(n, dtype=c.dtype), np.zeros(n, dtype=c.dtype)
    found = {}
    moved = np.zeros(k)
    for step in ("first", "second"):
        statistic = total(
            call(
                "bounded_step",
                implementation,
                X=X,
                weights=w,
                labels=labels,
                upper=upper,
                lower=lower,
                centers=c,
                origin=origin,
                moved=moved,
                others_moved=np.full(k, moved.max()),
                apart=np.zeros(k),
                first=int(step == "first"),
                with_inertia=0,
                **cut,
            )
        )
        found |= {f"{step}_labels": labels.copy(), f"{step}_sums": statistic[:-3], "compared": statistic[-1:]}
        rows = X.to_scipy().toarray() if isinstance(X, CSR) else X - origin
        distances = np.linalg.norm(rows[:, np.newaxis].astype(float) - c, axis=2)
        own = distances[np.arange(n), labels]
        distances[np.arange(n), labels] = np.inf
        assert (own <= upper * (1 + 1e-15)).all() and (lower <= distances.min(axis=1) * (1 + 1e-15)).all()
        before = c
        c = (c + 0.01 * np.sin(np.arange(c.size)).reshape(c.shape)).astype(c.dtype)
        moved = np.linalg.norm(c.astype(float) - before, axis=1)
    return found


def assert_close(found, expected, dtype):
    """Compare all but how many rows the bounds left open, which depends on rounding."""
    for name, value in expected.items():
        if value.dtype.kind == "i":
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        elif name != "compared":
            scale = np.abs(value).max(initial=0.0) or 1.0
            np.testing.assert_allclose(
                found[name] / scale, value / scale, atol=TOLERANCE[dtype], err_msg=name
            )


SHAPES = [(1, 1, 1), (50, 3, 2), (700, 17, 5), (2500, 8, 8), (300, 130, 19), (97, 300, 40), (3100, 32, 64)]


@pytest.mark.require("cython")
@pytest.mark.parametrize("csr", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", machine.supported_isas())
def test_compiled_kernels_do_as_the_reference(isa, dtype, csr, monkeypatch):
    monkeypatch.setenv("HPCML_ISA", isa)
    for i, (n, d, k) in enumerate(SHAPES):
        case = problem(n, d, k, dtype, seed=i, weighted=bool(i % 2), csr=csr)
        assert_close(run_all("cython", *case), run_all("reference", *case), dtype)


@pytest.mark.require("cython")
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 200),
    d=st.integers(1, 40),
    k=st.integers(1, 24),
    dtype=st.sampled_from(["float32", "float64"]),
    weighted=st.booleans(),
    csr=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_any_shape(n, d, k, dtype, weighted, csr, seed):
    case = problem(n, d, min(n, k), dtype, seed=seed, weighted=weighted, csr=csr, distinct=True)
    found, expected = run_all("cython", *case), run_all("reference", *case)
    if dtype == "float64":
        assert_close(found, expected, dtype)
    else:  # a row on a border may have another label in another order of summation
        assert (found["labels"] != expected["labels"]).sum() <= 1
        np.testing.assert_allclose(found["center_distances"], expected["center_distances"], atol=1e-4)


@pytest.mark.require("cython")
@pytest.mark.parametrize("csr", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("isa", machine.supported_isas())
def test_threads_change_no_bit(isa, csr, monkeypatch):
    monkeypatch.setenv("HPCML_ISA", isa)
    case = problem(5000, 11, 9, "float32", weighted=True, csr=csr)
    one = run_all("cython", *case)
    for n_threads in (2, 3):
        several = run_all("cython", *case, n_threads=n_threads)
        assert all(several[name].tobytes() == one[name].tobytes() for name in one)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("csr", [False, True], ids=["dense", "csr"])
def test_bounds_change_no_bit(implementation, csr):
    X, w, centers, origin = problem(4000, 6, 12, "float64", weighted=True, csr=csr)
    found = run_all(implementation, X, w, centers, origin)
    assert found["first_labels"].tobytes() == found["labels"].tobytes()
    assert found["first_sums"].tobytes() == found["lloyd_step"][:-2].tobytes()
    assert found["compared"][0] < 0.9 * 4000  # most rows of the second step keep their label by their bounds


@pytest.mark.require("cython")
@pytest.mark.parametrize("isa", machine.supported_isas())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_does_not_depend_on_its_block(isa, dtype, monkeypatch):
    monkeypatch.setenv("HPCML_ISA", isa)
    X, _, centers, origin = problem(133, 300, 21, dtype)
    whole = call("center_distances", "cython", X, centers, 1)
    labels = call("nearest_center", "cython", X, less(centers, origin), origin, 1)[0]
    for start, stop in ((0, 1), (5, 18), (40, 133), (132, 133)):
        some = np.ascontiguousarray(X[start:stop])
        assert (call("center_distances", "cython", some, centers, 1) == whole[start:stop]).all()
        found = call("nearest_center", "cython", some, less(centers, origin), origin, 1)[0]
        assert (found == labels[start:stop]).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ties_go_to_the_lowest_center(implementation, dtype):
    X = np.repeat(np.array([[0.0], [2.0], [4.0]], dtype=dtype), 40, axis=0)
    centers = np.array([[9.0], [3.0], [1.0], [3.0], [1.0], [1.0]] + [[3.0]] * 20, dtype=dtype)
    origin = np.zeros(1, dtype=dtype)
    labels = call("nearest_center", implementation, X, centers, origin, 1)[0]
    assert labels.tolist() == [2] * 40 + [1] * 40 + [1] * 40


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_origin_keeps_the_digits_of_single_precision(implementation):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(500, 20)) + 3e4).astype(np.float32)
    centers = X[:30].copy()
    origin = X.mean(axis=0)
    labels = call("nearest_center", implementation, X, centers - origin, origin, 1)[0]
    exact = ((X[:, np.newaxis].astype(float) - centers) ** 2).sum(axis=2)
    assert (exact[np.arange(500), labels] <= exact.min(axis=1) * (1 + 1e-5)).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_distances_of_a_row_to_itself_are_zero(implementation):
    X, _, _, _ = problem(60, 7, 3, "float32")
    distances = call("center_distances", implementation, X, X.copy(), 1)
    assert (np.diagonal(distances) == 0).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_rows_of_no_weight_count_nowhere(implementation):
    X, _, centers, origin = problem(300, 4, 5, "float64")
    keep = np.arange(300) % 3 > 0
    found = run_all(implementation, X, keep.astype(float), centers, origin)
    expected = run_all(implementation, X[keep], None, centers, origin)
    for name in ("add_seed", "try_seeds"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)
    changed = len(found["lloyd_step"]) - 2  # counts all rows
    for part in (slice(0, changed), slice(changed + 1, None)):
        np.testing.assert_allclose(found["lloyd_step"][part], expected["lloyd_step"][part], rtol=1e-11)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [1, 5, 33, 300])
def test_rows_that_are_not_finite_are_counted(implementation, dtype, d):
    X, _, centers, origin = problem(200, d, 7, dtype)
    centers[:, 0] = origin[0]  # inf times 0 is NaN
    bad = np.random.default_rng(d).choice(200, 30, replace=False)
    for i, row in enumerate(bad):
        X[row, i % d] = (np.nan, np.inf, -np.inf)[i % 3]
    X[bad[-1], -1] = np.inf  # beside another one: inf - inf
    _, overflown = call("nearest_center", implementation, X, centers - origin, origin, 2)
    assert overflown.tolist() == [30]


@pytest.mark.parametrize("implementation", ["reference", *machine.supported_isas()])
@pytest.mark.parametrize("csr", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(2500, 8), (300, 150), (1, 3), (1100, 16)])
@pytest.mark.require("cython")
def test_sets_of_centers_have_the_bits_of_single_ones(implementation, dtype, csr, shape, monkeypatch):
    if implementation != "reference":
        monkeypatch.setenv("HPCML_ISA", implementation)
        implementation = "cython"
    n, d = shape
    sizes, columns = [1, 9, 2, 17], np.array([4, 0, 2, 1])
    X, w, centers, origin = problem(n, d, 29, dtype, weighted=n % 2 == 0, csr=csr)
    centers = less(centers, origin)
    labels = np.random.default_rng(0).integers(0, 2, size=(n, 5)).astype(np.int32)
    before = labels.copy()
    first = np.concatenate([[0], np.cumsum(sizes)])
    sets = {"labels": labels, "columns": columns, "first": first, "centers": centers, "origin": origin}
    found = total(call("lloyd_steps", implementation, X=X, weights=w, **sets, **shards(n, 2)))
    sums, counts, changed = np.split(found, [29 * d, 29 * d + 29])
    for i, (start, stop) in enumerate(itertools.pairwise(first)):
        own = before[:, columns[i]].copy()
        one = {"labels": own, "centers": centers[start:stop], "origin": origin, "with_inertia": 0}
        expected = total(call("lloyd_step", implementation, X=X, weights=w, **one, **shards(n)))
        assert (labels[:, columns[i]] == own).all()
        several = sums.reshape(29, d)[start:stop], counts[start:stop], changed[i]
        assert np.concatenate([np.ravel(part) for part in several]).tobytes() == expected[:-1].tobytes()
    assert (labels[:, 3] == before[:, 3]).all()
