"""The joblib backend "mpi" on the ranks of a farm: whatever joblib and a search ask of it.

Each function that runs on rank 0 does many things, because the start of ranks takes longer than most of them.
"""

import os
import threading
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV

import hpcml
from farm_work import calls, caught, farm, pid, slow
from mpi_runs import run_ranks

pytestmark = pytest.mark.require("mpi")


def shared_maps():
    """Return how many windows of shared memory this process maps, which MPICH does in two parts."""
    return Path("/proc/self/maps").read_text().count("mpich_shar") // 2


def windows_left(before, expected):
    """Return how many windows there are more than before, once one that was kept for later is given back."""
    until = time.perf_counter() + 5
    while shared_maps() - before > expected and time.perf_counter() < until:
        time.sleep(0.05)
    return shared_maps() - before


def on_two_ranks():
    """Return what all functions below find that ask for two ranks, by name; `held` leaves an array in use."""
    return {function.__name__: function() for function in (arrays, options, errors, searched, held)}


@pytest.fixture(scope="module")
def two_ranks():
    return run_ranks(2, on_two_ranks, communicator="", timeout=300).results[0]


# -- tasks -------------------------------------------------------------------------------------------------


#: Seconds without tasks.
IDLE = 1.0


def many_tasks():
    found = {}
    with farm():
        found["sizes"] = [joblib.effective_n_jobs(n) for n in (None, -1, 1, 2, 3, 9, -2, -9)]
        found["zero"] = str(caught(joblib.effective_n_jobs, 0))
        found["order"] = calls(pow, [(i, 2) for i in range(3000)])  # more than fit the list of a queue
        found["ranks"] = len(set(calls(pid, [(i,) for i in range(40)])))
        found["two ranks"] = len(set(calls(pid, [(i,) for i in range(40)], n_jobs=2)))
        found["one"] = set(calls(pid, [(1,), (2,)], n_jobs=1)) == {os.getpid()}
        found["batches"] = calls(pow, [(i, 2) for i in range(100)], batch_size=7)
        found["dispatched late"] = calls(pow, [(i, 2) for i in range(100)], pre_dispatch=3)
        found["managed"] = [
            list(parallel(delayed(pow)(i, k) for i in range(5)))
            for parallel in [Parallel(n_jobs=2)]
            for k in (1, 2)
        ]
        with Parallel(n_jobs=-1) as parallel:
            found["managed"] += [parallel(delayed(pow)(i, 3) for i in range(5)) for _ in range(2)]
        found["long results"] = [len(each) for each in calls(bytes, [(3_000_000,), (10,), (1 << 20,)])]
        found["long tasks"] = calls(len, [(bytes(70_000 + i),) for i in range(4)])
        found["nothing"] = calls(pow, [])
        found["lambda"] = calls(lambda x: x + len(found), [(i,) for i in range(3)])
        before = dict(calls(processor_time, [(i,) for i in range(40)]))
        time.sleep(IDLE)
        after = dict(reversed(calls(processor_time, [(i,) for i in range(40)])))
        found["idle"] = [after[rank] - before[rank] for rank in after if rank != os.getpid()]
    return found


def processor_time(_):
    time.sleep(0.02)
    return os.getpid(), time.process_time()


def test_tasks_run_on_all_ranks_in_order():
    found = run_ranks(3, many_tasks, communicator="", timeout=150).results[0]
    assert found["sizes"] == [3, 3, 1, 2, 3, 3, 2, 1] and "n_jobs" in found["zero"]
    assert found["order"] == [i**2 for i in range(3000)]
    assert found["ranks"] == 3 and found["two ranks"] == 2 and found["one"]
    assert found["batches"] == found["dispatched late"] == [i**2 for i in range(100)]
    assert found["managed"] == [[i**k for i in range(5)] for k in (1, 2, 3, 3)]
    assert found["long results"] == [3_000_000, 10, 1 << 20]
    assert found["long tasks"] == [70_000, 70_001, 70_002, 70_003]
    assert found["nothing"] == [] and found["lambda"][2] - found["lambda"][0] == 2
    assert len(found["idle"]) == 2 and max(found["idle"]) < 0.3 * IDLE  # who waits, sleeps


