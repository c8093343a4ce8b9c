"""Passes of the interior-point method for losses that are sums of hinges."""

from hpcml.kernels.overshoot import N_CODES
from hpcml.kernels.terms import THREADS, Array, Kernel, Result, Scalar

#: A row has J hinges: one under "hinge", two (above and below the tube) under "epsilon_insensitive".
LOSSES = ("hinge", "epsilon_insensitive")

_ROWS = (
    Array("X", "floating", ("n", "d"), "the rows; all arithmetic is in double precision", sparse=True),
    Array("y", "float64", ("n",), "targets; numbers of the classes under hinge"),
    Array("weights", "float64", ("n",), "weights of the rows; None: all 1", optional=True),
)
_WHAT = (
    Scalar("loss", "str", "the hinges of a row", choices=LOSSES),
    Scalar("positive", "float", "class that is +1, all others are -1; used by hinge alone"),
    Scalar("epsilon", "float", "half width of the tube; used by epsilon_insensitive alone", low=0.0),
    Scalar("price", "float", "weight of the loss of every row, that of class +1 under hinge", low=0.0),
    Scalar("other_price", "float", "weight of the loss of rows of class -1 under hinge", low=0.0),
)
_BARRIER = Scalar("barrier", "float", "what products of a variable and its multiplier are to become", low=0.0)
_CODES = Result("overshoot", "float64", (N_CODES,), "shards by the code of their farthest overshoot")
_DECLINED = {"numba": "the NumPy version spends its time in BLAS and vectorised loops"}


def _state(inout: bool) -> tuple[Array, ...]:
    return (
        Array(
            "alpha", "float64", ("n", "J"), "dual variables, strictly between 0 and the price", inout=inout
        ),
        Array("lower", "float64", ("n", "J"), "multipliers of alpha >= 0", inout=inout),
        Array("upper", "float64", ("n", "J"), "multipliers of alpha <= price", inout=inout),
    )


def _vectors(count: int, meaning: str) -> Array:
    return Array("vectors", "float64", (count, "d+1"), f"{meaning}; the last entry is the intercept's")


KERNELS = (
    Kernel(
        "interior_start",
        "rows",
        "interior_point",
        "Put every row's hinges where the method starts, in the middle between their bounds.",
        (
            *_ROWS[1:],
            *_WHAT,
            Scalar("least", "float", "least value of a multiplier", low=0.0),
            THREADS,
        ),
        (
            Result("alpha", "float64", ("n", "J"), "half the price"),
            Result("lower", "float64", ("n", "J"), "multipliers of alpha >= 0"),
            Result("upper", "float64", ("n", "J"), "multipliers of alpha <= price"),
        ),
        _DECLINED | {"cuda": "it is a pass over targets alone, whose results the host keeps"},
    ),
    Kernel(
        "interior_gram",
        "reduce",
        "interior_point",
        "Take a step, then add up the normal equations of the next one and both objectives.",
        (
            *_ROWS,
            *_state(inout=True),
            _vectors(3, "coefficients before the step, their predicted and their corrected direction"),
            *_WHAT,
            _BARRIER,
            Scalar("step", "float", "share of the direction that is taken", low=0.0, high=1.0),
        ),
        (
            Result("gram", "float64", ("d+1", "d+1"), "sum of D x x^T; the upper triangle alone is defined"),
            Result("pull", "float64", ("d+1",), "sum of alpha times the gradient of a margin"),
            Result("target", "float64", ("d+1",), "sum of D t times the gradient of a margin"),
            Result("products", "float64", (), "sum of the products of variables and multipliers"),
            Result("live", "float64", (), "hinges whose price is above 0"),
            Result("primal", "float64", (), "sum of price times hinge"),
            Result("dual", "float64", (), "sum of the linear part of the dual objective"),
        ),
        _DECLINED,
    ),
    Kernel(
        "interior_correct",
        "reduce",
        "interior_point",
        "Add up what the predicted direction says of the corrected one.",
        (*_ROWS, *_state(inout=False), _vectors(2, "coefficients and their predicted direction"), *_WHAT),
        (
            Result("centering", "float64", ("d+1",), "right-hand side for a unit of barrier"),
            Result("correction", "float64", ("d+1",), "right-hand side for the products of directions"),
            Result("cross", "float64", (), "sum of the products of directions"),
            _CODES,
        ),
        _DECLINED,
    ),
    Kernel(
        "interior_step",
        "reduce",
        "interior_point",
        "Find how far the corrected direction can be followed.",
        (
            *_ROWS,
            *_state(inout=False),
            _vectors(3, "coefficients, their predicted and their corrected direction"),
            *_WHAT,
            _BARRIER,
        ),
        (_CODES,),
        _DECLINED,
    ),
)
