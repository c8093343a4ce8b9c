"""The CUDA kernels on a GPU, where there is one: against the reference, and the same bits twice."""

import functools
import itertools
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import test_kernels_gram
import test_kernels_growth
import test_kernels_interior_point
import test_kernels_kmeans
import test_kernels_linear_loss
import test_kernels_mixture
import test_kernels_moments
import test_kernels_prediction
from kernel_calls import call

from hpcml.kernels.declared.linear_loss import LOSSES

pytestmark = pytest.mark.require("cuda")

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def twice(work):
    """Return what work returns, by name; a second run has the same bits."""
    first, second = work(), work()
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes(), name
    return first


@DTYPES
@pytest.mark.parametrize("shape", [(1, 1, 1), (700, 17, 5), (5000, 64, 256), (3100, 130, 19)])
def test_kmeans(shape, dtype):
    case = test_kernels_kmeans.problem(*shape, np.dtype(dtype).name, weighted=True)
    run = functools.partial(
        test_kernels_kmeans.run_all, X=case[0], w=case[1], centers=case[2], origin=case[3]
    )
    expected = run("reference")
    for name in [name for name in expected if name.startswith(("first_", "second_"))]:
        del expected[name]  # of a kernel that the GPU does without
    found = twice(lambda: run("cuda"))
    test_kernels_kmeans.assert_close(found, expected, np.dtype(dtype).name)


@DTYPES
@pytest.mark.parametrize("d", [1, 3, 70])
def test_moments(d, dtype):
    X = test_kernels_moments.rows(30_000, d, dtype, missing=True)
    given = X, np.random.default_rng(0).random(30_000), np.full(d, 0.5)
    found = twice(lambda: {"moments": test_kernels_moments.moments("cuda", *given)})["moments"]
    np.testing.assert_allclose(found, test_kernels_moments.moments("reference", *given), rtol=1e-9)


@DTYPES
@pytest.mark.parametrize("name", test_kernels_gram.TAKES)
def test_products(name, dtype):
    given = test_kernels_gram.arguments(30_000, 150, 5, dtype, weighted=True)
    found = twice(lambda: {name: test_kernels_gram.run(name, "cuda", given)})[name]
    test_kernels_gram.assert_same(found, test_kernels_gram.run(name, "reference", given), dtype)


@DTYPES
@pytest.mark.parametrize(("diagonal", "d"), [(False, 7), (False, 33), (True, 40)])
def test_mixtures(diagonal, d, dtype):
    X, model = test_kernels_mixture.mixture(5000, d, 4, dtype, 0, diagonal)
    suffix = "_diagonal" if diagonal else ""
    arguments = {"X": X, **model, "shifts": model["means"]}
    reduced = functools.partial(
        test_kernels_mixture.reduced, "gaussian_step" + suffix, n_threads=1, **arguments
    )
    found = twice(lambda: reduced(implementation="cuda"))
    test_kernels_mixture.assert_near(found, reduced(implementation="reference"), dtype, 5000)
    rows = functools.partial(call, "gaussian_rows" + suffix, X=X, **model, with_responsibilities=1)
    for a, b in zip(rows(implementation="cuda"), rows(implementation="reference"), strict=True):
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=1e-3 if dtype == np.float32 else 1e-8, atol=1e-2)


@DTYPES
@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss, dtype):
    for d, mixed in itertools.product((7, 60), (False, True)):
        arguments = test_kernels_linear_loss.problem(20_000, d, 5, loss, dtype, mixed=mixed)
        names = ["linear_gradient", "linear_hessian", "linear_diagonal"]
        if mixed:
            arguments["each"] = np.array([0, 61])
            names.append("linear_gradient_of_folds")
        for name in names + ["multinomial_hessian"] * (loss == "multinomial"):
            run = functools.partial(test_kernels_linear_loss.run, name, arguments=arguments)
            found = twice(lambda run=run: run(implementation="cuda"))
            test_kernels_linear_loss.assert_close(found, run(implementation="reference"), dtype)


@DTYPES
@pytest.mark.parametrize("loss", ["hinge", "epsilon_insensitive"])
def test_hinges(loss, dtype):
    point = test_kernels_interior_point.rows(20_000, 60, loss, dtype=dtype, weighted=True)
    found, again = (test_kernels_interior_point.passes("cuda", *point) for _ in range(2))
    test_kernels_interior_point.assert_same(found, test_kernels_interior_point.passes("reference", *point))
    for first, second in zip(found, again, strict=True):
        assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_trees_to_the_bit():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((50_003, 6)).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    trees = test_kernels_prediction.random_trees(rng, 20, 6, 3, 60, rng.standard_normal(50))
    nodes, values, offsets = trees
    for name, arguments in (
        ("predict_leaves", (nodes, offsets)),
        ("predict_values", (nodes, values, offsets)),
    ):
        found = call(name, "cuda", X, *arguments, 1)
        assert found.tobytes() == call(name, "reference", X, *arguments, 1).tobytes()


@pytest.mark.parametrize("path", test_kernels_growth.PATHS)
def test_growth_to_the_bit(path):
    table, keywords = test_kernels_growth.PATHS[path]
    args = test_kernels_growth.problem(3, **{"weights": "bootstrap"} | table)
    keywords = test_kernels_growth.DEFAULTS | {
        "max_features": 4, "criterion": "entropy" if table["n_classes"] else "squared_error",
        "n_classes": table["n_classes"],
    } | keywords  # fmt: skip
    test_kernels_growth.assert_same_trees(
        call("grow", "cuda", *args, **keywords), call("grow", "reference", *args, **keywords)
    )


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_compute_sanitizer_finds_nothing(tool):
    """Every kernel once more, under the tool of the CUDA toolkit."""
    folders = [os.environ.get(name, "") for name in ("CUDA_ROOT", "CUDA_HOME")] + ["/usr/local/cuda"]
    path = os.pathsep.join(
        [os.environ["PATH"], *(os.path.join(folder, "bin") for folder in folders if folder)]
    )
    program = shutil.which("compute-sanitizer", path=path)
    if program is None:
        pytest.skip("compute-sanitizer of the CUDA toolkit was not found")
    calls = "import test_cuda_sanitized as t\nfor calls in t.CALLS: calls()"
    here = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", calls],
        env={**os.environ, "PYTHONPATH": here}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
