"""Journals: killed and resumed, torn, locked, and refused where they belong to another search."""

import contextlib
import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sharing_toys
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import loguniform, randint
from sharing_toys import SignsRegressor
from sklearn import model_selection
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score, get_scorer, make_scorer
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

import hpcml
from hpcml.errors import HpcmlError, JournalMismatch
from hpcml.model_selection import GridSearchCV, RandomizedSearchCV
from hpcml.model_selection.fingerprint import fingerprint
from hpcml.model_selection.journal import Journal, decode_splits, encode_splits
from ids import plain

RNG = np.random.default_rng(1)
X = RNG.normal(size=(60, 3))
Y = X[:, 0] + RNG.normal(size=60) * 0.1
WEIGHT = RNG.uniform(0.5, 1, size=60)
GRID = {"n_terms": [1, 3, 7], "shift": [0.0, 0.4]}


def results(search):
    return {k: v for k, v in search.cv_results_.items() if not k.endswith("_time")}


def assert_same_results(a, b):
    np.testing.assert_equal(results(a), results(b))
    assert a.best_params_ == b.best_params_ and a.plan_.seed == b.plan_.seed


def lines_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def keep(path, n):
    """Cut a journal after its header and n records."""
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(content[: n + 1]))


@pytest.mark.parametrize("n", [0, 1, 5, 11, 12])
def test_a_resume_does_only_what_is_missing(tmp_path, n, capsys):
    path = tmp_path / "search.jsonl"
    cv = ShuffleSplit(2, test_size=0.3)  # drawn afresh at every fit, but for the journal
    search = GridSearchCV(SignsRegressor(), GRID, cv=cv, journal=path, return_train_score=True).fit(X, Y)
    assert len(lines_of(path)) == 1 + 12 and search.plan_.resumed == 0
    keep(path, n)
    sharing_toys.COUNTS.clear()
    again = clone(search).set_params(refit=False, verbose=1).fit(X, Y)
    assert_same_results(again, search)
    assert again.plan_.resumed == n
    assert (f"\n{n} of them are read from the journal {path}\n" in capsys.readouterr().out) == (n > 0)
    assert len(lines_of(path)) == 1 + 12
    assert (sharing_toys.COUNTS["terms"] == 0) == (n == 12)
    assert sharing_toys.COUNTS["terms"] <= 2 * 2 * 7
    if n == 12:
        np.testing.assert_array_equal(again.cv_results_["mean_fit_time"], search.cv_results_["mean_fit_time"])
        assert "(12 fits read from the journal)" in str(again.plan_)