# -- arrays ------------------------------------------------------------------------------------------------


def described(array):
    data = array.data if sp.issparse(array) else array
    address = data.__array_interface__["data"][0]
    return data.flags.writeable, data.flags.f_contiguous, address % 64, float(np.sum(np.abs(data)))


def add_one(array):
    array += 1
    return float(array.sum())


def first_of(array):
    return array[:3]


class Writes(ClassifierMixin, BaseEstimator):
    """Writes into the table that it is given."""

    def fit(self, X, y=None):
        X *= 2
        self.classes_ = np.unique(y)
        return self

    def score(self, X, y=None):
        return 1.0


def arrays():
    rng = np.random.default_rng(0)
    X, found = rng.normal(size=(500, 300)), {"kinds": {}}
    sparse = sp.random_array((2000, 500), density=0.3, rng=rng, format="csr")
    objects = np.array([f"text {i}" for i in range(300_000)], dtype=object)
    record = np.zeros(200_000, dtype=[("a", "f8"), ("b", "i4")])
    empty = np.empty((0, 7))
    kinds = {"C": X, "F": np.asfortranarray(X), "strided": X[:, ::2], "CSR": sparse, "small": X[:3]}
    with farm(n_jobs=2):
        before = shared_maps()
        found["kinds"] = {
            name: calls(described, [(array,)] * 2, max_nbytes="100K") for name, array in kinds.items()
        }
        found["expected"] = {name: described(array) for name, array in kinds.items()}
        found["objects"] = calls(lambda a: (a.dtype.kind, a[-1]), [(objects,)] * 2)
        found["record"] = calls(lambda a: a.dtype.names, [(record,)] * 2)
        found["empty"] = calls(np.shape, [(empty,)] * 2, max_nbytes=1)
        found["written"] = str(caught(calls, add_one, [(X,)] * 2))
        found["copies"] = [calls(add_one, [(X,)] * 4, mmap_mode=mode) for mode in ("c", None)]
        found["inline"] = calls(add_one, [(X,)] * 4, max_nbytes=None)
        found["sum"] = float((X + 1).sum())
        result = calls(first_of, [(X,)] * 2)[0]  # holds nothing that is shared, see the windows left
        found["mutated"] = []
        for _ in range(3):
            X += 1
            found["mutated"].append([value == X.sum() for value in calls(np.sum, [(X,)] * 3)])
        found["slices"] = calls(
            np.sum, [(X[i : i + 100],) for i in range(400)], max_nbytes="50K", pre_dispatch=6
        )
        found["slices expected"] = [X[i : i + 100].sum() for i in range(400)]
        found["refused"] = [
            str(caught(calls, np.sum, [(X,)], **options))
            for options in ({"mmap_mode": "r+"}, {"temp_folder": "/tmp"}, {"spam": 1})
        ]
        calls(np.sum, [(X,)] * 2)
        found["kept for the next call"] = shared_maps() - before
        found["windows left"] = windows_left(before, 0)
        found["first"] = result.shape
        y = np.arange(500) % 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search = GridSearchCV(Writes(), {}, cv=2, error_score=0.0).fit(X, y)
        found["estimator that writes"] = search.cv_results_["mean_test_score"].tolist()
    return found


def test_arrays_arrive_once_read_only_and_as_they_are(two_ranks):
    found = two_ranks["arrays"]
    for name, (first, second) in found["kinds"].items():
        writeable, fortran, at, total = first
        assert first[0] == second[0] and fortran == found["expected"][name][1], name
        assert total == pytest.approx(found["expected"][name][3], rel=1e-12)
        assert writeable == (name == "small"), name
        assert at == 0 or name == "small", name
    assert found["objects"] == [("O", "text 299999")] * 2
    assert found["record"] == [("a", "b")] * 2 and found["empty"] == [(0, 7)] * 2
    assert "read-only" in found["written"]
    for copies in (*found["copies"], found["inline"]):
        assert copies == pytest.approx([found["sum"]] * 4)
    assert found["first"] == (3, 300) and found["mutated"] == [[True] * 3] * 3
    np.testing.assert_array_equal(found["slices"], found["slices expected"])
    mode, folder, unknown = found["refused"]
    assert "mmap_mode must be 'r'" in mode and "temp_folder must be None" in folder and "spam" in unknown
    assert found["kept for the next call"] == 1 and found["windows left"] == 0
    assert found["estimator that writes"] == [
        1.0
    ]  # the rows of a fold are a copy, as they are without joblib


