"""A share of the rows of a table on disk, and the sources that such a table can have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hpcml.data.tables import near_misses

__all__ = ["Parts", "Rows", "Source", "missing_column", "natural_order"]


@dataclass(frozen=True)
class Rows:
    """The rows of a table that this process holds.

    Attributes
    ----------
    X : ndarray of shape (n_local, n_features)
        A read-only memory map where the file allows one, else in memory.
    y : ndarray of shape (n_local,) or None
        The target, if one was named.
    n_rows : int
        Rows of the whole table, over all ranks.
    first_row : int
        Number of this process's first row in the whole table.
    feature_names : list of str
        Names of the columns of `X`; ``x0``, ``x1``, ... where the file has none.
    target_name : str or None
        What the target is called.
    """

    X: NDArray[Any]
    y: NDArray[Any] | None
    n_rows: int
    first_row: int
    feature_names: list[str]
    target_name: str | None

    def __repr__(self) -> str:
        n_local, d = self.X.shape
        share = "" if n_local == self.n_rows else f", here {self.first_row} to {self.first_row + n_local - 1}"
        target = "no target" if self.y is None else f"target {self.target_name!r} of {self.y.dtype}"
        return f"<Rows: {self.n_rows} rows{share}, {d} features of {self.X.dtype}, {target}>"


class Source(Protocol):
    """A file whose rows can be had in part."""

    path: Path
    n_rows: int
    names: list[str]  # of the features
    dtype: np.dtype[Any]  # of the features

    def read(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Return features and target of some rows."""
        ...


class Parts:
    """Files of one table, one after another.

    Parameters
    ----------
    path : Path
        The folder.
    parts : sequence of Source
        In the order of their rows, at least one.
    """

    def __init__(self, path: Path, parts: Sequence[Source]) -> None:
        first = parts[0]
        for part in parts[1:]:
            if part.names != first.names:
                raise ValueError(
                    f"all parts of {path} must have the same columns. {first.path.name} has "
                    f"{_listed(first.names)}, {part.path.name} has {_listed(part.names)}."
                )
            if part.dtype != first.dtype:
                raise ValueError(
                    f"all parts of {path} must have the same type. {first.path.name} is {first.dtype}, "
                    f"{part.path.name} is {part.dtype}."
                )
        self.path, self._parts, self.names, self.dtype = path, parts, first.names, first.dtype
        self._ends = np.cumsum([part.n_rows for part in parts]).tolist()
        self.n_rows: int = self._ends[-1]

    def read(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        pieces = []
        for part, end in zip(self._parts, self._ends, strict=True):
            begin = end - part.n_rows
            first, last = max(start, begin), min(stop, end)
            if first < last:
                pieces.append((part, first - begin, last - begin))
        if not pieces:
            return self._parts[0].read(0, 0)
        if len(pieces) == 1:
            part, first, last = pieces[0]
            return part.read(first, last)
        X, at = np.empty((stop - start, len(self.names)), dtype=self.dtype), 0
        y: list[NDArray[Any]] = []
        for part, first, last in pieces:  # no more than one part beside X
            block, target = part.read(first, last)
            X[at : at + len(block)] = block
            at += len(block)
            if target is not None:
                y.append(target)
        return X, np.concatenate(y) if y else None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{len(names)} ({shown}{', ...' if len(names) > 8 else ''})"


def natural_order(paths: Sequence[Path]) -> list[Path]:
    """Return paths in the order of their names, numbers in them by value: part-2 comes before part-10.

    Examples
    --------
    >>> from pathlib import Path
    >>> from hpcml.data.rows import natural_order
    >>> [path.name for path in natural_order([Path("b10.npy"), Path("b9.npy")])]
    ['b9.npy', 'b10.npy']
    """

    def key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
        words = re.findall(r"\d+|\D+", path.name)
        return [(0, int(word), "") if word.isdecimal() else (1, 0, word) for word in words], path.name

    return sorted(paths, key=key)


def missing_column(path: Path, target: object, known: Sequence[str]) -> ValueError:
    """Return the error for a target that is no column."""
    return ValueError(f"no column {target!r} in {path}; {near_misses(str(target), known)}")
