"""Losses of linear models: margins of rows, and the sums of losses, gradients and curvatures."""

import numpy as np

from hpcml.kernels.cuda.blocks import THREADS, Rows, ceil, run, run_rows
from hpcml.kernels.cuda.driver import current
from hpcml.kernels.cuda.words import dense, suffix
from hpcml.kernels.declared.linear_loss import LOSSES

TILE = 64
#: Rows of a block of gradients and Hessians; a shard has several parts.
ROWS_OF_PART = 8192
#: Up to as many features, and the intercept, the small tiles of Hessians are enough.
SMALL_TILE = 16


def linear_gradient(
    bounds, first_shard, n_shards, X, y, weights, held, origin, W, positive, folds, factors, problems, loss,
    epsilon, n_threads=1,
):  # fmt: skip
    """Add up the losses of each column, and their gradient."""
    a_pass = _Pass(X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon)
    K, size = a_pass.K, (a_pass.d + 1) * a_pass.K

    def launch(block):
        a_pass.evaluate(block, parts=block["losses"])
        a_pass.sum_losses(block, K + size)
        a_pass.gradient(block, block["z"], 0, K + size, K)

    return a_pass.run(bounds, first_shard, n_shards, K + size, launch)


def linear_hessian(
    bounds, first_shard, n_shards, X, y, weights, held, origin, W, positive, folds, factors, problems, loss,
    epsilon, n_threads=1,
):  # fmt: skip
    """Add up loss, gradient, and the Hessian of each column: X^T diag(l'') X."""
    a_pass = _Pass(X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon)
    d, K = a_pass.d, a_pass.K
    size = (d + 1) * K
    width = K + size + size * (d + 1)
    p = K * (d + 1)
    c, i, j = np.indices((K, d + 1, d + 1))
    entries = ((c * (d + 1) + np.minimum(i, j)) * p + np.maximum(i, j)).ravel()

    def launch(block):
        a_pass.evaluate(block, curvatures=block["curvatures"], parts=block["losses"])
        a_pass.sum_losses(block, width)
        a_pass.gradient(block, block["z"], 0, width, K)
        tile, parts = SMALL_TILE if d < SMALL_TILE else 64, ceil(block.most_rows, ROWS_OF_PART)
        block.launch(
            "mixture",
            f"moments_{tile}_{a_pass.type}",
            (K * ceil(d + 1, tile) ** 2, parts, block.n_shards),
            block["X"], block["curvatures"], 1, block.n_rows, 0, block["center"], block["shifts"], d, K,
            block["bounds"], ROWS_OF_PART, parts, block["hessians"],
        )  # fmt: skip
        block.launch(
            "gram",
            "gather_products",
            (ceil(len(entries), THREADS), block.n_shards),
            block["hessians"], block["bounds"], ROWS_OF_PART, parts, p, 0, d + 1, block["entries"],
            len(entries), block.statistics, width, K + size,
        )  # fmt: skip

    center = np.zeros(d, dtype=X.dtype) if origin is None else origin.astype(X.dtype)
    more = {"center": center, "shifts": np.zeros((K, d), dtype=X.dtype), "entries": entries}
    return a_pass.run(bounds, first_shard, n_shards, width, launch, hessians=True, **more)


def linear_diagonal(
    bounds, first_shard, n_shards, X, y, weights, held, origin, W, positive, folds, factors, problems, loss,
    epsilon, n_threads=1,
):  # fmt: skip
    """Add up the diagonal of the Hessian: l'' x_j^2."""
    a_pass = _Pass(X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon)
    size = (a_pass.d + 1) * a_pass.K

    def launch(block):
        a_pass.evaluate(block, curvatures=block["curvatures"])
        a_pass.gradient(block, block["curvatures"], 1, size, 0)

    return a_pass.run(bounds, first_shard, n_shards, size, launch)


