"""The compiled kernels of mixtures against their definition in NumPy."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import call

from hpcml import machine
from hpcml.kernels import contract
from hpcml.kernels.shards import bounds_of, n_shards

pytestmark = pytest.mark.require("cython")

TOLERANCE = {np.dtype(np.float32): 2e-4, np.dtype(np.float64): 1e-10}


def mixture(n, d, k, dtype, seed, diagonal):
    """Return rows around k means, and the arguments that describe a mixture near them."""
    rng = np.random.RandomState(seed)
    means = 3 * rng.standard_normal((k, d))
    X = 10 + rng.standard_normal((n, d)) + means[rng.randint(k, size=n)]
    factors = 0.5 + rng.random_sample((k, d))
    if not diagonal:
        factors = np.triu(0.3 * rng.standard_normal((k, d, d)), 1) + factors[:, :, np.newaxis] * np.eye(d)
    arguments = {
        "center": np.full(d, 10.0),
        "means": means + 0.1 * rng.standard_normal((k, d)),
        "factors": factors,
        "log_weights": np.log(rng.dirichlet(np.ones(k) * 5)),
    }
    cast = {name: np.ascontiguousarray(array, dtype=dtype) for name, array in arguments.items()}
    return np.ascontiguousarray(X, dtype=dtype), cast


def reduced(name, implementation, n_threads, **arguments):
    """Return the statistic of all rows, by the names of its parts."""
    n = len(arguments["X"])
    ranges, sums = call(
        name,
        implementation,
        bounds=bounds_of(n),
        first_shard=0,
        n_shards=n_shards(n),
        n_threads=n_threads,
        **arguments,
    )
    assert ranges.tolist() == [[0, n_shards(n)]]
    shapes = contract.statistic_shapes(name, arguments)
    parts = np.split(sums[0], np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1])
    return {part: values.reshape(shapes[part]) for part, values in zip(shapes, parts, strict=True)}


def assert_near(found, expected, dtype, n):
    for name, values in expected.items():
        scale = max(1.0, float(np.abs(values).max()))
        np.testing.assert_allclose(
            found[name], values, rtol=0, atol=TOLERANCE[np.dtype(dtype)] * scale, err_msg=name
        )


SHAPES = {
    "n": st.sampled_from([1, 2, 7, 31, 63, 64, 65, 200, 1023, 2500]),
    "d": st.integers(1, 37),
    "k": st.integers(1, 9),
    "dtype": st.sampled_from([np.float32, np.float64]),
    "diagonal": st.booleans(),
    "seed": st.integers(0, 1000),
}


@settings(max_examples=60, deadline=None)
@given(**SHAPES, n_threads=st.integers(1, 3))
def test_steps_agree(n, d, k, dtype, diagonal, seed, n_threads):
    X, model = mixture(n, d, k, dtype, seed, diagonal)
    name = "gaussian_step_diagonal" if diagonal else "gaussian_step"
    shifts = model["means"] + dtype(0.5)
    expected = reduced(name, "reference", 1, X=X, **model, shifts=shifts)
    found = reduced(name, "cython", n_threads, X=X, **model, shifts=shifts)
    assert_near(found, expected, dtype, n)
    if not diagonal:
        assert not np.tril(found["squares"], -1).any()


@settings(max_examples=40, deadline=None)
@given(**SHAPES, labelled=st.booleans())
def test_moments_agree(n, d, k, dtype, diagonal, seed, labelled):
    X, model = mixture(n, d, k, dtype, seed, diagonal)
    rng = np.random.RandomState(seed)
    arguments = {
        "X": X,
        "center": model["center"],
        "shifts": model["means"],
        "labels": None,
        "responsibilities": None,
    }
    if labelled:
        arguments["labels"] = rng.randint(-1, k, size=n).astype(np.int32)
    else:
        arguments["responsibilities"] = rng.dirichlet(np.ones(k), size=n).astype(dtype)
    name = "gaussian_moments_diagonal" if diagonal else "gaussian_moments"
    assert_near(reduced(name, "cython", 2, **arguments), reduced(name, "reference", 1, **arguments), dtype, n)


@settings(max_examples=40, deadline=None)
@given(**SHAPES, n_threads=st.integers(1, 3), with_responsibilities=st.integers(0, 1))
def test_rows_agree(n, d, k, dtype, diagonal, seed, n_threads, with_responsibilities):
    X, model = mixture(n, d, k, dtype, seed, diagonal)
    name = "gaussian_rows_diagonal" if diagonal else "gaussian_rows"
    arguments = {"X": X, **model, "with_responsibilities": with_responsibilities}
    log_densities, labels, r = call(name, "reference", **arguments)
    found = call(name, "cython", **arguments, n_threads=n_threads)
    tolerance = TOLERANCE[np.dtype(dtype)]
    np.testing.assert_allclose(found[0], log_densities, rtol=tolerance, atol=tolerance)
    assert found[2].shape == (n, k * with_responsibilities)
    np.testing.assert_allclose(found[2], r, rtol=0, atol=10 * tolerance * max(1, np.abs(log_densities).max()))
    for i in np.flatnonzero(found[1] != labels):  # near ties only
        full = call(name, "reference", **{**arguments, "with_responsibilities": 1})[2][i]
        assert full[found[1][i]] > 0.999 * full[labels[i]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("diagonal", [False, True])
def test_a_row_is_the_same_in_any_block(dtype, diagonal):
    X, model = mixture(700, 5, 3, dtype, 0, diagonal)
    name = "gaussian_rows_diagonal" if diagonal else "gaussian_rows"
    whole = call(name, "cython", X=X, **model, with_responsibilities=1)
    for start, stop in [(0, 1), (13, 30), (500, 700)]:
        part = call(name, "cython", X=X[start:stop].copy(), **model, with_responsibilities=1)
        for a, b in zip(part, whole, strict=True):
            np.testing.assert_array_equal(a, b[start:stop])


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("implementation", ["cython", "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_that_nothing_explains(implementation, dtype):
    X, model = mixture(50, 3, 2, dtype, 0, diagonal=True)
    X[7] = 1e18 if dtype == np.float32 else 1e160
    model["log_weights"][1] = -1e30
    log_densities, labels, r = call(
        "gaussian_rows_diagonal", implementation, X=X, **model, with_responsibilities=1
    )
    assert np.isfinite(log_densities).all() and np.isfinite(r).all()
    np.testing.assert_allclose(r.sum(axis=1), 1.0, rtol=1e-6)
    assert log_densities[7] <= -1e29 and labels[7] == 0
    others = np.arange(50) != 7
    assert (labels[others] == 0).all() and (r[others, 1] == 0).all()


@pytest.mark.parametrize("isa", machine.supported_isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("diagonal", [False, True])
def test_every_instruction_set(isa, dtype, diagonal, monkeypatch):
    monkeypatch.setenv("HPCML_ISA", isa)
    for n, d, k in [(1, 1, 1), (70, 3, 2), (1300, 9, 5), (300, 18, 3)]:
        X, model = mixture(n, d, k, dtype, n, diagonal)
        name = "gaussian_step_diagonal" if diagonal else "gaussian_step"
        arguments = {"X": X, **model, "shifts": model["means"]}
        assert_near(
            reduced(name, "cython", 2, **arguments), reduced(name, "reference", 1, **arguments), dtype, n
        )
        name = name.replace("step", "rows")
        found = call(name, "cython", X=X, **model, with_responsibilities=1)
        expected = call(name, "reference", X=X, **model, with_responsibilities=1)
        np.testing.assert_allclose(found[0], expected[0], rtol=TOLERANCE[np.dtype(dtype)], atol=1e-4)


@pytest.mark.parametrize("name", ["gaussian_step", "gaussian_step_diagonal"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_threads(name, dtype):
    X, model = mixture(5000, 6, 4, dtype, 1, diagonal=name.endswith("diagonal"))
    one, two, three = (reduced(name, "cython", t, X=X, **model, shifts=model["means"]) for t in (1, 2, 3))
    for part, values in one.items():
        assert values.tobytes() == two[part].tobytes() == three[part].tobytes()


@pytest.mark.parametrize("implementation", ["reference", *machine.supported_isas()])
@pytest.mark.parametrize("diagonal", [False, True], ids=["full", "diagonal"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 3), (2600, 5), (1300, 8)])
def test_several_mixtures_have_the_bits_of_single_ones(implementation, diagonal, dtype, shape, monkeypatch):
    if implementation != "reference":
        monkeypatch.setenv("HPCML_ISA", implementation)
        implementation = "cython"
    n, d = shape
    X, model = mixture(n, d, 13, dtype, 4, diagonal)
    suffix = "_diagonal" if diagonal else ""
    first = np.array([0, 5, 6, 13])
    found = reduced("gaussian_steps" + suffix, implementation, 2, X=X, first=first, **model)
    for i, (start, stop) in enumerate(itertools.pairwise(first)):
        own = {name: values if name == "center" else values[start:stop] for name, values in model.items()}
        one = reduced("gaussian_step" + suffix, implementation, 1, X=X, shifts=own["means"], **own)
        assert one["log_likelihood"][0] == found["log_likelihood"][i]
        for name in ("counts", "sums", "squares"):
            assert found[name][start:stop].tobytes() == one[name].tobytes()
