"""Ranks that fail: one clear error on every other rank within seconds, never a hang, and mpirun fails."""

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from hpcml import communicators
from hpcml.errors import WorkerLost
from mpi_runs import environment, launch, mpirun, run_ranks

pytestmark = pytest.mark.require("mpi")

#: Seconds in which a job must be over, start and end of three Pythons included.
SOON = 60


def total(X):
    return {"sum": X.sum(axis=0)}


def fit(broken=None, at="kernel", error=ValueError):
    """Compute in three steps, of which one may fail on one rank."""

    def failing(X):
        if broken == communicator.rank and at == "kernel":
            raise error("no such luck")
        return {"sum": X.sum(axis=0)}

    with communicators.current() as communicator:
        if broken == communicator.rank and at == "before":
            raise error("no such luck")
        with communicator.put(X=np.ones((3000, 2))) as put:
            first = put.map_reduce(total)["sum"]
            put.map_reduce(failing)
            if broken == communicator.rank and at == "after":
                raise error("no such luck")
            return first.tolist()


def caught(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


# -- errors inside a fit -----------------------------------------------------------------------------------


def every_way():
    from hpcml.cluster import KMeans  # scikit-learn, for which the ranks of no other test need wait
    from hpcml.mixture import GaussianMixture

    found = {}
    for at in ("before", "kernel", "after"):
        for error in (ValueError, KeyboardInterrupt):
            found[at, error.__name__] = caught(fit, 1, at, error), fit()
    found["all"] = [caught(fit, broken, "kernel") for broken in range(3)]
    X = np.ones((1000, 2))
    X[0, 0] = np.nan if communicators.current().rank == 1 else 0.0
    found["rows"] = [caught(each.fit, X) for each in (KMeans(2, n_init=1), GaussianMixture(2))]
    return found


def test_a_rank_that_raises_ends_the_fit_of_all_and_the_next_one_works():
    run = run_ranks(3, every_way, timeout=SOON)
    for rank, found in enumerate(run.results):
        rows, everyone = found.pop("rows"), found.pop("all")
        for (_, kind), (first, then) in found.items():
            told = f"{kind}: no such luck"
            assert first == (told if rank == 1 else f"WorkerLost: rank 1 raised {told}")
            assert then == [9000.0, 9000.0]
        assert ["WorkerLost" in each for each in everyone] == [broken != rank for broken in range(3)]
        for told in rows:  # NaN of one rank, seen by a kernel
            assert told.startswith(
                "WorkerLost: rank 1 raised " * (rank != 1) + "ValueError: Input X contains NaN"
            )


def nested(depth, broken):
    """Open fits inside fits and fail at the innermost of one rank, others compute at the outermost."""
    communicator = communicators.current()
    with communicator:
        if communicator.rank == broken and depth:
            return nested(depth - 1, broken)
        if communicator.rank == broken:
            raise ValueError("inside")
        communicator.total(1)


def unwound():
    communicator = communicators.current()
    found = []
    for depth in (1, 2, 0):
        found += [caught(nested, depth, 0), communicator.total(1)]
    with communicator:  # an error that is caught inside an outer fit does not end it
        found += [caught(fit, 2), communicator.total(1)]
    return found


def test_fits_inside_fits_unwind_together():
    run = run_ranks(3, unwound, timeout=SOON)
    lost, raised = "WorkerLost: rank 0 raised ValueError: inside", "ValueError: inside"
    for rank, found in enumerate(run.results):
        assert found[1::2] == [3] * 4
        assert found[0:6:2] == [lost if rank else raised] * 3
        own = "ValueError: no such luck"
        assert found[6] == (own if rank == 2 else f"WorkerLost: rank 2 raised {own}")


# -- errors anywhere ---------------------------------------------------------------------------------------


def uncaught_outside():
    communicator = communicators.current()
    if communicator.rank == 1:
        raise KeyError("in the script")
    try:
        fit()
    except WorkerLost as error:
        print(f"rank {communicator.rank}: {error}", flush=True)
        raise


def test_an_uncaught_error_in_the_script_reaches_the_others():
    run = run_ranks(3, uncaught_outside, check=False, timeout=SOON)
    assert run.returncode != 0
    for rank in (0, 2):
        assert f"rank {rank}: rank 1 raised KeyError: 'in the script'" in run.stdout
    assert "KeyError: 'in the script'" in run.stderr


def interrupted():
    communicator = communicators.current()
    if communicator.rank == 1:
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        while True:
            time.sleep(0.01)
    fit()


def test_an_interrupt_of_one_rank_ends_all():
    run = run_ranks(3, interrupted, check=False, timeout=SOON)
    assert run.returncode != 0
    assert run.stderr.count("WorkerLost: rank 1 raised KeyboardInterrupt") == 2


def interrupted_while_waiting():
    communicator = communicators.current()

    def slow(X):
        if communicator.rank == 0:
            time.sleep(2)
        return {"sum": X.sum()}

    def together(at):
        with communicator, communicator.put(X=np.ones((1000, 2))) as put:
            if communicator.rank == 1:
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            found = put.map_reduce(slow)["sum"]
            return put.map_reduce(total)["sum"] if at == "before another step" else found

    return {at: (caught(together, at), fit()) for at in ("before another step", "before the end")}


def test_an_interrupt_of_a_rank_that_waits_ends_the_fit_of_all():
    run = run_ranks(3, interrupted_while_waiting, timeout=SOON)
    for at in ("before another step", "before the end"):
        told, then = zip(*(found[at] for found in run.results), strict=True)
        assert told[1].startswith("KeyboardInterrupt") and told[0] == told[2]
        assert told[0] == "WorkerLost: rank 1 raised KeyboardInterrupt"
        assert then == ([9000.0, 9000.0],) * 3


def others_wait_elsewhere():
    from mpi4py import MPI

    communicator = communicators.current()
    if communicator.rank == 1:
        raise ValueError("alone")
    MPI.COMM_WORLD.recv(source=1)


def test_an_error_aborts_ranks_that_wait_for_something_else():
    run = run_ranks(2, others_wait_elsewhere, check=False, timeout=SOON)
    assert run.returncode != 0 and "ValueError: alone" in run.stderr


def ends_early():
    communicator = communicators.current()
    if communicator.rank == 1:
        sys.exit(0)
    try:
        fit()
    except WorkerLost as error:
        print(error, flush=True)
        raise


def test_a_rank_that_ends_its_script_is_missed():
    run = run_ranks(3, ends_early, check=False, timeout=SOON)
    assert run.returncode != 0
    assert run.stdout.count("rank 1 has ended its script, and rank") == 2


def different_calls():
    communicator = communicators.current()

    def together():
        with communicator, communicator.put(X=np.ones((2000, 2))) as put:
            return (
                put.map_reduce(total) if communicator.rank else put.map_reduce("moments", centers=np.zeros(2))
            )

    def one_more():
        with communicator:
            return communicator.total(1) if communicator.rank else None

    return caught(together), caught(one_more), communicator.total(1)


def test_ranks_that_do_different_things_are_told():
    run = run_ranks(2, different_calls, timeout=SOON, HPCML_KERNELS="reference")
    for first, second, then in run.results:
        assert "the ranks do different things" in first and "moments" in first and "total" in first
        assert "the end of a fit" in second and "gather" in second
        assert then == 2


def two_threads():
    communicator, found = communicators.current(), []
    thread = threading.Thread(target=lambda: found.append(caught(fit)))
    with communicator:
        thread.start()
        thread.join()
    return found[0], fit()


def test_a_second_thread_of_a_rank_is_refused_while_one_computes():
    for refused, result in run_ranks(2, two_threads, timeout=SOON).results:
        assert refused.startswith("RuntimeError: under MPI one Python thread at a time")
        assert result == [6000.0, 6000.0]


# -- ranks that vanish -------------------------------------------------------------------------------------


def killed():
    communicator = communicators.current()
    fit()
    if communicator.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        fit()
    except WorkerLost as error:
        print(f"rank {communicator.rank}: {error}", flush=True)
        raise


def test_mpirun_fails_soon_when_a_rank_is_killed():
    run = run_ranks(3, killed, check=False, timeout=SOON)
    assert run.returncode != 0


def test_every_other_rank_tells_of_a_killed_one_that_the_launcher_does_not_miss():
    shell = ("sh", "-c", '"$@"; sleep 20', "sh")  # outlives its Python
    run = run_ranks(3, killed, check=False, timeout=SOON, wrapper=shell)
    assert run.returncode != 0
    for rank in (0, 2):
        assert f"rank {rank}: rank 1 (process " in run.stdout
    assert run.stderr.count("WorkerLost") == 2


def dies_first():
    if os.environ["PMI_RANK"] == "1":
        raise ValueError("before MPI")
    fit()


def test_a_rank_that_ends_before_mpi_starts_is_not_waited_for():
    run = run_ranks(3, dies_first, check=False, timeout=SOON)
    assert run.returncode != 0 and "ValueError: before MPI" in run.stderr


def dies_early():
    from mpi4py import MPI

    if MPI.COMM_WORLD.Get_rank() == 1:
        raise ValueError("before the first fit")
    fit()


def test_a_rank_that_fails_before_the_first_fit_is_not_waited_for():
    run = run_ranks(3, dies_early, check=False, timeout=SOON)
    assert run.returncode != 0
    assert run.stderr.count("Traceback") == 1
    assert "hpcml: rank 1 failed" in run.stderr and "ValueError: before the first fit" in run.stderr


def test_a_rank_that_fails_before_hpcml_is_imported_is_not_waited_for_under_mpi4py(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from mpi4py import MPI\n"
        "if MPI.COMM_WORLD.Get_rank() == 1:\n"
        "    raise SystemExit('no input')\n"
        "import hpcml, numpy as np\n"
        "from hpcml import communicators\n"
        "with communicators.current() as communicator:\n"
        "    communicator.put(X=np.ones((3000, 2)))\n"
    )
    command = [mpirun(), "-n", "2", sys.executable, "-m", "mpi4py", str(script)]
    run = launch(command, environment(HPCML_COMMUNICATOR="mpi"), timeout=SOON)
    assert run.returncode != 0 and "no input" in run.stderr


def raises_in_a_kernel():
    fit(1)


def test_only_the_rank_at_fault_prints_a_traceback():
    run = run_ranks(3, raises_in_a_kernel, check=False, timeout=SOON)
    assert run.returncode != 0
    lines = run.stderr.splitlines()
    assert lines.count("Traceback (most recent call last):") == 1
    assert "ValueError: no such luck" in lines
    for rank in (0, 2):
        told = f"hpcml: rank {rank} ends: WorkerLost: rank 1 raised ValueError: no such luck"
        assert lines.count(told) == 1


def test_nothing_is_hooked_without_a_launcher():
    code = "import sys, hpcml; print(sys.excepthook is sys.__excepthook__, 'numpy' in sys.modules)"
    env = {name: text for name, text in os.environ.items() if not name.startswith(("PMI", "OMPI", "SLURM"))}
    run = launch([sys.executable, "-c", code], env)
    assert run.stdout.split() == ["True", "False"]


# -- rows that do not fit together -------------------------------------------------------------------------


def unequal():
    communicator = communicators.current()
    rank, X = communicator.rank, np.ones((2000, 2))

    def put(**rows):
        with communicator, communicator.put(**rows):
            pass

    import hpcml

    found = [
        caught(put, X=X if rank else X[:, :1]),
        caught(put, X=X if rank else X.astype(np.float32)),
        caught(put, X=X, **({"y": X[:, 0]} if rank else {})),
        caught(put, X=X, y=X[: 2000 - rank, 0]),
    ]
    with hpcml.config_context(kernels="auto" if rank else "reference"):
        found.append(caught(put, X=X))
    return found


def test_rows_of_different_kinds_are_one_clear_error_on_every_rank():
    run = run_ranks(2, unequal, timeout=SOON)
    columns, kinds, arrays, lengths, kernels = zip(*run.results, strict=True)
    assert (
        len(set(columns)) == 1
        and "(n, 1)" in columns[0]
        and "(n, 2) on rank 1" in columns[0].replace("'}", "")
    )
    assert len(set(kinds)) == 1 and "float32" in kinds[0]
    assert len(set(arrays)) == 1 and "every rank must put the same row arrays" in arrays[0]
    assert lengths[0] == f"WorkerLost: rank 1 raised {lengths[1]}" and "1999" in lengths[1]
    assert len(set(kernels)) == 1 and "'auto' on rank 1" in kernels[0]
