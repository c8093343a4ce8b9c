"""A device through PyCUDA."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.kernels.cuda import compile
from hpcml.kernels.cuda.driver import Driver, OutOfDeviceMemory

try:
    import pycuda.driver as cuda
    import pycuda.tools
except ImportError:  # hpcml.parts says what is missing
    cuda = None

__all__ = ["PyCudaDriver", "find", "own_number"]


def find() -> PyCudaDriver | str:
    """Return the device of this process, or the reason why there is none.

    Processes of one machine that a launcher started take the devices in turn. ``CUDA_VISIBLE_DEVICES`` says
    which there are: the task of a Spark executor sees its own.
    """
    try:
        cuda.init()
        n_devices = cuda.Device.count()
    except cuda.Error as error:
        return (
            f"the NVIDIA driver does not start ({error}); it has to be installed, and to be that of the GPU"
        )
    if n_devices == 0:
        return "the NVIDIA driver finds no GPU; CUDA_VISIBLE_DEVICES may hide it"
    return PyCudaDriver(cuda.Device(own_number() % n_devices))


def own_number() -> int:
    """Return the number of this process among those that a launcher started on the machine."""
    names = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PMI_LOCAL_RANK", "SLURM_LOCALID")
    return int(next((os.environ[name] for name in names if os.environ.get(name, "").isdecimal()), "0"))


class PyCudaDriver(Driver):
    """One GPU, in its primary context, which other libraries of the process share.

    Parameters
    ----------
    device : pycuda.driver.Device
    """

    def __init__(self, device: Any) -> None:
        self.name = device.name()
        major, minor = device.compute_capability()
        self.architecture = 10 * major + minor
        self._context = device.retain_primary_context()
        self._process = os.getpid()
        self._functions: dict[tuple[str, str], Any] = {}
        self._modules: dict[str, Any] = {}
        self._blocks: dict[int, Any] = {}
        with self.active():
            self._pool = pycuda.tools.DeviceMemoryPool()
            self._host_pool = pycuda.tools.PageLockedMemoryPool()
        atexit.register(self._close)

    def _close(self) -> None:
        if os.getpid() != self._process:
            return
        with self.active():
            self._functions.clear()
            self._modules.clear()
            self._blocks.clear()
            self._pool.stop_holding()
            self._host_pool.stop_holding()
        self._context.detach()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Push the context, and pop it."""
        if os.getpid() != self._process:
            raise RuntimeError("a GPU cannot be used in a process that was forked after its first use.")
        self._context.push()
        try:
            yield
        finally:
            cuda.Context.pop()

    def free_memory(self) -> int:
        """Return what the device has left, and what the pool holds without need."""
        return int(cuda.mem_get_info()[0]) + int(self._pool.managed_bytes - self._pool.active_bytes)

    def allocate(self, n_bytes: int) -> int:
        """Return memory of the pool."""
        try:
            block = self._pool.allocate(max(n_bytes, 1))
        except cuda.MemoryError as error:
            raise OutOfDeviceMemory(f"{self.name}: {error}") from None
        address = int(block)
        self._blocks[address] = block
        return address

    def free(self, address: int) -> None:
        """Give it back to the pool."""
        self._blocks.pop(address).free()

    def staging(self, n_bytes: int) -> NDArray[np.uint8]:
        """Return page-locked memory of the pool, to which it goes back when nobody refers to it."""
        return self._host_pool.allocate((n_bytes,), np.uint8)

    def stream(self) -> Any:
        """Return a stream."""
        return cuda.Stream()

    def wait(self, stream: Any) -> None:
        """Wait; PyCUDA raises what a launch of the stream has failed with."""
        stream.synchronize()

    def settle(self) -> None:
        """Wait for all streams of the context."""
        cuda.Context.synchronize()

    def mark(self, stream: Any) -> Any:
        """Return an event."""
        event = cuda.Event(cuda.event_flags.DISABLE_TIMING)
        event.record(stream)
        return event

    def wait_for(self, mark: Any) -> None:
        """Wait for an event."""
        mark.synchronize()

    def copy_in(self, address: int, array: NDArray[Any], stream: Any) -> None:
        """Copy to the device."""
        if array.nbytes:
            cuda.memcpy_htod_async(address, array, stream)

    def copy_out(self, array: NDArray[Any], address: int, stream: Any) -> None:
        """Copy from the device."""
        if array.nbytes:
            cuda.memcpy_dtoh_async(array, address, stream)

    def zero(self, address: int, n_bytes: int, stream: Any) -> None:
        """Fill with zeros."""
        if n_bytes:
            cuda.memset_d8_async(address, 0, n_bytes, stream)

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
        """Launch a kernel; the code of its source is loaded once."""
        function = self._functions.get((source, name))
        if function is None:
            if source not in self._modules:
                self._modules[source] = cuda.module_from_buffer(compile.code(source, self.architecture))
            function = self._modules[source].get_function(name)
            # arguments are packed by this form; PyCUDA may remember every argument of a call without one
            self._functions[source, name] = function.prepare("q" * len(arguments))
        if shared > 48 * 1024:
            function.set_attribute(cuda.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, int(shared))
        # Boost.Python takes no numbers of NumPy
        blocks = tuple(int(size) for size in grid)
        function.prepared_async_call(
            blocks, (int(threads), 1, 1), stream, *map(int, arguments), shared_size=int(shared)
        )
