"""Growth of forests: bins once, then trees in batches.

Breiman (2001), Random Forests, Machine Learning 45; the trees grow on binned features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from hpcml import activity, config
from hpcml.kernels import lookup, random
from hpcml.training.bins import Bins, bin_table
from hpcml.training.prediction import leaves
from hpcml.training.trees import StopRule, Trees

__all__ = ["Growth", "Sampling", "Split", "out_of_bag", "prepare"]

#: Fixed-point targets keep so many bits below the mean deviation of the target: gains within 1e-6 of the
#: best.
TARGET_BITS = 18
MOST_TARGET_BITS = 51  # sums of 2^51 are exact in float64
#: Work of one call of the kernel, in rows x features x levels: seconds, after which progress is told. Calls
#: of an eighth of it would take forests of 2 cores 1.2 to 1.5 times as long.
WORK_PER_CALL = 1 << 30
#: Explicit weights of the trees of one call take at most so many bytes.
WEIGHTS_BYTES = 64 << 20

LOCAL_BACKENDS = ("loky", "threading", "multiprocessing", "sequential")


@dataclass(frozen=True)
class Split:
    """What a split is and when a node is none.

    Parameters
    ----------
    criterion : {'gini', 'entropy', 'log_loss', 'squared_error'}
        What a split improves.
    n_classes : int
        Classes; 0 for regression.
    max_features : int
        Features that a node looks at.
    min_samples_leaf : int
        Fewest rows of a leaf.
    min_weight_fraction_leaf : float
        Least weight of a leaf, as a share of its tree's.
    rule : StopRule
        When a node is a leaf.
    """

    criterion: str
    n_classes: int
    max_features: int
    min_samples_leaf: int
    min_weight_fraction_leaf: float
    rule: StopRule


@dataclass(frozen=True)
class Sampling:
    """Which rows a tree sees, and with which weights.

    Parameters
    ----------
    n_samples : int
        Rows of the training table.
    n_draws : int
        Rows that the bootstrap draws for a tree; 0 is no bootstrap.
    weights : ndarray of float64, shape (n_samples,), optional
        Weights of the rows; the bootstrap draws by them, and a drawn row counts as often as it was drawn.
    balanced : bool
        Weigh the drawn rows so that all classes have the same weight.
    """

    n_samples: int
    n_draws: int = 0
    weights: NDArray[np.float64] | None = field(default=None, repr=False)
    balanced: bool = False

    def drawn(self, seed: int, cumulative: NDArray[np.float64] | None) -> NDArray[np.int32]:
        """Return the rows that the tree of a seed is grown on, in the order of drawing; see `cumulative`."""
        if not self.n_draws:
            return np.arange(self.n_samples, dtype=np.int32)
        rows = random.bootstrap_indices(seed, self.n_samples, self.n_draws, cumulative)
        return rows.astype(np.int32)

    def cumulative(self) -> NDArray[np.float64] | None:
        """Return the running sum of the weights, None if there are none."""
        return None if self.weights is None else np.cumsum(self.weights)


@dataclass(frozen=True)
class Growth:
    """Everything that growing trees needs; see `prepare`."""

    bins: Bins = field(repr=False)
    y: NDArray[np.float64] = field(repr=False)
    weights: NDArray[np.float64] | None = field(repr=False)
    cumulative: NDArray[np.float64] | None = field(repr=False)
    n_draws: int
    balanced: bool
    split: Split
    target_bits: int

    def trees(
        self,
        seeds: NDArray[np.uint64],
        n_threads: int,
        *,
        n_jobs: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Trees:
        """Grow one tree for every seed.

        Parameters
        ----------
        seeds : ndarray of uint64, shape (n_trees,)
            Seeds.
        n_threads : int
            Threads of the kernel; the trees do not depend on it.
        n_jobs : int, optional
            Passed to joblib where a backend of another package is active; that backend then gets the batches.
        progress : callable, optional
            Called between batches with the number of trees grown so far.

        Returns
        -------
        Trees
        """
        if len(seeds) > 1 and _foreign_backend():
            n_workers, here = joblib.effective_n_jobs(n_jobs), config.snapshot()
            shares = np.array_split(seeds, min(len(seeds), n_workers))
            with activity.step("dispatch", n_workers) as step:
                batch = joblib.delayed(step.timed(_batch_there))
                parallel = joblib.Parallel(n_jobs=n_jobs, prefer="threads")
                grown = [step.result(each) for each in parallel(batch(self, some, here) for some in shares)]
            return Trees.concatenate(grown)
        size = self._batch_size(n_threads)
        parts: list[Trees] = []
        for start in range(0, len(seeds), size):
            if parts and progress is not None:
                progress(start)
            parts.append(self._batch(seeds[start : start + size], n_threads))
        if progress is not None:
            progress(len(seeds))
        return Trees.concatenate(parts)

    def _batch_size(self, n_threads: int) -> int:
        n_samples, n_features = self.bins.binned.shape
        levels = min(self.split.rule.max_depth, max(1, math.ceil(math.log2(n_samples))))
        work = n_samples * min(self.split.max_features, n_features) * max(1, levels)
        size = max(1, WORK_PER_CALL // work)
        if self.balanced:
            size = min(size, max(1, WEIGHTS_BYTES // (8 * n_samples)))
        return max(n_threads, size - size % n_threads)

    def _batch(self, seeds: NDArray[np.uint64], n_threads: int) -> Trees:
        split, rule = self.split, self.split.rule
        weights, n_draws = self.weights, self.n_draws
        total = n_draws or (float(len(self.y)) if weights is None else float(weights.sum()))
        if self.balanced:
            weights, n_draws = self._balanced_weights(seeds), 0
        bins = self.bins
        grow = lookup("grow")
        with activity.during("compute"):
            nodes, values, offsets = grow(
                bins.binned,
                bins.lower,
                bins.upper,
                bins.n_bins,
                self.y,
                weights,
                self.cumulative if n_draws else None,
                seeds,
                n_draws,
                criterion=split.criterion,
                n_classes=split.n_classes,
                max_features=min(split.max_features, bins.binned.shape[1]),
                max_depth=rule.max_depth,
                min_samples_split=rule.min_samples_split,
                min_samples_leaf=split.min_samples_leaf,
                min_weight_leaf=split.min_weight_fraction_leaf * total,
                max_leaf_nodes=rule.max_leaf_nodes,
                min_impurity_decrease=rule.min_impurity_decrease,
                target_bits=self.target_bits,
                n_threads=n_threads,
            )
        return Trees(
            nodes,
            values,
            offsets,
            n_features=bins.binned.shape[1],
            n_classes=split.n_classes,
            best_first=bool(rule.max_leaf_nodes),
        )

    def _balanced_weights(self, seeds: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Return the weights (n_trees, n) that give every class of a tree's bootstrap the same weight."""
        n = len(self.y)
        classes = self.y.astype(np.int64)
        weights = np.empty((len(seeds), n))
        for t, seed in enumerate(seeds):
            rows = random.bootstrap_indices(seed, n, self.n_draws, self.cumulative)
            counts = np.bincount(rows, minlength=n)
            of_class = np.bincount(classes, counts, minlength=self.split.n_classes)
            present = of_class > 0
            # n / (k n_c), of the k classes that were drawn
            share = np.divide(
                self.n_draws, present.sum() * of_class, out=np.zeros(len(present)), where=present
            )
            weights[t] = counts * share[classes]
        return weights


