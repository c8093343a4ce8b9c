"""Memory and disk of a Spark driver over many fits: ``python -m benchmarks.spark_memory [--fits 100]``.

Each fit sends a table of 80 MB to two executors. The driver is two processes, Python and Java, whose resident
memory is read while a fit runs and after it. Java keeps what its heap once was, up to
``spark.driver.memory``: 1 GB unless it is set. Disk is what lies in Spark's local folder.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from pathlib import Path

import joblib
import numpy as np
from joblib import Parallel, delayed

from benchmarks.memory import status
from benchmarks.spark import cluster
from hpcml import machine

__all__ = ["measure"]

#: Float64 values of 80 MB.
VALUES = 10_000_000
#: Fits before the first reading.
WARM_UP = 3
#: Seconds between two readings while a fit runs.
STEP = 0.005


class _Driver:
    """Reads what the processes of a driver hold, in bytes."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        started = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
        names = {pid: Path("/proc", pid, "comm").read_text().strip() for some in started for pid in some}
        (self._java,) = (pid for pid, name in names.items() if name == "java")

    def python(self) -> int:
        return status("VmRSS")

    def java(self) -> int:
        return status("VmRSS", self._java)

    def disk(self) -> int:
        return sum(path.stat().st_size for path in Path(self._folder).rglob("*") if path.is_file())


def measure(fits: int) -> dict[str, float]:
    """Return growth in multiples of the table: the most within a fit, after it, and after all fits.

    Parameters
    ----------
    fits : int
        After the warm-up.
    """
    X = np.random.default_rng(0).random(VALUES)
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster({"spark.local.dir": folder}),
        joblib.parallel_backend("spark", n_jobs=2),
    ):
        driver = _Driver(folder)

        def fit() -> None:
            Parallel()(delayed(np.sum)(X) for _ in range(12))

        for _ in range(WARM_UP):
            fit()
        readings = (driver.python, driver.java, driver.disk)
        before = [read() for read in readings]
        most, ended = list(before), threading.Event()

        def watch() -> None:
            while not ended.wait(STEP):
                most[:] = [max(m, read()) for m, read in zip(most, readings, strict=True)]

        watching = threading.Thread(target=watch)
        watching.start()
        fit()
        ended.set()
        watching.join()
        after = [read() for read in readings]
        for _ in range(fits - 1):
            fit()
        last = [read() for read in readings]
    found: dict[str, float] = {}
    for i, name in enumerate(("python", "java", "disk")):
        for when, seen in (("most", most), ("after", after), ("last", last)):
            found[f"{name} {when}"] = (seen[i] - before[i]) / X.nbytes
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.spark_memory", description=__doc__)
    parser.add_argument("--fits", type=int, default=100)
    given = parser.parse_args()
    found = measure(given.fits)
    print(f"{machine.cpu_model()}, {machine.usable_cores()[1]}; growth in multiples of a table of 80 MB")
    print(f"{'':10} {'within a fit':>14} {'after it':>10} {f'after {given.fits}':>10}")
    for name in ("python", "java", "disk"):
        row = [found[f"{name} {when}"] for when in ("most", "after", "last")]
        print(f"{name:10} {row[0]:14.2f} {row[1]:10.2f} {row[2]:10.2f}")


if __name__ == "__main__":
    main()
