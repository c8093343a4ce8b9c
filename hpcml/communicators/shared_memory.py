"""Memory that processes share: reserved before it is written, without a name, gone with its last user.

A segment is a nameless file in memory; another process gets it as a file descriptor over a socket. All its
pages are reserved at once, because a page that cannot be had later would end the process with SIGBUS. Rows
that lie in a file which this process has mapped are not copied: the others map the same file.
"""

from __future__ import annotations

import errno
import itertools
import math
import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml import machine
from hpcml.kernels.csr import CSR

__all__ = [
    "Part",
    "Shared",
    "check_memory",
    "in_file",
    "mapped",
    "memory_left",
    "reserve",
    "share",
    "size_text",
]

#: By the version of cgroups: files with the limit and the usage, and what the page cache is called.
_FILES_OF_A_CGROUP = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}

#: Segments below this are not compared with the memory that is left: asking costs more than they are worth.
SMALL = 1 << 20

#: An interrupt comes through between two writes of so many bytes.
WRITTEN_AT_ONCE = 1 << 26

# What a system answers when it has no memory, or no more for this process.
_FULL = (errno.ENOSPC, errno.ENOMEM, errno.EFBIG, errno.EDQUOT)


def size_text(n_bytes: int) -> str:
    """Return a number of bytes for a message.

    Examples
    --------
    >>> from hpcml.communicators.shared_memory import size_text
    >>> size_text(1_500_000), size_text(2_000_000_000)
    ('1.5 MB', '2.0 GB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


# -- reserving ---------------------------------------------------------------------------------------------


def memory_left(root: str | Path = "/") -> int | None:
    """Return how many bytes can still be had here, None where the system does not say.

    Parameters
    ----------
    root : path, optional
        Where ``/proc`` and ``/sys`` are looked for.

    Returns
    -------
    int or None
        The least of the machine's available memory with its free swap, and what the memory limit of each
        cgroup above this process leaves.
    """
    left = []
    fields = _numbers(Path(root, "proc/meminfo"))
    if "MemAvailable" in fields:
        left.append(1024 * (fields["MemAvailable"] + fields.get("SwapFree", 0)))
    for folder, version in machine.cgroups("memory", root):
        limit, usage, cache = _FILES_OF_A_CGROUP[version]
        try:
            most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
        except (OSError, ValueError):  # another layout, or "max": no limit
            continue
        left.append(max(0, most - used + _numbers(folder / "memory.stat").get(cache, 0)))
    return min(left, default=None)


def _numbers(path: Path) -> dict[str, int]:
    """Return the numbers of a file with lines such as ``MemFree: 12 kB``."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    words = (line.replace(":", " ").split() for line in lines)
    return {w[0]: int(w[1]) for w in words if len(w) >= 2 and w[1].isdecimal()}


def check_memory(n_bytes: int, purpose: str) -> None:
    """Raise MemoryError where there is less memory than rows for workers need.

    Parameters
    ----------
    n_bytes : int
    purpose : str
        What needs it, for the message.
    """
    left = memory_left() if n_bytes >= SMALL else None
    if left is not None and n_bytes > left:
        raise MemoryError(
            f"{purpose}: {size_text(n_bytes)} of memory to share with workers are needed, and "
            f"{size_text(left)} are left."
        )


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("hpcml", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # other systems: an unlinked file, kept by its descriptor
        return os.dup(file.fileno())


def _allocate(fd: int, n_bytes: int) -> None:
    if n_bytes and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, n_bytes)
    else:
        for start in range(0, n_bytes, SMALL):
            os.pwrite(fd, bytes(min(SMALL, n_bytes - start)), start)


def reserve(n_bytes: int, purpose: str) -> int:
    """Return the file descriptor of a new segment, all of whose pages are there.

    Parameters
    ----------
    n_bytes : int
        Its size; 0 makes a segment that nothing can be read from.
    purpose : str
        What needs it, for the message.

    Raises
    ------
    MemoryError
        If there is not enough memory; the message says how much is needed and how much is left.
    """
    check_memory(n_bytes, purpose)
    fd = _nameless_file()
    try:
        _allocate(fd, n_bytes)
    except OSError as error:
        os.close(fd)
        if error.errno not in _FULL:
            raise
        left = memory_left()
        rest = "" if left is None else f"; {size_text(left)} are left"
        raise MemoryError(
            f"{purpose}: {size_text(n_bytes)} of memory to share with workers cannot be reserved "
            f"({error.strerror}){rest}."
        ) from error
    except BaseException:
        os.close(fd)
        raise
    return fd


# -- arrays ------------------------------------------------------------------------------------------------


def mapped(fd: int, dtype: np.dtype, shape: Sequence[int], offset: int, write: bool = False) -> NDArray[Any]:
    """Return an array over bytes of a file, which stay mapped as long as the array lives."""
    count = math.prod(shape)
    if count * dtype.itemsize == 0:
        return np.empty(shape, dtype=dtype)
    before = offset % mmap.ALLOCATIONGRANULARITY
    protection = mmap.PROT_READ | mmap.PROT_WRITE if write else mmap.PROT_READ
    memory = mmap.mmap(
        fd, before + count * dtype.itemsize, mmap.MAP_SHARED, protection, offset=offset - before
    )
    return np.frombuffer(memory, dtype=dtype, count=count, offset=before).reshape(shape)


