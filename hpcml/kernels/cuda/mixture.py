"""Mixtures of normal densities: a step of EM, moments under given responsibilities, and what rows get."""

from itertools import pairwise

import numpy as np

from hpcml.kernels.cuda.blocks import THREADS, Rows, ceil, run, run_rows
from hpcml.kernels.cuda.driver import current
from hpcml.kernels.cuda.words import suffix

#: Rows of a block of the kernels of moments; a shard has several parts.
ROWS_OF_PART = 8192
#: Up to as many features, and the one, the small tiles of moments are enough.
SMALL_TILE = 16


def gaussian_step(bounds, first_shard, n_shards, X, center, means, factors, log_weights, shifts, n_threads=1):
    """Add up log-densities, and the moments under the responsibilities of a mixture."""
    first = np.array([0, len(means)])
    a_pass = _Pass(X, center, shifts, means, factors, log_weights, first=first)
    return a_pass.run(bounds, first_shard, n_shards)


def gaussian_step_diagonal(
    bounds, first_shard, n_shards, X, center, means, factors, log_weights, shifts, n_threads=1
):
    """Add up the same for diagonal factors."""
    return gaussian_step(bounds, first_shard, n_shards, X, center, means, factors, log_weights, shifts)


def gaussian_steps(bounds, first_shard, n_shards, X, first, center, means, factors, log_weights, n_threads=1):
    """Add up the same of several mixtures, whose components lie one after the other, about the means."""
    a_pass = _Pass(X, center, means, means, factors, log_weights, first=first)
    return a_pass.run(bounds, first_shard, n_shards)


def gaussian_steps_diagonal(
    bounds, first_shard, n_shards, X, first, center, means, factors, log_weights, n_threads=1
):
    """Add up the same for diagonal factors."""
    return gaussian_steps(bounds, first_shard, n_shards, X, first, center, means, factors, log_weights)


def gaussian_moments(bounds, first_shard, n_shards, X, responsibilities, labels, center, shifts, n_threads=1):
    """Add up the moments under given responsibilities, or with r = 1 at the label."""
    a_pass = _Pass(X, center, shifts, responsibilities=responsibilities, labels=labels)
    return a_pass.run(bounds, first_shard, n_shards)


def gaussian_moments_diagonal(
    bounds, first_shard, n_shards, X, responsibilities, labels, center, shifts, n_threads=1
):
    """Add up the same with the diagonal of the second moments."""
    a_pass = _Pass(X, center, shifts, responsibilities=responsibilities, labels=labels, diagonal=True)
    return a_pass.run(bounds, first_shard, n_shards)


def gaussian_rows(X, center, means, factors, log_weights, with_responsibilities, n_threads=1):
    """Return log-densities, labels and, where asked for, responsibilities of rows."""
    return _Pass(X, center, None, means, factors, log_weights).of_rows(bool(with_responsibilities))


def gaussian_rows_diagonal(X, center, means, factors, log_weights, with_responsibilities, n_threads=1):
    """Return the same for diagonal factors."""
    return gaussian_rows(X, center, means, factors, log_weights, with_responsibilities)


