"""Compiled kernels give the reference's bits under every instruction set that the processor has."""

import numpy as np
import pytest
from kernel_calls import call

from hpcml import machine

pytestmark = pytest.mark.require("cython")

SETTINGS = {
    "max_features": 4,
    "max_depth": 7,
    "min_samples_split": 2,
    "min_samples_leaf": 1,
    "min_weight_leaf": 0.0,
    "max_leaf_nodes": 0,
    "min_impurity_decrease": 0.0,
    "target_bits": 26,
}
TASKS = {
    "regression": {"criterion": "squared_error", "n_classes": 0},
    "two classes": {"criterion": "gini", "n_classes": 2},
    "three classes": {"criterion": "entropy", "n_classes": 3},
}


def table(n, d, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(np.float32)
    X[:, 0] = rng.integers(0, 4, n)
    X[rng.random(X.shape) < 0.05] = np.nan
    return X


def run(implementation, task, n_threads):
    """Return what every kernel returns on one table, the output of each the input of the next."""
    X = table(700, 6)
    rng = np.random.default_rng(1)
    signal = np.nan_to_num(X[:, 1]) + np.nan_to_num(X[:, 0])
    n_classes = TASKS[task]["n_classes"]
    if n_classes:
        y = np.digitize(signal, [0.5, 2.5][: n_classes - 1]).astype(float)
        noise = rng.random(len(y)) < 0.2
        y[noise] = rng.integers(0, n_classes, noise.sum())
    else:
        y = np.exp(signal.astype(float))
    seeds = rng.integers(0, 2**63, 3).astype(np.uint64)
    done = []

    def step(name, *args, **kwargs):
        result = call(name, implementation, *args, **kwargs)
        done.extend(result if isinstance(result, tuple) else (result,))
        return result

    lower, upper, n_bins = step("find_bins", X, 40, n_threads)
    binned = step("apply_bins", X, upper, n_bins, n_threads)
    nodes, values, offsets = step(
        "grow", binned, lower, upper, n_bins, y, None, None, seeds, len(y),
        **TASKS[task], **SETTINGS, n_threads=n_threads,
    )  # fmt: skip
    assert offsets[-1] > 150
    test = table(300, 6, seed=2)
    step("predict_leaves", test, nodes, offsets, n_threads)
    step("predict_values", test, nodes, values, offsets, n_threads)
    return done


def bits(array):
    if array.dtype.names:  # the padding between fields holds anything
        return b"".join(np.ascontiguousarray(array[name]).tobytes() for name in array.dtype.names)
    return array.tobytes()


@pytest.fixture(scope="module", params=TASKS)
def expected(request):
    return request.param, run("reference", request.param, 1)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("isa", machine.supported_isas())
def test_every_instruction_set_gives_the_same_bits(isa, n_threads, expected, monkeypatch):
    monkeypatch.setenv("HPCML_ISA", isa)
    task, arrays = expected
    got = run("cython", task, n_threads)
    assert [bits(a) for a in got] == [bits(a) for a in arrays]
