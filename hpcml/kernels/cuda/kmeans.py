"""Rows and the centers nearest to them."""

import numpy as np

from hpcml.kernels.cuda.blocks import THREADS, Rows, ceil, run, run_rows
from hpcml.kernels.cuda.driver import current
from hpcml.kernels.cuda.words import dense, suffix

#: Rows of a block of `assign`, and up to how many centers its small tiles are enough.
ROWS_OF_BLOCK, FEW = 128, 16
WARPS = THREADS // 32
#: Rows that a warp counts at least; more where there are more labels than that, so that the counters of all
#: chunks take no more memory than the labels.
LEAST_CHUNK = 1024


def nearest_center(X, centers, origin, n_threads=1):
    """Return the number of the nearest center of every row, and for how many rows the score overflows."""
    dense(X)
    labels = np.empty(len(X), dtype=np.int32)
    steps = _Steps(X, None, Rows(labels, reads=False, writes=True), centers, origin)

    def launch(block):
        steps.assign(block)
        steps.finish(block, width=1, overflown_at=0)

    overflown = steps.rows_alone(launch)
    return labels, overflown.astype(np.int64)


def assign_rows(bounds, first_shard, n_shards, X, weights, labels, centers, origin, n_threads=1):
    """Label the rows; add up how many labels have changed, the inertia, and the rows of each center."""
    dense(X)
    k = len(centers)
    steps = _Steps(X, weights, Rows(labels, writes=True), centers, origin)

    def launch(block):
        steps.assign(block)
        steps.order(block)
        steps.sum(block, width=2 + k, members_at=2, with_inertia=True)
        steps.finish(block, width=2 + k, changed_at=0, inertia_at=1)

    return steps.run(bounds, first_shard, n_shards, 2 + k, launch)


def lloyd_step(bounds, first_shard, n_shards, X, weights, labels, centers, origin, with_inertia, n_threads=1):
    """Label the rows; add up the rows of every center and their weights, changes, and the inertia."""
    dense(X)
    k, d = centers.shape
    width = k * d + k + 2
    steps = _Steps(X, weights, Rows(labels, writes=True), centers, origin)

    def launch(block):
        steps.assign(block)
        steps.order(block)
        steps.sum(block, width, sums_at=0, counts_at=k * d, with_inertia=bool(with_inertia))
        steps.finish(block, width, changed_at=width - 2, inertia_at=width - 1)

    return steps.run(bounds, first_shard, n_shards, width, launch)


def lloyd_steps(
    bounds, first_shard, n_shards, X, weights, labels, columns, first, centers, origin, n_threads=1
):
    """As `lloyd_step` for every set of centers; its labels are a column."""
    dense(X)
    K, d = centers.shape
    S = len(columns)
    width = K * d + K + S
    steps = _Steps(X, weights, Rows(labels, writes=True), centers, origin)

    def launch(block):
        for i, column in enumerate(columns.tolist()):
            start, stop = int(first[i]), int(first[i + 1])
            steps.assign(block, column, start, stop)
            steps.order(block, column, start, stop)
            steps.sum(block, width, start, stop, sums_at=start * d, counts_at=K * d + start)
            steps.finish(block, width, changed_at=K * d + K + i)

    return steps.run(bounds, first_shard, n_shards, width, launch)


