"""Products of features with each other, with targets and with coefficients."""

from hpcml.kernels.terms import THREADS, Array, Kernel, Result, Scalar

_ROWS = Array("X", "floating", ("n", "d"), "the rows", sparse=True)
_WEIGHTS = Array("weights", "float64", ("n",), "weights of the rows; None: all 1", optional=True)
_CENTERS = Array("centers", "float64", ("d",), "what is subtracted from every row")

_BLAS = {"numba": "the NumPy version spends its time in BLAS"}

_TARGETS = (
    Array("y", "floating", ("n", "t"), "targets; None: there are none", optional=True),
    Array("y_centers", "float64", ("t",), "what is subtracted from every target", optional=True),
)
_SUMS = (
    Result("weight", "float64", (1,), "sum of w"),
    Result("sums", "float64", ("d",), "sum of w (x - c)"),
    Result("gram", "float64", ("d", "d"), "sum of w (x - c)(x - c)^T: on and above the diagonal"),
    Result("y_sums", "float64", ("t",), "sum of w (y - c_y)"),
    Result("y_squares", "float64", ("t",), "sum of w (y - c_y)^2"),
    Result("cross", "float64", ("d", "t"), "sum of w (x - c)(y - c_y)^T"),
)

KERNELS = (
    Kernel(
        "gram",
        "reduce",
        "gram",
        "Add up the products of the features of every row with each other and with targets, about centres.",
        (_ROWS, _WEIGHTS, _CENTERS, *_TARGETS),
        _SUMS,
        _BLAS,
    ),
    Kernel(
        "masked_gram",
        "reduce",
        "gram",
        "The same of the rows whose bits under a mask have a value; in float64 whatever the type of X.",
        (
            _ROWS,
            _WEIGHTS,
            Array("held", "int64", ("n",), "bits of every row"),
            Scalar("mask", "int", "the bits that are looked at", low=0),
            Scalar("value", "int", "what they must be", low=0),
            _CENTERS,
            *_TARGETS,
        ),
        _SUMS,
        _BLAS,
    ),
    Kernel(
        "gram_panel",
        "reduce",
        "gram",
        "Add up some columns of the products of features, where a statistic of all of them is too large.",
        (
            _ROWS,
            _WEIGHTS,
            _CENTERS,
            Scalar("first", "int", "the first column", low=0),
            Scalar("width", "int", "how many columns", low=1),
        ),
        (
            Result(
                "panel", "float64", ("d", "width"), "those columns of sum w (x - c)(x - c)^T, to its diagonal"
            ),
        ),
        _BLAS,
    ),
    Kernel(
        "projected_gram",
        "reduce",
        "gram",
        "Add up the products of the coordinates z = W^T (x - c) of every row with each other.",
        (_ROWS, _WEIGHTS, _CENTERS, Array("W", "float64", ("d", "k"), "the directions, in columns")),
        (Result("gram", "float64", ("k", "k"), "sum of w z z^T: on and above the diagonal"),),
        _BLAS,
    ),
    Kernel(
        "residual_products",
        "reduce",
        "gram",
        "Add up the products of the features of every row with its residuals r = W^T (x - c) + b - y.",
        (
            _ROWS,
            _WEIGHTS,
            _CENTERS,
            Array("y", "floating", ("n", "t"), "targets; None: zeros", optional=True),
            Array("W", "float64", ("d", "t"), "coefficients, a column a target"),
            Array("offsets", "float64", ("t",), "b"),
        ),
        (
            Result("products", "float64", ("d", "t"), "sum of w (x - c) r^T"),
            Result("sums", "float64", ("t",), "sum of w r"),
            Result("squares", "float64", ("t",), "sum of w r^2"),
        ),
        _BLAS,
    ),
    Kernel(
        "project",
        "rows",
        "gram",
        "Take every row to its coordinates W^T (x - c) + b.",
        (
            _ROWS,
            _CENTERS,
            Array("W", "float64", ("d", "k"), "the directions, in columns"),
            Array("offsets", "float64", ("k",), "b"),
            THREADS,
        ),
        (Result("coordinates", "floating", ("n", "k"), "the coordinates, in the type of X"),),
        _BLAS,
    ),
)
