"""One call of `joblib.Parallel` on Spark: tasks are queued, launched together, and delivered as they end."""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from hpcml.errors import HpcmlError
from hpcml.joblib_backends.dealing import balanced
from hpcml.joblib_backends.executor import Work
from hpcml.joblib_backends.naming import cost_of, job_name
from hpcml.joblib_backends.outcomes import Outcome
from hpcml.joblib_backends.payload import Packer
from hpcml.joblib_backends.shipped import UNSUITABLE
from hpcml.joblib_backends.spark_session import RECIPE, explained

__all__ = ["Call", "Task"]

#: Seconds without another task after which queued ones are launched, where nobody asks for results yet: a
#: maker of tasks that takes longer for one gets several jobs.
_QUIET = 0.5

#: Partitions a slot: more balance better and bring results earlier, each costs Spark some 10 ms.
_PARTS_A_SLOT = 4

#: Bytes from which on an array is worth a broadcast of its own where several tasks hold it.
_REPEATED = 1 << 16

#: Seconds that a cancelled job may take to end.
_PATIENCE = 20.0

Callback = Callable[[Any], None]


class Task:
    """What joblib gets for a batch of calls; `outcome` is there when joblib's callback is called."""

    def __init__(self, function: Any, callback: Callback | None) -> None:
        self.function, self.callback = function, callback
        self.outcome: Outcome | None = None


class Call:
    """Tasks of one call, from `submit` to the callbacks of joblib.

    Parameters
    ----------
    cluster : ClassicCluster or ConnectCluster
        Runs jobs.
    inherit : callable
        Wraps what a thread runs, so that Spark sees there the properties that its user set.
    n_jobs : int
        How many tasks run at a time.
    n_slots : int
        How many could.
    max_nbytes : int or None
    work : Work
    eager : bool
        Whether tasks are launched before somebody asks for results.
    """

    def __init__(
        self,
        cluster: Any,
        inherit: Callable[[Callable[..., None]], Callable[..., None]],
        n_jobs: int,
        n_slots: int,
        max_nbytes: int | None,
        work: Work,
        eager: bool,
    ) -> None:
        self._cluster, self._max_nbytes, self._work = cluster, max_nbytes, work
        # Spark runs as many partitions as there are slots: with fewer jobs there are only so many of them
        self._n_parts = n_jobs if n_jobs < n_slots else _PARTS_A_SLOT * n_jobs
        self._run = inherit(self._run_job)
        self._tag = f"hpcml-{uuid.uuid4().hex}"
        self._cancelled = threading.Event()
        self._waiting: list[Task] = []
        self._jobs: list[threading.Thread] = []
        self._inbox: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._eager = eager
        self._manager: threading.Thread | None = None

    def submit(self, task: Task) -> None:
        """Queue a task; never waits."""
        if self._manager is None:
            self._manager = threading.Thread(target=self._manage, name="hpcml-spark", daemon=True)
            self._manager.start()
        self._inbox.put(("submit", task))

    def flush(self) -> None:
        """Launch what is queued, and from now on whatever comes."""
        self._inbox.put(("flush",))

    def cancel(self) -> None:
        """Cancel the jobs and wait until Spark has let go of them."""
        self._cancelled.set()
        until = time.monotonic() + _PATIENCE
        for job in list(self._jobs):
            while job.is_alive() and time.monotonic() < until:
                self._cluster.cancel(self._tag)  # again and again: a job may have begun just now
                job.join(0.1)
        self.end()

    def end(self) -> None:
        """Let the threads end."""
        self._inbox.put(("end",))

    def _manage(self) -> None:
        """Launch and deliver; joblib's callbacks run here, and may consume its user's iterator."""
        while True:
            try:
                message = self._inbox.get(timeout=_QUIET if self._eager and self._waiting else None)
            except queue.Empty:
                self._launch()
                continue
            if message[0] == "submit":
                self._waiting.append(message[1])
            elif message[0] == "flush":
                self._eager = True
                self._launch()
            elif message[0] == "outcome":
                self._deliver(*message[1:])
            else:
                return

    def _launch(self) -> None:
        tasks, self._waiting = self._waiting, []
        if tasks and not self._cancelled.is_set():
            job = threading.Thread(target=self._run, args=(tasks,), name="hpcml-spark-job", daemon=True)
            self._jobs = [each for each in self._jobs if each.is_alive()] + [job]
            job.start()

    def _deliver(self, task: Task, outcome: Any) -> None:
        if task.outcome is not None:  # Spark ran its partition again
            return
        task.outcome = outcome if isinstance(outcome, Outcome) else Outcome.load(outcome)
        if task.callback is not None and not self._cancelled.is_set():
            task.callback(task)

    def _run_job(self, tasks: Sequence[Task]) -> None:
        """Run tasks as one job; whatever happens, each gets an outcome."""

        def deliver(number: int, outcome: Any) -> None:
            if number == UNSUITABLE:
                fail(HpcmlError(f"the executors do not suit the driver: {outcome}; {RECIPE}"))
                self._cluster.cancel(self._tag)
            else:
                self._inbox.put(("outcome", tasks[number], outcome))

        def fail(error: BaseException) -> None:
            for task in tasks:
                self._inbox.put(("outcome", task, Outcome(error, failed=True)))

        packer = Packer(self._max_nbytes, _REPEATED)
        payloads = []
        try:
            name, costs = job_name([task.function for task in tasks]), [cost_of(t.function) for t in tasks]
            for task in tasks:
                payloads.append(packer.pack(task.function))
                task.function = None
            parts = balanced(costs, self._n_parts)
            self._cluster.run(
                [[(number, payloads[number]) for number in part] for part in parts],
                packer.arrays,
                self._work,
                name,
                self._tag,
                deliver,
                self._cancelled,
            )
        except BaseException as error:
            fail(explained(error))
        else:
            fail(HpcmlError("Spark ended the job without a result of this task"))
