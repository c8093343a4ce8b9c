"""Spark in trouble: killed workers and executors, interrupts, dropped generators, two searches at a time.

By its name it comes before the tests of Spark Connect on the same cluster: an executor that starts after a
session of Connect has ended asks for that session's files, and Spark fails its tasks.
"""

import gc
import os
import signal
import threading
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV

import hpcml
import spark_work
from spark_work import Sleeper, square

pytestmark = [pytest.mark.require("spark"), pytest.mark.slow]

rng = np.random.default_rng(0)
X = rng.normal(size=(90, 3))
y = (X[:, 0] > 0).astype(int)


@pytest.fixture(autouse=True)
def _on_spark(spark):
    with joblib.parallel_backend("spark"):
        yield


def active_jobs(spark):
    return list(spark.sparkContext.statusTracker().getActiveJobsIds())


@pytest.mark.parametrize("victim", ["worker", "executor"])
def test_what_is_killed_in_a_grid_is_done_again(tmp_path, victim):
    seconds = [0.02 * i for i in range(8)]
    with joblib.parallel_backend("threading", n_jobs=1):
        alone = GridSearchCV(Sleeper(), {"seconds": seconds}, cv=3, refit=False).fit(X, y)
    grid = {"seconds": seconds, "folder": [str(tmp_path)], "kill": [victim]}
    with joblib.parallel_config("spark", max_nbytes=1000):  # the table is broadcast: it is lost there too
        search = GridSearchCV(Sleeper(), grid, cv=3, refit=False).fit(X, y)
    scores = [name for name in alone.cv_results_ if name.endswith("_score")]
    for name in [*scores, "param_seconds"]:
        np.testing.assert_array_equal(search.cv_results_[name], alone.cv_results_[name])
    assert (tmp_path / f"killed-{victim}").exists()
    again = sum(spark_work.runs(tmp_path).values()) - 24
    assert 1 <= again <= 3  # a partition has three tasks


def test_a_task_that_kills_its_worker_whenever_it_runs():
    with pytest.raises(hpcml.errors.WorkerLost, match="ended again and again"):
        Parallel()(delayed(os._exit)(3) for _ in range(2))
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def test_an_interrupt_ends_the_tasks_and_the_backend_works_again(spark, tmp_path):
    def interrupt():
        while len(spark_work.runs(tmp_path)) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        Parallel()(delayed(spark_work.note)(tmp_path, i, 300.0) for i in range(2))
    thread.join()
    assert not active_jobs(spark)
    workers = {int(path.name.split("-")[2]) for path in tmp_path.iterdir()}
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]
    until = time.monotonic() + 30  # Spark gives a worker two seconds to end on its own
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_a_generator_that_is_dropped_cancels_its_job(spark):
    results = Parallel(return_as="generator")(delayed(time.sleep)(0.0 if i < 1 else 300.0) for i in range(8))
    assert next(results) is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib says that tasks were cancelled
        del results
        gc.collect()
    assert not active_jobs(spark)
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def test_two_searches_in_two_threads():
    with joblib.parallel_backend("threading", n_jobs=1):
        alone = GridSearchCV(RandomForestClassifier(5, random_state=0), {"max_depth": [1, 2]}, cv=3).fit(X, y)
    found = {}

    def search(number):
        with joblib.parallel_backend("spark"):
            forest = RandomForestClassifier(5, random_state=0)
            found[number] = GridSearchCV(forest, {"max_depth": [1, 2]}, cv=3).fit(X, y).cv_results_

    searches = [threading.Thread(target=search, args=(number,)) for number in range(2)]
    for thread in searches:
        thread.start()
    for thread in searches:
        thread.join()
    assert len(found) == 2
    for results in found.values():
        np.testing.assert_array_equal(results["mean_test_score"], alone.cv_results_["mean_test_score"])


def test_nested_searches_stay_within_the_cores():
    found = Parallel()(delayed(spark_work.nested_search)(X, y) for _ in range(4))
    for places, scores in found:
        assert len(places) == 1  # one process, one thread
        assert places[0][2] == 1 and scores == found[0][1]
    forest = RandomForestClassifier(3, n_jobs=-1, random_state=0)
    inner = GridSearchCV(forest, {"max_depth": [1, 2]}, cv=2, n_jobs=-1)
    outer = GridSearchCV(inner, {"estimator__max_features": [1, 2]}, cv=2, refit=False)
    with joblib.parallel_backend("threading", n_jobs=1):
        alone = outer.fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(outer.fit(X, y).cv_results_["mean_test_score"], alone)


def test_an_estimator_that_writes_into_its_rows():
    def scores():
        search = GridSearchCV(spark_work.Writer(), {"seconds": [0.0, 0.1]}, cv=3, refit=False)
        return search.fit(X, y).cv_results_["mean_test_score"]

    with joblib.parallel_backend("threading", n_jobs=1):
        alone = scores()
    before = X.copy()
    with joblib.parallel_config(
        "spark", max_nbytes=1000
    ):  # folds are copies of the rows, also of mapped ones
        np.testing.assert_array_equal(scores(), alone)
    np.testing.assert_array_equal(X, before)


def test_memory_disk_and_threads_of_the_driver_stay_flat(spark):
    large = rng.normal(size=2_000_000)  # 16 MB

    def disk():
        folder = Path(spark.sparkContext.getConf().get("spark.local.dir", "/tmp"))
        return sum(path.stat().st_size for path in folder.glob("spark-*/pyspark-*/*") if path.is_file())

    def broadcast_is_gone():  # soon after the results are there
        until = time.monotonic() + 20
        while disk() and time.monotonic() < until:
            time.sleep(0.05)
        return disk() == 0

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def fit():
        assert Parallel()(delayed(np.sum)(large) for _ in range(2)) == [large.sum()] * 2

    for _ in range(3):
        fit()
    gc.collect()
    assert broadcast_is_gone()
    before, n_threads = resident(), threading.active_count()
    for _ in range(8):
        fit()
    gc.collect()
    assert resident() - before < 2 * large.nbytes  # all of them would be eight times
    assert broadcast_is_gone()
    assert threading.active_count() <= n_threads + 1