def held():
    X = np.arange(300_000.0)
    with farm(n_jobs=2):
        before = shared_maps()
        calls(keep, [(X,)] * 20)
        calls(np.sum, [(X + 1,)] * 2)
        found = set(calls(kept, [()] * 20))
        return found, windows_left(before, 1)


_cache = []


def keep(array):
    time.sleep(0.01)
    _cache[:] = [array]


def kept():
    time.sleep(0.01)
    return float(_cache[0].sum())


def test_an_array_that_a_task_kept_stays_readable(two_ranks):
    found, maps = two_ranks["held"]
    assert found == {float(np.arange(300_000.0).sum())}
    assert maps == 1  # not given back while it is in use


# -- what joblib's options ask for -------------------------------------------------------------------------


def pools(_):
    import threadpoolctl

    return max(pool["num_threads"] for pool in threadpoolctl.threadpool_info()), hpcml.config.n_threads()


def nested(_):
    names = Parallel(n_jobs=-1)(delayed(thread)(i) for i in range(8))
    return os.getpid(), len(set(names)), Parallel(n_jobs=2)(delayed(deeper)(i) for i in range(2))


def thread(_):
    time.sleep(0.01)
    return threading.get_ident()


def deeper(i):
    return Parallel(n_jobs=2)(delayed(pow)(i, 2) for i in range(3))


def options():
    found = {}
    with farm():
        results = Parallel(return_as="generator")(delayed(slow)(i) for i in range(6))
        first = next(results)
        found["interleaved"] = calls(slow, [(i,) for i in range(4)])  # while a generator is not empty
        found["generator"] = [first, *results]
        unordered = Parallel(return_as="generator_unordered")(
            delayed(slow)(i, 0.3 * (i == 0)) for i in range(6)
        )
        found["unordered"] = list(unordered)
        found["timeout"] = type(caught(calls, slow, [(0, 60)] * 2, timeout=0.3)).__name__
        started = time.perf_counter()
        found["after timeout"] = calls(slow, [(i,) for i in range(6)], n_jobs=2)
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            dropped = Parallel(return_as="generator")(delayed(slow)(i) for i in range(500))
            next(dropped)
            del dropped
        found["after a dropped generator"] = calls(slow, [(i,) for i in range(6)])
        found["seconds"] = time.perf_counter() - started
        found["nested"] = calls(nested, [(i,) for i in range(4)])
        found["pools"] = calls(pools, [(i,) for i in range(8)])
    with farm(inner_max_num_threads=1):
        found["inner"] = calls(pools, [(i,) for i in range(8)])
    found["share"] = hpcml.config.n_threads(-1)
    found["pools here"] = pools(0)
    return found


def test_generators_timeouts_and_threads(two_ranks):
    found = two_ranks["options"]
    assert found["generator"] == list(range(6)) and found["interleaved"] == list(range(4))
    assert sorted(found["unordered"]) == list(range(6)) and found["unordered"][0] != 0
    assert found["timeout"] == "TimeoutError"
    assert found["after timeout"] == found["after a dropped generator"] == list(range(6))
    assert found["seconds"] < 20  # nobody waited for the tasks of a minute, or for 500 more
    for _, threads, twice in found["nested"]:
        assert 1 <= threads <= found["share"] and twice == [[0, 1, 4]] * 2
    assert {most for most, _ in found["pools"]} <= set(range(1, found["share"] + 1))
    assert set(found["inner"]) == {(1, 1)}


# -- errors ------------------------------------------------------------------------------------------------


