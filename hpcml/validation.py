"""Checks of parameters: one table says what each allows, and errors read as scikit-learn's do."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcml import config

__all__ = [
    "ARRAY_LIKE",
    "BOOLEAN",
    "CALLABLE",
    "NONE",
    "RANDOM_STATE",
    "VERBOSE",
    "Allowed",
    "InvalidParameterError",
    "UnsupportedError",
    "check_parameters",
    "check_whole_table",
    "has_callbacks",
    "instance",
    "integer",
    "one_of",
    "real",
]


class InvalidParameterError(ValueError, TypeError):
    """A parameter has a value that is not allowed.

    Examples
    --------
    >>> from hpcml.validation import InvalidParameterError
    >>> issubclass(InvalidParameterError, ValueError) and issubclass(InvalidParameterError, TypeError)
    True
    """


class UnsupportedError(InvalidParameterError, NotImplementedError):
    """Something that scikit-learn can do and hpcml cannot yet.

    Examples
    --------
    >>> from hpcml.validation import UnsupportedError
    >>> issubclass(UnsupportedError, NotImplementedError) and issubclass(UnsupportedError, ValueError)
    True
    """


@dataclass(frozen=True)
class Allowed:
    """One kind of value that a parameter may have: the test, and the words for it.

    Parameters
    ----------
    test : callable
        Says whether a value is of this kind.
    text : str
        Completes "must be ...".

    Examples
    --------
    >>> from hpcml.validation import integer
    >>> integer(1).test(0), integer(1).text
    (False, 'an int in the range [1, inf)')
    """

    test: Callable[[Any], bool]
    text: str


def _inside(value: Any, low: float | None, high: float | None, closed: str) -> bool:
    # NaN is in no interval, because it compares with nothing
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    low_ok = value >= low if closed in ("left", "both") else value > low
    return bool(low_ok and (value <= high if closed in ("right", "both") else value < high))


def _range(low: float | None, high: float | None, closed: str) -> str:
    left = "[" if closed in ("left", "both") else "("
    right = "]" if closed in ("right", "both") else ")"
    return f"{left}{'-inf' if low is None else low}, {'inf' if high is None else high}{right}"


def integer(low: int | None = None, high: int | None = None) -> Allowed:
    """Allow integers from `low` to `high`, both included; None is no bound. As in scikit-learn, True is 1.

    Examples
    --------
    >>> from hpcml.validation import integer
    >>> integer(2, 255).text
    'an int in the range [2, 255]'
    """
    closed = ("left" if high is None else "both") if low is not None else "neither"

    def test(value: Any) -> bool:
        return isinstance(value, numbers.Integral) and _inside(value, low, high, closed)

    return Allowed(test, f"an int in the range {_range(low, high, closed)}")


def real(
    low: float | None = None, high: float | None = None, *, closed: str = "left", integers: bool = True
) -> Allowed:
    """Allow real numbers in an interval; None is no bound, infinity then belongs to an end that is closed.

    Parameters
    ----------
    low, high : float, optional
        The ends.
    closed : {'left', 'right', 'both', 'neither'}
        Which ends belong to it.
    integers : bool
        Whether numbers of an integer type count; if not, only Python's floats do and what is derived from
        them, as in scikit-learn.

    Examples
    --------
    >>> from hpcml.validation import real
    >>> real(0.0, 1.0, closed="right", integers=False).text
    'a float in the range (0.0, 1.0]'
    """

    kinds = (float, np.floating, numbers.Integral) if integers else float

    def test(value: Any) -> bool:
        return isinstance(value, kinds) and _inside(value, low, high, closed)

    return Allowed(test, f"a float in the range {_range(low, high, closed)}")


def one_of(*words: str) -> Allowed:
    """Allow some words.

    Examples
    --------
    >>> from hpcml.validation import one_of
    >>> one_of("sqrt", "log2").text
    "a str among {'sqrt', 'log2'}"
    """
    return Allowed(
        lambda value: isinstance(value, str) and value in words,
        f"a str among {{{', '.join(map(repr, words))}}}",
    )


def instance(kind: type) -> Allowed:
    """Allow instances of a class.

    Examples
    --------
    >>> from hpcml.validation import instance
    >>> instance(dict).text
    "an instance of 'dict'"
    """
    return Allowed(lambda value: isinstance(value, kind), f"an instance of {kind.__qualname__!r}")


NONE = Allowed(lambda value: value is None, "None")
CALLABLE = Allowed(callable, "a callable")
ARRAY_LIKE = Allowed(
    lambda value: (
        (hasattr(value, "__len__") or hasattr(value, "__array__"))
        and not isinstance(value, (str, bytes, dict, np.generic))
    ),
    "an array-like",
)
BOOLEAN = Allowed(
    lambda value: isinstance(value, (bool, np.bool_)), "an instance of 'bool' or an instance of 'numpy.bool'"
)
VERBOSE = Allowed(
    lambda value: (
        isinstance(value, (bool, np.bool_)) or (isinstance(value, numbers.Integral) and int(value) >= 0)
    ),
    "an int in the range [0, inf), an instance of 'bool' or an instance of 'numpy.bool'",
)
RANDOM_STATE = Allowed(
    lambda value: (
        value is None or isinstance(value, np.random.RandomState) or integer(0, 2**32 - 1).test(value)
    ),
    "an int in the range [0, 4294967295], an instance of 'numpy.random.mtrand.RandomState' or None",
)


def check_parameters(owner: str, values: Mapping[str, Any], allowed: Mapping[str, Iterable[Allowed]]) -> None:
    """Check parameters against what each allows.

    Parameters
    ----------
    owner : str
        Name of the class, for the message.
    values : mapping of str to object
        The parameters.
    allowed : mapping of str to iterable of Allowed
        What each may be; one that is not named is not checked.

    Raises
    ------
    InvalidParameterError
        For the first value that is of no allowed kind.

    Examples
    --------
    >>> from hpcml.validation import NONE, check_parameters, integer
    >>> check_parameters("Tree", {"max_depth": 0}, {"max_depth": (integer(1), NONE)})
    Traceback (most recent call last):
    hpcml.validation.InvalidParameterError: The 'max_depth' parameter of Tree must be an int in the range [1,
    inf) \
