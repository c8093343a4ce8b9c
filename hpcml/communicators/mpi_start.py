"""The start of MPI: one library for launcher and ranks, one instruction set, a share of the cores each."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hpcml import config, machine, parts
from hpcml.communicators.mates import Mate, myself, siblings_watched, visible
from hpcml.communicators.mpi_world import World
from hpcml.launcher import announced, check_library, check_size

__all__ = ["FARM", "ROWS", "describe", "opened", "settle", "share_of_cores", "started"]

#: Seconds of waiting for the other ranks before a note says so.
START_NOTE = 30.0

#: What the ranks of a job are for: all run the script and share the rows of its fits, or serve rank 0.
ROWS, FARM = "fits that share rows (communicator='mpi')", "a farm (hpcml.farm)"

_world: World | None = None
_use: str | None = None


@dataclass(frozen=True)
class Description:
    """What the ranks tell one another once."""

    process: Mate
    node: int
    version: str
    isa_level: int
    cores: frozenset[int]
    quota: int
    blas: str


def started() -> World:
    """Return the ranks of this job, of which this process is one; the first call starts MPI.

    Returns
    -------
    World

    Raises
    ------
    ImportError
        If mpi4py or its MPI library is missing; the message gives the command.
    RuntimeError
        If the launcher belongs to another MPI, the ranks run different versions of hpcml, they serve rank 0
        as a farm, or this process was forked from a rank.
    """
    global _world
    if _use == FARM:
        raise RuntimeError(
            "the ranks of this job serve the script of rank 0 (hpcml.farm), so they share no rows: choose "
            "communicator='serial', or start a script that all ranks run with mpirun -n N python script.py"
        )
    if _world is None:
        _world = _start()
    if _world.forked:
        raise RuntimeError(
            "this process was forked from a rank of an MPI job and is none itself; choose "
            "communicator='serial' in it"
        )
    return _world


def _start() -> World:
    comm = opened(ROWS)
    if comm.Get_size() == 1:
        return World(comm)
    description = describe(comm)
    world = World(comm)
    neighbours = settle(world.rank, world.gather("start", description))
    world.watch(visible(each.process for each in neighbours))
    return world


def opened(use: str) -> Any:
    """Start MPI if it does not run yet, and return a communicator of hpcml's own with all ranks.

    Parameters
    ----------
    use : str
        What for: `ROWS` or `FARM`.

    Returns
    -------
    mpi4py.MPI.Intracomm

    Raises
    ------
    ImportError
        If mpi4py or its MPI library is missing; the message gives the command.
    RuntimeError
        If the launcher belongs to another MPI, or the ranks are used in another way already.
    """
    global _use
    if _use not in (None, use):
        raise RuntimeError(f"the ranks of this job are used for {_use} already, so not for {use}")
    MPI = _library()
    found, library = announced(), MPI.Get_library_version()
    with siblings_watched():
        if not MPI.Is_initialized():
            check_library(library, found)
            MPI.Init_thread(MPI.THREAD_MULTIPLE)
        check_size(MPI.COMM_WORLD.Get_size(), library, found)
        _use = use
        return MPI.COMM_WORLD if MPI.COMM_WORLD.Get_size() == 1 else _own_communicator(MPI)


def _own_communicator(MPI: Any) -> Any:
    """Return a copy of ``MPI.COMM_WORLD`` for hpcml alone."""
    comm, duplicated = MPI.COMM_WORLD.Idup()
    started, noted = time.perf_counter(), False
    while not duplicated.Test():
        time.sleep(1e-3)
        if not noted and time.perf_counter() - started > START_NOTE:
            noted = True
            told = f"hpcml: rank {comm.Get_rank()} waits for all ranks to begin {_use}"
            print(told, file=sys.stderr, flush=True)
    return comm


def _library() -> Any:
    """Return mpi4py's module, whose import starts MPI unless told otherwise, with MPI not started by us."""
    try:
        import mpi4py

        before, mpi4py.rc.initialize = mpi4py.rc.initialize, False
        finalize = mpi4py.rc.finalize
        mpi4py.rc.finalize = True if finalize is None else finalize
        try:
            from mpi4py import MPI
        finally:
            mpi4py.rc.initialize, mpi4py.rc.finalize = before, finalize
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"communicator='mpi' and hpcml.farm need mpi4py and an MPI library ({error}); to mend it: "
            f"{parts.PARTS['mpi'].cure}"
        ) from error
    return MPI


