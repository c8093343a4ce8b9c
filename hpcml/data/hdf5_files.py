"""Rows of HDF5 files: contiguous datasets are mapped, others are read in part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml import parts
from hpcml.data.npy_files import column_number, mapped, without_column
from hpcml.data.tables import near_misses

__all__ = ["Hdf5File"]


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"HDF5 needs h5py; to mend it: {parts.PARTS['hdf5'].cure}") from error
    return h5py


class Hdf5File:
    """A matrix in an HDF5 file; the target is one of its columns or another dataset.

    Parameters
    ----------
    path : Path
        The file.
    target : str, int or None
        Name of another dataset, or number of a column.
    dataset : str or None
        Name of the matrix; not needed if there is only one.
    """

    def __init__(self, path: Path, target: object | None, dataset: str | None) -> None:
        self.path = path
        with self._opened() as file:
            shapes = _datasets(_h5py(), file)
            self._name = self._matrix(shapes, dataset)
            found = file[self._name]
            self.n_rows, n_columns = found.shape
            self._mapping = _mapping(found)
            self.dtype: np.dtype[Any] = found.dtype
        self._target: str | None = None
        self._column: int | None = None
        if target is not None and str(target).strip("/") in shapes:
            self._target = str(target).strip("/")
            if shapes[self._target][0] not in ((self.n_rows,), (self.n_rows, 1)):
                raise ValueError(
                    f"the target {self._target!r} of {path} must have one entry for each of {self.n_rows} "
                    f"rows. Got shape {shapes[self._target][0]} instead."
                )
        elif target is not None:
            if not str(target).lstrip("-").isdecimal():
                raise ValueError(f"no dataset {target!r} in {path}; {near_misses(str(target), shapes)}")
            self._column = column_number(path, target, n_columns)
        self.names = [f"x{i}" for i in range(n_columns) if i != self._column]

    def _opened(self) -> Any:
        try:
            return _h5py().File(self.path, "r")
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read as HDF5: {error}") from error

    def _matrix(self, shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]], dataset: str | None) -> str:
        matrices = [name for name, (shape, kind) in shapes.items() if len(shape) == 2 and kind.kind in "biuf"]
        if dataset is None:
            if len(matrices) == 1:
                return matrices[0]
            there = ", ".join(matrices) or "none"
            raise ValueError(
                f"{self.path} must have one matrix of numbers, or dataset= name one; it has {there}"
            )
        name = dataset.strip("/")
        if name not in shapes:
            raise ValueError(f"no dataset {dataset!r} in {self.path}; {near_misses(name, shapes)}")
        if name not in matrices:
            shape, kind = shapes[name]
            raise ValueError(
                f"dataset {dataset!r} of {self.path} must be a matrix of numbers. Got {kind} of shape "
                f"{shape} instead."
            )
        return name

    def read(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        n_columns = len(self.names) + (self._column is not None)
        with self._opened() as file:
            if self._mapping is None:
                block = file[self._name][start:stop]
            else:
                skipped = start * n_columns * self.dtype.itemsize
                block = mapped(self.path, self.dtype, self._mapping + skipped, (stop - start, n_columns))
            if self._target is not None:
                return block, _values(_h5py(), file[self._target], start, stop)
        if self._column is not None:
            return without_column(block, self._column), np.array(block[:, self._column])
        return block, None


def _datasets(h5py: Any, file: Any) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    found = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = (item.shape or (), item.dtype)

    file.visititems(visit)
    return found


def _mapping(dataset: Any) -> int | None:
    """Return where the values of a contiguous dataset start in the file; None if they must be read."""
    plain = dataset.chunks is None and not dataset.is_virtual and dataset.external is None
    return dataset.id.get_offset() if plain and dataset.dtype.kind in "biuf" else None


def _values(h5py: Any, dataset: Any, start: int, stop: int) -> NDArray[Any]:
    text = h5py.check_string_dtype(dataset.dtype) is not None
    values = (dataset.asstr() if text else dataset)[start:stop]
    values = np.asarray(values).reshape(len(values))
    return values.astype(str) if text else values
