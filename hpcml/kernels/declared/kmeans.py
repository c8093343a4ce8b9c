"""Rows and the centers nearest to them."""

from hpcml.kernels.terms import THREADS, Array, Kernel, Result, Scalar

_NO_NUMBA = {"numba": "the NumPy version spends its time in matrix products of BLAS"}

_X = Array("X", "floating", ("n", "d"), "the rows", sparse=True)
_WEIGHTS = Array("weights", "float64", ("n",), "weights of the rows; None: all 1", optional=True)
_CENTERS = Array("centers", "floating", ("k", "d"), "the centers, less `origin`")
_ORIGIN = Array(
    "origin",
    "floating",
    ("d",),
    "what is subtracted from every row before it is compared; None: nothing, as it must be for sparse rows",
    optional=True,
)
_LABELS = Array("labels", "int32", ("n",), "number of the nearest center, ties to the lowest", inout=True)
_INERTIA = Scalar("with_inertia", "int", "whether the inertia is wanted; 0 otherwise", low=0, high=1)

_SUMS = Result("sums", "float64", ("k", "d"), "sum of w (x - origin) over the rows of every center")
_COUNTS = Result("counts", "float64", ("k",), "weight of the rows of every center")
_CHANGED = Result("changed", "float64", (1,), "rows whose label has changed")
_INERTIA_SUM = Result(
    "inertia", "float64", (1,), "sum of w |x - c|^2 to the nearest center, from the differences themselves"
)

KERNELS = (
    Kernel(
        "nearest_center",
        "rows",
        "kmeans",
        "Find the nearest center of every row: the largest (x - origin) c - |c|^2 / 2, ties to the lowest.",
        (_X, _CENTERS, _ORIGIN, THREADS),
        (
            Result("labels", "int32", ("n",), "number of the nearest center"),
            Result(
                "overflown",
                "int64",
                (1,),
                "rows whose largest score is not finite, as it is for every row with NaN or inf",
            ),
        ),
        _NO_NUMBA,
    ),
    Kernel(
        "assign_rows",
        "reduce",
        "kmeans",
        "Label every row with its nearest center, as nearest_center does, and add up the inertia.",
        (_X, _WEIGHTS, _LABELS, _CENTERS, _ORIGIN),
        (_CHANGED, _INERTIA_SUM, Result("members", "float64", ("k",), "number of the rows of every center")),
        _NO_NUMBA,
    ),
    Kernel(
        "lloyd_step",
        "reduce",
        "kmeans",
        "Label every row with its nearest center, and add up the rows of every center.",
        (_X, _WEIGHTS, _LABELS, _CENTERS, _ORIGIN, _INERTIA),
        (_SUMS, _COUNTS, _CHANGED, _INERTIA_SUM),
        _NO_NUMBA,
    ),
    Kernel(
        "lloyd_steps",
        "reduce",
        "kmeans",
        "As lloyd_step, to the bit, for several sets of centers in one pass over the rows.",
        (
            _X,
            _WEIGHTS,
            Array("labels", "int32", ("n", "M"), "labels of several sets, a column each", inout=True),
            Array("columns", "int64", ("S",), "column of each of the sets that take part, one at least"),
            Array("first", "int64", ("S+1",), "first center of every set, then the number of them all"),
            Array("centers", "floating", ("K", "d"), "the centers of one set after the other, less `origin`"),
            _ORIGIN,
        ),
        (
            Result("sums", "float64", ("K", "d"), "sum of w (x - origin) over the rows of every center"),
            Result("counts", "float64", ("K",), "weight of the rows of every center"),
            Result("changed", "float64", ("S",), "rows whose label has changed, of every set"),
        ),
        _NO_NUMBA,
    ),
    Kernel(
        "bounded_step",
        "reduce",
        "kmeans",
        "As lloyd_step, with bounds of distances that spare most rows the comparison with all centers.",
        (
            _X,
            _WEIGHTS,
            _LABELS,
            Array("upper", "floating", ("n",), "not below the distance to the labelled center", inout=True),
            Array("lower", "floating", ("n",), "not above the distance to any other center", inout=True),
            _CENTERS,
            _ORIGIN,
            Array("moved", "float64", ("k",), "how far every center has moved since the bounds held"),
            Array("others_moved", "float64", ("k",), "how far the others have moved at most"),
            Array("apart", "float64", ("k",), "half of the distance to the nearest other center"),
            Scalar("first", "int", "1: there are no labels and bounds yet", low=0, high=1),
            _INERTIA,
        ),
        (
            _SUMS,
            _COUNTS,
            _CHANGED,
            _INERTIA_SUM,
            Result("compared", "float64", (1,), "rows that were compared with all centers"),
        ),
        {
            **_NO_NUMBA,
            "cuda": "threads of a warp would wait for the few whose bounds are open; lloyd_step is faster",
        },
    ),
    Kernel(
        "center_distances",
        "rows",
        "kmeans",
        "Compute the distances of every row to all centers, from the differences themselves.",
        (_X, Array("centers", "floating", ("k", "d"), "the centers"), THREADS),
        (Result("distances", "floating", ("n", "k"), "Euclidean distances"),),
        _NO_NUMBA,
    ),
    Kernel(
        "label_distances",
        "rows",
        "kmeans",
        "Compute the squared distance of every row to the center of its label.",
        (
            _X,
            Array("labels", "int32", ("n",), "number of a center"),
            _CENTERS,
            _ORIGIN,
            THREADS,
        ),
        (Result("distances", "float64", ("n",), "squared distances"),),
        _NO_NUMBA,
    ),
    Kernel(
        "try_seeds",
        "reduce",
        "kmeans",
        "Compute what would be left of the squared distances to the nearest seed with one seed more.",
        (
            _X,
            _WEIGHTS,
            Array("shares", "floating", ("n",), "w |x - s|^2 to the nearest seed so far"),
            Array("seeds", "floating", ("m", "d"), "rows that may be the next seed"),
        ),
        (Result("potentials", "float64", ("m",), "sum of the shares with each of them"),),
        _NO_NUMBA,
    ),
    Kernel(
        "add_seed",
        "reduce",
        "kmeans",
        "Bring the squared distances to the nearest seed up to date with one seed more.",
        (
            _X,
            _WEIGHTS,
            Array("shares", "floating", ("n",), "w |x - s|^2 to the nearest seed; at first inf", inout=True),
            Array("seed", "floating", (1, "d"), "the new seed"),
        ),
        (Result("potential", "float64", (1,), "sum of the shares"),),
        _NO_NUMBA,
    ),
)
