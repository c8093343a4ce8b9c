"""Products of features with each other, with targets and with coefficients."""

import numpy as np

from hpcml.kernels.cuda.blocks import Rows, ceil, run, run_rows
from hpcml.kernels.cuda.driver import current
from hpcml.kernels.cuda.words import dense, suffix
from hpcml.kernels.shards import TreeSum

TILE = 64
#: Rows of a block of `products`; a shard has several parts.
ROWS_OF_PART = 8192


def gram(bounds, first_shard, n_shards, X, weights, centers, y, y_centers, n_threads=1):
    """Add up w, w (x - c), w (x - c)(x - c)^T, w (y - c_y), w (y - c_y)^2, w (x - c)(y - c_y)^T."""
    dense(X)
    sums = _Sums(X, weights, centers, y, y_centers)
    return sums.run(bounds, first_shard, n_shards, f"products_{suffix(X)}", sums.entries_of_gram())


def masked_gram(
    bounds, first_shard, n_shards, X, weights, held, mask, value, centers, y, y_centers, n_threads=1
):
    """Add up the sums of `gram` over the rows whose bits under the mask are the value, in float64."""
    dense(X)
    sums = _Sums(X, weights, centers, y, y_centers, held=held, mask=mask, value=value)
    name = "masked_products_float" if X.dtype == np.float32 else "products_double"
    return sums.run(bounds, first_shard, n_shards, name, sums.entries_of_gram())


def gram_panel(bounds, first_shard, n_shards, X, weights, centers, first, width, n_threads=1):
    """Add up columns from `first` on of w (x - c)(x - c)^T, zeros below its diagonal."""
    dense(X)
    sums = _Sums(X, weights, centers, first=first, width=width)
    i, j = np.indices((X.shape[1], width))
    entries = np.where(i <= first + j, i * sums.p + first + j, -1)
    return sums.run(bounds, first_shard, n_shards, f"products_{suffix(X)}", entries.ravel())


def projected_gram(bounds, first_shard, n_shards, X, weights, centers, W, n_threads=1):
    """Add up w z z^T with z = W^T (x - c)."""
    dense(X)
    k = W.shape[1]
    if k == 0:
        tree = TreeSum(n_shards)
        for i in range(len(bounds) - 1):
            tree.add(first_shard + i, first_shard + i + 1, np.empty(0))
        return tree.pieces()
    sums = _Sums(X, weights, centers, d=k, W=W)
    i, j = np.indices((k, k))
    entries = np.where(i <= j, i * sums.p + j, -1)
    return sums.run(bounds, first_shard, n_shards, "products_double", entries.ravel())


def residual_products(bounds, first_shard, n_shards, X, weights, centers, y, W, offsets, n_threads=1):
    """Add up w (x - c) r^T, w r, w r^2 with r = W^T (x - c) + b - y."""
    dense(X)
    d, t = W.shape
    sums = _Sums(X, weights, centers, y, t=t, W=W, offsets=offsets, first=d, width=t + 1)
    i, j = np.indices((d, t))
    own = d + np.arange(t)
    entries = [(i * sums.p + d + j).ravel(), own * sums.p + d + t, own * sums.p + own]
    name = "residuals_float" if X.dtype == np.float32 else "products_double"
    return sums.run(bounds, first_shard, n_shards, name, np.concatenate(entries))


def project(X, centers, W, offsets, n_threads=1):
    """Return W^T (x - c) + b of every row."""
    dense(X)
    n, k = len(X), W.shape[1]
    found = np.empty((n, k), dtype=X.dtype)
    if k == 0:
        return found

    def launch(block):
        launch_projection(block, X, k, rounded=block["found"])

    rows = {"X": Rows(X), "found": Rows(found, reads=False, writes=True)}
    constants = {"centers": centers, "W": W, "offsets": offsets}
    run_rows(current(), n, rows=rows, constants=constants, launch=launch)
    return found


def launch_projection(block, X, k, *, y=0, rounded=0, exact=0):
    """Put W^T (x - c) + b - y of every row where it is wanted: in the type of X, or as double."""
    block.launch(
        "gram", f"project_{suffix(X)}", (ceil(block.n_rows, TILE), ceil(k, TILE)),
        block["X"], block["centers"], block["W"], block["offsets"], y, block.n_rows, X.shape[1], k, rounded,
        exact,
    )  # fmt: skip


class _Sums:
    """Sums of products: of x about c with itself and y, or, with W, of the rows that W makes of x.

    These take the place of x where there are no targets `t`, else that of y.
    """

    def __init__(
        self, X, weights, centers, y=None, y_centers=None, *, held=None, mask=0, value=0, d=None, t=None,
        W=None, offsets=None, first=0, width=None,
    ):  # fmt: skip
        self.X, self.made = X, W is not None
        self.mask, self.value = mask, value
        self.d = X.shape[1] if d is None else d
        self.t = (0 if y is None else y.shape[1]) if t is None else t
        self.p = self.d + self.t + 1
        self.first, self.width = first, self.p if width is None else width
        self.rows = {"X": Rows(X), "weights": Rows(weights), "y": Rows(y), "held": Rows(held)}
        self.k = W.shape[1] if self.made else 0
        self.constants = {
            "centers": centers,
            "y_centers": y_centers,
            "W": W,
            "offsets": np.zeros(self.k) if offsets is None else offsets,
        }

    def entries_of_gram(self):
        """Return where the numbers of the statistic of `gram` are in the product."""
        d, t, p = self.d, self.t, self.p
        one, x, y = d + t, np.arange(d), d + np.arange(t)
        upper = np.where(x[:, np.newaxis] <= x, x[:, np.newaxis] * p + x, -1)
        cross = x[:, np.newaxis] * p + y
        parts = [[one * p + one], x * p + one, upper, y * p + one, y * p + y, cross]
        return np.concatenate([np.ravel(part) for part in parts])

    def run(self, bounds, first_shard, n_shards, name, entries):
        entries, m = np.ascontiguousarray(entries, dtype=np.int64), len(entries)

        def launch(block):
            x, y, centers, y_centers = block["X"], block["y"], block["centers"], block["y_centers"]
            if self.made:
                made = block["made"]
                launch_projection(block, self.X, self.k, y=y, exact=made)
                if self.t:
                    y, y_centers = made, 0
                else:
                    x, centers = made, 0
            parts = ceil(block.most_rows, ROWS_OF_PART)
            tiles = ceil(self.p, TILE) * ceil(self.width, TILE)
            block.launch(
                "gram", name, (tiles, parts, block.n_shards),
                x, y, block["weights"], block["held"], self.mask, self.value, centers, y_centers, self.d,
                self.t, self.first, self.width, block["bounds"], ROWS_OF_PART, parts, block["parts"],
            )  # fmt: skip
            columns = self.first, self.width
            block.gather_products("parts", ROWS_OF_PART, self.p, columns, "entries", m, width=m, at=0)

        def scratch(lengths):
            parts = len(lengths) * ceil(max(int(lengths.max()), 1), ROWS_OF_PART)
            return {"parts": 8 * parts * self.p * self.width, "made": 8 * int(lengths.sum()) * self.k}

        return run(
            current(), bounds, first_shard, n_shards, rows=self.rows, width=m, launch=launch, scratch=scratch,
            constants={**self.constants, "entries": entries},
        )  # fmt: skip
