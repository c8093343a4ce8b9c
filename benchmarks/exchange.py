"""What a communicator costs an iteration: ``python -m benchmarks.exchange``, or the same under ``mpirun``.

``HPCML_COMMUNICATOR=processes HPCML_NUM_WORKERS=2 python -m benchmarks.exchange`` measures worker processes,
``HPCML_COMMUNICATOR=mpi mpirun -n 2 python -m benchmarks.exchange`` ranks. The same steps run in turns on one
thread of this process, so that what the communicator adds can be read off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import hpcml
from hpcml import communicators, machine
from hpcml.communicators import Table

__all__ = ["measure"]

#: Few rows, so that kernels take next to no time: four shards.
ROWS = 4096

#: 64 kB of float64.
WIDE = 8192

ROUNDS = 20
ITERATIONS = 50


def _count(X: np.ndarray) -> dict[str, Any]:
    return {"n": len(X)}


def _echo(X: np.ndarray, model: np.ndarray) -> dict[str, Any]:
    return {"model": model}


_CENTERS, _MODEL = np.zeros(1), np.zeros(WIDE)

STEPS: dict[str, Callable[[Table], Any]] = {
    "a kernel by its name": lambda table: table.map_reduce("moments", centers=_CENTERS, weights=None),
    "a function": lambda table: table.map_reduce(_count),
    "a function, 64 kB there and back": lambda table: table.map_reduce(_echo, model=_MODEL),
    "a column of row state": lambda table: table.fill("labels", 0, np.int32),
}


#: Two steps that are alike but for 64 kB.
PAIR = ("a function, 64 kB there and back", "a function")


def _times(table: Table, step: Callable[[Table], Any]) -> list[float]:
    found = []
    for _ in range(ITERATIONS):
        start = time.perf_counter()
        step(table)
        found.append(1e6 * (time.perf_counter() - start))
    return found


def measure() -> dict[str, dict[str, list[float]]]:
    """Return microseconds an iteration of every step, by the communicator; ranks beyond 0 return nothing."""
    samples: dict[str, dict[str, list[float]]] = {}
    with communicators.current() as communicator:
        X = np.zeros((ROWS // communicator.size, 1))
        with hpcml.config_context(communicator="serial"):
            alone = communicators.current().put(X=X)
        with communicator.put(X=X) as table:
            for _ in range(ROUNDS):
                for name, step in STEPS.items():
                    own = samples.setdefault(name, {f"{communicator.name}": [], "serial, 1 thread": []})
                    own[communicator.name] += _times(table, step)
                    with hpcml.config_context(n_threads=1):
                        own["serial, 1 thread"] += _times(alone, step)
        return {} if communicator.rank else samples


if __name__ == "__main__":
    found = measure()
    if found:
        settings = hpcml.get_config()
        print(f"{machine.cpu_model()}, {machine.usable_cores()[1]}; {settings}; microseconds: least, median")
    for step_name, by_whom in found.items():
        told = ", ".join(f"{who} {min(t):.0f}, {np.median(t):.0f}" for who, t in by_whom.items())
        print(f"{step_name:34} {told}")
    if found:
        large, small = (found[name] for name in PAIR)
        own, alone = ([f(large[who]) - f(small[who]) for f in (np.min, np.median)] for who in large)
        added = ", ".join(f"{a - b:.0f}" for a, b in zip(own, alone, strict=True))
        print(f"64 kB make an exchange longer by {added} (less what they cost the function itself)")
