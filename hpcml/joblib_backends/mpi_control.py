"""The window of rank 0 from which the ranks of a farm claim tasks: a claim waits for no Python of rank 0's.

The window holds a few queues, the list of the tasks of each, and a ring of bytes with the tasks themselves.
Rank 0 writes tasks and raises a queue's count of those published; a rank that wants some raises the count of
those claimed, by compare and swap, and reads them. Counts never go back, so a claim that was prepared while
a queue passed to another call fails.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["LARGEST_TASK", "QUEUES", "Claims", "Publisher"]

#: Calls that run at the same time; further ones wait for a queue.
QUEUES = 16
#: Tasks of a queue that are published and not finished.
ENTRIES = 1024
#: Bytes of a task that travels through the ring; longer ones lie with the arrays.
LARGEST_TASK = 1 << 16
#: Bytes of the ring: for few ranks, and for each of many, which may hold a task of the largest size.
RING, RING_OF_RANK = 1 << 23, 4 * LARGEST_TASK
#: Seconds of work that a rank claims at once, so that short tasks cost few claims, and tasks at most.
CLAIMED_SECONDS, CLAIMED_TASKS = 0.01, 64

_WORD = 8  # bytes
_PUBLISHED, _CLAIMED, _MEMBERS, _CALL = range(4)  # words of a queue
_WIDTH = 4
_MEMBER_BITS = 32  # members: the first of them, and how many there are from there on
_ENTRIES_AT = QUEUES * _WIDTH * _WORD
_RING_AT = _ENTRIES_AT + QUEUES * ENTRIES * 2 * _WORD


def _word_of(queue: int, word: int) -> int:
    return (queue * _WIDTH + word) * _WORD


def _entry_of(queue: int, index: int) -> int:
    return _ENTRIES_AT + (queue * ENTRIES + index % ENTRIES) * 2 * _WORD


def _window(comm: MPI.Intracomm, one_node: bool) -> Any:
    nbytes = _RING_AT + _ring_bytes(comm) if comm.Get_rank() == 0 else 0
    from mpi4py import MPI

    # within a node, a window that is shared needs no help of rank 0's processor
    make = MPI.Win.Allocate_shared if one_node else MPI.Win.Allocate
    return make(nbytes, 1, comm=comm)


def _ring_bytes(comm: MPI.Intracomm) -> int:
    return max(RING, RING_OF_RANK * comm.Get_size())


class Claims:
    """A rank's access to the window. All ranks make one together.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
    one_node : bool
        Whether all ranks share memory.
    """

    def __init__(self, comm: MPI.Intracomm, one_node: bool) -> None:
        from mpi4py import MPI

        self._MPI = MPI
        self._rank, self._size = comm.Get_rank(), comm.Get_size()
        self._window = _window(comm, one_node)
        if self._rank == 0:
            self._memory = np.frombuffer(self._window.tomemory(), dtype=np.uint8)
            self._memory[:_RING_AT] = 0
        comm.Barrier()
        self._window.Lock_all()
        self._table = np.zeros((QUEUES, _WIDTH), dtype=np.int64)
        self._pair = np.zeros(2, dtype=np.int64)
        self._triple = np.zeros((3, 1), dtype=np.int64)
        self._seconds = np.full(QUEUES, np.inf)  # what a task of each queue takes
        self._calls = np.zeros(QUEUES, dtype=np.int64)  # whose tasks those were
        self._turn = 0

    def free(self) -> None:
        """Give the memory back; all ranks call it together."""
        self._memory = np.empty(0, dtype=np.uint8)
        self._window.Unlock_all()
        self._window.Free()

    def took(self, queue: int, seconds: float) -> None:
        """Note how long a task took, for the size of the next claim."""
        known = self._seconds[queue]
        self._seconds[queue] = seconds if np.isinf(known) else 0.5 * (known + seconds)

    def claim(self) -> tuple[int, int, list[bytes]] | None:
        """Return the queue, the number of the first and the bytes of tasks that are this rank's from now on.

        None if there are none.
        """
        self._read_table()
        for offset in range(QUEUES):
            queue = (self._turn + offset) % QUEUES
            while self._open(queue, self._rank):
                first, n = int(self._table[queue, _CLAIMED]), self._how_many(queue)
                if self.raise_claimed(queue, first, first + n):
                    self._turn = queue + 1
                    return queue, first, [self._fetched(queue, first + i) for i in range(n)]
                self._read_table()
        return None

    def unclaimed(self, rank: int) -> int:
        """Return how many tasks a rank could claim, as of the last look at the table."""
        return sum(self._open(queue, rank) for queue in range(QUEUES))

    def look(self) -> None:
        """Look at the table for `unclaimed`."""
        self._read_table()

    def _open(self, queue: int, rank: int) -> int:
        published, claimed, members, _ = self._table[queue].tolist()
        first, n = divmod(members, 1 << _MEMBER_BITS)
        return published - claimed if (rank - first) % self._size < n else 0

    def _how_many(self, queue: int) -> int:
        """Return how many tasks to claim at once: short ones, and never what others should have."""
        members = int(self._table[queue, _MEMBERS]) % (1 << _MEMBER_BITS)
        fair = self._open(queue, self._rank) // (2 * members)
        return int(max(1, min(fair, CLAIMED_SECONDS / max(self._seconds[queue], 1e-9), CLAIMED_TASKS)))

    def _read_table(self) -> None:
        words = QUEUES * _WIDTH
        target = [0, words, self._MPI.INT64_T]
        self._window.Get_accumulate(
            [self._table, self._MPI.INT64_T], [self._table, self._MPI.INT64_T], 0, target, op=self._MPI.NO_OP
        )
        self._window.Flush(0)
        self._seconds[self._calls != self._table[:, _CALL]] = np.inf
        self._calls[:] = self._table[:, _CALL]

    def raise_claimed(self, queue: int, old: int, new: int) -> bool:
        """Raise the count of tasks claimed from `old`; False if it is another by now."""
        wanted, expected, found = self._triple
        wanted[0], expected[0] = new, old
        self._window.Compare_and_swap(wanted, expected, found, 0, _word_of(queue, _CLAIMED))
        self._window.Flush(0)
        return bool(found[0] == old)

    def _fetched(self, queue: int, index: int) -> bytes:
        self._get(self._pair, _entry_of(queue, index))
        start, nbytes = self._pair.tolist()
        content = np.empty(nbytes, dtype=np.uint8)
        self._get(content, _RING_AT + start)
        return content.tobytes()

    def _get(self, values: np.ndarray, at: int) -> None:
        self._window.Get([values, self._MPI.BYTE], 0, [at, values.nbytes, self._MPI.BYTE])
        self._window.Flush(0)


class Publisher(Claims):
    """Rank 0's access, which writes."""

    def __init__(self, comm: MPI.Intracomm, one_node: bool) -> None:
        super().__init__(comm, one_node)
        self._ring = self._memory[_RING_AT:]
        self._used: deque[tuple[tuple[int, int], int, int]] = deque()  # (queue, index), start, end
        self._finished: set[tuple[int, int]] = set()
        self._published = [0] * QUEUES
        self._oldest = [0] * QUEUES  # index of the oldest task that is not finished
        self._head = 0

    def free(self) -> None:
        del self._ring
        super().free()

    def assign(self, queue: int, call: int, first: int, n: int) -> None:
        """Give a queue to a call, for which `n` ranks from `first` on work."""
        self._set(queue, _CALL, call)
        self._set(queue, _MEMBERS, (first << _MEMBER_BITS) + n)

    def write(self, queue: int, task: bytes) -> int | None:
        """Write a task and return its number; None if there is no room now. `show` publishes it."""
        index = self._published[queue]
        if index - self._oldest[queue] >= ENTRIES:
            return None
        start = self._room(len(task))
        if start is None:
            return None
        self._ring[start : start + len(task)] = np.frombuffer(task, dtype=np.uint8)
        at = _entry_of(queue, index)
        self._memory[at : at + 2 * _WORD].view(np.int64)[:] = start, len(task)
        self._used.append(((queue, index), start, start + len(task)))
        self._head = start + len(task)
        self._published[queue] += 1
        return index

    def show(self, queue: int) -> None:
        """Publish what has been written to a queue."""
        self._window.Sync()
        self._set(queue, _PUBLISHED, self._published[queue])

    def finished(self, queue: int, index: int) -> None:
        """Use the place of a task again."""
        self._finished.add((queue, index))
        while self._used and self._used[0][0] in self._finished:
            (queue, index), _, _ = self._used.popleft()
            self._finished.remove((queue, index))
            self._oldest[queue] = index + 1

    def withdraw(self, queue: int) -> range:
        """Return the numbers of the tasks that nobody had claimed, and that nobody can claim any more."""
        while True:
            self._read_table()
            claimed, published = int(self._table[queue, _CLAIMED]), self._published[queue]
            if self.raise_claimed(queue, claimed, published):
                return range(claimed, published)

    def _room(self, nbytes: int) -> int | None:
        if not self._used:
            return 0
        tail = self._used[0][1]
        if self._head > tail:  # free are the end and the beginning
            if self._head + nbytes <= len(self._ring):
                return self._head
            return 0 if nbytes < tail else None
        return self._head if self._head + nbytes < tail else None

    def _set(self, queue: int, word: int, value: int) -> None:
        self._pair[0] = value
        target = [_word_of(queue, word), 1, self._MPI.INT64_T]
        self._window.Accumulate([self._pair[:1], self._MPI.INT64_T], 0, target, op=self._MPI.REPLACE)
        self._window.Flush(0)
