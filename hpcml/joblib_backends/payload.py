"""Tasks as bytes with their large arrays beside them: an array travels once however many tasks use it."""

import io
import pickle
import weakref
from collections.abc import Sequence
from typing import Any

import cloudpickle
import numpy as np

__all__ = ["Packer", "dump", "load"]

#: Shorter lists are pickled where they stand: to find out how many bytes they take costs a pickling.
_LONG_LIST = 1000

_PROTOCOL = 5


class Packer:
    """Pickles objects one by one; arrays that several of them hold are kept once.

    Functions and classes that cannot be imported (of a script, a notebook, a function's body) go by value,
    as in cloudpickle. Arrays are found wherever they are: in tuples, frames, sparse matrices, attributes. An
    array of Python objects or a long list is pickled once, and those bytes are the array.

    Parameters
    ----------
    max_nbytes : int or None
        Size in bytes from which on an array is kept beside; None keeps none.
    repeated_nbytes : int or None
        The same for an array that an earlier object held too. Each object gets a copy of such a one, as if it
        had been pickled; None pickles it each time.

    Attributes
    ----------
    arrays : list of ndarray
        Each in C or in Fortran order, without Python objects, not empty. Those of the caller where they are
        in order, so nothing may write to them.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.joblib_backends.payload import Packer, load
    >>> X = np.zeros((1000, 8))
    >>> packer = Packer(max_nbytes=1000)
    >>> tasks = [packer.pack((X, i)) for i in range(5)]
    >>> len(packer.arrays), max(map(len, tasks)) < 200
    (1, True)
    >>> load(tasks[3], packer.arrays)[0].shape
    (1000, 8)
    """

    def __init__(self, max_nbytes: int | None, repeated_nbytes: int | None = None) -> None:
        self.max_nbytes, self._repeated_nbytes = max_nbytes, repeated_nbytes
        self._n_packed = 0
        self._seen: dict[int, tuple[weakref.ref[np.ndarray], int]] = {}  # and in which object
        self.arrays: list[np.ndarray] = []
        self._numbers: dict[Any, int | None] = {}  # by what identifies an array; None: it stays where it is
        self._kept: list[Any] = []  # alive, so that no other object gets their address
        self._inside = False

    def pack(self, obj: Any) -> bytes:
        """Return an object as bytes for `load`.

        Parameters
        ----------
        obj : object

        Returns
        -------
        bytes

        Raises
        ------
        Exception
            Whatever an object raises that cannot be pickled: TypeError, `pickle.PicklingError`, ...
        """
        self._n_packed += not self._inside
        file = io.BytesIO()
        _Pickler(file, self).dump(obj)
        return file.getvalue()

    def token(self, obj: Any) -> tuple[str, int] | None:
        """Return what stands for an object in the bytes; None: the object itself."""
        if self.max_nbytes is None:
            return None
        kind = type(obj)
        if kind is np.ndarray or kind is np.memmap:
            if obj.nbytes < max(1, self.max_nbytes):
                return ("copied", self._array(obj, _identity(obj))) if self._came_before(obj) else None
            key = _identity(obj)
            return self._pickled(obj, key) if obj.dtype.hasobject else ("array", self._array(obj, key))
        if hasattr(kind, "__arrow_array__") and str(obj.dtype) in ("str", "string"):
            # pandas makes the buffers of its texts anew for each pickling
            return self._pickled(obj, id(obj)) if obj.nbytes >= max(1, self.max_nbytes) else None
        if kind is list and len(obj) >= _LONG_LIST:
            return self._pickled(obj, id(obj))
        return None

    def _came_before(self, array: np.ndarray) -> bool:
        """Return whether an earlier object held an array, too small to be kept beside for the first time."""
        if self._repeated_nbytes is None or array.nbytes < self._repeated_nbytes or self._inside:
            return False
        if array.dtype.hasobject or type(array) is np.memmap:
            return False
        seen, when = self._seen.get(id(array), (None, 0))
        if seen is None or seen() is not array:
            self._seen[id(array)] = weakref.ref(array), self._n_packed
            return False
        return when < self._n_packed

    def _array(self, array: np.ndarray, key: Any) -> int:
        number = self._numbers.get(key)
        if number is None:
            in_order = array.flags.c_contiguous or array.flags.f_contiguous
            number = self._add(array if in_order else np.ascontiguousarray(array), array)
            self._numbers[key] = number
        return number

    def _pickled(self, obj: Any, key: Any) -> tuple[str, int] | None:
        if self._inside:  # a part of what is being pickled on its own just now, or that itself
            return None
        if key not in self._numbers:
            self._inside = True
            try:
                content = self.pack(obj)
            finally:
                self._inside = False
            large = len(content) >= max(1, self.max_nbytes or 0)
            self._numbers[key] = self._add(np.frombuffer(content, np.uint8), obj) if large else None
            self._kept.append(obj)
        number = self._numbers[key]
        return None if number is None else ("pickled", number)

    def _add(self, array: np.ndarray, original: Any) -> int:
        self._kept.append(original)
        self.arrays.append(array.view(np.ndarray))
        return len(self.arrays) - 1


def _identity(array: np.ndarray) -> Any:
    # views that frames make anew for each pickling are the same array
    return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype


class _Pickler(cloudpickle.CloudPickler):
    def __init__(self, file: io.BytesIO, packer: Packer) -> None:
        super().__init__(file, protocol=_PROTOCOL)
        self._packer = packer

    def persistent_id(self, obj: Any) -> tuple[str, int] | None:
        return self._packer.token(obj)


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: Any, arrays: Sequence[np.ndarray]) -> None:
        super().__init__(io.BytesIO(data))
        self._arrays = arrays
        self._loaded: dict[int, Any] = {}

    def persistent_load(self, token: tuple[str, int]) -> Any:
        kind, number = token
        if kind == "array":
            return self._arrays[number]
        if number not in self._loaded:
            array = self._arrays[number]
            self._loaded[number] = (
                array.copy(order="K") if kind == "copied" else load(array.data, self._arrays)
            )
        return self._loaded[number]


def dump(obj: Any, max_nbytes: int | None) -> tuple[bytes, list[np.ndarray]]:
    """Return an object as bytes, and the arrays of at least `max_nbytes` bytes that belong to it.

    Parameters
    ----------
    obj : object
    max_nbytes : int or None
        None keeps no array beside.

    Returns
    -------
    (bytes, list of ndarray)
        As in `Packer`, which takes several objects.

    Raises
    ------
    Exception
        Whatever an object raises that cannot be pickled.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.joblib_backends.payload import dump, load
    >>> data, arrays = dump({"X": np.arange(10.0), "scale": lambda x: 2 * x}, max_nbytes=80)
    >>> back = load(data, arrays)
    >>> back["X"] is arrays[0], back["scale"](4)
    (True, 8)
    """
    packer = Packer(max_nbytes)
    return packer.pack(obj), packer.arrays


def load(data: Any, arrays: Sequence[np.ndarray]) -> Any:
    """Return the object that `dump` or `Packer.pack` took.

    Parameters
    ----------
    data : bytes-like
        Only ever from a source that may run code here: it is a pickle.
    arrays : sequence of ndarray
        What `dump` returned, or equal arrays: they become part of the object, writable or not as they are.

    Returns
    -------
    object

    Examples
    --------
    >>> from hpcml.joblib_backends.payload import dump, load
    >>> load(*dump([1, "two"], max_nbytes=None))
    [1, 'two']
    """
    return _Unpickler(data, arrays).load()
