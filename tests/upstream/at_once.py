"""Tests that only wait for a process of their own, as many at a time as there are cores."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from hpcml import machine
from upstream.harness import end_all

__all__ = ["AtOnce"]


class AtOnce:
    """Runs tests in threads as soon as the first of them is asked for its outcome.

    Parameters
    ----------
    tests : sequence of pytest.Function
        They take no fixtures.
    """

    def __init__(self, tests: Sequence[pytest.Function]) -> None:
        self._functions = {test.nodeid: test.obj for test in tests}
        self._outcomes: dict[str, Future[None]] = {}
        self._pool: ThreadPoolExecutor | None = None
        for test in tests:
            test.obj = partial(self._outcome, test.nodeid)

    def _outcome(self, name: str) -> None:
        """Wait for a test; raise what it raises."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(machine.usable_cores()[0])
            self._outcomes = {name: self._pool.submit(function) for name, function in self._functions.items()}
        self._outcomes[name].result()

    def end(self) -> None:
        """End what nobody waits for any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            end_all()
