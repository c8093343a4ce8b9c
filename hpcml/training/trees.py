"""The arrays of grown trees: a part of them, the same trees cut by stricter rules, what the nodes say."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.kernels.nodes import EPSILON, LEAF, UNDEFINED, joined
from hpcml.training.pruning import pruned

__all__ = ["NO_LIMIT", "StopRule", "Trees"]

NO_LIMIT = int(np.iinfo(np.int32).max)  # as max_depth
FORMAT = 1  # of pickles


@dataclass(frozen=True)
class StopRule:
    """When a node stays a leaf; the conditions that can be applied to a tree after its growth.

    Parameters
    ----------
    max_depth : int
        Nodes at this depth are leaves.
    min_samples_split : int
        Nodes with fewer rows are leaves.
    min_impurity_decrease : float
        Nodes whose split improves less are leaves.
    max_leaf_nodes : int
        Leaves of a tree that grows best first; 0 is a tree that grows depth first.
    ccp_alpha : float
        Complexity price of a leaf, for pruning.

    Examples
    --------
    >>> from hpcml.training.trees import StopRule
    >>> StopRule.loosest([StopRule(max_depth=3, min_samples_split=9), StopRule(max_depth=5)])
    StopRule(max_depth=5, min_samples_split=2, min_impurity_decrease=0.0, max_leaf_nodes=0, ccp_alpha=0.0)
    """

    max_depth: int = NO_LIMIT
    min_samples_split: int = 2
    min_impurity_decrease: float = 0.0
    max_leaf_nodes: int = 0
    ccp_alpha: float = 0.0

    @staticmethod
    def loosest(rules: Iterable[StopRule]) -> StopRule:
        """Return the rule whose trees contain the trees of every one of `rules`."""
        rules = list(rules)
        return StopRule(
            max(r.max_depth for r in rules),
            min(r.min_samples_split for r in rules),
            min(r.min_impurity_decrease for r in rules),
            max(r.max_leaf_nodes for r in rules),
        )


class Trees:
    """Grown trees, one after the other.

    A node's children count from the first node of its tree. Trees that grew depth first are numbered in
    preorder, so that a node's descendants follow it; trees that grew best first in the order of creation.

    Parameters
    ----------
    nodes : ndarray of NODE_DTYPE, shape (N,)
        The nodes of all trees.
    values : ndarray of float64, shape (N, K)
        Mean of the target, or share of every class, of every node.
    offsets : ndarray of int64, shape (n_trees + 1,)
        First node of every tree, then N.
    n_features : int
        Features of the training table.
    n_classes : int
        Classes; 0 for regression.
    best_first : bool
        Whether the nodes are numbered in the order of creation.
    """

    # of trees that in_preorder made: number of the first child of every node in the order of creation
    _created_first_child: NDArray[np.int32] | None = None

    def __init__(
        self,
        nodes: NDArray[Any],
        values: NDArray[np.float64],
        offsets: NDArray[np.int64],
        *,
        n_features: int,
        n_classes: int,
        best_first: bool = False,
    ) -> None:
        self.nodes, self.values, self.offsets = nodes, values, offsets
        self.n_features, self.n_classes, self.best_first = n_features, n_classes, best_first

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def _like(self, nodes: Any, values: Any, offsets: Any, best_first: bool | None = None) -> Trees:
        return Trees(
            nodes,
            values,
            offsets,
            n_features=self.n_features,
            n_classes=self.n_classes,
            best_first=self.best_first if best_first is None else best_first,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "nodes": self.nodes,
            "values": self.values,
            "offsets": self.offsets,
            "n_features": self.n_features,
            "n_classes": self.n_classes,
            "best_first": self.best_first,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        found = state.pop("format", None)
        if found != FORMAT:
            raise ValueError(
                f"The format of pickled trees must be {FORMAT}. Got {found!r} instead: the pickle is of "
                "another version of hpcml; fit again, or load it with that version."
            )
        vars(self).update(state)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return int(self.nodes.nbytes + self.values.nbytes + self.offsets.nbytes)

    # -- parts -----------------------------------------------------------------------------------------------

    def slice(self, start: int, stop: int) -> Trees:
        """Return the trees ``start`` to ``stop - 1``, sharing memory."""
        first, last = self.offsets[start], self.offsets[stop]
        return self._like(
            self.nodes[first:last], self.values[first:last], self.offsets[start : stop + 1] - first
        )

    def prefix(self, n_trees: int) -> Trees:
        """Return the first trees, sharing memory."""
        return self if n_trees == len(self) else self.slice(0, n_trees)

    @staticmethod
    def concatenate(parts: list[Trees]) -> Trees:
        """Return the trees of several parts one after the other."""
        if len(parts) == 1:
            return parts[0]
        arrays = joined((part.nodes, part.values, part.offsets) for part in parts)
        return parts[0]._like(*arrays, all(part.best_first for part in parts))

    # -- shape -----------------------------------------------------------------------------------------------

    @functools.cached_property
    def tree_of_node(self) -> NDArray[np.int64]:
        """Number of the tree of every node."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @functools.cached_property
    def inner(self) -> NDArray[np.bool_]:
        """Which nodes are split."""
        return self.nodes["left"] != LEAF

    @functools.cached_property
    def depth(self) -> NDArray[np.int32]:
        """Depth of every node."""
        return np.ascontiguousarray(self.nodes["depth"])

    def children(self, side: str) -> NDArray[np.int64]:
        """Return the child of every node, counted from the first node of all; of a leaf the leaf itself."""
        child = self.nodes[side] + self.offsets[self.tree_of_node]
        return np.where(self.inner, child, np.arange(len(self.nodes)))

    @functools.cached_property
    def parent(self) -> NDArray[np.int64]:
        """Parent of every node, counted from the first node of all; -1 for a root."""
        parent = np.full(len(self.nodes), -1)
        splits = np.flatnonzero(self.inner)
        for side in ("left", "right"):
            parent[self.children(side)[splits]] = splits
        return parent

    @functools.cached_property
    def levels(self) -> list[NDArray[np.int64]]:
        """Nodes of every depth, the roots first."""
        depth = self.depth.astype(np.int16) if self.depth.max() < np.iinfo(np.int16).max else self.depth
        order = np.argsort(depth, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.depth))[:-1])

    @functools.cached_property
    def end(self) -> NDArray[np.int64]:
        """End of the run of every node and its descendants; for trees in preorder."""
        last = self.children("right")
        while True:  # the rightmost descendant, in doubling steps
            further = last[last]
            if np.array_equal(further, last):
                return last + 1
            last = further

    # -- truncation ------------------------------------------------------------------------------------------

    def beyond(self, rule: StopRule) -> NDArray[np.bool_]:
        """Return which nodes lie below a node that `rule` makes a leaf; for trees in preorder.

        A rule at least as strict as that of growth gives the nodes which growth under it would not have made.
        """
        if rule == StopRule(max_depth=rule.max_depth):
            return self.depth > rule.max_depth
        nodes = self.nodes
        stop = self.depth >= rule.max_depth
        if rule.min_samples_split > 2:
            stop |= nodes["n_samples"] < rule.min_samples_split
        if rule.min_impurity_decrease > 0:
            stop |= nodes["improvement"] + EPSILON < rule.min_impurity_decrease
        if rule.max_leaf_nodes and self._created_first_child is not None:
            stop |= self._created_first_child >= 2 * rule.max_leaf_nodes - 1
        if rule.ccp_alpha > 0:
            stop = pruned(self, stop, rule.ccp_alpha)
        # stopped subtrees are runs: a node lies in one if a run that began before it ends after it
        furthest = np.maximum.accumulate(np.where(stop, self.end, 0))
        below = np.zeros(len(nodes), dtype=bool)
        below[1:] = furthest[:-1] > np.arange(1, len(nodes))
        return below

    def cut(self, rule: StopRule) -> Trees:
        """Return the trees that growth under `rule` makes, which is at least as strict as that of growth."""
        if not self.best_first:
            return self._without(self.beyond(rule))
        trees = self._first_leaves(rule.max_leaf_nodes)
        if rule.ccp_alpha > 0:
            trees = trees.in_preorder()
            trees = trees._without(trees.beyond(StopRule(ccp_alpha=rule.ccp_alpha)))
        return trees

    def _without(self, dropped: NDArray[np.bool_]) -> Trees:
        if not dropped.any():
            return self
        kept = ~dropped
        number = np.cumsum(kept) - 1
        offsets = np.concatenate([[0], np.cumsum(kept)])[self.offsets]
        base = offsets[self.tree_of_node[kept]]
        nodes = self.nodes[kept]
        for side in ("left", "right"):
            nodes[side] = np.where(self.inner[kept], number[self.children(side)[kept]] - base, LEAF)
        # the first child of a node in preorder follows it
        first_child = np.minimum(np.arange(1, len(dropped) + 1), len(dropped) - 1)
        _make_leaves(nodes, (self.inner & dropped[first_child])[kept])
        return self._like(nodes, self.values[kept], offsets)

    def _first_leaves(self, max_leaf_nodes: int) -> Trees:
        # the k-th split of best-first growth makes the nodes 2k - 1 and 2k
        most = 2 * max_leaf_nodes - 1
        sizes = np.diff(self.offsets)
        if not max_leaf_nodes or sizes.max() <= most:
            return self
        within = np.arange(len(self.nodes)) - self.offsets[self.tree_of_node]
        kept = within < most
        nodes = self.nodes[kept]
        _make_leaves(nodes, nodes["left"] >= most)
        offsets = np.concatenate([[0], np.cumsum(np.minimum(sizes, most))])
        return self._like(nodes, self.values[kept], offsets)

    def in_preorder(self) -> Trees:
        """Return the same trees numbered in preorder; they remember the order of creation."""
        if not self.best_first:
            return self
        left, right = self.children("left"), self.children("right")
        size = np.ones(len(self.nodes), dtype=np.int64)
        position = np.zeros(len(self.nodes), dtype=np.int64)
        position[self.offsets[:-1]] = self.offsets[:-1]
        splits = [level[self.inner[level]] for level in self.levels]
        for at in reversed(splits):
            size[at] += size[left[at]] + size[right[at]]
        for at in splits:
            position[left[at]] = position[at] + 1
            position[right[at]] = position[at] + 1 + size[left[at]]
        base = self.offsets[self.tree_of_node]
        source = np.argsort(position)
        nodes = self.nodes[source]
        for side, child in (("left", left), ("right", right)):
            nodes[side] = np.where(self.inner, position[child] - base, LEAF)[source]
        trees = self._like(nodes, self.values[source], self.offsets, False)
        trees._created_first_child = np.where(self.inner, self.nodes["left"], -1)[source]
        return trees

    # -- what the nodes say ----------------------------------------------------------------------------------

    def importances(self, normalize: bool = True) -> NDArray[np.float64]:
        """Return the impurity decrease that each feature brings in each tree, shape (n_trees, n_features)."""
        splits = np.flatnonzero(self.inner)
        cell = self.tree_of_node[splits] * self.n_features + self.nodes["feature"][splits]
        improvement = self.nodes["improvement"][splits]
        sums = np.bincount(cell, improvement, len(self) * self.n_features).astype(np.float64)
        sums = sums.reshape(len(self), self.n_features)
        if normalize:
            total = sums.sum(axis=1, keepdims=True)
            sums = np.divide(sums, total, out=sums, where=total > 0)
        return sums

    def mean_importances(self) -> NDArray[np.float64]:
        """Return the importances averaged over the trees that have a split; they sum to 1."""
        grown = np.diff(self.offsets) > 1
        if not grown.any():
            return np.zeros(self.n_features)
        mean = self.importances()[grown].mean(axis=0)
        total = mean.sum()
        return mean / total if total > 0 else mean


def _make_leaves(nodes: NDArray[Any], which: NDArray[np.bool_]) -> None:
    nodes["left"][which] = nodes["right"][which] = LEAF
    nodes["feature"][which] = nodes["threshold"][which] = UNDEFINED
    nodes["missing_go_to_left"][which] = 0
    nodes["improvement"][which] = 0.0
