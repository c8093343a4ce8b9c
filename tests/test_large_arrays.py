"""Arrays above 2 GiB, past the counts of Java and MPI: on Spark and on the ranks of a farm.

Spark takes a minute, 10 GB of disk and 5 GB of memory for it, so its test has to be asked for:
``HPCML_LARGE=1 python -m pytest tests/test_large_arrays.py``.
"""

import os
import shutil
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed

from farm_work import farm
from mpi_runs import run_ranks

pytestmark = pytest.mark.slow

#: Numbers of 8 bytes, 2.008 GiB together.
LENGTH = 2**28 + 2**20


def large(folder):
    """Return an array of zeros that take no disk, with another number at each end."""
    X = np.memmap(Path(folder, "zeros"), dtype=np.float64, mode="w+", shape=LENGTH)
    X[0], X[-1] = 2.0, 3.0
    return X


def ends(X, i):
    return i, X.nbytes, float(X[0]), float(X[-1]), float(X[1:-1:4096].sum()), X.flags.writeable


EXPECTED = [(i, 8 * LENGTH, 2.0, 3.0, 0.0, False) for i in range(4)]


@pytest.mark.require("spark")
@pytest.mark.skipif(not os.environ.get("HPCML_LARGE"), reason="set HPCML_LARGE=1 to run it")
def test_on_spark(spark, tmp_path):
    X = large(tmp_path)
    with joblib.parallel_backend("spark"):
        assert Parallel()(delayed(ends)(X, i) for i in range(4)) == EXPECTED


def on_the_ranks(folder):
    X = large(folder)
    with farm():
        return Parallel()(delayed(ends)(X, i) for i in range(4))


@pytest.mark.require("mpi")
def test_on_the_ranks_of_a_farm(tmp_path):
    if not os.path.isdir("/dev/shm") or shutil.disk_usage("/dev/shm").free < 12 * LENGTH:
        pytest.skip("/dev/shm has no room for 3 GB")
    found = run_ranks(2, on_the_ranks, str(tmp_path), communicator="", timeout=150).results[0]
    assert found == EXPECTED