class _Steps:
    """The launches that steps are made of; `start` to `stop` are the centers of a set."""

    def __init__(self, X, weights, labels, centers, origin):
        self.k, self.d = centers.shape
        self.type, self.item = suffix(centers), centers.itemsize
        self.stride = labels.value.shape[1] if labels.value.ndim == 2 else 1
        self.n = len(X)
        self.rows = {"X": Rows(X), "weights": Rows(weights), "labels": labels}
        self.constants = {"centers": centers, "origin": origin}

    def scratch(self, lengths):
        chunks, S = self.chunks(int(lengths.max())), len(lengths)
        return {
            "half": self.item * self.k,
            "counters": 16 * S,
            "counts": 4 * S * chunks * self.k,
            "starts": 4 * S * (self.k + 1),
            "order": 4 * int(lengths.sum()),
            "inertia": 8 * S * self.k,
        }

    def run(self, bounds, first_shard, n_shards, width, launch):
        return run(
            current(), bounds, first_shard, n_shards, rows=self.rows, constants=self.constants, width=width,
            scratch=self.scratch, launch=launch,
        )  # fmt: skip

    def rows_alone(self, launch):
        return run_rows(
            current(), self.n, rows=self.rows, constants=self.constants, width=1,
            scratch=lambda lengths: {"half": self.item * self.k, "counters": 16 * len(lengths)},
            launch=launch,
        )  # fmt: skip

    def rows_of_chunk(self):
        return ceil(max(LEAST_CHUNK, self.k), LEAST_CHUNK) * LEAST_CHUNK

    def chunks(self, most_rows):
        return ceil(most_rows, self.rows_of_chunk()) if most_rows else 1

    def assign(self, block, column=0, start=0, stop=None):
        k = (self.k if stop is None else stop) - start
        centers = block["centers"] + start * self.d * self.item
        labels = block["labels"] + 4 * column
        block.launch(
            "kmeans", f"half_norms_{self.type}", (ceil(k, THREADS), 1), centers, k, self.d, block["half"]
        )
        block.zero("counters", 16 * block.n_shards)
        block.launch(
            "kmeans",
            f"assign_{'few' if k <= FEW else 'many'}_{self.type}",
            (ceil(block.most_rows, ROWS_OF_BLOCK), block.n_shards),
            block["X"], block["bounds"], centers, block["half"], block["origin"], k, self.d, labels,
            self.stride, block["counters"],
        )  # fmt: skip

    def order(self, block, column=0, start=0, stop=None):
        k = (self.k if stop is None else stop) - start
        chunks = self.chunks(block.most_rows)
        block.zero("counts", 4 * block.n_shards * chunks * k)
        arguments = (
            block["labels"] + 4 * column, self.stride, k, self.rows_of_chunk(), chunks, block["bounds"],
            block.n_shards, block["counts"], block["starts"], block["order"],
        )  # fmt: skip
        warps = (ceil(block.n_shards * chunks, WARPS), 1)
        block.launch("kmeans", "count_labels", warps, *arguments)
        block.launch("kmeans", "find_label_starts", (block.n_shards, 1), *arguments)
        block.launch("kmeans", "order_rows", warps, *arguments)

    def sum(
        self, block, width, start=0, stop=None, *, sums_at=-1, counts_at=-1, members_at=-1, with_inertia=False
    ):
        k = (self.k if stop is None else stop) - start
        block.launch(
            "kmeans",
            f"sum_segments_{self.type}",
            (k, block.n_shards),
            block["X"], block["weights"], block["centers"] + start * self.d * self.item, block["origin"], k,
            self.d, block["bounds"], block["starts"], block["order"], block.statistics, width, sums_at,
            counts_at, members_at, block["inertia"] if with_inertia else 0,
        )  # fmt: skip
        self.with_inertia = with_inertia

    def finish(self, block, width, *, changed_at=-1, overflown_at=-1, inertia_at=-1):
        inertia = block["inertia"] if inertia_at >= 0 and self.with_inertia else 0
        block.launch(
            "kmeans",
            "finish_statistics",
            (block.n_shards, 1),
            block["counters"], inertia, self.k, block.statistics, width, changed_at, overflown_at, inertia_at,
        )  # fmt: skip


# -- distances ---------------------------------------------------------------------------------------------


def center_distances(X, centers, n_threads=1):
    """Return the distances of every row to all centers."""
    dense(X)
    (n, d), k = X.shape, len(centers)
    distances = np.empty((n, k), dtype=centers.dtype)

    def launch(block):
        block.launch(
            "kmeans",
            f"center_distances_{suffix(centers)}",
            (ceil(block.n_rows * k, THREADS), 1),
            block["X"], block["centers"], block.n_rows, k, d, block["distances"],
        )  # fmt: skip

    rows = {"X": Rows(X), "distances": Rows(distances, reads=False, writes=True)}
    run_rows(current(), n, rows=rows, constants={"centers": centers}, launch=launch)
    return distances


def label_distances(X, labels, centers, origin, n_threads=1):
    """Return the squared distance of every row to the center of its label."""
    dense(X)
    n, d = X.shape
    distances = np.empty(n)

    def launch(block):
        block.launch(
            "kmeans",
            f"label_distances_{suffix(centers)}",
            (ceil(block.n_rows, WARPS), 1),
            block["X"], block["labels"], block["centers"], block["origin"], block.n_rows, d,
            block["distances"],
        )  # fmt: skip

    rows = {"X": Rows(X), "labels": Rows(labels), "distances": Rows(distances, reads=False, writes=True)}
    run_rows(current(), n, rows=rows, constants={"centers": centers, "origin": origin}, launch=launch)
    return distances


def try_seeds(bounds, first_shard, n_shards, X, weights, shares, seeds, n_threads=1):
    """Add up the shares with each of some seeds."""
    return _seed_shares(bounds, first_shard, n_shards, X, weights, shares, seeds, keep=False)


def add_seed(bounds, first_shard, n_shards, X, weights, shares, seed, n_threads=1):
    """Bring the shares up to date; add them up."""
    return _seed_shares(bounds, first_shard, n_shards, X, weights, shares, seed, keep=True)


def _seed_shares(bounds, first_shard, n_shards, X, weights, shares, seeds, *, keep):
    dense(X)
    m, d = seeds.shape

    def launch(block):
        parts = ceil(block.most_rows, THREADS)
        block.launch(
            "kmeans",
            f"seed_shares_{suffix(seeds)}",
            (parts, block.n_shards),
            block["X"], block["weights"], block["shares"], block["seeds"], m, d, block["bounds"], parts,
            block["parts"], int(keep),
        )  # fmt: skip
        block.sum_parts("parts", THREADS, m, width=m, at=0)

    return run(
        current(),
        bounds,
        first_shard,
        n_shards,
        rows={"X": Rows(X), "weights": Rows(weights), "shares": Rows(shares, writes=keep)},
        constants={"seeds": seeds},
        width=m,
        scratch=lambda lengths: {"parts": 8 * len(lengths) * ceil(int(lengths.max()), THREADS) * m},
        launch=launch,
    )
