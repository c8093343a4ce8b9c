"""hpcml on a GPU beside what the card can do, its own processor, PyTorch and CuPy.

python -m benchmarks.gpu                      all cases
python -m benchmarks.gpu --only kmeans        one of them
python -m benchmarks.gpu --crossover          sizes from which the GPU is faster, for device="auto"
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.gpu_cases import CASES, LEAST_ROWS, OURS, PROCESSOR, GpuCase
from hpcml import machine
from hpcml.kernels.cuda import driver
from hpcml.kernels.cuda.blocks import THREADS, ceil
from hpcml.kernels.cuda.session import session

__all__ = ["crossover", "main", "measure", "rates"]

#: A copy and a chain of products at full scale: 2 GB, and some milliseconds of arithmetic.
WORDS, BLOCKS, STEPS = 1 << 28, 1 << 14, 1 << 14
#: Sizes of the crossover: numbers of a table.
SIZES = tuple(4**i for i in range(6, 15))


def rates(scale: float = 1.0, rounds: int = 5) -> dict[str, float]:
    """Measure what the card can do.

    Parameters
    ----------
    scale : float
        Share of the work.
    rounds : int
        The best one counts.

    Returns
    -------
    dict of str to float
        ``copy``: bytes read and written a second; ``float32``, ``float64``: operations of multiply-adds.
    """
    words, blocks = max(THREADS, int(WORDS * scale)), max(1, int(BLOCKS * scale))
    steps = max(8, int(STEPS * scale))
    best = dict.fromkeys(("copy", "float32", "float64"), 0.0)
    with session(driver.current()) as device:
        source = device.put("from", np.random.default_rng(0).random(words))  # zeros may travel faster
        target = device.room("to", 8 * words)
        start = device.put("start", np.array([0.999, 0.5]))
        sums = device.room("sums", 8 * blocks * THREADS)
        launches = {
            "copy": ("copy_words", ceil(words, THREADS), (source, target, words), 16.0 * words),
            "float32": ("multiply_add_float", blocks, (start, steps, sums), 16.0 * steps * blocks * THREADS),
            "float64": ("multiply_add_double", blocks, (start, steps, sums), 16.0 * steps * blocks * THREADS),
        }
        for _ in range(rounds + 1):
            for name, (kernel, grid, arguments, amount) in launches.items():
                device.wait()
                started = time.perf_counter()
                device.launch("ceilings", kernel, (min(grid, 1 << 20), 1), *arguments)
                device.wait()
                best[name] = max(best[name], amount / (time.perf_counter() - started))
    return best


def _samples(case: GpuCase, X: np.ndarray, contestants: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Time contestants in turns, each of which has done the work once before."""
    runs = {name: case.prepare(X, name) for name in contestants}
    for run in runs.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(min(rounds, case.rounds)):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            found[name].append(time.perf_counter() - started)
    return found


def measure(case: GpuCase, ceilings: dict[str, float], *, scale: float, rounds: int) -> dict[str, Any]:
    """Time all contestants of a case.

    Parameters
    ----------
    case : GpuCase
    ceilings : dict of str to float
        What `rates` returned in the same run.
    scale : float
        Share of the rows.
    rounds : int

    Returns
    -------
    dict
        Samples and medians in seconds, bytes, operations, the least time by the card's rates, and whether
        the targets are met.
    """
    n = max(LEAST_ROWS, int(case.rows * scale))
    samples = _samples(case, case.table(n), case.contestants, rounds)
    medians = {name: statistics.median(times) for name, times in samples.items()}
    work = case.work(n, case.columns)
    bound = max(work.bytes / ceilings["copy"], work.operations / ceilings[work.precision])
    reached = {name: median / medians[OURS] for name, median in medians.items() if name != OURS}
    reached["bound"] = bound / medians[OURS]
    return {
        "case": case.name, "title": case.title, "rows": n, "columns": case.columns, "samples": samples,
        "medians": medians, "bytes": work.bytes, "operations": work.operations, "bound": bound,
        "reached": reached,
        "met": {name: reached[name] >= least for name, least in case.targets.items() if name in reached},
    }  # fmt: skip


