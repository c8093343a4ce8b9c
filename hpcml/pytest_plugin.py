"""The pytest fixture ``scaling``: efficiencies of a user's own functions, asserted in their own tests.

pytest loads this file wherever hpcml is installed; it imports what it needs when the fixture is used. With
pytest-benchmark the figures stand in ``extra_info`` of the test, and every sample in the JSON file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest

__all__ = ["Scaling", "scaling"]

_DOCUMENTS = pytest.StashKey[list[dict[str, Any]]]()


class Scaling:
    """What the fixture gives.

    Parameters
    ----------
    request : pytest.FixtureRequest
    """

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self.document: dict[str, Any] | None = None

    def measure(
        self,
        work: str | Callable[[int, int], Any],
        *,
        n: int,
        workers: Sequence[int] = (1, 2),
        backend: str = "threads",
        budget: float = 30.0,
        precision: float = 0.05,
    ) -> dict[str, Any]:
        """Measure ``work(n, n_workers)``, a function at the top of a file, or a workload of hpcml's by name.

        Parameters
        ----------
        work : str or callable
        n : int
            Rows.
        workers : sequence of int
        backend : {'threads', 'processes', 'mpi', 'loky', 'spark'}
        budget : float
            Seconds.
        precision : float
            Half-width at which measuring stops.

        Returns
        -------
        dict
            The document of `hpcml.scaling.measure`.

        Raises
        ------
        TypeError
            If a function cannot be found by its file and name.
        """
        from hpcml.scaling import Plan, measure, summary

        name = work if isinstance(work, str) else _where(work)
        plan = Plan(name, tuple(workers), backend, rows=n, budget=budget, precision=precision)
        self.document = measure(plan, verbose=0)
        self._request.config.stash.setdefault(_DOCUMENTS, []).append(self.document)
        if "benchmark" in self._request.fixturenames:
            benchmark = self._request.getfixturevalue("benchmark")
            benchmark.extra_info["scaling"] = summary.text(self.document)
        return self.document

    def assert_efficiency(self, *, p: int, at_least: float, of: str = "machine") -> None:
        """Fail unless the efficiency at p, as a share of what the machine can give, reaches a value.

        Parameters
        ----------
        p : int
            One of the measured numbers of workers, above 1.
        at_least : float
        of : {'machine', 'workers'}
            Of the calibration's speed-up, or of p.

        Raises
        ------
        AssertionError
            If the interval of the efficiency lies below, or the samples do not tell.
        ValueError
            If nothing was measured at this p.
        """
        from hpcml.scaling import analysis

        if self.document is None:
            raise ValueError("scaling.measure must come before scaling.assert_efficiency.")
        if of not in ("machine", "workers"):
            raise ValueError(f"of must be 'machine' or 'workers'. Got {of!r} instead.")
        found = analysis.analyse(self.document, "strong")
        if p not in found.p:
            raise ValueError(f"p must be one of {list(found.p)}. Got {p} instead.")
        i = found.p.index(p)
        ratios, by = (found.relative, 1) if of == "machine" else (found.speedups, p)
        estimate = ratios.at(i)
        value, low, high = (each / by for each in (estimate.value, estimate.low, estimate.high))
        told = f"efficiency at p = {p}: {value:.3f} ({low:.3f}–{high:.3f})"
        if not high < float("inf"):
            rejected = f"{found.n_rejected} of {found.n_samples} samples rejected"
            raise AssertionError(f"{told}: not resolved, {rejected}")
        if high < at_least:
            raise AssertionError(f"{told}, below {at_least}")


def _where(work: Callable[..., Any]) -> str:
    """Return file and name of a function, by which another process finds it."""
    source = inspect.getsourcefile(work)
    name = getattr(work, "__qualname__", "")
    if source is None or not name.isidentifier():
        raise TypeError(f"work must be a function at the top of a file. Got {work!r} instead.")
    return f"{source}:{name}"


@pytest.fixture
def scaling(request: pytest.FixtureRequest) -> Scaling:
    """Measure how a function scales, and assert its efficiency (`Scaling`)."""
    return Scaling(request)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Put every sample into pytest-benchmark's JSON file."""
    documents = config.stash.get(_DOCUMENTS, [])
    if documents:
        output_json["hpcml_scaling"] = documents
