"""The words in which the contract of the kernels is written."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["KINDS", "SHARDS", "THREADS", "Array", "Dimension", "Kernel", "Result", "Scalar"]

#: Kinds of kernels, and what each hands back.
KINDS = {
    "reduce": "one statistic per shard, added up in a fixed binary tree",
    "rows": "one output per row",
    "shards": "one output per shard",
    "columns": "one output per feature, from all rows of one process",
    "grow": "whole trees, from local rows",
    "model": "an improved model, from sums over rows",
}

Dimension = int | str


@dataclass(frozen=True)
class Array:
    """An array argument; kernels read it (IN), or read and overwrite it (`inout`).

    The dtype "floating" is float32 or float64, the same for all such arguments of a call. `optional` allows
    None, `sparse` a `hpcml.kernels.csr.CSR` in place of an ndarray.
    """

    name: str
    dtype: str
    shape: tuple[Dimension, ...]
    meaning: str
    optional: bool = False
    sparse: bool = False
    inout: bool = False

    @property
    def per_row(self) -> bool:
        """Whether the array holds one entry for every row of the table."""
        return bool(self.shape) and self.shape[0] == "n"


@dataclass(frozen=True)
class Scalar:
    """A number, a truth value or a word; `low` and `high` bound a number, `choices` lists words."""

    name: str
    type: str
    meaning: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    keyword: bool = False


@dataclass(frozen=True)
class Result:
    """An array that is returned."""

    name: str
    dtype: str
    shape: tuple[Dimension, ...]
    meaning: str


SHARDS = (
    Array("bounds", "int64", ("s+1",), "first row of every shard in the arrays, then the end"),
    Scalar("first_shard", "int", "number of the first shard among those of the whole table", low=0),
    Scalar("n_shards", "int", "shards of the whole table", low=1),
)
THREADS = Scalar("n_threads", "int", "threads to use; the result does not depend on it", low=1)


@dataclass(frozen=True)
class Kernel:
    """One kernel: its kind, the module that holds it in every implementation, arguments and results.

    For the kind "reduce", `arguments` are those of one shard and `results` the parts of its statistic, all
    float64. A call takes `SHARDS` before them and `THREADS` after them, and returns ``(pieces, statistics)``:
    the ranges of shards that have been added up, int64 (P, 2), and their sums, float64 (P, m).

    `declined` maps an implementation that does without this kernel by design to the reason. A kernel that is
    `aside` runs once a fit, or on the model alone: a GPU that declines it takes all else that takes time.
    """

    name: str
    kind: str
    module: str
    summary: str
    arguments: tuple[Array | Scalar, ...]
    results: tuple[Result, ...]
    declined: Mapping[str, str] = field(default_factory=dict)
    aside: bool = False

    @functools.cached_property
    def row_arrays(self) -> tuple[str, ...]:
        """Names of the arguments that hold one entry for every row."""
        return tuple(a.name for a in self.arguments if isinstance(a, Array) and a.per_row)

    @functools.cached_property
    def overwritten(self) -> frozenset[str]:
        """Names of the arrays that the kernel overwrites."""
        return frozenset(a.name for a in self.arguments if isinstance(a, Array) and a.inout)

    @property
    def call_arguments(self) -> tuple[Array | Scalar, ...]:
        """The arguments of a call."""
        return SHARDS + self.arguments + (THREADS,) if self.kind == "reduce" else self.arguments

    @property
    def call_results(self) -> tuple[Result, ...]:
        """What a call returns."""
        if self.kind != "reduce":
            return self.results
        return (
            Result("pieces", "int64", ("P", 2), "first shard of every piece, and the shard after its last"),
            Result("statistics", "float64", ("P", "m"), "the sum over every piece, part after part"),
        )
