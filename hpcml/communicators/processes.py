"""Processes of this machine that share the rows: each owns some shards, and this one the first.

The process that fits writes a message once for all others, computes its own shards meanwhile where the rows
lie, and adds up what all found, in the fixed tree of `hpcml.kernels.shards`; so a sum has the bits that
``serial`` gives. The others read their rows in shared memory.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml import activity, config
from hpcml.communicators.carried import Function, PackedPieces, Settings, dumps_for
from hpcml.communicators.checks import ClosedTable, RowArrays, check_kernel
from hpcml.communicators.contract import Communicator, Kernel, Table
from hpcml.communicators.local import (
    Chunk,
    Local,
    added_arrays,
    as_row_numbers,
    n_rows_of,
    put_arrays,
    running_sum_rows,
    sum_of,
)
from hpcml.communicators.pool import current_pool, end_pool
from hpcml.communicators.shared_memory import check_memory, in_file, mapped, reserve, share
from hpcml.errors import WorkerLost
from hpcml.kernels import contract
from hpcml.kernels.csr import CSR
from hpcml.kernels.shards import bounds_of, cut, pick

__all__ = ["ProcessTable", "Processes"]

_numbers = itertools.count(1)

#: Row arrays of at least so many bytes are written into the memory of the workers.
SENT_BYTES = 1 << 23


class ProcessTable(Table):
    """Rows of which contiguous whole shards belong to every worker, the first of which is this process.

    This process reads its shards where they were put, the other workers theirs in memory of their own or in
    shared memory; row arrays that were put are never written to. What kernels change or compute lies in the
    workers, and is fetched when it is asked for.
    """

    def __init__(self, rows: Mapping[str, Any]) -> None:
        arrays = put_arrays(rows)
        self.n_rows = self.n_local = n_rows_of(arrays)
        self.first_row = 0
        self._bounds = bounds_of(self.n_rows)
        self._n_shards = len(self._bounds) - 1
        n_workers = min(config.n_workers(), self._n_shards)
        self._n_threads = config.worker_threads(n_workers)
        shards = [self._n_shards * i // n_workers for i in range(n_workers + 1)]
        own, *self._shards = shards  # those of the others begin at the second
        self._cuts: list[int] = self._bounds[self._shards].tolist()
        self._n_others = n_workers - 1
        self._chunk = Chunk(RowArrays(), self._bounds[own : self._shards[0] + 1], own)
        self._local = Local([self._chunk], self._n_shards)
        self._given: dict[str, Any] = {}  # row arrays that no kernel has changed
        self._sums: dict[str, NDArray[np.float64]] = {}  # over each shard, of some row arrays
        self._asked: set[str] = set()  # row arrays whose sums were asked since a kernel changed them
        self._number = next(_numbers)
        self._pool = current_pool(self._n_others)  # workers start while the rows are copied
        with activity.during("communication"):
            self._finalizer = weakref.finalize(
                self, self._pool.abandoned.append, (self._number, self._n_others)
            )
            self._call(_nothing, "open", self._bounds, self._shards)
            try:
                for name, array in arrays.items():
                    self._bring(name, array)
            except BaseException:
                self.close()
                raise

    def _bring(self, name: str, array: Any) -> None:
        """Add or replace a row array: every other worker gets its rows, or reads them in shared memory."""
        if self._n_others and not self._sent(name, array):
            first = self._cuts[0]
            told, files = share(name, cut(array, first, self.n_rows), [at - first for at in self._cuts])
            try:
                self._call(_nothing, "set", name, told, files=files)
            finally:
                for fd in files:
                    os.close(fd)
        self._chunk.arrays[name] = cut(array, 0, self._cuts[0])
        self._given[name] = array
        self._sums.pop(name, None)

    def _sent(self, name: str, array: Any) -> bool:
        """Write rows into the memory of their owners, where they are many and that is allowed."""
        few = isinstance(array, CSR) or array.nbytes < SENT_BYTES
        if few or not self._pool.may_write or in_file(array):
            return False
        check_memory(array[self._cuts[0] :].nbytes, f"put({name})")
        ranges = list(itertools.pairwise(self._cuts))
        with self._pool.lock:
            shapes = [(stop - start, *array.shape[1:]) for start, stop in ranges]
            _, *addresses = self._call(_nothing, "make_room", name, array.dtype, shapes)
            rows = [array[start:stop] for start, stop in ranges]
            return self._pool.write(addresses, rows)

    def _call(self, own: Callable[[], Any], operation: str, *payload: Any, **options: Any) -> list[Any]:
        if self._local.closed:
            raise ClosedTable
        return self._pool.call(self._n_others, own, operation, self._number, *payload, **options)

    def _timed_call(self, own: Callable[[], Any], operation: str, *payload: Any, **options: Any) -> list[Any]:
        """As `_call`, of what all compute; report how long each took."""

        def mine() -> Any:
            started = time.perf_counter()
            try:
                return own()
            finally:
                step.took(-1, time.perf_counter() - started)

        with self._pool.lock, activity.step("communication", self._n_others + 1) as step:
            answers = self._call(mine, operation, *payload, **options)
            for worker, seconds in enumerate(self._pool.seconds):
                step.took(worker, seconds)
        return answers

    # -- kernels -------------------------------------------------------------------------------------------

    def map_reduce(self, kernel: Kernel, /, **arguments: Any) -> dict[str, NDArray[np.float64]]:
        check_kernel(kernel, "reduce")
        with self._pool.lock:
            summed = self._summed_again(kernel, arguments)

            def own(*given: Any) -> Any:
                return self._local.reduce(*given), [self._shard_sums(name) for name in summed]

            (found, mine), *others = self._run("reduce", kernel, arguments, own, summed)
            for i, name in enumerate(summed):
                self._sums[name] = np.concatenate([mine[i], *(sums[i] for _, sums in others)])
            pieces = [PackedPieces(*each).pieces() for some, _ in others for each in some]
            return sum_of([*found, *pieces], self._n_shards)

    def _summed_again(self, kernel: Kernel, arguments: Mapping[str, Any]) -> list[str]:
        """Forget the sums of what a kernel changes; return of which they were asked since the last change.

        These come with the kernel's answer, for they will be asked again: one exchange less.
        """
        if not isinstance(kernel, str):
            self._sums.clear()
            return []
        changed = [arguments.get(name, name) for name in contract.KERNELS[kernel].overwritten]
        for name in changed:
            self._sums.pop(name, None)
        again = [name for name in changed if name in self._asked]
        self._asked.difference_update(again)
        return again

    def map_rows(self, kernel: Kernel, /, **arguments: Any) -> None:
        check_kernel(kernel, "rows")
        self._sums.clear()
        self._run("map", kernel, arguments, self._local.map)

    def _run(
        self,
        operation: str,
        kernel: Kernel,
        arguments: Mapping[str, Any],
        own: Callable[..., Any],
        *more: Any,
    ) -> list[Any]:
        before = dict(self._chunk.arrays)
        told = kernel if isinstance(kernel, str) or not self._n_others else Function.of(kernel)

        def mine() -> Any:
            if isinstance(kernel, str):
                return own(kernel, arguments, self._n_threads)
            # what a user's function asks for; the processes are taken while it runs
            with config.config_context(communicator="serial", n_threads=self._n_threads):
                return own(kernel, arguments, self._n_threads)

        answers = self._timed_call(
            mine,
            operation,
            told,
            arguments,
            tuple(Settings.now(self._n_threads)),
            *more,
            dumps=dumps_for(arguments),
            apart=not isinstance(kernel, str),
        )
        for name, array in self._chunk.arrays.items():
            if before.get(name) is not array:
                self._given.pop(name, None)
        return answers

    # -- row arrays ----------------------------------------------------------------------------------------

    def set(self, **rows: Any) -> None:
        for name, array in added_arrays(rows, self.n_rows).items():
            self._bring(name, array)

    def fill(self, name: str, value: float, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        entries = name, value, np.dtype(dtype), shape
        self._call(lambda: self._local.fill(*entries), "fill", *entries)
        self._forget(name)

    def drop(self, *names: str) -> None:
        self._call(lambda: self._local.drop(names), "drop", names)
        self._forget(*names)

    def _forget(self, *names: str) -> None:
        """Let go of what is known of row arrays that are others now."""
        for name in names:
            self._given.pop(name, None)
            self._sums.pop(name, None)

    def rows(self, name: str) -> NDArray[Any]:
        if name in self._given:
            return self._given[name]
        dtype, shape = self._entries(name)
        found = np.empty((self.n_rows, *shape), dtype=dtype)
        mine, theirs = found[: self._cuts[0]], found[self._cuts[0] :]

        def own() -> None:
            mine[...] = self._chunk.arrays[name]

        width = dtype.itemsize * math.prod(shape)
        places = [(width * (a - self._cuts[0]), (b - a, *shape)) for a, b in itertools.pairwise(self._cuts)]
        with self._segment(name, theirs.nbytes) as files:
            self._call(own, "fetch", name, dtype, places, files=files)
            if files:
                theirs[...] = mapped(files[0], dtype, theirs.shape, 0)
        return found

    def take(self, numbers: NDArray[np.int64], name: str = "X") -> Any:
        numbers = as_row_numbers(numbers, self.n_rows)
        if name in self._given:
            return pick(self._given[name], numbers)
        dtype, shape = self._entries(name)
        found = np.empty((len(numbers), *shape), dtype=dtype)
        owner = np.searchsorted(self._cuts, numbers, side="right")  # 0: this process
        asked = [(np.flatnonzero(owner == 0), numbers[owner == 0])]
        for worker, first in enumerate(self._cuts[:-1], start=1):
            places = np.flatnonzero(owner == worker)
            asked.append((places, numbers[places] - first))

        def own() -> None:
            places, mine = asked[0]
            found[places] = self._chunk.arrays[name][mine]

        with self._segment(name, found.nbytes) as files:
            self._call(own, "take", name, dtype, asked[1:], found.shape, files=files)
            if files:
                theirs = owner > 0
                found[theirs] = mapped(files[0], dtype, found.shape, 0)[theirs]
        return found

    @contextlib.contextmanager
    def _segment(self, name: str, n_bytes: int) -> Iterator[list[int]]:
        """Reserve memory that the other workers write to, if there are any, and close it."""
        files = [reserve(n_bytes, f"rows({name})")] if self._n_others else []
        try:
            yield files
        finally:
            for fd in files:
                os.close(fd)

    def _entries(self, name: str) -> tuple[np.dtype, tuple[int, ...]]:
        """Return type and shape of the entries of a row array."""

        def own() -> tuple[np.dtype, tuple[int, ...]]:
            array = self._chunk.arrays[name]
            return array.dtype, array.shape[1:]

        answers = self._call(own, "describe", name)
        shapes = {shape for _, shape in answers}
        if len(shapes) != 1:
            raise ValueError(f"{name} must have entries of one shape. Got {sorted(shapes)} instead.")
        return np.result_type(*(dtype for dtype, _ in answers)), shapes.pop()

    def where_sum_reaches(self, name: str, targets: NDArray[np.float64]) -> NDArray[np.int64]:
        with self._pool.lock:
            sums = self._sums.get(name)
            if sums is None:
                settings = tuple(Settings.now(self._n_threads))
                found = self._timed_call(lambda: self._shard_sums(name), "sums", name, settings)
                sums = self._sums[name] = np.concatenate(found)
            self._asked.add(name)
            shards, left = running_sum_rows(sums, targets)
        # the owner of each shard finds the row in it
        owners = np.searchsorted(self._shards, shards, side="right").tolist()
        asked: list[list[tuple[int, float]]] = [[] for _ in range(self._n_others + 1)]
        for owner, shard, rest in zip(owners, shards.tolist(), left.tolist(), strict=True):
            asked[owner].append((shard, rest))

        def own() -> list[int]:
            return [self._chunk.row_where_sum_exceeds(name, *each) for each in asked[0]]

        rows = [iter(each) for each in self._timed_call(own, "locate", name, asked[1:])]
        first = [0, *self._cuts]
        return np.array([first[owner] + next(rows[owner]) for owner in owners], dtype=np.int64)

    def _shard_sums(self, name: str) -> NDArray[np.float64]:
        return self._chunk.shard_sums(name, self._n_threads)

    def close(self) -> None:
        self._given.clear()
        self._sums.clear()
        if self._finalizer.detach() and self._pool.alive and self._pool.is_ours:
            self._pool.trim()
            with contextlib.suppress(WorkerLost):  # then the rows are gone as well
                self._call(_nothing, "close")
        self._local.close()


def _nothing() -> None:
    """This process has no part in it."""


class Processes(Communicator):
    """Shares the rows among worker processes, which stay for the next fit.

    Examples
    --------
    >>> import numpy as np
    >>> import hpcml
    >>> from hpcml import communicators
    >>> def total(X):
    ...     return {"sum": X.sum(axis=0)}
    >>> with hpcml.config_context(communicator="processes", n_workers=2):
    ...     with communicators.current() as communicator:
    ...         with communicator.put(X=np.ones((5000, 3))) as table:
    ...             table.map_reduce(total)["sum"]
    array([5000., 5000., 5000.])
    >>> communicator.close()
    """

    name = "processes"

    def put(self, **rows: Any) -> ProcessTable:
        return ProcessTable(rows)

    def close(self) -> None:
        end_pool()
