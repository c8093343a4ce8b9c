"""What a device must do for the kernels, and which one is used."""

from __future__ import annotations

import abc
import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml import parts
from hpcml.errors import KernelUnavailable

__all__ = ["Driver", "OutOfDeviceMemory", "current", "reason", "using"]


class OutOfDeviceMemory(MemoryError):
    """The device has not as much memory left."""


class Driver(abc.ABC):
    """A device: memory by address, launches in the order of streams.

    Addresses are integers; 0 stands for no array. Kernels take words of 8 bytes: addresses and whole numbers.
    """

    #: Name of the device, for messages.
    name: str

    @abc.abstractmethod
    def active(self) -> contextlib.AbstractContextManager[None]:
        """Make the device that of this thread inside a ``with`` block."""

    @abc.abstractmethod
    def free_memory(self) -> int:
        """Return the bytes that may still be allocated."""

    @abc.abstractmethod
    def allocate(self, n_bytes: int) -> int:
        """Return the address of new memory; raise OutOfDeviceMemory if there is none."""

    @abc.abstractmethod
    def free(self, address: int) -> None:
        """Give memory back."""

    @abc.abstractmethod
    def staging(self, n_bytes: int) -> NDArray[np.uint8]:
        """Return page-locked memory of the host."""

    @abc.abstractmethod
    def stream(self) -> Any:
        """Return a new stream."""

    @abc.abstractmethod
    def wait(self, stream: Any) -> None:
        """Wait until all work of a stream is done; raise if some of it failed."""

    @abc.abstractmethod
    def settle(self) -> None:
        """Wait until the device has nothing more to do, for other libraries neither."""

    @abc.abstractmethod
    def mark(self, stream: Any) -> Any:
        """Return an event that happens when the work that the stream has now is done."""

    @abc.abstractmethod
    def wait_for(self, mark: Any) -> None:
        """Wait for an event; raise if some of the work before it failed."""

    @abc.abstractmethod
    def copy_in(self, address: int, array: NDArray[Any], stream: Any) -> None:
        """Copy page-locked memory to the device; it must stay as it is until the copy is done."""

    @abc.abstractmethod
    def copy_out(self, array: NDArray[Any], address: int, stream: Any) -> None:
        """Copy from the device to page-locked memory, which may be read when the copy is done."""

    @abc.abstractmethod
    def zero(self, address: int, n_bytes: int, stream: Any) -> None:
        """Fill memory with zeros."""

    @abc.abstractmethod
    def launch(
        self,
        source: str,
        name: str,
        grid: tuple[int, ...],
        threads: int,
        arguments: Sequence[int],
        stream: Any,
        shared: int = 0,
    ) -> None:
        """Launch the kernel `name` of ``<source>.cu``; blocks have `threads` threads in a row."""


_replacement: Driver | None = None


@contextlib.contextmanager
def using(driver: Driver) -> Iterator[None]:
    """Use another device inside a ``with`` block, in all threads."""
    global _replacement
    before, _replacement = _replacement, driver
    try:
        yield
    finally:
        _replacement = before


@functools.cache
def _found(process: int) -> Driver | str:
    """Return the device of this process, or the reason why there is none."""
    missing = parts.check("cuda")
    if missing is not None:
        return missing
    from hpcml.kernels.cuda import compile, pycuda_driver

    found = pycuda_driver.find()
    if isinstance(found, str):
        return found
    return compile.reason(found.architecture) or found


def reason() -> str | None:
    """Return None if there is a device, else the reason why not."""
    found = _replacement or _found(os.getpid())  # a context does not survive a fork
    return found if isinstance(found, str) else None


def current() -> Driver:
    """Return the device; raise KernelUnavailable if there is none."""
    found = _replacement or _found(os.getpid())
    if isinstance(found, str):
        cure = "" if parts.check("cuda") is None else f"; to mend it: {parts.PARTS['cuda'].cure}"
        raise KernelUnavailable(f"No GPU can be used: {found}{cure}.")
    return found