def prepare(
    X: Any,
    y: NDArray[np.float64],
    split: Split,
    sampling: Sampling,
    *,
    max_bins: int,
    rows: NDArray[np.int64] | None = None,
    n_threads: int = 1,
) -> Growth:
    """Bin the training rows and make ready what growth needs.

    Parameters
    ----------
    X : ndarray or sparse matrix or array of shape (n, n_features)
        The table.
    y : ndarray of float64, shape (n_samples,)
        Target of the training rows; for classes their numbers from 0.
    split : Split
        How nodes split.
    sampling : Sampling
        Which rows a tree sees.
    max_bins : int
        Most bins of a feature.
    rows : ndarray of int, shape (n_samples,), optional
        The training rows of `X`; None is all.
    n_threads : int
        Threads of the kernels.

    Returns
    -------
    Growth
        Rows of weight 0 are left out: they have no influence, not even on the bins.
    """
    weights = sampling.weights
    if weights is not None and not weights.all():
        kept = np.flatnonzero(weights)
        rows = kept if rows is None else rows[kept]
        y, weights = y[kept], weights[kept]
    bootstrap = sampling.n_draws > 0
    y = y.view()
    y.flags.writeable = False  # as the bins
    return Growth(
        bins=bin_table(X, max_bins, rows, n_threads),
        y=y,
        weights=None if bootstrap or weights is None else weights[np.newaxis],
        cumulative=np.cumsum(weights) if bootstrap and weights is not None else None,
        n_draws=sampling.n_draws,
        balanced=sampling.balanced and bootstrap,
        split=split,
        target_bits=0 if split.n_classes else _target_bits(y),
    )


