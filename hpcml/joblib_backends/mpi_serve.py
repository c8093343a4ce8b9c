"""A rank that serves: it claims tasks, runs them in its main thread, and sleeps where there are none."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from hpcml.cancellation import Cancelled
from hpcml.joblib_backends.mpi_arrays import Nodes, Shelf
from hpcml.joblib_backends.mpi_control import Claims
from hpcml.joblib_backends.mpi_messages import Messages, Pause
from hpcml.joblib_backends.mpi_tasks import ThreadLimit, opened, run

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["Server"]

#: Seconds between two looks for work or commands, the least and the most.
SHORTEST_SLEEP, LONGEST_SLEEP = 5e-5, 5e-3
#: Of the time without work, the share that is slept until the next look: nobody else wants this core.
IDLE_SHARE = 0.01
#: Seconds without work before a rank says that it sleeps, and is woken by a message from then on.
AWAKE = 1e-3
#: Seconds between looks whether a task is cancelled, and whether rank 0 lives.
CANCEL_INTERVAL, ALIVE_INTERVAL = 0.1, 0.5
#: Seconds after which results that are there do not wait for others.
RESULTS_TOGETHER = 5e-3


class Server:
    """One of the ranks that serve rank 0.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        All ranks of the farm.
    lost : callable
        Returns which other rank of this node is gone, in words; None: none is.
    """

    def __init__(self, comm: MPI.Intracomm, lost: Callable[[], str | None]) -> None:
        self._nodes = Nodes(comm)
        self._claims = Claims(comm, self._nodes.one)
        self._shelf = Shelf(self._nodes)
        self._messages = Messages(comm)
        self._lost, self._looked = lost, time.perf_counter()
        self._limit = ThreadLimit()
        self._place = f"on rank {comm.Get_rank()}"
        self._cancelled: set[int] = set()
        self._running: int | None = None  # the call whose task runs
        self._stops = False
        self._main = threading.main_thread().ident

    def stop(self) -> None:
        """Claim no more tasks: the job is about to end. Tell rank 0."""
        self._stops = True
        self._messages.tell("stop")

    def serve(self) -> None:
        """Work until rank 0 says that it is over.

        Raises
        ------
        RuntimeError
            If another rank of this node is gone.
        """
        signal.signal(signal.SIGINT, self._interrupted)
        over = threading.Event()
        listener = threading.Thread(
            target=self._listen, args=(over,), name="hpcml-farm-listener", daemon=True
        )
        listener.start()
        try:
            frees = self._work()
        finally:
            over.set()
            listener.join()
        if frees:
            self._shelf.free()
            self._claims.free()
            self._nodes.free()

    def _work(self) -> bool:
        pause, asleep = Pause(SHORTEST_SLEEP, LONGEST_SLEEP, IDLE_SHARE), False
        while True:
            command = self._messages.next_command()
            if command is not None:
                what, argument = command
                if what == "end":
                    self._meet()
                    return bool(argument)
                if what == "wake":
                    asleep = False
                else:
                    self._together(what, argument)
                pause.reset()
                continue
            if not asleep:
                if self._run_some():
                    pause.reset()
                    continue
                if pause.waited() > AWAKE or self._stops:
                    self._messages.tell("asleep")
                    asleep = True
            time.sleep(pause.seconds())
            self._check_the_others()

    def _check_the_others(self) -> None:
        """Look every now and then whether all ranks of this node are alive."""
        if time.perf_counter() - self._looked < ALIVE_INTERVAL:
            return
        self._looked = time.perf_counter()
        lost = self._lost()
        if lost is not None:
            raise RuntimeError(lost)

    # -- with all ranks ------------------------------------------------------------------------------------

    def _together(self, what: str, argument: Any) -> None:
        self._meet()
        with self._messages.lock:
            if what == "put":
                self._shelf.put(argument)
            elif what == "drop":
                self._shelf.drop(argument)
            else:
                self._shelf.trim()

    def _meet(self) -> None:
        """Wait for ranks that are still at a task."""
        all_are_here = self._messages.meet()
        pause = Pause(SHORTEST_SLEEP, LONGEST_SLEEP)
        while not all_are_here():
            time.sleep(pause.seconds())
            self._check_the_others()

    # -- tasks ---------------------------------------------------------------------------------------------

    def _run_some(self) -> bool:
        if self._stops:
            return False
        with self._messages.lock:
            claimed = self._claims.claim()
        if claimed is None:
            return False
        queue, first, tasks = claimed
        results: list[tuple[int, int, int, bytes | None]] = []
        told = time.perf_counter()
        for i, task in enumerate(tasks):
            started = time.perf_counter()
            call, outcome = self._outcome(task)
            now = time.perf_counter()
            self._claims.took(queue, now - started)
            results.append((call, queue, first + i, outcome))
            if now - told > RESULTS_TOGETHER or i == len(tasks) - 1:
                self._messages.tell_results(results)
                results, told = [], now
        return True

    def _outcome(self, task: bytes) -> tuple[int, bytes | None]:
        envelope = opened(task)
        if envelope.call in self._cancelled or self._stops:
            return envelope.call, None
        try:
            self._running = envelope.call
            try:
                outcome = run(envelope, self._shelf, self._limit, self._place)
            finally:
                self._running = None
        except Cancelled:  # which mostly becomes an outcome, as other exceptions do
            outcome = None
        return envelope.call, None if envelope.call in self._cancelled else outcome

    # -- the other thread ----------------------------------------------------------------------------------

    def _listen(self, over: threading.Event) -> None:
        """Look, also while a task runs, whether its call is cancelled."""
        while not over.wait(CANCEL_INTERVAL):
            call = self._messages.next_cancelled()
            if call is None:
                continue
            self._cancelled.add(call)
            if self._running == call and self._main is not None:
                signal.pthread_kill(self._main, signal.SIGINT)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """End the running task if it is cancelled. Ctrl-C itself is rank 0's, which then cancels."""
        if self._running is not None and self._running in self._cancelled:
            self._running = None
            raise Cancelled
