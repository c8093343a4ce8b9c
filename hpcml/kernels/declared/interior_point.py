"""Passes of the interior-point method for losses that are sums of hinges."""

from hpcml.kernels.overshoot import N_CODES
from hpcml.kernels.terms import THREADS, Array, Kernel, Result, Scalar

#: A row has J hinges of each of M models: one under "hinge", two (above and below the tube) under
#: "epsilon_insensitive". The H = M J of a row lie together, model after model.
LOSSES = ("hinge", "epsilon_insensitive")

_ROWS = (
    Array("X", "floating", ("n", "d"), "the rows; all arithmetic is in double precision", sparse=True),
    Array("y", "float64", ("n",), "targets; numbers of the classes under hinge"),
    Array("weights", "float64", ("n",), "weights, 0 of rows that count nowhere; None: all 1", optional=True),
)
_WHAT = (
    Scalar("loss", "str", "the hinges of a row", choices=LOSSES),
    Array("positive", "float64", ("M",), "classes that are +1, all others are -1; used by hinge alone"),
    Scalar("epsilon", "float", "half width of the tube; used by epsilon_insensitive alone", low=0.0),
    Array("price", "float64", ("M",), "weights of the losses of rows, those of class +1 under hinge"),
    Array("other_price", "float64", ("M",), "weights of the losses of rows of class -1 under hinge"),
)
_BARRIER = Array("barrier", "float64", ("M",), "what products of variables and multipliers are to become")
_CODES = Result("overshoot", "float64", ("M", N_CODES), "shards by the code of their farthest overshoot")
_DECLINED = {"numba": "the NumPy version spends its time in BLAS and vectorised loops"}


def _state(inout: bool) -> tuple[Array, ...]:
    return (
        Array(
            "alpha", "float64", ("n", "H"), "dual variables, strictly between 0 and the price", inout=inout
        ),
        Array("lower", "float64", ("n", "H"), "multipliers of alpha >= 0", inout=inout),
        Array("upper", "float64", ("n", "H"), "multipliers of alpha <= price", inout=inout),
    )


def _vectors(count: int, meaning: str) -> Array:
    return Array(
        "vectors", "float64", (count, "M", "d+1"), f"{meaning}; the last entries are the intercepts'"
    )


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
            Result("alpha", "float64", ("n", "H"), "half the price"),
            Result("lower", "float64", ("n", "H"), "multipliers of alpha >= 0"),
            Result("upper", "float64", ("n", "H"), "multipliers of alpha <= price"),
        ),
        _DECLINED | {"cuda": "it is one pass over the targets alone, before those that the method repeats"},
        aside=True,
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
            Array("step", "float64", ("M",), "share of the direction that is taken"),
        ),
        (
            Result(
                "gram", "float64", ("M", "d+1", "d+1"), "sum of D x x^T; upper triangles alone are defined"
            ),
            Result("pull", "float64", ("M", "d+1"), "sum of alpha times the gradient of a margin"),
            Result("target", "float64", ("M", "d+1"), "sum of D t times the gradient of a margin"),
            Result("products", "float64", ("M",), "sum of the products of variables and multipliers"),
            Result("live", "float64", ("M",), "hinges whose price is above 0"),
            Result("primal", "float64", ("M",), "sum of price times hinge"),
            Result("dual", "float64", ("M",), "sum of the linear part of the dual objective"),
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
            Result("centering", "float64", ("M", "d+1"), "right-hand side for a unit of barrier"),
            Result("correction", "float64", ("M", "d+1"), "right-hand side for the products of directions"),
            Result("cross", "float64", ("M",), "sum of the products of directions"),
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
