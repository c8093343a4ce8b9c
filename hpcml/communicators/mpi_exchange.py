"""What the ranks of an MPI job exchange: rows and sums, as buffers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators.layout import Layout
from hpcml.communicators.mpi_world import World
from hpcml.kernels.csr import CSR

__all__ = ["gather_rows", "gather_sparse", "joined", "transfer", "tree_sum"]

#: Up to this many bytes of sums every rank receives all of them; above, each adds up a slice of the vector.
WHOLE_BYTES = 1 << 16


def _row_type(array: NDArray[Any]) -> Any:
    """Return the MPI type of one row; counts of rows stay small where counts of bytes would not."""
    from mpi4py import MPI

    row_bytes = array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
    return MPI.BYTE.Create_contiguous(row_bytes).Commit()


def gather_rows(world: World, own: NDArray[Any], counts: Sequence[int]) -> NDArray[Any]:
    """Return the rows of all ranks, one rank after another, of which each has `counts`."""
    if world.size == 1:
        return own
    everything = np.empty((sum(counts), *own.shape[1:]), dtype=own.dtype)
    kind = _row_type(own)
    try:
        world.wait(
            world.comm.Iallgatherv(
                (np.ascontiguousarray(own), len(own), kind), (everything, list(counts), kind)
            )
        )
    finally:
        kind.Free()
    return everything


def gather_sparse(world: World, own: CSR, counts: Sequence[int]) -> CSR:
    """Return the sparse rows of all ranks, one rank after another, of which each has `counts`."""
    if world.size == 1:
        return own
    lengths = gather_rows(world, np.diff(own.indptr), counts)
    ends = np.cumsum([0, *counts])
    stored = [int(lengths[first:last].sum()) for first, last in pairwise(ends)]
    data = gather_rows(world, own.data, stored)
    indices = gather_rows(world, own.indices, stored)
    return _sparse(data, indices, lengths, own.n_columns)


def _sparse(data: NDArray[Any], indices: NDArray[np.int32], lengths: NDArray[Any], n_columns: int) -> CSR:
    indptr = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return CSR(data, indices, indptr, n_columns)


def joined(parts: Sequence[Any]) -> Any:
    """Return row arrays one after another; a single one as it is."""
    if len(parts) == 1:
        return parts[0]
    if not isinstance(parts[0], CSR):
        return np.concatenate(parts)
    lengths = np.concatenate([np.diff(part.indptr) for part in parts])
    data, indices = (np.concatenate([getattr(part, name) for part in parts]) for name in ("data", "indices"))
    return _sparse(data, indices, lengths, parts[0].n_columns)


def transfer(
    world: World, sends: Sequence[tuple[int, Any]], receives: Sequence[tuple[int, int]], like: Any
) -> list[Any]:
    """Send rows to ranks and receive others.

    Parameters
    ----------
    world : World
    sends : sequence of (rank, rows)
        To whom, and what.
    receives : sequence of (rank, n)
        From whom, and how many rows.
    like : ndarray or CSR
        Has the type and the shape of a row of what is received.

    Returns
    -------
    list of ndarray or CSR
        What `receives` lists.
    """
    if not isinstance(like, CSR):
        return _transfer(world, sends, receives, like)
    lengths = _transfer(world, [(to, np.diff(rows.indptr)) for to, rows in sends], receives, like.indptr)
    stored = [(rank, int(each.sum())) for (rank, _), each in zip(receives, lengths, strict=True)]
    data = _transfer(world, [(to, rows.data) for to, rows in sends], stored, like.data)
    indices = _transfer(world, [(to, rows.indices) for to, rows in sends], stored, like.indices)
    return [_sparse(*each, like.n_columns) for each in zip(data, indices, lengths, strict=True)]


def _transfer(
    world: World,
    sends: Sequence[tuple[int, NDArray[Any]]],
    receives: Sequence[tuple[int, int]],
    like: NDArray[Any],
) -> list[NDArray[Any]]:
    received = [np.empty((n, *like.shape[1:]), dtype=like.dtype) for _, n in receives]
    if world.size == 1:
        return received
    kind = _row_type(like)
    requests = [
        world.comm.Irecv((rows, len(rows), kind), source)
        for (source, _), rows in zip(receives, received, strict=True)
    ]
    contiguous = [(to, np.ascontiguousarray(rows)) for to, rows in sends]
    requests += [world.comm.Isend((rows, len(rows), kind), to) for to, rows in contiguous]
    try:
        world.wait(*requests)
    finally:
        kind.Free()
    return received


def tree_sum(world: World, layout: Layout, own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum, in the fixed tree, of what the ranks have added up.

    Parameters
    ----------
    world : World
    layout : Layout
    own : ndarray of float64 of shape (n_pieces, m)
        This rank's sums over its ``layout.ranges``.

    Returns
    -------
    ndarray of float64 of shape (m,)
        The same on every rank.

    Notes
    -----
    Long vectors are cut into one slice a rank: each receives its slice of all sums, adds them up and gives
    the result to all, so that a rank moves (p + 1) m numbers for its p sums and not those of all ranks.
    """
    counts, m = layout.n_pieces(), own.shape[1]
    if sum(counts) * m * own.itemsize <= WHOLE_BYTES or world.size == 1:
        return _added(gather_rows(world, own, counts), layout)
    edges = (np.arange(world.size + 1) * m // world.size).tolist()
    slices = [slice(*pair) for pair in pairwise(edges)]
    mine, ends = slices[world.rank], np.cumsum([0, *counts]).tolist()
    sums = world.scratch("received", (ends[-1], mine.stop - mine.start))
    sums[ends[world.rank] : ends[world.rank + 1]] = own[:, mine]
    packed = world.scratch("sent", (own.size,))
    others = [rank for rank in range(world.size) if rank != world.rank]
    requests = [world.comm.Irecv(sums[ends[rank] : ends[rank + 1]], rank) for rank in others]
    for rank in others:
        there = slices[rank]
        shape = len(own), there.stop - there.start  # a rank may have no pieces
        sent = packed[len(own) * there.start : len(own) * there.stop].reshape(shape)
        sent[:] = own[:, there]
        requests.append(world.comm.Isend(sent, rank))
    world.wait(*requests)
    total = np.empty(m)
    total[mine] = _added(sums, layout)
    requests = [world.comm.Irecv(total[slices[rank]], rank) for rank in others]
    requests += [world.comm.Isend(total[mine], rank) for rank in others]
    world.wait(*requests)
    return total


def _added(sums: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """Return the sum of pieces in the fixed tree, which overwrites them, as a view of the first."""
    for to, other in layout.additions:
        np.add(sums[to], sums[other], out=sums[to])
    return sums[0]
