"""What is said to those who call a table with a wrong kernel, function, row array, or after its end."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.kernels import away, contract

__all__ = [
    "ClosedTable",
    "NoRowArray",
    "RowArrays",
    "check_kernel",
    "check_names",
    "check_same_parts",
    "parts_of_shard",
    "rows_of_shard",
]

#: The operations of a table, and the kind of kernels that each runs.
OPERATIONS = {"reduce": "map_reduce", "rows": "map_rows"}

# kinds of dtypes that are numbers: truth values, integers and floats; row arrays may be complex too
REAL, NUMBERS = "biuf", "biufc"


class ClosedTable(ValueError):
    """A table was used after it had been closed."""

    def __init__(self, message: str = "the table is closed: put the rows again.") -> None:
        super().__init__(message)


class NoRowArray(KeyError):
    """A name is none of a row array."""

    def __str__(self) -> str:  # that of KeyError stands in quotation marks
        return str(self.args[0])


class RowArrays(dict[str, Any]):
    """Row arrays by name; one that is not there is asked for in vain with a list of those that are.

    What is asked for by its name is on the host, and may be kept; `read` is for those who only look. `get`
    does not ask for what a device has written.
    """

    def __getitem__(self, name: str) -> Any:
        return away.reclaimed(super().__getitem__(name))

    def __missing__(self, name: object) -> Any:
        check_names([name], self)

    def read(self, name: str) -> Any:
        """Return a row array that is read at once."""
        return away.fetched(super().__getitem__(name))


def check_names(names: Iterable[object], arrays: Iterable[str]) -> None:
    """Raise if one of the names is no row array."""
    known = sorted(arrays)
    for name in names:
        if name not in known:
            there = ", ".join(known) or "it has none"
            raise NoRowArray(f"name must be a row array of the table: {there}. Got {name!r} instead.")


# -- kernels -----------------------------------------------------------------------------------------------


def check_kernel(kernel: Any, kind: str) -> None:
    """Raise unless it is a function, or the name of a kernel of the kind "reduce" or "rows"."""
    found = contract.KERNELS.get(kernel) if isinstance(kernel, str) else None
    if found is not None and found.kind == kind:
        return
    if isinstance(kernel, str):
        raise ValueError(_wrong_kernel(kernel, kind))
    if not callable(kernel):
        raise TypeError(
            f"{OPERATIONS[kind]}: kernel must be a function or the name of a kernel. "
            f"Got {type(kernel).__name__} instead."
        )


def _wrong_kernel(name: str, kind: str) -> str:
    wanted = f'{OPERATIONS[kind]}: kernel must be a function or the name of a kernel of the kind "{kind}"'
    known = contract.KERNELS.get(name)
    if known is not None:
        other = OPERATIONS.get(known.kind)
        hint = f"; use {other} for it" if other else ""
        return f'{wanted}. Got {name!r}, of the kind "{known.kind}", instead{hint}.'
    all_of_kind = [kernel.name for kernel in contract.KERNELS.values() if kernel.kind == kind]
    near = difflib.get_close_matches(name, all_of_kind, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(all_of_kind)}"
    return f"{wanted}. Got {name!r} instead; {hint}"


# -- what functions return ---------------------------------------------------------------------------------


def parts_of_shard(function: Callable[..., Any], found: Any) -> dict[str, NDArray[Any]]:
    """Return the parts that a function found for a shard as arrays; raise if they are none of numbers."""
    return _arrays("map_reduce", function, found, REAL, "numbers and arrays of numbers")


def rows_of_shard(function: Callable[..., Any], found: Any, n_rows: int) -> dict[str, NDArray[Any]]:
    """Return what a function found for the rows of a shard; raise unless each has an entry for every row."""
    arrays = _arrays("map_rows", function, found, NUMBERS, "arrays of numbers with one entry a row")
    for name, array in arrays.items():
        if array.shape[:1] != (n_rows,):
            raise ValueError(
                f"map_rows: {name!r} of {_name(function)} must have one entry for each of the {n_rows} rows "
                f"of a shard. Got shape {array.shape} instead."
            )
    return arrays


def _arrays(
    operation: str, function: Callable[..., Any], found: Any, kinds: str, what: str
) -> dict[str, NDArray[Any]]:
    if not isinstance(found, Mapping) or not found:
        got = "an empty dict" if isinstance(found, Mapping) else type(found).__name__
        raise TypeError(f"{operation}: {_name(function)} must return a dict of {what}. Got {got} instead.")
    arrays = {}
    for name, value in found.items():
        try:
            array = np.asarray(value)
        except ValueError:  # lists of several lengths
            array = np.empty(0, dtype=object)
        if array.dtype.kind not in kinds:
            got = f"an array of {array.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            raise TypeError(
                f"{operation}: {_name(function)} must return a dict of {what}. "
                f"Got {got} for {name!r} instead."
            )
        arrays[name] = array
    return arrays


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def check_same_parts(first: Mapping[str, tuple[int, ...]], other: Mapping[str, tuple[int, ...]]) -> None:
    """Raise unless two shards have the same parts, in the same order and with the same shapes."""
    if list(first) != list(other):
        raise ValueError(
            f"a function must return the same parts in the same order for every shard. "
            f"Got {', '.join(map(str, first))} for one and {', '.join(map(str, other))} for another."
        )
    for name, shape in first.items():
        if other[name] != shape:
            raise ValueError(
                f"the part {name!r} must have the same shape in every shard. "
                f"Got {shape} in one and {other[name]} in another."
            )
