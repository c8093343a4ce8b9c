"""What goes to a worker with every call of a kernel, and what comes back.

There go the function, if it is a user's, and the settings; sums over ranges of shards come back.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from hpcml import config
from hpcml.communicators.local import Pieces
from hpcml.kernels.csr import CSR

__all__ = ["Function", "PackedPieces", "Settings", "dumps_for"]

# Classes of arguments that every worker knows, beside arrays and numbers of NumPy.
_PLAIN = frozenset({CSR, bool, int, float, complex, str, bytes, type(None)})


class Settings(NamedTuple):
    """What is set in the asking process at the moment; it travels as a plain tuple, quick to pickle."""

    kernels: str
    n_threads: int
    isa: str | None
    device: str
    strict_device: bool

    @classmethod
    def now(cls, n_threads: int) -> Settings:
        """Return the settings, with a worker's share of the threads."""
        isa = os.environ.get("HPCML_ISA")
        return cls(config.kernels(), n_threads, isa, config.device(), config.strict_device())

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Apply them, in a worker."""
        if os.environ.get("HPCML_ISA") != self.isa:
            if self.isa is None:
                del os.environ["HPCML_ISA"]
            else:
                os.environ["HPCML_ISA"] = self.isa
        own = {
            "kernels": self.kernels,
            "n_threads": self.n_threads,
            "device": self.device,
            "strict_device": self.strict_device,
        }
        with config.restored({**config.snapshot(), **own}):
            yield


class Function(NamedTuple):
    """A user's function of one shard, pickled by value: workers need not find, or run, the module it is from.

    Examples
    --------
    >>> from hpcml.communicators.carried import Function
    >>> Function.of(lambda X: {"n": len(X)}).function()(range(3))
    {'n': 3}
    """

    pickled: bytes

    @classmethod
    def of(cls, kernel: Callable[..., Any]) -> Function:
        """Pickle a function as it is now, with the values that it refers to."""
        import cloudpickle

        with _by_value(_module_of(kernel)):
            return cls(cloudpickle.dumps(kernel))

    def function(self) -> Callable[..., Any]:
        """Return the function, in the worker."""
        return pickle.loads(self.pickled)


def _module_of(kernel: Any) -> types.ModuleType | None:
    """Return the user's module that defines a function or a callable, None if it is a library's."""
    while hasattr(kernel, "func"):  # functools.partial
        kernel = kernel.func
    name = getattr(kernel, "__module__", None) or ""
    module = sys.modules.get(name)
    libraries = (*sys.stdlib_module_names, "__main__", "hpcml", "numpy", "scipy")  # __main__: always by value
    return None if module is None or name.partition(".")[0] in libraries else module


@contextlib.contextmanager
def _by_value(module: types.ModuleType | None) -> Iterator[None]:
    import cloudpickle

    if module is None or module.__name__ in cloudpickle.list_registry_pickle_by_value():
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _is_plain(value: Any) -> bool:
    if type(value) is np.ndarray:
        return not value.dtype.hasobject
    return type(value) in _PLAIN or isinstance(value, np.generic)


def dumps_for(arguments: Mapping[str, Any]) -> Callable[..., bytes]:
    """Return what pickles the arguments of a kernel: cloudpickle, if there are some of a user's classes."""
    if all(_is_plain(value) for value in arguments.values()):
        return pickle.dumps
    import cloudpickle

    return cloudpickle.dumps


class PackedPieces(NamedTuple):
    """`Pieces` as they travel, as a plain tuple: an iteration waits for it."""

    ranges: list[list[int]]
    sums: Any  # a PickleBuffer; on the other side, what it was put into
    length: int
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, pieces: Pieces) -> PackedPieces:
        """Pack sums over ranges of shards."""
        buffer = pickle.PickleBuffer(pieces.sums)  # type: ignore[arg-type]
        return cls(pieces.ranges.tolist(), buffer, pieces.sums.shape[1], pieces.shapes)

    def pieces(self) -> Pieces:
        """Unpack them; the sums are read where the message lies."""
        sums = np.ndarray((len(self.ranges), self.length), dtype=np.float64, buffer=self.sums)
        return Pieces(np.array(self.ranges, dtype=np.int64), sums, self.shapes)
