"""A call of `joblib.Parallel` on a farm, with its tasks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpcml.joblib_backends.mpi_control import LARGEST_TASK
from hpcml.joblib_backends.payload import Packer

if TYPE_CHECKING:
    from hpcml.joblib_backends.mpi_dispatch import Farm

__all__ = ["Call", "Task"]


@dataclass
class Task:
    """A task of a call, pickled.

    Parameters
    ----------
    future : Future
    body : bytes
    needs : int
        As many of the call's arrays.
    place : (int, int), optional
        Of a long body among the arrays.
    """

    future: Future[Any]
    body: bytes
    needs: int
    place: tuple[int, int] | None = None

    @property
    def is_long(self) -> bool:
        """Whether the body goes the way of arrays."""
        return len(self.body) > LARGEST_TASK // 2  # the envelope adds some


@dataclass(eq=False)
class Call:
    """A call of `joblib.Parallel`.

    Parameters
    ----------
    farm : Farm
    number : int
    n_ranks : int
        How many ranks may work on it.
    n_threads : int or None
        Limit of the threads of each task.
    max_nbytes : int or None
        Size from which on arrays are shared.
    copies : bool
        Whether tasks get arrays of their own.
    """

    farm: Farm
    number: int
    n_ranks: int
    n_threads: int | None
    max_nbytes: int | None
    copies: bool
    packer: Packer = field(init=False)
    queue: int | None = None
    waiting: deque[Task] = field(default_factory=deque)
    published: dict[int, Task] = field(default_factory=dict)
    spans: tuple[tuple[int, int], ...] = ()
    sent: int = 0  # as many of the packer's arrays are there on every rank
    last: float = 0.0  # when the last task came
    whole: bool = False  # whether those that came so far need not wait for others
    over: bool = False
    open: int = 0  # tasks without an outcome
    failed: bool = False

    def __post_init__(self) -> None:
        self.packer = Packer(self.max_nbytes)
        self._changed = threading.Condition()

    def submit(self, function: Callable[[], Any], callback: Callable[[Any], Any] | None) -> Future[Any]:
        """Queue a task; the callback gets its future when it is done."""
        future: Future[Any] = Future()
        with self._changed:
            self.open += 1
        if callback is not None:
            future.add_done_callback(callback)  # which may submit more before this one counts as done
        future.add_done_callback(self._done)
        try:
            body = self.packer.pack(function)
        except Exception as error:  # what a user's object raises when it is pickled
            failure = error
            self.farm.tell(lambda: future.set_exception(failure))
            return future
        task = Task(future, body, len(self.packer.arrays))
        self.farm.tell(lambda: self.farm.add(self, task))
        return future

    def _done(self, future: Future[Any]) -> None:
        with self._changed:
            self.open -= 1
            self.failed |= future.exception() is not None
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until all tasks have an outcome, or one of them has failed."""
        with self._changed:
            self._changed.wait_for(lambda: self.failed or not self.open)

    def flush(self) -> None:
        """Say that the tasks that came need not wait for others."""
        self.farm.tell(lambda: self.farm.flush(self))

    def end(self) -> None:
        """Start no more tasks, and end those that run where that can be."""
        self.farm.tell(lambda: self.farm.end_call(self))
