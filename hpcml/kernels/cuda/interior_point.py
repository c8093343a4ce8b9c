"""Passes of the interior-point method for losses that are sums of hinges, of one model after the other."""

import numpy as np

from hpcml.kernels import away, overshoot
from hpcml.kernels.cuda.blocks import THREADS, Rows, ceil, run
from hpcml.kernels.cuda.driver import current
from hpcml.kernels.cuda.gram import ROWS_OF_PART, TILE, launch_projection
from hpcml.kernels.cuda.words import dense

#: Passes, and numbers that every one adds up, as in ext/cuda/interior_point.cu.
GRAM, CORRECT, STEP = range(3)
SCALARS = 4


def interior_gram(
    bounds, first_shard, n_shards, X, y, weights, alpha, lower, upper, vectors, loss, positive, epsilon,
    price, other_price, barrier, step, n_threads=1,
):  # fmt: skip
    """Take a step; add up D x x^T, s alpha x, s D t x, alpha u + z v, hinges, c max(0, t), o alpha."""
    p = X.shape[1] + 1
    numbers = [positive, epsilon, price, other_price, barrier, step]
    where = bounds, first_shard, n_shards
    sizes = [p * p, p, p, *SCALARS * [1]]
    return _of_models(_gram, GRAM, sizes, where, X, y, weights, (alpha, lower, upper), vectors, numbers)


def _gram(a_pass, where):
    p, X = a_pass.d + 1, a_pass.X
    width = p * p + 2 * p + SCALARS
    i, j = np.indices((p, p))
    entries = np.where(i <= j, i * p + j, -1).ravel()

    def launch(block):
        a_pass.evaluate(block)
        parts = ceil(block.most_rows, ROWS_OF_PART)
        name = "masked_products_float" if X.dtype == np.float32 else "products_double"
        block.launch(
            "gram", name, (ceil(p, TILE) ** 2, parts, block.n_shards),
            block["X"], 0, block["inner"], 0, 0, 0, 0, 0, a_pass.d, 0, 0, p, block["bounds"], ROWS_OF_PART,
            parts, block["products"],
        )  # fmt: skip
        block.gather_products("products", ROWS_OF_PART, p, (0, p), "entries", p * p, width, at=0)
        a_pass.pull(block, width, p * p)
        a_pass.sum_scalars(block, width, width - SCALARS)

    return a_pass.run(*where, width, launch, entries=entries)


def interior_correct(
    bounds, first_shard, n_shards, X, y, weights, alpha, lower, upper, vectors, loss, positive, epsilon,
    price, other_price, n_threads=1,
):  # fmt: skip
    """Add up s D (1/alpha - 1/z) x, -s D (da du/alpha + da dv/z) x, da du - da dv, and codes."""
    p, nothing = X.shape[1] + 1, np.zeros(len(price))
    numbers = [positive, epsilon, price, other_price, nothing, nothing]
    where = bounds, first_shard, n_shards
    sizes = [p, p, 1, overshoot.N_CODES]
    return _of_models(_correct, CORRECT, sizes, where, X, y, weights, (alpha, lower, upper), vectors, numbers)


def _correct(a_pass, where):
    pulls = 2 * (a_pass.d + 1)
    width = pulls + 1 + overshoot.N_CODES

    def launch(block):
        a_pass.evaluate(block)
        a_pass.pull(block, width, 0)
        # the codes lie where the scalars but for the first one would
        a_pass.sum_scalars(block, width, pulls)
        a_pass.count(block, width, pulls + 1)

    return a_pass.run(*where, width, launch)


def interior_step(
    bounds, first_shard, n_shards, X, y, weights, alpha, lower, upper, vectors, loss, positive, epsilon,
    price, other_price, barrier, n_threads=1,
):  # fmt: skip
    """Count the shards by the code of the largest ratio -dx/x of the corrected direction."""
    numbers = [positive, epsilon, price, other_price, barrier, np.zeros(len(price))]
    where = bounds, first_shard, n_shards
    sizes = [overshoot.N_CODES]
    return _of_models(_step, STEP, sizes, where, X, y, weights, (alpha, lower, upper), vectors, numbers)


def _step(a_pass, where):
    def launch(block):
        a_pass.evaluate(block)
        a_pass.count(block, overshoot.N_CODES, 0)

    return a_pass.run(*where, overshoot.N_CODES, launch)


