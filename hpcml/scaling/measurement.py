"""Measurements of scaling: randomised complete blocks, a calibration beside every sample, fresh launches.

Every block runs the work once at each number of workers, and a calibration spin beside it, in an order drawn
anew. Ratios are formed inside a block, so that a machine that slows down slows both sides of them.
"""

from __future__ import annotations

import datetime
import itertools
import math
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpcml import machine
from hpcml.errors import MeasurementFailed
from hpcml.progress import Progress
from hpcml.scaling import analysis, workloads
from hpcml.scaling.document import FORMAT, VERSION
from hpcml.scaling.launches import Launch

__all__ = ["Plan", "measure"]

#: Samples last at least this long: the clock, the dispatch and a stray interrupt are then below a percent.
LEAST_SECONDS = 0.1
#: Blocks of one launch; launches differ, so more of them tell more than more blocks.
BLOCKS = 6
#: Launches before a precision is believed.
LAUNCHES = 3
#: Share of the budget after which it is said that every sample was rejected.
LATE = 1 / 3
#: Most repetitions that make up one sample.
MOST_REPEATS = 10_000


@dataclass(frozen=True)
class Plan:
    """What is to be measured, checked.

    Parameters
    ----------
    workload : str
        A name of `hpcml.scaling.workloads.WORKLOADS`, or ``SCRIPT.py:FUNCTION``.
    workers : tuple of int
        Numbers of workers; 1 is always measured.
    backend : str
        What workers are: 'threads', 'processes', 'mpi', 'loky' or 'spark' (slots of its local mode).
    strong, weak : bool
        The same rows at every p; rows that grow with p.
    rows : int or None
        n, by default the workload's.
    sizes : tuple of int
        Numbers of rows to measure with the most workers.
    budget : float
        Seconds.
    precision : float
        Half-width of the intervals of the speed-ups at which measuring stops.
    seed : int
        Of the order.
    allow_oversubscription : bool
        Whether there may be more workers than cores.

    Raises
    ------
    ValueError
        If a value is not allowed.

    Examples
    --------
    >>> from hpcml.scaling import Plan
    >>> Plan("kmeans", workers=(2,)).all_workers
    (1, 2)
    """

    workload: str
    workers: tuple[int, ...] = (1, 2)
    backend: str = "threads"
    strong: bool = True
    weak: bool = False
    rows: int | None = None
    sizes: tuple[int, ...] = ()
    budget: float = 300.0
    precision: float = 0.03
    seed: int = 0
    allow_oversubscription: bool = False

    def __post_init__(self) -> None:
        if not self.workers or any(p < 1 for p in self.workers):
            raise ValueError(f"workers must be numbers of at least 1. Got {list(self.workers)} instead.")
        if self.backend not in workloads.BACKENDS:
            raise ValueError(
                f"backend must be one of {', '.join(workloads.BACKENDS)}. Got {self.backend!r} instead."
            )
        if not self.budget > 0 or math.isinf(self.budget):
            raise ValueError(f"budget must be above 0 seconds. Got {self.budget:g} instead.")
        if not 0 < self.precision < 1:
            raise ValueError(f"precision must lie between 0 and 100 %. Got {self.precision:.3g} instead.")
        if self.rows is not None and self.rows < 1:
            raise ValueError(f"rows must be at least 1. Got {self.rows} instead.")
        if any(n < 1 for n in self.sizes):
            raise ValueError(f"sizes must be numbers of at least 1. Got {list(self.sizes)} instead.")
        if not (self.strong or self.weak or self.sizes):
            raise ValueError("strong, weak or sizes must be asked for. Got none of them.")
        cores, why = machine.usable_cores()
        if max(self.workers) > cores and not self.allow_oversubscription:
            raise ValueError(
                f"workers must be at most {cores} here ({why}), or --allow-oversubscription given. "
                f"Got {max(self.workers)} instead."
            )
        found = workloads.find(self.workload)
        if self.backend not in found.backends:
            raise ValueError(
                f"{self.workload} runs on {', '.join(found.backends)}. Got backend {self.backend!r} instead."
            )

    @property
    def all_workers(self) -> tuple[int, ...]:
        """The numbers of workers in ascending order, 1 among them."""
        return tuple(sorted({1, *self.workers}))

    @property
    def n(self) -> int:
        """Rows of the strong measurement."""
        return self.rows or workloads.find(self.workload).rows

    @property
    def points(self) -> list[tuple[int, int]]:
        """Every (rows, workers) that a block holds."""
        found = [(self.n, p) for p in self.all_workers if self.strong]
        found += [(self.n * p, p) for p in self.all_workers if self.weak]
        found += [(n, max(self.workers)) for n in self.sizes]
        return list(dict.fromkeys(found))


