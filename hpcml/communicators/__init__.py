"""Who computes on which rows: ``serial``, ``processes`` and ``mpi`` behind one contract.

Examples
--------
A sum over all rows, with a function of one shard:

>>> import numpy as np
>>> from hpcml import communicators
>>> def moments(X, center):
...     return {"n": len(X), "sum": (X - center).sum(axis=0)}
>>> with communicators.current() as communicator:
...     with communicator.put(X=np.arange(6.0).reshape(3, 2)) as table:
...         table.map_reduce(moments, center=1.0)["sum"]
array([3., 6.])
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Mapping

from hpcml import config
from hpcml.communicators.contract import Communicator, Table
from hpcml.launcher import announced

__all__ = ["COMMUNICATORS", "Communicator", "Table", "current", "least_rows"]

#: Communicators by name, and the class of each; a class is loaded when it is first used.
COMMUNICATORS: Mapping[str, str] = {
    "serial": "hpcml.communicators.serial.Serial",
    "processes": "hpcml.communicators.processes.Processes",
    "mpi": "hpcml.communicators.mpi.Mpi",
}


@functools.cache
def _class(name: str) -> type[Communicator]:
    module, _, attribute = COMMUNICATORS[name].rpartition(".")
    kind: type[Communicator] = getattr(importlib.import_module(module), attribute)
    return kind


def current() -> Communicator:
    """Return the communicator that the configuration asks for.

    Raises
    ------
    ImportError
        If what it needs is not installed; the message gives the command.

    Warns
    -----
    RuntimeWarning
        Once a job, if a launcher such as mpirun started several ranks and none was chosen: every rank then
        trains a model of its own on the rows that it is given.

    Examples
    --------
    >>> from hpcml import communicators
    >>> communicators.current().name
    'serial'
    """
    name = config.communicator()
    if name == "serial" and not config.communicator_is_chosen():
        _warn_of_copies()
    return _class(name)()


def least_rows(n: int = 1) -> int:
    """Return how many rows ``fit`` must be given in this process where the whole table needs `n`.

    A rank of several may have none, as long as all have enough together.

    Examples
    --------
    >>> from hpcml import communicators
    >>> communicators.least_rows(2)
    2
    """
    return n if current().size == 1 else 0


@functools.cache  # once a process
def _warn_of_copies() -> None:
    found = announced()
    if found is not None and found.size > 1 and found.rank == 0:
        warnings.warn(
            f"{found.launcher} started {found.size} ranks and no communicator is chosen: every rank trains "
            'its own copy of the model. hpcml.config_context(communicator="mpi") or HPCML_COMMUNICATOR=mpi '
            'lets them train one together, each on its rows; communicator="serial" means copies.',
            RuntimeWarning,
            stacklevel=4,
        )