def test_a_random_search_keeps_its_candidates(tmp_path):
    path = tmp_path / "search.jsonl"
    kernels = [StandardScaler(), "passthrough"]
    space = {
        "svr__C": loguniform(0.01, 10),
        "svr__degree": randint(1, 5),
        "svr__shrinking": np.array([True, False]),
        "standardscaler": kernels,
    }
    search = RandomizedSearchCV(make_pipeline(StandardScaler(), SVR()), space, n_iter=5, cv=2, journal=path)
    search.fit(X, Y)
    keep(path, 4)
    again = clone(search).fit(X, Y)
    for name in ("svr__C", "svr__degree", "svr__shrinking"):
        for a, b in zip(again.cv_results_["params"], search.cv_results_["params"], strict=True):
            assert a[name] == b[name] and type(a[name]) is type(b[name])
    np.testing.assert_array_equal(again.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"])


def test_failures_and_several_metrics_are_kept(tmp_path):
    path = tmp_path / "search.jsonl"
    scoring = {"r2": "r2", "error": "neg_mean_absolute_error"}
    grid = {"n_terms": [2, "many"]}
    search = GridSearchCV(
        SignsRegressor(random_state=0), grid, scoring=scoring, refit="error", cv=2, journal=path
    )
    with pytest.warns(FitFailedWarning, match="n_terms must be"):
        search.fit(X, Y)
    with pytest.warns(FitFailedWarning, match="n_terms must be"):  # told again, from the journal
        again = clone(search).fit(X, Y)
    assert again.plan_.resumed == 4
    assert_same_results(again, search)


KILLED = """
    import os, sys, time
    import numpy as np
    from sharing_toys import SignsRegressor
    from hpcml.model_selection import GridSearchCV

    class Slow(SignsRegressor):
        def fit_grid(self, *args, **kwargs):
            for result in super().fit_grid(*args, **kwargs):
                time.sleep(float(sys.argv[3]))
                yield result

    if __name__ == "__main__":
        rng = np.random.default_rng(1)
        X = rng.normal(size=(60, 3))
        search = GridSearchCV(
            Slow(), {"n_terms": [1, 3, 7], "shift": list(np.arange(10.0))}, cv=3,
            n_jobs=int(sys.argv[2]), journal=sys.argv[1],
        ).fit(X, X[:, 0])
        scores = search.cv_results_["mean_test_score"]
        print(search.plan_.resumed, search.plan_.seed, [float(s).hex() for s in scores])
"""


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_killed_in_the_middle(tmp_path, n_jobs):
    script, journal = tmp_path / "script.py", tmp_path / "search.jsonl"
    script.write_text(textwrap.dedent(KILLED))
    paths = [str(Path(hpcml.__file__).parents[1]), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def command(pause):
        return [sys.executable, str(script), str(journal), str(n_jobs), str(pause)]

    def run():
        return subprocess.run(
            command(0), env=environment, capture_output=True, text=True, timeout=60, check=True
        )

    process = subprocess.Popen(command(0.05), env=environment, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 9):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(lines_of_whole(journal)) - 1
    seed = lines_of_whole(journal)[0]["drawn"]["seed"]
    assert 9 <= finished < 90
    try:
        resumed, seed_again, scores = run().stdout.split(" ", 2)  # orphaned workers do not hold the lock
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert (int(resumed), int(seed_again)) == (finished, seed)
    assert run().stdout == f"90 {seed} {scores}"
    rng = np.random.default_rng(1)
    table = rng.normal(size=(60, 3))
    grid = {"n_terms": [1, 3, 7], "shift": list(np.arange(10.0))}
    alone = model_selection.GridSearchCV(SignsRegressor(random_state=seed), grid, cv=3).fit(
        table, table[:, 0]
    )
    assert scores.strip() == str([float(score).hex() for score in alone.cv_results_["mean_test_score"]])


def lines_of_whole(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


@pytest.mark.parametrize("torn", [b'{"candidate": 0, "fo', b"\x00\x00\x00", b'{"candid\n', b"\x00\x00\n"])
def test_a_torn_tail_is_dropped(tmp_path, torn):
    path = tmp_path / "search.jsonl"
    search = GridSearchCV(SignsRegressor(), GRID, cv=2, journal=path).fit(X, Y)
    keep(path, 5)
    with open(path, "ab") as file:
        file.write(torn)
    again = clone(search).fit(X, Y)
    assert again.plan_.resumed == 5
    assert_same_results(again, search)
    assert len(lines_of(path)) == 13


def test_a_torn_header_begins_anew(tmp_path):
    path = tmp_path / "search.jsonl"
    GridSearchCV(SignsRegressor(), GRID, cv=2, journal=path).fit(X, Y)
    path.write_bytes(path.read_bytes()[:40])
    again = GridSearchCV(SignsRegressor(), GRID, cv=2, journal=path).fit(X, Y)
    assert again.plan_.resumed == 0 and len(lines_of(path)) == 13


def test_damage_and_other_files_are_refused(tmp_path):
    path = tmp_path / "search.jsonl"
    search = GridSearchCV(SignsRegressor(), GRID, cv=2, journal=path).fit(X, Y)
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*content[:3], b"rubbish\n", *content[4:]]))
    with pytest.raises(JournalMismatch, match="damaged in line 4"):
        search.fit(X, Y)
    for other in (b"a,b\n1,2\n", b"one line without an end", b'{"a": 1}\n', b"[]\n"):
        path.write_bytes(other)
        with pytest.raises(JournalMismatch, match="is no journal of a search"):  # no advice to delete it
            search.fit(X, Y)
        assert path.read_bytes() == other
    header = json.loads(content[0]) | {"format_version": 99}
    path.write_text(json.dumps(header) + "\n")
    with pytest.raises(JournalMismatch, match="format version 99"):
        search.fit(X, Y)


