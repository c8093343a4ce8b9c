"""Durations, shares and lists of numbers on the command line."""

import re

from hpcml.cli.failures import CommandError

__all__ = ["duration", "numbers", "share"]

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def duration(text: str, option: str) -> float:
    """Return seconds.

    Raises
    ------
    CommandError
        If it is no duration above 0.

    Examples
    --------
    >>> from hpcml.cli.quantities import duration
    >>> duration("5m", "--budget"), duration("1.5h", "--budget"), duration("30", "--budget")
    (300.0, 5400.0, 30.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)", text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not seconds > 0:
        raise CommandError(f"{option} must be a time above 0, such as 30s, 5m or 1h. Got {text!r} instead")
    return seconds


def share(text: str, option: str) -> float:
    """Return a share between 0 and 1.

    Raises
    ------
    CommandError
        If it is none.

    Examples
    --------
    >>> from hpcml.cli.quantities import share
    >>> share("3%", "--precision"), share("0.05", "--precision")
    (0.03, 0.05)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    value = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0 < value < 1:
        raise CommandError(f"{option} must lie between 0 % and 100 %, such as 3%. Got {text!r} instead")
    return value


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Return whole numbers of at least 1, in their order, each once.

    Raises
    ------
    CommandError
        If it is no such list.

    Examples
    --------
    >>> from hpcml.cli.quantities import numbers
    >>> numbers("1,2,8", "--workers"), numbers("10_000, 1e5", "--sizes")
    ((1, 2, 8), (10000, 100000))
    """
    found = []
    for part in text.split(","):
        try:
            value = float(part.strip())
        except ValueError:
            value = 0.0
        if not (value >= 1 and value.is_integer()):
            raise CommandError(
                f"{option} must be whole numbers of at least 1, separated by commas. Got {text!r} instead"
            )
        found.append(int(value))
    return tuple(dict.fromkeys(found))
