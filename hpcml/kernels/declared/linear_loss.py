"""Losses of linear models, their gradients and their curvature."""

from hpcml.kernels.terms import THREADS, Array, Kernel, Result, Scalar

#: "multinomial" couples its columns; the others are a problem of their own for every column.
LOSSES = ("logistic", "multinomial", "squared_hinge", "squared_epsilon_insensitive")

_ROWS = (
    Array("X", "floating", ("n", "d"), "the rows; margins are computed in their precision", sparse=True),
    Array("y", "float64", ("n",), "targets; numbers of the classes unless the loss is one of regression"),
    Array("weights", "float64", ("n",), "weights of the rows; None: all 1", optional=True),
)
_MODEL = (
    Array("W", "float64", ("K", "d+1"), "coefficients of every column, the last one its intercept"),
    Array("positive", "float64", ("K",), "class that is +1 in a column, all others are -1"),
)
_LOSS = (
    Scalar("loss", "str", "the loss of a row's margin", choices=LOSSES),
    Scalar("epsilon", "float", "half width in which squared_epsilon_insensitive is 0", low=0.0),
)
_VALUES = (
    Result("loss", "float64", ("K",), "sum of w loss; under multinomial, that of the rows of each class"),
    Result("gradient", "float64", ("K", "d+1"), "its derivative by W"),
)
_DECLINED = {"numba": "the NumPy version spends its time in BLAS"}

KERNELS = (
    Kernel(
        "linear_gradient",
        "reduce",
        "linear_loss",
        "Add up the loss of every row and its gradient.",
        (*_ROWS, *_MODEL, *_LOSS),
        _VALUES,
        _DECLINED,
    ),
    Kernel(
        "linear_hessian",
        "reduce",
        "linear_loss",
        "Add up loss, gradient and each column's Hessian; under multinomial, the blocks on the diagonal.",
        (*_ROWS, *_MODEL, *_LOSS),
        (*_VALUES, Result("hessian", "float64", ("K", "d+1", "d+1"), "its second derivative by W")),
        _DECLINED,
    ),
    Kernel(
        "multinomial_hessian",
        "reduce",
        "linear_loss",
        "Add up multinomial loss, gradient and the whole Hessian.",
        (*_ROWS, _MODEL[0]),
        (
            *_VALUES,
            Result("hessian", "float64", ("K", "K", "d+1", "d+1"), "by W[k] and W[l] at [k, l]"),
        ),
        _DECLINED,
    ),
    Kernel(
        "linear_diagonal",
        "reduce",
        "linear_loss",
        "Add up the diagonal of the Hessian.",
        (*_ROWS, *_MODEL, *_LOSS),
        (Result("diagonal", "float64", ("K", "d+1"), "second derivatives by every entry of W"),),
        _DECLINED,
    ),
    Kernel(
        "linear_margins",
        "rows",
        "linear_loss",
        "Compute the margins of rows: X W.",
        (
            Array(
                "X", "floating", ("n", "d"), "the rows; margins are computed in their precision", sparse=True
            ),
            _MODEL[0],
            THREADS,
        ),
        (Result("margins", "floating", ("n", "K"), "X W^T and the intercepts, in the precision of X"),),
        _DECLINED,
    ),
)