def git_revision(folder: Path) -> str | None:
    """Return the commit of a checkout, with a ``+`` where it was changed; None outside of one."""
    try:
        options = ["git", "-C", str(folder)]
        found = subprocess.run([*options, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changed = subprocess.run(
            [*options, "status", "--porcelain"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if found.returncode:
        return None
    return found.stdout.strip() + ("+" if changed.stdout.strip() else "")


def measure(plan: Plan, *, verbose: int = 1) -> dict[str, Any]:
    """Measure a workload until its speed-ups are known to the precision, or the budget is spent.

    Parameters
    ----------
    plan : Plan
    verbose : int
        0 is silent.

    Returns
    -------
    dict
        The document of `hpcml.scaling.document`: every sample, the machine, versions and git revision, and
        the plan.

    Raises
    ------
    MeasurementFailed
        If the work fails, cannot be started, or its results differ between numbers of workers.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from hpcml.scaling import Plan, measure
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     script = pathlib.Path(folder, "script.py")
    ...     _ = script.write_text("def work(n, n_workers): return sum(range(n))")
    ...     document = measure(Plan(f"{script}:work", workers=(1,), rows=10_000, budget=0.1), verbose=0)
    >>> document["samples"][0]["seconds"] > 0
    True
    """
    import hpcml

    begun = time.monotonic()
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "plan": asdict(plan),
        "rows": plan.n,
        "workload": workloads.find(plan.workload).about,
        "machine": machine.describe(),
        "git": git_revision(Path(hpcml.__file__).parent),
        "samples": [],
        "launches": [],
        "peaks": [],
        "breakdown": [],
    }
    rng = np.random.default_rng(plan.seed)
    with Progress(math.ceil(plan.budget), f"{plan.workload}: seconds of the budget", verbose) as progress:
        for number in itertools.count():
            _launch(plan, number, begun, rng, document, progress)
            if number + 1 >= LAUNCHES and _resolved(document, progress):
                break
            if time.monotonic() - begun > plan.budget:
                break
    document["seconds"] = round(time.monotonic() - begun, 7)
    return document


def _resolved(document: dict[str, Any], progress: Progress) -> bool:
    widths = analysis.half_widths(document)
    if widths and all(map(math.isfinite, widths)):
        _relabel(document, progress, f"±{100 * max(widths):.1f} %")
    return bool(widths) and max(widths) <= document["plan"]["precision"]


def _relabel(document: dict[str, Any], progress: Progress, precision: str = "", late: bool = False) -> None:
    """Tell how exact the result is and how many samples were rejected; `late`: say so if they all were."""
    cores = document["machine"]["cores_usable"]
    n = sum(each["kind"] == "spin" and each["p"] <= cores for each in document["samples"])
    rejected = len(analysis.starved(document))
    told = [precision] if precision else []
    if n and rejected == n and late:
        told.append("every sample so far was rejected, something else uses the cores")
    elif rejected:
        told.append(f"{rejected} of {n} samples rejected")
    if told:
        progress.relabel(f"{document['plan']['workload']}: {', '.join([*told, 'seconds of the budget'])}")


def _launch(
    plan: Plan,
    number: int,
    begun: float,
    rng: np.random.Generator,
    document: dict[str, Any],
    progress: Progress,
) -> None:
    """Start the processes, check and warm them, and run blocks."""
    started = time.monotonic()
    with Launch(plan.backend, plan.workload, sorted({p for _, p in plan.points})) as launch:
        repeats = _warm(plan, launch, number, document)
        rounds = _spin_rounds(launch)
        ready = time.monotonic() - started
        document["launches"].append({"launch": number, "start_seconds": round(ready, 3)})
        for block in itertools.count():
            _block(plan, launch, number, block, repeats, rounds, rng, document)
            now = time.monotonic()
            elapsed = min(math.ceil(plan.budget), int(now - begun))
            _relabel(document, progress, late=now - begun > LATE * plan.budget)
            progress.advance(max(0, elapsed - progress.done))
            if number + 1 >= LAUNCHES:
                _resolved(document, progress)
            spent = now - started - ready
            # a launch that takes long to start is worth as many blocks as take that long
            enough = block + 1 >= BLOCKS and spent >= ready
            # the launches that an interval needs share what is left of the budget
            share = max(1, LAUNCHES - number)
            if enough or now - started > (plan.budget - (started - begun)) / share:
                return


def _warm(plan: Plan, launch: Launch, number: int, document: dict[str, Any]) -> dict[tuple[int, int], int]:
    """Run every point once; check results, and return how often a sample repeats each."""
    points = plan.points
    for n in dict.fromkeys(n for n, _ in points):
        launch.prepare(n, [p for m, p in points if m == n])
    if number == 0 and plan.sizes:
        # the first run after a start shows the whole peak
        for n, p in points:
            document["peaks"].append({"n": n, "p": p, "bytes": launch.peak(n, p)})
    first: dict[int, tuple[int, str]] = {}
    repeats = {}
    for n, p in points:
        try:
            launch.run(n, p)
            told = launch.run(n, p)
        except MeasurementFailed as error:
            raise MeasurementFailed(f"{plan.workload} fails with {n} rows on {p} workers: {error}") from error
        q, digest = first.setdefault(n, (p, told["digest"]))
        if digest != told["digest"]:
            raise MeasurementFailed(
                f"{plan.workload} with {n} rows gives one result on {q} workers and another on {p}; "
                "a speed-up would mean nothing"
            )
        repeats[n, p] = min(MOST_REPEATS, math.ceil(LEAST_SECONDS / max(told["seconds"], 1e-6)))
    return repeats


def _spin_rounds(launch: Launch) -> int:
    rounds = 20_000
    least = min(launch.spin(1, rounds)["seconds"] for _ in range(5))
    return math.ceil(rounds * LEAST_SECONDS / least)


def _block(
    plan: Plan,
    launch: Launch,
    number: int,
    block: int,
    repeats: dict[tuple[int, int], int],
    rounds: int,
    rng: np.random.Generator,
    document: dict[str, Any],
) -> None:
    points = plan.points
    todo: list[tuple[str, int, int]] = [("work", n, p) for n, p in points]
    todo += [("spin", 0, p) for p in dict.fromkeys(p for _, p in points)]
    order: Sequence[int] = rng.permutation(len(todo)).tolist()
    for kind, n, p in (todo[i] for i in order):
        sample: dict[str, Any] = {"launch": number, "block": block, "kind": kind, "n": n, "p": p}
        if kind == "spin":
            told = launch.spin(p, rounds)
        else:
            told = launch.run(n, p, repeats[n, p])
            sample["repeat"] = repeats[n, p]
            sample["activity"] = [
                {name: round(value, 6) for name, value in each.items()} for each in told["activity"]
            ]
        sample |= {"seconds": round(told["seconds"], 7), "share": round(told["share"], 4)}
        document["samples"].append(sample)