def linear_margins(X, origin, W, n_threads=1):
    """Return (X - origin) W^T and the intercepts."""
    dense(X)
    n, K = len(X), len(W)
    found = np.empty((n, K), dtype=X.dtype)

    def launch(block):
        _margins(block, X, K, block["found"], K, 1)

    rows = {"X": Rows(X), "found": Rows(found, reads=False, writes=True)}
    run_rows(current(), n, rows=rows, constants={"origin": origin, "W": W}, launch=launch)
    return found


def _margins(block, X, K, z, row_stride, column_stride):
    block.launch(
        "linear_loss", f"margins_{suffix(X)}", (ceil(block.n_rows, TILE), ceil(K, TILE)),
        block["X"], block["origin"], block["W"], block.n_rows, X.shape[1], K, z, row_stride, column_stride,
    )  # fmt: skip


class _Pass:
    """One pass over the rows."""

    def __init__(
        self, X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon
    ):  # fmt: skip
        dense(X)
        self.X, self.d, self.K, self.type = X, X.shape[1], len(W), suffix(X)
        self.problems, self.loss = problems, LOSSES.index(loss)
        self.classes = 0 if factors is None else factors.shape[1]
        self.rows = {"X": Rows(X), "y": Rows(y), "weights": Rows(weights), "held": Rows(held)}
        self.constants = {
            "origin": origin, "W": W, "positive": positive, "folds": folds, "factors": factors,
            "epsilon": np.array([epsilon], dtype=np.float64),
        }  # fmt: skip

    def evaluate(self, block, *, curvatures=0, parts=0):
        """Put the slopes of all columns, times the weights, into z; fill curvatures and parts if given."""
        n = block.n_rows
        _margins(block, self.X, self.K, block["z"], 1, n)
        most_parts = ceil(block.most_rows, THREADS)
        block.launch(
            "linear_loss", f"losses_{self.type}", (most_parts, block.n_shards),
            block["z"], curvatures, n, self.K, self.problems, block["y"], block["weights"], block["held"],
            block["folds"], block["factors"], self.classes, block["positive"], self.loss, block["epsilon"],
            block["bounds"], most_parts, parts,
        )  # fmt: skip

    def sum_losses(self, block, width):
        block.launch(
            "sums", "sum_of_parts", (ceil(self.K, THREADS), block.n_shards),
            block["losses"], ceil(block.most_rows, THREADS), self.K, block["bounds"], THREADS,
            block.statistics, width, 0,
        )  # fmt: skip

    def gradient(self, block, r, squared, width, at):
        d, K, parts = self.d, self.K, ceil(block.most_rows, ROWS_OF_PART)
        block.launch(
            "linear_loss", f"gradient_{self.type}",
            (ceil(d + 1, TILE) * ceil(K, TILE), parts, block.n_shards),
            block["X"], block["origin"], r, block.n_rows, d, K, squared, block["bounds"], ROWS_OF_PART, parts,
            block["parts"],
        )  # fmt: skip
        block.launch(
            "sums", "sum_of_parts", (ceil((d + 1) * K, THREADS), block.n_shards),
            block["parts"], parts, (d + 1) * K, block["bounds"], ROWS_OF_PART, block.statistics, width, at,
        )  # fmt: skip

    def run(self, bounds, first_shard, n_shards, width, launch, *, hessians=False, **constants):
        size = (self.d + 1) * self.K

        def scratch(lengths):
            n, S, most = int(lengths.sum()), len(lengths), max(int(lengths.max()), 1)
            parts = S * ceil(most, ROWS_OF_PART)
            return {
                "z": self.X.itemsize * n * self.K,
                "curvatures": self.X.itemsize * n * self.K,
                "losses": 8 * S * ceil(most, THREADS) * self.K,
                "parts": 8 * parts * size,
                "hessians": 8 * parts * size * (self.d + 1) if hessians else 0,
            }

        return run(
            current(), bounds, first_shard, n_shards, rows=self.rows, width=width, launch=launch,
            constants={**self.constants, **constants}, scratch=scratch,
        )  # fmt: skip
