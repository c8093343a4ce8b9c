"""An array above 2 GiB, past the counts of Java, on Spark.

It takes a minute, 10 GB of disk and 5 GB of memory, so it has to be asked for:
``HPCML_LARGE=1 python -m pytest tests/test_spark_large.py``. That of MPI is in ``test_mpi_farm_faults.py``.
"""

import os

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed

#: Numbers of 8 bytes, 2.008 GiB together.
LENGTH = 2**28 + 2**20


def ends(X, i):
    return i, X.nbytes, float(X[0]), float(X[-1]), float(X[1:-1:4096].sum()), X.flags.writeable


@pytest.mark.slow
@pytest.mark.require("spark")
@pytest.mark.skipif(not os.environ.get("HPCML_LARGE"), reason="set HPCML_LARGE=1 to run it")
def test_an_array_of_more_than_2_gib(spark, tmp_path):
    X = np.memmap(tmp_path / "zeros", dtype=np.float64, mode="w+", shape=LENGTH)  # zeros take no disk
    X[0], X[-1] = 2.0, 3.0
    with joblib.parallel_backend("spark"):
        found = Parallel()(delayed(ends)(X, i) for i in range(4))
    assert found == [(i, 8 * LENGTH, 2.0, 3.0, 0.0, False) for i in range(4)]