def crossover(case: GpuCase, sizes: Sequence[int], rounds: int) -> dict[str, Any]:
    """Find the size from which the GPU is faster than the processor at every size that was measured.

    Parameters
    ----------
    case : GpuCase
    sizes : sequence of int
        Numbers of a table, in ascending order.
    rounds : int

    Returns
    -------
    dict
        Medians by size, and ``from``: the size, None if the GPU is slower at the largest one.
    """
    medians: dict[int, dict[str, float]] = {}
    for size in sizes:
        X = case.table(max(LEAST_ROWS, size // case.columns))
        samples = _samples(case, X, (OURS, PROCESSOR), rounds)
        medians[size] = {name: statistics.median(times) for name, times in samples.items()}
    least = None
    for size in reversed(sizes):
        if medians[size][OURS] >= medians[size][PROCESSOR]:
            break
        least = size
    return {"case": case.name, "kernels": case.kernels, "medians": medians, "from": least}


def _table(measured: list[dict[str, Any]]) -> Table:
    table = Table(title="GPU")
    for name in ("case", "contestant", "median ms", "least-most", "ratio", "share of bound", "target"):
        table.add_column(name, justify="left" if name in ("case", "contestant") else "right")
    for found in measured:
        for name, times in found["samples"].items():
            own = name == OURS
            targets = {"bound": found["met"].get("bound")} if own else {name: found["met"].get(name)}
            met = next(iter(targets.values()))
            table.add_row(
                f"{found['title']}, {found['rows']:,} x {found['columns']}" if own else "",
                name,
                f"{1e3 * found['medians'][name]:.4g}",
                f"{1e3 * min(times):.4g}-{1e3 * max(times):.4g} ({len(times)})",
                "" if own else f"{found['reached'][name]:.3g}",
                f"{found['reached']['bound']:.0%}" if own else "",
                "" if met is None else "met" if met else "missed",
            )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        0; 1 where no GPU can be used, 2 if the command line is wrong.
    """
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [case.name for case in CASES]
    parser.add_argument("--only", choices=names, action="append", help="a case; repeat for more")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each contestant (default: 9)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows (default: 1)")
    parser.add_argument("--crossover", action="store_true", help="measure sizes in place of the cases")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write samples and machine")
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.scale <= 0:
        parser.error("--rounds must be at least 1, --scale above 0.")
    missing = driver.reason()
    if missing is not None:
        print(f"benchmarks.gpu: no GPU can be used: {missing}", file=sys.stderr)
        return 1
    console = Console(highlight=False, width=160)
    cases = [case for case in CASES if given.only is None or case.name in given.only]
    content: dict[str, Any] = {"machine": machine.describe(), "gpu": driver.current().name}
    content |= {"scale": given.scale, "rates": rates(given.scale)}
    if given.crossover:
        sizes = sorted({max(1, int(size * given.scale)) for size in SIZES})
        found = [crossover(case, sizes, given.rounds) for case in cases if case.kernels]
        content["crossover"] = found
        for each in found:
            for kernel in each["kernels"]:
                console.print(f'"{kernel}": {each["from"]},  # {each["case"]}', markup=False)
    else:
        content["measured"] = [
            measure(case, content["rates"], scale=given.scale, rounds=given.rounds) for case in cases
        ]
        console.print(_table(content["measured"]))
    ceilings = content["rates"]
    copies, single, double = (ceilings[name] / 1e9 for name in ("copy", "float32", "float64"))
    about = content["machine"]
    console.print(
        f"{content['gpu']}: copies {copies:.4g} GB/s, multiply-adds {single:.4g} (float32) and {double:.4g} "
        f"GF/s (float64); processor: {about['cpu']}, {about['cores_usable']} cores; scale {given.scale:g}",
        markup=False,
    )
    if given.json is not None:
        given.json.write_text(json.dumps(content, indent=1, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
