"""A device that writes down what it does, for a program under sanitizers to repeat."""

import struct

from cuda_host.driver import HostDriver


class RecordingDriver(HostDriver):
    """Writes allocations, copies and launches to a file, in the order in which they happen."""

    def __init__(self, file, **settings):
        super().__init__(**settings)
        self.file = file

    def _write(self, what, *parts):
        self.file.write(what)
        for part in parts:
            self.file.write(struct.pack("<Q", part if isinstance(part, int) else len(part)))
            self.file.write(b"" if isinstance(part, int) else part)

    def allocate(self, n_bytes):
        address = super().allocate(n_bytes)
        self._write(b"a", address, len(self.arrays[address]))
        return address

    def free(self, address):
        super().free(address)
        self._write(b"f", address)

    def copy_in(self, address, array, stream):
        super().copy_in(address, array, stream)
        stream.queue.append(lambda: self._write(b"i", address, array.tobytes()))

    def copy_out(self, array, address, stream):
        super().copy_out(array, address, stream)
        stream.queue.append(lambda: self._write(b"o", address, array.tobytes()))

    def zero(self, address, n_bytes, stream):
        super().zero(address, n_bytes, stream)
        stream.queue.append(lambda: self._write(b"z", address, n_bytes))

    def launch(self, source, name, grid, threads, arguments, stream, shared=0):
        super().launch(source, name, grid, threads, arguments, stream, shared)
        dimensions = struct.pack("<8I", *(*map(int, grid), 1, 1)[:3], threads, 1, 1, shared, self.backward)
        words = struct.pack(f"<{len(arguments)}q", *map(int, arguments))
        stream.queue.append(lambda: self._write(b"l", name.encode(), dimensions, words))
