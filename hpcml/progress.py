"""Progress of long work: a bar on a terminal, else now and then a plain line to stderr."""

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["Progress"]

#: Seconds between two plain lines.
INTERVAL = 30.0


class Progress:
    """Count what is done of a known total, and show it.

    Parameters
    ----------
    total : int
        At least 0.
    label : str
        What is counted, such as ``"fits"``.
    verbose : int
        0 is silent; from 1 on a terminal gets a bar, and anything else a line to stderr at most every 30
        seconds, with done, total and the time that is left.

    Examples
    --------
    >>> from hpcml.progress import Progress
    >>> with Progress(2, "fits", verbose=0) as progress:
    ...     progress.advance()
    ...     progress.advance()
    >>> progress.done
    2
    """

    def __init__(self, total: int, label: str, verbose: int = 1) -> None:
        self.total, self.label, self.done = total, label, 0
        self._verbose = verbose
        self._bar: Any = None
        self._task: Any = None
        self._started = self._shown = time.monotonic()
        self._first = 0

    def __enter__(self) -> "Progress":
        self._started = self._shown = time.monotonic()
        if self._verbose > 0 and sys.stderr is not None and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def skip(self, n: int) -> None:
        """Count `n` as done before the start; they do not enter the estimate of the time that is left."""
        if n:
            self._first += n
            self.advance(n)

    def relabel(self, label: str) -> None:
        """Say something else of what is counted."""
        self.label = label
        if self._bar is not None:
            self._bar.update(self._task, description=label)

    def advance(self, n: int = 1) -> None:
        """Count `n` more as done."""
        self.done += n
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
            return
        now = time.monotonic()
        if self._verbose > 0 and now - self._shown >= INTERVAL:
            self._shown = now
            print(self._line(now), file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        line = f"{self.label}: {self.done} of {self.total}"
        new = self.done - self._first
        if 0 < new and self.done < self.total:
            left = (now - self._started) / new * (self.total - self.done)
            line += f", about {_duration(left)} left"
        return line


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        redirect_stdout=False,  # what the program prints to stdout stays there
        redirect_stderr=False,
        transient=True,
    )


def _duration(seconds: float) -> str:
    """Return seconds as people say them.

    Examples
    --------
    >>> _duration(42.3), _duration(754), _duration(7270)
    ('42 s', '12 min 34 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
