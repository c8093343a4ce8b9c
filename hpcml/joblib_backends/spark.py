"""The joblib backend ``"spark"``: the tasks of a call run as one Spark job."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from joblib.parallel import FallbackToBackend, ParallelBackendBase, register_parallel_backend

from hpcml.joblib_backends.executor import Work
from hpcml.joblib_backends.nested import nested_backend
from hpcml.joblib_backends.outcomes import Outcome
from hpcml.joblib_backends.pre_dispatch import make_all_first
from hpcml.joblib_backends.spark_call import Call, Task
from hpcml.joblib_backends.spark_connect import ConnectCluster
from hpcml.joblib_backends.spark_jobs import ClassicCluster
from hpcml.joblib_backends.spark_session import (
    checked_count,
    current_session,
    inheriting,
    is_connect,
    require_spark,
    resource_profile,
    slots,
    task_cpus,
)

__all__ = ["SparkBackend", "register"]

#: How arrays can be given to tasks: other modes would write into what tasks share.
MMAP_MODES = ("r", "c", None)


class SparkBackend(ParallelBackendBase):
    """joblib on Spark.

    Parameters
    ----------
    num_cpus_per_spark_task, num_gpus_per_spark_task : int, optional
        What Spark reserves for a task; by default ``spark.task.cpus`` and ``spark.task.resource.gpu.amount``.
    inner_max_num_threads : int, optional
        Threads of a task; by default its cores.
    nesting_level : int, optional
        Set by joblib.

    Raises
    ------
    ValueError, TypeError
        If a number is none.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        num_cpus_per_spark_task: int | None = None,
        num_gpus_per_spark_task: int | None = None,
        inner_max_num_threads: int | None = None,
        nesting_level: int | None = None,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self.num_cpus_per_spark_task = checked_count(num_cpus_per_spark_task, "num_cpus_per_spark_task", 1)
        self.num_gpus_per_spark_task = checked_count(num_gpus_per_spark_task, "num_gpus_per_spark_task", 0)
        self._own = False  # whether one Parallel alone uses this object
        self._call: Call | None = None
        self._options: dict[str, Any] = {}
        self._n_jobs: int | None = 1  # as it was asked for

    @property
    def threads_per_task(self) -> int:
        """How many threads a task may use: the search plans with it."""
        return self.inner_max_num_threads or task_cpus(current_session(), self.num_cpus_per_spark_task)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks run at a time.

        Parameters
        ----------
        n_jobs : int or None
            None and -1: all slots that Spark has now, but at least 2, because joblib computes without any
            backend where it is 1; -2: all but one. A number above the slots waits for executors to come.

        Raises
        ------
        ValueError
            If `n_jobs` is 0.
        """
        if n_jobs == 0:
            raise ValueError(
                "n_jobs == 0 in Parallel has no meaning; give how many tasks run at a time, or -1"
            )
        if n_jobs is not None and n_jobs > 0:
            return n_jobs
        session = current_session()
        usable = slots(session, task_cpus(session, self.num_cpus_per_spark_task))
        return max(2, usable + 1 + (-1 if n_jobs is None else n_jobs))

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        *,
        max_nbytes: int | None = 1 << 20,
        temp_folder: str | None = None,
        mmap_mode: str | None = "r",
        verbose: int = 0,
        context: Any = None,
    ) -> int:
        """Take the options of a `joblib.Parallel`.

        Raises
        ------
        ValueError
            If `mmap_mode` would let tasks write into what others read.
        FallbackToBackend
            So that each Parallel has a backend of its own, also where several share a ``with`` block.
        """
        if not self._own:
            raise FallbackToBackend(self._copy())
        if mmap_mode not in MMAP_MODES:
            raise ValueError(f"mmap_mode must be one of {MMAP_MODES} on Spark. Got {mmap_mode!r} instead.")
        self.parallel = parallel
        self._options = {"max_nbytes": max_nbytes, "temp_folder": temp_folder, "mmap_mode": mmap_mode}
        self._n_jobs = n_jobs
        make_all_first(parallel)
        return self.effective_n_jobs(n_jobs)

    def _copy(self) -> "SparkBackend":
        copy = type(self)(
            self.num_cpus_per_spark_task,
            self.num_gpus_per_spark_task,
            self.inner_max_num_threads,
            self.nesting_level,
        )
        copy._own = True
        return copy

    def start_call(self) -> None:
        """Make ready for the tasks of a call."""
        session = current_session()
        profile = resource_profile(session, self.num_cpus_per_spark_task, self.num_gpus_per_spark_task)
        cpus = task_cpus(session, self.num_cpus_per_spark_task)
        threads = self.inner_max_num_threads or cpus
        self._call = Call(
            (ConnectCluster if is_connect(session) else ClassicCluster)(session, profile),
            inheriting(session),
            self.effective_n_jobs(self._n_jobs),  # anew for each call: executors come and go
            slots(session, cpus),
            self._options["max_nbytes"],
            Work(
                threads,
                tuple(self.MAX_NUM_THREADS_VARS),
                self._options["temp_folder"],
                self._options["mmap_mode"],
            ),
            eager=self.parallel.return_generator,
        )

    def submit(self, func: Any, callback: Any = None) -> Task:
        """Queue a batch of calls; `callback` gets the `Task` back when its outcome is there."""
        assert self._call is not None
        task = Task(func, callback)
        self._call.submit(task)
        return task

    def retrieve_result_callback(self, out: Task) -> Any:
        """Return the results of a batch, or raise what it raised."""
        outcome = out.outcome
        assert isinstance(outcome, Outcome)
        if outcome.failed:
            raise outcome.value
        return outcome.value

    @contextlib.contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Launch what is queued: joblib waits for results inside this ``with`` block."""
        if self._call is not None:
            self._call.flush()
        yield

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel the jobs of this call and no others."""
        if self._call is not None:
            call, self._call = self._call, None
            call.cancel()
        if ensure_ready:
            self.start_call()

    def terminate(self) -> None:
        """Let the threads of the call end."""
        self.stop_call()

    def stop_call(self) -> None:
        """Let the threads of the call end."""
        if self._call is not None:
            call, self._call = self._call, None
            call.end()

    def get_nested_backend(self) -> tuple[ParallelBackendBase, int | None]:
        """Return what joblib uses inside a task: threads within the task's cores."""
        return nested_backend(self.threads_per_task, self.nesting_level or 0)


def register() -> None:
    """Make ``"spark"`` a name of joblib's; a later joblibspark.register_spark() says that it stays so."""
    require_spark()
    register_parallel_backend("spark", SparkBackend)
    try:
        import joblibspark.backend as theirs
    except ImportError:  # not there, or it misses a private name of joblib or Spark and can register nothing
        return
    theirs.register = _keep_ours


def _keep_ours() -> None:
    warnings.warn(
        "joblib's backend 'spark' stays hpcml's, which hpcml.joblib_backends.register_spark() chose before; "
        "to have joblibspark's instead: joblib.register_parallel_backend('spark', "
        "joblibspark.backend.SparkDistributedBackend)",
        UserWarning,
        stacklevel=3,
    )
