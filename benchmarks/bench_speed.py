"""The speed cases as a pytest-benchmark suite: a group a case, with every contestant and number of jobs.

See README.md in this folder for the command; ``HPCML_BENCH_SCALE`` sets the share of the rows.
"""

import os

import pytest

from benchmarks.cases import CASES
from benchmarks.data import Dataset
from benchmarks.kinds import Scaling, Speed
from benchmarks.peers import PEERS

SCALE = float(os.environ.get("HPCML_BENCH_SCALE", "1"))
JOBS = (1, 2)
ROUNDS = 5


def _speed_cases() -> dict[str, Speed]:
    found: dict[str, Speed] = {}
    for name, case in CASES.items():
        if isinstance(case, Scaling):
            found |= {each.name: each for each in map(case.case, case.sizes)}
        elif isinstance(case, Speed):
            found[name] = case
    return found


SPEED = _speed_cases()
ENTRIES = [(name, peer, n_jobs) for name, case in SPEED.items() for peer in case.peers for n_jobs in JOBS]


@pytest.fixture(scope="module")
def datasets() -> dict[str, Dataset]:
    """Hold the last data set, so that the contestants of a case share it."""
    return {}


@pytest.mark.parametrize(("name", "peer", "n_jobs"), ENTRIES)
def test_speed(benchmark, datasets, name, peer, n_jobs):
    case = SPEED[name]
    if PEERS[peer].version() is None:
        pytest.skip(f'{PEERS[peer].module} is not installed: python -m pip install "hpcml[peers]"')
    if name not in datasets:
        datasets.clear()
        try:
            datasets[name] = case.data(0, SCALE)
        except FileNotFoundError as error:
            pytest.skip(str(error))
    benchmark.group = f"{name}: {case.title}, {datasets[name].about}"
    run = case.work.prepare(PEERS[peer], datasets[name], n_jobs, 0)
    result = benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["quality"] = float(case.work.quality(result, datasets[name]).mean())
    benchmark.extra_info["version"] = PEERS[peer].version()
