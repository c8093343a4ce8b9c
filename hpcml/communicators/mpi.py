"""The ranks of an MPI job: every rank runs the training method on the same model and puts its own rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hpcml import activity, config
from hpcml.communicators.checks import RowArrays
from hpcml.communicators.contract import Communicator, Kernel, Table
from hpcml.communicators.layout import Layout
from hpcml.communicators.local import (
    Chunk,
    Local,
    Pieces,
    added_arrays,
    as_row_numbers,
    merged,
    n_rows_of,
    put_arrays,
    running_sum_rows,
)
from hpcml.communicators.mpi_exchange import gather_rows, gather_sparse, joined, transfer, tree_sum
from hpcml.communicators.mpi_start import started
from hpcml.communicators.mpi_world import World
from hpcml.kernels.csr import CSR
from hpcml.kernels.shards import cut, pick

__all__ = ["Mpi", "MpiTable"]


class MpiTable(Table):
    """The shards that begin in this rank's rows: one chunk that lies where it was put, and one beside it.

    The second holds the last shard where it reaches into the rows of the next ranks, whose part is copied.
    """

    def __init__(self, world: World, rows: Mapping[str, Any]) -> None:
        self._world = world
        arrays = put_arrays(rows)
        self.n_local = n_rows_of(arrays)
        counts = self._agreed(self.n_local, arrays)
        self._layout = layout = Layout(counts)
        self.n_rows = layout.n_rows
        if not self.n_rows:
            raise ValueError(
                "Found array with 0 sample(s) on all ranks together while a minimum of 1 is required."
            )
        self.first_row = int(layout.starts[world.rank])
        self._start, self._stop = layout.owned(world.rank)  # the rows that this rank computes
        self._split = self._start  # where the second chunk begins
        self._local = Local(self._empty_chunks(), layout.n_shards)
        for name, array in arrays.items():
            self._store(name, array)

    def _agreed(self, n_local: int, arrays: Mapping[str, Any]) -> list[int]:
        """Return how many rows every rank has; raise on every rank if their rows are not of one kind."""
        kinds = {name: _kind_text(array) for name, array in sorted(arrays.items())}
        device = config.device()
        used = config.kernels() if device == "auto" else f"{config.kernels()} on {device}"
        told = self._world.gather("put", (n_local, kinds, used))
        _, first_kinds, first_kernels = told[0]
        for rank, (_, other, kernels) in enumerate(told):
            if other != first_kinds:
                raise ValueError(
                    f"every rank must put the same row arrays, with the same columns and types. "
                    f"Got {first_kinds} on rank 0 and {other} on rank {rank} instead."
                )
            if kernels != first_kernels:
                raise ValueError(
                    f"every rank must use the same kernels. Got {first_kernels!r} on rank 0 and {kernels!r} "
                    f"on rank {rank} instead."
                )
        return [n for n, _, _ in told]

    def _empty_chunks(self) -> list[Chunk]:
        layout, rank = self._layout, self._world.rank
        first, last = layout.shards[rank : rank + 2].tolist()
        end = int(layout.starts[rank + 1])
        whole = last - 1 if first < last and self._stop > end else last  # shards that lie here wholly
        self._split = int(layout.bounds[whole])
        pairs = ((first, whole), (whole, last))
        return [Chunk(RowArrays(), layout.bounds[a : b + 1] - layout.bounds[a], a) for a, b in pairs if a < b]

    # -- row arrays ----------------------------------------------------------------------------------------

    def _store(self, name: str, array: Any) -> None:
        """Give the chunks their rows of an array of the rows that were put; whole shards are not copied."""
        rank, first = self._world.rank, self.first_row
        sends = [
            (move.target, cut(array, move.start - first, move.stop - first))
            for move in self._layout.moves
            if move.source == rank
        ]
        receives = [(m.source, m.stop - m.start) for m in self._layout.moves if m.target == rank]
        received = transfer(self._world, sends, receives, array)
        for chunk in self._local.chunks:
            if chunk is self._straddling():
                own = cut(array, self._split - first, self.n_local)
                chunk.arrays[name] = joined([own, *received])
            elif self.n_local == chunk.n_rows:
                chunk.arrays[name] = array
            else:
                chunk.arrays[name] = cut(array, self._start - first, self._split - first)

    def _straddling(self) -> Chunk | None:
        """Return the chunk with rows of other ranks, if there is one."""
        return self._local.chunks[-1] if self._local.chunks and self._split < self._stop else None

    def set(self, **rows: Any) -> None:
        self._local.check_open()
        arrays = added_arrays(rows, self.n_local)
        if self._layout.moves:
            self._world.meet(f"set of {', '.join(sorted(arrays))}")
        for name in sorted(arrays):
            self._store(name, arrays[name])

    def fill(self, name: str, value: float, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        self._local.fill(name, value, dtype, shape)

    def drop(self, *names: str) -> None:
        self._local.drop(names)

    def rows(self, name: str) -> NDArray[Any]:
        self._local.check_open()
        layout, rank = self._layout, self._world.rank
        own = [chunk.arrays[name] for chunk in self._local.chunks]
        if not layout.moves and layout.everyone_computes:
            return own[0]
        self._world.meet(f"rows of {name}")
        like, straddling = self._like(name), self._straddling()
        sends, receives = [], []
        for move in layout.moves:  # the way back
            if move.target == rank and straddling is not None:
                rows = cut(straddling.arrays[name], move.start - self._split, move.stop - self._split)
                sends.append((move.source, rows))
            elif move.source == rank:
                receives.append((move.target, move.stop - move.start))
        parts = transfer(self._world, sends, receives, like)
        if straddling is not None:
            own[-1] = cut(own[-1], 0, self.first_row + self.n_local - self._split)
        return joined([*parts, *own]) if parts or own else like

    def _like(self, name: str) -> Any:
        """Return no rows of an array, with the type and shape of one; ranks without shards ask the others."""
        own = cut(self._local.chunks[0].arrays[name], 0, 0) if self._local.chunks else None
        if self._layout.everyone_computes:
            return own
        told = self._world.gather(f"the kind of {name}", own)
        return next((each for each in told if each is not None), None)

    # -- kernels -------------------------------------------------------------------------------------------

    def map_reduce(self, kernel: Kernel, /, **arguments: Any) -> dict[str, NDArray[np.float64]]:
        with activity.during("compute"):
            pieces = self._local.reduce(kernel, arguments, config.n_threads())
        with activity.during("communication"):
            return self._sum(kernel, pieces)

    def _sum(self, kernel: Kernel, pieces: list[Pieces]) -> dict[str, NDArray[np.float64]]:
        """Add up what all ranks found."""
        shapes = pieces[0].shapes if pieces else None
        name = kernel if isinstance(kernel, str) else getattr(kernel, "__name__", "a function")
        if not self._layout.everyone_computes:
            told = self._world.gather(f"map_reduce of {name}", shapes)
            shapes = next(each for each in told if each is not None)
        assert shapes is not None
        sizes = [math.prod(shape) for shape in shapes.values()]
        activity.count_sum(8 * sum(sizes))
        own = self._merged(pieces, sum(sizes))
        self._world.meet(f"map_reduce of {name} with {shapes}")
        parts = np.split(tree_sum(self._world, self._layout, own), np.cumsum(sizes)[:-1])
        return {key: part.reshape(shape) for (key, shape), part in zip(shapes.items(), parts, strict=True)}

    def _merged(self, pieces: list[Pieces], m: int) -> NDArray[np.float64]:
        """Return the sums of both chunks, added up as far as the tree goes on this rank."""
        wanted = self._layout.ranges(self._world.rank)
        if len(pieces) == 1 and len(pieces[0].ranges) == len(wanted):
            return pieces[0].sums
        return merged(pieces, self._layout.n_shards)[1] if pieces else np.empty((0, m))

    def map_rows(self, kernel: Kernel, /, **arguments: Any) -> None:
        with activity.during("compute"):
            self._local.map(kernel, arguments, config.n_threads())

    # -- rows by number ------------------------------------------------------------------------------------

    def take(self, numbers: NDArray[np.int64], name: str = "X") -> Any:
        self._local.check_open()
        numbers = as_row_numbers(numbers, self.n_rows)
        like = self._like(name)
        self._world.meet(f"take of {len(numbers)} rows of {name}")
        owners = self._layout.owners(numbers)
        mine = numbers[owners == self._world.rank]
        counts = np.bincount(owners, minlength=self._world.size).tolist()
        order = np.argsort(owners, kind="stable")  # in which the rows are gathered
        gather = gather_sparse if isinstance(like, CSR) else gather_rows
        gathered = gather(self._world, self._own_rows(name, mine, like), counts)
        return pick(gathered, np.argsort(order))

    def _own_rows(self, name: str, numbers: NDArray[np.int64], like: Any) -> Any:
        """Return rows that this rank computes, by their numbers in the whole table."""
        parts, places = [], []
        at = self._start
        for chunk in self._local.chunks:
            inside = np.flatnonzero((numbers >= at) & (numbers < at + chunk.n_rows))
            array, local = chunk.arrays[name], numbers[inside] - at
            parts.append(pick(array, local))
            places.append(inside)
            at += chunk.n_rows
        if not parts:
            return like
        return pick(joined(parts), np.argsort(np.concatenate(places)))

    def where_sum_reaches(self, name: str, targets: NDArray[np.float64]) -> NDArray[np.int64]:
        self._local.check_open()
        world, layout = self._world, self._layout
        world.meet(f"where_sum_reaches of {len(targets)} targets in {name}")
        with activity.during("compute"):
            own = [chunk.shard_sums(name, config.n_threads()) for chunk in self._local.chunks]
        counts = np.diff(layout.shards).tolist()
        with activity.during("communication"):
            sums = gather_rows(world, np.concatenate([np.empty(0), *own]), counts)
        shards, left = running_sum_rows(sums, np.asarray(targets, dtype=np.float64))
        found = np.zeros(len(targets), dtype=np.int64)
        at = self._start
        for chunk in self._local.chunks:
            last = chunk.first_shard + len(chunk.bounds) - 1
            for i in np.flatnonzero((shards >= chunk.first_shard) & (shards < last)).tolist():
                found[i] = at + chunk.row_where_sum_exceeds(name, int(shards[i]), float(left[i]))
            at += chunk.n_rows
        everyones = gather_rows(world, found[None], [1] * world.size)
        return everyones.max(axis=0)

    def close(self) -> None:
        self._local.close()


def _kind_text(array: Any) -> str:
    if isinstance(array, CSR):
        return f"sparse {array.dtype} of {array.n_columns} columns"
    return f"{array.dtype} of shape (n{''.join(f', {length}' for length in array.shape[1:])})"


class Mpi(Communicator):
    """The ranks of ``MPI.COMM_WORLD``; the first use starts MPI if it does not run yet."""

    name = "mpi"

    def __init__(self) -> None:
        self._world = started()
        self.rank, self.size = self._world.rank, self._world.size

    def put(self, **rows: Any) -> MpiTable:
        with activity.during("communication"):
            return MpiTable(self._world, rows)

    def gather(self, value: Any) -> list[Any]:
        return self._world.gather("gather", value)

    def bcast(self, value: Any) -> Any:
        return self._world.bcast(value)

    def __enter__(self) -> Self:
        self._world.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._world.leave(error)
