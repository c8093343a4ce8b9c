"""Row arrays whose latest values are on a device, until somebody asks for them on the host.

Kernels overwrite some row arrays in their place: labels, shares, multipliers. A table reads its row arrays in
one way, which calls `fetched` or `reclaimed` first, and runs its kernels under `lent`: a device then keeps
what it has written where its next kernel needs it.
"""

from __future__ import annotations

import contextlib
import contextvars
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["address", "at_home", "fetched", "is_lent", "leave", "lent", "reclaim_all", "reclaimed"]

_lent: contextvars.ContextVar[bool] = contextvars.ContextVar("row arrays are lent", default=False)


@dataclass
class _Copy:
    """What a device holds of an array; `newer`: the host has older values."""

    of: weakref.ref[NDArray[Any]]
    holder: object
    address: int
    fetch: Callable[[NDArray[Any]], None]
    drop: Callable[[], None]
    newer: bool = True


_copies: dict[int, _Copy] = {}  # by the id of the array


@contextlib.contextmanager
def lent(allowed: bool = True) -> Iterator[None]:
    """Let kernels inside a ``with`` block leave on a device what they write to row arrays, or not."""
    token = _lent.set(allowed)
    try:
        yield
    finally:
        _lent.reset(token)


def is_lent() -> bool:
    """Say whether a kernel may leave what it writes."""
    return _lent.get()


def leave(
    array: NDArray[Any],
    holder: object,
    address: int,
    fetch: Callable[[NDArray[Any]], None],
    drop: Callable[[], None],
) -> None:
    """Know that a device holds the latest values of an array.

    Parameters
    ----------
    array : ndarray
    holder : object
        The memory of a device.
    address : int
        Where they are in it.
    fetch : callable
        Copies them to the array that it is given.
    drop : callable
        Called when nobody needs them there any more.
    """
    key = id(array)
    known = _of(array)
    if known is not None and known.holder is holder and known.address == address:
        known.newer = True
        return

    def gone(ref: Any) -> None:
        found = _copies.get(key)
        if found is not None and found.of is ref:
            del _copies[key]
            drop()

    _copies[key] = _Copy(weakref.ref(array, gone), holder, address, fetch, drop)


def _of(array: Any) -> _Copy | None:
    found = _copies.get(id(array)) if _copies else None
    return found if found is not None and found.of() is array else None


def address(array: Any, holder: object) -> int | None:
    """Return where a device holds the latest values of an array, None where it does not."""
    found = _of(array)
    return found.address if found is not None and found.holder is holder else None


def fetched(array: Any) -> Any:
    """Return an array that is about to be read, with its latest values; a device keeps what it has."""
    found = _of(array)
    if found is not None and found.newer:
        found.fetch(array)
        found.newer = False
    return array


def reclaimed(array: Any) -> Any:
    """Return an array that may be written to, with its latest values; a device gives its copy up."""
    found = _of(array)
    if found is not None:
        fetched(array)
        del _copies[id(array)]
        found.drop()
    return array


def reclaim_all(holder: object) -> bool:
    """Take all that a device has left; return whether there was something."""
    held = [copy.of() for copy in list(_copies.values()) if copy.holder is holder]
    for array in held:
        if array is not None:
            reclaimed(array)
    return bool(held)


def at_home(values: Iterable[Any]) -> None:
    """Reclaim all arrays among some values."""
    if _copies:
        for value in values:
            if isinstance(value, np.ndarray):
                reclaimed(value)
