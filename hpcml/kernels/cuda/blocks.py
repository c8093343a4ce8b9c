"""Launches over as many shards at a time as the device has memory for.

Rows that cannot change stay on the device. Where they, the statistics of all shards or what the launches need
besides do not fit, shards come in blocks: two lanes take turns, and one's rows are copied while the other
computes. Blocks are whole shards, which are added up in the fixed tree, so results do not depend on them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.errors import DeviceMemoryError
from hpcml.kernels import away
from hpcml.kernels.cuda.driver import Driver, OutOfDeviceMemory
from hpcml.kernels.cuda.transfers import STAGED, Lane, Residents
from hpcml.kernels.shards import TreeSum

__all__ = ["THREADS", "Block", "Rows", "ceil", "run", "run_rows"]

#: Threads of most blocks, as in ext/cuda/device.h.
THREADS = 256
#: Share of the free memory that is used: the driver and other libraries need some, too.
USABLE = 0.9
#: Rows of a piece at least, and pieces at most, where a kernel returns a value for every row; a grid has no
#: more than 65,535 blocks in its second dimension.
ROWS_OF_A_PIECE, MOST_PIECES = 1024, 32_768


def ceil(a: int, b: int) -> int:
    """Return a / b, rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class Rows:
    """An array with an entry for every row.

    Parameters
    ----------
    value : ndarray or None
        On the host; None: there is none, and its address is 0.
    reads, writes : bool
        Whether it is copied to the device before, and from it after the launches.
    """

    value: NDArray[Any] | None
    reads: bool = True
    writes: bool = False

    @property
    def bytes_of_row(self) -> int:
        """Bytes of an entry."""
        return 0 if self.value is None else self.value[:1].nbytes


@dataclass
class Block:
    """Some shards on the device.

    Parameters
    ----------
    lane : Lane
    lengths : ndarray of int64
        Rows of every shard.
    addresses : dict of str to int
        Of row arrays (from the first row of the block on), constants, scratch memory, and of ``bounds``: the
        first row of every shard in the block, then the number of rows.
    statistics : int
        Address of (shards, width) doubles; every one is to be written.
    """

    lane: Lane
    lengths: NDArray[np.int64]
    addresses: Mapping[str, int]
    statistics: int

    def __getitem__(self, name: str) -> int:
        return self.addresses[name]

    @property
    def n_shards(self) -> int:
        """How many there are."""
        return len(self.lengths)

    @property
    def n_rows(self) -> int:
        """Rows of all shards."""
        return int(self.lengths.sum())

    @property
    def most_rows(self) -> int:
        """Rows of the longest shard."""
        return max(int(self.lengths.max()), 1)

    def launch(
        self,
        source: str,
        name: str,
        grid: Sequence[int],
        *arguments: int,
        threads: int = THREADS,
        shared: int = 0,
    ) -> None:
        """Launch a kernel in the block's stream."""
        driver = self.lane.driver
        driver.launch(source, name, tuple(grid), threads, arguments, self.lane.stream, shared)

    def sum_parts(self, name: str, rows: int, m: int, width: int, at: int) -> None:
        """Add up, for every shard, what its parts of so many rows have found.

        Parameters
        ----------
        name : str
            Scratch array with `m` doubles a part.
        rows : int
            Of a part.
        m, width, at : int
            Where the sums lie: from `at` on in statistics of `width` doubles.
        """
        self.launch(
            "sums", "sum_of_parts", (ceil(m, THREADS), self.n_shards),
            self[name], ceil(self.most_rows, rows), m, self["bounds"], rows, self.statistics, width, at,
        )  # fmt: skip

    def gather_products(
        self,
        name: str,
        rows: int,
        p: int,
        columns: tuple[int, int],
        entries: str,
        m: int,
        width: int,
        at: int,
    ) -> None:
        """As `sum_parts`, of some entries of the products that parts have found.

        Parameters
        ----------
        name, rows, m, width, at
            As for `sum_parts`; the array has a matrix a part.
        p : int
            Rows of the matrix.
        columns : (int, int)
            The first of its columns, and how many there are.
        entries : str
            Array with the `m` places in the whole product; -1: none, the sum is 0.
        """
        self.launch(
            "gram", "gather_products", (ceil(m, THREADS), self.n_shards),
            self[name], self["bounds"], rows, ceil(self.most_rows, rows), p, *columns, self[entries], m,
            self.statistics, width, at,
        )  # fmt: skip

    def zero(self, name: str, n_bytes: int) -> None:
        """Fill an array with zeros."""
        self.lane.driver.zero(self[name], n_bytes, self.lane.stream)


