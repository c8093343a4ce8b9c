"""Where the fits of a search run: ``--backend``."""

import contextlib
import enum
import shlex
import sys
from collections.abc import Iterator
from typing import Any

from hpcml.cli.failures import CommandError

__all__ = ["Backend", "check_backend", "running_on"]

#: How the names of Spark's masters start.
_MASTERS = ("local", "spark://", "yarn", "k8s://")


class Backend(enum.StrEnum):
    """The values of ``--backend``."""

    threads = "threads"
    processes = "processes"
    spark = "spark"
    mpi = "mpi"


def check_backend(backend: Backend | None, spark_master: str | None) -> None:
    """Refuse options that go with another backend, and let the ranks of an MPI job serve this one.

    Parameters
    ----------
    backend : Backend or None
    spark_master : str or None

    Raises
    ------
    CommandError
    SystemExit
        On the ranks that served, when the command has ended.
    """
    if spark_master is not None and backend != Backend.spark:
        raise CommandError("--spark-master names a Spark cluster; add --backend spark")
    if spark_master is not None and not spark_master.startswith(_MASTERS):
        raise CommandError(
            "--spark-master must be local[N], spark://HOST:PORT, yarn or k8s://HOST:PORT. "
            f"Got {spark_master!r} instead"
        )
    if backend == Backend.mpi:
        _start_farm()


def _start_farm() -> None:
    from hpcml import farm, launcher
    from hpcml.joblib_backends.mpi_dispatch import running

    if running() is not None:
        return
    found = launcher.announced()
    if found is None or found.size == 1:
        command = shlex.join(["hpcml", *sys.argv[1:]])
        raise CommandError(f"--backend mpi needs several ranks; start it with: mpirun -n 4 {command}")
    try:
        farm.start()
    except (RuntimeError, ImportError) as error:
        raise CommandError(f"--backend mpi does not work here: {error}") from error


#: Their names in joblib.
_NAMES = {Backend.threads: "threading", Backend.processes: "loky", Backend.spark: "spark", Backend.mpi: "mpi"}


@contextlib.contextmanager
def running_on(backend: Backend | None, n_jobs: int | None, spark_master: str | None) -> Iterator[None]:
    """Let joblib's tasks run where the command says, inside a ``with`` block.

    Parameters
    ----------
    backend : Backend or None
        None leaves joblib as it is.
    n_jobs : int or None
        None: all workers.
    spark_master : str or None

    Raises
    ------
    CommandError
        If the backend does not work here.
    """
    if backend is None:
        yield
        return
    from joblib import parallel_config

    with contextlib.ExitStack() as opened:
        if backend == Backend.spark:
            opened.callback(_spark_session(spark_master).stop)
        elif backend == Backend.mpi:
            from hpcml.joblib_backends import register_mpi

            register_mpi()
        opened.enter_context(parallel_config(_NAMES[backend], n_jobs=-1 if n_jobs is None else n_jobs))
        yield


def _spark_session(master: str | None) -> Any:
    from hpcml.joblib_backends import register_spark
    from hpcml.joblib_backends.spark_session import new_session

    try:
        register_spark()
        return new_session("hpcml search", master)
    except Exception as error:  # whatever Java raises on the way up
        raise CommandError(
            f"--backend spark does not work here: {str(error).strip().splitlines()[0]}"
        ) from error