class _Pass:
    """One pass over the rows: densities of some mixtures, then moments of all components about shifts."""

    def __init__(
        self, X, center, shifts, means=None, factors=None, log_weights=None, *, first=(), diagonal=False,
        responsibilities=None, labels=None,
    ):  # fmt: skip
        self.X, self.d, self.type = X, X.shape[1], suffix(X)
        self.k = len(means if shifts is None else shifts)
        self.diagonal = diagonal if factors is None else factors.ndim == 2
        self.first, self.given, self.labels = first, responsibilities, labels
        self.constants = {
            "center": center,
            "means": means,
            "factors": factors,
            "log_weights": log_weights,
            "shifts": shifts,
        }  # fmt: skip

    def densities(self, block, start, stop, *, r, row_stride, component_stride, rows=(0, 0), parts=0):
        d, item = self.d, self.X.itemsize
        per_factor = d if self.diagonal else d * d
        block.launch(
            "mixture",
            f"densities{'_diagonal' if self.diagonal else ''}_{self.type}",
            (ceil(block.most_rows, THREADS), block.n_shards),
            block["X"], block["center"], block["means"] + start * d * item,
            block["factors"] + start * per_factor * item, block["log_weights"] + start * item,
            d, stop - start,
            block["bounds"], r, row_stride, component_stride, *rows, ceil(block.most_rows, THREADS), parts,
        )  # fmt: skip

    def moments(self, block, r, row_stride, component_stride, labels):
        d, k = self.d, self.k
        parts = ceil(block.most_rows, ROWS_OF_PART)
        if self.diagonal:
            name, of_component = "moments_diagonal", ceil(d, 32)
        else:
            tile = SMALL_TILE if d < SMALL_TILE else 64
            name, of_component = f"moments_{tile}", ceil(d + 1, tile) ** 2
        block.launch(
            "mixture", f"{name}_{self.type}", (k * of_component, parts, block.n_shards),
            block["X"], r, row_stride, component_stride, labels, block["center"], block["shifts"], d, k,
            block["bounds"], ROWS_OF_PART, parts, block["parts"],
        )  # fmt: skip

    def entries(self):
        """Return where the numbers of the moments are among the sums (z, 1)(z, 1)^T of all components."""
        d, k = self.d, self.k
        p = k * (d + 1)
        top = np.arange(k)[:, np.newaxis] * (d + 1)  # row of a component's first entry
        i, j = np.indices((d, d))
        upper = np.where(i <= j, (top[:, :, np.newaxis] + i) * p + j, -1)
        counts, sums = (top + d) * p + d, (top + np.arange(d)) * p + d
        return np.concatenate([np.ravel(part) for part in (counts, sums, upper)])

    def run(self, bounds, first_shard, n_shards):
        d, k, S = self.d, self.k, max(len(self.first) - 1, 0)
        size = k + k * d * (2 if self.diagonal else 1 + d)
        width = S + size

        def launch(block):
            n, item = block.n_rows, self.X.itemsize
            for i, (start, stop) in enumerate(pairwise(map(int, self.first))):
                r = block["r"] + start * n * item
                self.densities(
                    block, start, stop, r=r, row_stride=1, component_stride=n, parts=block["densities"]
                )
                block.sum_parts("densities", THREADS, 1, width, at=i)
            if S:
                self.moments(block, block["r"], 1, n, 0)
            else:
                self.moments(block, block["given"], k, 1, block["labels"])
            if self.diagonal:
                block.sum_parts("parts", ROWS_OF_PART, size, width, at=S)
            else:
                p = k * (d + 1)
                block.gather_products("parts", ROWS_OF_PART, p, (0, d + 1), "entries", size, width, at=S)

        def scratch(lengths):
            n, most = int(lengths.sum()), max(int(lengths.max()), 1)
            parts = len(lengths) * ceil(most, ROWS_OF_PART)
            return {
                "r": self.X.itemsize * n * k if S else 0,
                "densities": 8 * len(lengths) * ceil(most, THREADS) if S else 0,
                "parts": 8 * parts * (size if self.diagonal else k * (d + 1) ** 2),
            }

        entries = None if self.diagonal else self.entries()
        return run(
            current(), bounds, first_shard, n_shards, width=width, launch=launch, scratch=scratch,
            rows={"X": Rows(self.X), "given": Rows(self.given), "labels": Rows(self.labels)},
            constants={**self.constants, "entries": entries},
        )  # fmt: skip

    def of_rows(self, with_responsibilities):
        n, k = len(self.X), self.k
        log_densities, labels = np.empty(n, dtype=self.X.dtype), np.empty(n, dtype=np.int32)
        r = np.empty((n, k if with_responsibilities else 0), dtype=self.X.dtype)

        def launch(block):
            rows = block["log_densities"], block["labels"]
            self.densities(block, 0, k, r=block["r"], row_stride=k, component_stride=1, rows=rows)

        out = {"log_densities": log_densities, "labels": labels, "r": r if with_responsibilities else None}
        rows = {name: Rows(value, reads=False, writes=True) for name, value in out.items()}
        run_rows(current(), n, rows={"X": Rows(self.X), **rows}, constants=self.constants, launch=launch)
        return log_densities, labels, r
