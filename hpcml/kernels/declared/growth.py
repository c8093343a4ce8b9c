"""Growth of trees."""

from hpcml.kernels.nodes import MAX_CODES
from hpcml.kernels.terms import THREADS, Array, Kernel, Result, Scalar

_UPPER = Array("upper", "float32", ("d", MAX_CODES), "largest training value of every bin")
_LOWER = Array("lower", "float32", ("d", MAX_CODES), "smallest training value of every bin")
_N_BINS = Array("n_bins", "int32", ("d",), "number of bins of every feature, without that of missing values")

KERNELS = (
    Kernel(
        "grow",
        "grow",
        "growth",
        "Grow one tree for every seed, on the rows of a bootstrap or on all.",
        (
            Array("binned", "uint8", ("n", "d"), "bins of the training rows"),
            _LOWER,
            _UPPER,
            _N_BINS,
            Array("y", "float64", ("n",), "target; for classes their numbers from 0"),
            Array(
                "weights",
                "float64",
                ("m", "n"),
                "weights of the rows, tree t takes row t mod m; rows of weight 0 are left out; None: all 1",
                optional=True,
            ),
            Array(
                "cumulative_weights",
                "float64",
                ("n",),
                "running sum of the weights by which the bootstrap draws; None: all rows alike",
                optional=True,
            ),
            Array("seeds", "uint64", ("T",), "seed of every tree"),
            Scalar("n_draws", "int", "rows that the bootstrap draws for a tree; 0: no bootstrap", low=0),
            Scalar(
                "criterion",
                "str",
                "what a split improves",
                choices=("gini", "entropy", "log_loss", "squared_error"),
                keyword=True,
            ),
            Scalar("n_classes", "int", "number of classes; 0: regression", low=0, keyword=True),
            Scalar("max_features", "int", "features that a node looks at", low=1, keyword=True),
            Scalar("max_depth", "int", "deepest level of a leaf; the root is at 0", low=0, keyword=True),
            Scalar("min_samples_split", "int", "fewest rows of a node that splits", low=2, keyword=True),
            Scalar("min_samples_leaf", "int", "fewest rows of a leaf", low=1, keyword=True),
            Scalar("min_weight_leaf", "float", "least weight of a leaf", low=0, keyword=True),
            Scalar(
                "max_leaf_nodes", "int", "most leaves, grown best first; 0: depth first", low=0, keyword=True
            ),
            Scalar("min_impurity_decrease", "float", "least improvement of a split", low=0, keyword=True),
            Scalar(
                "target_bits",
                "int",
                "fewest bits a unit of weight for the fixed-point target",
                low=0,
                keyword=True,
            ),
            THREADS,
        ),
        (
            Result("nodes", "NODE_DTYPE", ("N",), "the nodes of all trees, tree after tree, the root first"),
            Result("values", "float64", ("N", "K"), "mean of the target, or share of every class"),
            Result("offsets", "int64", ("T+1",), "first node of every tree, then N"),
        ),
        {
            "numba": "growth is one C body for every instruction set; numba would be a second design of it",
        },
    ),
)
