"""A worker process of ``communicator="processes"``: ``python -m hpcml.communicators.worker SOCKET``.

It is started by `hpcml.communicators.pool` as a fresh interpreter, holds its shards of every open table, and
does what the messages say until the other end of its socket is gone. It imports neither the user's script nor
scikit-learn, pandas or, before a kernel asks for it, SciPy.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml import blas
from hpcml.communicators import early_end
from hpcml.communicators.carried import Function, PackedPieces, Settings
from hpcml.communicators.channel import Closed, Inbox, Outbox, patience_of, receive, send
from hpcml.communicators.checks import RowArrays
from hpcml.communicators.local import Chunk, Local
from hpcml.communicators.other_memory import room_for
from hpcml.communicators.shared_memory import Shared, mapped
from hpcml.remote_errors import RemoteError, Warned

__all__ = ["Worker", "main"]


class Worker:
    """The tables of one worker process; its public methods are the operations that messages name.

    Parameters
    ----------
    index : int
        Its place among the workers beside the asking process.
    """

    def __init__(self, index: int) -> None:
        self.files: Sequence[int] = ()  # what came with the message
        self.patience = 0.0  # seconds to wait awake for the next one
        self._index = index
        self._tables: dict[int, Local] = {}
        self._settings = Settings("", 0, None, "", False)  # of no process: the first kernel brings others
        self._in_force = contextlib.ExitStack()
        self._function: tuple[Function, Any] | None = None  # the last one: iterations ask for the same

    # -- tables --------------------------------------------------------------------------------------------

    def open(self, table: int, bounds: NDArray[np.int64], shards: Sequence[int]) -> None:
        """Begin a table, of whose shards worker i owns those from ``shards[i]`` to ``shards[i + 1]``."""
        self.patience = patience_of(len(shards))  # the asking process is one more
        first, stop = shards[self._index], shards[self._index + 1]
        chunk = Chunk(RowArrays(), bounds[first : stop + 1] - bounds[first], first)
        self._tables[table] = Local([chunk], len(bounds) - 1)

    def close(self, table: int) -> None:
        """End a table."""
        self._tables.pop(table, None)

    def _chunk(self, table: int) -> Chunk:
        return self._tables[table].chunks[0]

    def set(self, table: int, name: str, shared: Shared) -> None:
        """Add or replace a row array."""
        self._chunk(table).arrays[name] = shared.of(self._index, self.files)

    def make_room(self, table: int, name: str, dtype: np.dtype, shapes: Sequence[tuple[int, ...]]) -> int:
        """Add or replace a row array that the asking process is about to write; return where it lies."""
        array = room_for(dtype, shapes[self._index])
        address: int = array.__array_interface__["data"][0]
        array.flags.writeable = False  # for kernels here, as where rows are shared
        self._chunk(table).arrays[name] = array
        return address

    def fill(self, table: int, name: str, value: float, dtype: Any, shape: tuple[int, ...]) -> None:
        """Add or replace a row array of equal entries."""
        self._tables[table].fill(name, value, dtype, shape)

    def drop(self, table: int, names: Sequence[str]) -> None:
        """Forget row arrays."""
        self._tables[table].drop(names)

    # -- kernels -------------------------------------------------------------------------------------------

    def reduce(
        self, table: int, kernel: Any, arguments: Mapping[str, Any], settings: Any, summed: Sequence[str]
    ) -> tuple[list[tuple[Any, ...]], list[NDArray[np.float64]]]:
        """Run a kernel of the kind "reduce"; return what it found, and then the `sums` of some row arrays."""
        self._apply(settings)
        found = self._tables[table].reduce(self._kernel(kernel), arguments, self._settings.n_threads)
        pieces = [tuple(PackedPieces.of(some)) for some in found]
        return pieces, [self._shard_sums(table, name) for name in summed]

    def map(self, table: int, kernel: Any, arguments: Mapping[str, Any], settings: Any) -> None:
        """Run a kernel of the kind "rows"."""
        self._apply(settings)
        self._tables[table].map(self._kernel(kernel), arguments, self._settings.n_threads)

    def _apply(self, settings: tuple[Any, ...]) -> None:
        if settings != self._settings:
            self._in_force.close()
            new = Settings(*settings)
            self._in_force.enter_context(new.in_force())
            self._settings = new

    def _kernel(self, kernel: str | Function) -> Any:
        if isinstance(kernel, str):
            return kernel
        if self._function is None or kernel != self._function[0]:
            self._function = kernel, kernel.function()
        return self._function[1]

    # -- row state -----------------------------------------------------------------------------------------

    def describe(self, table: int, name: str) -> tuple[np.dtype, tuple[int, ...]]:
        """Return type and shape of the entries of a row array."""
        array = self._chunk(table).arrays[name]
        return array.dtype, array.shape[1:]

    def fetch(self, table: int, name: str, dtype: np.dtype, places: Sequence[tuple[int, Any]]) -> None:
        """Write the entries of a row array into a segment."""
        offset, shape = places[self._index]
        mapped(self.files[0], dtype, shape, offset, write=True)[...] = self._chunk(table).arrays[name]

    def take(
        self,
        table: int,
        name: str,
        dtype: np.dtype,
        rows: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
        shape: tuple[int, ...],
    ) -> None:
        """Write entries of a row array into a segment: ``rows[i]`` is where to, and which of worker i."""
        places, numbers = rows[self._index]
        if len(places):
            entries = self._chunk(table).arrays[name][numbers]
            mapped(self.files[0], dtype, shape, 0, write=True)[places] = entries

    def sums(self, table: int, name: str, settings: Any) -> NDArray[np.float64]:
        """Return the sum of a row array over every shard."""
        self._apply(settings)
        return self._shard_sums(table, name)

    def _shard_sums(self, table: int, name: str) -> NDArray[np.float64]:
        return self._chunk(table).shard_sums(name, self._settings.n_threads)

    def locate(self, table: int, name: str, targets: Sequence[Sequence[tuple[int, float]]]) -> list[int]:
        """Return the row of the chunk at which the running sum over a shard exceeds each (shard, target)."""
        chunk = self._chunk(table)
        return [chunk.row_where_sum_exceeds(name, *each) for each in targets[self._index]]


# -- the loop ----------------------------------------------------------------------------------------------


def _end_with_the_other_side(fd: int) -> None:
    """End this process as soon as the socket is closed, in the middle of a kernel too."""
    poll = select.poll()
    poll.register(fd, getattr(select, "POLLRDHUP", 0))  # POLLHUP is always reported
    poll.poll()
    os._exit(0)


def _keep_warnings() -> list[Warned]:
    """Collect warnings instead of printing them: the asking process decides what to do with them."""
    kept: list[Warned] = []

    def keep(message: Any, category: Any, file: str, line: int, *_: Any) -> None:
        kept.append(Warned.of(str(message), category, file, line))

    warnings.simplefilter("always")
    warnings.showwarning = keep  # type: ignore[assignment]
    return kept


def _answer(worker: Worker, message: tuple[Any, ...], files: Sequence[int]) -> Any:
    operation, *payload = message
    if operation == "hello":
        sys.path[:] = payload[0]
        return None
    worker.files = files
    return getattr(worker, operation)(*payload)


def _serve(connection: socket.socket, worker: Worker) -> None:
    inbox, outbox, known = Inbox(), Outbox(), 0
    kept = _keep_warnings()
    while True:
        header, files = receive(connection, inbox, worker.patience)
        message: Any = None
        started = time.perf_counter()
        try:
            message = inbox.read(header, copy=True)
            answer = _answer(worker, message, files)
        except BaseException as error:  # SystemExit as well: only the other side ends this process
            answer = RemoteError.of(error)
        seconds = time.perf_counter() - started
        for fd in files:
            os.close(fd)
        if message and message[0] == "close":
            outbox.trim()
        early_end.flush()  # a worker ends without notice
        try:
            reply = outbox.write((answer, kept, seconds))
        except BaseException as error:  # no memory for it
            reply = outbox.write((RemoteError.of(error), [], seconds))
        del message, answer
        kept.clear()
        send(connection, reply, outbox, known)
        known = reply.generation


def main() -> None:
    """Serve until the other end of the socket is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fd, index = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with_the_other_side, args=(fd,), daemon=True).start()
    with blas.one_thread(), contextlib.suppress(Closed):
        _serve(socket.socket(fileno=fd), Worker(index))


if __name__ == "__main__":
    main()
