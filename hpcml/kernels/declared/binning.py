"""Bins of feature values."""

from hpcml.kernels.nodes import MAX_CODES
from hpcml.kernels.terms import THREADS, Array, Kernel, Result, Scalar

_ROWS = Array("X", "float32", ("n", "d"), "the table; NaN is a missing value")
_UPPER = Array("upper", "float32", ("d", MAX_CODES), "largest training value of every bin")
_N_BINS = Array("n_bins", "int32", ("d",), "number of bins of every feature, without that of missing values")
_DECLINED = {"cuda": "rows are binned once a fit; the device would get four bytes a value in place of one"}

KERNELS = (
    Kernel(
        "find_bins",
        "columns",
        "binning",
        "Find for every feature at most `max_bins` bins of about equally many rows.",
        (
            _ROWS,
            Scalar("max_bins", "int", "most bins of a feature", low=2, high=MAX_CODES - 1),
            THREADS,
        ),
        (
            Result("lower", "float32", ("d", MAX_CODES), "smallest value of every bin; NaN beyond the last"),
            Result("upper", "float32", ("d", MAX_CODES), "largest value of every bin; NaN beyond the last"),
            Result("n_bins", "int32", ("d",), "number of bins; 0 for a feature without values"),
        ),
        _DECLINED,
        aside=True,
    ),
    Kernel(
        "apply_bins",
        "rows",
        "binning",
        "Replace every value by the number of its bin: that of the bins wholly below it; NaN by `n_bins`.",
        (_ROWS, _UPPER, _N_BINS, THREADS),
        (Result("binned", "uint8", ("n", "d"), "number of the bin of every value"),),
        _DECLINED,
        aside=True,
    ),
)