def settings_of(kind, **settings):
    base = {"estimator": SignsRegressor(random_state=0), "cv": KFold(2), "scoring": "r2"}
    return {**base, **settings}


@pytest.mark.parametrize(
    "change, named",
    [
        ({"X": X + 1}, "X differs"),
        ({"X": X.astype(np.float32)}, "X differs"),
        ({"y": Y[::-1]}, "y differs"),
        ({"sample_weight": WEIGHT}, "sample_weight differs"),
        ({"param_grid": {"n_terms": [1, 3]}}, "param_grid differs"),
        ({"estimator": SignsRegressor(random_state=1)}, "estimator differs"),
        ({"estimator": DecisionTreeRegressor()}, "estimator differs"),
        ({"cv": KFold(3)}, "cv differs"),
        ({"cv": KFold(2, shuffle=True, random_state=0)}, "cv differs"),
        ({"scoring": "neg_max_error"}, "scoring differs"),
        ({"scoring": make_scorer(lambda y, p: 0.0)}, "scoring differs"),
        ({"error_score": 0.0}, "error_score differs"),
        ({"return_train_score": True}, "return_train_score differs"),
        ({"X": X + 1, "param_grid": {"shift": [0.0]}}, "X and param_grid differ"),
    ],
    ids=plain,
)
def test_other_searches_are_refused(tmp_path, change, named):
    path = tmp_path / "search.jsonl"
    first = GridSearchCV(**settings_of(GridSearchCV, param_grid=GRID, journal=path)).fit(X, Y)
    before = path.read_bytes()
    fit = {"X": X, "y": Y} | {k: v for k, v in change.items() if k in ("X", "y", "sample_weight")}
    other = clone(first).set_params(**{k: v for k, v in change.items() if k not in fit})
    with pytest.raises(JournalMismatch, match=named):
        other.fit(**fit)
    assert path.read_bytes() == before
    first.set_params(n_jobs=2, verbose=0, refit=False, pre_dispatch="all").fit(X, Y)  # these may change
    assert first.plan_.resumed == 12


def test_another_random_search_is_refused(tmp_path):
    path = tmp_path / "search.jsonl"
    space = {"n_terms": randint(1, 9)}
    search = RandomizedSearchCV(SignsRegressor(), space, n_iter=3, cv=2, journal=path, random_state=0)
    search.fit(X, Y)
    for change in ({"random_state": 1}, {"n_iter": 4}, {"param_distributions": {"n_terms": randint(1, 8)}}):
        with pytest.raises(JournalMismatch, match=f"{next(iter(change))} differs"):
            clone(search).set_params(**change).fit(X, Y)
    with pytest.raises(JournalMismatch, match=r"param_grid.*differ"):
        GridSearchCV(SignsRegressor(), {"n_terms": [1]}, cv=2, journal=path).fit(X, Y)


def _try_journal(path, queue):
    try:
        Journal(path, {"X": "1"})
        queue.put("opened")
    except HpcmlError as error:
        queue.put(str(error))


