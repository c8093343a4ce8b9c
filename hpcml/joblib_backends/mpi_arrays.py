"""The arrays of tasks, once a node: rank 0 broadcasts them into memory that the ranks of a node share."""

from __future__ import annotations

import gc
import os
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["ALIGNMENT", "Nodes", "Shelf"]

#: Every array begins at a multiple of these bytes, a line of the cache.
ALIGNMENT = 64
#: Bytes of one broadcast: counts of MPI 3 end at 2 GiB.
PIECE = 1 << 28
#: Bytes of shared memory that are left to others.
LEFT_OVER = 1 << 24
#: A window of at most so many bytes is kept for the next set: to map pages takes longer than to write them.
SPARE_BYTES = 1 << 28

_SHARED_MEMORY = "/dev/shm"  # where MPICH and Open MPI have it


class Nodes:
    """Which ranks share memory. All ranks make one together.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm

    Attributes
    ----------
    node : mpi4py.MPI.Intracomm
        The ranks of this node.
    leaders : mpi4py.MPI.Intracomm or None
        The first rank of every node; None on other ranks.
    one : bool
        Whether there is one node.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        from mpi4py import MPI

        self.comm, self.MPI = comm, MPI
        self.node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.Get_rank())
        self.leads = self.node.Get_rank() == 0
        leaders = comm.Split(0 if self.leads else MPI.UNDEFINED, comm.Get_rank())
        self.leaders = leaders if self.leads else None
        self.one = self.node.Get_size() == comm.Get_size()

    def free(self) -> None:
        """Give the communicators back; all ranks call it together."""
        self.node.Free()
        if self.leaders is not None:
            self.leaders.Free()


@dataclass
class _Plan:
    """Where each array lies: first byte, shape, type, whether in Fortran order; and bytes in all."""

    places: list[tuple[int, tuple[int, ...], np.dtype, bool]] = field(default_factory=list)
    nbytes: int = 0

    @classmethod
    def of(cls, arrays: Sequence[NDArray[Any]]) -> _Plan:
        plan = cls()
        for array in arrays:
            fortran = not array.flags.c_contiguous
            plan.places.append((plan.nbytes, array.shape, array.dtype, fortran))
            plan.nbytes += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        return plan

    def views(self, memory: NDArray[np.uint8]) -> list[NDArray[Any]]:
        views = []
        for start, shape, dtype, fortran in self.places:
            n = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
            flat = memory[start : start + n].view(dtype)
            views.append(flat.reshape(shape, order="F" if fortran else "C"))
        return views


@dataclass
class _Set:
    window: Any  # None: the memory is this rank's own
    memory: Any
    views: list[NDArray[Any]]


class Shelf:
    """Sets of arrays, by the number of the set.

    Parameters
    ----------
    nodes : Nodes
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._sets: dict[int, _Set] = {}
        self._held: list[tuple[Any, weakref.ref[Any]]] = []  # dropped, but somebody still holds a view
        self._spare: tuple[Any, int] | None = None  # a window for the next set, and its bytes
        self._warned = False

    def __getitem__(self, place: tuple[int, int]) -> NDArray[Any]:
        number, i = place
        return self._sets[number].views[i]

    def put(self, number: int, arrays: Sequence[NDArray[Any]] | None = None) -> None:
        """Take a set from rank 0, which alone gives the arrays; all ranks call it together."""
        nodes, comm = self._nodes, self._nodes.comm
        plan: _Plan = comm.bcast(None if arrays is None else _Plan.of(arrays))
        window, memory = self._memory(plan.nbytes)
        views = plan.views(memory)
        if arrays is not None:
            for view, array in zip(views, arrays, strict=True):
                np.copyto(view, array)
        # to every node, or to every rank where there is no memory to share
        others: Any = comm if window is None else nodes.leaders
        if others is not None and others.Get_size() > 1:
            for start in range(0, len(memory), PIECE):
                others.Bcast(memory[start : start + PIECE])
        if window is not None:
            window.Sync()
        comm.Barrier()
        if window is not None:
            window.Sync()
        for view in views:
            view.flags.writeable = False
        self._sets[number] = _Set(window, memory, views)

    def _memory(self, nbytes: int) -> tuple[Any, NDArray[np.uint8]]:
        nodes, window = self._nodes, None
        padded = nbytes + ALIGNMENT
        if self._spare is not None and self._spare[1] >= padded:
            window, self._spare = self._spare[0], None
        else:
            self.trim()
            if nodes.comm.allreduce(not nodes.leads or _there_is_room(padded), op=nodes.MPI.LAND):
                window = nodes.MPI.Win.Allocate_shared(padded if nodes.leads else 0, 1, comm=nodes.node)
                window.Lock_all()
        if window is not None:
            whole = np.frombuffer(window.Shared_query(0)[0], dtype=np.uint8)
        else:
            whole = np.empty(padded, dtype=np.uint8)
            self._warn(nbytes)
        start = -whole.__array_interface__["data"][0] % ALIGNMENT  # mapped by pages: the same on all ranks
        return window, whole[start : start + nbytes]

    def _warn(self, nbytes: int) -> None:
        if self._nodes.comm.Get_rank() == 0 and not self._warned:
            self._warned = True
            warnings.warn(
                f"{_SHARED_MEMORY} of a node has no room for {nbytes / 1e6:.0f} MB, so every rank gets a "
                "copy of the arrays of its own. Give it more (in a container: docker run --shm-size=...).",
                RuntimeWarning,
                stacklevel=2,
            )

    def drop(self, numbers: Sequence[int]) -> None:
        """Give the memory of sets back; all ranks call it together.

        Where somebody still holds one of the arrays (a cache of the user's, say), the set stays until the
        next call of `drop`: to unmap it would end the process of whoever looks at it. The largest window that
        is free is kept for the next set, until `trim`.
        """
        dropped = []
        for number in numbers:
            one = self._sets.pop(number)
            if one.window is not None:
                dropped.append((one.window, weakref.ref(one.memory.base)))
            del one
        if any(base() is not None for _, base in dropped):
            gc.collect()  # it may be a cycle of objects alone that holds it
        still = []
        for window, base in [*self._held, *dropped]:
            if self._nodes.comm.allreduce(base() is not None, op=self._nodes.MPI.LOR):
                still.append((window, base))
            else:
                self._keep_or_free(window)
        self._held = still

    def _keep_or_free(self, window: Any) -> None:
        nbytes = window.Shared_query(0)[0].nbytes
        if nbytes > SPARE_BYTES or (self._spare is not None and nbytes <= self._spare[1]):
            _free(window)
            return
        self.trim()
        self._spare = window, nbytes

    @property
    def has_spare(self) -> bool:
        """Whether there is memory for `trim` to give back."""
        return self._spare is not None

    def trim(self) -> None:
        """Give back the window that is kept for the next set; all ranks call it together."""
        if self._spare is not None:
            window, self._spare = self._spare[0], None
            _free(window)

    def free(self) -> None:
        """Give all back; all ranks call it together."""
        self.drop(list(self._sets))
        self.trim()


def _free(window: Any) -> None:
    window.Unlock_all()
    window.Free()


def _there_is_room(nbytes: int) -> bool:
    try:
        status = os.statvfs(_SHARED_MEMORY)
    except OSError:  # another system, with another place
        return True
    return status.f_bavail * status.f_frsize >= nbytes + LEFT_OVER
