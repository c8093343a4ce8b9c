"""Quadratic models of an objective with an l1 penalty."""

from hpcml.kernels.terms import Array, Kernel, Result, Scalar

KERNELS = (
    Kernel(
        "descend_coordinates",
        "model",
        "quadratic",
        "Minimise g (u - w) + (u - w) H (u - w) / 2 + sum l1 |u| one coordinate after the other.",
        (
            Array("H", "float64", ("p", "p"), "positive definite"),
            Array("gradient", "float64", ("p",), "of the smooth part, at the start"),
            Array("start", "float64", ("p",), "where the descent starts"),
            Array("l1", "float64", ("p",), "strengths of the penalty"),
            Scalar("tol", "float", "it ends when no entry of the least subgradient is larger", low=0.0),
            Scalar("max_sweeps", "int", "most sweeps over the coordinates", low=0),
        ),
        (Result("found", "float64", ("p",), "where it ends"),),
        {
            "numba": "only problems with an l1 penalty and no C compiler need it",
            "cuda": "it holds no rows, and every coordinate waits for the one before",
        },
        aside=True,
    ),
)
