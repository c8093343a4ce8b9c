"""The parts of the backend "spark" that need no cluster: dealing, naming, arrays on an executor, errors."""

import gc
import multiprocessing
import os
import pickle
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joblib import delayed
from joblib.parallel import BatchedCalls, SequentialBackend
from sklearn.ensemble import RandomForestClassifier

from hpcml import parts
from hpcml.errors import HpcmlError, WorkerLost
from hpcml.joblib_backends import executor, executor_arrays, spark_connect
from hpcml.joblib_backends.dealing import balanced
from hpcml.joblib_backends.executor import Work, run_tasks
from hpcml.joblib_backends.executor_arrays import Layout, Sent, describe
from hpcml.joblib_backends.naming import cost_of, job_name
from hpcml.joblib_backends.outcomes import run
from hpcml.joblib_backends.payload import load
from hpcml.joblib_backends.shipped import UNSUITABLE, shipped, versions
from hpcml.joblib_backends.spark_call import Call, Task
from hpcml.joblib_backends.spark_connect import ConnectCluster
from hpcml.joblib_backends.spark_session import checked_count, explained, inheriting, resource_profile

WORK = Work(1, (), None, "r")


@given(st.lists(st.floats(0.1, 100.0), min_size=1, max_size=60), st.integers(1, 20))
def test_every_task_is_dealt_once_and_no_part_is_far_above_the_mean(costs, n_parts):
    dealt = balanced(costs, n_parts)
    assert sorted(number for part in dealt for number in part) == list(range(len(costs)))
    assert len(dealt) == min(n_parts, len(costs))
    loads = [sum(costs[number] for number in part) for part in dealt]
    assert max(loads) <= sum(costs) / len(dealt) + max(costs) + 1e-9


def batch(*calls):
    return BatchedCalls(calls, (SequentialBackend(nesting_level=1), None))


def test_names_and_costs():
    class Dear:
        cost = 7.5

    forest = RandomForestClassifier()
    assert job_name([batch(delayed(max)(forest, parameters={"b": 1, "a": 2}))]) == (
        "RandomForestClassifier over a, b: 1 tasks"
    )
    assert job_name([batch(delayed(max)(1), delayed(max)(2))]) == "2 calls of max"
    assert cost_of(batch(delayed(max)(Dear()), delayed(max)(3), delayed(max)())) == 9.5


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    monkeypatch.setattr(Layout, "_files", {})
    return tmp_path


class Broadcast:
    """Like Spark's: unpickled when it is first asked for."""

    def __init__(self, key, array):
        self._pickled = pickle.dumps(Sent(key, array), protocol=5)

    @property
    def value(self):
        return pickle.loads(self._pickled)


def fetch(key, array, mode="r"):
    layout = Layout.current = Layout(None, mode)
    try:
        return layout.array(key, describe(array), Broadcast(key, array))
    finally:
        Layout.current = None


@pytest.mark.parametrize("mode", ["r", "c", None])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_on_an_executor(folder, mode, order):
    array = np.array(np.arange(12.0).reshape(3, 4), order=order)
    for _ in range(2):  # laid out, then mapped
        found = fetch("key", array, mode)
        np.testing.assert_array_equal(found, array)
        assert found.flags.f_contiguous == (order == "F") and found.flags.writeable == (mode != "r")
        assert found.__array_interface__["data"][0] % 64 == 0 or mode is None
        if mode != "r":
            found[0] = -1
    files = {path.name for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    assert files == {"lock"}


def _hold(array, told, wait):
    executor_arrays.Layout._files.clear()
    fetch("key", array)
    told.set()
    wait.wait()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="files of other processes are found in /proc")
def test_the_file_of_another_process_is_mapped_and_gone_with_it(folder):
    context = multiprocessing.get_context("fork")
    array = np.arange(1000.0)
    told, wait = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(array, told, wait))
    other.start()
    told.wait(30)
    link = folder / f"hpcml-{os.getuid()}" / "key"
    assert os.readlink(link).startswith(f"/proc/{other.pid}/fd/")
    layout = Layout(None, "r")
    mapped = layout.array("key", describe(array), None)  # without any broadcast
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    np.testing.assert_array_equal(mapped, array)
    Layout._files.clear()
    np.testing.assert_array_equal(fetch("key", array), array)  # laid out anew
    assert os.readlink(link).startswith(f"/proc/{os.getpid()}/fd/")
    layout.forget_all_but(frozenset())
    assert not link.is_symlink() and not Layout._files


