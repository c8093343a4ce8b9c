"""Messages between this process and its workers: a few bytes over a socket, the rest through shared memory.

A sender owns an *outbox*, a segment that its readers have mapped; it writes a message there once, however
many read it, and sends each reader a header. Every message is answered before the next one is written.
"""

from __future__ import annotations

import functools
import mmap
import os
import pickle
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hpcml import machine
from hpcml.communicators.shared_memory import reserve

__all__ = ["Closed", "Header", "Inbox", "Outbox", "patience_of", "receive", "send", "wait_for_any"]

#: Seconds in which one that waits looks again and again, before it sleeps. To be woken takes some 50 µs, and
#: the processor is slower for a while after it; what lies between two steps of a method is below this.
PATIENCE = 5e-4

_HEADER = struct.Struct("=qqqqq")

#: Size of an outbox at first, and what it is cut back to when the tables that needed more are closed.
FIRST_SIZE = 1 << 18

#: Arrays start at multiples of this, a cache line.
ALIGNMENT = 64

Dumps = Callable[..., bytes]


class Closed(Exception):
    """The other end is gone."""


class Header(NamedTuple):
    """What goes over the socket: lengths, and which descriptors follow."""

    generation: int  # of the outbox
    size: int  # of the outbox
    n_body: int
    n_buffers: int
    n_files: int  # attached by the sender; a new outbox comes before them


def _aligned(n: int) -> int:
    return -(-n // ALIGNMENT) * ALIGNMENT


class Outbox:
    """The segment that one process writes its messages to."""

    def __init__(self) -> None:
        self.generation = 0
        self.fd = -1
        self._memory: mmap.mmap | None = None

    def write(self, message: Any, dumps: Dumps = pickle.dumps) -> Header:
        """Write a message and return its header, with no files attached."""
        found: list[pickle.PickleBuffer] = []
        body = dumps(message, protocol=5, buffer_callback=found.append)
        buffers = [buffer.raw() for buffer in found]
        lengths = struct.pack(f"{len(buffers)}q", *map(len, buffers))
        start = _aligned(len(lengths) + len(body))
        memory = self._with_room(start + sum(_aligned(len(buffer)) for buffer in buffers))
        memory[: len(lengths)] = lengths
        memory[len(lengths) : len(lengths) + len(body)] = body
        for buffer in buffers:
            memory[start : start + len(buffer)] = buffer
            start += _aligned(len(buffer))
        return Header(self.generation, len(memory), len(body), len(buffers), 0)

    def _with_room(self, n_bytes: int) -> mmap.mmap:
        if self._memory is None or len(self._memory) < n_bytes:
            size = max(FIRST_SIZE, 1 << (n_bytes - 1).bit_length())
            fd = reserve(size, "a message between processes")
            self.close()
            self.fd = fd
            self._memory = mmap.mmap(fd, size)
            self.generation += 1
        return self._memory

    def trim(self) -> None:
        """Give back what is beyond the first size."""
        if self._memory is not None and len(self._memory) > FIRST_SIZE:
            self.close()

    def close(self) -> None:
        """Give the memory back."""
        if self._memory is not None:
            self._memory.close()
            os.close(self.fd)
            self._memory, self.fd = None, -1


class Inbox:
    """The other end of an outbox."""

    def __init__(self) -> None:
        self.generation = 0
        self._memory: memoryview | None = None

    def replace(self, header: Header, fd: int) -> None:
        """Read another segment from now on."""
        self._memory = memoryview(mmap.mmap(fd, header.size, prot=mmap.PROT_READ))
        self.generation = header.generation

    def read(self, header: Header, *, copy: bool) -> Any:
        """Return a message; without `copy` its arrays are read-only and change with the next message."""
        assert self._memory is not None and self.generation == header.generation
        memory = self._memory
        at = 8 * header.n_buffers
        lengths = memory[:at].cast("q").tolist()
        body = memory[at : at + header.n_body]
        buffers: list[Any] = []
        start = _aligned(at + header.n_body)
        for length in lengths:
            buffer = memory[start : start + length]
            buffers.append(bytearray(buffer) if copy else buffer)
            start += _aligned(length)
        return pickle.loads(body, buffers=buffers)


# -- waiting -----------------------------------------------------------------------------------------------


@functools.cache
def patience_of(n_processes: int) -> float:
    """Return how long each of some processes may wait awake: not at all where they outnumber the cores."""
    return PATIENCE if hasattr(os, "sched_yield") and n_processes <= machine.usable_cores()[0] else 0.0


def wait_for_any(poll: select.poll, milliseconds: float | None, patience: float) -> list[tuple[int, int]]:
    """Return what ``poll.poll(milliseconds)`` does; stay awake first, but give way to others on this core."""
    until = time.perf_counter() + patience
    while patience and time.perf_counter() < until:
        ready = poll.poll(0)
        if ready:
            return ready
        os.sched_yield()
    return poll.poll(milliseconds)


def _first_bytes(source: socket.socket, patience: float) -> bytes:
    """Return a packed header, or less if the other end is gone."""
    until = time.perf_counter() + patience
    while patience and time.perf_counter() < until:
        try:
            found = source.recv(_HEADER.size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            os.sched_yield()
            continue
        rest = _HEADER.size - len(found)
        return found + source.recv(rest, socket.MSG_WAITALL) if found and rest else found
    return source.recv(_HEADER.size, socket.MSG_WAITALL)


# -- headers -----------------------------------------------------------------------------------------------


def send(to: socket.socket, header: Header, outbox: Outbox, known: int, files: Sequence[int] = ()) -> None:
    """Send a header to a reader that knows the generation `known` of the outbox.

    Raises
    ------
    Closed
        If there is nobody at the other end.
    """
    attached = [outbox.fd, *files] if known != header.generation else list(files)
    try:
        to.sendall(_HEADER.pack(*header._replace(n_files=len(attached))))
        if attached:
            socket.send_fds(to, [b"+"], attached)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Closed from error


def receive(source: socket.socket, inbox: Inbox, patience: float = 0.0) -> tuple[Header, list[int]]:
    """Wait for a header; return it with the files that came along, which are to be closed.

    Parameters
    ----------
    source : socket
    inbox : Inbox
    patience : float
        Seconds to wait awake before this process sleeps.

    Raises
    ------
    Closed
        If the other end is gone.
    """
    try:
        packed = _first_bytes(source, patience)
        if len(packed) < _HEADER.size:
            raise Closed
        header = Header(*_HEADER.unpack(packed))
        files: list[int] = []
        if header.n_files:
            data, files, _, _ = socket.recv_fds(source, 1, header.n_files)
            if len(files) != header.n_files or not data:
                raise Closed
    except ConnectionResetError as error:
        raise Closed from error
    if header.generation != inbox.generation:
        fd, *files = files
        inbox.replace(header, fd)
        os.close(fd)
    return header, files
