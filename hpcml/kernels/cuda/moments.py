"""First and second moments of features."""

from hpcml.kernels.cuda.blocks import Rows, ceil, run
from hpcml.kernels.cuda.driver import current
from hpcml.kernels.cuda.words import dense, suffix

#: Rows of a block; a shard has several parts.
ROWS_OF_PART = 4096
#: Columns of a block at most.
MOST_COLUMNS = 32


def moments(bounds, first_shard, n_shards, X, weights, centers, n_threads=1):
    """Add up w, w (x - c), w (x - c)^2 of every feature; NaN counts nowhere."""
    dense(X)
    d = X.shape[1]
    columns = min(MOST_COLUMNS, 1 << (d - 1).bit_length())

    def launch(block):
        parts = ceil(block.most_rows, ROWS_OF_PART)
        block.launch(
            "moments", f"feature_moments_{suffix(X)}", (ceil(d, columns), parts, block.n_shards),
            block["X"], d, block["weights"], block["centers"], block["bounds"], columns, ROWS_OF_PART, parts,
            block["parts"],
        )  # fmt: skip
        block.sum_parts("parts", ROWS_OF_PART, 3 * d, width=3 * d, at=0)

    return run(
        current(), bounds, first_shard, n_shards, rows={"X": Rows(X), "weights": Rows(weights)},
        constants={"centers": centers}, width=3 * d, launch=launch,
        scratch=lambda lengths: {
            "parts": 24 * d * len(lengths) * ceil(max(int(lengths.max()), 1), ROWS_OF_PART)
        },
    )  # fmt: skip
