"""Throughput and latency under concurrent callers: what a service that predicts can carry."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcml.scaling import workloads

__all__ = ["Load", "measure_load"]


@dataclass(frozen=True)
class Load:
    """What a number of callers saw.

    Parameters
    ----------
    callers : int
    calls : int
    calls_a_second, rows_a_second : float
    p50, p99 : float
        Seconds that a call took: the median, and what 99 % stay below.
    """

    callers: int
    calls: int
    calls_a_second: float
    rows_a_second: float
    p50: float
    p99: float


def measure_load(name: str, callers: Sequence[int], *, rows: int = 100, seconds: float = 5.0) -> list[Load]:
    """Let callers predict as fast as they can, each on one thread.

    Parameters
    ----------
    name : str
        A workload; those that end in ``-predict`` fit a model beforehand.
    callers : sequence of int
    rows : int
        Rows of a call.
    seconds : float
        For each number of callers.

    Returns
    -------
    list of Load

    Raises
    ------
    ValueError
        If the workload is unknown or a number is not allowed.
    Exception
        What a call raised.

    Examples
    --------
    >>> from hpcml.scaling.load import measure_load
    >>> measure_load("scaler-predict", [1], rows=10, seconds=0.05)[0].callers
    1
    """
    if not callers or min(callers) < 1:
        raise ValueError(f"callers must be numbers of at least 1. Got {list(callers)} instead.")
    if rows < 1 or not seconds > 0:
        raise ValueError(f"rows must be at least 1 and seconds above 0. Got {rows} and {seconds} instead.")
    import hpcml

    with hpcml.config_context(communicator="serial", n_threads=1):
        run = workloads.find(name).prepare(rows, 0, 1)
        run(1, "threads")
    return [_with(run, k, rows, seconds) for k in callers]


def _with(run: workloads.Run, callers: int, rows: int, seconds: float) -> Load:
    import hpcml

    taken: list[list[float]] = [[] for _ in range(callers)]
    failed: list[BaseException] = []
    together = threading.Barrier(callers + 1)

    def call(mine: list[float]) -> None:
        try:
            with hpcml.config_context(communicator="serial", n_threads=1):
                together.wait()
                end = time.perf_counter() + seconds
                while not failed and time.perf_counter() < end:
                    started = time.perf_counter()
                    run(1, "threads")
                    mine.append(time.perf_counter() - started)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=call, args=(mine,), daemon=True) for mine in taken]
    for each in threads:
        each.start()
    together.wait()
    started = time.perf_counter()
    for each in threads:
        each.join()
    wall = time.perf_counter() - started
    if failed:
        raise failed[0]
    latencies: Any = np.concatenate([np.array(each) for each in taken])
    p50, p99 = np.quantile(latencies, [0.5, 0.99]).tolist()
    n = len(latencies)
    return Load(callers, n, n / wall, n * rows / wall, p50, p99)
