"""joblib on a real Spark cluster: one job a call, results in order, arrays, errors, options."""

import json
import threading
import time
import urllib.request
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from scipy import sparse
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV

import hpcml
import spark_work
from hpcml.errors import HpcmlError
from hpcml.joblib_backends import register_spark
from spark_work import square

pytestmark = [pytest.mark.require("spark"), pytest.mark.slow]

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 5))
y = (X[:, 0] + rng.normal(size=300) > 0).astype(int)
TIMES = {f"{kind}_{what}_time" for kind in ("mean", "std") for what in ("fit", "score")}


@pytest.fixture(autouse=True)
def _on_spark(spark):
    with joblib.parallel_backend("spark"):
        yield


def jobs(spark):
    """Return Spark's own list of jobs, the last one first."""
    context = spark.sparkContext
    url = f"{context.uiWebUrl}/api/v1/applications/{context.applicationId}/jobs"
    return json.load(urllib.request.urlopen(url, timeout=60))


def assert_same_results(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in theirs.keys() - TIMES:
        np.testing.assert_array_equal(ours[name], theirs[name], name)


def test_results_come_in_order():
    assert Parallel()(delayed(square)(i) for i in range(20)) == [i * i for i in range(20)]
    assert Parallel()(delayed(lambda x, y=1: x + y)(i, y=2) for i in range(3)) == [2, 3, 4]
    assert Parallel()([]) == []
    with Parallel() as parallel:
        assert [parallel(delayed(square)(i) for i in range(n)) for n in (1, 3)] == [[0], [0, 1, 4]]


@pytest.mark.parametrize("module", ["sklearn", "hpcml"])
def test_grid_search_is_one_named_job_with_the_same_results(spark, module):
    grid = {"max_depth": [2, 4], "n_estimators": [3, 6]}
    if module == "hpcml":
        make = hpcml.model_selection.GridSearchCV
        forest = hpcml.ensemble.RandomForestClassifier(random_state=0)
        grid["max_features"] = [1, 2]  # batches of their own
    else:
        make, forest = GridSearchCV, RandomForestClassifier(random_state=0)
    with joblib.parallel_backend("threading", n_jobs=1):
        alone = make(forest, grid, cv=3, refit=False).fit(X, y)
    before = len(jobs(spark))
    search = make(forest, grid, cv=3, refit=False).fit(X, y)
    new = jobs(spark)[: len(jobs(spark)) - before]
    assert_same_results(search.cv_results_, alone.cv_results_)
    assert search.best_params_ == alone.best_params_
    assert len(new) == 1
    assert new[0]["description"].startswith("RandomForestClassifier over max_depth, ")
    assert any(tag.startswith("hpcml-") for tag in new[0]["jobTags"])


def test_what_the_user_set_stays(spark, monkeypatch):
    context = spark.sparkContext
    monkeypatch.setattr(type(context), "setLogLevel", None)
    context.setJobGroup("mine", "my description")
    context.addJobTag("my-tag")
    try:
        Parallel()(delayed(square)(i) for i in range(4))
        assert context.getLocalProperty("spark.jobGroup.id") == "mine"
        assert context.getLocalProperty("spark.job.description") == "my description"
        assert list(context.getJobTags()) == ["my-tag"]
        last = jobs(spark)[0]
        assert last["jobGroup"] == "mine" and "my-tag" in last["jobTags"]
        assert last["description"] == "my description: 4 calls of square"
    finally:
        context.clearJobTags()
        for name in ("spark.jobGroup.id", "spark.job.description"):
            context.setLocalProperty(name, None)


TABLES = {
    "C": X,
    "Fortran": np.asfortranarray(X),
    "strided": rng.normal(size=(300, 8))[:, ::2],
    "float32": X.astype(np.float32),
    "dates": np.arange(2000).astype("datetime64[s]"),
    "objects": np.array([f"text {i}" for i in range(1000)], dtype=object),
    "empty": np.empty((0, 5)),
}


def test_arrays_arrive_as_they_are():
    with joblib.parallel_config("spark", max_nbytes=1000):
        tables = [*TABLES.values(), sparse.csr_array(X), pd.DataFrame(X)]
        seen = Parallel()(delayed(spark_work.describe)(table) for table in tables)
    for table, (kind, *other) in zip(tables, seen, strict=True):
        assert kind == type(table).__name__
        if isinstance(table, np.ndarray):
            dtype, shape, fortran, writeable, content = other
            assert (dtype, shape) == (str(table.dtype), table.shape)
            assert fortran == table.flags.f_contiguous
            assert table.dtype.hasobject or table.tobytes()[:80] == content
            assert writeable == (table.dtype.hasobject or table.size == 0)
        else:
            assert other == [table.shape, X.tobytes()]  # both hold X


def test_a_table_is_mapped_and_sent_once(spark):
    large = rng.normal(size=(60_000, 5))  # 2.4 MB
    found = Parallel()(delayed(spark_work.where)(large) for _ in range(8))
    files = {}
    for process, executor, file in found:
        files.setdefault((executor, tuple(file)), set()).add(process)
        assert file[1] != "0"  # an inode: it lies in a file
    assert len(files) <= 2  # one file an executor


def test_a_table_that_changed_is_sent_anew():
    large = np.zeros((60_000, 5))
    for value in (0.0, 1.0, 2.0):
        large[:] = value
        assert Parallel()(delayed(np.mean)(large) for _ in range(4)) == [value] * 4


def test_modes_of_arrays():
    large = np.zeros(200_000)
    with pytest.raises(ValueError, match="read-only"):
        Parallel()(delayed(spark_work.write_into)(large) for _ in range(2))
    for options in ({"mmap_mode": "c"}, {"mmap_mode": None}, {"max_nbytes": None}):
        assert Parallel(**options)(delayed(spark_work.write_into)(large) for _ in range(4)) == [1.0] * 4
    assert large[0] == 0
    for mode in ("r+", "w+"):
        with pytest.raises(ValueError, match="mmap_mode must be one of"):
            Parallel(mmap_mode=mode)(delayed(square)(i) for i in range(2))
    with pytest.raises(OSError, match="no-such-folder"):
        Parallel(temp_folder="/no-such-folder")(delayed(np.mean)(large) for _ in range(2))


def test_the_users_error_arrives_with_its_remote_traceback(tmp_path):
    with pytest.raises(KeyError) as caught:
        Parallel()(delayed(spark_work.fail)(i) for i in range(4))
    assert caught.value.args[0].startswith("task ") and caught.value.args[1] == 42
    assert "in fail" in caught.value.__notes__[0]
    with pytest.raises(spark_work.Unpicklable, match="this and that"):
        Parallel()(delayed(spark_work.fail_unpicklable)() for _ in range(2))

    class Local(Exception):
        pass

    def fail():
        raise Local("of a function's body")

    with pytest.raises(Local, match="of a function's body"):
        Parallel()(delayed(fail)() for _ in range(2))
    with pytest.raises(SystemExit):
        Parallel()(delayed(exit)(3) for _ in range(2))
    with pytest.raises(TypeError, match="lock"):  # an argument that cannot be pickled
        Parallel()(delayed(square)(threading.Lock()) for _ in range(2))
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def test_an_error_is_not_tried_again(tmp_path):
    def work(i):
        spark_work.note(tmp_path, i)
        if i == 0:
            raise ZeroDivisionError
        return i

    with pytest.raises(ZeroDivisionError):
        Parallel()(delayed(work)(i) for i in range(2))
    assert spark_work.runs(tmp_path)[0] == 1


def test_scores_of_failed_fits():
    grid = {"fail": [False, True]}
    search = GridSearchCV(spark_work.Sleeper(), grid, cv=3, error_score=np.nan, refit=False)
    with pytest.warns(RuntimeWarning, match="3 fits failed out of a total of 6"):
        search.fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores[0]) and np.isnan(scores[1])
    search = GridSearchCV(spark_work.Sleeper(), grid, cv=3, error_score="raise", refit=False)
    with pytest.raises(ValueError, match="this fit fails"):
        search.fit(X, y)