@dataclass
class Part:
    """One array of a row array as it is told to workers.

    Parameters
    ----------
    file : int
        Which of the files that are sent along.
    dtype : dtype
        Type of the values.
    places : list of (int, tuple of int)
        First byte and shape of every worker's rows.
    """

    file: int
    dtype: np.dtype
    places: list[tuple[int, tuple[int, ...]]]

    def of(self, worker: int, files: Sequence[int]) -> NDArray[Any]:
        """Map a worker's rows."""
        offset, shape = self.places[worker]
        return mapped(files[self.file], self.dtype, shape, offset)


@dataclass
class Shared:
    """A row array as it is told to workers: one part, or the three of a CSR with their number of columns."""

    parts: list[Part]
    n_columns: int | None = None

    def of(self, worker: int, files: Sequence[int]) -> Any:
        """Map a worker's rows."""
        first, *more = [part.of(worker, files) for part in self.parts]
        return first if self.n_columns is None else CSR(first, more[0], more[1], self.n_columns)


def share(name: str, array: Any, cuts: Sequence[int]) -> tuple[Shared, list[int]]:
    """Make a row array readable by workers.

    Parameters
    ----------
    name : str
        Its name, for messages.
    array : C-contiguous ndarray or CSR
        The rows. They are copied, unless they lie in a file that is mapped.
    cuts : sequence of int
        First row of every worker, then the end.

    Returns
    -------
    shared : Shared
        What to tell the workers.
    files : list of int
        File descriptors to send along and to close.
    """
    files: list[int] = []
    ranges = list(itertools.pairwise(cuts))

    def part(values: NDArray[Any], starts: Sequence[tuple[int, int]]) -> Part:
        fd, offset = _located(values) or (_copied(f"put({name})", [values]), 0)
        files.append(fd)
        width = values.dtype.itemsize * math.prod(values.shape[1:])
        places = [(offset + a * width, (b - a, *values.shape[1:])) for a, b in starts]
        return Part(len(files) - 1, values.dtype, places)

    try:
        if not isinstance(array, CSR):
            return Shared([part(array, ranges)]), files
        entries = [(int(array.indptr[a]), int(array.indptr[b])) for a, b in ranges]
        parts = [part(array.data, entries), part(array.indices, entries)]
        # every worker's own indptr, which starts at 0 and has one entry more than it has rows
        own = [array.indptr[a : b + 1] - array.indptr[a] for a, b in ranges]
        files.append(_copied(f"put({name})", own))
        places = [((a + i) * own[i].dtype.itemsize, own[i].shape) for i, (a, _) in enumerate(ranges)]
        parts.append(Part(2, own[0].dtype, places))
        return Shared(parts, array.n_columns), files
    except BaseException:
        for fd in files:
            os.close(fd)
        raise


def _write(fd: int, content: NDArray[np.uint8], offset: int) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(fd, content[done:].data, offset + done)


def _copied(purpose: str, arrays: Sequence[NDArray[Any]]) -> int:
    """Return the file descriptor of a segment that holds arrays, one after another."""
    fd = reserve(sum(array.nbytes for array in arrays), purpose)
    try:
        offset = 0
        for array in arrays:
            # written and not mapped: no page fault a page, which takes half the time
            content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            for start in range(0, array.nbytes, WRITTEN_AT_ONCE):
                _write(fd, content[start : start + WRITTEN_AT_ONCE], offset + start)
            offset += array.nbytes
    except BaseException:
        os.close(fd)
        raise
    return fd


# -- arrays that lie in a file -----------------------------------------------------------------------------


def in_file(array: NDArray[Any]) -> bool:
    """Return whether an array may lie in a file that is mapped; `share` finds out whether it does."""
    return _mapping(array) is not None


def _mapping(array: NDArray[Any]) -> mmap.mmap | None:
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner if isinstance(owner, mmap.mmap) else None


def _located(array: NDArray[Any]) -> tuple[int, int] | None:
    """Return a descriptor of the file that an array lies in and its first byte there; None: copy the array.

    Only what the kernel's list of mappings says counts: an array of a memory map may be a view of any part of
    it, the file may have been replaced under its name, and the pages of a private mapping (``mode="c"``) may
    differ from the file.
    """
    if _mapping(array) is None or array.nbytes == 0 or not array.flags.aligned:
        return None
    address = array.__array_interface__["data"][0]
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                first, _, rest = line.partition("-")
                if int(first, 16) <= address:
                    stop, permissions, offset, _, inode, *path = rest.rstrip("\n").split(" ", 5)
                    if address < int(stop, 16):
                        break
            else:
                return None
    except (OSError, ValueError):  # no such list on this system
        return None
    if address + array.nbytes > int(stop, 16) or permissions[3] != "s" or not path:
        return None
    start = int(offset, 16) + address - int(first, 16)
    return _opened(path[0].strip(), int(inode), start + array.nbytes, start)


def _opened(path: str, inode: int, least: int, start: int) -> tuple[int, int] | None:
    """Return a descriptor of a mapped file and the place; None if its name now belongs to another file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # "... (deleted)", or no longer ours to read
        return None
    status = os.fstat(fd)
    if status.st_ino != inode or status.st_size < least:
        os.close(fd)
        return None
    return fd, start
