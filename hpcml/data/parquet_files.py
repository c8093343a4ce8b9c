"""Rows of Parquet files: only the row groups and columns that are needed are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml import parts
from hpcml.data.rows import missing_column

__all__ = ["ParquetFile"]

#: Rows that are decoded at a time.
BATCH_ROWS = 1 << 16


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"Parquet needs pyarrow; to mend it: {parts.PARTS['parquet'].cure}") from error
    return pyarrow, pyarrow.parquet


class ParquetFile:
    """A Parquet file, of which one column may be the target."""

    def __init__(self, path: Path, target: object | None) -> None:
        pyarrow, parquet = _pyarrow()
        try:
            file = parquet.ParquetFile(path)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}") from error
        with file:
            self.path, self._metadata, schema = path, file.metadata, file.schema_arrow
        self._target = None if target is None else str(target)
        if self._target is not None and self._target not in schema.names:
            raise missing_column(path, target, schema.names)
        self.n_rows: int = self._metadata.num_rows
        self.names = [name for name in schema.names if name != self._target]
        kinds = [schema.field(name).type for name in self.names]
        for name, kind in zip(self.names, kinds, strict=True):
            types = pyarrow.types
            if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
                is_target = f', or pass target="{name}"' if target is None else ""
                raise ValueError(
                    f"column {name!r} of {path} must hold numbers. Got {kind} instead; encode it, such as "
                    f"with hpcml.data.TableEncoder, or leave it out of the file{is_target}"
                )
        single = all(kind == pyarrow.float32() for kind in kinds)
        self.dtype = np.dtype(np.float32 if single else np.float64)

    def read(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        _, parquet = _pyarrow()
        X = np.empty((stop - start, len(self.names)), dtype=self.dtype)
        groups, at = self._groups(start, stop)
        columns = [*self.names, *([] if self._target is None else [self._target])]
        targets = []
        with parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=columns):
                first, last = max(start, at), min(stop, at + batch.num_rows)
                if first < last:
                    rows = batch.slice(first - at, last - first)
                    for j, name in enumerate(self.names):
                        X[first - start : last - start, j] = _numbers(rows.column(name))
                    if self._target is not None:
                        targets.append(self._checked_target(rows.column(self._target)))
                at += batch.num_rows
        if self._target is None:
            return X, None
        return X, np.concatenate(targets) if targets else np.empty(0)

    def _groups(self, start: int, stop: int) -> tuple[list[int], int]:
        """Return the row groups that hold some of the rows, and the first row of the first."""
        groups, begins, begin = [], [], 0
        for i in range(self._metadata.num_row_groups):
            end = begin + self._metadata.row_group(i).num_rows
            if begin < stop and end > start:
                groups.append(i)
                begins.append(begin)
            begin = end
        return groups, begins[0] if begins else 0

    def _checked_target(self, column: Any) -> NDArray[Any]:
        if column.null_count:
            raise ValueError(
                f"the target {self._target!r} of {self.path} is missing in {column.null_count} rows; drop or "
                "fill these rows"
            )
        values = column.to_numpy(zero_copy_only=False)
        return values.astype(str) if values.dtype == object else values


def _numbers(column: Any) -> NDArray[Any]:
    """Return a column as an array, missing values as NaN."""
    if column.null_count:
        column = column.cast("float64")
    return column.to_numpy(zero_copy_only=False)
