"""Arrays on an executor: the first worker process to need one lays it out in a file, the others map it.

The file has no name: it lies in the folder's file system, belongs to the processes that hold it open and is
gone with the last of them, however they end. Where to find it is told by a symbolic link, ``<array> ->
/proc/<process>/fd/<number>``. Without ``/proc`` every process lays out its own.
"""

import contextlib
import fcntl
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from pickle import PickleBuffer
from typing import IO, Any

import numpy as np

__all__ = ["Described", "Layout", "Sent", "bytes_of", "describe"]

#: dtype, shape, and whether the first index runs fastest.
Described = tuple[np.dtype, tuple[int, ...], bool]


def describe(array: np.ndarray) -> Described:
    """Return what bytes need to become an array again."""
    return array.dtype, array.shape, array.flags.f_contiguous and not array.flags.c_contiguous


def bytes_of(array: np.ndarray) -> memoryview:
    """Return the bytes of an array in C or in Fortran order, not empty, as they lie in memory."""
    flat = array.T if describe(array)[2] else array
    return flat.reshape(-1).view(np.uint8).data


def _as_array(content: Any, described: Described) -> np.ndarray:
    dtype, shape, fortran = described
    return np.ndarray(shape, dtype, content, order="F" if fortran else "C")


class Sent:
    """An array on its way: when a worker process unpickles it, it is laid out there and then.

    Parameters
    ----------
    key : str
        Of this array and no other, ever.
    array : ndarray
        In C or in Fortran order, without Python objects, not empty.
    """

    def __init__(self, key: str, array: np.ndarray) -> None:
        self.key, self.array = key, array

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.key, describe(self.array), PickleBuffer(bytes_of(self.array)))


def _arrived(key: str, described: Described, content: Any) -> np.ndarray:
    if Layout.current is None:  # Spark decrypts for each process before any of our code runs
        return _as_array(content, described)
    return Layout.current.lay_out(key, described, content)


class Layout:
    """The arrays of one worker process.

    Parameters
    ----------
    folder : str or None
        Where files lie; by default in Spark's own folder of the executor.
    mode : {'r', 'c', None}
        Read-only, or with private changes; None copies each array into the process's own memory.
    """

    #: The one of the partition that this process runs.
    current: "Layout | None" = None

    _files: dict[str, IO[bytes]] = {}  # of this process, from one partition to the next

    def __init__(self, folder: str | None, mode: str | None) -> None:
        own = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0]
        self._links = Path(own or tempfile.gettempdir(), f"hpcml-{os.getuid()}")
        self._folder, self._mode = Path(folder) if folder else self._links, mode

    def forget_all_but(self, keys: frozenset[str]) -> None:
        """Let go of the files of other arrays.

        Parameters
        ----------
        keys : frozenset of str
            Of every array that is still in use in the application.
        """
        for key in self._files.keys() - keys:
            self._files.pop(key).close()
        if self._links.is_dir():
            for link in self._links.iterdir():
                if link.is_symlink() and link.name not in keys:
                    link.unlink(missing_ok=True)

    def array(self, key: str, described: Described, broadcast: Any) -> np.ndarray:
        """Return an array, mapped if a process of this executor has laid it out, else from the broadcast."""
        with self._alone():
            file = self._files.get(key) or self._open(key)
            array = broadcast.value if file is None else self._mapped(file, described)
        if self._mode == "r" and array.flags.writeable:
            array = array.view()
            array.flags.writeable = False
        elif self._mode != "r" and not array.flags.writeable:
            array = array.copy(order="K")
        return array

    def lay_out(self, key: str, described: Described, content: Any) -> np.ndarray:
        """Write an array into a file of its own and return it mapped."""
        self._links.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=self._folder)
        try:
            file.write(content)
            file.flush()
        except BaseException:
            file.close()
            raise
        self._files[key] = file
        link = self._links / key
        link.unlink(missing_ok=True)
        link.symlink_to(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        return self._mapped(file, described)

    def from_file(self, path: str, described: Described) -> np.ndarray:
        """Return an array that Spark itself has put into a file."""
        with open(path, "rb") as file:
            return self._mapped(file, described)

    def _open(self, key: str) -> IO[bytes] | None:
        try:
            file = open(self._links / key, "rb")
        except OSError:  # not laid out yet, or by a process that is gone
            return None
        self._files[key] = file
        return file

    def _mapped(self, file: IO[bytes], described: Described) -> np.ndarray:
        access = mmap.ACCESS_READ if self._mode == "r" else mmap.ACCESS_COPY
        array = _as_array(mmap.mmap(file.fileno(), 0, access=access), described)
        return array.copy(order="K") if self._mode is None else array

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no other process of this executor lay out arrays inside a ``with`` block."""
        self._links.mkdir(parents=True, exist_ok=True)
        with open(self._links / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
