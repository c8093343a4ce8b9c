"""The passes of the interior-point method: C against NumPy, and both against what they are to compute."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import call
from scipy import sparse

from hpcml import machine
from hpcml.kernels import contract
from hpcml.kernels.csr import CSR
from hpcml.kernels.overshoot import N_CODES, largest_ratio, largest_ratio_of, overshoot_code
from hpcml.kernels.shards import bounds_of

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


def rows(n, d, loss, *, dtype=np.float64, as_csr=False, weighted=False, seed=0):
    """Return arguments of a pass, at a point strictly inside all bounds."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(dtype)
    weights = rng.integers(0, 3, n).astype(np.float64) if weighted else None  # some rows count nowhere
    if as_csr:
        X[rng.random((n, d)) < 0.6] = 0.0
        X = CSR.of(sparse.csr_array(X))
    y = rng.integers(0, 3, n).astype(np.float64) if loss == "hinge" else rng.standard_normal(n)
    J = 1 if loss == "hinge" else 2
    price, other_price = 1.5, 0.5 if loss == "hinge" else 1.5
    c = np.where(y == 1.0, price, other_price) * (1.0 if weights is None else weights)
    state = {
        "alpha": c[:, np.newaxis] * rng.uniform(0.1, 0.9, (n, J)),
        "lower": rng.uniform(0.1, 2.0, (n, J)),
        "upper": rng.uniform(0.1, 2.0, (n, J)),
    }
    what = {"loss": loss, "positive": 1.0, "epsilon": 0.2, "price": price, "other_price": other_price}
    vectors = rng.standard_normal((3, d + 1))
    return {"X": X, "y": y, "weights": weights}, state, vectors, what


def run(implementation, name, given_rows, state, vectors, what, n_threads=1, **more):
    """Return the parts of a pass's statistic, added up, and the state after it."""
    n = len(given_rows["y"])
    bounds = bounds_of(n)
    state = {key: value.copy() for key, value in state.items()}
    arguments = {**given_rows, **state, "vectors": vectors, **what, **more}
    shard = {"bounds": bounds, "first_shard": 0, "n_shards": len(bounds) - 1}
    pieces, sums = call(name, implementation, **shard, **arguments, n_threads=n_threads)
    assert pieces.tolist() == [[0, len(bounds) - 1]]
    parts, at = {}, 0
    for part, shape in contract.statistic_shapes(name, arguments).items():
        size = int(np.prod(shape))
        parts[part] = sums[0, at : at + size].reshape(shape)
        at += size
    if "gram" in parts:
        parts["gram"] = np.triu(parts["gram"])
    return {**parts, **state} if name == "interior_gram" else parts


def passes(implementation, given_rows, state, vectors, what, n_threads=1):
    """Return the results of all three passes."""
    arguments = (given_rows, state, vectors, what, n_threads)
    two = (given_rows, state, np.ascontiguousarray(vectors[:2]), what, n_threads)
    return (
        run(implementation, "interior_gram", *arguments, barrier=0.03, step=0.01),
        run(implementation, "interior_correct", *two),
        run(implementation, "interior_step", *arguments, barrier=0.03),
    )


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert list(ours) == list(theirs)
        for name in ours:
            scale = max(float(np.abs(theirs[name]).max(initial=0.0)), 1.0)
            np.testing.assert_allclose(ours[name] / scale, theirs[name] / scale, err_msg=name, **TOLERANCE)


@pytest.mark.require("cython")
@pytest.mark.parametrize("loss", ["hinge", "epsilon_insensitive"])
@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 400),
    d=st.integers(1, 40),
    single=st.booleans(),
    as_csr=st.booleans(),
    weighted=st.booleans(),
    n_threads=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_compiled_passes_are_the_reference(loss, n, d, single, as_csr, weighted, n_threads, seed):
    dtype = np.float32 if single else np.float64
    point = rows(n, d, loss, dtype=dtype, as_csr=as_csr, weighted=weighted, seed=seed)
    assert_same(passes("cython", *point, n_threads), passes("reference", *point))


@pytest.mark.require("cython")
@pytest.mark.parametrize("isa", machine.supported_isas())
@pytest.mark.parametrize("as_csr", [False, True])
def test_every_instruction_set(isa, as_csr, monkeypatch):
    monkeypatch.setenv("HPCML_ISA", isa)
    for loss in ("hinge", "epsilon_insensitive"):
        point = rows(2300, 33, loss, as_csr=as_csr, weighted=True)
        once = passes("cython", *point, 1)
        assert_same(once, passes("reference", *point))
        for ours, again in zip(once, passes("cython", *point, 3), strict=True):
            assert all(ours[name].tobytes() == again[name].tobytes() for name in ours)


@pytest.mark.require("cython")
def test_the_start_is_the_reference():
    for loss in ("hinge", "epsilon_insensitive"):
        given_rows, _, _, what = rows(50, 2, loss, weighted=True)
        del given_rows["X"]
        arguments = {**given_rows, **what, "least": 0.5, "n_threads": 1}
        ours, theirs = (
            call("interior_start", "cython", **arguments),
            call("interior_start", "reference", **arguments),
        )
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("loss", ["hinge", "epsilon_insensitive"])
def test_a_step_brings_the_linear_conditions_nearer(loss):
    """t + u - v, which is 0 in the optimum, shrinks by the step whatever the direction is."""
    given_rows, state, vectors, what = rows(60, 3, loss)
    w, X, y = vectors[0], given_rows["X"], given_rows["y"]
    first = run("reference", "interior_gram", given_rows, state, vectors, what, barrier=0.0, step=0.0)
    gram = first["gram"] + np.triu(first["gram"], 1).T
    predicted = np.linalg.solve(gram + np.eye(4), first["pull"] - w + first["target"])
    moved = np.stack([w, np.zeros(4), predicted])
    step = 1e-3
    after = run("reference", "interior_gram", given_rows, state, moved, what, barrier=0.0, step=step)
    s = np.where(y == 1.0, 1.0, -1.0)[:, np.newaxis] if loss == "hinge" else np.array([[1.0, -1.0]])
    o = 1.0 if loss == "hinge" else s * y[:, np.newaxis] - what["epsilon"]

    def residual(w, state):
        return o - s * (X @ w[:-1] + w[-1])[:, np.newaxis] + state["lower"] - state["upper"]

    expected = (1 - step) * residual(w, state)
    np.testing.assert_allclose(residual(w + step * predicted, after), expected, rtol=1e-8, atol=1e-8)


def test_codes_of_overshoots_round_up_by_an_eighth_of_an_octave():
    for ratio in (0.0, 1.0, 1.00001, 1.01, 1.5, 2.0, 77.0, 1e10):
        bound = largest_ratio(overshoot_code(ratio))
        assert bound > ratio
        assert bound - 1 <= max((ratio - 1) * 1.13, 2.0**-14 * 1.13)
    assert largest_ratio(overshoot_code(1e30)) == np.inf
    counts = np.zeros(N_CODES)
    counts[[0, overshoot_code(3.0)]] = 1.0
    assert 3.0 < largest_ratio_of(counts) <= 3.25
