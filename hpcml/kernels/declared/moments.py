"""First and second moments of features."""

from hpcml.kernels.terms import Array, Kernel, Result

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
        {"numba": "the NumPy version spends its time in vectorised loops already"},
    ),
)
