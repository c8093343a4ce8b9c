"""The messages between rank 0 and the ranks that serve it: few and small while tasks run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcml.joblib_backends.mpi_arrays import PIECE

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["Messages", "Pause"]

_COMMAND, _CANCEL, _REPORT, _BODY = 1, 2, 3, 4  # tags

#: Bytes up to which results are a part of the message that announces them.
SHORT = 1 << 15


class Pause:
    """How long to sleep between two looks: a share of the time since something happened.

    Parameters
    ----------
    shortest, longest : float
        Seconds.
    share : float
        A small one hears soon, at the cost of more looks.
    """

    def __init__(self, shortest: float, longest: float, share: float = 0.05) -> None:
        self._shortest, self._longest, self._share = shortest, longest, share
        self.reset()

    def reset(self) -> None:
        """Note that something happened."""
        self._since = time.perf_counter()

    def waited(self) -> float:
        """Return the seconds since something happened."""
        return time.perf_counter() - self._since

    def seconds(self) -> float:
        """Return how long to sleep now."""
        return min(max(self._share * self.waited(), self._shortest), self._longest)


class Messages:
    """A rank's mailbox. Its lock is held for every use of MPI, which several threads of the rank make.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm

    Attributes
    ----------
    lock : threading.RLock
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        from mpi4py import MPI

        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()
        self.lock = threading.RLock()
        self._MPI = MPI
        self._sent: list[Any] = []

    # -- rank 0 --------------------------------------------------------------------------------------------

    def command(self, rank: int, *what: Any) -> None:
        """Tell a rank what to do before its next task."""
        self._send(rank, what, _COMMAND)

    def cancel(self, rank: int, call: int) -> None:
        """Tell a rank that nobody wants the results of a call any more."""
        self._send(rank, call, _CANCEL)

    def _send(self, rank: int, message: Any, tag: int) -> None:
        with self.lock:
            self._sent = [request for request in self._sent if not request.Test()]
            self._sent.append(self.comm.isend(message, rank, tag))

    def report(self) -> tuple[int, Any] | None:
        """Return the next rank that has something to say, and what; None if there is none."""
        with self.lock:
            status = self._MPI.Status()
            message = self.comm.improbe(tag=_REPORT, status=status)
            if message is None:
                return None
            rank = status.Get_source()
            what = message.recv()
            if what[0] == "long":
                what = ("results", [(*place, self._body(rank, length)) for *place, length in what[1]])
            return rank, what

    def _body(self, rank: int, length: int | None) -> Any:
        if length is None:
            return None
        content = np.empty(length, dtype=np.uint8)
        for start in range(0, length, PIECE):
            self.comm.Recv(content[start : start + PIECE], rank, _BODY)
        return content.data

    # -- the others ----------------------------------------------------------------------------------------

    def tell(self, *what: Any) -> None:
        """Tell rank 0 something."""
        with self.lock:
            self.comm.send(what, 0, _REPORT)

    def tell_results(self, results: Sequence[tuple[int, int, int, bytes | None]]) -> None:
        """Send rank 0 the results of tasks: call, queue, number there, outcome."""
        if sum(len(outcome) for *_, outcome in results if outcome) <= SHORT:
            self.tell("results", results)
            return
        with self.lock:
            lengths = [None if outcome is None else len(outcome) for *_, outcome in results]
            self.tell("long", [(*each[:3], n) for each, n in zip(results, lengths, strict=True)])
            for *_, outcome in results:
                content = np.frombuffer(outcome or b"", dtype=np.uint8)
                for start in range(0, len(content), PIECE):
                    self.comm.Send(content[start : start + PIECE], 0, _BODY)

    def next_command(self) -> tuple[Any, ...] | None:
        """Return the next command of rank 0, None if there is none."""
        return self._received(_COMMAND)

    def next_cancelled(self) -> int | None:
        """Return the next call that rank 0 has cancelled, None if there is none."""
        return self._received(_CANCEL)

    def _received(self, tag: int) -> Any:
        with self.lock:
            message = self.comm.improbe(0, tag)
            return None if message is None else message.recv()

    # -- all -----------------------------------------------------------------------------------------------

    def meet(self) -> Callable[[], bool]:
        """Begin to meet all other ranks; the function that is returned says whether all have come."""
        with self.lock:
            request = self.comm.Ibarrier()

        def all_are_here() -> bool:
            with self.lock:
                return bool(request.Test())

        return all_are_here
