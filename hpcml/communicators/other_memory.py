"""Rows written straight into the memory of a worker, which is a child of this process.

Pages of anonymous memory may be huge, those of shared memory mostly are not: to write these takes twice as
long, and kernels that are bound by memory are up to a tenth slower on them. Linux lets a process write to its
children (``process_vm_writev``); other systems, and containers that forbid it, share memory instead.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["room_for", "write"]

#: Every array begins at a multiple of this, a cache line.
_ALIGNMENT = 64

#: An interrupt comes through between two writes of so many bytes.
_WRITTEN_AT_ONCE = 1 << 26


class _Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@functools.cache
def _write_function() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    try:
        function = ctypes.CDLL(None).process_vm_writev
    except (OSError, AttributeError):  # another library of C
        return None
    pieces = (ctypes.POINTER(_Piece), ctypes.c_ulong)
    function.argtypes = (ctypes.c_int, *pieces, *pieces, ctypes.c_ulong)
    function.restype = ctypes.c_ssize_t
    found: Callable[..., int] = function
    return found


def room_for(dtype: np.dtype, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array for another process to write to.

    Parameters
    ----------
    dtype : dtype
    shape : tuple of int

    Returns
    -------
    ndarray
        Not initialised.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.communicators.other_memory import room_for
    >>> room_for(np.dtype("f4"), (5, 3)).ctypes.data % 64
    0
    """
    n_bytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    whole = np.empty(n_bytes + _ALIGNMENT, dtype=np.uint8)
    start = -whole.__array_interface__["data"][0] % _ALIGNMENT
    return whole[start : start + n_bytes].view(dtype).reshape(shape)


def write(pid: int, address: int, array: NDArray[Any]) -> bool:
    """Copy an array to an address of another process.

    Parameters
    ----------
    pid : int
        A child of this process, or itself.
    address : int
        Of memory with room for it.
    array : C-contiguous ndarray

    Returns
    -------
    bool
        False if the system does not allow it, or the process is gone; some may have been written.

    Examples
    --------
    >>> import os
    >>> import numpy as np
    >>> from hpcml.communicators.other_memory import room_for, write
    >>> there = room_for(np.dtype("f8"), (3,))
    >>> if write(os.getpid(), there.ctypes.data, np.arange(3.0)):
    ...     assert there.tolist() == [0.0, 1.0, 2.0]
    """
    function = _write_function()
    if function is None:
        return False
    here, done = array.__array_interface__["data"][0], 0
    while done < array.nbytes:
        n = min(_WRITTEN_AT_ONCE, array.nbytes - done)
        own, theirs = _Piece(here + done, n), _Piece(address + done, n)
        written = function(pid, ctypes.byref(own), 1, ctypes.byref(theirs), 1, 0)
        if written <= 0:
            return False
        done += written
    return True
