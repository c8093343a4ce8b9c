"""The method of the page ``own-method.md`` has the same bits on threads, processes and ranks."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import hpcml
from hpcml import communicators
from mpi_runs import run_ranks

PAGE = Path(__file__).resolve().parent.parent / "docs" / "own-method.md"
N_ROWS = 9001
K = 3

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the page is not beside the tests")


def code():
    """Return the first block of the page."""
    return re.search(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]


def method():
    """Return the page's function, from a module of its own."""
    module = sys.modules["own_method"] = types.ModuleType("own_method")
    exec(compile(code(), str(PAGE), "exec"), vars(module))
    return module.poisson_mixture


def counts():
    rng = np.random.default_rng(7)
    rates = rng.gamma(2.0, 3.0, size=(K, 5))
    group = rng.integers(K, size=N_ROWS)
    return rng.poisson(rates[group]).astype(np.float64), rates, group


def fit(rows=slice(None)):
    return method()(counts()[0][rows], K, max_iter=40)


def fit_on_rank():
    with communicators.current() as communicator:
        rank, size = communicator.rank, communicator.size
    cuts = [0, *(N_ROWS * i * i // (size * size) for i in range(1, size)), N_ROWS]  # uneven
    return fit(slice(cuts[rank], cuts[rank + 1]))


@pytest.fixture(scope="module")
def alone():
    with hpcml.config_context(communicator="serial", n_threads=1):
        return fit()


def assert_same_model(found, expected):
    for mine, theirs in zip(found[:3], expected[:3], strict=True):
        assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()


def test_it_is_short_and_uses_public_names():
    lines = [line for line in code().splitlines() if line.strip()]
    assert len(lines) <= 36
    assert not re.search(r"\b_\w|\._", re.sub(r"for _ in", "", code()))


def test_it_finds_the_mixture(alone):
    rates, weights, likelihoods, labels = alone
    _, true, group = counts()
    match = np.abs(rates[:, np.newaxis] - true).sum(axis=2).argmin(axis=1)
    assert sorted(match) == list(range(K))
    np.testing.assert_allclose(rates, true[match], rtol=0.1, atol=0.2)
    assert (np.diff(likelihoods) > -1e-9).all()
    assert weights.sum() == pytest.approx(1.0)
    assert (match[labels] == group).mean() > 0.8


@pytest.mark.parametrize("n_threads", [2, 3])
def test_threads(alone, n_threads):
    with hpcml.config_context(communicator="serial", n_threads=n_threads):
        found = fit()
    assert_same_model(found, alone)
    np.testing.assert_array_equal(found[3], alone[3])


@pytest.mark.parametrize("n_workers", [1, 2])
def test_processes(alone, n_workers):
    with hpcml.config_context(communicator="processes", n_workers=n_workers, n_threads=1):
        found = fit()
    assert_same_model(found, alone)
    np.testing.assert_array_equal(found[3], alone[3])


@pytest.mark.require("mpi")
@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_ranks(alone, n_ranks):
    ranks = run_ranks(n_ranks, fit_on_rank, HPCML_NUM_THREADS="1").results
    for found in ranks:
        assert_same_model(found, alone)
    np.testing.assert_array_equal(np.concatenate([found[3] for found in ranks]), alone[3])
