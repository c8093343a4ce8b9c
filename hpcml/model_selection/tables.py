"""Tables of one fold between the steps of a pipeline, and the cache that keeps them within bytes."""

import sys
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from hpcml.model_selection.rows import n_rows, take_rows, take_table

__all__ = ["CACHE_BYTES", "FoldTable", "TableCache", "n_bytes"]

#: Outputs of steps that another branch of the grid will need again are kept up to so many bytes; beyond,
#: the longest unused is dropped and computed again. As much as a worker can spare on any machine of today.
CACHE_BYTES = 1 << 30


def n_bytes(table: Any) -> int:
    """Return the bytes that a table takes.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.model_selection.tables import n_bytes
    >>> n_bytes(np.zeros((10, 2)))
    160
    """
    if table is None:
        return 0
    if sp.issparse(table):
        parts: list[Any] = [
            getattr(table, name, None) for name in ("data", "indices", "indptr", "row", "col")
        ]
        return sum(int(part.nbytes) for part in parts if hasattr(part, "nbytes"))
    if hasattr(table, "memory_usage"):  # pandas
        usage = table.memory_usage(deep=True)
        return int(usage.sum()) if hasattr(usage, "sum") else int(usage)
    if hasattr(table, "estimated_size"):  # polars
        return int(table.estimated_size())
    if hasattr(table, "nbytes"):
        return int(table.nbytes)
    return sys.getsizeof(table) + sum(map(sys.getsizeof, table))


class TableCache:
    """Keeps values up to a sum of bytes; the longest unused goes first.

    Parameters
    ----------
    limit : float
        Bytes.

    Examples
    --------
    >>> from hpcml.model_selection.tables import TableCache
    >>> cache = TableCache(limit=100)
    >>> cache.put("a", "first", 60)
    >>> cache.put("b", "second", 60)
    >>> cache.get("a"), cache.get("b")
    (None, 'second')
    """

    def __init__(self, limit: float = CACHE_BYTES) -> None:
        self._limit = limit
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        """Return what is kept under a key, or None."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of so many bytes, unless it alone is more than the limit."""
        self._kept.pop(key, None)
        if size > self._limit:
            return
        self._kept[key] = value, size
        while sum(held for _, held in self._kept.values()) > self._limit:
            self._kept.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        """Let go of what is kept under a key."""
        self._kept.pop(key, None)


@dataclass
class FoldTable:
    """Training and test rows of one fold, at the start of a pipeline or after some steps.

    Parameters
    ----------
    parts : tuple or None
        Table of the training rows, and of the test rows; None if only `whole` is there.
    whole : object
        Both in one table, or None.
    rows : tuple of (ndarray of int, ndarray of int)
        Indices of the training and of the test rows in `whole`.
    owner : estimator, optional
        The pipeline that the untouched table is cut for.
    in_order : bool
        Whether the rows of `whole` are in the order of the search's table; else the training rows come first.
    """

    parts: tuple[Any, Any] | None
    whole: Any
    rows: tuple[Any, Any]
    owner: Any = None
    in_order: bool = False

    @classmethod
    def untouched(cls, X: Any, split: tuple[Any, Any], owner: Any) -> "FoldTable":
        """Return the fold of a table that no step has seen."""
        return cls(None, X, split, owner, True)

    @classmethod
    def transformed(cls, train: Any, test: Any) -> "FoldTable":
        """Return what a step made of both parts."""
        n, m = n_rows(train), n_rows(test)
        return cls((train, test), None, (np.arange(n), np.arange(n, n + m)))

    def made(self, whole: Any) -> "FoldTable":
        """Return what a step made of all rows, in their order."""
        return FoldTable(None, whole, self.rows, in_order=self.in_order)

    @property
    def is_untouched(self) -> bool:
        """Whether rows are those of the search's table."""
        return self.owner is not None

    def train(self) -> Any:
        """Return the table of the training rows; of an untouched table it is a new one."""
        train, _ = self.rows
        if self.parts is not None:
            return self.parts[0]
        if self.owner is not None:
            return take_table(self.owner, self.whole, train)
        if self.in_order or not isinstance(self.whole, np.ndarray):
            return take_rows(self.whole, train)
        return self.whole[: len(train)]

    def test(self) -> Any:
        """Return the table of the test rows; of an untouched table it is a new one."""
        train, test = self.rows
        if self.parts is not None:
            return self.parts[1]
        if self.owner is not None:
            return take_table(self.owner, self.whole, test, train)
        if self.in_order or not isinstance(self.whole, np.ndarray):
            return take_rows(self.whole, test)
        return self.whole[len(train) :]

    def joined(self) -> Any:
        """Return one table of both parts, which takes their place.

        Raises
        ------
        TypeError
            If tables of this kind cannot be joined.
        """
        if self.whole is None:
            assert self.parts is not None
            parts, self.parts = list(self.parts), None
            self.whole = _joined(parts)
        return self.whole

    def n_bytes(self) -> int:
        """Return the bytes of what is held."""
        parts = self.parts or ()
        return sum(n_bytes(part) for part in (*parts, None if self.is_untouched else self.whole))


def _joined(parts: list[Any]) -> Any:
    """Join two tables and let go of them one by one."""
    first, second = parts
    if all(isinstance(part, np.ndarray) for part in parts):
        if first.dtype != second.dtype or first.dtype.hasobject:
            return np.concatenate(parts)
        whole = np.empty((len(first) + len(second), *first.shape[1:]), dtype=first.dtype)
        n = len(first)
        whole[:n] = first
        del first
        parts.clear()
        whole[n:] = second
        return whole
    if all(sp.issparse(part) for part in parts):
        return sp.vstack(parts, format="csr")
    if hasattr(first, "iloc") and type(first) is type(second):
        import pandas as pd

        return pd.concat(parts, ignore_index=True)
    if hasattr(first, "vstack") and type(first) is type(second):  # polars
        return first.vstack(second)
    if isinstance(first, list) and isinstance(second, list):
        return first + second
    raise TypeError(f"tables of type {type(first).__name__} cannot be joined")
