"""Pools of memory: what is given back is kept for the next allocation of about that size."""

import collections
import ctypes
import weakref

import numpy as np

from pycuda import driver


def _rounded(size):
    """Return the size of the bin: four binary digits after the first, the others 1, as PyCUDA has it."""
    rest = max(size.bit_length() - 5, 0)
    return size | ((1 << rest) - 1)


class _Block:
    def __init__(self, pool, size):
        self._pool, self._size, self._address = pool, size, pool._take(size)

    def __int__(self):
        return self._address

    def free(self):
        address, self._address = self._address, None
        self._pool._give(address, self._size)


class DeviceMemoryPool:
    def __init__(self):
        self._held, self._stopped = collections.defaultdict(list), False
        self.managed_bytes = self.active_bytes = 0

    def allocate(self, size):
        assert type(size) is int
        return _Block(self, size)

    def _take(self, size):
        own = _rounded(size)
        if not self._held[own]:
            try:
                address = driver._number("cuMemAlloc_v2", ctypes.c_size_t(own), kind=ctypes.c_uint64)
            except driver.MemoryError:
                self.free_held()
                address = driver._number("cuMemAlloc_v2", ctypes.c_size_t(own), kind=ctypes.c_uint64)
            self._held[own].append(address)
            self.managed_bytes += own
        self.active_bytes += size
        return self._held[own].pop()

    def _give(self, address, size):
        self.active_bytes -= size
        self._held[_rounded(size)].append(address)
        if self._stopped:
            self.free_held()

    def free_held(self):
        for size, addresses in self._held.items():
            while addresses:
                driver._call("cuMemFree_v2", ctypes.c_uint64(addresses.pop()))
                self.managed_bytes -= size

    def stop_holding(self):
        self._stopped = True
        self.free_held()


class PageLockedMemoryPool:
    def __init__(self):
        self._held = collections.defaultdict(list)

    def allocate(self, shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if not self._held[size]:
            self._held[size].append(
                driver._number("cuMemHostAlloc", ctypes.c_size_t(size), 0, kind=ctypes.c_void_p)
            )
        address = self._held[size].pop()
        memory = (ctypes.c_ubyte * size).from_address(address)
        weakref.finalize(memory, self._held[size].append, address)
        return np.frombuffer(memory, dtype).reshape(shape)

    def stop_holding(self):
        for addresses in self._held.values():
            while addresses:
                driver._call("cuMemFreeHost", ctypes.c_void_p(addresses.pop()))
