"""First and second moments of features, rows on the scale that they give, sums over each shard."""

from hpcml.kernels.terms import THREADS, Array, Kernel, Result, Scalar

_VECTORISED = {"numba": "the NumPy version spends its time in vectorised loops already"}

KERNELS = (
    Kernel(
        "moments",
        "reduce",
        "moments",
        "Add up every feature's values and their squares, about given centres; NaN counts nowhere.",
        (
            Array("X", "floating", ("n", "d"), "the rows", sparse=True),
            Array("weights", "float64", ("n",), "weights of the rows; None: all 1", optional=True),
            Array("centers", "float64", ("d",), "what is subtracted from every row"),
        ),
        (
            Result("counts", "float64", ("d",), "weight of the values that are not NaN"),
            Result("sums", "float64", ("d",), "sum of w (x - c)"),
            Result("squares", "float64", ("d",), "sum of w (x - c)^2"),
        ),
        _VECTORISED,
    ),
    Kernel(
        "shard_sums",
        "shards",
        "moments",
        "Add up a number of every row over each shard by itself.",
        (
            Array("values", "floating", ("n",), "numbers of the rows"),
            Array("bounds", "int64", ("s+1",), "first row of every shard, then the end"),
            THREADS,
        ),
        (Result("sums", "float64", ("s",), "sum over every shard"),),
        _VECTORISED | {"cuda": "a sum takes less time than the way of its numbers to the device"},
        aside=True,
    ),
    Kernel(
        "rescale",
        "rows",
        "moments",
        "Bring rows to standard scale, or back; NaN stays NaN.",
        (
            Array("X", "floating", ("n", "d"), "the rows"),
            Array("centers", "float64", ("d",), "c, rounded to the type of X"),
            Array("scales", "float64", ("d",), "s, rounded to the type of X"),
            Scalar("way", "str", "there: (x - c) / s; back: x s + c", choices=("there", "back")),
            THREADS,
        ),
        (Result("rescaled", "floating", ("n", "d"), "the rows on the other scale"),),
        _VECTORISED | {"cuda": "the pass takes less time than the way of its rows to the device and back"},
        aside=True,
    ),
)