def _of_models(launched, which, sizes, where, X, y, weights, states, vectors, numbers):
    """Return the pieces, and part after part of their statistics, in each of them model after model."""
    n_models = vectors.shape[1]
    if n_models > 1:
        away.at_home(states)  # they are cut to models here
    J = states[0].shape[1] // n_models
    found = []
    for m in range(n_models):
        at = slice(m * J, (m + 1) * J)
        own = states if n_models == 1 else [np.ascontiguousarray(state[:, at]) for state in states]
        own_numbers = [number if np.ndim(number) == 0 else number[m] for number in numbers]
        a_pass = _Pass(which, X, y, weights, *own, np.ascontiguousarray(vectors[:, m]), own_numbers)
        with away.lent(away.is_lent() and n_models == 1):
            pieces, sums = launched(a_pass, where)
        found.append(np.split(sums, np.cumsum(sizes)[:-1], axis=1))
        if which == GRAM and n_models > 1:
            for state, moved in zip(states, own, strict=True):
                state[:, at] = moved
    return pieces, np.concatenate([part for of_all in zip(*found, strict=True) for part in of_all], axis=1)


class _Pass:
    """One pass over the rows: margins, then the hinges of each, then sums over the rows."""

    def __init__(self, which, X, y, weights, alpha, lower, upper, vectors, numbers):
        dense(X)
        self.which, self.X, self.d, self.k = which, X, X.shape[1], len(vectors)
        self.hinges = alpha.shape[1]
        state = {"alpha": alpha, "lower": lower, "upper": upper}
        self.rows = {"X": Rows(X), "y": Rows(y), "weights": Rows(weights)}
        self.rows |= {name: Rows(value, writes=which == GRAM) for name, value in state.items()}
        # columns d and d + 1 of the product of (x, pulls, 1) with itself
        p, x, one = self.d + 3, np.arange(self.d), self.d + 2
        pulls = [np.append(x, one) * p + self.d + i for i in range(2)]
        self.constants = {
            "centers": np.zeros(self.d), "W": np.ascontiguousarray(vectors[:, :-1].T),
            "offsets": np.ascontiguousarray(vectors[:, -1]), "numbers": np.array(numbers, dtype=np.float64),
            "pulls": np.concatenate(pulls), "least": np.array([overshoot.LOWEST_OVERSHOOT]),
        }  # fmt: skip

    def evaluate(self, block):
        """Take the step, if the pass does, and put what every row says beside it."""
        launch_projection(block, self.X, self.k, exact=block["margins"])
        parts = ceil(block.most_rows, THREADS)
        block.launch(
            "interior_point", "pass_over_hinges", (parts, block.n_shards),
            block["margins"], self.k, block["y"], block["weights"], block["alpha"], block["lower"],
            block["upper"], self.hinges, block["numbers"], self.which, block["inner"], block["pulled"],
            block["bounds"], parts, block["scalars"], block["ratios"],
        )  # fmt: skip

    def pull(self, block, width, at):
        """Add up what rows pull at the coefficients with, times (x, 1)."""
        d, parts = self.d, ceil(block.most_rows, ROWS_OF_PART)
        name = "residuals_float" if self.X.dtype == np.float32 else "products_double"
        block.launch(
            "gram", name, (ceil(d + 3, TILE), parts, block.n_shards),
            block["X"], block["pulled"], 0, 0, 0, 0, 0, 0, d, 2, d, 2, block["bounds"], ROWS_OF_PART, parts,
            block["pull_parts"],
        )  # fmt: skip
        block.gather_products("pull_parts", ROWS_OF_PART, d + 3, (d, 2), "pulls", 2 * (d + 1), width, at)

    def sum_scalars(self, block, width, at):
        block.sum_parts("scalars", THREADS, SCALARS, width, at)

    def count(self, block, width, at):
        block.launch(
            "interior_point", "count_overshoots", (ceil(overshoot.N_CODES, THREADS), block.n_shards),
            block["ratios"], block["bounds"], ceil(block.most_rows, THREADS), overshoot.N_CODES,
            overshoot.SHIFT, overshoot.LOWEST_CODE, block["least"], block.statistics, width, at,
        )  # fmt: skip

    def run(self, bounds, first_shard, n_shards, width, launch, **constants):
        p = self.d + 1

        def scratch(lengths):
            n, S, most = int(lengths.sum()), len(lengths), max(int(lengths.max()), 1)
            blocks, parts = S * ceil(most, THREADS), S * ceil(most, ROWS_OF_PART)
            return {
                "margins": 8 * n * self.k,
                "inner": 8 * n if self.which == GRAM else 0,
                "pulled": 16 * n if self.which != STEP else 0,
                "scalars": 8 * SCALARS * blocks,
                "ratios": 8 * blocks,
                "products": 8 * parts * p * p if self.which == GRAM else 0,
                "pull_parts": 16 * parts * (p + 2) if self.which != STEP else 0,
            }

        return run(
            current(), bounds, first_shard, n_shards, rows=self.rows, width=width, launch=launch,
            constants={**self.constants, **constants}, scratch=scratch,
        )  # fmt: skip
