"""Every CUDA kernel once more under AddressSanitizer and UBSan, in a program of its own."""

import functools
import itertools
import os
import re
import subprocess

import numpy as np
import pytest
import test_kernels_gram
import test_kernels_growth
import test_kernels_interior_point
import test_kernels_linear_loss
import test_kernels_mixture
import test_kernels_moments
import test_kernels_prediction
from cuda_host import build
from cuda_host.driver import HostDriver, on_host
from cuda_host.recording import RecordingDriver
from kernel_calls import call
from test_kernels_kmeans import problem, run_all, shards

from hpcml.kernels.cuda.blocks import Rows, run
from hpcml.kernels.cuda.compile import sources
from hpcml.kernels.cuda.driver import current
from hpcml.kernels.cuda.session import session
from hpcml.kernels.shards import bounds_of


def clustering():
    for dtype in ("float32", "float64"):
        for i, (n, d, k) in enumerate([(37, 5, 3), (140, 2, 18)]):
            run_all("cuda", *problem(n, d, k, dtype, seed=i, weighted=bool(i)))
    X, _, centers, _ = problem(2050, 1, 2, "float64")  # two shards
    shares = np.ones(2050)
    call("add_seed", "cuda", X=X, weights=None, shares=shares, seed=centers[:1].copy(), **shards(2050))


def features():
    for dtype in (np.float32, np.float64):
        X = test_kernels_moments.rows(300, 3, dtype, missing=True)
        test_kernels_moments.moments("cuda", X, np.ones(300), np.zeros(3))


def products():
    for dtype in (np.float32, np.float64):
        given = test_kernels_gram.arguments(70, 67, 3, dtype, weighted=True)
        for name in test_kernels_gram.TAKES:
            test_kernels_gram.run(name, "cuda", given)


def mixtures():
    for dtype, diagonal, d in itertools.product((np.float32, np.float64), (False, True), (3, 17)):
        X, model = test_kernels_mixture.mixture(40, d, 2, dtype, 0, diagonal)
        suffix = "_diagonal" if diagonal else ""
        reduced = functools.partial(test_kernels_mixture.reduced, implementation="cuda", n_threads=1)
        reduced("gaussian_step" + suffix, X=X, **model, shifts=model["means"])
        call("gaussian_rows" + suffix, "cuda", X=X, **model, with_responsibilities=1)


def losses():
    for dtype, loss, d in itertools.product((np.float32, np.float64), ("logistic", "multinomial"), (3, 17)):
        arguments = test_kernels_linear_loss.problem(40, d, 3, loss, dtype, mixed=True)
        arguments["each"] = np.array([0, 61])
        names = ["linear_hessian", "linear_diagonal", "linear_gradient_of_folds"]
        for name in names + ["multinomial_hessian"] * (loss == "multinomial"):
            test_kernels_linear_loss.run(name, "cuda", arguments)


def growth():
    kinds = ((0, "bootstrap"), (0, "fractional"), (3, "weighted bootstrap"), (2, "fractional"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ROWS_OF_A_BLOCK": 15, "ROWS_OF_A_TILE": 50}.items():
            patch.setattr(f"hpcml.kernels.cuda.growing.{name}", value)
        for n_classes, weights in kinds:
            args = test_kernels_growth.problem(1, 80, 5, n_classes, weights=weights, missing=0.1)
            keywords = test_kernels_growth.DEFAULTS | {"max_features": 3, "max_depth": 3}
            keywords |= {"n_classes": n_classes, "criterion": "entropy" if n_classes else "squared_error"}
            call("grow", "cuda", *args, **keywords)


def hinges():
    for loss, dtype in (("hinge", np.float32), ("epsilon_insensitive", np.float64)):
        point = test_kernels_interior_point.rows(40, 3, loss, dtype=dtype, weighted=True)
        test_kernels_interior_point.passes("cuda", *point)


def trees():
    rng = np.random.default_rng(0)
    nodes, values, offsets = test_kernels_prediction.random_trees(rng, 3, 4, 2, 9, rng.standard_normal(9))
    call("predict_values", "cuda", rng.random((40, 4), dtype=np.float32), nodes, values, offsets, 1)


def ceilings():
    with session(current()) as device:
        words, start = device.put("words", np.ones(300)), device.put("start", np.ones(2))
        found = device.room("found", 8 * 512)
        device.launch("ceilings", "copy_words", (2, 1), words, found, 300)
        for kind in ("float", "double"):
            device.launch("ceilings", f"multiply_add_{kind}", (2, 1), start, 3, found)
        device.get(found, (512,), np.float64)


CALLS = (ceilings, clustering, features, products, mixtures, losses, hinges, growth, trees)


pytestmark = pytest.mark.slow  # two programs and all libraries once more


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Return a function that repeats a record; skip where the compiler has no sanitizers."""
    probe = tmp_path_factory.mktemp("probe") / "probe.cpp"
    probe.write_text("int main() { return 0; }\n")
    command = [build.compiler(), *build.SANITIZE, str(probe), "-o", str(probe.with_suffix(""))]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("the C++ compiler has no sanitizers")
    command = build.replay()
    environment = {**os.environ, "ASAN_OPTIONS": "detect_stack_use_after_return=0"}

    def repeat(record):
        return subprocess.run(command(record), capture_output=True, text=True, env=environment)

    return repeat


def test_every_kernel_keeps_to_its_arrays(program, tmp_path):
    with open(tmp_path / "record", "wb") as file:
        driver = RecordingDriver(file)
        with on_host(driver):
            for calls in CALLS:
                calls()
    done = program(tmp_path / "record")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{sum(driver.launched.values())} launches\n"
    declared = {
        name
        for path in sources().glob("*.cu")
        for name in re.findall(r"^KERNEL\((\w+),", path.read_text(), re.MULTILINE)
    }
    assert set(driver.launched) == declared


def test_an_access_beyond_an_array_is_found(program, tmp_path):
    def launch(block):
        block.launch("kmeans", "half_norms_double", (1, 1), block["X"], block.n_rows + 1, 2, block.statistics)

    with open(tmp_path / "record", "wb") as file:
        rows = {"X": Rows(np.ones((5, 2)))}
        run(RecordingDriver(file), bounds_of(5), 0, 1, rows=rows, launch=launch, width=6)
    done = program(tmp_path / "record")
    assert done.returncode != 0 and "heap-buffer-overflow" in done.stderr


def test_other_bytes_are_found(program, tmp_path):
    class Wrong(RecordingDriver):
        def copy_in(self, address, array, stream):
            HostDriver.copy_in(self, address, array, stream)
            stream.queue.append(lambda: self._write(b"i", address, bytes(len(array))))

    with open(tmp_path / "record", "wb") as file, on_host(Wrong(file)):
        run_all("cuda", *problem(37, 5, 3, "float32"))
    done = program(tmp_path / "record")
    assert done.returncode != 0 and "other bytes" in done.stderr