def test_a_second_writer_is_refused(tmp_path):
    path = tmp_path / "search.jsonl"
    with Journal(path, {"X": "1"}) as journal:
        journal.begin({})
        with pytest.raises(HpcmlError, match="being written by another search"):
            Journal(path, {"X": "1"})
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        process = context.Process(target=_try_journal, args=(str(path), queue))
        process.start()
        assert "being written by another search" in queue.get(timeout=60)
        process.join()
    Journal(path, {"X": "1"}).close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    path = tmp_path / "search.jsonl"
    reader, writer = os.pipe()
    journal = Journal(path, {"X": "1"})
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent lets go
        os._exit(0)
    try:
        with pytest.raises(HpcmlError):  # the child's closing does not unlock the parent's file
            Journal(path, {"X": "1"})
        journal.close()
        time.sleep(0.05)
        Journal(path, {"X": "1"}).close()
    finally:
        os.close(writer)
        os.waitpid(child, 0)
        os.close(reader)


def test_what_cannot_be_hashed_is_named(tmp_path):
    path = tmp_path / "search.jsonl"
    with open(tmp_path / "some", "w") as file:
        grid = {"svr__C": [1.0], "svr__cache_size": [file]}
        with pytest.raises(TypeError, match=r"svr__cache_size\[0\] cannot be hashed.*TextIOWrapper"):
            GridSearchCV(make_pipeline(SVR()), grid, journal=path).fit(X, Y)
    assert not path.exists()
    estimator = Ridge(alpha=(a for a in [1.0]))
    with pytest.raises(TypeError, match="estimator__alpha cannot be hashed.*generator"):
        GridSearchCV(estimator, {"tol": [1.0]}, journal=path).fit(X, Y)


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError):
        GridSearchCV(Ridge(), {"alpha": [1.0]}, journal=tmp_path / "no" / "j").fit(X, Y)


def closure(n):
    def scorer(estimator, X, y):
        return n

    return scorer


VALUES = """
    import functools
    import numpy as np, pandas as pd, polars as pl, scipy.sparse as sp
    from scipy.stats import loguniform
    from sklearn.metrics import f1_score, get_scorer, make_scorer
    from sklearn.model_selection import KFold, check_cv
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from sklearn.svm import SVR
    from hpcml.model_selection.fingerprint import fingerprint
    values = [
        {"a", "b", None, 3}, {"b": 1, "a": (2.0, [None])}, np.arange(6.0).reshape(2, 3), np.array(["x",
        None], object), pd.DataFrame({"n": [1, 2], "s": ["x", None], "c": pd.Categorical(["u", "v"])}),
        pd.Series([1.5, 2.5]), pl.DataFrame({"n": [1, 2], "s": ["x", None]}), sp.csr_array(np.eye(3)),
        loguniform(1e-3, 1.0), make_pipeline(StandardScaler(), FunctionTransformer(lambda x: x + 1),
        SVR(C=2.0)), KFold(3, shuffle=True), check_cv([([0, 1], [2])]), get_scorer("roc_auc"),
        make_scorer(f1_score, average="macro"), functools.partial(f1_score, average="macro"),
        np.random.RandomState(3), np.random.default_rng(3), slice(1, 2), np.float32(0.1), 10**30,
        float("nan"), np.dtype("f4"), np.sum, len, pd.Timestamp(0),
    ]
    print([fingerprint(value, "value") for value in values])
"""


def test_fingerprints_are_the_same_in_every_process():
    found = []
    for seed in ("0", "1"):
        package = str(Path(hpcml.__file__).parents[1])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": package}
        command = [sys.executable, "-c", textwrap.dedent(VALUES)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(run.stdout)
    assert found[0] == found[1]
    digests = found[0].strip("[]\n").split(", ")
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    "a, b",
    [
        (1, 1.0),
        (1, True),
        ([1, 2], (1, 2)),
        ("ab", b"ab"),
        (["a", "bc"], ["ab", "c"]),
        ({"a": [1], "b": [2]}, {"a": [2], "b": [1]}),
        (0.0, -0.0),
        (np.zeros(4), np.zeros((2, 2))),
        (np.zeros(4, "f4"), np.zeros(2, "f8")),
        (X, X.T),
        (sp.csr_array(np.eye(3)), sp.csr_array(np.eye(4)[:3])),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (pd.Series(["a", "b"]), pd.Series(["b", "a"])),
        (pl.Series([1, 2]), pl.Series([1, None])),
        (closure(1), closure(2)),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x: abs(x), lambda x: len(x)),
        (functools.partial(f1_score, average="macro"), functools.partial(f1_score, average="micro")),
        (get_scorer("f1"), get_scorer("f1_macro")),
        (loguniform(1, 2), loguniform(1, 3)),
        (Ridge(), Ridge(alpha=2.0)),
        (np.random.RandomState(0), np.random.RandomState(1)),
        (range(3), range(4)),
    ],
    ids=plain,
)
def test_fingerprints_differ(a, b):
    assert fingerprint(a, "a") != fingerprint(b, "b")


