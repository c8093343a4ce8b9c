"""The communicator mpi: the same bits as serial however rows lie on ranks, and one agreement of the ranks."""

import os
import sys
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
import threadpoolctl
from hypothesis import given
from scipy import sparse

import hpcml
from hpcml import communicators, config, machine
from hpcml.communicators.layout import Layout
from hpcml.communicators.mates import gone, myself
from hpcml.communicators.mpi_start import share_of_cores
from hpcml.kernels.csr import CSR
from hpcml.kernels.shards import TreeSum, bounds_of
from mpi_runs import run_ranks

N, D = 20_011, 5
TARGETS = np.array([0.0, 1.0, N / 4, N / 2.1, 2.0 * N])


# -- what the ranks run ------------------------------------------------------------------------------------


def statistics(X, w):
    return {"n": len(X), "sum": (X * w[:, None]).sum(axis=0), "gram": X.T @ X}


def marks(X, z):
    return {"mark": X[:, :2] * z}


def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, D))
    return X, rng.random(N), np.where(X > 1, X, 0.0)


def computed(start, stop):
    """Return all that a table offers, with the rows from `start` to `stop` put by this rank."""
    X, w, S = table()
    numbers = np.array([3, N - 1, 0, N // 2, 7, 7, N // 3])
    found = {}
    with communicators.current() as communicator:
        rows = {"X": X[start:stop], "w": w[start:stop], "S": CSR.of(sparse.csr_array(S[start:stop]))}
        with communicator.put(**rows, weights=None) as put:
            found["first_row"], found["n_rows"], found["n_local"] = put.first_row, put.n_rows, put.n_local
            for name, part in put.map_reduce(statistics).items():
                found[f"total {name}"] = part
            for name, part in put.map_reduce("moments", weights="w", centers=np.zeros(D)).items():
                found[f"total of moments: {name}"] = part
            put.fill("z", 1.5, np.float32, (2,))
            put.map_rows(marks)
            put.set(twice=2 * w[start:stop])
            found["total twice"] = put.map_reduce(lambda twice: {"sum": twice.sum()})["sum"]
            found["rows mark"], found["rows twice"], found["rows z"] = (
                put.rows(name) for name in ("mark", "twice", "z")
            )
            found["rows S"] = put.rows("S").to_scipy().toarray()
            found["take X"], found["take mark"] = put.take(numbers), put.take(numbers, "mark")
            found["take S"] = put.take(numbers, "S").to_scipy().toarray()
            found["take nothing"] = put.take(numbers[:0])
            found["where"] = put.where_sum_reaches("w", TARGETS)
            put.drop("z")
        found["draws"] = communicator.random_state(None).randint(1 << 30, size=4)
        found["total"] = communicator.total(stop - start)
        found["bcast"] = communicator.bcast({"from": communicator.rank})
    return found


def cuts_of(size):
    """Ways to lay the rows on ranks: evenly, drawn, all on one rank, and ranks with a few rows or none."""
    rng = np.random.default_rng(size)
    even = (np.arange(size + 1) * N // size).tolist()
    drawn = [0, *sorted(rng.integers(0, N + 1, size - 1).tolist()), N]
    last = [0] * size + [N]
    few = [0, *range(1100, 1100 + 7 * (size - 1), 7), N]
    whole = [0, *bounds_of(N)[1:size].tolist(), N]
    return {"even": even, "drawn": drawn, "last": last, "few": few, "whole": whole}


def on_ranks():
    communicator = communicators.current()
    rank, size = communicator.rank, communicator.size
    return {name: computed(cuts[rank], cuts[rank + 1]) for name, cuts in cuts_of(size).items()}


# -- the same bits -----------------------------------------------------------------------------------------


@pytest.mark.require("mpi")
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_number_is_that_of_serial_however_rows_lie(size):
    with hpcml.config_context(kernels="reference"):
        expected = computed(0, N)
    run = run_ranks(size, on_ranks, HPCML_KERNELS="reference")
    for name, cuts in cuts_of(size).items():
        draws = run.results[0][name]["draws"]
        for rank, (start, stop) in enumerate(pairwise(cuts)):
            found = run.results[rank][name]
            assert (found["first_row"], found["n_rows"], found["n_local"]) == (start, N, stop - start)
            assert found["total"] == N and found["bcast"] == {"from": 0}
            np.testing.assert_array_equal(found["draws"], draws)
            for key, value in expected.items():
                if key.startswith(("total ", "take", "where")):
                    np.testing.assert_array_equal(found[key], value, err_msg=f"{name}, rank {rank}: {key}")
                elif key.startswith("rows"):
                    np.testing.assert_array_equal(
                        found[key], value[start:stop], err_msg=f"{name}, {rank}: {key}"
                    )
                    assert found[key].dtype == value.dtype


@given(counts=st.lists(st.integers(0, 5000) | st.integers(0, 40), min_size=1, max_size=9))
def test_layout_gives_every_shard_to_the_rank_of_its_first_row(counts):
    layout = Layout(counts)
    bounds = bounds_of(sum(counts))
    np.testing.assert_array_equal(layout.bounds, bounds)
    assert layout.shards[0] == 0 and layout.shards[-1] == len(bounds) - 1
    holder = np.repeat(np.arange(len(counts)), counts)
    for shard in range(len(bounds) - 1):
        rank = np.searchsorted(layout.shards, shard, side="right") - 1
        if len(holder):
            assert rank == holder[bounds[shard]]
    # every row is where it is computed, or moves there
    at = holder.copy()
    for move in layout.moves:
        assert move.target < move.source and (at[move.start : move.stop] == move.source).all()
        at[move.start : move.stop] = move.target
    if len(holder):
        np.testing.assert_array_equal(at, layout.owners(np.arange(len(holder))))


@given(counts=st.lists(st.integers(0, 30_000), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_layout_adds_in_the_fixed_tree(counts, seed):
    layout = Layout(counts)
    values = np.random.default_rng(seed).normal(size=(layout.n_shards, 1)) * 1e6
    tree = TreeSum(layout.n_shards)
    for shard in range(layout.n_shards):
        tree.add(shard, shard + 1, values[shard])
    sent = []
    for rank in range(len(counts)):
        own = TreeSum(layout.n_shards)
        for shard in range(*layout.shards[rank : rank + 2]):
            own.add(shard, shard + 1, values[shard])
        ranges, sums = own.pieces()
        np.testing.assert_array_equal(ranges, layout.ranges(rank))
        sent += list(sums)
    for to, other in layout.additions:
        sent[to] = sent[to] + sent[other]
    assert sent[0] == tree.pieces()[1][0]


# -- agreement ---------------------------------------------------------------------------------------------


def agreed():
    if os.environ["PMI_RANK"] == "1":
        os.environ["HPCML_ISA"] = "avx2"
    communicators.current()
    return machine.isa(), config.n_threads(), config.n_threads(-1)


@pytest.mark.require("mpi")
def test_ranks_agree_on_the_lowest_instruction_set_and_share_the_cores():
    if "avx2" not in machine.supported_isas():
        pytest.skip("needs AVX2")
    cores = machine.usable_cores()[0]
    for size in (2, 4):
        share = max(1, cores // size)
        assert run_ranks(size, agreed).results == [("avx2", share, share)] * size
    run = run_ranks(2, agreed, HPCML_NUM_THREADS="3")
    assert [threads for _, threads, _ in run.results] == [3, 3]


def with_another_blas():
    os.environ["OPENBLAS_CORETYPE"] = ("Haswell", "Nehalem")[int(os.environ["PMI_RANK"])]
    os.execve(
        sys.executable,
        [sys.executable, "-c", "from hpcml import communicators as c; c.current()"],
        os.environ,
    )


@pytest.mark.require("mpi")
def test_ranks_with_other_linear_algebra_are_warned_once():
    run = run_ranks(2, with_another_blas)
    if "openblas" not in run.stderr.lower():
        pools = [each["internal_api"] for each in threadpoolctl.threadpool_info()]
        assert "openblas" not in pools
        pytest.skip("the linear algebra here does not choose by the processor")
    assert run.stderr.count("have different linear algebra") == 1
    assert "Haswell" in run.stderr and "Nehalem" in run.stderr


def test_a_core_of_several_ranks_is_a_part_of_one():
    everything = range(8)
    assert share_of_cores(everything, [everything] * 3, 8) == 2
    assert share_of_cores({0}, [{0}, {1}], 1) == 1
    assert share_of_cores(everything, [everything] * 2, 4) == 2  # the quota holds for both together
    assert share_of_cores({0, 1}, [{0, 1}, everything], 2) == 1


def test_a_process_is_gone_once_another_has_its_number():
    me = myself(0)
    assert not gone(me)
    assert gone(type(me)(0, me.pid, "1"))


def sizes_of_sums(lengths):
    communicator = communicators.current()
    X = np.random.default_rng(communicator.rank).normal(size=(4000 + communicator.rank, 2))
    equal = {}
    with communicator, communicator.put(X=X) as put:
        whole = np.concatenate(communicator.gather(X))
        with hpcml.config_context(communicator="serial"), communicators.current().put(X=whole) as alone:
            for m in lengths:

                def of_shard(X, m=m):
                    return {"sum": np.full(m, X.sum())}

                expected = alone.map_reduce(of_shard)["sum"]
                equal[m] = len(expected) == m and np.array_equal(put.map_reduce(of_shard)["sum"], expected)
    return equal


@pytest.mark.require("mpi")
def test_sums_of_any_length():
    lengths = [0, 1, 2, 70_001]  # the last is added up by slices
    assert run_ranks(3, sizes_of_sums, lengths).results == [dict.fromkeys(lengths, True)] * 3
