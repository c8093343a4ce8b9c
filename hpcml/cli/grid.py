"""``NAME=VALUE,VALUE,...`` on the command line: what ``--grid`` and ``--param`` mean."""

import ast
import re
from collections.abc import Collection, Iterable
from typing import Any

from hpcml.cli.failures import CommandError

__all__ = ["parse_assignments", "parse_values", "usual_grid"]

# 2..10 or 2..10..2, both ends included; Python's own range would leave the last one out
RANGE = re.compile(r"([+-]?\d+)\.\.([+-]?\d+)(?:\.\.(\d+))?")

# what may stand without quotation marks: sqrt, balanced_subsample, neg-log, l2
WORD = re.compile(r"[A-Za-z_][\w.+-]*")

NAME = re.compile(r"[A-Za-z_]\w*")

# A longer range is a slip of the keyboard: no grid has that many candidates.
LONGEST_RANGE = 10_000

#: What is tried where no grid is named, for trees and for linear models and support vector machines. In other
#: models C and alpha mean other things: in gradient boosting alpha is a quantile.
USUAL: dict[str, list[Any]] = {"max_depth": [2, 5, 10], "n_estimators": [20, 50, 100]}
USUAL_LINEAR: dict[str, list[Any]] = {"C": [0.01, 0.1, 1, 10], "alpha": [0.01, 0.1, 1, 10]}
LINEAR_MODULES = {"linear_model", "svm"}

BRACKETS = {"(": ")", "[": "]", "{": "}"}


def _split(text: str) -> list[str]:
    """Split at the commas that stand outside of brackets and quotation marks."""
    parts, start, expected, quote = [], 0, [], ""
    for i, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in BRACKETS:
            expected.append(BRACKETS[letter])
        elif expected and letter == expected[-1]:
            expected.pop()
        elif letter == "," and not expected:
            parts.append(text[start:i])
            start = i + 1
    if quote or expected:
        raise ValueError(f"{quote or expected[-1]} is missing")
    return [part.strip() for part in [*parts, text[start:]]]


def _value(text: str) -> list[Any]:
    if not text:
        raise ValueError("a value is empty")
    span = RANGE.fullmatch(text)
    if span:
        first, last, step = int(span[1]), int(span[2]), int(span[3] or 1)
        if step == 0 or last < first:
            raise ValueError(f"the range {text} is empty")
        if (last - first) // step >= LONGEST_RANGE:
            raise ValueError(f"the range {text} has more than {LONGEST_RANGE} values")
        return list(range(first, last + 1, step))
    try:
        return [ast.literal_eval(text)]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if WORD.fullmatch(text):
            return [text]
    raise ValueError(f"{text} is no number, word or Python literal")


def is_linear(module: str) -> bool:
    """Return whether the classes of a module are linear models or support vector machines.

    Examples
    --------
    >>> from hpcml.cli.grid import is_linear
    >>> is_linear("sklearn.svm._classes"), is_linear("sklearn.ensemble._gb")
    (True, False)
    """
    return not LINEAR_MODULES.isdisjoint(module.split("."))


def usual_grid(module: str, parameters: Collection[str]) -> dict[str, list[Any]]:
    """Return what is tried where no grid is named; nothing for models without usual values.

    Parameters
    ----------
    module : str
        Dotted name of the module of the estimator's class.
    parameters : collection of str
        The parameters that may be tried.

    Returns
    -------
    dict
        Lists of values by name.

    Examples
    --------
    >>> from hpcml.cli.grid import usual_grid
    >>> usual_grid("hpcml.linear_model.logistic", ["C", "tol"])
    {'C': [0.01, 0.1, 1, 10]}
    """
    usual = USUAL_LINEAR if is_linear(module) else USUAL
    return {name: values for name, values in usual.items() if name in parameters}


def parse_values(text: str) -> list[Any]:
    """Read a list of values: Python literals, words as text, and ranges of whole numbers.

    Parameters
    ----------
    text : str
        Such as ``"2,5,None"``, ``"sqrt,0.5"`` or ``"10..100..10"`` (both ends included).

    Returns
    -------
    list

    Raises
    ------
    ValueError
        If a value cannot be read, is empty, or comes twice.

    Examples
    --------
    >>> from hpcml.cli.grid import parse_values
    >>> parse_values("2,5,None")
    [2, 5, None]
    >>> parse_values("sqrt,0.5,True,'a b',(10,5)")
    ['sqrt', 0.5, True, 'a b', (10, 5)]
    >>> parse_values("10..40..10,100")
    [10, 20, 30, 40, 100]
    """
    values = [value for part in _split(text) for value in _value(part)]
    seen = set()
    for value in values:
        key = (type(value), repr(value))  # 1, 1.0 and True are three parameters
        if key in seen:
            raise ValueError(f"{value!r} comes twice")
        seen.add(key)
    return values


def parse_assignments(texts: Iterable[str], option: str, *, single: bool = False) -> dict[str, Any]:
    """Read several ``NAME=VALUES`` of one option.

    Parameters
    ----------
    texts : iterable of str
    option : str
        Name of the option, for messages.
    single : bool, default=False
        Whether each name has one value, not a list.

    Returns
    -------
    dict
        Values (lists of values unless `single`) by name, in the order given.

    Raises
    ------
    CommandError
        If one cannot be read.

    Examples
    --------
    >>> from hpcml.cli.grid import parse_assignments
    >>> parse_assignments(["max_depth=2,5", "max_features=sqrt"], "--grid")
    {'max_depth': [2, 5], 'max_features': ['sqrt']}
    >>> parse_assignments(["max_samples=0.5"], "--param", single=True)
    {'max_samples': 0.5}
    """
    example = "max_features=sqrt" if single else "max_depth=2,5,10"
    parsed: dict[str, Any] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip()
        if not equals or not NAME.fullmatch(name):
            raise CommandError(f"{option} {text!r} is not NAME=VALUE; write it as {example}")
        if name in parsed:
            cure = "name it once" if single else f"list all its values in one {option} {name}=..."
            raise CommandError(f"{option} {name} is given twice; {cure}")
        try:
            parsed[name] = parse_values(values)
        except ValueError as error:
            raise CommandError(f"{option} {text!r} cannot be read: {error}; write it as {example}") from None
        if single:
            if len(parsed[name]) != 1:
                raise CommandError(f"{option} {name} must have one value; use --grid {text} to try them all")
            parsed[name] = parsed[name][0]
    return parsed