def describe(comm: Any) -> Description:
    """Return what the other ranks need to know of this one; all ranks call it together."""
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    first_of_node = node.bcast(comm.Get_rank())
    node.Free()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return Description(
        process=myself(comm.Get_rank()),
        node=first_of_node,
        version=importlib.metadata.version("hpcml"),
        isa_level=machine.isa_level(),
        cores=frozenset(cores),
        quota=machine.usable_cores(environ={})[0],
        blas=_blas(),
    )


def settle(rank: int, told: Sequence[Description]) -> list[Description]:
    """Agree on an instruction set and on everyone's share of the cores; return the others of this node.

    Parameters
    ----------
    rank : int
        This one.
    told : sequence of Description
        What `describe` returned on every rank.

    Raises
    ------
    RuntimeError
        If the ranks run different versions of hpcml.

    Warns
    -----
    RuntimeWarning
        On rank 0, if the ranks have different linear algebra.
    """
    _same_version(told)
    own = told[rank]
    machine.agree_isa(min(each.isa_level for each in told))
    neighbours = [each for each in told if each.node == own.node]
    config.share_cores(share_of_cores(own.cores, [each.cores for each in neighbours], own.quota))
    if rank == 0:
        _warn_of_blas([each.blas for each in told])
    return [each for each in neighbours if each is not own]


def _blas() -> str:
    """Describe the linear algebra of this process, as far as its results depend on the processor."""
    import numpy as np
    import threadpoolctl

    pools = {
        " ".join(str(pool[key]) for key in ("internal_api", "version", "architecture") if pool.get(key))
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    }
    simd = np.show_config(mode="dicts") or {}
    found = simd.get("SIMD Extensions", {}).get("found", [])
    features = " ".join(found) or "its baseline"
    return f"{', '.join(sorted(pools)) or 'no BLAS'}; NumPy {np.__version__} with {features}"


def _same_version(told: Sequence[Description]) -> None:
    for rank, each in enumerate(told):
        if each.version != told[0].version:
            raise RuntimeError(
                f"every rank must run the same version of hpcml. Got {told[0].version} on rank 0 and "
                f"{each.version} on rank {rank} instead."
            )


def share_of_cores(own: Iterable[int], masks: Sequence[Iterable[int]], quota: int) -> int:
    """Return how many cores a rank has for itself.

    Parameters
    ----------
    own : iterable of int
        The cores that it may run on.
    masks : sequence of iterable of int
        Those of every rank of the node, itself included.
    quota : int
        Cores that all of them may use together, where that is fewer than a rank may run on.

    Returns
    -------
    int
        At least 1. A core on which several ranks may run counts as a part of one.

    Examples
    --------
    >>> from hpcml.communicators.mpi_start import share_of_cores
    >>> share_of_cores(range(8), [range(8), range(8)], 8), share_of_cores({0, 1}, [{0, 1}, {2, 3}], 2)
    (4, 2)
    """
    users: dict[int, int] = defaultdict(int)
    for mask in masks:
        for core in mask:
            users[core] += 1
    mine = set(own)
    share = sum((Fraction(1, users[core]) for core in mine), Fraction(0))
    if quota < len(mine):
        share = min(share, Fraction(quota, len(masks)))
    return max(1, int(share))


def _warn_of_blas(texts: Sequence[str]) -> None:
    """Warn where ranks compute small things, which each does for itself, with different libraries."""
    ranks: dict[str, list[int]] = defaultdict(list)
    for rank, text in enumerate(texts):
        ranks[text].append(rank)
    if len(ranks) > 1:
        told = "; ".join(f"rank {', '.join(map(str, some))}: {text}" for text, some in ranks.items())
        warnings.warn(
            "The ranks of this job have different linear algebra, so the last bits of their models may "
            f"differ ({told}). Install the same versions on every node; where processors differ, set "
            "OPENBLAS_CORETYPE and NPY_DISABLE_CPU_FEATURES to what the oldest one has.",
            RuntimeWarning,
            stacklevel=2,
        )
