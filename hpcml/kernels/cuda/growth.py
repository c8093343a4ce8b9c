"""Growth of binned decision trees: as many trees at a time as the device has memory for, level by level."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from hpcml.errors import DeviceMemoryError
from hpcml.kernels import random
from hpcml.kernels.cuda.blocks import USABLE
from hpcml.kernels.cuda.driver import OutOfDeviceMemory, current
from hpcml.kernels.cuda.growing import WORKSPACE, Growing, Problem
from hpcml.kernels.cuda.session import session
from hpcml.kernels.cuda.transfers import Residents
from hpcml.kernels.cuda.words import dense
from hpcml.kernels.nodes import LEAF, NODE_DTYPE, UNDEFINED, joined

__all__ = ["grow"]

#: Rows have numbers of 32 bits.
MOST_ROWS = 0xFFFFFFFF
#: Trees that grow together: what the host does for a level has to be small beside the launches.
MOST_TREES = 1024


def grow(
    binned, lower, upper, n_bins, y, weights, cumulative_weights, seeds, n_draws,
    *, criterion, n_classes, max_features, max_depth, min_samples_split, min_samples_leaf,
    min_weight_leaf, max_leaf_nodes, min_impurity_decrease, target_bits, n_threads=1,
):  # fmt: skip
    """Grow one tree for every seed; see :mod:`hpcml.kernels.contract` for the arguments."""
    dense(binned, ("uint8",))
    n, d = binned.shape
    if n > MOST_ROWS:
        raise ValueError(f"grow takes at most 4,294,967,295 rows. Got {n} instead.")
    if weights is not None and n_draws:  # a set of weights for every tree
        drawn = [random.bootstrap_indices(seed, n, n_draws, cumulative_weights) for seed in seeds]
        weights = np.array(
            [weights[t % len(weights)] * np.bincount(rows, minlength=n) for t, rows in enumerate(drawn)]
        )
        n_draws = 0
    problem = Problem(
        binned, lower, upper, n_bins, y, weights, cumulative_weights, n_draws,
        criterion in ("entropy", "log_loss"), n_classes, min(max_features, d), max_depth, min_samples_split,
        min_samples_leaf, min_weight_leaf, max_leaf_nodes, min_impurity_decrease, target_bits,
    )  # fmt: skip
    driver = current()
    with driver.active():
        Residents.of(driver).collect()
        limit = int(driver.free_memory() * USABLE) - _common_bytes(problem)
    together = max(1, min(MOST_TREES, limit // _tree_bytes(problem)))
    parts = []
    start = 0
    while start < len(seeds):
        some = seeds[start : start + together]
        try:
            with session(driver) as device:
                growing = Growing(device, problem, some, start)
                grown = _best_first(growing) if max_leaf_nodes else _depth_first(growing)
                parts.append(grown)
        except OutOfDeviceMemory:
            with driver.active():
                if Residents.of(driver).evict([]):
                    continue
                left = driver.free_memory()
            if together == 1:
                needed = _common_bytes(problem) + _tree_bytes(problem)
                raise DeviceMemoryError(
                    f"{driver.name} has {left / 1e6:.6g} MB left, and a tree on {n} rows of {d} features "
                    f"needs up to {needed / 1e6:.6g} MB."
                ) from None
            together = max(1, min(together, len(some)) // 2)
            continue
        start += len(some)
    if not parts:
        values = np.empty((0, max(n_classes, 1)))
        return np.empty(0, dtype=NODE_DTYPE), values, np.zeros(1, dtype=np.int64)
    return joined(parts)


def _common_bytes(p: Problem) -> int:
    """Return what all trees need together."""
    return p.binned.nbytes + p.y.nbytes + (0 if p.cumulative is None else p.cumulative.nbytes) + 2 * WORKSPACE


def _tree_bytes(p: Problem) -> int:
    """Return what a tree needs at most: two buffers of a row's number and words, its draws or weights."""
    return len(p.y) * (2 * (4 + 8 + 8) + 4 * (p.n_draws > 0) + 8 * (p.weights is not None))


def _depth_first(growing: Growing):
    """Grow level by level, and number the nodes of every tree in preorder."""
    open_nodes = growing.start()
    levels = [open_nodes]
    while len(open_nodes):
        split = growing.expand(open_nodes)
        first = growing.places["left"][split]
        open_nodes = np.column_stack([first, first + 1]).ravel()
        levels.append(open_nodes)
    left = growing.places["left"]
    size, number = np.ones(len(left), dtype=np.int64), np.zeros(len(left), dtype=np.int64)
    for level in reversed(levels):
        inner = level[left[level] >= 0]
        size[inner] += size[left[inner]] + size[left[inner] + 1]
    for level in levels:
        inner = level[left[level] >= 0]
        number[left[inner]] = number[inner] + 1
        number[left[inner] + 1] = number[inner] + 1 + size[left[inner]]
    return _finished(growing, np.concatenate(levels), number)


def _best_first(growing: Growing):
    """Split the node of the greatest improvement, then of the lowest number, of every tree at a time."""
    added = growing.start()
    kept, n_nodes = [added], np.ones(len(added), dtype=np.int64)
    frontiers: list[list[tuple[float, int, int]]] = [[] for _ in added]
    number, popped = {int(i): 0 for i in added}, set()
    for _ in range(1, growing.problem.max_leaf_nodes):
        for i in growing.expand(added).tolist():
            frontier = frontiers[growing.places["tree"][i]]
            heapq.heappush(frontier, (-growing.nodes["improvement"][i], number[i], i))
        best = [heapq.heappop(frontier)[2] for frontier in frontiers if frontier]
        if not best:
            break
        popped.update(best)
        first = growing.places["left"][best]
        added = np.column_stack([first, first + 1]).ravel()
        for i, tree in zip(added.tolist(), growing.places["tree"][added].tolist(), strict=True):
            number[i] = int(n_nodes[tree])
            n_nodes[tree] += 1
        kept.append(added)
    split = np.flatnonzero(growing.places["left"] >= 0)
    growing.places["left"][[i for i in split.tolist() if i not in popped]] = -1
    ids = np.concatenate(kept)
    numbers = np.zeros(len(growing.places), dtype=np.int64)
    numbers[ids] = [number[i] for i in ids.tolist()]
    return _finished(growing, ids, numbers)


def _finished(growing: Growing, ids: NDArray[np.int64], number: NDArray[np.int64]):
    """Return the nodes, tree after tree in the order of their numbers, their values, and the offsets."""
    tree, left = growing.places["tree"], growing.places["left"]
    ids = ids[np.lexsort((number[ids], tree[ids]))]
    nodes, values, left = growing.nodes[ids], growing.values[ids], left[ids]
    leaf = left < 0
    nodes["left"] = np.where(leaf, LEAF, number[left])
    nodes["right"] = np.where(leaf, LEAF, number[left + 1])
    for field, of_leaf in (
        ("feature", UNDEFINED), ("threshold", UNDEFINED), ("improvement", 0.0), ("missing_go_to_left", 0)
    ):  # fmt: skip
        nodes[field][leaf] = of_leaf
    offsets = np.zeros(growing.n_trees + 1, dtype=np.int64)
    np.cumsum(np.bincount(tree[ids], minlength=growing.n_trees), out=offsets[1:])
    return nodes, values, offsets
