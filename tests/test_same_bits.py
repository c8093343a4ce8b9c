"""A model is the same, bit for bit, on any number of threads, processes and MPI ranks."""

import numpy as np
import pytest
from bits import CASES, fit_all, fit_on_rank

import hpcml
from hpcml.counterparts import COUNTERPARTS
from mpi_runs import run_ranks

#: Their whole table lies in one process, and tests of their own compare threads.
NOT_SHARED = ("tree", "ensemble")


@pytest.fixture(scope="module")
def alone():
    with hpcml.config_context(communicator="serial", n_threads=1):
        return fit_all()


def assert_same(found, alone):
    """Compare every number of every model, and report all that differ."""
    assert found.keys() == alone.keys()
    different = []
    for case, expected in alone.items():
        for part in ("model", "rows"):
            assert found[case][part].keys() == expected[part].keys(), case
            for name, value in expected[part].items():
                one, other = np.asarray(value), np.asarray(found[case][part][name])
                if one.dtype != other.dtype or one.shape != other.shape or one.tobytes() != other.tobytes():
                    different.append(f"{'-'.join(case)}: {name}")
    assert not different


def test_every_estimator_that_shares_rows_is_compared():
    shared = {path.removeprefix("hpcml.") for path in COUNTERPARTS}
    shared = {path for path in shared if not path.startswith(NOT_SHARED)}
    assert shared == {dotted for dotted, _, _, _ in CASES.values()}


def test_models_hold_numbers(alone):
    for case, found in alone.items():
        assert any(value.dtype.kind == "f" and value.size for value in found["model"].values()), case
        for name, value in found["model"].items():
            assert value.dtype.kind != "f" or np.isfinite(value).all(), (case, name)


@pytest.mark.parametrize("n_threads", [2, 3])
def test_threads(alone, n_threads):
    with hpcml.config_context(communicator="serial", n_threads=n_threads):
        assert_same(fit_all(), alone)


@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_processes(alone, n_workers):
    with hpcml.config_context(communicator="processes", n_workers=n_workers, n_threads=1):
        assert_same(fit_all(), alone)


@pytest.mark.require("mpi")
@pytest.mark.parametrize("n_ranks", [1, 2, 3, 4])
def test_ranks(alone, n_ranks):
    ranks = run_ranks(n_ranks, fit_on_rank, HPCML_NUM_THREADS="1", timeout=300).results
    together = {}
    for case, expected in alone.items():
        for rank in ranks:
            assert_same({case: {**rank[case], "rows": {}}}, {case: {**expected, "rows": {}}})
        rows = {
            name: np.concatenate([rank[case]["rows"][name] for rank in ranks]) for name in expected["rows"]
        }
        together[case] = {"model": ranks[0][case]["model"], "rows": rows}
    assert_same(together, alone)
