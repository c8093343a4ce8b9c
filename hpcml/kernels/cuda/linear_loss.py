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
    return a_pass.gradients(bounds, first_shard, n_shards)


def linear_gradient_of_folds(
    bounds, first_shard, n_shards, X, y, weights, held, origin, W, positive, each, problems, loss, epsilon,
    n_threads=1,
):  # fmt: skip
    """Add up the same for the rows that each of several folds does not leave out; margins are made once."""
    a_pass = _Pass(
        X, y, weights, held, origin, W, positive, np.repeat(each, problems), None, problems, loss, epsilon,
        copies=len(each),
    )  # fmt: skip
    F, d, columns, K = len(each), a_pass.d, len(W), a_pass.K
    pieces, sums = a_pass.gradients(bounds, first_shard, n_shards)
    # the columns of a fold lie F * problems apart, and should lie together
    own = np.arange(columns) // problems * (F * problems) + np.arange(columns) % problems
    own = own + np.arange(F)[:, np.newaxis] * problems
    gradients = K + np.arange(d + 1)[:, np.newaxis] * K + own[:, np.newaxis]
    return pieces, sums[:, np.concatenate([own.ravel(), gradients.ravel()])]


def linear_hessian(
    bounds, first_shard, n_shards, X, y, weights, held, origin, W, positive, folds, factors, problems, loss,
    epsilon, n_threads=1,
):  # fmt: skip
    """Add up loss, gradient, and the Hessian of each column: X^T diag(l'') X."""
    a_pass = _Pass(X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon)

    def evaluate(block):
        a_pass.evaluate(block, curvatures=block["curvatures"], parts=block["losses"])

    return _hessians(a_pass, bounds, first_shard, n_shards, np.arange(a_pass.K), evaluate)


def multinomial_hessian(
    bounds, first_shard, n_shards, X, y, weights, held, origin, W, folds, factors, n_threads=1
):
    """Add up loss, gradient, and the Hessian: at classes k and l X^T diag(p_k ([k = l] - p_l)) X."""
    K = len(W)
    n_pairs = K * (K + 1) // 2
    a_pass = _Pass(
        X, y, weights, held, origin, W, None, folds, factors, 1, "multinomial", 0.0, n_curvatures=n_pairs
    )
    pair = np.zeros((K, K), dtype=np.int64)
    pair[np.triu_indices(K)] = np.arange(n_pairs)
    pair = np.maximum(pair, pair.T)

    def evaluate(block):
        a_pass.evaluate(block, parts=block["losses"])
        grid = ceil(block.n_rows, THREADS), 1
        a_pass.launch_losses(block, f"pairs_{a_pass.type}", grid, curvatures=block["curvatures"])

    return _hessians(a_pass, bounds, first_shard, n_shards, pair.ravel(), evaluate)