@pytest.mark.require("spark")
@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"hpcml": "0.0.7"}, r"hpcml 0\.0\.7 on the driver, .* on an executor"),
        ({"no_such_module": "1.0"}, "no_such_module 1.0 on the driver, ModuleNotFoundError"),
    ],
)
def test_versions_that_differ_are_told(wanted, told):
    import re

    found = list(shipped(wanted, WORK)([[(0, b"")]], ()))
    assert [number for number, _ in found] == [UNSUITABLE] and re.match(told, found[0][1])
    assert list(shipped(versions(), WORK)([], ())) == []


class Cluster:
    """Runs tasks in this process, one partition after the other."""

    def __init__(self, trouble=None):
        self.trouble, self.jobs, self.cancelled = trouble, [], []

    def run(self, parts, arrays, work, name, tag, deliver, cancelled):
        self.jobs.append((name, len(parts), len(arrays)))
        if self.trouble is not None:
            self.trouble(deliver, cancelled)
        for part in parts:
            for number, payload in part:
                outcome, _ = run(load(payload, arrays))
                deliver(number, outcome)
                deliver(number, outcome)  # as when Spark runs a partition again

    def cancel(self, tag):
        self.cancelled.append(tag)


def call(cluster, functions, n_jobs=2, n_slots=2, eager=False):
    done, finished = [], threading.Semaphore(0)
    own = Call(cluster, lambda target: target, n_jobs, n_slots, 100, WORK, eager)

    def callback(task):
        done.append(task)
        finished.release()

    tasks = [Task(function, callback) for function in functions]
    for task in tasks:
        own.submit(task)
    if not eager:
        own.flush()
    for _ in tasks:
        assert finished.acquire(timeout=30)
    own.end()
    assert len(done) == len(tasks)
    return tasks


def times(X, i):
    return X.sum() * i


def test_a_call_is_one_job_and_each_task_is_delivered_once():
    X = np.ones(1000)
    for eager in (False, True):
        cluster = Cluster()
        tasks = call(cluster, [batch(delayed(times)(X, i)) for i in range(20)], eager=eager)
        assert [task.outcome.value for task in tasks] == [[1000.0 * i] for i in range(20)]
        assert cluster.jobs == [("20 calls of times", 8, 1)]
    cluster = Cluster()
    call(cluster, [batch(delayed(abs)(i)) for i in range(20)], n_jobs=3, n_slots=8)
    assert cluster.jobs[0][1] == 3


def test_trouble_reaches_every_task_that_has_no_outcome():
    def unsuitable(deliver, cancelled):
        deliver(UNSUITABLE, "numpy 2.0 on the driver, 1.26 on an executor")

    cluster = Cluster(unsuitable)
    for task in call(cluster, [batch(delayed(abs)(1)), batch(delayed(abs)(2))]):
        assert isinstance(task.outcome.value, HpcmlError)
        assert "do not suit the driver: numpy 2.0" in str(task.outcome.value)
    assert cluster.cancelled

    def lost(deliver, cancelled):
        raise RuntimeError("java: spark.driver.maxResultSize (48.0 MiB)")

    for task in call(Cluster(lost), [batch(delayed(abs)(1))]):
        assert "raise it" in str(task.outcome.value)
    for task in call(Cluster(), [batch(delayed(abs)(threading.Lock()))]):
        assert isinstance(task.outcome.value, TypeError | pickle.PicklingError)


