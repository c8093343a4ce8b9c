"""The device through PyCUDA, on a driver that is the CPU: what it asks of both, and what it leaves behind.

Where PyCUDA is installed it is the real one, else a stand-in that takes what PyCUDA takes. Every check runs
in a process of its own, which loads the driver's stand-in first.
"""

import ctypes
import gc
import importlib.util
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from cuda_host import build
from cuda_host.driver import on_host

import hpcml
from hpcml.cli.info import _short
from hpcml.cluster import KMeans
from hpcml.ensemble import RandomForestClassifier
from hpcml.errors import DeviceMemoryError, KernelUnavailable
from hpcml.kernels.cuda import compile, driver
from hpcml.kernels.cuda.session import session
from hpcml.kernels.cuda.transfers import Residents
from hpcml.linear_model import Ridge

HERE = Path(__file__).parent
INSTALLED = importlib.util.find_spec("pycuda") is not None


def table(n):
    X = np.random.default_rng(0).standard_normal((n, 4)).astype(np.float32)
    return X, (X[:, 0] > X[:, 1]).astype(np.int64)


def fits():
    """Return what some fits find, as bytes."""
    X, y = table(300)
    kmeans = KMeans(3, n_init=1, max_iter=2, random_state=0).fit(X)
    forest = RandomForestClassifier(2, max_depth=2, random_state=0).fit(X, y)
    found = kmeans.cluster_centers_, kmeans.predict(X), Ridge().fit(X, y).coef_, forest.predict_proba(X)
    return b"".join(array.tobytes() for array in found)


# -- in a process of its own -------------------------------------------------------------------------------


def count(name):
    function = ctypes.CDLL("libcuda.so.1").host_count
    function.restype, function.argtypes = ctypes.c_uint64, [ctypes.c_char_p]
    return function(name.encode())


def number(name):
    function = getattr(ctypes.CDLL("libcuda.so.1"), f"host_{name}")
    function.restype = ctypes.c_uint64
    return function()


def begin():
    """Load the stand-ins, before anybody imports PyCUDA; libraries take the place of machine code."""
    sys.setdlopenflags(os.RTLD_LAZY)  # PyCUDA refers to more of a driver than hpcml calls
    ctypes.CDLL(str(build.cuda_driver()), ctypes.RTLD_GLOBAL)
    if not INSTALLED:
        sys.path.insert(0, str(HERE / "cuda_host" / "stand_in"))
    compile.code = lambda source, architecture: str(build.library(source)).encode() + b"\0"
    hpcml.set_config(device="cuda", strict_device=True)


def check_fits():
    no_device = "cuInit failed: no CUDA-capable device is detected"
    for variable, value, reason in (
        ("DEVICES", "0", f"the NVIDIA driver does not start ({no_device}); it has to be installed, "),
        ("CAPABILITY", "61", "the GPU has compute capability 6.1, and the kernels need at least 7.5"),
    ):
        os.environ[f"CUDA_HOST_{variable}"] = value
        assert driver.reason().startswith(reason)
        assert reason in " ".join(" ".join(_short()).split())
        with pytest.raises(KernelUnavailable, match=re.escape(reason)) as caught:
            KMeans(2).fit(np.eye(4))
        assert "pip install" not in str(caught.value)  # there is nothing to install in Python
        del os.environ[f"CUDA_HOST_{variable}"]
        driver._found.cache_clear()
    before = number("retained")
    with on_host():
        expected = fits()
    assert "CPU in place of GPU 0" in " ".join(_short())
    library = ctypes.CDLL("libcuda.so.1")
    assert library.cuInit(0) == 0
    other = ctypes.c_void_p(8)  # the context of another library
    library.cuCtxPushCurrent_v2(other)
    assert fits() == expected
    top = ctypes.c_void_p()
    assert library.cuCtxPopCurrent_v2(ctypes.byref(top)) == 0 and top.value == other.value
    assert number("depth") == 0 and count("cuCtxPushCurrent") == count("cuCtxPopCurrent") > 4
    assert number("retained") == before + 1 and number("streams") == 0
    # another thread, with contexts of its own
    found = []
    thread = threading.Thread(target=lambda: found.append(fits()))
    thread.start()
    thread.join()
    assert found == [expected] and number("streams") == 0
    gc.collect()
    device = driver.current()
    with session(device):  # gives back what died since
        pass
    assert not device._blocks
    pid = os.fork()
    if pid == 0:  # the child of a process that has used the device
        try:
            with pytest.raises(RuntimeError, match="forked after its first use"), device.active():
                pass
            assert driver.reason().startswith("the NVIDIA driver does not start (cuInit failed: ")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    device._close()
    assert number("retained") == before and number("arrays") == 0
    os._exit(0)  # atexit would close it again


def check_memory():
    X, _ = table(3100)
    expected = Ridge().fit(X, X[:, 0]).coef_
    launched = count("cuLaunchKernel")
    gc.collect()
    device = driver.current()
    for memory in ("70000", "20000"):  # the second one holds no shard
        with device.active():
            Residents.of(device).collect()
            device._pool.free_held()
        assert number("arrays") == 0
        os.environ["CUDA_HOST_MEMORY"] = memory
        if memory == "20000":
            with pytest.raises(
                DeviceMemoryError, match=r"has 0.018 MB left, and a call needs .* of the rows"
            ):
                Ridge().fit(X, X[:, 0])
        else:
            assert Ridge().fit(X, X[:, 0]).coef_.tobytes() == expected.tobytes()
            assert count("cuLaunchKernel") > 2 * launched
    assert not device._blocks and number("depth") == 0
    os.environ["CUDA_HOST_MEMORY"] = "1000000"
    with pytest.raises(Exception, match=r"cu(Stream|Event)Synchronize failed: .*failure") as caught:
        with session(device) as work:
            work.launch("sums", "sum_of_tree", (1, 70_000), 0, 0, 0, 0)  # more blocks than a grid may have
    assert type(caught.value).__name__ == "LaunchError" and number("depth") == 0
    with pytest.raises(Exception, match="failed"):  # a context that has failed stays so
        Ridge().fit(X, X[:, 0])
    os._exit(0)  # nothing can be given back to it


@pytest.mark.parametrize("name", ["fits", "memory"])
def test_pycuda(name):
    build.cuda_driver(), build.libraries()
    code = f"import test_cuda_pycuda as checks; checks.begin(); checks.check_{name}()"
    path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
