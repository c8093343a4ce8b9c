"""The ranks of an MPI job as one: they meet before anything is exchanged, and an error of one ends all.

Before every exchange the ranks meet: one small all-reduce in which each says what it is about to do, or that
it has failed. So data is exchanged only where all ranks want the same, a rank that raises ends the fit of
the others at their next meeting, and one that ends its script is missed by the others, not waited for. While
a rank waits, it looks after the processes of its own node.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import pickle
import signal
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import early_end
from hpcml.communicators.mates import Mate, gone
from hpcml.errors import WorkerLost

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["World"]

#: Seconds in which a waiting rank asks without a pause, only giving way to others on its core; then it sleeps
#: between. A pause costs some 60 µs beyond its length, as much as several exchanges.
PATIENCE = 2e-3
#: Seconds between looks at the other processes of the node.
MATES_INTERVAL = 0.5
#: A waiting rank sleeps for this share of what it has waited already, and never longer than LONGEST_SLEEP.
SLEEP_SHARE = 0.05
LONGEST_SLEEP = 1e-3
#: Seconds that a rank gives the others to notice its error before it aborts the job.
GRACE = 5.0
#: Bytes from which on the ranks meet once more when each has got the memory for an exchange.
LARGE = 1 << 20
#: Bytes of memory for exchanges that is kept for the next one.
LARGEST_SCRATCH = 1 << 24

_END = "the end of the script"
_NO_LEVEL = sys.maxsize


def _give_way() -> None:
    """Let another process have this core, if one wants it."""
    if hasattr(os, "sched_yield"):
        os.sched_yield()
    else:
        time.sleep(0)


def _packed(value: Any) -> NDArray[np.uint8]:
    """Return a value as bytes that MPI may send: before the ranks meet, for it may fail."""
    return np.frombuffer(bytearray(pickle.dumps(value)), dtype=np.uint8)


class World:
    """The ranks of a job.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        A communicator of their own.

    Attributes
    ----------
    rank, size : int
        This rank among how many.
    forked : bool
        Whether this process is a forked child, which is no rank.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        from mpi4py import MPI

        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()
        self.forked = False
        self._MPI = MPI
        self._mates: Sequence[Mate] = ()
        self._level = 0  # fits around what runs now
        self._silent_from = _NO_LEVEL  # from this level on, errors leave fits without being told again
        self._known: BaseException | None = None  # the error that the others know of
        self._of_another: BaseException | None = None  # the error that only says what another rank did
        self._broken = False  # a rank is gone: nothing can be agreed any more
        self._dying = False
        self._interrupted = False
        self._user = threading.Lock()
        self._user_thread: int | None = None
        self._scratch: dict[str, NDArray[np.float64]] = {}
        self._header = np.zeros((2, 4), dtype=np.int64)
        if self.size > 1:
            self._defer_interrupts()
            self._previous_hook = early_end.take_over()
            sys.excepthook = self._uncaught
            atexit.register(self._end)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._forget)

    def watch(self, mates: Sequence[Mate]) -> None:
        """Look after other processes of this node while waiting."""
        self._mates = mates

    # -- waiting -------------------------------------------------------------------------------------------

    def wait(self, *requests: MPI.Request, deadline: float | None = None) -> bool:
        """Wait until requests are done; return False if a deadline passes first.

        Raises
        ------
        WorkerLost
            If a process of this node is gone meanwhile.
        """
        for request in requests:
            started = looked = time.perf_counter()
            while not request.Test():
                now = time.perf_counter()
                if now - started < PATIENCE:
                    _give_way()
                    continue
                time.sleep(min(SLEEP_SHARE * (now - started), LONGEST_SLEEP))
                if now - looked > MATES_INTERVAL:
                    looked = now
                    lost = [mate for mate in self._mates if gone(mate)]
                    if lost and not request.Test():  # one that has ended may have sent its part before
                        self._lose(lost)
                    if deadline is not None and now > deadline:
                        return False
        return True

    def _lose(self, lost: list[Mate]) -> None:
        self._broken = True
        told = ", ".join(f"rank {mate.rank} (process {mate.pid})" for mate in lost)
        self._known = WorkerLost(
            f"{told} ended without a word while rank {self.rank} waited; it was killed, perhaps by the "
            "system for want of memory. The job cannot go on"
        )
        self._of_another = self._known
        raise self._known

    # -- meetings ------------------------------------------------------------------------------------------

    def meet(self, what: str) -> None:
        """Return when every rank is about to do the same.

        Parameters
        ----------
        what : str
            In words, numbers included that must be the same.

        Raises
        ------
        WorkerLost
            If a rank has failed or ended, or is about to do something else.
        """
        if self.size > 1:
            self._meet(what, self._level + 1)

    def _meet(self, what: str, level: int) -> None:
        if self._broken:
            raise WorkerLost("a rank of this job was lost before; nothing can be computed together any more")
        self._raise_interrupt()
        self._exchange_headers(False, what, level)
        failed, high, low, _ = self._header[1].tolist()
        if not failed and high == -low:
            self._silent_from = _NO_LEVEL
            return
        error = self._explained(what)
        self._known = error
        raise error

    def _exchange_headers(self, failed: bool, what: str, level: int, deadline: float | None = None) -> bool:
        digest = zlib.crc32(what.encode())
        sent, received = self._header
        sent[:] = failed, digest, -digest, -level
        if not self.wait(self.comm.Iallreduce(sent, received, op=self._MPI.MAX), deadline=deadline):
            return False
        self._silent_from = -int(received[3])
        return True

    def _explained(self, what: str, failure: str | None = None) -> WorkerLost:
        """Tell one another what happened, and return it as an error."""
        notes = self._gathered(_packed((what, failure)))
        for rank, (_, told) in enumerate(notes):
            if told is not None:
                self._of_another = WorkerLost(f"rank {rank} raised {told}")
                return self._of_another
        ended = [rank for rank, (doing, _) in enumerate(notes) if doing == _END]
        if ended:
            return WorkerLost(
                f"rank {ended[0]} has ended its script, and rank {self.rank} is at {what}; every rank must "
                "make the same calls in the same order"
            )
        other = next(rank for rank, (doing, _) in enumerate(notes) if doing != what)
        return WorkerLost(
            f"the ranks do different things: rank {other} is at {notes[other][0]}, rank {self.rank} at "
            f"{what}; every rank must make the same calls in the same order"
        )

    def tell(self, error: BaseException, level: int = 0, deadline: float | None = None) -> bool:
        """Let the others fail at their next meeting; return False if they do not come before the deadline."""
        if self.size == 1 or self._broken:
            return True
        text = " ".join(str(error).split())
        failure = f"{type(error).__name__}: {text}" if text else type(error).__name__
        if not self._exchange_headers(True, "", level, deadline):
            return False
        self._explained("", failure)
        self._known = error
        return True

    def scratch(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return memory that is used again: fresh pages cost more than the exchange of what lies in them."""
        size = math.prod(shape)
        found = self._scratch.get(name)
        if found is None or found.size < size:
            found = np.empty(size)
            if found.nbytes <= LARGEST_SCRATCH:
                self._scratch[name] = found
        return found[:size].reshape(shape)

    # -- small things of every rank ------------------------------------------------------------------------

    def gather(self, what: str, value: Any) -> list[Any]:
        """Return a small picklable value of every rank."""
        if self.size == 1:
            return [value]
        packed = _packed(value)
        self.meet(what)
        return self._gathered(packed, what)

    def _gathered(self, own: NDArray[np.uint8], what: str | None = None) -> list[Any]:
        lengths = np.empty(self.size, dtype=np.int64)
        self.wait(self.comm.Iallgather(np.array([len(own)], dtype=np.int64), lengths))
        ends = np.cumsum(lengths)
        everything = np.empty(int(ends[-1]), dtype=np.uint8)
        if what is not None and everything.nbytes > LARGE:
            self.meet(f"memory for {what}")  # a rank may have none
        self.wait(self.comm.Iallgatherv(own, (everything, lengths.tolist())))
        return [pickle.loads(part.data) for part in np.split(everything, ends[:-1])]

    def bcast(self, value: Any) -> Any:
        """Return rank 0's value, small and picklable."""
        if self.size == 1:
            return value
        buffer = _packed(value) if self.rank == 0 else np.empty(0, dtype=np.uint8)
        self.meet("bcast")
        length = np.array([len(buffer)], dtype=np.int64)
        self.wait(self.comm.Ibcast(length))
        if self.rank:
            buffer = np.empty(int(length[0]), dtype=np.uint8)
        if length[0] > LARGE:
            self.meet("memory for bcast")  # a rank may have none
        self.wait(self.comm.Ibcast(buffer))
        return value if self.rank == 0 else pickle.loads(buffer.data)

    # -- fits ----------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """Begin a fit, or one inside it.

        Raises
        ------
        RuntimeError
            If another Python thread of this process is in a fit: exchanges of two would mix.
        """
        me = threading.get_ident()
        if self._user_thread != me:
            if not self._user.acquire(blocking=False):
                raise RuntimeError(
                    "under MPI one Python thread at a time computes with the other ranks, and another thread "
                    "of this process does; fit one after the other, or choose communicator='serial' in one"
                )
            self._user_thread = me
        self._level += 1
        self._silent_from = _NO_LEVEL  # errors from before have been dealt with

    def leave(self, error: BaseException | None) -> None:
        """End a fit together with the others; one that ends by an error tells them."""
        level = self._level
        self._level -= 1
        try:
            if self.size == 1:
                return
            if error is None and not self._interrupted:
                self._meet("the end of a fit", level)
            elif level < self._silent_from:
                with contextlib.suppress(WorkerLost):  # the error at hand is the one to be seen
                    self.tell(error or KeyboardInterrupt(), level)
            if error is None:
                self._raise_interrupt()
        finally:
            if self._level == 0:
                self._user_thread = None
                self._user.release()

    # -- interrupts ----------------------------------------------------------------------------------------

    def _defer_interrupts(self) -> None:
        """Let an interrupt inside a fit wait for the next meeting: in the midst of one the others would hang.

        A second one is not deferred.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(signal.SIGINT)
        if not callable(previous):
            return

        def handler(number: int, frame: FrameType | None) -> None:
            if self._level and not self._interrupted and not self.forked:
                self._interrupted = True
            else:
                previous(number, frame)

        signal.signal(signal.SIGINT, handler)

    def _raise_interrupt(self) -> None:
        if self._interrupted:
            self._interrupted = False
            raise KeyboardInterrupt

    # -- the end of the script -----------------------------------------------------------------------------

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Show an uncaught exception, and see to it that no rank waits for this one."""
        if error is self._of_another:  # whose traceback is the one to be read
            early_end.say(f"hpcml: rank {self.rank} ends: WorkerLost: {error}\n")
        else:
            early_end.show(self._previous_hook, self.rank, error)
        self._dying = True
        if self._broken:
            time.sleep(2 * MATES_INTERVAL)  # the others on this node find out for themselves
            self._abort()
        if error is not self._known:
            try:
                if not self.tell(error, deadline=time.perf_counter() + GRACE):
                    self._abort()
            except WorkerLost:
                self._abort()

    def _end(self) -> None:
        """Wait for the others at the end of the script, so that one which does not come is missed."""
        if self.size == 1 or self._MPI.Is_finalized():
            return
        try:
            while not self._broken:
                deadline = time.perf_counter() + GRACE if self._dying else None
                if not self._exchange_headers(False, _END, 1, deadline):
                    break
                failed, high, low, _ = self._header[1].tolist()
                if not failed and high == -low:
                    return
                self._explained(_END)
        except BaseException as error:  # whatever it is, the others must not wait
            print(f"hpcml: rank {self.rank}: {error}", file=sys.stderr)
        self._abort()

    def _abort(self) -> None:
        early_end.flush()
        self._MPI.COMM_WORLD.Abort(1)

    def _forget(self) -> None:
        """Forked children are no ranks."""
        self.forked = True
        sys.excepthook = self._previous_hook
        atexit.unregister(self._end)
