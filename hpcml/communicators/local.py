"""The rows of one process, and the kernels that run over them; every communicator computes through this."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml import activity
from hpcml.communicators.checks import (
    ClosedTable,
    RowArrays,
    check_kernel,
    check_names,
    check_same_parts,
    parts_of_shard,
    rows_of_shard,
)
from hpcml.communicators.contract import Kernel
from hpcml.kernels import away, contract, lookup
from hpcml.kernels.csr import CSR
from hpcml.kernels.shards import TreeSum, of_shard, over_shards

__all__ = [
    "Chunk",
    "Local",
    "Pieces",
    "added_arrays",
    "as_row_numbers",
    "merged",
    "n_rows_of",
    "put_arrays",
    "running_sum_rows",
    "sum_of",
]


def _as_row_array(name: str, array: Any) -> Any:
    """Return a row array as kernels read it, not to be written to; raise if it cannot be one."""
    if isinstance(array, CSR):
        return array
    if isinstance(array, np.ndarray) and array.ndim >= 1 and array.dtype != object:
        view = np.require(np.asarray(array), requirements=["C", "A"]).view()
        view.flags.writeable = False
        return view
    raise TypeError(f"{name} must be an ndarray of numbers or a CSR. Got {type(array).__name__} instead.")


def n_rows_of(rows: Mapping[str, Any]) -> int:
    """Return the number of rows that arrays have in common; raise if they have none."""
    lengths = {name: array.shape[0] for name, array in rows.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"rows must be arrays with the same number of rows. Got {lengths} instead.")
    return next(iter(lengths.values()))


def put_arrays(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row arrays of a new table, without those that are None."""
    return {name: _as_row_array(name, array) for name, array in rows.items() if array is not None}


def added_arrays(rows: Mapping[str, Any], n_rows: int) -> dict[str, Any]:
    """Return row arrays that are added to a table; raise if they do not have as many rows."""
    arrays = {name: _as_row_array(name, array) for name, array in rows.items()}
    if n_rows_of(arrays) != n_rows:
        raise ValueError(f"rows must have {n_rows} rows. Got {n_rows_of(arrays)} instead.")
    return arrays


def as_row_numbers(numbers: Any, n_rows: int) -> NDArray[np.int64]:
    """Return numbers of rows of a table as an array; raise if there are others among them."""
    numbers = np.asarray(numbers, dtype=np.int64)
    if len(numbers) and not (0 <= numbers.min() and numbers.max() < n_rows):
        raise IndexError(f"numbers must be of rows from 0 to {n_rows - 1}. Got {numbers} instead.")
    return numbers


@dataclass
class Chunk:
    """Contiguous rows that are whole shards.

    Parameters
    ----------
    arrays : RowArrays
    bounds : ndarray of int64 of shape (s + 1,)
        First row of every shard in the arrays, then the end.
    first_shard : int
        Number of the first shard in the whole table.
    """

    arrays: RowArrays
    bounds: NDArray[np.int64]
    first_shard: int

    @property
    def n_rows(self) -> int:
        """Rows of the chunk."""
        return int(self.bounds[-1])

    def shard_sums(self, name: str, n_threads: int) -> NDArray[np.float64]:
        """Return the sum of a row array of numbers over every shard, whatever chunk the shard lies in."""
        values = self.arrays.read(name)
        if not self.n_rows:
            return np.zeros(len(self.bounds) - 1)
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        sums: NDArray[np.float64] = lookup("shard_sums")(values, self.bounds, n_threads)
        return sums

    def row_where_sum_exceeds(self, name: str, shard: int, target: float) -> int:
        """Return the row of the chunk at which the running sum over one shard exceeds a target, or the last.

        Parameters
        ----------
        name : str
            A row array of numbers.
        shard : int
            Number of the shard in the whole table.
        target : float
            What remains for the shard.
        """
        start, stop = self.bounds[shard - self.first_shard : shard - self.first_shard + 2].tolist()
        running = self.arrays.read(name)[start:stop].cumsum(dtype=np.float64)
        return start + min(int(running.searchsorted(target, side="right")), stop - start - 1)


