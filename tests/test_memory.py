"""The grid's peak memory: the caller's table, two bytes a value, and a fixed part."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FIXED = 200e6  # bytes: trees, threads, and blocks of rows and columns

CODE = """
    import sys
    import numpy as np
    from hpcml.ensemble import RandomForestRegressor
    from hpcml.model_selection import GridSearchCV

    def status(key):
        lines = open("/proc/self/status").read().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))

    def run(X):
        grid = {"max_depth": [1, 3], "n_estimators": [2, 4]}
        forest = RandomForestRegressor(max_features=5, random_state=0)
        search = GridSearchCV(forest, grid, cv=3, refit=sys.argv[2] == "refit").fit(X, X[:, 0])
        assert not search.plan_.fallbacks

    X = np.random.default_rng(0).random((500_000, 50), dtype=np.float32).astype(sys.argv[1])
    run(X[:500].copy())  # what is loaded once
    before = status("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # the peak becomes the present size
    run(X)
    print(status("VmHWM") - before, X.size)
"""


@pytest.mark.require("cython")
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize(("dtype", "refit"), [("float32", "refit"), ("float64", "refit")])
def test_a_grid_takes_two_bytes_a_value(dtype, refit):
    command = [sys.executable, "-c", textwrap.dedent(CODE), dtype, refit]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak, values = map(int, done.stdout.split())
    assert peak <= 2 * values + FIXED, f"{peak / 1e6:.0f} MB beside a table of {values} values"
