"""A grid of forests as one computation: grow at the loosest rule, read all stricter ones from the same trees.

The keys of the random numbers belong to nodes, so a tree that stops earlier is the upper part of one that
stops later, and a smaller forest is the beginning of a larger one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml import activity
from hpcml.kernels import lookup
from hpcml.protocol import Batch
from hpcml.training.prediction import dense_blocks
from hpcml.training.trees import NO_LIMIT, StopRule, Trees

__all__ = ["Asked", "means", "plan"]

#: Sums of test rows and values of cut trees that are held at once take at most so many bytes.
HELD_BYTES = 64 << 20
#: Depth of a tree without limit, for the cost of a batch.
USUAL_DEPTH = 20


@dataclass(frozen=True)
class Asked:
    """What a candidate asks for.

    Parameters
    ----------
    key : hashable
        Candidates of the same key can share their trees.
    n_trees : int
        Trees.
    max_depth : int
        Depth, for the cost.
    """

    key: Hashable
    n_trees: int
    max_depth: int = NO_LIMIT

    @property
    def cost(self) -> float:
        """Relative time of a separate fit."""
        return float(self.n_trees * min(self.max_depth, USUAL_DEPTH))


def plan(asked: Sequence[Asked], n_folds: int) -> list[Batch]:
    """Cut a grid into batches: the candidates of a key on one fold each.

    Parameters
    ----------
    asked : sequence of Asked
        What each candidate asks for.
    n_folds : int
        Number of folds.

    Returns
    -------
    list of Batch
    """
    groups: dict[Hashable, list[int]] = {}
    for i, one in enumerate(asked):
        groups.setdefault(one.key, []).append(i)
    batches = []
    for members in groups.values():
        costs = [asked[i].cost for i in members]
        n_trees = max(asked[i].n_trees for i in members)
        shared = "nothing: no other candidate has trees in common with it"
        if len(members) > 1:
            shared = (
                f"{n_trees} tree{'s' if n_trees > 1 else ''} grown at the loosest rule; {len(members)} "
                "candidates take the first of them, cut by their own rule"
            )
        for fold in range(n_folds):
            batches.append(
                Batch(
                    candidates=tuple(members),
                    folds=(fold,),
                    cost=n_trees * max(asked[i].cost / asked[i].n_trees for i in members),
                    shared=shared,
                    weights=tuple(cost / sum(costs) for cost in costs),
                    asked={"fits": len(members), "trees": sum(asked[i].n_trees for i in members)},
                    done={"fits": 1, "trees": n_trees},
                )
            )
    return batches


def means(
    trees: Trees,
    X: Any,
    rows: NDArray[np.int64] | None,
    wanted: Sequence[tuple[StopRule, int]],
    n_threads: int = 1,
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Predict with the beginnings of a forest under several rules; rows pass each tree once.

    Parameters
    ----------
    trees : Trees
        Trees grown at the loosest of the rules.
    X : ndarray or sparse matrix or array of shape (n_samples, n_features)
        The table.
    rows : ndarray of int, optional
        Rows to predict; None is all.
    wanted : sequence of (StopRule, int)
        Rule and number of trees, at least one.
    n_threads : int
        Threads of the kernel.

    Yields
    ------
    (int, ndarray of float64, shape (n_samples, K))
        Number in `wanted`, and the mean over the trees: to the bit that of the forest grown alone.
    """
    trees = trees.in_preorder()
    by_rule: dict[StopRule, dict[int, list[int]]] = {}
    for i, (rule, n_trees) in enumerate(wanted):
        by_rule.setdefault(rule, {}).setdefault(n_trees, []).append(i)
    n_samples, width = X.shape[0] if rows is None else len(rows), trees.values.shape[1]
    part: dict[StopRule, dict[int, list[int]]] = {}
    held = 0
    for rule, counts in by_rule.items():
        size = 8 * width * (len(trees.nodes) + n_samples * len(counts))
        if part and held + size > HELD_BYTES:
            yield from _means_of(trees, X, rows, part, n_threads)
            part, held = {}, 0
        part[rule] = counts
        held += size
    yield from _means_of(trees, X, rows, part, n_threads)


def _means_of(
    trees: Trees,
    X: Any,
    rows: NDArray[np.int64] | None,
    part: dict[StopRule, dict[int, list[int]]],
    n_threads: int,
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    shape = X.shape[0] if rows is None else len(rows), trees.values.shape[1]
    results = {(rule, n): np.empty(shape) for rule, counts in part.items() for n in counts}
    most = max(n for _, n in results)
    grown = trees.prefix(most)
    # value of the node at which each rule stops, for every node
    tables = {rule: _values_under(trees, rule) for rule in part}
    kernel = lookup("predict_leaves")
    for at, block in dense_blocks(X, rows, width=(8 + 4) * most):
        with activity.during("compute"):
            leaves = kernel(block, grown.nodes, grown.offsets, n_threads)
        nodes = leaves.T.astype(np.int64, order="C")
        nodes += grown.offsets[:-1, np.newaxis]
        for rule, counts in part.items():
            _running_means(tables[rule], nodes, {n: results[rule, n][at] for n in counts})
    for rule, counts in part.items():
        for n, members in counts.items():
            for i in members:
                yield i, results[rule, n]


def _values_under(trees: Trees, rule: StopRule) -> NDArray[np.float64]:
    """Return for every node the value of the node at which `rule` stops on the way to it."""
    kept = np.flatnonzero(~trees.beyond(rule))
    if len(kept) == len(trees.nodes):
        return trees.values
    # in preorder, the nodes below a leaf follow it
    return np.repeat(trees.values[kept], np.diff(kept, append=len(trees.nodes)), axis=0)


def _running_means(
    table: NDArray[np.float64], nodes: NDArray[np.int64], out: dict[int, NDArray[np.float64]]
) -> None:
    """Write into ``out[n]`` the mean of the first n trees, added in their order."""
    total = np.zeros((nodes.shape[1], table.shape[1]))
    value = np.empty_like(total)
    for n, at in enumerate(nodes[: max(out)], start=1):
        np.take(table, at, axis=0, out=value, mode="clip")  # "raise" would copy
        total += value
        if n in out:
            np.divide(total, n, out=out[n])
