"""Fingerprints of data and parameters that are the same in every process, for journals."""

import enum
import functools
import hashlib
import os
import struct
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from hpcml.counterparts import is_estimator

__all__ = ["fingerprint"]

_DIGEST_BYTES = 16
# Deeper than any sensible parameter: reached only by objects that make new objects of their kind when
# taken apart.
_MAX_DEPTH = 100

# Functions of these are known by name: the journal records their versions.
_VERSIONED = {"hpcml", "joblib", "numpy", "scipy", "sklearn"}


def fingerprint(value: Any, name: str) -> str:
    """Return a hexadecimal blake2b digest of what `value` is, not of where it lies in memory.

    Parameters
    ----------
    value : object
        Arrays, data frames, sparse matrices, estimators (their parameters only), functions (name, code,
        defaults and closure), SciPy distributions, random generators (their state), and whatever pickle
        could take apart.
    name : str
        What an error calls it.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If something inside cannot be taken apart, such as an open file; the message names it.

    Examples
    --------
    >>> from hpcml.model_selection.fingerprint import fingerprint
    >>> fingerprint({"a": 1, "b": [2.0]}, "grid") == fingerprint({"b": [2.0], "a": 1}, "grid")
    True
    >>> fingerprint(1, "x") == fingerprint(1.0, "x")
    False
    """
    hasher = _Hasher()
    hasher.feed(value, name)
    return hasher.digest().hex()


