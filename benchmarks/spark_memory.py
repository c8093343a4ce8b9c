"""Memory and disk of a Spark driver over many fits: ``python -m benchmarks.spark_memory [--fits 100]``.

Each fit sends a table of 80 MB to two executors. The driver is two processes, Python and Java. Java keeps
what its heap once was, up to ``spark.driver.memory`` (1 GB unless it is set), so beside what both hold, what
is alive in the heap is read: ``jcmd PID GC.class_histogram``, of a JDK, collects all that is not and adds up
the rest. Disk is what lies in Spark's local folder, files included that have no name any more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from joblib import Parallel, delayed

from benchmarks.memory import status
from benchmarks.processes import children
from benchmarks.spark import cluster
from hpcml import machine

__all__ = ["measure"]

#: Float64 values of 80 MB.
VALUES = 10_000_000
#: Parts of all fits after which memory is read, besides after the first.
PARTS = (0.1, 0.25, 0.5, 0.75, 1.0)
#: Fits before one is watched.
WARM_UP = 3
#: Seconds between two readings while a fit runs.
STEP = 0.005
#: Seconds that Spark has to remove a broadcast from the executors.
SETTLE = 2.0

#: What is read, in bytes.
KINDS = ("python", "java", "alive", "disk")


class _Driver:
    """Reads what the processes of a driver hold, in bytes."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        names = {pid: Path("/proc", pid, "comm").read_text().strip() for pid in children("self")}
        (self._java,) = (pid for pid, name in names.items() if name == "java")

    def python(self) -> int:
        return status("VmRSS")

    def java(self) -> int:
        return status("VmRSS", self._java)

    def alive(self) -> int:
        command = ["jcmd", self._java, "GC.class_histogram"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return int(told.split()[-1])  # Total, number of objects, their bytes

    def disk(self) -> int:
        found: dict[tuple[int, int], int] = {}
        for path in (*Path(self._folder).rglob("*"), *self._open(self._java)):
            with contextlib.suppress(OSError):  # gone just now
                if path.is_file():
                    about = path.stat()
                    found[about.st_dev, about.st_ino] = about.st_blocks * 512
        return sum(found.values())

    def _open(self, pid: str) -> Iterator[Path]:
        """Yield the files of the folder that the processes below one have open."""
        for child in children(pid):
            yield from self._open(child)
            with contextlib.suppress(OSError):
                for path in Path("/proc", child, "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if os.readlink(path).startswith(self._folder):
                            yield path


def measure(fits: int) -> tuple[dict[str, float], dict[int, dict[str, int]]]:
    """Measure a driver.

    Parameters
    ----------
    fits : int

    Returns
    -------
    growth : dict of str to float
        How much more each kind of memory is at most within a fit, in multiples of the table.
    held : dict of int to dict of str to int
        Bytes of each of `KINDS` by the number of fits before; before the first, tasks without a table ran.
    """
    X = np.random.default_rng(0).random(VALUES)
    marks = {1, *(max(1, round(part * fits)) for part in PARTS)}
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster({"spark.local.dir": folder}),
        joblib.parallel_backend("spark", n_jobs=2),
    ):
        driver = _Driver(folder)

        def fit() -> None:
            Parallel()(delayed(np.sum)(X) for _ in range(12))

        def read() -> dict[str, int]:
            time.sleep(SETTLE)
            return {kind: getattr(driver, kind)() for kind in KINDS}

        Parallel()(delayed(abs)(i) for i in range(12))
        growth: dict[str, float] = {}
        held: dict[int, dict[str, int]] = {0: read()}
        for number in range(1, fits + 1):
            if number == min(WARM_UP + 1, fits):
                readings = {"python": driver.python, "java": driver.java, "disk": driver.disk}
                before = {kind: read() for kind, read in readings.items()}
                with _watched(readings) as most:
                    fit()
                growth = {kind: (most[kind] - before[kind]) / X.nbytes for kind in readings}
            else:
                fit()
            if number in marks:
                held[number] = read()
    return growth, held


@contextlib.contextmanager
def _watched(readings: dict[str, Any]) -> Iterator[dict[str, int]]:
    """Note the largest values of some readings while a ``with`` block runs."""
    most, ended = {kind: read() for kind, read in readings.items()}, threading.Event()

    def watch() -> None:
        while not ended.wait(STEP):
            most.update({kind: max(most[kind], read()) for kind, read in readings.items()})

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield most
    finally:
        ended.set()
        watching.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.spark_memory", description=__doc__)
    parser.add_argument("--fits", type=int, default=100)
    growth, held = measure(parser.parse_args().fits)
    print(f"{machine.cpu_model()}, {machine.usable_cores()[1]}; a table of 80 MB (X)")
    print("most within a fit: " + ", ".join(f"{kind} {times:+.2f} X" for kind, times in growth.items()))
    print(f"{'MB after':10}" + "".join(f"{kind:>10}" for kind in KINDS))
    for number, each in held.items():
        print(f"{f'fit {number}':10}" + "".join(f"{each[kind] / 1e6:10.1f}" for kind in KINDS))


if __name__ == "__main__":
    main()
