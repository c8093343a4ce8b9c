"""Some trees that grow on the device: rows and sums of nodes there, nodes and what they say here.

Sums are whole numbers, whatever the order of additions; impurities and improvements follow from them by the
sequence of operations of the reference, in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.kernels import random
from hpcml.kernels.cuda.blocks import THREADS, ceil
from hpcml.kernels.cuda.session import Session
from hpcml.kernels.nodes import EPSILON, LEAF, NODE_DTYPE, UNDEFINED
from hpcml.kernels.reference.growth import (
    EXACT_BITS,
    class_impurity,
    least_weight,
    sum_bits,
    target_exponent,
    weight_exponent,
)

__all__ = ["WORKSPACE", "Growing", "Problem"]

#: Bytes of histograms and results of nodes that are searched together.
WORKSPACE = 256 * 1024**2
#: Rows of a block that draws, counts or moves rows.
ROWS_OF_A_TILE = 4096
#: Rows from which on several blocks make the histograms of a node.
ROWS_OF_A_BLOCK = 8192
#: Features that are searched in one launch at most, and by one block (a warp each).
MOST_SLOTS, WARPS = 256, 8
#: Bytes of shared memory for histograms: every device gives a block 48 kB in all.
SHARED = 47 * 1024
#: Places that a node looks at beyond max_features while all its features are constant.
MORE_SLOTS = 8

PACKED, CLASSES, TARGET = range(3)  # as in ext/cuda/growth.h
MISSING_LEFT, HAS_MISSING = 1 << 18, 1 << 19

PLACE = np.dtype([("tree", "i8"), ("at", "i8"), ("buffer", "i8"), ("key", "u8"), ("left", "i8")])


@dataclass(frozen=True)
class Problem:
    """The arguments of `grow` but for the seeds."""

    binned: NDArray[np.uint8]
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]
    n_bins: NDArray[np.int32]
    y: NDArray[np.float64]
    weights: NDArray[np.float64] | None
    cumulative: NDArray[np.float64] | None
    n_draws: int
    entropy: bool
    n_classes: int
    max_features: int
    max_depth: int
    min_samples_split: int
    min_samples_leaf: int
    min_weight_leaf: float
    max_leaf_nodes: int
    min_impurity_decrease: float
    target_bits: int


class Growing:
    """Trees of one call.

    Parameters
    ----------
    device : Session
    problem : Problem
    seeds : ndarray of uint64, shape (n_trees,)
    first : int
        Number of the first tree among all of the call.

    Attributes
    ----------
    nodes, values, places : ndarray
        Of every node, in the order of creation: what the result says of it; where its rows are, its tree,
        key, and first child (-1: it is not split), which the second one follows.
    """

    def __init__(self, device: Session, problem: Problem, seeds: NDArray[np.uint64], first: int) -> None:
        self.device, self.problem, self.seeds, self.n_trees = device, problem, seeds, len(seeds)
        p = problem
        self.n, self.d = p.binned.shape
        self.n_sums = max(p.n_classes, 2)
        n_sets = 1 if p.weights is None else len(p.weights)
        self.sets, own = np.unique((first + np.arange(self.n_trees)) % n_sets, return_inverse=True)
        self.set_of_tree = own.astype(np.int64)
        self.binned, self.y = device.keep("binned", p.binned), device.keep("y", p.y)
        self.n_bins = device.put("n_bins", p.n_bins)
        self.address_of_sets = device.put("sets", self.set_of_tree)
        self.weights = device.put("weights", None if p.weights is None else p.weights[self.sets])
        most = int(p.n_bins.max(initial=0))
        self.stride = most + most // 8 + 1  # words of a plane of a histogram
        self.nodes, self.places = np.empty(0, dtype=NODE_DTYPE), np.empty(0, dtype=PLACE)
        self.values = np.empty((0, max(p.n_classes, 1)))
        self.sums = np.empty((0, self.n_sums), dtype=np.uint64)

    # -- the roots -----------------------------------------------------------------------------------------

    def start(self) -> NDArray[np.int64]:
        """Put the rows in the bag of every tree on the device; return the roots."""
        p, device, T, n = self.problem, self.device, self.n_trees, self.n
        draws = 0
        if p.n_draws:
            draws = device.zeros("draws", 4 * T * n)
            device.launch(
                "growth", "draw_rows", (ceil(p.n_draws, THREADS), T),
                device.put("keys", random.hash_at(self.seeds, random.BOOTSTRAP)), n, p.n_draws,
                device.put("cumulative", p.cumulative), draws,
            )  # fmt: skip
        tiles = ceil(n, ROWS_OF_A_TILE)
        found = [device.room(name, 8 * T * tiles) for name in ("counts", "others", "lowest", "highest")]
        device.launch(
            "growth", "survey_rows", (tiles, T),
            draws, self.weights, self.address_of_sets, self.y, n, ROWS_OF_A_TILE, tiles, *found,
        )  # fmt: skip
        counts, others = (device.get(address, (T, tiles), np.int64) for address in found[:2])
        low = device.get(found[2], (T, tiles), np.float64).min(axis=1)
        high = device.get(found[3], (T, tiles), np.float64).max(axis=1)
        rows = counts.sum(axis=1)
        base = np.cumsum(rows) - rows
        self._choose_fixed_point(low, high, others.max(axis=1) > 0)
        self.total_rows = total = int(rows.sum())
        self.rows = device.room("rows", 2 * 4 * total)
        self.a = device.room("a", 2 * 8 * total)
        two = self.layout == TARGET or (self.layout == CLASSES and self.wide)
        self.b = device.room("b", 2 * 8 * total) if two else 0
        sums, size = device.zeros("sums", 8 * T * self.n_sums), 8 * self.n_sums
        in_shared = size <= SHARED
        device.launch(
            "growth", "start_rows", (tiles, T),
            draws, self.weights, self.address_of_sets, self.y, n, ROWS_OF_A_TILE, tiles,
            device.put("offsets", base[:, np.newaxis] + np.cumsum(counts, axis=1) - counts),
            device.put("scales", self.scales), self.trees, self.layout, self.wide, self.rows, self.a, self.b,
            sums, self.n_sums, in_shared, shared=size if in_shared else 0,
        )  # fmt: skip
        places = np.zeros(T, dtype=PLACE)
        places["tree"], places["at"] = np.arange(T), base
        places["key"] = random.hash_at(self.seeds, random.ROOT)
        roots = self._add(places, rows, device.get(sums, (T, self.n_sums), np.uint64), np.zeros(T, np.int32))
        device.free("draws")
        self.total_weight = self.nodes["weight"][roots].copy()
        return roots

    def _choose_fixed_point(
        self, low: NDArray[np.float64], high: NDArray[np.float64], others: NDArray[np.bool_]
    ) -> None:
        """Choose scales and layout as the reference does, for every tree."""
        p = self.problem
        if p.weights is None:
            totals = np.full(self.n_trees, float(p.n_draws or self.n))
            whole = totals < 2.0**EXACT_BITS
        else:
            of_sets = [p.weights[i] for i in self.sets]
            totals = np.array([float(np.cumsum(w)[-1]) for w in of_sets])[self.set_of_tree]
            whole = np.array([bool(np.all(w == np.floor(w))) for w in of_sets])[self.set_of_tree]
            whole &= totals < 2.0**EXACT_BITS
        counted = others & (p.min_samples_leaf > 1)
        self.counted = bool(counted.any())
        self.scales, parameters = np.ones((self.n_trees, 3)), np.zeros((self.n_trees, 4), dtype=np.uint64)
        self.unit, packed = np.ones(self.n_trees), p.n_classes == 0
        for t, total in enumerate(totals.tolist()):
            e_w = weight_exponent(total, whole[t])
            w_bits = int(total).bit_length() if whole[t] else EXACT_BITS
            bits, fits = sum_bits(w_bits, bool(whole[t]), counted[t], p.target_bits)
            packed &= fits
            if p.n_classes == 0:
                self.scales[t, 1:] = 2.0 ** target_exponent(bits, total, float(high[t] - low[t])), low[t]
            self.scales[t, 0], self.unit[t] = 2.0**e_w, 2.0**-e_w
            least = max(1, least_weight(p.min_weight_leaf, e_w, whole[t]))
            if not counted[t]:  # every weight is 1, or a leaf may have one row
                least = max(least, p.min_samples_leaf)
            parameters[t] = least, bits, 2**w_bits - 1, bits + w_bits if counted[t] else 0
        if p.n_classes:
            self.layout, self.wide = CLASSES, not (whole.all() and totals.max() < 2.0**32)
            self.planes = self.n_sums + self.counted
        elif packed:
            self.layout, self.wide, self.planes = PACKED, True, 1
        else:
            self.layout, self.wide, self.planes = TARGET, True, 2 + self.counted
        self.parameters = parameters
        self.trees = self.device.put("trees", parameters)

    # -- nodes ---------------------------------------------------------------------------------------------

    def _add(
        self,
        places: NDArray[Any],
        rows: NDArray[np.int64],
        sums: NDArray[np.uint64],
        depth: NDArray[np.int32],
    ) -> NDArray[np.int64]:
        """Append nodes and say of them what does not depend on their split; return their numbers."""
        p, ids = self.problem, np.arange(len(self.places), len(self.places) + len(places))
        places["left"] = -1
        nodes = np.zeros(len(places), dtype=NODE_DTYPE)
        nodes["left"] = nodes["right"] = LEAF
        nodes["feature"] = nodes["threshold"] = UNDEFINED
        nodes["n_samples"], nodes["depth"] = rows, depth
        unit = self.unit[places["tree"]]
        total = sums.sum(axis=1, dtype=np.uint64) if p.n_classes else sums[:, 0]
        nodes["weight"] = weight = total.astype(np.float64) * unit
        if p.n_classes:
            counts = sums[:, : p.n_classes].astype(np.float64) * unit[:, np.newaxis]
            values = counts / weight[:, np.newaxis]
            nodes["impurity"] = class_impurity(counts, weight, p.entropy)
        else:
            means, nodes["impurity"] = self._means(places, rows, weight)
            values = means[:, np.newaxis]
        self.nodes, self.places = np.concatenate([self.nodes, nodes]), np.concatenate([self.places, places])
        self.sums, self.values = np.concatenate([self.sums, sums]), np.concatenate([self.values, values])
        return ids

    def _on_device(
        self, places: NDArray[Any], rows: NDArray[np.int64], histogram: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Return what kernels read of nodes."""
        at = places["at"] + places["buffer"] * self.total_rows
        none = np.full(len(places), -1)
        key = places["key"].view(np.int64)
        return np.column_stack([at, rows, places["tree"], key, none if histogram is None else histogram])

    def _means(
        self, places: NDArray[Any], rows: NDArray[np.int64], weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean and the variance of the targets of nodes."""
        device, N = self.device, len(places)
        means, variances = device.room("means", 8 * N), device.room("variances", 8 * N)
        device.launch(
            "growth_rows", "describe_nodes", (ceil(N, WARPS), 1),
            self.rows, self.a, self.layout, self.trees, self.weights, self.address_of_sets, self.y, self.n,
            device.put("nodes", self._on_device(places, rows)), device.put("node_weights", weight), N, means,
            variances,
        )  # fmt: skip
        return device.get(means, (N,), np.float64), device.get(variances, (N,), np.float64)

    def expand(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Split nodes and add their children; return the nodes that are split."""
        p, nodes = self.problem, self.nodes[ids]
        n, weight = nodes["n_samples"], nodes["weight"]
        leaf = (nodes["depth"] >= p.max_depth) | (n < p.min_samples_split) | (n < 2 * p.min_samples_leaf)
        leaf |= weight < 2 * p.min_weight_leaf
        leaf |= nodes["impurity"] <= (EPSILON if p.n_classes else 0.0)
        ids = ids[~leaf]
        kept = [self._expand(some) for some in self._together(ids)]
        return np.concatenate(kept) if kept else ids

    def _expand(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Split nodes that are searched together."""
        p = self.problem
        feature, split, sums = self._search(ids)
        found = feature >= 0
        ids, feature, split, sums = ids[found], feature[found], split[found], sums[found]
        if len(ids) == 0:
            return ids
        nodes, places = self.nodes[ids], self.places[ids]
        code, next_code = split & 0x1FF, split >> 9 & 0x1FF
        missing_left, has_missing = split & MISSING_LEFT != 0, split & HAS_MISSING != 0
        n_left = self._partition(places, nodes, feature, code, missing_left)
        n_right = nodes["n_samples"] - n_left
        children, rows = np.repeat(places, 2), np.column_stack([n_left, n_right]).ravel()
        children["buffer"] = 1 - children["buffer"]
        children["at"][1::2] += n_left
        children["key"][0::2] = random.hash_at(places["key"], random.LEFT)
        children["key"][1::2] = random.hash_at(places["key"], random.RIGHT)
        of_children = np.repeat(self.sums[ids], 2, axis=0)
        of_children[0::2] = sums
        of_children[1::2] -= sums
        depth = np.repeat(nodes["depth"] + 1, 2).astype(np.int32)
        added = self._add(children, rows, of_children, depth)
        left, right = self.nodes[added[0::2]], self.nodes[added[1::2]]
        w = nodes["weight"]
        improvement = (w / self.total_weight[places["tree"]]) * (
            nodes["impurity"]
            - (right["weight"] / w) * right["impurity"]
            - (left["weight"] / w) * left["impurity"]
        )
        above = p.lower[feature, np.minimum(next_code, p.lower.shape[1] - 1)].astype(np.float64)
        threshold = p.upper[feature, code].astype(np.float64) / 2.0 + above / 2.0
        self.nodes["improvement"][ids], self.nodes["feature"][ids] = improvement, feature
        self.nodes["threshold"][ids] = np.where(next_code == p.n_bins[feature], math.inf, threshold)
        self.nodes["missing_go_to_left"][ids] = np.where(has_missing, missing_left, n_left > n_right)
        kept = improvement + EPSILON >= p.min_impurity_decrease
        self.places["left"][ids[kept]] = added[0::2][kept]
        return ids[kept]

    # -- splits --------------------------------------------------------------------------------------------

    @property
    def _histogram_bytes(self) -> int:
        return self.planes * self.stride * (8 if self.wide else 4)

    @property
    def _fits(self) -> bool:
        """Whether shared memory can hold the histogram of a feature."""
        return self._histogram_bytes <= SHARED

    def _large(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which nodes have histograms in global memory."""
        return (self.nodes["n_samples"][ids] > ROWS_OF_A_BLOCK) | (not self._fits)

    def _together(self, ids: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Cut nodes into those whose search fits into the workspace."""
        slots = self._most_slots()
        own = 5 * 8 + 8 * self.planes + 4 * self.d + slots * (12 + 8 * self.n_sums)
        needed = np.cumsum(own + self._large(ids) * slots * self._histogram_bytes)
        start = 0
        while start < len(ids):
            limit = WORKSPACE + (needed[start - 1] if start else 0)
            stop = max(start + 1, int(np.searchsorted(needed, limit, side="right")))
            yield ids[start:stop]
            start = stop

    def _most_slots(self) -> int:
        """Return how many features of a node are searched in a launch."""
        fit = WORKSPACE // (12 + 8 * self.n_sums + self._histogram_bytes)
        return max(1, min(MOST_SLOTS, max(self.problem.max_features, MORE_SLOTS), self.d, fit))

    def _search(
        self, ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
        """Return the feature of every node's best split (-1: there is none), the split, and left sums."""
        p, device, N = self.problem, self.device, len(ids)
        rows, places, large = self.nodes["n_samples"][ids], self.places[ids], self._large(ids)
        totals = self._totals(ids)
        order = device.room("order", 4 * self.d * N)
        found = [device.room("best", 8 * N), device.room("chosen", 24 * N)]
        found.append(device.room("sums_left", 8 * N * self.n_sums))
        address_of_totals = device.put("totals", totals)
        most, active, first = self._most_slots(), np.arange(N), 0
        while len(active) and first < self.d:
            # up to max_features, then a few at a time
            wanted = p.max_features - first if first < p.max_features else MORE_SLOTS
            slots = min(wanted, most, self.d - first)
            histogram = np.full(N, -1)
            own = active[large[active]]
            histogram[own] = np.arange(len(own))
            nodes = device.put("nodes", self._on_device(places, rows, histogram))
            if first == 0:
                device.launch("growth", "order_features", (ceil(N, THREADS), 1), nodes, N, self.d, order)
            group = min(WARPS, slots, max(1, SHARED // self._histogram_bytes))
            bytes_of_block = group * self._histogram_bytes if self._fits else 0
            histograms = device.zeros("histograms", len(own) * slots * self._histogram_bytes)
            table = (
                self.binned, self.d, self.n_bins, self.rows, self.a, self.b, nodes, N, order, first, slots,
                group, self.layout, self.planes, self.counted and self.layout != PACKED, self.stride,
                histograms,
            )  # fmt: skip
            kind = "wide" if self.wide else "narrow"
            items = _pieces(own, rows[own], ROWS_OF_A_BLOCK)
            groups = ceil(slots, group)
            if len(items):
                device.launch(
                    "growth", f"fill_{kind}", (len(items), groups), *table, device.put("items", items),
                    self._fits, shared=bytes_of_block,
                )  # fmt: skip
            address_of_active = device.put("active", active)
            results = [
                device.room(name, size * len(active) * slots)
                for name, size in (("scores", 8), ("splits", 4), ("sums_of_slots", 8 * self.n_sums))
            ]
            device.launch(
                "growth", f"search_{kind}", (len(active), groups), *table, address_of_active, self.trees,
                address_of_totals, p.n_classes, p.entropy, p.min_samples_leaf, self.n_sums, *results,
                shared=bytes_of_block,
            )  # fmt: skip
            device.launch(
                "growth", "choose_splits", (ceil(len(active), THREADS), 1), address_of_active, len(active),
                order, N, first, slots, p.max_features, self.n_sums, *results, *found,
            )  # fmt: skip
            chosen = device.get(found[1], (N, 3), np.int64)
            first += slots
            active = active if first < p.max_features else active[chosen[active, 2] == 0]
        return chosen[:, 0], chosen[:, 1], device.get(found[2], (N, self.n_sums), np.uint64)

    def _totals(self, ids: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the sums of nodes as in the planes of a histogram."""
        sums, rows = self.sums[ids], self.nodes["n_samples"][ids].astype(np.uint64)
        if self.layout == PACKED:
            _, weight_shift, _, count_shift = self.parameters[self.places["tree"][ids]].T
            count = np.where(count_shift > 0, rows << count_shift, np.uint64(0))
            return (sums[:, 0] << weight_shift) + sums[:, 1] + count
        return np.column_stack([sums, rows]) if self.counted else sums

    def _partition(
        self,
        places: NDArray[Any],
        nodes: NDArray[Any],
        feature: NDArray[np.int64],
        code: NDArray[np.int64],
        missing_left: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Send the rows of nodes to their children; return how many go left."""
        p, device, n = self.problem, self.device, nodes["n_samples"]
        at = places["at"] + places["buffer"] * self.total_rows
        to = places["at"] + (1 - places["buffer"]) * self.total_rows
        n_left = np.zeros_like(n)
        cuts = np.column_stack([at, to, n, feature, code, p.n_bins[feature], missing_left, n_left])
        tiles = _pieces(np.arange(len(nodes)), n, ROWS_OF_A_TILE)
        streams = self.rows, self.a, self.b
        left = device.room("left", 8 * len(tiles))
        address_of_tiles = device.put("tiles", tiles)

        def launch(name: str) -> None:
            device.launch(
                "growth_rows", name, (len(tiles), 1), self.binned, self.d, device.put("cuts", cuts),
                address_of_tiles, left, *streams,
            )  # fmt: skip

        launch("count_left")
        counts = device.get(left, (len(tiles),), np.int64)
        starts = np.flatnonzero(tiles[:, 1] == 0)
        n_left = np.add.reduceat(counts, starts)
        if p.n_classes and (nodes["depth"] + 1 >= p.max_depth).all():
            return n_left  # nobody looks at the rows of leaves
        before = np.cumsum(counts) - counts
        cuts[:, -1] = n_left
        device.put("left", before - before[starts][tiles[:, 0]])
        launch("move_rows")
        return n_left


def _pieces(numbers: NDArray[np.int64], rows: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return pieces of at most `size` rows: the node, the first row in it, the row after the last."""
    count = -(-rows // size)
    which = np.repeat(np.arange(len(numbers)), count)
    start = (np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)) * size
    return np.column_stack([numbers[which], start, np.minimum(start + size, rows[which])])
