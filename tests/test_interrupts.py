"""Signals while a compiled kernel runs: what a handler raises is heard there, and nothing goes on."""

import signal
import threading
import time
import traceback

import joblib
import numpy as np
import pytest
from scipy import sparse

from hpcml import kernels
from hpcml.cancellation import Cancellation, Cancelled
from hpcml.communicators.checks import ClosedTable
from hpcml.communicators.serial import Serial
from hpcml.ensemble import RandomForestClassifier
from hpcml.kernels.csr import CSR
from hpcml.kernels.shards import bounds_of
from hpcml.model_selection import GridSearchCV
from hpcml.training import forest as growth

pytestmark = pytest.mark.require("cython")


class Heard(BaseException):
    """What the handler of these tests raises."""


@pytest.fixture
def alarm():
    """Return a function that lets a signal come when this process has computed for so many seconds more."""

    def handler(number, frame):
        raise Heard

    before = signal.signal(signal.SIGPROF, handler)
    yield lambda seconds: signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def assert_heard_in_a_kernel(raised):
    files = [frame.filename for frame in traceback.extract_tb(raised.tb)]
    assert files[-2:-1] and files[-2].endswith((".pyx", ".pxd")), files  # the last is the handler's


def assert_idle():
    """Wait until this process computes nothing; ten seconds of its time are those of no whole fit here."""
    start = time.process_time()
    while True:
        before = time.process_time()
        time.sleep(0.1)  # threads of OpenMP look for more work for some ms
        if time.process_time() - before < 0.05:
            return
        assert time.process_time() - start < 10, "something goes on computing"


@pytest.fixture(scope="module")
def table():
    X = np.random.default_rng(0).standard_normal((20_000, 20)).astype(np.float32)
    return X, (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)


@pytest.mark.parametrize("n_jobs, rule", [(1, {}), (2, {}), (2, {"max_leaf_nodes": 10_000})])
def test_growth_ends_and_the_next_fit_has_the_same_bits(alarm, monkeypatch, table, n_jobs, rule):
    monkeypatch.setattr(growth, "WORK_PER_CALL", 1 << 62)
    forest = RandomForestClassifier(n_estimators=4, n_jobs=n_jobs, random_state=0, **rule)
    start = time.process_time()
    whole = forest.fit(*table).predict_proba(table[0][:1000])
    of_four = time.process_time() - start
    start = time.process_time()
    alarm(0.25)
    with pytest.raises(Heard) as raised:
        forest.set_params(n_estimators=4000).fit(*table)
    assert_heard_in_a_kernel(raised)
    assert time.process_time() - start < 100 * of_four  # of 1000 times as much
    assert_idle()
    again = forest.set_params(n_estimators=4).fit(*table)
    np.testing.assert_array_equal(again.predict_proba(table[0][:1000]), whole)


def long_calls():
    """Return calls of kernels that take long, by the way in which their threads share the work."""
    rng = np.random.default_rng(0)
    X = np.tile(rng.standard_normal((100_000, 16)).astype(np.float32), (20, 1))
    trees = RandomForestClassifier(n_estimators=100, random_state=0).fit(X[:3000], X[:3000, 0] > 0)._trees
    n, d, K = 50_000, 100, 1024
    entries = CSR.of(sparse.random_array((n, d), density=0.1, format="csr", rng=rng))
    entries.by_columns()
    by_columns = {
        "bounds": bounds_of(n),
        "first_shard": 0,
        "n_shards": len(bounds_of(n)) - 1,
        "X": entries,
        **dict.fromkeys(("weights", "held", "origin", "folds", "factors")),
        "y": np.zeros(n),
        "W": np.zeros((K, d + 1)),
        "positive": np.ones(K),
        "problems": K,
        "loss": "logistic",
        "epsilon": 0.0,
        "n_threads": 2,
    }
    wide = np.zeros((2047, 4000))
    find_bins, predict_values, linear_gradient, gram = map(
        kernels.lookup, ("find_bins", "predict_values", "linear_gradient", "gram")
    )
    return {
        "columns": lambda: find_bins(X, 255, 1),
        "blocks": lambda: predict_values(X, trees.nodes, trees.values, trees.offsets, 2),
        "sparse columns": lambda: linear_gradient(**by_columns),
        "a single shard": lambda: gram(bounds_of(2047), 0, 1, wide, None, np.zeros(4000), None, None, 2),
        "alone": lambda: descend(10**6),
    }


def descend(max_sweeps):
    """Descend along coordinates as often as that."""
    H, zeros = np.eye(400) + np.ones((400, 400)), np.zeros(400)
    kernels.lookup("descend_coordinates")(H, np.ones(400), zeros, zeros, -1.0, max_sweeps)


def test_every_kind_of_loop_hears(alarm):
    for name, call in long_calls().items():
        alarm(0.05)
        with pytest.raises(Heard) as raised:
            call()
        assert_heard_in_a_kernel(raised), name


def test_row_arrays_that_are_half_written_cannot_be_read(alarm):
    X = np.random.default_rng(0).standard_normal((300_000, 16))
    centers, origin = X[:4000].copy(), np.zeros(16)
    with Serial() as communicator, communicator.put(X=X) as rows:
        rows.fill("labels", 0, np.int32)
        alarm(0.15)
        with pytest.raises(Heard) as raised:
            rows.map_reduce("lloyd_step", weights=None, centers=centers, origin=origin, with_inertia=False)
        assert_heard_in_a_kernel(raised)
        with pytest.raises(ClosedTable):
            rows.rows("labels")


def test_the_threads_of_a_search_end_with_it(alarm, table):
    forest = RandomForestClassifier(n_estimators=3000, random_state=0)
    alarm(0.5)
    with joblib.parallel_config("threading", n_jobs=2), pytest.raises(Heard):
        GridSearchCV(forest, {"min_samples_leaf": [1, 2]}, cv=2).fit(*table)
    assert_idle()


def test_a_kernel_of_another_thread_is_cancelled():
    cancellation, raised = Cancellation(), []

    def work():
        try:
            with cancellation.heeded():
                descend(10**5)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    cancellation.cancel()
    thread.join()
    assert isinstance(raised[0], Cancelled)