def test_a_cancelled_call_delivers_nothing_more():
    started = threading.Event()

    def wait(deliver, cancelled):
        started.set()
        cancelled.wait(30)
        raise RuntimeError("cancelled")

    called = []
    cluster = Cluster(wait)
    own = Call(cluster, lambda target: target, 2, 2, None, WORK, False)
    own.submit(Task(batch(delayed(abs)(1)), called.append))
    own.flush()
    assert started.wait(30)
    own.cancel()
    time.sleep(0.05)
    assert not called and cluster.cancelled


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "Total size is bigger than spark.driver.maxResultSize",
            HpcmlError,
            "maxResultSize; raise",
        ),
        ("ModuleNotFoundError: No module named 'hpcml'", HpcmlError, "has no hpcml; PYSPARK_PYTHON"),
        ("[PYTHON_VERSION_MISMATCH] Python in worker has different version", HpcmlError, "another version"),
        ("Python worker exited unexpectedly (crashed)", WorkerLost, "ended again and again"),
        ("ExecutorLostFailure (executor 1 exited)", WorkerLost, "an executor was lost"),
        ("Job 3 cancelled part of cancelled job tags", HpcmlError, "the Spark job was cancelled"),
    ],
)
def test_what_spark_says_is_explained(text, kind, message):
    original = RuntimeError(
        f"An error occurred while calling o1.x\n: org.apache.spark.SparkException: {text}\n\tat"
    )
    error = explained(original)
    assert type(error) is kind and message in str(error) and error.__cause__ is original
    assert "\n" not in str(error)
    other = ValueError("the user's own")
    assert explained(other) is other


def test_numbers_of_cores():
    assert checked_count(None, "n", 1) is None and checked_count(3, "n", 1) == 3
    with pytest.raises(TypeError, match="n must be an integer of at least 1 or None. Got True instead"):
        checked_count(True, "n", 1)


def configured(**changes):
    """Return a session of Spark's local mode, as far as its configuration is asked for."""
    names = {"task": "spark.task.resource.gpu.amount", "executor": "spark.executor.resource.gpu.amount"}
    names["reuse"] = "spark.python.worker.reuse"
    return SimpleNamespace(conf={"spark.master": "local[2]"} | {names[key]: changes[key] for key in changes})


def test_gpus_that_a_process_cannot_change():
    for fit in ({}, {"executor": "1", "task": "0.25"}, {"executor": "2", "task": "2"}, {"executor": "4"}):
        assert resource_profile(configured(**fit), None, None) is None
    with pytest.raises(
        ValueError, match=r"tasks of 1 GPUs on executors of 4: .* set .*reuse=false, or .*=1$"
    ):
        resource_profile(configured(executor="4", task="1"), None, None)
    assert resource_profile(configured(executor="4", task="1", reuse="false"), None, None) is None
    with pytest.raises(ValueError, match=r"tasks of 2 GPUs on executors of 4: "):
        resource_profile(configured(executor="4"), None, 2)
    with pytest.raises(ValueError, match="need a cluster"):
        resource_profile(configured(executor="1"), None, 1)


def test_spark_3_through_connect_has_no_profiles(monkeypatch):
    pytest.importorskip("pyspark")
    monkeypatch.setattr("pyspark.__version__", "3.5.9")
    session = type("SparkSession", (), {"__module__": "pyspark.sql.connect.session", "conf": {}})()
    with pytest.raises(ValueError, match="need Spark 4 through Spark Connect; with Spark 3.5 set"):
        resource_profile(session, 2, None)
    assert inheriting(session)(abs) is abs


def test_files_of_a_session_are_known_as_long_as_it_lives():
    class Session:
        def __init__(self):
            self.artifacts = []

        def addArtifacts(self, path, file):
            self.artifacts.append(Path(path).name)

    sessions = [Session() for _ in range(2)]
    names = {ConnectCluster(each, None)._send(b"rows") for each in (*sessions, *sessions)}
    assert len(names) == 1 and all(each.artifacts == list(names) for each in sessions)
    known = len(spark_connect._sent)
    sessions.clear()
    gc.collect()
    assert len(spark_connect._sent) == known - 2


def test_what_libraries_keep_is_set_aside_once(monkeypatch):
    frozen = []
    monkeypatch.setattr(executor, "_n_modules", 0)
    monkeypatch.setattr(executor.gc, "freeze", lambda: frozen.append(1))
    for _ in range(3):
        assert list(run_tasks([], WORK, ())) == []
    assert frozen == [1]


def test_java_is_looked_for(monkeypatch, tmp_path):
    if parts.check("spark") is not None:
        pytest.skip("Spark is missing")
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    parts.check.cache_clear()
    try:
        assert "Java 17 or newer is not installed" in parts.check("spark")
        java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
        java.chmod(0o755)
        parts.check.cache_clear()
        assert parts.check("spark") == "Java is 11, and 17 or newer is needed"
    finally:
        parts.check.cache_clear()