def _hessians(a_pass, bounds, first_shard, n_shards, columns, evaluate):
    """Add up loss, gradient and, for numbers of columns of the curvatures, X^T diag(column) X."""
    d, K, C = a_pass.d, a_pass.K, a_pass.n_curvatures
    at = K + (d + 1) * K
    width = at + len(columns) * (d + 1) ** 2
    p = C * (d + 1)
    i, j = np.indices((d + 1, d + 1))
    entries = (
        (columns[:, np.newaxis, np.newaxis] * (d + 1) + np.minimum(i, j)) * p + np.maximum(i, j)
    ).ravel()

    def launch(block):
        evaluate(block)
        a_pass.sum_losses(block, width)
        a_pass.gradient(block, block["z"], 0, width, K)
        tile, parts = SMALL_TILE if d < SMALL_TILE else 64, ceil(block.most_rows, ROWS_OF_PART)
        block.launch(
            "mixture",
            f"moments_{tile}_{a_pass.type}",
            (C * ceil(d + 1, tile) ** 2, parts, block.n_shards),
            block["X"], block["curvatures"], 1, block.n_rows, 0, block["center"], block["shifts"], d, C,
            block["bounds"], ROWS_OF_PART, parts, block["hessians"],
        )  # fmt: skip
        block.gather_products("hessians", ROWS_OF_PART, p, (0, d + 1), "entries", len(entries), width, at)

    X, origin = a_pass.X, a_pass.constants["origin"]
    center = np.zeros(d, dtype=X.dtype) if origin is None else origin.astype(X.dtype)
    more = {"center": center, "shifts": np.zeros((C, d), dtype=X.dtype), "entries": entries}
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
    """One pass over the rows; `copies` evaluates the same margins for several sets of problems."""

    def __init__(
        self, X, y, weights, held, origin, W, positive, folds, factors, problems, loss, epsilon, *, copies=1,
        n_curvatures=None,
    ):  # fmt: skip
        dense(X)
        self.X, self.d, self.type = X, X.shape[1], suffix(X)
        self.columns, self.K, self.copies = len(W), len(W) * copies, copies
        self.n_curvatures = self.K if n_curvatures is None else n_curvatures
        # margins are kept beside the slopes where they are read again
        self.margins = "z" if copies == 1 and n_curvatures is None else "margins"
        self.problems, self.loss = problems, LOSSES.index(loss)
        self.classes = 0 if factors is None else factors.shape[1]
        self.rows = {"X": Rows(X), "y": Rows(y), "weights": Rows(weights), "held": Rows(held)}
        self.constants = {
            "origin": origin, "W": W, "positive": positive, "folds": folds, "factors": factors,
            "epsilon": np.array([epsilon], dtype=np.float64),
        }  # fmt: skip

    def gradients(self, bounds, first_shard, n_shards):
        """Add up the losses of all columns, then their gradients."""
        width = self.K + (self.d + 1) * self.K

        def launch(block):
            self.evaluate(block, parts=block["losses"])
            self.sum_losses(block, width)
            self.gradient(block, block["z"], 0, width, self.K)

        return self.run(bounds, first_shard, n_shards, width, launch)

    def evaluate(self, block, *, curvatures=0, parts=0):
        """Put the slopes of all columns, times the weights, into z; fill curvatures and parts if given."""
        _margins(block, self.X, self.columns, block[self.margins], 1, block.n_rows)
        grid = ceil(block.most_rows, THREADS), block.n_shards
        self.launch_losses(block, f"losses_{self.type}", grid, curvatures=curvatures, parts=parts)

    def launch_losses(self, block, name, grid, *, curvatures, parts=0):
        block.launch(
            "linear_loss", name, grid,
            block[self.margins], self.problems, block["z"], curvatures, block.n_rows, self.K,
            self.problems * self.copies, block["y"], block["weights"], block["held"], block["folds"],
            block["factors"], self.classes, block["positive"], self.loss, block["epsilon"], block["bounds"],
            ceil(block.most_rows, THREADS), parts,
        )  # fmt: skip

    def sum_losses(self, block, width):
        block.sum_parts("losses", THREADS, self.K, width, at=0)

    def gradient(self, block, r, squared, width, at):
        d, K, parts = self.d, self.K, ceil(block.most_rows, ROWS_OF_PART)
        block.launch(
            "linear_loss", f"gradient_{self.type}",
            (ceil(d + 1, TILE) * ceil(K, TILE), parts, block.n_shards),
            block["X"], block["origin"], r, block.n_rows, d, K, squared, block["bounds"], ROWS_OF_PART, parts,
            block["parts"],
        )  # fmt: skip
        block.sum_parts("parts", ROWS_OF_PART, (d + 1) * K, width, at)

    def run(self, bounds, first_shard, n_shards, width, launch, *, hessians=False, **constants):
        size = (self.d + 1) * self.K

        def scratch(lengths):
            n, S, most = int(lengths.sum()), len(lengths), max(int(lengths.max()), 1)
            parts = S * ceil(most, ROWS_OF_PART)
            return {
                "z": self.X.itemsize * n * self.K,
                "margins": self.X.itemsize * n * self.columns if self.margins == "margins" else 0,
                "curvatures": self.X.itemsize * n * self.n_curvatures,
                "losses": 8 * S * ceil(most, THREADS) * self.K,
                "parts": 8 * parts * size,
                "hessians": 8 * parts * self.n_curvatures * (self.d + 1) ** 2 if hessians else 0,
            }

        return run(
            current(), bounds, first_shard, n_shards, rows=self.rows, width=width, launch=launch,
            constants={**self.constants, **constants}, scratch=scratch,
        )  # fmt: skip