def test_generators():
    results = Parallel(return_as="generator")(delayed(square)(i) for i in range(12))
    assert list(results) == [i * i for i in range(12)]
    results = Parallel(return_as="generator_unordered")(delayed(square)(i) for i in range(12))
    assert sorted(results) == [i * i for i in range(12)]
    # two at a time within one block do not get into each other's way
    one, other = (Parallel(return_as="generator")(delayed(square)(i) for i in range(n)) for n in (5, 7))
    assert next(other) == 0 and list(one) == [0, 1, 4, 9, 16] and len(list(other)) == 6


def test_an_error_of_the_maker_of_tasks_arrives():
    def make(n):
        for i in range(n):
            yield delayed(square)(i)
        raise LookupError("no more tasks")

    for n in (0, 3):
        for pre_dispatch in ("2 * n_jobs", "all", 2):
            with pytest.raises(LookupError, match="no more tasks"):
                Parallel(pre_dispatch=pre_dispatch)(make(n))


def test_a_slow_maker_of_tasks_has_one_job(spark):
    def make():
        for i in range(4):
            time.sleep(0.1)
            yield delayed(square)(i)

    before = len(jobs(spark))
    assert list(Parallel(return_as="generator")(make())) == [0, 1, 4, 9]
    assert len(jobs(spark)) == before + 1


