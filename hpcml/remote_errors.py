"""Errors and warnings of a worker, rank or executor, as they reach the process that asked."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
import warnings
from dataclasses import dataclass
from typing import Any

__all__ = ["RemoteError", "Warned"]

# Warnings that were shown, where the filters show them once and no module of this process raised them.
_seen: dict[Any, Any] = {}


def _pickled(value: Any) -> bytes | None:
    # cloudpickle, where tasks came by it, also knows classes that are in no module
    for way in (pickle, sys.modules.get("cloudpickle")):
        try:
            return None if way is None else way.dumps(value)
        except Exception:  # what a user's class raises when it is pickled
            continue
    return None


def _unpickled(pickled: bytes | None) -> Any:
    try:
        return None if pickled is None else pickle.loads(pickled)
    except Exception:  # what a user's class raises when it is made
        return None


@dataclass
class RemoteError:
    """An exception, in pieces that always arrive: some classes cannot be unpickled, or live in one process.

    Parameters
    ----------
    module, name : str
        Where the class is found.
    message : str
        ``str(error)``.
    trace : str
        The formatted traceback.
    process : int
        Id of the process that raised.
    place : str
        Where that was, in words; "" is a worker process.
    pickled, arguments, state : bytes or None
        The exception, its ``args`` and its attributes, where they can be pickled.
    """

    module: str
    name: str
    message: str
    trace: str
    process: int
    place: str
    pickled: bytes | None
    arguments: bytes | None
    state: bytes | None

    @classmethod
    def of(cls, error: BaseException, place: str = "") -> RemoteError:
        """Take an exception apart."""
        try:
            message = str(error)
        except Exception:
            message = ""
        return cls(
            type(error).__module__,
            type(error).__qualname__,
            message,
            "".join(traceback.format_exception(error)),
            os.getpid(),
            place,
            _pickled(error),
            _pickled(error.args),
            _pickled(error.__dict__),
        )

    def error(self) -> BaseException:
        """Put the exception together again: with its type where this process has it, else a RuntimeError."""
        error = _unpickled(self.pickled)
        if not isinstance(error, BaseException):
            error = self._made()
        if self.place or self.process != os.getpid():
            place = self.place or f"in the worker process {self.process}"
            error.add_note(f"Raised {place}:\n{self.trace}")
        return error

    def _made(self) -> BaseException:
        kind: Any = sys.modules.get(self.module)
        for part in self.name.split("."):
            kind = getattr(kind, part, None)
        if isinstance(kind, type) and issubclass(kind, BaseException):
            arguments = _unpickled(self.arguments)
            try:  # without __init__, whose arguments are not known
                error = kind.__new__(kind, *((self.message,) if arguments is None else arguments))
                error.__dict__.update(_unpickled(self.state) or {})
                return error
            except Exception:  # a __new__ of its own
                pass
        return RuntimeError(f"{self.module}.{self.name}: {self.message}")


@dataclass(frozen=True)
class Warned:
    """A warning: its class, its text and the line it came from."""

    category: type[Warning]
    message: str
    file: str
    line: int

    @classmethod
    def of(cls, message: str, category: type[Warning], file: str, line: int) -> Warned:
        """Take a warning, with a class that the other process can find."""
        return cls(UserWarning if _pickled(category) is None else category, message, file, line)

    def repeat(self) -> None:
        """Warn here; this process's filters decide."""
        warnings.warn_explicit(
            self.message, self.category, self.file, self.line, registry=_shown_of(self.file)
        )


def _shown_of(file: str) -> dict[Any, Any]:
    """Return the list of warnings shown already that Python itself keeps for a module, by its file."""
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == file:
            shown: dict[Any, Any] = vars(module).setdefault("__warningregistry__", {})
            return shown
    return _seen
