"""Every implementation may be called from several Python threads at once, and after a fork."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import hpcml
from hpcml import kernels
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("implementation", implementations("find_bins", reference=True))
def test_child_forked_after_a_call_with_threads_does_not_hang(implementation):
    code = f"""
        import os
        import numpy as np
        from hpcml import config, kernels
        X = np.random.default_rng(0).standard_normal((4000, 6)).astype(np.float32)
        with config.config_context(kernels={implementation!r}):
            find_bins = kernels.lookup("find_bins")
        lower, _, _ = find_bins(X, 64, 2)
        pid = os.fork()
        if pid == 0:
            in_child, _, _ = find_bins(X, 64, config.n_threads(2))
            os._exit(0 if np.array_equal(lower, in_child, equal_nan=True) else 1)
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
