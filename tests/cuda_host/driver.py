"""A device that is the CPU: kernels run in blocks of fibers, and streams as late as they may.

Nothing that is queued happens before somebody waits for it: what is overwritten or read too early shows.
"""

import collections
import contextlib
import ctypes

import numpy as np

from cuda_host import build
from hpcml.kernels.cuda.driver import Driver, OutOfDeviceMemory, using


class Stream:
    def __init__(self):
        self.queue = collections.deque()
        self.done = 0

    @property
    def end(self):
        return self.done + len(self.queue)

    def run_to(self, end):
        while self.done < end:
            work = self.queue.popleft()
            self.done += 1
            work()


class HostDriver(Driver):
    """A device with some memory; `backward` runs the threads of a block in descending order."""

    name = "the CPU in place of a GPU"

    def __init__(self, memory=1 << 32, backward=False):
        self.libraries = {name: ctypes.CDLL(str(path)) for name, path in build.libraries().items()}
        self.memory = memory
        self.backward = backward
        self.arrays = {}
        self.streams = []
        self.launched = collections.Counter()
        self.copied_in = 0
        self.sent = collections.Counter()  # copies to the device by their bytes
        self.brought = collections.Counter()  # and from it
        self.depth = 0
        self.settled = False

    @contextlib.contextmanager
    def active(self):
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def _check_active(self):
        assert self.depth > 0, "the device is not active"

    def free_memory(self):
        self._check_active()
        return self.memory - sum(array.nbytes for array in self.arrays.values())

    def allocate(self, n_bytes):
        if n_bytes > self.free_memory():
            raise OutOfDeviceMemory(f"{n_bytes} bytes of {self.free_memory()}")
        array = np.full(max(n_bytes, 1), 0xFF, dtype=np.uint8)  # NaN, -1
        self.arrays[array.ctypes.data] = array
        return array.ctypes.data

    def free(self, address):
        self._check_active()
        assert not any(stream.queue for stream in self.streams), "memory is given back that may be in use"
        self.arrays.pop(address).fill(0xEE)

    def staging(self, n_bytes):
        self._check_active()
        return np.empty(n_bytes, dtype=np.uint8)

    def stream(self):
        self._check_active()
        self.streams = [stream for stream in self.streams if stream.queue]
        self.streams.append(Stream())
        return self.streams[-1]

    def wait(self, stream):
        stream.run_to(stream.end)

    def settle(self):
        self._check_active()
        self.settled = True

    def mark(self, stream):
        return stream, stream.end

    def wait_for(self, mark):
        stream, end = mark
        stream.run_to(end)

    def copy_in(self, address, array, stream):
        self._check_active()
        self.copied_in += array.nbytes
        self.sent[array.nbytes] += 1
        stream.queue.append(lambda: ctypes.memmove(address, array.ctypes.data, array.nbytes))

    def copy_out(self, array, address, stream):
        self._check_active()
        self.brought[array.nbytes] += 1
        stream.queue.append(lambda: ctypes.memmove(array.ctypes.data, address, array.nbytes))

    def zero(self, address, n_bytes, stream):
        self._check_active()
        stream.queue.append(lambda: ctypes.memset(address, 0, n_bytes))

    def launch(self, source, name, grid, threads, arguments, stream, shared=0):
        self._check_active()
        entry = getattr(self.libraries[source], f"host_{name}")
        entry.restype = ctypes.c_char_p
        x, y, z = (*map(int, grid), 1, 1)[:3]
        dimensions = (ctypes.c_uint32 * 8)(x, y, z, threads, 1, 1, shared, self.backward)
        words = (ctypes.c_int64 * len(arguments))(*map(int, arguments))
        self.launched[name] += 1

        def run():
            message = entry(dimensions, words, ctypes.c_size_t(ctypes.sizeof(words)))
            if message is not None:
                raise RuntimeError(f"{name}: {message.decode()}")

        stream.queue.append(run)


@contextlib.contextmanager
def on_host(driver=None, **settings):
    """Give the kernels such a device inside a ``with`` block."""
    driver = driver or HostDriver(**settings)
    with using(driver):
        yield driver
