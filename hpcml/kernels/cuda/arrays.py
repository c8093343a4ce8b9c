"""Arrays of other libraries that live on the device: kernels read them there, the processor gets a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.kernels.cuda.driver import current
from hpcml.kernels.cuda.transfers import Lane, Residents

__all__ = ["on_host"]


def on_host(array: Any) -> Any:
    """Do as `hpcml.kernels.on_host` says, with an array that lives on the device."""
    interface = array.__cuda_array_interface__
    missing = sorted({"typestr", "shape", "data"} - set(interface))
    if missing:
        raise ValueError(
            f"__cuda_array_interface__ must have typestr, shape and data. It lacks {', '.join(missing)}."
        )
    if interface.get("mask") is not None:
        raise ValueError("An array on the device must have no mask. Got one with a mask instead.")
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    steps = interface.get("strides") or _contiguous(shape, dtype)
    driver = current()
    if 0 in shape:
        return np.empty(shape, dtype)
    if not interface["data"][0]:
        raise ValueError(
            f"An array on the device must have an address. Got 0 for one of shape {shape} instead."
        )
    # the bytes from the first to the last entry, wherever the array begins in them
    ends = [(n - 1) * step for n, step in zip(shape, steps, strict=True)]
    before, after = sum(min(end, 0) for end in ends), sum(max(end, 0) for end in ends)
    copy: NDArray[Any] = np.empty(after - before + dtype.itemsize, dtype=np.uint8)
    address = int(interface["data"][0]) + before
    with driver.active():
        driver.settle()  # other libraries' streams may still write to it
        Lane(driver).download(copy, address)
        found: NDArray[Any] = np.ndarray(shape, dtype, copy, -before, steps)
        found.flags.writeable = copy.flags.writeable = False
        Residents.of(driver).borrow(copy, address, array)
    return found


def _contiguous(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Return the steps of an array in C order."""
    steps, step = [], dtype.itemsize
    for n in reversed(shape):
        steps.append(step)
        step *= n
    return tuple(reversed(steps))