or None. Got 0 instead.
    """
    for name, value in values.items():
        kinds = tuple(allowed.get(name, ()))
        if kinds and not any(kind.test(value) for kind in kinds):
            texts = [kind.text for kind in kinds]
            text = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"
            raise InvalidParameterError(
                f"The {name!r} parameter of {owner} must be {text}. Got {value!r} instead."
            )


def check_whole_table(owner: str) -> None:
    """Raise if rows are shared among MPI ranks, for what needs all of them in one process.

    Parameters
    ----------
    owner : str
        Name of the class, for the message.

    Raises
    ------
    UnsupportedError
        If the communicator in force is 'mpi'.

    Examples
    --------
    >>> import hpcml
    >>> from hpcml.validation import check_whole_table
    >>> with hpcml.config_context(communicator="serial"):
    ...     check_whole_table("RandomForestClassifier")
    """
    if config.communicator() == "mpi":
        raise UnsupportedError(
            f"{owner} needs all rows in one process. Got communicator='mpi', under which ranks share them; "
            "within hpcml.config_context(communicator='serial') every rank fits a copy of its own."
        )


def has_callbacks(estimator: Any) -> bool:
    """Say whether callbacks were given to scikit-learn's `set_callbacks`, wherever it keeps them.

    Examples
    --------
    >>> from hpcml.linear_model import LogisticRegression
    >>> from hpcml.validation import has_callbacks
    >>> has_callbacks(LogisticRegression())
    False
    """
    from sklearn.callback import FitCallback

    held = (item for value in vars(estimator).values() if isinstance(value, list) for item in value)
    return any(isinstance(item, FitCallback) and not isinstance(item, type) for item in held)