@dataclass
class Pieces:
    """Sums over ranges of shards, and the shapes of the parts that lie one after another in each."""

    ranges: NDArray[np.int64]
    sums: NDArray[np.float64]
    shapes: dict[str, tuple[int, ...]]


def merged(pieces: list[Pieces], n_shards: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the ranges of shards, and their sums, of pieces that are added up as far as the tree goes."""
    tree = TreeSum(n_shards)
    for some in pieces:
        for (first, stop), vector in zip(some.ranges.tolist(), some.sums, strict=True):
            tree.add(first, stop, vector)
    return tree.pieces()


def sum_of(pieces: list[Pieces], n_shards: int) -> dict[str, NDArray[np.float64]]:
    """Return the sum over the whole table, by the names of its parts, of pieces that cover it."""
    for other in pieces[1:]:
        check_same_parts(pieces[0].shapes, other.shapes)
    ranges, sums = pieces[0].ranges, pieces[0].sums
    if len(pieces) > 1 or len(ranges) > 1:
        ranges, sums = merged(pieces, n_shards)
    assert ranges.tolist() == [[0, n_shards]], f"the pieces leave shards out: {ranges.tolist()}"
    activity.count_sum(sums[0].nbytes)
    statistic, at = {}, 0
    for name, shape in pieces[0].shapes.items():
        size = math.prod(shape)
        statistic[name] = sums[0, at : at + size].reshape(shape)
        at += size
    return statistic


@dataclass
class Local:
    """This process's chunks of a table.

    Parameters
    ----------
    chunks : list of Chunk
        In the order of their rows.
    n_shards : int
        Shards of the whole table.
    """

    chunks: list[Chunk]
    n_shards: int
    closed: bool = field(default=False, init=False)

    def check_open(self) -> None:
        """Raise if the table is closed."""
        if self.closed:
            raise ClosedTable

    def close(self) -> None:
        """Forget the rows."""
        self.closed = True
        for chunk in self.chunks:
            chunk.arrays.clear()

    def reduce(self, kernel: Kernel, arguments: Mapping[str, Any], n_threads: int) -> list[Pieces]:
        """Run a kernel of the kind "reduce" over every chunk."""
        self.check_open()
        check_kernel(kernel, "reduce")
        return [self._reduce(chunk, kernel, arguments, n_threads) for chunk in self.chunks]

    def _reduce(self, chunk: Chunk, kernel: Kernel, arguments: Mapping[str, Any], n_threads: int) -> Pieces:
        given = _arguments(chunk, kernel, arguments)
        if isinstance(kernel, str):
            function = lookup(kernel)
            shapes = contract.statistic_shapes(kernel, given)
        else:
            kept: dict[str, dict[str, tuple[int, ...]]] = {}
            function = over_shards(_with_shapes(kernel, kept), _row_names(chunk, kernel))
        given |= {"bounds": chunk.bounds, "first_shard": chunk.first_shard, "n_shards": self.n_shards}
        try:
            ranges, sums = _called(function, given | {"n_threads": n_threads})
        except BaseException:
            if isinstance(kernel, str) and contract.KERNELS[kernel].overwritten:
                self.close()  # an interrupt leaves them half written
            raise
        return Pieces(ranges, sums, shapes if isinstance(kernel, str) else kept["shapes"])

    def map(self, kernel: Kernel, arguments: Mapping[str, Any], n_threads: int) -> None:
        """Run a kernel of the kind "rows" over every chunk, and keep the results."""
        self.check_open()
        check_kernel(kernel, "rows")
        for chunk in self.chunks:
            given = _arguments(chunk, kernel, arguments)
            if isinstance(kernel, str):
                found = _called(lookup(kernel), given | {"n_threads": n_threads})
                parts = found if isinstance(found, tuple) else (found,)
                names = [result.name for result in contract.KERNELS[kernel].results]
                results = dict(zip(names, parts, strict=True))
            else:
                away.at_home(given.values())
                results = _by_shards(chunk, kernel, given)
            for name, value in results.items():
                if value.shape[:1] != (chunk.n_rows,):
                    raise ValueError(
                        f"map_rows: {name} must have one entry for each of {chunk.n_rows} rows. "
                        f"Got shape {value.shape} instead."
                    )
                chunk.arrays[name] = value

    def fill(self, name: str, value: float, dtype: Any, shape: tuple[int, ...]) -> None:
        """Add or replace a row array of equal entries."""
        self.check_open()
        for chunk in self.chunks:
            chunk.arrays[name] = np.full((chunk.n_rows, *shape), value, dtype=dtype)

    def drop(self, names: Sequence[str]) -> None:
        """Forget row arrays; raise if one is not there."""
        self.check_open()
        for chunk in self.chunks:
            check_names(names, chunk.arrays)
            for name in names:
                del chunk.arrays[name]


def _row_names(chunk: Chunk, kernel: Kernel) -> tuple[str, ...]:
    """Return the arguments of a kernel that are row arrays."""
    if isinstance(kernel, str):
        return contract.KERNELS[kernel].row_arrays
    return tuple(name for name in inspect.signature(kernel).parameters if name in chunk.arrays)


def _arguments(chunk: Chunk, kernel: Kernel, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by name, with the row arrays of the chunk; those overwritten are its own."""
    given = dict(arguments)
    overwritten = contract.KERNELS[kernel].overwritten if isinstance(kernel, str) else ()
    for name in _row_names(chunk, kernel):
        source = given.get(name, name)
        if source is not None:
            if not isinstance(source, str):
                raise TypeError(f"{name} is taken from the table: pass the name of a row array of it.")
            found = chunk.arrays.get(source)
            if name in overwritten and found is not None and not found.flags.writeable:
                found = chunk.arrays[source] = found.copy()
            given[name] = found
        else:
            given[name] = None
    return given


def _called(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """Call a kernel; one of a device may leave there what it writes to row arrays."""
    if getattr(function, "takes_lent", False):
        with away.lent():
            return function(**given)
    away.at_home(given.values())
    return function(**given)


def _with_shapes(
    kernel: Callable[..., Mapping[str, Any]], kept: dict[str, dict[str, tuple[int, ...]]]
) -> Callable[..., tuple[Any, ...]]:
    """Return the kernel with a tuple for its dict; the shapes that all shards share are kept."""

    def function(**arguments: Any) -> tuple[Any, ...]:
        parts = parts_of_shard(kernel, kernel(**arguments))
        shapes = {name: part.shape for name, part in parts.items()}
        first = kept.setdefault("shapes", shapes)
        if first is not shapes:
            check_same_parts(first, shapes)
        return tuple(parts.values())

    return function


def _by_shards(chunk: Chunk, kernel: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    per_row = _row_names(chunk, kernel)
    found = []
    for start, stop in zip(chunk.bounds[:-1].tolist(), chunk.bounds[1:].tolist(), strict=True):
        rows = kernel(**of_shard(given, per_row, start, stop))
        found.append(rows_of_shard(kernel, rows, stop - start))
    entries = [{name: array.shape[1:] for name, array in sorted(shard.items())} for shard in found]
    for other in entries[1:]:
        check_same_parts(entries[0], other)
    return {name: np.concatenate([shard[name] for shard in found]) for name in found[0]}


def running_sum_rows(
    shard_sums: NDArray[np.float64], targets: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the shard in which the running sum exceeds each target, and what the target has left there."""
    ends = np.cumsum(shard_sums)
    shard = np.minimum(np.searchsorted(ends, targets, side="right"), len(ends) - 1)
    before = np.concatenate([[0.0], ends[:-1]])
    return shard.astype(np.int64), targets - before[shard]
