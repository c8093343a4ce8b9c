"""This process alone, with threads inside the kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml import activity, config
from hpcml.communicators.checks import RowArrays
from hpcml.communicators.contract import Communicator, Kernel, Table
from hpcml.communicators.local import (
    Chunk,
    Local,
    added_arrays,
    as_row_numbers,
    n_rows_of,
    put_arrays,
    running_sum_rows,
    sum_of,
)
from hpcml.kernels.shards import bounds_of, pick

__all__ = ["Serial", "SerialTable"]


class SerialTable(Table):
    """All rows as one chunk of this process."""

    def __init__(self, rows: Mapping[str, Any]) -> None:
        arrays = put_arrays(rows)
        self.n_rows = self.n_local = n_rows_of(arrays)
        self.first_row = 0
        self._chunk = Chunk(RowArrays(arrays), bounds_of(self.n_rows), 0)
        self._local = Local([self._chunk], len(self._chunk.bounds) - 1)

    def map_reduce(self, kernel: Kernel, /, **arguments: Any) -> dict[str, NDArray[np.float64]]:
        with activity.during("compute"):
            return sum_of(self._local.reduce(kernel, arguments, config.n_threads()), self._local.n_shards)

    def map_rows(self, kernel: Kernel, /, **arguments: Any) -> None:
        with activity.during("compute"):
            self._local.map(kernel, arguments, config.n_threads())

    def set(self, **rows: Any) -> None:
        self._local.check_open()
        self._chunk.arrays.update(added_arrays(rows, self.n_rows))

    def fill(self, name: str, value: float, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        self._local.fill(name, value, dtype, shape)

    def drop(self, *names: str) -> None:
        self._local.drop(names)

    def rows(self, name: str) -> NDArray[Any]:
        self._local.check_open()
        return self._chunk.arrays[name]

    def take(self, numbers: NDArray[np.int64], name: str = "X") -> Any:
        self._local.check_open()
        return pick(self._chunk.arrays.read(name), as_row_numbers(numbers, self.n_rows))

    def where_sum_reaches(self, name: str, targets: NDArray[np.float64]) -> NDArray[np.int64]:
        self._local.check_open()
        with activity.during("compute"):
            sums = self._chunk.shard_sums(name, config.n_threads())
        shards, left = running_sum_rows(sums, targets)
        rows = zip(shards.tolist(), left.tolist(), strict=True)
        return np.array([self._chunk.row_where_sum_exceeds(name, *each) for each in rows], dtype=np.int64)

    def close(self) -> None:
        self._local.close()


class Serial(Communicator):
    """Computes in the calling process."""

    name = "serial"

    def put(self, **rows: Any) -> SerialTable:
        return SerialTable(rows)
