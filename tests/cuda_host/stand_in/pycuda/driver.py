"""Names, arguments and errors as in PyCUDA; numbers are Python's own, as Boost.Python wants them."""

import ctypes
import struct

import numpy as np

_library = ctypes.CDLL("libcuda.so.1")  # the test has loaded one of that name


class Error(Exception):
    pass


class MemoryError(Error, MemoryError):
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


_KINDS = {2: MemoryError, 719: LaunchError}


def _call(name, *arguments):
    code = getattr(_library, name)(*arguments)
    if code:
        text = ctypes.c_char_p()
        _library.cuGetErrorString(code, ctypes.byref(text))
        raise _KINDS.get(code, LogicError)(f"{name} failed: {text.value.decode()}")


def _whole(value):
    assert type(value) is int, f"no converter for {type(value)}"
    return ctypes.c_uint64(value)


def _number(name, *arguments, kind=ctypes.c_int):
    found = kind()
    _call(name, ctypes.byref(found), *arguments)
    return found.value


def init(flags=0):
    _call("cuInit", flags)


class Device:
    def __init__(self, number):
        assert type(number) is int
        self._number = _number("cuDeviceGet", number)

    @staticmethod
    def count():
        return _number("cuDeviceGetCount")

    def name(self):
        text = ctypes.create_string_buffer(100)
        _call("cuDeviceGetName", text, 100, self._number)
        return text.value.decode()

    def compute_capability(self):
        both = ctypes.c_int(), ctypes.c_int()
        _call("cuDeviceComputeCapability", *map(ctypes.byref, both), self._number)
        return both[0].value, both[1].value

    def retain_primary_context(self):
        handle = _number("cuDevicePrimaryCtxRetain", self._number, kind=ctypes.c_void_p)
        return Context(handle, self._number)


class Context:
    def __init__(self, handle, number):
        self._handle, self._number = ctypes.c_void_p(handle), number

    def push(self):
        _call("cuCtxPushCurrent_v2", self._handle)

    @staticmethod
    def pop():
        _number("cuCtxPopCurrent_v2", kind=ctypes.c_void_p)

    @staticmethod
    def synchronize():
        _call("cuCtxSynchronize")

    def detach(self):
        _call("cuDevicePrimaryCtxRelease_v2", self._number)


class _Handle:
    def __init__(self, made, dropped, flags):
        self._handle, self._dropped = ctypes.c_void_p(_number(made, flags, kind=ctypes.c_void_p)), dropped

    def __del__(self):
        getattr(_library, self._dropped)(self._handle)


class Stream(_Handle):
    def __init__(self, flags=0):
        super().__init__("cuStreamCreate", "cuStreamDestroy_v2", flags)

    def synchronize(self):
        _call("cuStreamSynchronize", self._handle)


class event_flags:
    DISABLE_TIMING = 2


class Event(_Handle):
    def __init__(self, flags=0):
        super().__init__("cuEventCreate", "cuEventDestroy_v2", flags)

    def record(self, stream):
        _call("cuEventRecord", self._handle, stream._handle)
        return self

    def synchronize(self):
        _call("cuEventSynchronize", self._handle)
        return self


def mem_get_info():
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    return free.value, total.value


def _buffer(array):
    assert isinstance(array, np.ndarray) and array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)


def memcpy_htod_async(dest, src, stream=None):
    _call("cuMemcpyHtoDAsync_v2", _whole(dest), *_buffer(src), stream._handle)


def memcpy_dtoh_async(dest, src, stream=None):
    assert dest.flags.writeable
    address, size = _buffer(dest)
    _call("cuMemcpyDtoHAsync_v2", address, _whole(src), size, stream._handle)


def memset_d8_async(dest, data, size, stream=None):
    _call("cuMemsetD8Async", _whole(dest), ctypes.c_ubyte(data), _whole(size), stream._handle)


def module_from_buffer(buffer):
    assert isinstance(buffer, bytes)
    handle = ctypes.c_void_p()
    _call("cuModuleLoadDataEx", ctypes.byref(handle), buffer, 0, None, None)
    return Module(handle)


class Module:
    def __init__(self, handle):
        self._handle = handle

    def get_function(self, name):
        handle = ctypes.c_void_p()
        _call("cuModuleGetFunction", ctypes.byref(handle), self._handle, name.encode())
        return Function(handle)


class function_attribute:
    MAX_DYNAMIC_SHARED_SIZE_BYTES = 8


class Function:
    def __init__(self, handle):
        self._handle = handle

    def prepare(self, arg_types):
        self.arg_format = "".join(arg_types)
        return self

    def set_attribute(self, attribute, value):
        _call("cuFuncSetAttribute", self._handle, attribute, value)

    def prepared_async_call(self, grid, block, stream, *args, shared_size=0):
        sizes = [*grid, *[1] * (3 - len(grid)), *block, shared_size]
        assert len(sizes) == 7 and all(type(size) is int for size in sizes)
        packed = struct.pack(f"@{self.arg_format}", *args)
        size = ctypes.c_size_t(len(packed))
        pointers = (ctypes.c_void_p * 5)(
            1, ctypes.cast(ctypes.c_char_p(packed), ctypes.c_void_p), 2, ctypes.addressof(size), 0
        )
        _call("cuLaunchKernel", self._handle, *sizes, stream._handle, None, pointers)