#: Bytes of the scratch arrays of a block, from the numbers of rows of its shards.
Scratch = Callable[[NDArray[np.int64]], dict[str, int]]


@dataclass
class _Call:
    driver: Driver
    bounds: NDArray[np.int64]
    first_shard: int
    n_shards: int
    rows: Mapping[str, Rows]
    constants: Mapping[str, NDArray[Any] | None]
    width: int
    scratch: Scratch
    launch: Callable[[Block], None]
    allocated: list[int] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lengths = np.diff(self.bounds)
        self.residents = Residents.of(self.driver)
        # an array that somebody may change is copied at every call
        self.keepable = {
            name: each.value
            for name, each in self.rows.items()
            if each.value is not None and each.reads and not each.writes and not each.value.flags.writeable
        }
        # others are, too, unless they may stay where kernels have written to them
        self.state = {
            name: each.value
            for name, each in self.rows.items()
            if each.value is not None and each.reads and name not in self.keepable and away.is_lent()
        }
        for each in self.rows.values():
            if not away.is_lent() or away.address(each.value, self.residents) is None:
                away.reclaimed(each.value)

    def bytes_of(self, first: int, stop: int, kept: Mapping[str, Any]) -> int:
        """Return what a block of shards needs beside arrays that stay."""
        lengths = self.lengths[first:stop]
        row = sum(each.bytes_of_row for name, each in self.rows.items() if name not in kept)
        own = 8 * (len(lengths) * (self.width + 3) + 1) + sum(self.scratch(lengths).values())
        return int(lengths.sum()) * row + own

    def blocks(self, limit: int, kept: Mapping[str, Any]) -> list[tuple[int, int]] | None:
        """Return ranges of shards, each of which needs no more than the limit; None if one shard does."""
        found, first, S = [], 0, len(self.lengths)
        while first < S:
            least, most = 0, S - first
            while least < most:  # the largest number of shards that fits
                middle = (least + most + 1) // 2
                if self.bytes_of(first, first + middle, kept) <= limit:
                    least = middle
                else:
                    most = middle - 1
            if least == 0:
                return None
            found.append((first, first + least))
            first += least
        return found

    def plan(self, limit: int) -> tuple[list[tuple[int, int]], Mapping[str, Any]]:
        """Return blocks of shards, and the arrays that stay on the device."""
        constant = sum(value.nbytes for value in self.constants.values() if value is not None)
        own = {name: array for name, array in self.keepable.items() if self.residents.borrowed(array) is None}
        there = {name: array for name, array in self.keepable.items() if name not in own}
        there |= {n: a for n, a in self.state.items() if away.address(a, self.residents) is not None}
        left = {n: a for n, a in self.state.items() if n not in there and self.rows[n].writes}
        for more in ({**own, **left}, own, {}):
            kept = {**there, **more}
            room = limit - constant - sum(array.nbytes for array in more.values())
            S = len(self.lengths)
            if self.bytes_of(0, S, kept) <= room:
                return [(0, S)], kept
            if more and room < limit // 4:  # blocks would be small
                continue
            blocks = self.blocks(room // 2, kept)  # a half for each lane
            if blocks is not None:
                return blocks, kept
        needed = constant + 2 * max(self.bytes_of(s, s + 1, there) for s in range(len(self.lengths)))
        raise DeviceMemoryError(
            f"{self.driver.name} has {limit / 1e6:.6g} MB left, and a call needs {needed / 1e6:.6g} MB: "
            f"{constant / 1e6:.6g} MB for the model, the rest for one of {self.n_shards} shards of the rows."
        )

    def allocate(self, n_bytes: int) -> int:
        address = self.driver.allocate(n_bytes)
        self.allocated.append(address)
        return address

    def free(self) -> None:
        for lane in self.lanes:
            with contextlib.suppress(Exception):  # what failed has been raised before
                lane.wait()
        self.lanes.clear()
        for address in self.allocated:
            self.driver.free(address)
        self.allocated.clear()

    def run(self, limit: int, staged: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Run the launches over all blocks; memory is allocated before the first one."""
        blocks, kept = self.plan(limit)
        if any(name not in kept for name in self.keepable):
            self.residents.evict([], left=False)
        own = [Lane(self.driver, staged) for _ in range(min(2, len(blocks)))]
        self.lanes += own
        common = {
            name: self.put(array, own[0]) if name in self.state else self.residents.put(array, own[0])
            for name, array in kept.items()
        }
        for name, value in self.constants.items():
            common[name] = 0
            if value is not None:
                common[name] = self.allocate(value.nbytes)
                own[0].upload(common[name], value)
        rooms = [self.room(blocks[i::2], kept) for i in range(len(own))]
        own[0].wait()
        tree = TreeSum(self.n_shards)
        busy: list[Callable[[], None] | None] = [None] * len(own)
        for i, block in enumerate(blocks):
            finish, turn = busy[i % 2], i % 2
            if finish is not None:
                finish()
            busy[turn] = self.start(own[turn], block, {**common, **rooms[turn]}, kept, tree)
        for i in range(len(blocks), len(blocks) + len(own)):
            finish = busy[i % len(own)]
            if finish is not None:
                finish()
        for name in kept:
            if name in self.state and self.rows[name].writes:
                self.residents.leave(self.state[name], common[name])
                self.allocated = [address for address in self.allocated if address != common[name]]
        return tree.pieces()

    def put(self, array: NDArray[Any], lane: Lane) -> int:
        """Return the address of an array that kernels write to; it is copied unless it was left there."""
        found = away.address(array, self.residents)
        if found is None:
            found = self.allocate(array.nbytes)
            lane.upload(found, array)
        return found

    def room(self, blocks: list[tuple[int, int]], kept: Mapping[str, Any]) -> dict[str, int]:
        """Allocate what the blocks of a lane need, one at a time."""
        sizes: dict[str, int] = {}
        for first, stop in blocks:
            lengths = self.lengths[first:stop]
            n, S = int(lengths.sum()), stop - first
            needed = {f: n * each.bytes_of_row for f, each in self.rows.items() if f not in kept}
            needed |= self.scratch(lengths)
            needed |= {"statistics": 8 * S * self.width, "bounds": 8 * (S + 1), "pairs": 16 * S}
            sizes = {name: max(size, sizes.get(name, 0)) for name, size in needed.items()}
        none = {name for name, each in self.rows.items() if each.value is None}
        return {name: 0 if name in none else self.allocate(size) for name, size in sizes.items()}

    def start(
        self,
        lane: Lane,
        shards: tuple[int, int],
        addresses: dict[str, int],
        kept: Mapping[str, Any],
        tree: TreeSum,
    ) -> Callable[[], None]:
        """Copy the rows of a block and launch; return what brings the results back."""
        first, stop = shards
        begin, end = int(self.bounds[first]), int(self.bounds[stop])
        for name, each in self.rows.items():
            if name in kept:
                addresses[name] += begin * each.bytes_of_row
            elif each.value is not None and each.reads:
                lane.upload(addresses[name], each.value[begin:end])
        lane.upload(addresses["bounds"], self.bounds[first : stop + 1] - begin)
        block = Block(lane, self.lengths[first:stop], addresses, addresses["statistics"])
        self.launch(block)
        pieces = _Additions(self.first_shard + first, stop - first, self.n_shards)
        if self.width and len(pieces.pairs):
            lane.upload(addresses["pairs"], pieces.pairs)
            grid = (ceil(self.width, THREADS), 1)
            block.launch(
                "sums", "sum_of_tree", grid, block.statistics, self.width, block["pairs"], len(pieces.pairs)
            )

        def finish() -> None:
            for name, each in self.rows.items():
                if each.value is not None and each.writes and name not in kept:
                    lane.download(each.value[begin:end], addresses[name])
            if self.width:
                for row, (low, high) in pieces.left:
                    statistic = np.empty(self.width)
                    lane.download(statistic, block.statistics + 8 * row * self.width)
                    tree.add(low, high, statistic)
            lane.wait()

        return finish


class _Additions:
    """Which statistics of a block are added to which, and what is left: found by a tree of their numbers."""

    def __init__(self, first: int, count: int, n_shards: int) -> None:
        additions: list[tuple[int, int]] = []

        class Statistic:
            def __init__(self, number: int) -> None:
                self.number = number

            def __add__(self, other: Statistic) -> Statistic:
                additions.append((self.number, other.number))
                return self

        tree = TreeSum(n_shards)
        for i in range(count):
            tree.add(first + i, first + i + 1, Statistic(i))  # type: ignore[arg-type]
        ranges, left = tree.pieces()
        self.pairs = np.array(additions, dtype=np.int64).reshape(-1, 2)
        self.left = [
            (statistic.number, (low, high))
            for statistic, (low, high) in zip(left.tolist(), ranges.tolist(), strict=True)
        ]


def run(
    driver: Driver,
    bounds: NDArray[np.int64],
    first_shard: int,
    n_shards: int,
    *,
    rows: Mapping[str, Rows],
    launch: Callable[[Block], None],
    width: int = 0,
    constants: Mapping[str, NDArray[Any] | None] | None = None,
    scratch: Scratch = lambda lengths: {},
    staged: int = STAGED,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Launch kernels over all shards; return the sums of their statistics as a kernel of "reduce" does.

    Parameters
    ----------
    driver : Driver
    bounds, first_shard, n_shards
        As every kernel of the kind "reduce" takes them.
    rows : dict of str to Rows
    launch : callable
        Launches the kernels of a block. What it writes to must not have been read by another launch of it.
    width : int
        Numbers of a statistic.
    constants : dict of str to ndarray or None
        Arrays that all blocks read.
    scratch : callable, optional
        Returns the bytes of further arrays of a block.
    staged : int, optional
        Bytes that are staged at a time.

    Raises
    ------
    DeviceMemoryError
        If the device cannot hold one shard.
    """
    if len(bounds) == 1:
        return TreeSum(n_shards).pieces()
    with driver.active():
        call = _Call(driver, bounds, first_shard, n_shards, rows, constants or {}, width, scratch, launch)
        call.residents.collect()
        kept = sum(array.nbytes for array in call.keepable.values() if call.residents.owns(array))
        limit = int((driver.free_memory() + kept) * USABLE)
        while True:
            try:
                return call.run(limit, staged)
            except OutOfDeviceMemory:  # before the first launch, so that no row has been written
                call.free()
                if not call.residents.evict(list(call.keepable.values())):
                    limit //= 2
            except DeviceMemoryError:
                call.free()
                if not call.residents.evict(list(call.keepable.values())):
                    raise
                limit = int((driver.free_memory() + kept) * USABLE)
            finally:
                call.free()


def run_rows(
    driver: Driver, n: int, *, rows: Mapping[str, Rows], launch: Callable[[Block], None], **more: Any
) -> NDArray[np.float64]:
    """As `run`, over pieces of rows in place of shards; return the sum of their statistics."""
    if n == 0:
        return np.zeros(more.get("width", 0))
    piece = max(ROWS_OF_A_PIECE, ceil(n, MOST_PIECES))
    bounds = np.append(np.arange(0, n, piece, dtype=np.int64), n)
    found = run(driver, bounds, 0, len(bounds) - 1, rows=rows, launch=launch, **more)
    return found[1][0] if more.get("width") else np.empty(0)
