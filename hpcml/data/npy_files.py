"""Rows of ``.npy`` files: a range of rows is a range of bytes, which is mapped and not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hpcml.data.rows import missing_column

__all__ = ["NpyColumn", "NpyFile", "NpyRecords", "column_number", "mapped", "open_npy", "without_column"]

#: Rows of a structured file that are turned into a matrix at a time.
BLOCK_ROWS = 1 << 16

#: Version 3 differs in the encoding of field names alone; those of ASCII never get it.
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class _Header:
    """What the first bytes of a ``.npy`` file say."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                version = npy.read_magic(file)
                if version not in _READERS:
                    raise ValueError(f"it has version {version} of the format")
                self.shape, self.fortran_order, self.dtype = _READERS[version](file)
                self.offset = file.tell()
        except ValueError as error:
            raise ValueError(f"{path} cannot be read as .npy: {error}") from error
        if self.dtype.hasobject:
            raise ValueError(f"{path} holds Python objects; save numbers, such as array.astype(np.float64)")
        there, needed = path.stat().st_size, self.offset + self.dtype.itemsize * int(np.prod(self.shape))
        if there < needed:
            raise ValueError(f"{path} is cut off: it has {there} bytes of {needed}")


def mapped(path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Map an array that lies in a file; an empty one needs none."""
    if 0 in shape:
        return np.empty(shape, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)


def without_column(block: NDArray[Any], column: int) -> NDArray[Any]:
    """Return a matrix without one column, as a view if it is the first or the last."""
    if column == block.shape[1] - 1:
        return block[:, :-1]
    return block[:, 1:] if column == 0 else np.delete(block, column, axis=1)


def column_number(path: Path, target: object, n_columns: int) -> int:
    """Return the number of a column from 0; negative ones count from the end."""
    try:
        number = int(str(target))
    except ValueError:
        number = n_columns
    if not -n_columns <= number < n_columns:
        raise ValueError(
            f"target must be the number of a column of {path}, from {-n_columns} to {n_columns - 1}, or a "
            f"file. Got {target!r} instead."
        )
    return number % n_columns


class NpyFile:
    """A matrix, of which one column may be the target."""

    def __init__(self, path: Path, header: _Header, target: object | None) -> None:
        self.path, self._header = path, header
        self.n_rows, n_columns = header.shape
        self._column = None if target is None else column_number(path, target, n_columns)
        self.names = [f"x{i}" for i in range(n_columns) if i != self._column]
        self.dtype = header.dtype

    def read(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        header, n_columns = self._header, self._header.shape[1]
        if header.fortran_order:  # the bytes of a row lie far apart
            whole = mapped(self.path, header.dtype, header.offset, (n_columns, self.n_rows))
            block = whole.T[start:stop]
        else:
            skipped = start * n_columns * header.dtype.itemsize
            block = mapped(self.path, header.dtype, header.offset + skipped, (stop - start, n_columns))
        if self._column is None:
            return block, None
        return without_column(block, self._column), np.array(block[:, self._column])


class NpyRecords:
    """Structured rows, whose fields have names."""

    def __init__(self, path: Path, header: _Header, target: object | None) -> None:
        self.path, self._header, self._target = path, header, None if target is None else str(target)
        (self.n_rows,) = header.shape
        fields = list(header.dtype.names or ())
        if target is not None and str(target) not in fields:
            raise missing_column(path, target, fields)
        self.names = [name for name in fields if name != self._target]
        types = [header.dtype[name] for name in self.names]
        for name, kind in zip(self.names, types, strict=True):
            if kind.kind not in "biuf":
                is_target = f', or pass target="{name}"' if target is None else ""
                raise ValueError(
                    f"column {name!r} of {path} must hold numbers. Got {kind} instead; leave it out of the "
                    f"file{is_target}"
                )
        self.dtype = np.dtype(np.float32 if all(kind == np.float32 for kind in types) else np.float64)

    def read(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        header = self._header
        rows = mapped(self.path, header.dtype, header.offset + start * header.dtype.itemsize, (stop - start,))
        X = np.empty((len(rows), len(self.names)), dtype=self.dtype)
        for first in range(0, len(rows), BLOCK_ROWS):
            for j, name in enumerate(self.names):
                X[first : first + BLOCK_ROWS, j] = rows[name][first : first + BLOCK_ROWS]
        return X, None if self._target is None else np.array(rows[self._target])


class NpyColumn:
    """One number a row: the target in a file of its own."""

    def __init__(self, path: Path) -> None:
        header = _Header(path)
        if not (len(header.shape) == 1 or header.shape[1:] == (1,)):
            raise ValueError(
                f"the target {path} must be one number a row, of shape (n,). Got {header.shape} instead."
            )
        self.path, self._header, self.n_rows, self.dtype = path, header, header.shape[0], header.dtype
        self.names: list[str] = []

    def read(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        header = self._header
        skipped = start * header.dtype.itemsize
        column = mapped(self.path, header.dtype, header.offset + skipped, (stop - start,))
        return np.empty((stop - start, 0), dtype=header.dtype), np.array(column)


def open_npy(path: Path, target: object | None) -> NpyFile | NpyRecords:
    """Open a ``.npy`` file whose rows are to be learnt from.

    Raises
    ------
    ValueError
        If it is no matrix and no structured array, or has no such column.
    """
    header = _Header(path)
    if header.dtype.names is not None and len(header.shape) == 1:
        return NpyRecords(path, header, target)
    if len(header.shape) != 2 or header.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} must hold a matrix of numbers or structured rows. Got {header.dtype} of shape "
            f"{header.shape} instead."
        )
    return NpyFile(path, header, target)
