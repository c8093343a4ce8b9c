"""What every kernel takes and returns: shape, dtype, contiguity and IN/OUT of each argument, said once.

The page of the documentation, ``hpcml info`` and the checks of the tests are made from these tables.
Dimensions are letters: ``n`` rows, ``d`` features, ``T`` trees, ``N`` nodes of all trees, ``K`` values a
node; the same letter means the same number in one call.
"""

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpcml.kernels.nodes import MAX_CODES, NODE_DTYPE

__all__ = [
    "KERNELS",
    "KINDS",
    "Array",
    "Kernel",
    "Result",
    "Scalar",
    "check_call",
    "check_result",
    "markdown",
]

#: Kinds of kernels, and what each hands back.
KINDS = {
    "reduce": "one statistic per shard, combined in a fixed binary tree",
    "rows": "one output per row",
    "grow": "whole trees, from local rows",
}

Dimension = int | str


@dataclass(frozen=True)
class Array:
    """An array argument; kernels read it (IN) and never write to it. `optional` allows None."""

    name: str
    dtype: str
    shape: tuple[Dimension, ...]
    meaning: str
    optional: bool = False


@dataclass(frozen=True)
class Scalar:
    """A number, a truth value or a word; `low` and `high` bound a number, `choices` lists words."""

    name: str
    type: str
    meaning: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    keyword: bool = False


@dataclass(frozen=True)
class Result:
    """An array that is returned."""

    name: str
    dtype: str
    shape: tuple[Dimension, ...]
    meaning: str


@dataclass(frozen=True)
class Kernel:
    """One kernel: its kind, the module that holds it in every implementation, arguments and results.

    `declined` maps an implementation that does without this kernel by design to the reason.
    """

    name: str
    kind: str
    module: str
    summary: str
    arguments: tuple[Array | Scalar, ...]
    results: tuple[Result, ...]
    declined: Mapping[str, str] = field(default_factory=dict)


_DTYPES: dict[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "uint8": np.dtype(np.uint8),
    "uint64": np.dtype(np.uint64),
    "NODE_DTYPE": NODE_DTYPE,
}
_TYPES: dict[str, type] = {"int": numbers.Integral, "float": numbers.Real, "str": str}

_ROWS = Array("X", "float32", ("n", "d"), "the table; NaN is a missing value")
_UPPER = Array("upper", "float32", ("d", MAX_CODES), "largest training value of every bin")
_LOWER = Array("lower", "float32", ("d", MAX_CODES), "smallest training value of every bin")
_N_BINS = Array("n_bins", "int32", ("d",), "number of bins of every feature, without that of missing values")
_NODES = Array("nodes", "NODE_DTYPE", ("N",), "the nodes of all trees, tree after tree")
_OFFSETS = Array("offsets", "int64", ("T+1",), "first node of every tree, then N")
_THREADS = Scalar("n_threads", "int", "threads to use; the result does not depend on it", low=1)

_DECLARED = (
    Kernel(
        "find_bins",
        "reduce",
        "binning",
        "Find for every feature at most `max_bins` bins of about equally many rows.",
        (
            _ROWS,
            Scalar("max_bins", "int", "most bins of a feature", low=2, high=MAX_CODES - 1),
            _THREADS,
        ),
        (
            Result("lower", "float32", ("d", MAX_CODES), "smallest value of every bin; NaN beyond the last"),
            Result("upper", "float32", ("d", MAX_CODES), "largest value of every bin; NaN beyond the last"),
            Result("n_bins", "int32", ("d",), "number of bins; 0 for a feature without values"),
        ),
    ),
    Kernel(
        "apply_bins",
        "rows",
        "binning",
        "Replace every value by the number of its bin: that of the bins wholly below it; NaN by `n_bins`.",
        (_ROWS, _UPPER, _N_BINS, _THREADS),
        (Result("binned", "uint8", ("n", "d"), "number of the bin of every value"),),
    ),
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
            _THREADS,
        ),
        (
            Result("nodes", "NODE_DTYPE", ("N",), "the nodes of all trees, tree after tree, the root first"),
            Result("values", "float64", ("N", "K"), "mean of the target, or share of every class"),
            Result("offsets", "int64", ("T+1",), "first node of every tree, then N"),
        ),
        {"numba": "growth is one C body for every instruction set; numba would be a second design of it"},
    ),
    Kernel(
        "predict_leaves",
        "rows",
        "prediction",
        "Find the leaf of every row in every tree.",
        (_ROWS, _NODES, _OFFSETS, _THREADS),
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
            _THREADS,
        ),
        (Result("total", "float64", ("n", "K"), "sum over the trees"),),
    ),
)

#: The kernels by name.
KERNELS: dict[str, Kernel] = {kernel.name: kernel for kernel in _DECLARED}


# -- checks ------------------------------------------------------------------------------------------------


