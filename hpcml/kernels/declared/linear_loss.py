"""Losses of linear models, their gradients and their curvature."""

from hpcml.kernels.terms import THREADS, Array, Kernel, Result, Scalar

#: "multinomial" couples the columns of a problem; under the others every column is one.
LOSSES = ("logistic", "multinomial", "squared_hinge", "squared_epsilon_insensitive")

_X = Array("X", "floating", ("n", "d"), "the rows; margins are computed in their precision", sparse=True)
_ORIGIN = Array("origin", "float64", ("d",), "subtracted from dense rows, in their precision", optional=True)
_ROWS = (
    _X,
    Array("y", "float64", ("n",), "targets; numbers of the classes unless the loss is one of regression"),
    Array("weights", "float64", ("n",), "weights of the rows; None: all 1", optional=True),
    Array("held", "int64", ("n",), "set of the folds that leave a row out, a bit each", optional=True),
    _ORIGIN,
)
_W = Array("W", "float64", ("K", "d+1"), "coefficients of every column, the last one its intercept")
_PROBLEMS = (
    Array("folds", "int64", ("G",), "fold of a problem; None: all rows count in all problems", optional=True),
    Array("factors", "float64", ("G", "C"), "of the weights of the rows of each class", optional=True),
)
_POSITIVE = Array("positive", "float64", ("K",), "class that is +1 in a column, all others are -1")
_N_PROBLEMS = Scalar(
    "problems", "int", "how many; the first column of each, then the second of each and so on", low=1
)
_MODEL = (_W, _POSITIVE, *_PROBLEMS, _N_PROBLEMS)
_LOSS = (
    Scalar("loss", "str", "the loss of a row's margin", choices=LOSSES),
    Scalar("epsilon", "float", "half width in which squared_epsilon_insensitive is 0", low=0.0),
)
_VALUES = (
    Result("loss", "float64", ("K",), "sum of w loss; under multinomial, that of the rows of each class"),
    Result("gradient", "float64", ("d+1", "K"), "its derivative by W, transposed"),
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
        "linear_gradient_of_folds",
        "reduce",
        "linear_loss",
        "Add up the same for the rows that each of several folds does not leave out, of dense rows.",
        (
            Array("X", "floating", ("n", "d"), "the rows; margins are computed in their precision"),
            *_ROWS[1:3],
            Array("held", "int64", ("n",), "set of the folds that leave a row out, a bit each"),
            _ORIGIN,
            _W,
            _POSITIVE,
            Array("each", "int64", ("F",), "the folds"),
            _N_PROBLEMS,
            *_LOSS,
        ),
        (
            Result("loss", "float64", ("F", "K"), "as that of linear_gradient, for every fold"),
            Result("gradient", "float64", ("F", "d+1", "K"), "its derivative by W, transposed"),
        ),
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
        "Add up multinomial loss, gradient and the whole Hessian of one problem.",
        (*_ROWS, _W, *_PROBLEMS),
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
        (Result("diagonal", "float64", ("d+1", "K"), "second derivatives by every entry of W, transposed"),),
        _DECLINED,
    ),
    Kernel(
        "linear_margins",
        "rows",
        "linear_loss",
        "Compute the margins of rows: X W. Those of a column do not depend on the other columns, to the bit.",
        (_X, _ORIGIN, _W, THREADS),
        (
            Result(
                "margins", "floating", ("n", "K"), "(X - origin) W^T and intercepts, in the precision of X"
            ),
        ),
        _DECLINED,
    ),
)
