"""What became of a task: its result or its exception, as bytes that always arrive."""

import os
import pickle
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle

from hpcml.remote_errors import RemoteError

__all__ = ["Outcome", "run"]


@dataclass(frozen=True)
class Outcome:
    """A result, or the exception instead.

    Parameters
    ----------
    value : object
        The result, or the exception.
    failed : bool
    """

    value: Any
    failed: bool = False

    @classmethod
    def load(cls, data: Any) -> "Outcome":
        """Return the outcome that `run` put into bytes."""
        try:
            failed, value = pickle.loads(data)
            return cls(value.error() if failed else value, failed)
        except Exception as error:  # what a class of the user raises when it is made
            return cls(error, failed=True)


def run(function: Callable[[], Any], place: str = "") -> tuple[bytes, bool]:
    """Call a function and return its outcome as bytes, and whether it failed.

    Parameters
    ----------
    function : callable
    place : str
        Where this is, for the note of an exception; by default the process and the machine.

    Returns
    -------
    (bytes, bool)

    Examples
    --------
    >>> from hpcml.joblib_backends.outcomes import Outcome, run
    >>> data, failed = run(lambda: 1 / 0)
    >>> failed, Outcome.load(data).value
    (True, ZeroDivisionError('division by zero'))
    """
    try:
        return cloudpickle.dumps((False, function()), protocol=5), False
    except BaseException as error:  # SystemExit too: the process serves others after this task
        place = place or f"in process {os.getpid()} on {platform.node()}"
        return cloudpickle.dumps((True, RemoteError.of(error, place)), protocol=5), True
