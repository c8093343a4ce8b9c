"""Copies between the host and the device through page-locked memory, and arrays that stay there."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.kernels import away
from hpcml.kernels.cuda.driver import Driver

__all__ = ["STAGED", "Lane", "Residents"]

#: Bytes that are staged at a time: long enough for the full speed of the bus.
STAGED = 16 * 1024**2


class Lane:
    """A stream, and two pieces of page-locked memory: one is filled or emptied while the other is copied.

    Parameters
    ----------
    driver : Driver
    staged : int, optional
        Bytes of a piece.
    """

    def __init__(self, driver: Driver, staged: int = STAGED) -> None:
        self.driver = driver
        self.stream = driver.stream()
        self._staged = staged
        self._pieces: list[NDArray[np.uint8]] = []
        self._marks: list[Any] = [None, None]
        self._turn = 0

    def _next(self, n_bytes: int) -> tuple[int, NDArray[np.uint8]]:
        """Return the number of a piece that no copy uses any more, and as much of it as is wanted."""
        if not self._pieces:
            self._pieces = [self.driver.staging(self._staged) for _ in self._marks]
        turn, self._turn = self._turn, 1 - self._turn
        if self._marks[turn] is not None:
            self.driver.wait_for(self._marks[turn])
            self._marks[turn] = None
        return turn, self._pieces[turn][:n_bytes]

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copy a contiguous array to the device; it may be changed as soon as this returns."""
        source = array.reshape(-1).view(np.uint8)
        for start in range(0, len(source), self._staged):
            some = source[start : start + self._staged]
            turn, piece = self._next(len(some))
            piece[:] = some
            self.driver.copy_in(address + start, piece, self.stream)
            self._marks[turn] = self.driver.mark(self.stream)

    def download(self, array: NDArray[Any], address: int) -> None:
        """Copy from the device to a contiguous array, when all earlier work of the stream is done."""
        target = array.reshape(-1).view(np.uint8)
        on_the_way: list[tuple[int, int, NDArray[np.uint8]]] = []

        def arrive() -> None:
            start, turn, piece = on_the_way.pop(0)
            self.driver.wait_for(self._marks[turn])
            self._marks[turn] = None
            target[start : start + len(piece)] = piece

        for start in range(0, len(target), self._staged):
            if len(on_the_way) == len(self._pieces) > 0:
                arrive()
            turn, piece = self._next(min(self._staged, len(target) - start))
            self.driver.copy_out(piece, address + start, self.stream)
            self._marks[turn] = self.driver.mark(self.stream)
            on_the_way.append((start, turn, piece))
        while on_the_way:
            arrive()

    def wait(self) -> None:
        """Wait until the device has done everything."""
        self.driver.wait(self.stream)


class Residents:
    """Arrays that stay on the device as long as they live on the host, because nobody can change them.

    Row arrays of a table are read-only, and live as long as the table: so rows go to the device once a fit.
    """

    _of: weakref.WeakKeyDictionary[Driver, Residents] = weakref.WeakKeyDictionary()

    def __init__(self, driver: Driver) -> None:
        self._driver = weakref.ref(driver)
        self._kept: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._dead: list[int] = []  # addresses whose array is gone: given back when the device is active
        # by the address of a copy on the host: its end, the address on the device, and who owns that
        self._borrowed: dict[int, tuple[int, int, Any]] = {}

    @classmethod
    def of(cls, driver: Driver) -> Residents:
        """Return those of a device."""
        return cls._of.setdefault(driver, cls(driver))

    def collect(self) -> None:
        """Give back the memory of arrays that are gone; the device must be active."""
        driver = self._driver()
        while self._dead and driver is not None:
            driver.free(self._dead.pop())

    def borrow(self, copy: NDArray[Any], address: int, owner: Any) -> None:
        """Know of a copy of an array of another library; the original's owner lives as long as the copy."""
        start = copy.ctypes.data
        self._borrowed[start] = start + copy.nbytes, address, owner
        weakref.finalize(copy, self._borrowed.pop, start, None)

    def borrowed(self, array: NDArray[Any]) -> int | None:
        """Return the address of the original if an array is a contiguous part of such a copy."""
        at = array.__array_interface__["data"][0] if self._borrowed else 0
        for start, (end, address, _) in list(self._borrowed.items()):  # copies may die meanwhile
            if start <= at and at + array.nbytes <= end and array.flags.c_contiguous:
                return int(address + at - start)
        return None

    def owns(self, array: NDArray[Any]) -> bool:
        """Say whether an array has been copied to memory of its own."""
        kept = self._kept.get(id(array))
        return kept is not None and kept[0]() is array

    def get(self, array: NDArray[Any]) -> int | None:
        """Return the address of an array if it is there."""
        return self._kept[id(array)][1] if self.owns(array) else self.borrowed(array)

    def put(self, array: NDArray[Any], lane: Lane) -> int:
        """Return the address of an array; it is copied unless it is there."""
        address = self.get(array)
        if address is None:
            address = lane.driver.allocate(array.nbytes)
            lane.upload(address, array)
            key = id(array)
            kept = self._kept

            def gone(_: Any, address: int = address) -> None:
                kept.pop(key, None)
                self._dead.append(address)

            self._kept[key] = weakref.ref(array, gone), address
        return address

    def leave(self, array: NDArray[Any], address: int) -> None:
        """Keep what kernels have written to an array of the host, until somebody asks for it there."""
        driver = self._driver()
        assert driver is not None

        def fetch(array: NDArray[Any]) -> None:
            with driver.active():
                Lane(driver).download(array, address)

        away.leave(array, self, address, fetch, functools.partial(self._dead.append, address))

    def evict(self, but: list[NDArray[Any]], *, left: bool = True) -> bool:
        """Give back the memory of all arrays but some, and of what was left; return whether there was any."""
        stay = {id(array) for array in but}
        others = [key for key in self._kept if key not in stay]
        for key in others:
            self._dead.append(self._kept.pop(key)[1])
        found = away.reclaim_all(self) if left else False
        self.collect()
        return found or bool(others)