def check_call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Check the arguments of a call against the contract; for tests and debugging, kernels themselves trust.

    Parameters
    ----------
    name : str
        Name of the kernel.
    args : sequence
        Positional arguments.
    kwargs : mapping, optional
        Keyword arguments.

    Returns
    -------
    dict of str to int
        The dimensions, such as ``{"n": 100, "d": 3}``.

    Raises
    ------
    TypeError
        If arguments are missing or too many, or have the wrong type, dtype or memory layout.
    ValueError
        If shapes do not fit together or a number is out of bounds.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.kernels import contract
    >>> contract.check_call("find_bins", (np.zeros((5, 2), dtype=np.float32), 255, 1))
    {'n': 5, 'd': 2}
    >>> contract.check_call("find_bins", (np.zeros((5, 2)), 255, 1))
    Traceback (most recent call last):
    TypeError: find_bins: X must be a C-contiguous float32 array of shape (n, d). Got dtype float64 instead.
    """
    kernel = KERNELS[name]
    given = _bind(kernel, args, dict(kwargs or {}))
    dimensions: dict[str, int] = {}
    for argument in kernel.arguments:
        if argument.name not in given:
            continue
        value = given[argument.name]
        if isinstance(argument, Array):
            if not (value is None and argument.optional):
                _check_array(f"{name}: {argument.name}", value, argument.dtype, argument.shape, dimensions)
        else:
            _check_scalar(f"{name}: {argument.name}", value, argument)
    return dimensions


def check_result(name: str, result: Any, dimensions: dict[str, int]) -> None:
    """Check what a kernel returned against the contract.

    Parameters
    ----------
    name : str
        Name of the kernel.
    result : array or tuple of arrays
        What it returned.
    dimensions : dict of str to int
        What `check_call` returned for the call.

    Raises
    ------
    TypeError, ValueError
        As `check_call`.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.kernels import contract
    >>> contract.check_result("apply_bins", np.zeros((5, 2), dtype=np.uint8), {"n": 5, "d": 2})
    """
    results = KERNELS[name].results
    values = result if isinstance(result, tuple) else (result,)
    if len(values) != len(results):
        raise TypeError(f"{name} must return {len(results)} arrays. Got {len(values)} instead.")
    dimensions = dict(dimensions)
    for expected, value in zip(results, values, strict=True):
        _check_array(f"{name}: {expected.name}", value, expected.dtype, expected.shape, dimensions)


def _bind(kernel: Kernel, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    positional = [a.name for a in kernel.arguments if not (isinstance(a, Scalar) and a.keyword)]
    if len(args) > len(positional):
        raise TypeError(
            f"{kernel.name} takes {len(positional)} positional arguments. Got {len(args)} instead."
        )
    given = dict(zip(positional, args, strict=False)) | kwargs
    names = [a.name for a in kernel.arguments]
    missing = [n for n in names if n not in given and n != "n_threads"]
    unknown = [n for n in given if n not in names]
    if missing or unknown or len(given) != len(args) + len(kwargs):
        raise TypeError(f"{kernel.name} takes {', '.join(names)}, each once. Got {', '.join(given)} instead.")
    return given


def _check_array(
    label: str, value: Any, dtype: str, shape: tuple[Dimension, ...], dimensions: dict[str, int]
) -> None:
    wanted = f"{label} must be a C-contiguous {dtype} array of shape {_shape_text(shape)}."
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{wanted} Got {type(value).__name__} instead.")
    if value.dtype != _DTYPES[dtype]:
        raise TypeError(f"{wanted} Got dtype {value.dtype} instead.")
    if not value.flags.c_contiguous or not value.flags.aligned:
        raise TypeError(f"{wanted} Got one that is not contiguous, with strides {value.strides}, instead.")
    fits = value.ndim == len(shape)
    for symbol, length in zip(shape, value.shape, strict=False):
        if isinstance(symbol, int):
            fits = fits and length == symbol
        else:
            letter, _, more = symbol.partition("+")
            size = length - int(more or 0)
            fits = fits and size >= 0 and dimensions.setdefault(letter, size) == size
    if not fits:
        known = ", ".join(f"{letter} = {size}" for letter, size in dimensions.items())
        raise ValueError(f"{wanted} Got shape {value.shape} instead, with {known or 'nothing known'}.")


def _check_scalar(label: str, value: Any, scalar: Scalar) -> None:
    if isinstance(value, bool) or not isinstance(value, _TYPES[scalar.type]):
        raise TypeError(f"{label} must be of type {scalar.type}. Got {value!r} instead.")
    if scalar.choices and value not in scalar.choices:
        raise ValueError(f"{label} must be one of {', '.join(scalar.choices)}. Got {value!r} instead.")
    number: Any = value
    low, high = scalar.low, scalar.high
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(f"{label} must be {_range_text(scalar)}. Got {value!r} instead.")


# -- documentation -----------------------------------------------------------------------------------------


def _shape_text(shape: tuple[Dimension, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def markdown() -> str:
    """Return the contract as Markdown: a section for each kernel with tables of arguments and results.

    Examples
    --------
    >>> from hpcml.kernels import contract
    >>> contract.markdown().splitlines()[0]
    '## `find_bins`'
    """
    lines = []
    for kernel in KERNELS.values():
        lines += [f"## `{kernel.name}`", "", kernel.summary, ""]
        lines += [f"Kind *{kernel.kind}* ({KINDS[kernel.kind]}), module `{kernel.module}`.", ""]
        lines += [f"No {name} version: {reason}.\n" for name, reason in kernel.declined.items()]
        lines += ["| argument | | type | shape or range | meaning |", "| --- | --- | --- | --- | --- |"]
        for a in kernel.arguments:
            if isinstance(a, Array):
                extra = " or None" if a.optional else ""
                lines.append(
                    f"| `{a.name}` | IN | {a.dtype}{extra} | `{_shape_text(a.shape)}` | {a.meaning} |"
                )
            else:
                lines.append(f"| `{a.name}` | IN | {a.type} | {_range_text(a)} | {a.meaning} |")
        lines += ["", "| result | | type | shape | meaning |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| `{r.name}` | OUT | {r.dtype} | `{_shape_text(r.shape)}` | {r.meaning} |"
            for r in kernel.results
        ]
        lines.append("")
    return "\n".join(lines)


def _range_text(scalar: Scalar) -> str:
    if scalar.choices:
        return ", ".join(f"`{choice}`" for choice in scalar.choices)
    if scalar.low is None:
        return "any"
    return f"at least {scalar.low:g}" if scalar.high is None else f"{scalar.low:g} to {scalar.high:g}"
