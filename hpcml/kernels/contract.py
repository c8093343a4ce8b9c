"""What every kernel takes and returns: shape, dtype, contiguity and IN/OUT of each argument, said once.

The page of the documentation, ``hpcml info`` and the checks of the tests are made from the tables in
``declared/``. Dimensions are letters: ``n`` rows, ``d`` features, ``T`` trees, ``N`` nodes of all trees,
``K`` values a node; the same letter means the same number in one call.
"""

import functools
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpcml.kernels.csr import CSR
from hpcml.kernels.declared import DECLARED
from hpcml.kernels.nodes import NODE_DTYPE
from hpcml.kernels.terms import KINDS, Array, Dimension, Kernel, Result, Scalar

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
    "statistic_shapes",
]

_DTYPES: dict[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "uint8": np.dtype(np.uint8),
    "uint64": np.dtype(np.uint64),
    "NODE_DTYPE": NODE_DTYPE,
}
_FLOATING = (np.dtype(np.float32), np.dtype(np.float64))
_TYPES: dict[str, type] = {"int": numbers.Integral, "float": numbers.Real, "str": str}

#: The kernels by name.
KERNELS: dict[str, Kernel] = {kernel.name: kernel for kernel in DECLARED}


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
    floating: dict[str, np.dtype] = {}
    for argument in kernel.call_arguments:
        if argument.name not in given:
            continue
        value, label = given[argument.name], f"{name}: {argument.name}"
        if isinstance(argument, Scalar):
            _check_scalar(label, value, argument)
        elif isinstance(value, CSR) and argument.sparse:
            _check_array(f"{label}.data", value.data, argument.dtype, ("nnz",), {}, floating)
            _check_array(f"{label}.indices", value.indices, "int32", ("nnz",), {}, floating)
            _check_array(f"{label}.indptr", value.indptr, "int64", ("n+1",), dimensions, floating)
            dimensions.setdefault("d", value.shape[1])
        elif not (value is None and argument.optional):
            _check_array(label, value, argument.dtype, argument.shape, dimensions, floating)
            if argument.inout and not value.flags.writeable:
                raise TypeError(f"{label} must be writeable.")
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
    results = KERNELS[name].call_results
    values = result if isinstance(result, tuple) else (result,)
    if len(values) != len(results):
        raise TypeError(f"{name} must return {len(results)} arrays. Got {len(values)} instead.")
    dimensions = dict(dimensions)
    for expected, value in zip(results, values, strict=True):
        _check_array(f"{name}: {expected.name}", value, expected.dtype, expected.shape, dimensions, {})


def statistic_shapes(name: str, arguments: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parts of a reduce kernel's statistic.

    Parameters
    ----------
    name : str
        Name of a kernel of the kind "reduce".
    arguments : mapping
        The arguments of a shard, by name.

    Returns
    -------
    dict of str to tuple of int
        In the order in which the parts lie in a row of ``statistics``.

    Examples
    --------
    >>> from hpcml.kernels import contract
    >>> import numpy as np
    >>> contract.statistic_shapes("moments", {"X": np.zeros((9, 3)), "centers": np.zeros(3)})["sums"]
    (3,)
    """
    parts, sources = _statistic(name)
    sizes = {letter: _size(where, arguments) for letter, where in sources}
    return {
        part: tuple(math.prod([sizes[factor] for factor in factors]) + more for factors, more in shape)
        for part, shape in parts
    }


@functools.cache
def _statistic(name: str) -> tuple[list[Any], list[Any]]:
    """Return how the shapes of a statistic follow from the arguments: it is asked for at every step of a fit.

    Parts come with the factors and the summand of every dimension, such as 3, "d", "d+1", "n_classes" or
    "k*d"; letters with the arguments that tell their size: name, axis (None for a number), and what it has
    beyond.
    """
    kernel = KERNELS[name]
    parts = [(part.name, [_factors(symbol) for symbol in part.shape]) for part in kernel.results]
    letters = dict.fromkeys(factor for _, shape in parts for factors, _ in shape for factor in factors)
    sources: dict[str, list[tuple[str, int | None, int]]] = {letter: [] for letter in letters}
    for argument in kernel.arguments:
        if isinstance(argument, Array):
            for axis, symbol in enumerate(argument.shape):
                letter, _, more = str(symbol).partition("+")
                if letter in sources and isinstance(symbol, str):
                    sources[letter].append((argument.name, axis, int(more or 0)))
        elif argument.type == "int" and argument.name in sources:
            sources[argument.name].append((argument.name, None, 0))
    return parts, list(sources.items())


def _factors(symbol: Dimension) -> tuple[tuple[str, ...], int]:
    if isinstance(symbol, int):
        return (), symbol - 1  # beside the empty product
    name, _, more = symbol.partition("+")
    return tuple(name.split("*")), int(more or 0)


def _size(where: list[tuple[str, int | None, int]], arguments: Mapping[str, Any]) -> int:
    """Return the size that the first argument which is there tells; an absent array has no entries."""
    for name, axis, beyond in where:
        value = arguments.get(name)
        if value is not None:
            return int(value) if axis is None else int(value.shape[axis]) - beyond
    return 0


def _bind(kernel: Kernel, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    positional = [a.name for a in kernel.call_arguments if not (isinstance(a, Scalar) and a.keyword)]
    if len(args) > len(positional):
        raise TypeError(
            f"{kernel.name} takes {len(positional)} positional arguments. Got {len(args)} instead."
        )
    given = dict(zip(positional, args, strict=False)) | kwargs
    names = [a.name for a in kernel.call_arguments]
    missing = [n for n in names if n not in given and n != "n_threads"]
    unknown = [n for n in given if n not in names]
    if missing or unknown or len(given) != len(args) + len(kwargs):
        raise TypeError(f"{kernel.name} takes {', '.join(names)}, each once. Got {', '.join(given)} instead.")
    return given


def _check_array(
    label: str,
    value: Any,
    dtype: str,
    shape: tuple[Dimension, ...],
    dimensions: dict[str, int],
    floating: dict[str, np.dtype],
) -> None:
    """Check one array; `dimensions` and `floating` keep what the arguments before it had."""
    wanted = f"{label} must be a C-contiguous {dtype} array of shape {_shape_text(shape)}."
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{wanted} Got {type(value).__name__} instead.")
    allowed = _FLOATING if dtype == "floating" else (_DTYPES[dtype],)
    if dtype == "floating" and value.dtype in allowed:
        allowed = (floating.setdefault("floating", value.dtype),)
    if value.dtype not in allowed:
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
        for a in kernel.call_arguments:
            if isinstance(a, Array):
                extra = " or None" if a.optional else ""
                extra += ", CSR allowed" if a.sparse else ""
                way = "INOUT" if a.inout else "IN"
                lines.append(
                    f"| `{a.name}` | {way} | {a.dtype}{extra} | `{_shape_text(a.shape)}` | {a.meaning} |"
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
