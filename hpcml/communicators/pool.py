"""The worker processes beside this process: started afresh, kept warm, ended together.

This process is the first worker itself, and these are the others. There is one pool a process. A worker that
is lost, an answer that is not waited for (an interrupt) or a fork ends it, and the next table starts another
one.
"""

from __future__ import annotations

import atexit
import collections
import multiprocessing.spawn
import os
import pickle
import select
import signal
import site
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hpcml import config
from hpcml.communicators import interrupts
from hpcml.communicators.channel import (
    Closed,
    Inbox,
    Outbox,
    patience_of,
    receive,
    send,
    wait_for_any,
)
from hpcml.communicators.other_memory import write
from hpcml.communicators.own_part import Aside, at_once
from hpcml.errors import WorkerLost
from hpcml.remote_errors import RemoteError, Warned

__all__ = ["Pool", "current_pool", "end_pool"]

#: Seconds in which a new worker must report: Python and NumPy may come from a slow network disk.
START_SECONDS = 120.0

#: Seconds that a worker which has closed its end is given to be gone, so that its exit code can be told.
END_SECONDS = 2.0

_MODULE = "hpcml.communicators.worker"

# Libraries that a worker loads later get one BLAS thread too: shards run in parallel above them.
_ONE_BLAS_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def _environment() -> dict[str, str]:
    """Return a worker's environment, in which it finds the same hpcml."""
    environment = {**os.environ, **_ONE_BLAS_THREAD}
    folder = str(Path(config.__file__).resolve().parent.parent)
    if folder not in (*site.getsitepackages(), site.getusersitepackages()):
        paths = [folder, os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment


class _Worker:
    """One worker process and the socket to it."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.inbox = Inbox()
        self.known = 0  # generation of the outbox that it has mapped
        self.socket, theirs = socket.socketpair()
        try:
            # A session of its own: an interrupt from the keyboard reaches this process alone.
            self.process = subprocess.Popen(
                [
                    multiprocessing.spawn.get_executable(),
                    "-P",
                    "-m",
                    _MODULE,
                    str(theirs.fileno()),
                    str(index),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                start_new_session=True,
            )
        except BaseException:
            self.socket.close()
            raise
        finally:
            theirs.close()

    def fate(self) -> str:
        """Say how the process ended, after its end of the socket was closed."""
        try:
            code = self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"was killed by {name}" + (", as by a system out of memory" if name == "SIGKILL" else "")


class Pool:
    """Worker processes, and the exchange of messages with the first of them.

    While they do what a message says, this process does its own part. One message is under way at a time:
    Python threads take turns by `lock`, which is held as long as an answer is read in place.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._ending = threading.RLock()
        self.alive = True
        self.seconds: list[float] = []  # in which the others did what the last message said
        self.reason = "they were ended by close()"
        self.may_write = True  # to the memory of the workers; until the system says no
        self.abandoned: collections.deque[tuple[int, int]] = collections.deque()  # (table, its workers)
        self._owner = os.getpid()
        self._under_way = False  # a message was sent that is not answered by all
        self._workers: list[_Worker] = []
        self._new: collections.deque[_Worker] = collections.deque()  # not greeted yet
        self._by_socket: dict[int, _Worker] = {}
        self._poll = select.poll()
        self._outbox = Outbox()
        self._aside = Aside()

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    @property
    def is_ours(self) -> bool:
        """Whether this process started the workers; a forked child did not."""
        return self._owner == os.getpid()

    def notice_the_dead(self) -> None:
        """End the pool if a worker died while nobody waited for it."""
        for worker in self._workers:
            if self.alive and worker.process.poll() is not None:
                self.end(self._what_became_of(worker))

    def start(self, n_workers: int) -> None:
        """Start as many workers as are missing, without waiting for them, nor for a thread that computes."""
        while len(self._workers) < n_workers:
            with interrupts.later():
                worker = _Worker(len(self._workers))
                self._by_socket[worker.socket.fileno()] = worker
                self._poll.register(worker.socket, select.POLLIN)
                self._new.append(worker)
                self._workers.append(worker)
        if not self.alive:  # ended by another thread meanwhile
            for worker in self._new:
                worker.process.kill()
                worker.process.wait()

    def call(
        self,
        n_workers: int,
        own: Callable[[], Any],
        operation: str,
        *payload: Any,
        files: Sequence[int] = (),
        dumps: Callable[..., bytes] = pickle.dumps,
        apart: bool = False,
    ) -> list[Any]:
        """Let the first workers do something and this process its own part meanwhile; return all answers.

        Parameters
        ----------
        n_workers : int
            How many processes beside this one.
        own : callable
            What this process does; it returns the first answer.
        operation : str
            A method of `hpcml.communicators.worker.Worker`, which gives the other answers.
        *payload
            Its arguments.
        files : sequence of int
            Descriptors to send along.
        dumps : callable
            What pickles the message.
        apart : bool
            Whether this process's part may take long, so that a worker that is lost has to be noticed, and an
            interrupt has to arrive, meanwhile.

        Returns
        -------
        list
            The arrays of the others' answers lie in shared memory, until the next call.

        Raises
        ------
        WorkerLost
            If a worker died, now or earlier.
        Exception
            What a worker raised; the first one's, if several did.
        """
        self._check()
        with self.lock:
            self._check()
            try:
                if self._new:
                    self._greet()
                while self.abandoned:
                    table, of = self.abandoned.popleft()
                    self._exchange(self._workers[:of], ("close", table))
                workers = self._workers[:n_workers]
                self._tell(workers, (operation, *payload), files, dumps)
                mine = self._aside(own) if apart and workers else at_once(own)
                # not awake beside another Python thread: they would take turns
                answers = self._answers(workers, patience=0.0 if apart else patience_of(len(workers) + 1))
                first, failure = mine()
            except BaseException as error:
                if self._under_way:
                    self.end(f"{type(error).__name__} came before they answered")
                self._aside.end()  # it may be in the midst of something
                raise
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # its traceback refers to this frame
        for answer in answers:
            if isinstance(answer, RemoteError):
                raise answer.error()
        return [first, *answers]

    def write(self, addresses: Sequence[int], arrays: Sequence[NDArray[Any]]) -> bool:
        """Copy an array to an address of each of the first workers.

        Returns
        -------
        bool
            False if the system does not allow it, or a worker is gone, which the next call notices.
        """
        for worker, address, array in zip(self._workers, addresses, arrays, strict=False):
            with self._ending:  # whose end frees the process id for others
                if not (self.alive and write(worker.process.pid, address, array)):
                    self.may_write = False
                    return False
        return True

    def trim(self) -> None:
        """Give back the memory of large messages; workers follow with the next one."""
        with self.lock:
            self._outbox.trim()

    def _check(self) -> None:
        if not self.is_ours:
            raise WorkerLost("The workers belong to the process that this one was forked from; fit again.")
        if not self.alive:
            raise WorkerLost(f"The worker processes are gone, and the rows with them: {self.reason}.")

    def _greet(self) -> None:
        new = [self._new.popleft() for _ in range(len(self._new))]
        limit = time.monotonic() + START_SECONDS
        self._exchange(new, ("hello", sys.path), limit=limit)

    def _exchange(
        self, workers: Sequence[_Worker], message: tuple[Any, ...], limit: float | None = None
    ) -> list[Any]:
        self._tell(workers, message)
        return self._answers(workers, limit)

    def _tell(
        self,
        workers: Sequence[_Worker],
        message: tuple[Any, ...],
        files: Sequence[int] = (),
        dumps: Callable[..., bytes] = pickle.dumps,
    ) -> None:
        if not workers:
            return
        header = self._outbox.write(message, dumps)
        self._under_way = True
        for worker in workers:
            try:
                send(worker.socket, header, self._outbox, worker.known, files)
            except Closed:
                self._lose(worker)
            worker.known = header.generation

    def _answers(
        self, workers: Sequence[_Worker], limit: float | None = None, patience: float = 0.0
    ) -> list[Any]:
        """Wait for the answers to what was told, no longer than until a moment of the monotonic clock."""
        waiting = {worker.index for worker in workers}
        answers: dict[int, Any] = {}
        seconds: dict[int, float] = {}
        warned: list[Warned] = []
        while waiting:
            rest = None if limit is None else max(0.0, limit - time.monotonic()) * 1000
            ready = wait_for_any(self._poll, rest, patience)
            if not ready:
                self._lose(self._workers[min(waiting)], f"did not start within {START_SECONDS:.0f} s")
            for fd, _ in ready:
                worker = self._by_socket[fd]
                if worker.index not in waiting:  # it is gone; whoever asks it next will notice
                    self._poll.unregister(fd)
                    continue
                waiting.remove(worker.index)
                try:
                    answered, _ = receive(worker.socket, worker.inbox)
                except Closed:
                    self._lose(worker)
                answers[worker.index], more, seconds[worker.index] = worker.inbox.read(answered, copy=False)
                warned += more
        self._under_way = False
        self.seconds = [seconds[worker.index] for worker in workers]
        for warning in dict.fromkeys(warned):
            warning.repeat()
        return [answers[worker.index] for worker in workers]

    def _lose(self, worker: _Worker, fate: str | None = None) -> None:
        self._check()
        what = self._what_became_of(worker, fate)
        self.end(what)
        raise WorkerLost(f"{what} before it answered. The rows are lost; the next fit starts new workers.")

    def _what_became_of(self, worker: _Worker, fate: str | None = None) -> str:
        place, of = worker.index + 2, len(self._workers) + 1  # the first is this process
        return f"worker {place} of {of} (process {worker.process.pid}) {fate or worker.fate()}"

    def end(self, reason: str) -> None:
        """End all workers at once; nothing of them is left when this returns.

        A Python thread that waits for an answer learns of it, and is not waited for.
        """
        with interrupts.later():
            with self._ending:
                if not self.alive:
                    return
                self.alive, self.reason = False, reason
            for worker in self._workers:
                worker.process.kill()
            for worker in self._workers:
                worker.process.wait()
            if self.lock.acquire(timeout=END_SECONDS):
                for worker in self._workers:
                    worker.socket.close()
                self._outbox.close()
                self._aside.end()
                self.lock.release()

    def leave(self) -> None:
        """Forget the workers in a forked child, for their parent goes on with them."""
        self.alive = False
        self.lock, self._ending = threading.RLock(), threading.RLock()  # a thread of the parent may hold them
        for worker in self._workers:
            worker.socket.close()
            worker.process.returncode = 0  # not ours to wait for


# -- the pool of this process ------------------------------------------------------------------------------

_lock = threading.Lock()
_pool: Pool | None = None


def current_pool(n_workers: int) -> Pool:
    """Return this process's pool, with at least so many workers beside this process on their way."""
    global _pool
    with _lock:
        if _pool is not None:
            _pool.notice_the_dead()
        if _pool is None or not _pool.alive:
            _pool = Pool()
        _pool.start(n_workers)
        return _pool


def end_pool() -> None:
    """End the workers, if there are any; the next use starts new ones."""
    global _pool
    with _lock:
        pool, _pool = _pool, None
    if pool is not None:
        pool.end("they were ended by close()")


def _after_fork() -> None:
    global _lock, _pool
    _lock = threading.Lock()
    pool, _pool = _pool, None
    if pool is not None:
        pool.leave()


atexit.register(end_pool)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
