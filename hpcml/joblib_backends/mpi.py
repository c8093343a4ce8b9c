"""The joblib backend "mpi": tasks run on the ranks of an MPI job that was started as a farm."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from joblib.parallel import FallbackToBackend, ParallelBackendBase, register_parallel_backend

from hpcml import config, launcher
from hpcml.joblib_backends.mpi_call import Call
from hpcml.joblib_backends.mpi_dispatch import Farm, running
from hpcml.joblib_backends.mpi_tasks import inside_a_task
from hpcml.joblib_backends.nested import nested_backend
from hpcml.joblib_backends.pre_dispatch import make_all_first

__all__ = ["MpiBackend", "launch_line", "register_mpi"]

#: What `mmap_mode` may be: arrays are read-only where they are shared, or each task's own.
_SHARED, _OWN = ("r",), ("c", None)


def register_mpi() -> None:
    """Register the backend ``"mpi"`` with joblib.

    It runs the tasks of any `joblib.Parallel`, a grid search's among them, on the ranks of an MPI job that
    was started with ``mpirun -n 4 python -m hpcml.farm script.py``. Arrays of at least `max_nbytes` are
    broadcast, once a node, into memory that its ranks share; tasks get them read-only, at addresses that are
    multiples of 64. ``n_jobs`` is the number of ranks that work, -1 (the default) all of them.

    See Also
    --------
    hpcml.farm : starts the ranks.

    Notes
    -----
    All tasks of a call are made before the first is sent, so that ranks get all arrays at once; what a
    generator of tasks loads is therefore in memory together. A `pre_dispatch` other than the default
    ``"2*n_jobs"`` and ``"all"`` is kept to: ranks then wait for one another whenever further arrays come.

    Examples
    --------
    >>> from hpcml.joblib_backends import register_mpi
    >>> register_mpi()
    >>> import joblib
    >>> try:
    ...     with joblib.parallel_backend("mpi"):
    ...         pass
    ... except RuntimeError as error:
    ...     print(error)
    backend 'mpi' needs the ranks of an MPI job that serve this script. Start it with: mpirun -n 4 python ...
    """
    register_parallel_backend("mpi", MpiBackend)


def launch_line() -> str:
    """Return the command that starts this program on a farm, of as many ranks as a launcher started or 4."""
    found = launcher.announced()
    n = found.size if found is not None and found.size > 1 else 4
    start = f"srun -n {n}" if found is not None and "Slurm" in found.launcher else f"mpirun -n {n}"
    script = sys.argv[0] if sys.argv and sys.argv[0].endswith(".py") else "script.py"
    return f"{start} python -m hpcml.farm {script}"


def _farm_here() -> Farm:
    """Return the running farm, or raise with the command that starts one."""
    if inside_a_task():
        raise RuntimeError(
            "backend 'mpi' cannot be used inside one of its own tasks: the ranks are busy with them. Leave "
            "the backend out there: what a task does in parallel runs on the threads of its rank"
        )
    if config.communicator() == "mpi":
        raise RuntimeError(
            "backend 'mpi' hands the tasks of one script to the other ranks, and communicator='mpi' lets all "
            "ranks run the script and share the rows of each fit: choose one of them. With "
            f"communicator='serial' the script is started with: {launch_line()}"
        )
    farm = running()
    if farm is None:
        found = launcher.announced()
        what = ""
        if found is not None and found.size > 1:
            what = f"; {found.launcher} started {found.size} ranks that each run the whole script"
        raise RuntimeError(
            f"backend 'mpi' needs the ranks of an MPI job that serve this script{what}. Start it with: "
            f"{launch_line()} (or call hpcml.farm.start() first in the script)"
        )
    if farm.broken is not None:
        raise RuntimeError(f"the farm is gone: {farm.broken}") from farm.broken
    return farm


class MpiBackend(ParallelBackendBase):
    """Runs the tasks of `joblib.Parallel` on the ranks of a farm.

    Parameters
    ----------
    nesting_level : int, optional
        joblib's.
    inner_max_num_threads : int, optional
        Limit of the threads of BLAS, OpenMP and hpcml in a task; by default the rank's share of the cores.

    Raises
    ------
    RuntimeError
        If this script was not started as a farm; the message has the command.
    """

    default_n_jobs = -1
    supports_inner_max_num_threads = True
    supports_retrieve_callback = True

    def __init__(self, nesting_level: int | None = None, inner_max_num_threads: int | None = None) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._farm = _farm_here()
        self._user: Any = None  # the joblib.Parallel that this backend is configured for
        self._call: Call | None = None
        self._options: tuple[int | None, bool] = None, False

    @property
    def threads_per_task(self) -> int:
        """How many threads a task may use: the search plans with it."""
        return self.inner_max_num_threads or config.n_threads()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many ranks work."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning; give a number of ranks, or -1 for all")
        size = self._farm.size
        if n_jobs is None:
            return size
        return min(n_jobs, size) if n_jobs > 0 else max(1, size + 1 + n_jobs)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        *,
        max_nbytes: int | None = 1_000_000,
        temp_folder: str | None = None,
        mmap_mode: str | None = "r",
        verbose: int = 0,
        context: Any = None,
        **unknown: Any,
    ) -> int:
        """Get ready for a `joblib.Parallel`, and return how many ranks work."""
        if self._user is not None and self._user is not parallel:
            # results of another one are not all taken yet: both would be told apart by nothing
            raise FallbackToBackend(MpiBackend(self.nesting_level, self.inner_max_num_threads))
        _farm_here()
        if unknown:
            raise TypeError(f"backend 'mpi' knows no {', '.join(sorted(unknown))}")
        if temp_folder is not None:
            raise ValueError(
                "temp_folder must be None under backend 'mpi': arrays lie in memory that the ranks share, "
                f"not in files. Got {temp_folder!r} instead."
            )
        if mmap_mode not in (*_SHARED, *_OWN):
            raise ValueError(
                "mmap_mode must be 'r' (arrays are shared and read-only), 'c' or None (each task gets a "
                f"copy) under backend 'mpi'. Got {mmap_mode!r} instead."
            )
        self._options = max_nbytes, mmap_mode in _OWN
        self.parallel = parallel
        n = self.effective_n_jobs(n_jobs)
        if n > 1:
            self._user = parallel
            make_all_first(parallel)
        return n

    def start_call(self) -> None:
        """Begin a call."""
        n = self.effective_n_jobs(self.parallel.n_jobs)
        self._call = self._farm.open(n, self.inner_max_num_threads, *self._options)

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Future[Any]:
        """Queue a batch of tasks."""
        assert self._call is not None
        return self._call.submit(func, callback)

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return the result of a batch, or raise what it raised."""
        return out.result()

    @contextlib.contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Results are wanted now: what has been submitted is all that comes for the moment."""
        if self._call is not None:
            self._call.flush()
            if not self.parallel.return_generator and self.parallel.timeout is None:
                self._call.wait()  # joblib itself looks for results every 10 ms
        yield

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Start nothing more, and end what runs where that can be."""
        if self._call is not None:
            self._call.end()

    def stop_call(self) -> None:
        """End a call."""
        if self._call is not None:
            self._call.end()
            self._call = None

    def terminate(self) -> None:
        """Be free for another `joblib.Parallel`."""
        self.stop_call()
        self._user = None

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """Return what runs parallel work inside a task: threads of its rank."""
        return nested_backend(config.n_threads(-1), self.nesting_level or 0)
