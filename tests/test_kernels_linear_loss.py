"""Losses of linear models: compiled kernels against the definition, that against differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import call
from scipy import sparse

from hpcml import machine
from hpcml.kernels import contract
from hpcml.kernels.csr import CSR
from hpcml.kernels.declared.linear_loss import LOSSES
from hpcml.kernels.shards import TreeSum, bounds_of

REDUCED = ["linear_gradient", "linear_hessian", "multinomial_hessian", "linear_diagonal"]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}


def problem(
    n, d, K, loss, dtype, *, seed=0, weighted=True, as_csr=False, scale=1.0, problems=None, mixed=False
):
    """Return the arguments that all kernels take."""
    rng = np.random.default_rng(seed)
    X = (scale * rng.standard_normal((n, d))).astype(dtype)
    if as_csr:
        X[rng.random(X.shape) < 0.7] = 0
        X = CSR.of(sparse.csr_array(X))
    problems = problems or (1 if loss == "multinomial" else K)
    n_classes = max(
        K // problems if loss == "multinomial" else K, 2
    )  # class 1 is positive in a single column
    y = rng.standard_normal(n) if "epsilon" in loss else rng.integers(0, n_classes, n).astype(float)
    arguments = {
        "X": X,
        "y": y,
        "weights": rng.random(n) * (rng.random(n) < 0.9) if weighted else None,
        "W": rng.standard_normal((K, d + 1)) / np.sqrt(d + 1),
        "positive": np.arange(K, dtype=float) if K > 1 else np.ones(1),
        "loss": loss,
        "epsilon": 0.3,
        "problems": problems,
        "held": None,
        "origin": None,
        "folds": None,
        "factors": None,
    }
    if mixed:  # rows that folds leave out, weights of classes, rows about an origin
        arguments["held"] = rng.integers(0, 8, n) << 60 | rng.integers(0, 4, n)
        arguments["folds"] = rng.choice([0, 1, 2, 61, 62], problems)
        arguments["origin"] = rng.standard_normal(d)
        if "epsilon" not in loss:
            arguments["factors"] = rng.random((problems, n_classes))
    return arguments


def run(name, implementation, arguments, n_threads=1):
    """Return the parts of the sum over all rows."""
    names = [a.name for a in contract.KERNELS[name].arguments]
    given_ = {key: value for key, value in arguments.items() if key in names}
    bounds = bounds_of(arguments["X"].shape[0])
    pieces, sums = call(
        name, implementation,
        bounds=bounds, first_shard=0, n_shards=len(bounds) - 1, **given_, n_threads=n_threads,
    )  # fmt: skip
    assert pieces.tolist() == [[0, len(bounds) - 1]]
    found, at = {}, 0
    for part, shape in contract.statistic_shapes(name, given_).items():
        found[part] = sums[0, at : at + np.prod(shape, dtype=int)].reshape(shape)
        at += found[part].size
    return found


def assert_close(found, expected, dtype):
    for part, value in expected.items():
        size = max(1.0, np.abs(value).max(initial=0.0))
        np.testing.assert_allclose(found[part], value, atol=TOLERANCE[dtype] * size, rtol=0, err_msg=part)


def names_for(loss):
    return [name for name in REDUCED if name != "multinomial_hessian" or loss == "multinomial"]


# -- the definition ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_and_the_hessian_are_those_of_the_loss(loss):
    K = 3 if loss == "multinomial" else 1
    arguments = problem(40, 4, K, loss, np.float64)
    V = np.random.default_rng(1).standard_normal((K, 5))
    h = 1e-6

    def at(step):
        return run("linear_gradient", "reference", {**arguments, "W": arguments["W"] + step * V})

    slope = (at(h)["loss"].sum() - at(-h)["loss"].sum()) / (2 * h)
    assert slope == pytest.approx((at(0)["gradient"].T * V).sum(), rel=1e-6)
    change = (at(h)["gradient"] - at(-h)["gradient"]).T / (2 * h)
    if loss == "multinomial":
        H = run("multinomial_hessian", "reference", arguments)["hessian"]
        np.testing.assert_allclose(np.einsum("klij,lj->ki", H, V), change, atol=1e-5)
        blocks = H[np.arange(K), np.arange(K)]
        np.testing.assert_allclose(
            run("linear_hessian", "reference", arguments)["hessian"], blocks, atol=1e-10
        )
    else:
        blocks = run("linear_hessian", "reference", arguments)["hessian"]
        np.testing.assert_allclose(np.einsum("kij,kj->ki", blocks, V), change, atol=1e-5)
    diagonal = run("linear_diagonal", "reference", arguments)["diagonal"]
    np.testing.assert_allclose(np.diagonal(blocks, axis1=1, axis2=2).T, diagonal, atol=1e-10)


# -- the compiled kernels ------------------------------------------------------------------------------------


@pytest.mark.require("cython")
@pytest.mark.parametrize("as_csr", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
@given(
    n=st.integers(1, 400),
    d=st.integers(1, 70),
    K=st.integers(1, 9),
    mixed=st.booleans(),
    weighted=st.booleans(),
)
def test_compiled_kernels_compute_what_the_definition_says(loss, dtype, as_csr, n, d, K, mixed, weighted):
    K = max(K, 2) if loss == "multinomial" else K
    arguments = problem(n, d, K, loss, dtype, seed=n + d, weighted=weighted, as_csr=as_csr, mixed=mixed)
    for name in names_for(loss):
        expected = run(name, "reference", arguments)
        assert_close(run(name, "cython", arguments), expected, dtype)
    rows = arguments["X"], arguments["origin"], arguments["W"]
    margins = [call("linear_margins", i, *rows) for i in ("reference", "cython")]
    np.testing.assert_allclose(margins[1], margins[0], atol=TOLERANCE[dtype] * 10)
    alone = call("linear_margins", "cython", *rows[:2], np.ascontiguousarray(arguments["W"][-1:]))
    assert alone.tobytes() == np.ascontiguousarray(margins[1][:, -1:]).tobytes()


@pytest.mark.require("cython")
@pytest.mark.parametrize("as_csr", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
@given(
    n=st.integers(1, 300), d=st.integers(1, 40), problems=st.integers(2, 70), classes=st.integers(2, 5),
    mixed=st.booleans(),
)  # fmt: skip
def test_many_problems_at_once(loss, dtype, as_csr, n, d, problems, classes, mixed):
    K = problems * classes if loss == "multinomial" else problems
    arguments = problem(n, d, K, loss, dtype, seed=n, as_csr=as_csr, problems=problems, mixed=mixed)
    if loss != "multinomial":
        arguments["positive"] = np.arange(K) % 2.0
    for name in ("linear_gradient", "linear_diagonal"):
        assert_close(run(name, "cython", arguments), run(name, "reference", arguments), dtype)


@pytest.mark.require("cython")
@pytest.mark.parametrize("as_csr", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_threads_and_shards_do_not_change_the_bits(loss, as_csr):
    arguments = problem(5000, 7, 3, loss, np.float32, as_csr=as_csr)
    for name in names_for(loss):
        one, *others = (run(name, "cython", arguments, n_threads) for n_threads in (1, 2, 3))
        for other in others:
            for part in one:
                assert one[part].tobytes() == other[part].tobytes()


@pytest.mark.require("cython")
@pytest.mark.parametrize("isa", machine.supported_isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_instruction_set_agrees_with_the_definition(loss, dtype, isa, monkeypatch):
    arguments = problem(300, 37, 3, loss, dtype, scale=3.0)
    expected = {name: run(name, "reference", arguments) for name in names_for(loss)}
    monkeypatch.setenv("HPCML_ISA", isa)
    for name, parts in expected.items():
        assert_close(run(name, "cython", arguments), parts, dtype)


@pytest.mark.require("cython")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_margins_of_any_size_have_finite_losses(loss, dtype):
    arguments = problem(64, 3, 2, loss, dtype, weighted=False)
    arguments["X"] = arguments["X"] * dtype(1e4)
    found = run("linear_hessian", "cython", arguments)
    assert all(np.isfinite(part).all() for part in found.values())
    expected = run("linear_gradient", "reference", arguments)["loss"]
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)


@pytest.mark.require("cython")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_of_rows_that_are_far_on_the_right_side_keep_their_digits(dtype):
    X = np.linspace(8.0, 16.0, 200, dtype=dtype)[:, np.newaxis]
    for loss, W in (("logistic", [[1.0, 0.0]]), ("multinomial", [[0.0, 0.0], [1.0, 0.0]])):
        arguments = {
            "X": X, "y": np.ones(200), "weights": None, "W": np.array(W), "positive": np.ones(len(W)),
            "loss": loss, "epsilon": 0.0, "problems": 1, "held": None, "origin": None, "folds": None,
            "factors": None,
        }  # fmt: skip
        found = run("linear_gradient", "cython", arguments)["loss"].sum()
        assert found == pytest.approx(np.log1p(np.exp(-X.astype(float))).sum(), rel=1e-5)


@pytest.mark.require("cython")
def test_a_row_has_the_same_margins_whatever_rows_come_before_it():
    arguments = problem(300, 19, 2, "logistic", np.float32)
    X, W = arguments["X"], arguments["W"]
    whole = call("linear_margins", "cython", X, None, W, n_threads=2)
    for start in (1, 127, 130, 299):
        some = call("linear_margins", "cython", np.ascontiguousarray(X[start:]), None, W)
        assert some.tobytes() == np.ascontiguousarray(whole[start:]).tobytes()


@pytest.mark.require("cython")
def test_wide_rows_are_taken_in_smaller_blocks():
    arguments = problem(40, 3000, 2, "logistic", np.float64)
    for name in ("linear_gradient", "linear_diagonal"):
        assert_close(run(name, "cython", arguments), run(name, "reference", arguments), np.float64)


@pytest.mark.require("cython")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["logistic", "multinomial"])
def test_sparse_rows_of_some_shards_add_up_to_the_same_bits(loss, dtype):
    n, problems, K = 9 * 1024 + 5, 19, 3 if loss == "multinomial" else 1
    arguments = problem(n, 7, K * problems, loss, dtype, as_csr=True, problems=problems, mixed=True)
    arguments["origin"] = None
    whole = run("linear_gradient", "cython", arguments, n_threads=3)
    names = [a.name for a in contract.KERNELS["linear_gradient"].arguments]
    bounds, tree = bounds_of(n), TreeSum(9)
    for first, stop in [(0, 3), (3, 4), (4, 9)]:
        start, end = bounds[first], bounds[stop]
        some = {name: arguments[name] for name in names if name in arguments}
        for name in ("y", "weights", "held"):
            some[name] = some[name][start:end]
        some["X"] = some["X"].rows(start, end)
        pieces, sums = call(
            "linear_gradient", "cython",
            bounds=bounds[first : stop + 1] - start, first_shard=first, n_shards=9, **some, n_threads=2,
        )  # fmt: skip
        for (left, right), statistic in zip(pieces.tolist(), sums, strict=True):
            tree.add(left, right, statistic)
    _, (found,) = tree.pieces()
    expected = np.concatenate([whole["loss"].ravel(), whole["gradient"].ravel()])
    np.testing.assert_array_equal(found, expected)
    reference = run("linear_gradient", "reference", arguments)
    assert_close(whole, reference, dtype)


@pytest.mark.require("cython")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
@given(
    n=st.integers(1, 3000), d=st.integers(1, 40), problems=st.integers(1, 40), n_folds=st.integers(1, 12),
    overlapping=st.booleans(), weighted=st.booleans(),
)  # fmt: skip
@settings(max_examples=12)
def test_every_fold_at_the_same_parameters(loss, dtype, n, d, problems, n_folds, overlapping, weighted):
    K = problems * 3 if loss == "multinomial" else problems
    arguments = problem(n, d, K, loss, dtype, seed=n + d, weighted=weighted, problems=problems)
    rng = np.random.default_rng(n)
    arguments["held"] = rng.integers(0, 1 << n_folds, n) if overlapping else 1 << rng.integers(0, n_folds, n)
    arguments["each"] = rng.permutation(n_folds)
    name = "linear_gradient_of_folds"
    found = run(name, "cython", arguments)
    assert_close(found, run(name, "reference", arguments), dtype)
    again = run(name, "cython", arguments, n_threads=3)
    assert all(again[part].tobytes() == found[part].tobytes() for part in found)