class Odd(Exception):
    """Cannot be made from its arguments, nor pickled."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")
        self.lock = threading.Lock()


def fails(kind):
    if kind == "odd":
        raise Odd(1, 2)
    if kind == "exit":
        raise SystemExit("enough")
    if kind == "result":
        return threading.Lock()
    raise {"value": ValueError, "key": KeyError}[kind]("no such luck")


def errors():
    found = {}
    with farm():
        for kind in ("value", "key", "odd", "exit", "result"):
            error = caught(calls, fails, [(kind,)] * 4)
            found[kind] = type(error).__name__, str(error), "".join(getattr(error, "__notes__", []))
        lock = threading.Lock()
        found["task"] = type(caught(calls, fails, [(lock,)] * 4)).__name__
        found["iterable"] = str(caught(calls, pow, ((1 / (2 - i), 2) for i in range(5))))
        X, y = make_classification(200, random_state=0)
        raises = GridSearchCV(Fails(), {"at": [0, 1]}, cv=2, error_score="raise")
        found["search"] = str(caught(raises.fit, X, y))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = GridSearchCV(Fails(), {"at": [0, 1]}, cv=2, refit=False).fit(X, y).cv_results_
        found["nan"] = scores["mean_test_score"].tolist()
        found["then"] = calls(pow, [(i, 2) for i in range(10)])
    return found


class Fails(Writes):
    """Fails for one value of its parameter."""

    def __init__(self, at=0):
        self.at = at

    def fit(self, X, y=None):
        if self.at:
            raise ArithmeticError("one of those fits")
        self.classes_ = np.unique(y)
        return self


def test_errors_have_their_type_their_message_and_the_traceback_of_the_rank(two_ranks):
    found = two_ranks["errors"]
    names = {
        "value": "ValueError",
        "key": "KeyError",
        "odd": "Odd",
        "exit": "SystemExit",
        "result": "TypeError",
    }
    texts = {"value": "no such luck", "odd": "1 and 2", "exit": "enough", "result": "pickle"}
    for kind, name in names.items():
        told, message, notes = found[kind]
        assert told == name and texts.get(kind, "") in message
        assert "Raised on rank " in notes and "Traceback" in notes
        assert "in fails" in notes or kind == "result"
    assert found["task"] == "TypeError" and "division by zero" in found["iterable"]
    assert "one of those fits" in found["search"]
    assert found["nan"][0] == 1.0 and np.isnan(found["nan"][1])
    assert found["then"] == [i**2 for i in range(10)]


# -- searches ----------------------------------------------------------------------------------------------


def scores(search):
    return {key: value for key, value in search.cv_results_.items() if "test_score" in key or key == "params"}


def searched():
    from hpcml.ensemble import RandomForestClassifier as Forest
    from hpcml.model_selection import GridSearchCV as Search

    X, y = make_classification(3000, n_features=12, random_state=0)
    grid = {"max_depth": [2, 4], "n_estimators": [5, 10]}
    found = {}

    def hpcml_search(**options):
        return scores(Search(Forest(random_state=0), grid, cv=3, **options).fit(X, y))

    def forest_search():
        forest = RandomForestClassifier(n_estimators=5, random_state=0, n_jobs=-1)
        return scores(GridSearchCV(forest, {"max_depth": [2, 3]}, cv=3, n_jobs=-1).fit(X, y))

    def halving():
        search = HalvingGridSearchCV(LogisticRegression(), {"C": [0.01, 0.1, 1, 10]}, random_state=0)
        return scores(search.fit(X, y))

    def both():
        threads_found = {}

        def one(name, function):
            with joblib.parallel_backend("mpi"):
                threads_found[name] = function()

        threads = [
            threading.Thread(target=one, args=each) for each in (("a", hpcml_search), ("b", forest_search))
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return threads_found

    functions = {"hpcml": hpcml_search, "forests": forest_search, "halving": halving}
    with farm():
        found["mpi"] = {name: function() for name, function in functions.items()}
        found["two threads"] = both()
    found["here"] = {name: function() for name, function in functions.items()}
    return found


def test_searches_find_the_same_to_the_bit(two_ranks):
    found = two_ranks["searched"]
    for name, expected in found["here"].items():
        for key, value in expected.items():
            np.testing.assert_array_equal(found["mpi"][name][key], value)
    for name, same in (("a", "hpcml"), ("b", "forests")):
        for key, value in found["here"][same].items():
            np.testing.assert_array_equal(found["two threads"][name][key], value)