class _Hasher:
    """Feeds one canonical byte stream: every value is a tag, a length and its content."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._open: dict[int, int] = {}  # objects around the current one, by id

    def digest(self) -> bytes:
        return self._hash.digest()

    def _write(self, tag: str, content: Any = b"") -> None:
        content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        view = memoryview(content).cast("B") if not isinstance(content, bytes) else content
        self._hash.update(f"{tag}:{len(view)};".encode())
        self._hash.update(view)

    def feed(self, value: Any, name: str) -> None:
        """Feed any object; `name` is for errors."""
        plain = _plain(value)
        if plain is not None:
            self._write(*plain)
            return
        if id(value) in self._open:  # an object that contains itself
            self._write("around", str(len(self._open) - self._open[id(value)]))
            return
        if len(self._open) > _MAX_DEPTH:
            raise TypeError(f"{name} cannot be hashed for the journal: {type(value).__name__} never ends")
        self._open[id(value)] = len(self._open)
        try:
            self._feed_object(value, name)
        finally:
            del self._open[id(value)]

    def _feed_object(self, value: Any, name: str) -> None:
        feeder = _feeder(value)
        if feeder is None:
            self._feed_reduced(value, name)
        else:
            feeder(self, value, name)

    def sequence(self, tag: str, values: Any, name: str) -> None:
        """Feed items in order."""
        values = list(values)
        self._write(tag, str(len(values)))
        for i, item in enumerate(values):
            self.feed(item, f"{name}[{i}]")

    def mapping(self, tag: str, items: Mapping[Any, Any], name: str) -> None:
        """Feed items in an order that does not depend on how they were put in."""
        digests = []
        for key, item in items.items():
            part = _Hasher()
            part._open = self._open
            part.feed(key, name)
            part.feed(item, f"{name}__{key}" if isinstance(key, str) else f"{name}[{key!r}]")
            digests.append(part.digest())
        self._write(tag, b"".join(sorted(digests)))

    def _feed_reduced(self, value: Any, name: str) -> None:
        """Feed what pickle would store: constructor, its arguments and the state."""
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:
            raise TypeError(
                f"{name} cannot be hashed for the journal: a {type(value).__name__} has no content that can "
                f"be compared in another process ({error}). Give something else, or journal=None."
            ) from error
        if isinstance(reduced, str):
            self._write("global", f"{type(value).__module__}.{reduced}")
            return
        make, arguments, state, items, pairs = (*reduced, None, None, None, None)[:5]
        self._write("object", _qualified(type(value)))
        self.feed(make, name)
        self.feed(arguments, name)
        self.feed(state, name)
        self.sequence("items", items or (), name)
        self.sequence("pairs", pairs or (), name)


def _qualified(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _plain(value: Any) -> tuple[str, Any] | None:
    """Return tag and content of a value without parts, else None."""
    kind = type(value)
    if value is None or kind is bool:
        return "constant", str(value)
    if kind is int:
        return "int", str(value)
    if kind is float:
        return "float", struct.pack("<d", value)
    if kind is complex:
        return "complex", struct.pack("<dd", value.real, value.imag)
    if kind is str:
        return "str", value
    if kind in (bytes, bytearray):
        return "bytes", bytes(value)
    if isinstance(value, np.generic) and value.dtype.kind in "biufcmMSUV":
        return f"scalar {value.dtype.str}", value.tobytes()
    if isinstance(value, enum.Enum):
        return "enum", f"{_qualified(kind)}.{value.name}"
    if isinstance(value, (type, types.BuiltinFunctionType, np.ufunc)):
        return "named", _name_of(value)
    if isinstance(value, types.ModuleType):
        return "module", value.__name__
    if isinstance(value, os.PathLike):
        return "path", os.fsdecode(value)
    if isinstance(value, np.dtype) and not value.hasobject:
        return "dtype", str(value.descr)
    return None


def _name_of(value: Any) -> str:
    owner = getattr(value, "__self__", None)  # a built-in method is bound to its object or module
    prefix = "" if owner is None or isinstance(owner, types.ModuleType) else f"{type(owner).__name__}:"
    module = getattr(value, "__module__", None) or "numpy"
    return f"{prefix}{module}.{getattr(value, '__qualname__', value.__name__)}"


def _feed_array(hasher: _Hasher, value: Any, name: str) -> None:
    array = np.asarray(value)
    hasher._write(
        "array", f"{array.dtype.str if array.dtype.names is None else array.dtype.descr} {array.shape}"
    )
    if array.dtype.hasobject:
        hasher.sequence("cells", array.ravel().tolist(), name)
    elif isinstance(value, np.ma.MaskedArray):
        hasher.feed(np.asarray(value.filled()), name)
        hasher.feed(np.ma.getmaskarray(value), name)
    else:
        hasher._write("values", np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _feed_sparse(hasher: _Hasher, value: Any, name: str) -> None:
    hasher._write("sparse", f"{type(value).__name__} {value.shape}")
    matrix = value if value.format in ("csr", "csc") else value.tocsr()
    for part in (matrix.data, matrix.indices, matrix.indptr):
        _feed_array(hasher, part, name)


def _feed_pandas(hasher: _Hasher, value: Any, name: str) -> None:
    import pandas as pd

    if not isinstance(value, pd.DataFrame):
        value = value.to_frame(name="values" if value.name is None else value.name)
    hasher.sequence("frame", [len(value), *(str(column) for column in value.columns)], name)
    for i, column in enumerate(value.columns):
        series = value.iloc[:, i]
        hasher._write("column", str(series.dtype))
        if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biufcmM":
            _feed_array(hasher, series.to_numpy(), f"{name}[{column!r}]")
        else:
            hashed = pd.util.hash_pandas_object(series, index=False)
            _feed_array(hasher, hashed.to_numpy(), f"{name}[{column!r}]")


def _feed_polars(hasher: _Hasher, value: Any, name: str) -> None:
    columns = value.get_columns() if hasattr(value, "get_columns") else [value]
    for column in columns:
        hasher._write("column", f"{column.name} {column.dtype} {len(column)}")
        if column.dtype.is_numeric() and column.null_count() == 0:
            _feed_array(hasher, column.to_numpy(), f"{name}[{column.name!r}]")
        else:
            hasher.sequence("cells", column.to_list(), f"{name}[{column.name!r}]")


def _feed_estimator(hasher: _Hasher, value: Any, name: str) -> None:
    hasher._write("estimator", _qualified(type(value)))
    hasher.mapping("params", value.get_params(deep=False), name)


def _feed_distribution(hasher: _Hasher, value: Any, name: str) -> None:
    # a frozen distribution of SciPy; the rest of it is scratch space
    hasher._write("distribution", _qualified(type(value.dist)))
    hasher.feed([value.dist.name, list(value.args), dict(value.kwds)], name)


def _feed_function(hasher: _Hasher, value: Any, name: str) -> None:
    hasher._write("function", _qualified(value))
    if value.__module__.partition(".")[0] in _VERSIONED and "<" not in value.__qualname__:
        return
    _feed_code(hasher, value.__code__, name)
    hasher.feed([value.__defaults__, value.__kwdefaults__], name)
    for variable, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # not filled yet
            content = None
        hasher.feed(content, f"{name} (its variable {variable!r})")


def _feed_code(hasher: _Hasher, code: Any, name: str) -> None:
    hasher._write("code", code.co_code)
    hasher.sequence("names", (*code.co_names, *code.co_varnames, *code.co_freevars), name)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _feed_code(hasher, constant, name)
        else:
            hasher.feed(constant, name)


def _feeder(value: Any) -> Callable[[_Hasher, Any, str], None] | None:
    """Return what feeds an object of this kind, None for the general way."""
    module = type(value).__module__.partition(".")[0]
    found: Callable[[_Hasher, Any, str], None] | None = None
    if isinstance(value, np.ndarray):
        found = _feed_array
    elif sp.issparse(value):
        found = _feed_sparse
    elif isinstance(value, (list, tuple)):
        tag = "list" if type(value) is list else "tuple" if type(value) is tuple else _qualified(type(value))
        found = lambda hasher, items, name: hasher.sequence(tag, items, name)  # noqa: E731
    elif isinstance(value, (set, frozenset)):
        found = lambda hasher, items, name: hasher.mapping("set", dict.fromkeys(items), name)  # noqa: E731
    elif type(value) is dict or isinstance(value, types.MappingProxyType):
        found = lambda hasher, items, name: hasher.mapping("dict", items, name)  # noqa: E731
    elif isinstance(value, (range, slice)):
        parts = (value.start, value.stop, value.step)
        found = lambda hasher, _, name: hasher.sequence(type(value).__name__, parts, name)  # noqa: E731
    elif isinstance(value, np.random.RandomState):
        found = lambda hasher, rng, name: hasher.mapping("state", rng.get_state(legacy=False), name)  # noqa: E731
    elif isinstance(value, np.random.Generator):
        found = lambda hasher, rng, name: hasher.mapping("state", rng.bit_generator.state, name)  # noqa: E731
    elif isinstance(value, types.FunctionType):
        found = _feed_function
    elif isinstance(value, types.MethodType):
        found = lambda hasher, m, name: hasher.sequence("method", (m.__self__, m.__func__), name)  # noqa: E731
    elif isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        found = lambda hasher, _, name: hasher.sequence("partial", parts, name)  # noqa: E731
    elif module == "pandas" and hasattr(value, "iloc"):
        found = _feed_pandas
    elif module == "polars" and hasattr(value, "dtypes" if hasattr(value, "columns") else "dtype"):
        found = _feed_polars
    elif is_estimator(value):
        found = _feed_estimator
    elif all(hasattr(value, part) for part in ("rvs", "dist", "args", "kwds")):
        found = _feed_distribution
    return found
