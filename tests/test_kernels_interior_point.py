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


def rows(n, d, loss, *, dtype=np.float64, as_csr=False, weighted=False, seed=0, n_models=1):
    """Return arguments of a pass, at a point strictly inside all bounds."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(dtype)
    weights = rng.integers(0, 3, n).astype(np.float64) if weighted else None  # some rows count nowhere
    if as_csr:
        X[rng.random((n, d)) < 0.6] = 0.0
        X = CSR.of(sparse.csr_array(X))
    y = rng.integers(0, 3, n).astype(np.float64) if loss == "hinge" else rng.standard_normal(n)
    J = 1 if loss == "hinge" else 2
    positive = (1.0 + np.arange(n_models)) % 3
    price = 1.5 + np.arange(n_models)
    other_price = price - 1.0 if loss == "hinge" else price
    c = np.where(y[:, np.newaxis] == positive, price, other_price)
    c = np.repeat(c if weights is None else c * weights[:, np.newaxis], J, axis=1)
    state = {
        "alpha": c * rng.uniform(0.1, 0.9, c.shape),
        "lower": rng.uniform(0.1, 2.0, c.shape),
        "upper": rng.uniform(0.1, 2.0, c.shape),
    }
    what = {"loss": loss, "positive": positive, "epsilon": 0.2, "price": price, "other_price": other_price}
    vectors = rng.standard_normal((3, n_models, d + 1))
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
        parts["gram"] = np.triu(parts["gram"])  # of every model
    if name != "interior_gram":
        return parts
    live = slice(None) if given_rows["weights"] is None else given_rows["weights"] > 0
    return {**parts, **{key: value[live] for key, value in state.items()}}


def passes(implementation, given_rows, state, vectors, what, n_threads=1):
    """Return the results of all three passes."""
    arguments = (given_rows, state, vectors, what, n_threads)
    barrier = 0.03 + 0.01 * np.arange(len(what["price"]))
    two = (given_rows, state, np.ascontiguousarray(vectors[:2]), what, n_threads)
    return (
        run(implementation, "interior_gram", *arguments, barrier=barrier, step=barrier / 3),
        run(implementation, "interior_correct", *two),
        run(implementation, "interior_step", *arguments, barrier=barrier),
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
    n_models=st.integers(1, 11),
)
def test_compiled_passes_are_the_reference(loss, n, d, single, as_csr, weighted, n_threads, seed, n_models):
    dtype = np.float32 if single else np.float64
    point = rows(n, d, loss, dtype=dtype, as_csr=as_csr, weighted=weighted, seed=seed, n_models=n_models)
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
@pytest.mark.parametrize("loss", ["hinge", "epsilon_insensitive"])
def test_a_model_is_the_same_in_any_company(loss):
    given_rows, state, vectors, what = rows(3000, 20, loss, weighted=True, n_models=7)
    J, m = state["alpha"].shape[1] // 7, 4
    alone = {key: np.ascontiguousarray(value[:, m * J : (m + 1) * J]) for key, value in state.items()}
    own = {key: value[m : m + 1] if isinstance(value, np.ndarray) else value for key, value in what.items()}
    barrier, step = np.full(7, 0.03), np.full(7, 0.01)
    many = run("cython", "interior_gram", given_rows, state, vectors, what, barrier=barrier, step=step)
    one = run(
        "cython",
        "interior_gram",
        given_rows,
        alone,
        np.ascontiguousarray(vectors[:, m : m + 1]),
        own,
        barrier=barrier[:1],
        step=step[:1],
    )
    for name in ("gram", "pull", "target", "products", "live", "primal", "dual"):
        assert many[name][m].tobytes() == one[name][0].tobytes(), name


@pytest.mark.require("cython")
def test_the_start_is_the_reference():
    for loss in ("hinge", "epsilon_insensitive"):
        given_rows, _, _, what = rows(50, 2, loss, weighted=True, n_models=2)
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
    w, X, y = vectors[0, 0], given_rows["X"], given_rows["y"]
    first = run(
        "reference", "interior_gram", given_rows, state, vectors, what, barrier=np.zeros(1), step=np.zeros(1)
    )
    gram = first["gram"][0] + np.triu(first["gram"][0], 1).T
    predicted = np.linalg.solve(gram + np.eye(4), first["pull"][0] - w + first["target"][0])
    moved = np.stack([w, np.zeros(4), predicted])[:, np.newaxis]
    step = 1e-3
    after = run(
        "reference",
        "interior_gram",
        given_rows,
        state,
        moved,
        what,
        barrier=np.zeros(1),
        step=np.full(1, step),
    )
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
