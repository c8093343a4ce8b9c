"""What every communicator offers: rows are put once, kernels run where the rows lie, sums come back.

A training method is written against this contract and knows no communicator by name. Under ``mpi`` every
rank runs the method itself on the same model and puts its own rows; under ``serial`` and ``processes`` one
process runs it and puts all rows. Every number that a method receives is the same on every rank, bit for
bit, and does not depend on how many share the work.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Communicator", "Kernel", "Table"]

#: A kernel: its name in `hpcml.kernels.contract.KERNELS`, or a function of one shard of rows.
Kernel = str | Callable[..., Mapping[str, Any]]


class Table(abc.ABC):
    """Rows that a communicator holds, and the arrays of row state beside them (labels, margins, ...).

    Attributes
    ----------
    n_rows : int
        Rows of the whole table, over all ranks.
    n_local : int
        Rows that this rank put.
    first_row : int
        Number of this rank's first row in the whole table.
    """

    n_rows: int
    n_local: int
    first_row: int

    @abc.abstractmethod
    def map_reduce(self, kernel: Kernel, /, **arguments: Any) -> dict[str, NDArray[np.float64]]:
        """Compute a statistic of every shard and return their sum, by the names of its parts.

        Parameters
        ----------
        kernel : str or callable
            A kernel of the kind "reduce", or a function that takes the rows of one shard and returns a dict
            of numbers and arrays to be added up.
        **arguments
            What the kernel takes beside row arrays, the same on every rank. An argument that is named as a
            row array of the table receives its rows; to give it those of another one, pass that one's name.

        Returns
        -------
        dict of str to ndarray of float64

        Notes
        -----
        A kernel that fails or is interrupted while it writes to row arrays leaves the table closed.
        """

    @abc.abstractmethod
    def map_rows(self, kernel: Kernel, /, **arguments: Any) -> None:
        """Compute something for every row and keep it as row arrays, by the names of the results.

        Parameters
        ----------
        kernel : str or callable
            A kernel of the kind "rows", or a function that takes the rows of one shard and returns a dict of
            arrays with one entry a row.
        **arguments
            As for `map_reduce`.
        """

    @abc.abstractmethod
    def set(self, **rows: Any) -> None:
        """Add or replace row arrays; each has one entry for every row that this rank put."""

    @abc.abstractmethod
    def fill(self, name: str, value: float, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        """Add or replace a row array whose entries are all `value`, each of shape `shape`."""

    @abc.abstractmethod
    def drop(self, *names: str) -> None:
        """Forget row arrays."""

    @abc.abstractmethod
    def rows(self, name: str) -> NDArray[Any]:
        """Return this rank's entries of a row array, in the order in which its rows were put."""

    @abc.abstractmethod
    def take(self, numbers: NDArray[np.int64], name: str = "X") -> Any:
        """Return entries of a row array by their numbers in the whole table, on every rank.

        Sparse rows come back as a `hpcml.kernels.csr.CSR`.
        """

    @abc.abstractmethod
    def where_sum_reaches(self, name: str, targets: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the first rows at which the running sum of a row array of numbers exceeds the targets.

        Shards are added up first, then the rows of one; the last row answers for targets beyond the sum.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Forget the rows."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Communicator(abc.ABC):
    """Where rows lie and who computes on them.

    A fit runs inside ``with communicators.current() as communicator:``, its validation included, so that an
    error on one rank ends the fit on all of them.

    Attributes
    ----------
    name : str
        As in ``config_context(communicator=...)``.
    rank, size : int
        This process among those that run the training method: 0 of 1 but under ``mpi``.
    """

    name: str
    rank: int = 0
    size: int = 1

    @abc.abstractmethod
    def put(self, **rows: Any) -> Table:
        """Hold rows until the table is closed.

        Parameters
        ----------
        **rows
            Row arrays by name, all with the same number of rows: C-contiguous ndarrays of one dimension or
            more, sparse rows (`hpcml.kernels.csr.CSR`), or None for an array that is absent. Under ``mpi``
            the rows of this rank; the whole table is theirs in the order of the ranks. Arrays are not copied
            where the communicator can read them in place, and are never written to.

        Raises
        ------
        ValueError
            If the numbers of rows differ.
        """

    def gather(self, value: Any) -> list[Any]:
        """Return a small picklable value of every rank, in the order of the ranks."""
        return [value]

    def bcast(self, value: Any) -> Any:
        """Return rank 0's value, small and picklable, on every rank."""
        return self.gather(value)[0]

    def total(self, value: int) -> int:
        """Return the sum of a whole number over the ranks."""
        return sum(self.gather(value))

    def random_state(self, seed: Any) -> np.random.RandomState:
        """Return scikit-learn's generator for `seed`, in the same state on every rank."""
        from sklearn.utils import check_random_state

        generator = check_random_state(seed)
        if self.size > 1:
            generator.set_state(self.bcast(generator.get_state()))
        return generator

    def close(self) -> None:  # noqa: B027
        """End workers and give memory back; the next use starts anew."""

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the fit; under ``mpi`` an error here ends the other ranks' fit too."""