def test_fingerprints_of_what_is_equal():
    assert fingerprint(X, "X") == fingerprint(np.asfortranarray(X), "X")
    fitted = Ridge().fit(X, Y)
    assert fingerprint(fitted, "e") == fingerprint(Ridge(), "e")
    around = [1]
    around.append(around)
    assert fingerprint(around, "l") != fingerprint([1], "l")


ORDERS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.permutations(range(n)), max_size=3))
)


@given(ORDERS)
def test_splits_survive(case):
    n, orders = case
    splits = []
    for order in orders:
        cut = n // 2
        splits.append((np.array(order[cut:], dtype=int), np.array(order[:cut], dtype=int)))
        splits.append((np.sort(order[cut:]), np.sort(order[:cut]).astype(int)))
        splits.append((np.array(order, dtype=int), np.array([order[0]] * 3)))
    again = decode_splits(json.loads(json.dumps(encode_splits(splits, n))), n)
    for (train, test), (train_again, test_again) in zip(splits, again, strict=True):
        np.testing.assert_array_equal(train, train_again)
        np.testing.assert_array_equal(test, test_again)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_devices_and_folders_are_no_journals(tmp_path):
    with pytest.raises(JournalMismatch, match="journal /dev/full is no regular file"):
        Journal("/dev/full", {"X": "1"})
    with pytest.raises(OSError, match="journal .* cannot be opened for writing"):
        Journal(tmp_path, {"X": "1"})


@pytest.mark.parametrize(
    ("line", "content"), [(1, {"identity": None}), (1, {"drawn": None}), (2, {"test_scores": None})]
)
def test_lines_that_lack_something_are_damaged(tmp_path, line, content):
    path = tmp_path / "search.jsonl"
    with Journal(path, {"X": "1"}) as journal:
        journal.begin({})
        journal.add([{"candidate": 0, "fold": 0, "test_scores": 0.5}])
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    for name in content:
        del lines[line - 1][name]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    with pytest.raises(JournalMismatch, match=f"is damaged in line {line}"):
        Journal(path, {"X": "1"})


class Whole(SignsRegressor):
    """Its terms depend on all candidates that are fitted together, and it notes which those were."""

    calls = []

    def fit_grid(self, X, y, candidates, folds, **options):
        self.calls.append((tuple(candidates), tuple(folds)))
        n = sum(parameters["n_terms"] for parameters in candidates.values())
        for i, j, fitted, values in super().fit_grid(X, y, candidates, folds, **options):
            yield i, j, fitted, {name: value + n for name, value in values.items()}


@pytest.mark.parametrize("n", range(0, 13, 2))
def test_torn_batches_are_fitted_whole(tmp_path, n):
    path = tmp_path / "search.jsonl"
    search = GridSearchCV(Whole(random_state=0), GRID, cv=2, journal=path, refit=False).fit(X, Y)
    batches = [(batch.candidates, batch.folds) for batch in search.plan_.batches]
    keep(path, n)
    Whole.calls.clear()
    again = clone(search).fit(X, Y)
    assert_same_results(again, search)
    assert set(Whole.calls) <= set(batches) and len(Whole.calls) == 4 - n // 3
