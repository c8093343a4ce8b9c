"""Every implementation may be called from several Python threads at once, and after a fork."""

import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tables import few_values

import hpcml
from hpcml import kernels
from hpcml.ensemble import RandomForestRegressor
from needs import implementations


@pytest.mark.parametrize("implementation", implementations("find_bins", reference=True))
def test_several_python_threads_at_once(implementation):
    with hpcml.config_context(kernels=implementation):
        find_bins, apply_bins = kernels.lookup("find_bins"), kernels.lookup("apply_bins")

    def work(seed):
        X = np.random.default_rng(seed).standard_normal((4000, 6)).astype(np.float32)
        _, upper, n_bins = find_bins(X, 64, 2)
        return apply_bins(X, upper, n_bins, 2)

    alone = [work(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(alone, pool.map(work, range(8)), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("implementation", implementations("find_bins"))
def test_fits_in_several_python_threads_at_once(implementation):
    X, y, _ = few_values(n=200)

    def fit(seed):
        with hpcml.config_context(kernels=implementation, n_threads=2):
            forest = RandomForestRegressor(n_estimators=3, max_depth=4, random_state=seed).fit(X, y)
            return forest.predict(X)

    alone = [fit(seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        for one, other in zip(alone, pool.map(fit, range(6)), strict=True):
            np.testing.assert_array_equal(one, other)


def longest_pause(work):
    """Return the seconds that work took, and the longest in which this thread could not run meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        start = last = time.perf_counter()
        pause, running = 0.0, pool.submit(work)
        while not running.done():
            time.sleep(1e-4)
            now = time.perf_counter()
            pause, last = max(pause, now - last), now
        running.result()
    return last - start, pause


@pytest.mark.parametrize("implementation", implementations("find_bins"))
def test_native_loops_let_other_threads_run(implementation):
    X = np.random.default_rng(0).random((200_000, 20), dtype=np.float32)
    with hpcml.config_context(kernels=implementation):
        kernel = {name: kernels.lookup(name) for name in ("find_bins", "apply_bins", "predict_leaves")}
    _, upper, n_bins = kernel["find_bins"](X[:2000], 255, 1)  # numba compiles here
    kernel["apply_bins"](X[:2000], upper, n_bins, 1)
    forest = RandomForestRegressor(n_estimators=9, max_depth=9, max_features=4, random_state=0)
    trees = forest.fit(X[:5000], X[:5000, 0])._trees
    kernel["predict_leaves"](X[:2000], trees.nodes, trees.offsets, 1)
    for work in (
        lambda: kernel["find_bins"](X, 255, 1),
        lambda: kernel["apply_bins"](X, upper, n_bins, 1),
        lambda: kernel["predict_leaves"](X, trees.nodes, trees.offsets, 1),
        lambda: forest.set_params(n_jobs=1).fit(X[:60_000], X[:60_000, 0]),
    ):
        for _ in range(5):  # a busy machine pauses threads as well
            seconds, pause = longest_pause(work)
            if pause < seconds / 2:
                break
        else:
            raise AssertionError(f"no other thread ran for {pause:.3f} s of {seconds:.3f} s")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("implementation", implementations("find_bins", reference=True))
def test_child_forked_after_a_fit_with_threads_does_not_hang(implementation):
    code = f"""
        import os
        import numpy as np
        import hpcml
        from hpcml.ensemble import RandomForestRegressor
        hpcml.set_config(kernels={implementation!r})
        X = np.random.default_rng(0).standard_normal((2500, 4))
        forest = RandomForestRegressor(n_estimators=4, max_depth=2, random_state=0, n_jobs=2)
        expected = forest.fit(X, X[:, 0]).predict(X)
        pid = os.fork()
        if pid == 0:
            in_child = forest.fit(X, X[:, 0]).predict(X)
            os._exit(0 if np.array_equal(in_child, expected) else 1)
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
