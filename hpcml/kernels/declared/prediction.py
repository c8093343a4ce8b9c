"""Rows through trees."""

from hpcml.kernels.terms import THREADS, Array, Kernel, Result

_ROWS = Array("X", "float32", ("n", "d"), "the table; NaN is a missing value")
_NODES = Array("nodes", "NODE_DTYPE", ("N",), "the nodes of all trees, tree after tree")
_OFFSETS = Array("offsets", "int64", ("T+1",), "first node of every tree, then N")
KERNELS = (
    Kernel(
        "predict_leaves",
        "rows",
        "prediction",
        "Find the leaf of every row in every tree.",
        (_ROWS, _NODES, _OFFSETS, THREADS),
        (
            Result(
                "leaves", "int32", ("n", "T"), "number of the leaf, counted from the first node of its tree"
            ),
        ),
    ),
    Kernel(
        "predict_values",
        "rows",
        "prediction",
        "Add up the values of every row's leaves, in the order of the trees.",
        (
            _ROWS,
            _NODES,
            Array("values", "float64", ("N", "K"), "value of every node: mean, or share of every class"),
            _OFFSETS,
            THREADS,
        ),
        (Result("total", "float64", ("n", "K"), "sum over the trees"),),
    ),
)
