"""Minimal cost-complexity pruning.

Breiman, Friedman, Olshen, Stone (1984), Classification and Regression Trees, chapter 3.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hpcml.training.trees import Trees

__all__ = ["pruned", "pruning_path"]

#: A branch is pruned at its own strength, which `pruning_path` reports: two sums that are equal but for
#: rounding. They hold at most some 2^20 terms; the unit is the impurity of the root.
ROUNDING = 2.0**-40


def _node_costs(trees: Trees) -> NDArray[np.float64]:
    """Return R(t), the weighted impurity of every node as a share of its tree's weight."""
    nodes = trees.nodes
    root_weight = nodes["weight"][trees.offsets[:-1]]
    return nodes["weight"] * nodes["impurity"] / root_weight[trees.tree_of_node]


def pruned(trees: Trees, stop: NDArray[np.bool_], alpha: float) -> NDArray[np.bool_]:
    """Return which nodes are leaves of the smallest subtree that minimises R(T) + alpha |leaves of T|.

    Parameters
    ----------
    trees : Trees
        The trees.
    stop : ndarray of bool, shape (N,)
        Nodes that are leaves in any case.
    alpha : float
        Price of a leaf.

    Returns
    -------
    ndarray of bool, shape (N,)
        `stop` and the nodes whose branch does not pay.
    """
    cost = _node_costs(trees)
    slack = (cost[trees.offsets[:-1]] * ROUNDING)[trees.tree_of_node]
    stop = stop | ~trees.inner
    left, right = trees.children("left"), trees.children("right")
    best = cost + alpha
    for level in reversed(trees.levels):
        at = level[~stop[level]]
        branch = best[left[at]] + best[right[at]]
        stop[at] = best[at] <= branch + slack[at]
        best[at] = np.minimum(best[at], branch)
    return stop


def pruning_path(tree: Trees) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the effective alphas of the sequence of pruned subtrees of one tree, and their impurities.

    Parameters
    ----------
    tree : Trees
        One tree.

    Returns
    -------
    (ccp_alphas, impurities) : tuple of ndarray, each of shape (n_steps,)
        The first alpha is 0, the whole tree; the last leaves the root alone.
    """
    cost = _node_costs(tree).tolist()
    left, right, parent = (
        tree.children("left").tolist(),
        tree.children("right").tolist(),
        tree.parent.tolist(),
    )
    branch, leaves = list(cost), [1] * len(cost)
    splits = np.concatenate([level[tree.inner[level]] for level in tree.levels]).tolist()
    for t in reversed(splits):
        branch[t] = branch[left[t]] + branch[right[t]]
        leaves[t] = leaves[left[t]] + leaves[right[t]]

    def strength(t: int) -> float:
        return (cost[t] - branch[t]) / (leaves[t] - 1)  # g(t) = (R(t) - R(T_t)) / (|T_t| - 1)

    current = {t: strength(t) for t in splits}
    links = [(g, t) for t, g in current.items()]
    heapq.heapify(links)
    alphas, impurities = [0.0], [branch[0]]
    while links:
        g, t = heapq.heappop(links)
        if current.get(t) != g:
            continue
        below = [t]
        while below:
            node = below.pop()
            if current.pop(node, None) is not None:
                below += (left[node], right[node])
        saved, lost = cost[t] - branch[t], leaves[t] - 1
        at = t
        while at >= 0:
            branch[at] += saved
            leaves[at] -= lost
            if at in current:
                current[at] = strength(at)
                heapq.heappush(links, (current[at], at))
            at = parent[at]
        alphas.append(g)
        impurities.append(branch[0])
    return np.array(alphas), np.array(impurities)
