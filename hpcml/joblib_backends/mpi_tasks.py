"""One task on a rank: its arguments put together, its threads limited, its outcome as bytes."""

from __future__ import annotations

import pickle
import sys
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hpcml import blas, config
from hpcml.joblib_backends import outcomes
from hpcml.joblib_backends.mpi_arrays import Shelf
from hpcml.joblib_backends.payload import load

__all__ = ["Envelope", "ThreadLimit", "inside_a_task", "opened", "run"]

_here = threading.local()


@dataclass(frozen=True)
class Envelope:
    """What is sent of a task.

    Parameters
    ----------
    call : int
        Number of the call of `joblib.Parallel` that it belongs to.
    body : bytes or tuple of int
        The task, pickled by `payload.Packer`; where that is long, its place among the arrays.
    spans : tuple of (int, int)
        The first number (of the packer's) of each set of arrays of the call, and the set's own number.
    copies : bool
        Whether the task gets arrays of its own, which it may change.
    n_threads : int or None
        Limit of the threads of BLAS, OpenMP and hpcml; None is the rank's share of the cores.
    """

    call: int
    body: bytes | tuple[int, int]
    spans: tuple[tuple[int, int], ...]
    copies: bool
    n_threads: int | None

    def packed(self) -> bytes:
        """Return it as bytes for `opened`."""
        fields = (self.call, self.body, self.spans, self.copies, self.n_threads)
        return pickle.dumps(fields, protocol=pickle.HIGHEST_PROTOCOL)


def opened(content: bytes) -> Envelope:
    """Return the envelope that `Envelope.packed` made bytes of."""
    return Envelope(*pickle.loads(content))


class _Arrays(Sequence[NDArray[Any]]):
    """The arrays of a call by the packer's numbers."""

    def __init__(self, envelope: Envelope, shelf: Shelf) -> None:
        self._shelf, self._copies = shelf, envelope.copies
        self._firsts = [first for first, _ in envelope.spans]
        self._sets = [number for _, number in envelope.spans]
        self._own: dict[int, NDArray[Any]] = {}

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, number: Any) -> Any:
        i = bisect_right(self._firsts, number) - 1
        array = self._shelf[self._sets[i], number - self._firsts[i]]
        if not self._copies:
            return array
        return self._own.setdefault(number, array.copy(order="K"))


class ThreadLimit:
    """The limit of this thread's pools of native threads, kept from task to task while it is the same."""

    def __init__(self) -> None:
        self._key: tuple[int | None, int] | None = None
        self._limited: Any = None

    def set(self, n: int | None) -> None:
        """Limit them to `n`; None is the rank's share, and leaves pools alone that are smaller."""
        key = (n, len(sys.modules))  # a task may load libraries with further pools
        if key == self._key:
            return
        from threadpoolctl import ThreadpoolController

        self.lift()
        self._key = key
        controller = ThreadpoolController()
        most = n or config.n_threads(-1)
        if n is None and all(pool["num_threads"] <= most for pool in controller.info()):
            return
        blas.let_this_thread_limit(controller)
        self._limited = controller, controller.limit(limits=most)

    def lift(self) -> None:
        """Give the pools back their threads."""
        if self._limited is not None:
            controller, limiter = self._limited
            self._limited = None
            blas.let_this_thread_limit(controller)
            limiter.restore_original_limits()
            blas.let_this_thread_limit(controller)  # and leave the right to whoever comes next
        self._key = None


def inside_a_task() -> bool:
    """Return whether this thread is running a task."""
    return getattr(_here, "running", False)


def run(envelope: Envelope, shelf: Shelf, limit: ThreadLimit, place: str) -> bytes:
    """Run a task.

    Parameters
    ----------
    envelope : Envelope
    shelf : Shelf
        The arrays of this rank.
    limit : ThreadLimit
        That of this thread.
    place : str
        Where this is, for the notes of errors.

    Returns
    -------
    bytes
        For `outcomes.Outcome.load`.
    """

    def call() -> Any:
        body: Any = envelope.body
        task = load(body if isinstance(body, bytes) else shelf[body].data, _Arrays(envelope, shelf))
        limit.set(envelope.n_threads)  # loading may have brought libraries with pools of threads
        with config.config_context(communicator="serial", n_threads=envelope.n_threads):
            return task()

    _here.running = True
    try:
        return outcomes.run(call, place)[0]
    finally:
        _here.running = False
