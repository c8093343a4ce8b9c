"""Mixtures of normal densities: a step of EM, moments under given responsibilities, and what rows get."""

from hpcml.kernels.terms import THREADS, Array, Dimension, Kernel, Result, Scalar

_DECLINED = {"numba": "the NumPy version spends its time in BLAS and vectorised loops"}

_X = Array("X", "floating", ("n", "d"), "the rows")
_CENTER = Array("center", "floating", ("d",), "a point among the rows: it is subtracted from them first")
_SHIFTS = Array("shifts", "floating", ("k", "d"), "points about which moments are taken, less the center")


def _model(*factor: Dimension) -> tuple[Array, ...]:
    """Return the arguments that describe a mixture; `factor` is the shape of a component's factor."""
    return (
        _CENTER,
        Array("means", "floating", ("k", "d"), "means, less the center"),
        Array(
            "factors",
            "floating",
            ("k", *factor),
            "P with precision P P^T: upper triangular, or the diagonal",
        ),
        Array("log_weights", "floating", ("k",), "log of each density times its weight at its mean"),
    )


def _moments(*square: Dimension) -> tuple[Result, ...]:
    """Return the parts of the moments; `square` is the shape of a component's second ones."""
    return (
        Result("counts", "float64", ("k",), "sum of r"),
        Result("sums", "float64", ("k", "d"), "sum of r (x - c - s)"),
        Result(
            "squares",
            "float64",
            ("k", *square),
            "sum of r (x - c - s)(x - c - s)^T on and above its diagonal, 0 below; or the diagonal",
        ),
    )


def _kernels(suffix: str, text: str, *shape: Dimension) -> tuple[Kernel, ...]:
    return (
        Kernel(
            f"gaussian_step{suffix}",
            "reduce",
            "mixture",
            f"E and M statistics of one step of EM for {text}; a log-density is at least -1e30.",
            (_X, *_model(*shape), _SHIFTS),
            (
                Result("log_likelihood", "float64", (1,), "sum of the rows' log-densities"),
                *_moments(*shape),
            ),
            _DECLINED,
        ),
        Kernel(
            f"gaussian_steps{suffix}",
            "reduce",
            "mixture",
            f"As gaussian_step{suffix}, to the bit, for several mixtures in one pass over the rows; moments "
            "are about the means.",
            (
                _X,
                Array("first", "int64", ("S+1",), "first component of every mixture, then their number"),
                *_model(*shape),
            ),
            (
                Result("log_likelihood", "float64", ("S",), "of every mixture"),
                *_moments(*shape),
            ),
            _DECLINED,
        ),
        Kernel(
            f"gaussian_moments{suffix}",
            "reduce",
            "mixture",
            f"Moments under given responsibilities, or labels, for {text}.",
            (
                _X,
                Array("responsibilities", "floating", ("n", "k"), "r; None: 1 at the label", optional=True),
                Array("labels", "int32", ("n",), "components, -1 for none; or None", optional=True),
                _CENTER,
                _SHIFTS,
            ),
            _moments(*shape),
            _DECLINED,
        ),
        Kernel(
            f"gaussian_rows{suffix}",
            "rows",
            "mixture",
            f"Log-density, most probable component and responsibilities of rows for {text}.",
            (
                _X,
                *_model(*shape),
                Scalar("with_responsibilities", "int", "1 to return responsibilities", low=0, high=1),
                THREADS,
            ),
            (
                Result("log_densities", "floating", ("n",), "log-density of the mixture"),
                Result("labels", "int32", ("n",), "component of largest log-density, the first of equals"),
                Result("responsibilities", "floating", ("n", "K"), "r; without columns where not asked for"),
            ),
            _DECLINED,
        ),
    )


KERNELS = (
    *_kernels("", "components with a matrix each", "d", "d"),
    *_kernels("_diagonal", "components with a variance for every feature", "d"),
)
