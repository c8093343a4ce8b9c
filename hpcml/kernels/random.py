"""Counter-based random numbers: a draw depends on what is drawn, never on who draws it.

The generator is SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) read at a position instead of in sequence.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
BOOTSTRAP = 1  # counter of the key that draws the rows of a tree
ROOT = 2  # counter of the key of a tree's root
LEFT = 1 << 40  # counters of the keys of a node's children: beyond any feature number
RIGHT = LEFT + 1


def hash_at(key: Any, counter: ArrayLike) -> Any:
    """Return the 64-bit numbers at positions ``counter`` of the stream ``key``."""
    with np.errstate(over="ignore"):
        z = np.uint64(key) + (np.asarray(counter, dtype=np.uint64) + np.uint64(1)) * GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform_at(key: Any, counter: ArrayLike) -> Any:
    """Return float64 numbers in [0, 1) at positions ``counter`` of the stream ``key``."""
    return (hash_at(key, counter) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def bootstrap_indices(
    seed: Any, n_samples: int, n_draws: int, cumulative_weights: NDArray[np.float64] | None
) -> NDArray[np.int64]:
    """Draw ``n_draws`` of ``n_samples`` rows with replacement, proportionally to their weights if given."""
    u = uniform_at(hash_at(seed, BOOTSTRAP), np.arange(n_draws))
    if cumulative_weights is None:
        return (u * n_samples).astype(np.int64)
    drawn = np.searchsorted(cumulative_weights, u * cumulative_weights[-1], side="right")
    # u * total may round up to the total itself
    return np.minimum(drawn, np.searchsorted(cumulative_weights, cumulative_weights[-1], side="left"))


def feature_order(node_key: Any, n_features: int) -> NDArray[np.int64]:
    """Return the random order in which a node looks at the features (Fisher-Yates)."""
    order = np.arange(n_features)
    u = uniform_at(node_key, np.arange(n_features))
    for i in range(n_features - 1):
        j = i + int(u[i] * (n_features - i))
        order[i], order[j] = order[j], order[i]
    return order
