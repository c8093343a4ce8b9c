"""Arrays and launches of a call that keeps its own state on the device, given back when it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hpcml.kernels.cuda.blocks import THREADS
from hpcml.kernels.cuda.driver import Driver
from hpcml.kernels.cuda.transfers import Lane, Residents

__all__ = ["Session", "session"]


class Session:
    """The arrays and the stream of a call; see `session`.

    Parameters
    ----------
    driver : Driver
        A device that is active.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._lane = Lane(driver)
        self._rooms: dict[str, tuple[int, int]] = {}

    def room(self, name: str, n_bytes: int) -> int:
        """Return the address of memory of at least so many bytes; what the name had before is lost."""
        address, size = self._rooms.get(name, (0, -1))
        if n_bytes > size:
            self.free(name)
            address = self.driver.allocate(n_bytes)
            self._rooms[name] = address, n_bytes
        return address

    def put(self, name: str, array: NDArray[Any] | None) -> int:
        """Return the address of a copy of an array; 0 for None."""
        if array is None:
            return 0
        address = self.room(name, array.nbytes)
        self._lane.upload(address, np.ascontiguousarray(array))
        return address

    def keep(self, name: str, array: NDArray[Any] | None) -> int:
        """Return the address of an array, which stays on the device if nobody can change it."""
        if array is None or array.flags.writeable:
            return self.put(name, array)
        return Residents.of(self.driver).put(array, self._lane)

    def zeros(self, name: str, n_bytes: int) -> int:
        """Return the address of memory full of zeros."""
        address = self.room(name, n_bytes)
        self.driver.zero(address, n_bytes, self._lane.stream)
        return address

    def get(self, address: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of the device, when all work before is done."""
        found = np.empty(shape, dtype)
        self._lane.download(found, address)
        return found

    def launch(
        self,
        source: str,
        name: str,
        grid: Sequence[int],
        *arguments: int,
        shared: int = 0,
    ) -> None:
        """Launch a kernel after all work before."""
        self.driver.launch(source, name, tuple(grid), THREADS, arguments, self._lane.stream, shared)

    def wait(self) -> None:
        """Wait until the device has done everything."""
        self._lane.wait()

    def free(self, name: str) -> None:
        """Give the memory of a name back, when all work before is done."""
        if name in self._rooms:
            self._lane.wait()
            self.driver.free(self._rooms.pop(name)[0])

    def close(self) -> None:
        """Give all memory back, and the stream while the device is still active."""
        with contextlib.suppress(Exception):  # what failed has been raised before
            self._lane.wait()
        for address, _ in self._rooms.values():
            self.driver.free(address)
        self._rooms.clear()
        del self._lane


@contextlib.contextmanager
def session(driver: Driver) -> Iterator[Session]:
    """Give a session inside a ``with`` block, in which the device is active."""
    with driver.active():
        Residents.of(driver).collect()
        found = Session(driver)
        try:
            yield found
            found.wait()  # raises what a launch has failed with
        finally:
            found.close()
