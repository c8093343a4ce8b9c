"""Rank 0 of a farm: it hands tasks out, takes results in, and computes as the others do.

One thread alone talks to the other ranks, and another one runs tasks. Calls of `joblib.Parallel` come from
any thread; what they want is queued, and they never wait here.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcml.errors import WorkerLost
from hpcml.joblib_backends.mpi_arrays import Nodes, Shelf
from hpcml.joblib_backends.mpi_call import Call, Task
from hpcml.joblib_backends.mpi_control import QUEUES, Publisher
from hpcml.joblib_backends.mpi_messages import Messages, Pause
from hpcml.joblib_backends.mpi_tasks import Envelope, ThreadLimit, opened, run
from hpcml.joblib_backends.outcomes import Outcome

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["Farm", "running", "set_running"]

#: Seconds between two looks for messages, the least and the most.
SHORTEST_SLEEP, LONGEST_SLEEP = 1e-4, 5e-3
#: Seconds between two looks when nothing is under way.
IDLE_SLEEP = 0.5
#: Seconds without a further task after which the arrays of those that came are sent.
GATHERED = 0.01
#: Seconds without any task after which memory that is kept for the next arrays is given back.
KEPT = 1.0
#: Seconds that the end of the farm waits for tasks that run.
LAST_WAIT = 2.0

_running: Farm | None = None


def running() -> Farm | None:
    """Return the farm of which this process is rank 0."""
    return _running


def set_running(farm: Farm | None) -> None:
    """Say which farm runs."""
    global _running
    _running = farm


class Farm:
    """The ranks of a job that serve the script of rank 0, which this is.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        All ranks.
    lost : callable
        Returns which other rank of this node is gone, in words; None: none is.
    stopped : callable
        Called when another rank says that the job is about to be ended.

    Attributes
    ----------
    size : int
        Number of ranks, this one included.
    broken : BaseException or None
        Why nothing can be computed any more.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        lost: Callable[[], str | None],
        stopped: Callable[[], None] = lambda: None,
    ) -> None:
        self.size = comm.Get_size()
        self.broken: BaseException | None = None
        self._nodes = Nodes(comm)
        self._control = Publisher(comm, self._nodes.one)
        self._shelf = Shelf(self._nodes)
        self._messages = Messages(comm)
        self._lost, self._stopped = lost, stopped
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._calls: dict[int, Call] = {}
        self._n_calls = self._n_sets = self._next_first = 0
        self._free_queues = list(range(QUEUES))
        self._asleep: set[int] = set()
        self._wanted: deque[tuple[str, Any, Callable[[], None]]] = deque()  # what all ranks do together
        self._all_are_here: Callable[[], bool] | None = None
        self._cancelled: set[int] = set()
        self._stops = self._ends = False
        self._pause = Pause(SHORTEST_SLEEP, LONGEST_SLEEP)
        self._used = 0.0  # when there was a call last
        self._work = threading.Event()
        self._computing = False
        self._dispatcher = threading.Thread(target=self._dispatch, name="hpcml-farm", daemon=True)
        self._worker = threading.Thread(target=self._compute, name="hpcml-farm-worker", daemon=True)
        self._dispatcher.start()
        self._worker.start()

    # -- called from any thread ----------------------------------------------------------------------------

    def open(self, n_ranks: int, n_threads: int | None, max_nbytes: int | None, copies: bool) -> Call:
        """Begin a call of `joblib.Parallel`."""
        self._n_calls += 1
        return Call(self, self._n_calls, n_ranks, n_threads, max_nbytes, copies)

    def tell(self, action: Callable[[], None]) -> None:
        """Let the thread that talks to the ranks do something."""
        self._inbox.put(action)

    def busy(self) -> bool:
        """Return whether tasks are under way."""
        return any(call.waiting or call.published for call in list(self._calls.values()) if not call.over)

    def stop(self) -> None:
        """Start no more tasks; results of those that run are still taken."""
        self.tell(self._stop)

    def close(self) -> bool:
        """Let the other ranks go; return False if they did not come from their tasks soon."""
        self.tell(self._end)
        self._dispatcher.join(2 * LAST_WAIT)
        return not self._dispatcher.is_alive() and self.broken is None

    # -- the thread that talks to the ranks ----------------------------------------------------------------

    def _dispatch(self) -> None:
        try:
            looked = time.perf_counter()
            while not self._ends:
                self._take_wishes()
                if self._take_reports():
                    self._pause.reset()
                self._advance()
                now = time.perf_counter()
                if now - looked > IDLE_SLEEP:
                    looked = now
                    lost = self._lost()
                    if lost is not None:
                        raise WorkerLost(lost)
            self._say_farewell()
        except BaseException as error:  # whatever it is: nobody must wait for what will not come
            self._break(error)

    def _take_wishes(self) -> None:
        """Do what other threads want; wait for it for a while if there is nothing."""
        try:
            action = self._inbox.get(timeout=self._pause.seconds() if self._is_active() else IDLE_SLEEP)
            self._pause.reset()
            while True:
                action()
                action = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _is_active(self) -> bool:
        if self._wanted or self._all_are_here is not None or len(self._asleep) < self.size - 1:
            return True
        return bool(self._calls)

    def _break(self, error: BaseException) -> None:
        self.broken = error
        self._stops = True
        for call in list(self._calls.values()):
            for task in [*call.published.values(), *call.waiting]:
                if not task.future.done():
                    task.future.set_exception(error)
        self._calls.clear()
        while not self._ends:  # those that come from now on fail one by one
            self._inbox.get()()

    # wishes

    def add(self, call: Call, task: Task) -> None:
        """Take a task in."""
        if self.broken is not None:
            task.future.set_exception(self.broken)
            return
        if call.over:
            return
        self._calls[call.number] = call
        call.waiting.append(task)
        call.last = time.perf_counter()

    def flush(self, call: Call) -> None:
        """Send the arrays of the tasks of a call as soon as may be."""
        call.whole = True

    def end_call(self, call: Call) -> None:
        """Start no more tasks of a call, and end those that run where that can be."""
        call.over = True
        call.waiting.clear()
        if self.broken is not None or call.number not in self._calls:
            return
        if call.queue is not None:
            self._withdraw(call)
            if call.published:
                self._cancelled.add(call.number)
                for rank in range(1, self.size):
                    self._messages.cancel(rank, call.number)
        self._forget(call)

    def _withdraw(self, call: Call) -> None:
        assert call.queue is not None
        with self._messages.lock:
            for index in self._control.withdraw(call.queue):
                del call.published[index]
                self._control.finished(call.queue, index)

    def _stop(self) -> None:
        self._stops = True
        for call in self._calls.values():
            if call.queue is not None:
                self._withdraw(call)

    def _end(self) -> None:
        for call in list(self._calls.values()):
            self.end_call(call)
        self._ends = True

    # results

    def _take_reports(self) -> bool:
        some = False
        while (report := self._messages.report()) is not None:
            some = True
            rank, (what, *content) = report
            if what == "asleep":
                self._asleep.add(rank)
            elif what == "stop":
                self._stopped()
            else:
                self._take_results(content[0])
        return some

    def _take_results(self, results: list[tuple[int, int, int, Any]]) -> None:
        for number, place, index, outcome in results:
            call = self._calls[number]
            task = call.published.pop(index)
            with self._messages.lock:
                self._control.finished(place, index)
            if not call.over and outcome is not None:
                _resolve(task.future, outcome)
            self._forget(call)

    def _forget(self, call: Call) -> None:
        """Give back what a call holds once it is over and no rank is at one of its tasks."""
        if not call.over or call.published or self._calls.pop(call.number, None) is None:
            return
        if call.queue is not None:
            self._free_queues.append(call.queue)
        self._cancelled.discard(call.number)
        sets = [number for _, number in call.spans]
        if sets:
            self._wanted.append(("drop", sets, lambda: self._shelf.drop(sets)))

    # tasks

    def _advance(self) -> None:
        self._go_on_together()
        if self._stops:
            return
        self._trim()
        for call in list(self._calls.values()):
            if call.over:
                continue
            if call.queue is None and call.waiting and self._free_queues:
                call.queue = self._free_queues.pop()
                with self._messages.lock:
                    self._control.assign(call.queue, call.number, self._next_first, call.n_ranks)
                self._next_first = (self._next_first + call.n_ranks) % self.size
            if call.queue is not None:
                self._send_arrays(call)
                self._publish(call)
        self._wake()

    def _send_arrays(self, call: Call) -> None:
        """See to the arrays of the tasks that wait, and to tasks that are long themselves."""
        lacking = [
            task for task in call.waiting if task.needs > call.sent or (task.is_long and not task.place)
        ]
        if not lacking or self._wanted or self._all_are_here is not None:
            return
        if not call.whole and time.perf_counter() - call.last < GATHERED:
            return
        arrays = call.packer.arrays[call.sent : max(task.needs for task in lacking)]
        first, number = call.sent, self._n_sets
        self._n_sets += 1
        bodies = [task for task in lacking if task.is_long and not task.place]
        places = {id(task): (number, len(arrays) + i) for i, task in enumerate(bodies)}
        everything = [*arrays, *(np.frombuffer(task.body, dtype=np.uint8) for task in bodies)]

        def put() -> None:
            self._shelf.put(number, everything)
            call.spans = (*call.spans, (first, number))
            call.sent = first + len(arrays)
            for task in bodies:
                task.place = places[id(task)]

        self._wanted.append(("put", number, put))
        self._go_on_together()

    def _publish(self, call: Call) -> None:
        assert call.queue is not None
        with self._messages.lock:
            some = False
            while call.waiting:
                task = call.waiting[0]
                if task.needs > call.sent or (task.is_long and not task.place):
                    break
                body = task.place or task.body
                envelope = Envelope(call.number, body, call.spans, call.copies, call.n_threads)
                index = self._control.write(call.queue, envelope.packed())
                if index is None:
                    break
                call.published[index] = call.waiting.popleft()
                some = True
            if some:
                self._control.show(call.queue)
                self._work.set()

    def _wake(self) -> None:
        """Tell ranks that sleep about tasks, as many of them as there are tasks."""
        if not self._asleep or not any(call.published for call in self._calls.values()):
            return
        with self._messages.lock:
            self._control.look()
        woken = 0
        for rank in sorted(self._asleep):
            if self._control.unclaimed(rank) > woken:
                woken += 1
                self._asleep.remove(rank)
                self._messages.command(rank, "wake", None)

    def _trim(self) -> None:
        """Give memory back that is kept for further arrays, where none come."""
        if self._calls:
            self._used = time.perf_counter()
        elif self._shelf.has_spare and not self._wanted and time.perf_counter() - self._used > KEPT:
            self._wanted.append(("trim", None, self._shelf.trim))

    # what all ranks do together, between their tasks

    def _go_on_together(self) -> None:
        if self._all_are_here is None:
            if not self._wanted:
                return
            what, argument, _ = self._wanted[0]
            for rank in range(1, self.size):
                self._messages.command(rank, what, argument)
            self._all_are_here = self._messages.meet()
        if self._all_are_here():
            self._all_are_here = None
            with self._messages.lock:
                self._wanted.popleft()[2]()
            self._pause.reset()

    def _say_farewell(self) -> None:
        deadline = time.perf_counter() + LAST_WAIT
        while (self._wanted or self._all_are_here or self._computing) and time.perf_counter() < deadline:
            self._take_reports()
            self._go_on_together()
            time.sleep(SHORTEST_SLEEP)
        with self._messages.lock:
            frees = not self._computing  # a task that runs here cannot be ended, and looks at its arrays
        for rank in range(1, self.size):
            self._messages.command(rank, "end", frees)
        all_are_here = self._messages.meet()
        deadline = time.perf_counter() + LAST_WAIT
        while not all_are_here():
            self._take_reports()
            if time.perf_counter() > deadline:
                raise WorkerLost("a rank is still at a task that was given up while the script has ended")
            time.sleep(SHORTEST_SLEEP)
        if frees:
            with self._messages.lock:
                self._shelf.free()
                self._control.free()
                self._nodes.free()

    # -- the thread that computes --------------------------------------------------------------------------

    def _compute(self) -> None:
        limit = ThreadLimit()
        while True:
            self._work.wait()
            self._work.clear()
            while not self._stops:
                with self._messages.lock:
                    if self._ends:
                        break
                    claimed = self._control.claim()
                    self._computing = claimed is not None
                if claimed is None:
                    break
                place, first, tasks = claimed
                for i, task in enumerate(tasks):
                    started = time.perf_counter()
                    envelope = opened(task)
                    outcome = None
                    if envelope.call not in self._cancelled:
                        outcome = run(envelope, self._shelf, limit, "on rank 0")
                    self._control.took(place, time.perf_counter() - started)
                    result = (envelope.call, place, first + i, outcome)
                    self.tell(lambda result=result: self._take_results([result]))  # type: ignore[misc]
                self._computing = False
            limit.lift()


def _resolve(future: Future[Any], outcome: Any) -> None:
    found = Outcome.load(outcome)
    if found.failed:
        future.set_exception(found.value)
    else:
        future.set_result(found.value)
