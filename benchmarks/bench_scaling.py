"""Scaling of hpcml's main workloads as a pytest-benchmark suite: a group a workload, an entry a backend.

``HPCML_BENCH_SCALE`` sets the share of the rows, ``HPCML_BENCH_SECONDS`` the budget of one entry. What was
found stands in ``extra_info``, every sample in the JSON file of ``--benchmark-json``.
"""

import os

import pytest

from hpcml import machine, parts
from hpcml.scaling import workloads

SCALE = float(os.environ.get("HPCML_BENCH_SCALE", "1"))
SECONDS = float(os.environ.get("HPCML_BENCH_SECONDS", "60"))

#: What the suite covers, each on every backend that it runs on.
SUITE = ("kmeans", "mixture", "logistic", "kmeans-grid", "logistic-grid", "forest", "forest-grid")
ENTRIES = [(name, backend) for name in SUITE for backend in workloads.WORKLOADS[name].backends]


@pytest.mark.parametrize(("name", "backend"), ENTRIES)
def test_scaling(benchmark, scaling, name, backend):
    missing = parts.check(backend) if backend in parts.PARTS else None
    if missing is not None:
        pytest.skip(f"{backend}: {missing}; {parts.PARTS[backend].cure}")
    cores, _ = machine.usable_cores()
    if cores < 2:
        pytest.skip("scaling takes two cores")
    workload = workloads.WORKLOADS[name]
    benchmark.group = f"{name}: {workload.about}"
    n = max(2000, round(workload.rows * SCALE))
    benchmark.pedantic(
        scaling.measure,
        (name,),
        {"n": n, "workers": (1, 2), "backend": backend, "budget": SECONDS, "precision": 0.03},
        rounds=1,
    )