def _target_bits(y: NDArray[np.float64]) -> int:
    """Return the bits that a fixed-point target needs; more where few values lie far out."""
    with np.errstate(over="ignore", invalid="ignore"):
        span = float(y.max() - y.min())
        deviation = float(np.mean(np.abs(y - y.mean())))
    if not math.isfinite(span) or not math.isfinite(deviation):
        raise ValueError(
            "y must have a spread that float64 can hold. Got values from "
            f"{y.min():g} to {y.max():g} instead; divide them by a constant."
        )
    if not span or not deviation:
        return TARGET_BITS
    return min(MOST_TARGET_BITS, math.ceil(math.log2(span / deviation)) + TARGET_BITS)


def _batch_there(growth: Growth, seeds: NDArray[np.uint64], settings: dict[str, Any]) -> Trees:
    """Grow a batch in a worker of joblib, under the settings of the caller."""
    with config.restored(settings):
        return growth._batch(seeds, 1)


def _foreign_backend() -> bool:
    """Return whether the user has activated a joblib backend that is not one of joblib's local ones."""
    local = [joblib.parallel.BACKENDS.get(name) for name in LOCAL_BACKENDS]
    return type(joblib.parallel.get_active_backend()[0]) not in local


def out_of_bag(
    trees: Trees, X: Any, seeds: NDArray[np.uint64], sampling: Sampling, n_threads: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum, for every training row, the values of the trees that were not grown on it.

    Parameters
    ----------
    trees : Trees
        The forest.
    X : ndarray or sparse matrix or array of shape (n_samples, n_features)
        The training table.
    seeds : ndarray of uint64, shape (n_trees,)
        Seeds of the trees.
    sampling : Sampling
        How their rows were drawn.
    n_threads : int
        Threads of the kernel.

    Returns
    -------
    (sums, counts) : tuple of ndarray, shapes (n_samples, K) and (n_samples,)
        The sums and the number of trees in each.
    """
    n_samples = sampling.n_samples
    sums, counts = np.zeros((n_samples, trees.values.shape[1])), np.zeros(n_samples, dtype=np.int64)
    cumulative = sampling.cumulative()
    step = max(1, WEIGHTS_BYTES // (4 * n_samples))
    for start in range(0, len(trees), step):
        part = trees.slice(start, min(len(trees), start + step))
        at = leaves(part, X, n_threads)
        for t in range(len(part)):
            out = np.ones(n_samples, dtype=bool)
            out[sampling.drawn(seeds[start + t], cumulative)] = False
            rows = np.flatnonzero(out)
            sums[rows] += part.values[part.offsets[t] + at[rows, t]]
            counts[rows] += 1
    return sums, counts
