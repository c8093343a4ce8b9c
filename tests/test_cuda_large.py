"""More than 2^31 rows: kernels get a table whose first rows are addresses that nobody may touch.

Launches that take the bounds of shards get rows with numbers beyond 2^31, and arrays that begin as far before
the rows that there are. The bits must be those of the same rows with their own numbers.
"""

import functools

import numpy as np
import pytest
import test_kernels_gram
import test_kernels_interior_point
import test_kernels_linear_loss
import test_kernels_mixture
import test_kernels_moments
from cuda_host.driver import HostDriver, on_host
from kernel_calls import call
from test_kernels_kmeans import problem, shards

from hpcml.kernels.cuda import blocks

BEFORE = (1 << 31) + 5
#: Bytes of a row of scratch arrays that have an entry for every row.
SCRATCH = {"order": 4, "inner": 8, "pulled": 16, "made": None, "r": None, "z": None, "curvatures": None}


class Far(blocks.Block):
    """A block whose rows have high numbers."""

    def launch(self, source, name, grid, *arguments, **more):
        if self["bounds"] in arguments:
            self.lane.driver.far += 1
            arguments = [self.moved(argument) for argument in arguments]
        super().launch(source, name, grid, *arguments, **more)

    def moved(self, argument):
        driver = self.lane.driver
        if argument == self["bounds"]:
            return driver.far_bounds(self)
        for at, size, of_row in driver.per_row(self):
            if at <= argument < at + size:
                return argument - BEFORE * of_row
        return argument


class FarDriver(HostDriver):
    """Knows which arrays have an entry for every row."""

    def __init__(self):
        super().__init__()
        self.far, self.bounds = 0, []

    def per_row(self, block):
        for name, each in self.call.rows.items():
            if each.value is not None:
                yield block[name], each.value.nbytes, each.bytes_of_row
        sizes = self.call.scratch(block.lengths)
        for name, of_row in {**SCRATCH, "margins": None}.items():
            if sizes.get(name):
                # columns lie one after the other, or rows do
                item = self.call.rows["X"].value.itemsize if name in ("r", "z", "curvatures") else of_row
                if item is None:
                    item = sizes[name] // block.n_rows
                if name == "margins" and "losses" in sizes:
                    item = self.call.rows["X"].value.itemsize
                yield block[name], sizes[name], item

    def far_bounds(self, block):
        self.bounds.append(np.append(0, np.cumsum(block.lengths)) + BEFORE)  # launches come late
        return self.bounds[-1].ctypes.data


def kmeans(name):
    X, w, centers, origin = problem(140, 5, 18, "float32", weighted=True)
    arguments = {"lloyd_step": {"with_inertia": 1}, "assign_rows": {}}[name]
    labels = np.zeros(140, dtype=np.int32)
    found = call(
        name,
        "cuda",
        X=X,
        weights=w,
        labels=labels,
        centers=centers,
        origin=origin,
        **arguments,
        **shards(140),
    )
    return found[1].tobytes() + labels.tobytes()


def seeds():
    X, w, centers, _ = problem(140, 5, 2, "float64", weighted=True)
    shares = np.ones(140)
    found = call("add_seed", "cuda", X=X, weights=w, shares=shares, seed=centers[:1].copy(), **shards(140))
    return found[1].tobytes() + shares.tobytes()


def mixture(name, diagonal):
    X, model = test_kernels_mixture.mixture(40, 17, 2, np.float32, 0, diagonal)
    if name == "gaussian_moments":
        labels = np.arange(40, dtype=np.int32) % 2
        model = {
            "center": model["center"],
            "labels": labels,
            "responsibilities": None,
            "shifts": model["means"],
        }
    else:
        model = {**model, "shifts": model["means"]}
    found = test_kernels_mixture.reduced(name + "_diagonal" * diagonal, "cuda", 1, X=X, **model)
    return b"".join(part.tobytes() for part in found.values())


def losses(name):
    arguments = test_kernels_linear_loss.problem(40, 17, 3, "logistic", np.float32, mixed=True)
    found = test_kernels_linear_loss.run(name, "cuda", arguments | {"each": np.array([0, 61])})
    return b"".join(part.tobytes() for part in found.values())


def gram(name):
    return test_kernels_gram.run(
        name, "cuda", test_kernels_gram.arguments(70, 67, 3, np.float32, weighted=True)
    ).tobytes()


def hinges():
    found = test_kernels_interior_point.passes(
        "cuda", *test_kernels_interior_point.rows(40, 3, "hinge", weighted=True)
    )
    return b"".join(part.tobytes() for each in found for part in each.values())


def features():
    X = test_kernels_moments.rows(300, 3, np.float32, missing=True)
    return test_kernels_moments.moments("cuda", X, np.ones(300), np.zeros(3)).tobytes()


CALLS = {
    **{name: functools.partial(kmeans, name) for name in ("lloyd_step", "assign_rows")},
    "add_seed": seeds, "moments": features, "hinges": hinges,
    **{name: functools.partial(gram, name) for name in ("gram", "masked_gram", "gram_panel")},
    **{name: functools.partial(losses, name)
       for name in ("linear_gradient", "linear_diagonal", "linear_hessian")},
    "gaussian_step": functools.partial(mixture, "gaussian_step", False),
    "gaussian_step_diagonal": functools.partial(mixture, "gaussian_step", True),
    "gaussian_moments": functools.partial(mixture, "gaussian_moments", False),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_rows_beyond_two_to_the_31(name, monkeypatch):
    with on_host():
        expected = CALLS[name]()
    init = blocks._Call.__post_init__

    def remembered(self):
        self.driver.call = self
        init(self)

    monkeypatch.setattr(blocks._Call, "__post_init__", remembered)
    monkeypatch.setattr(blocks, "Block", Far)
    with on_host(FarDriver()) as driver:
        assert CALLS[name]() == expected
    assert driver.far > 0
