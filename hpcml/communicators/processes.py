"""Worker processes of this machine: the rows exist once, in shared memory, and every worker owns some shards.

The process that fits writes a message once for all workers and adds up what they found, in the fixed tree of
`hpcml.kernels.shards`; so a sum has the bits that ``serial`` gives.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml import config
from hpcml.communicators.carried import Function, PackedPieces, Settings, dumps_for
from hpcml.communicators.checks import ClosedTable, check_kernel
from hpcml.communicators.contract import Communicator, Kernel, Table
from hpcml.communicators.local import (
    Chunk,
    as_row_array,
    as_row_arrays,
    as_row_numbers,
    n_rows_of,
    running_sum_rows,
    sum_of,
)
from hpcml.communicators.pool import current_pool, end_pool
from hpcml.communicators.shared_memory import mapped, reserve, share
from hpcml.errors import WorkerLost
from hpcml.kernels.shards import bounds_of, pick

__all__ = ["ProcessTable", "Processes"]

_numbers = itertools.count(1)


class ProcessTable(Table):
    """Rows in shared memory, contiguous whole shards of which belong to every worker.

    Row arrays that were put are read by workers and never written to; what kernels change or compute lies in
    the workers, and is fetched when it is asked for.
    """

    def __init__(self, rows: Mapping[str, Any]) -> None:
        arrays = {name: as_row_array(name, array) for name, array in rows.items() if array is not None}
        self.n_rows = self.n_local = n_rows_of(arrays)
        self.first_row = 0
        self._bounds = bounds_of(self.n_rows)
        self._n_shards = len(self._bounds) - 1
        self._n_workers = min(config.n_workers(), self._n_shards)
        self._n_threads = config.worker_threads(self._n_workers)
        self._shards = [self._n_shards * i // self._n_workers for i in range(self._n_workers + 1)]
        self._cuts = self._bounds[self._shards].tolist()
        self._given: dict[str, Any] = {}  # row arrays that no kernel has changed
        self._number = next(_numbers)
        self._closed = False
        self._pool = current_pool(self._n_workers)  # workers start while the rows are copied
        with contextlib.ExitStack() as opened:
            shared = {name: self._share(name, array, opened) for name, array in arrays.items()}
            self._finalizer = weakref.finalize(
                self, self._pool.abandoned.append, (self._number, self._n_workers)
            )
            self._call("open", self._bounds, self._shards)
            for name, (told, files) in shared.items():
                self._call("set", name, told, files=files)
        self._given.update(arrays)

    def _share(self, name: str, array: Any, opened: contextlib.ExitStack) -> tuple[Any, list[int]]:
        told, files = share(name, array, self._cuts)
        for fd in files:
            opened.callback(os.close, fd)
        return told, files

    def _call(self, operation: str, *payload: Any, **options: Any) -> list[Any]:
        if self._closed:
            raise ClosedTable
        return self._pool.call(self._n_workers, operation, self._number, *payload, **options)

    # -- kernels -------------------------------------------------------------------------------------------

    def map_reduce(self, kernel: Kernel, /, **arguments: Any) -> dict[str, NDArray[np.float64]]:
        check_kernel(kernel, "reduce")
        with self._pool.lock:
            found = self._run("reduce", kernel, arguments)
            return sum_of([PackedPieces(*each).pieces() for some in found for each in some], self._n_shards)

    def map_rows(self, kernel: Kernel, /, **arguments: Any) -> None:
        check_kernel(kernel, "rows")
        self._run("map", kernel, arguments)

    def _run(self, operation: str, kernel: Kernel, arguments: Mapping[str, Any]) -> list[Any]:
        told = kernel if isinstance(kernel, str) else Function.of(kernel)
        settings = tuple(Settings.now(self._n_threads))
        answers = self._call(operation, told, arguments, settings, dumps=dumps_for(arguments))
        for name in answers[0][1]:
            self._given.pop(name, None)
        return [answer[0] for answer in answers]

    # -- row arrays ----------------------------------------------------------------------------------------

    def set(self, **rows: Any) -> None:
        for name, array in as_row_arrays(rows, self.n_rows).items():
            with contextlib.ExitStack() as opened:
                told, files = self._share(name, array, opened)
                self._call("set", name, told, files=files)
            self._given[name] = array

    def fill(self, name: str, value: float, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        self._call("fill", name, value, np.dtype(dtype), shape)
        self._given.pop(name, None)

    def drop(self, *names: str) -> None:
        self._call("drop", names)
        for name in names:
            self._given.pop(name, None)

    def rows(self, name: str) -> NDArray[Any]:
        if name in self._given:
            return self._given[name]
        dtype, shape = self._entries(name)
        width = dtype.itemsize * int(np.prod(shape))
        ranges = list(itertools.pairwise(self._cuts))
        places = [(width * a, (b - a, *shape)) for a, b in ranges]
        with self._segment(name, width * self.n_rows) as fd:
            self._call("fetch", name, dtype, places, files=[fd])
            return np.array(mapped(fd, dtype, (self.n_rows, *shape), 0))

    def take(self, numbers: NDArray[np.int64], name: str = "X") -> Any:
        numbers = as_row_numbers(numbers, self.n_rows)
        if name in self._given:
            return pick(self._given[name], numbers)
        dtype, shape = self._entries(name)
        owner = np.searchsorted(self._cuts, numbers, side="right") - 1
        asked = []
        for worker in range(self._n_workers):
            places = np.flatnonzero(owner == worker)
            asked.append((places, numbers[places] - self._cuts[worker]))
        shape = (len(numbers), *shape)
        with self._segment(name, dtype.itemsize * int(np.prod(shape))) as fd:
            self._call("take", name, dtype, asked, shape, files=[fd])
            return np.array(mapped(fd, dtype, shape, 0))

    @contextlib.contextmanager
    def _segment(self, name: str, n_bytes: int) -> Any:
        fd = reserve(n_bytes, f"rows({name})")
        try:
            yield fd
        finally:
            os.close(fd)

    def _entries(self, name: str) -> tuple[np.dtype, tuple[int, ...]]:
        """Return type and shape of the entries of a row array."""
        answers = self._call("describe", name)
        shapes = {shape for _, shape in answers}
        if len(shapes) != 1:
            raise ValueError(f"{name} must have entries of one shape. Got {sorted(shapes)} instead.")
        return np.result_type(*(dtype for dtype, _ in answers)), shapes.pop()

    def where_sum_reaches(self, name: str, targets: NDArray[np.float64]) -> NDArray[np.int64]:
        chunk = Chunk(self._given, self._bounds, 0)
        given = name in self._given
        with self._pool.lock:
            sums = [chunk.shard_sums(name)] if given else self._call("sums", name)
            shards, left = running_sum_rows(np.concatenate(sums), targets)
        pairs = list(zip(shards.tolist(), left.tolist(), strict=True))
        if given:
            return np.array([chunk.row_where_sum_exceeds(name, *pair) for pair in pairs], dtype=np.int64)
        # the owner of each shard finds the row in it
        owners = (np.searchsorted(self._shards, shards, side="right") - 1).tolist()
        asked: list[list[tuple[int, float]]] = [[] for _ in range(self._n_workers)]
        for owner, pair in zip(owners, pairs, strict=True):
            asked[owner].append(pair)
        found = [iter(rows) for rows in self._call("locate", name, asked)]
        return np.array([self._cuts[owner] + next(found[owner]) for owner in owners], dtype=np.int64)

    def close(self) -> None:
        self._given.clear()
        if self._finalizer.detach() and self._pool.alive and self._pool.is_ours:
            self._pool.trim()
            with contextlib.suppress(WorkerLost):  # then the rows are gone as well
                self._call("close")
        self._closed = True


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