def test_results_come_while_the_job_runs(tmp_path):
    # all tasks but the first wait for a file that is made when the first result is here
    seen = tmp_path / "seen"
    results = Parallel(return_as="generator_unordered")(
        delayed(spark_work.wait_for)(seen, i) for i in range(8)
    )
    assert next(results) == (0, False)
    seen.touch()
    assert sorted(results) == [(i, True) for i in range(1, 8)]


def test_numbers_of_jobs(tmp_path):
    assert joblib.effective_n_jobs(-1) == 2 and joblib.effective_n_jobs(5) == 5
    with pytest.raises(ValueError, match="n_jobs == 0 in Parallel has no meaning"):
        Parallel(n_jobs=0)(delayed(square)(i) for i in range(2))
    with joblib.parallel_config("spark"):
        assert joblib.effective_n_jobs(None) == 2
    assert Parallel(n_jobs=7)(delayed(square)(i) for i in range(9)) == [i * i for i in range(9)]
    with Parallel(n_jobs=2, pre_dispatch=3, return_as="generator") as parallel:
        taken = []

        def produce():
            for i in range(10):
                taken.append(i)
                yield delayed(square)(i)

        results = parallel(produce())
        assert next(results) == 0 and len(taken) < 10
        assert list(results) == [i * i for i in range(1, 10)]


def test_threads_stay_within_the_tasks_cores():
    for pools, budget, nested, variable in Parallel()(delayed(spark_work.threads)() for _ in range(4)):
        assert pools == {1} and budget == 1 and nested == 1 and variable == "1"
    with joblib.parallel_backend("spark", inner_max_num_threads=2):
        for pools, budget, nested, variable in Parallel()(delayed(spark_work.threads)() for _ in range(2)):
            assert pools == {2} and nested == 2 and variable == "2" and budget <= 2
    assert Parallel()(delayed(spark_work.nested)(n) for n in (2, 3)) == [[0, 1], [0, 1, 4]]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"num_cpus_per_spark_task": 0}, ValueError, "num_cpus_per_spark_task must be .* at least 1"),
        ({"num_cpus_per_spark_task": 1.5}, TypeError, "num_cpus_per_spark_task must be an integer"),
        ({"num_gpus_per_spark_task": -1}, ValueError, "num_gpus_per_spark_task must be .* at least 0"),
        ({"num_cpus": 1}, TypeError, "num_cpus"),
    ],
)
def test_wrong_arguments(arguments, kind, message):
    with pytest.raises(kind, match=message):
        joblib.parallel_backend("spark", **arguments)


def test_cores_of_a_task_are_asked_of_spark(spark):
    with joblib.parallel_backend("spark", num_cpus_per_spark_task=1):
        seen = Parallel()(delayed(spark_work.threads)() for _ in range(2))
    assert [each[0] for each in seen] == [{1}, {1}]


def test_gpus_of_a_task():
    for gpus in (0, 1, 0):  # the same processes
        given = (spark_work.GPU, "PCI_BUS_ID", [spark_work.GPU]) if gpus else (None, None, None)
        with joblib.parallel_backend("spark", num_gpus_per_spark_task=gpus):
            assert Parallel()(delayed(spark_work.gpus)() for _ in range(4)) == [given] * 4


def test_timeout():
    from multiprocessing import TimeoutError

    with pytest.raises(TimeoutError):
        Parallel(timeout=0.3)(delayed(time.sleep)(30) for _ in range(2))
    assert Parallel(timeout=60)(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def test_results_larger_than_the_driver_takes():
    with pytest.raises(HpcmlError, match=r"spark\.driver\.maxResultSize; raise it"):
        Parallel()(delayed(np.ones)(1_000_000) for _ in range(16))
    assert Parallel()(delayed(np.ones)(300_000) for _ in range(2))[1].sum() == 300_000


def test_joblibspark_registered_later_is_told_of():
    import joblibspark

    with pytest.warns(UserWarning, match="stays hpcml's"):
        joblibspark.register_spark()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register_spark()
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]
