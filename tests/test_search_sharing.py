"""The sharing protocol in the search: equal scores, what is shared, what is done where it cannot serve."""

import contextlib
import functools
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest
import sharing_toys
from call_counts import calls_of
from hypothesis import given, settings
from hypothesis import strategies as st
from separate_fits import assert_equal_to_separate_fits
from sharing_toys import SignsClassifier, SignsRegressor
from sklearn import model_selection
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import make_scorer, mean_absolute_error, roc_auc_score
from sklearn.model_selection import GroupKFold, ShuffleSplit

from hpcml import config
from hpcml.model_selection import GridSearchCV, Plan, RandomizedSearchCV
from hpcml.model_selection.planning import make_plan
from hpcml.model_selection.scoring import StoredResponses
from hpcml.protocol import Batch
from ids import plain

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 4))
TARGET = X[:, 0] * 2 - X[:, 1] + RNG.normal(size=80) * 0.1
LABELS = np.where(TARGET > 0, "up", "down")
WEIGHT = RNG.uniform(0.1, 2, size=80)
GRID = {"n_terms": [1, 4, 9], "shift": [0.0, 0.5]}


def looks_at_the_fitted(estimator, X, y):
    assert isinstance(estimator, SignsClassifier)
    return float(len(estimator.terms_))


@pytest.mark.parametrize("return_train_score", [False, True])
@pytest.mark.parametrize(
    "scoring",
    [
        None,
        "accuracy",
        "roc_auc",
        "neg_log_loss",
        make_scorer(roc_auc_score, response_method="predict_proba"),
        ["accuracy", "roc_auc", "neg_brier_score"],
        looks_at_the_fitted,
        {"a": "accuracy", "n": looks_at_the_fitted},
        make_scorer(lambda y, p: float(np.mean(y == p))),
    ],
    ids=plain,
)
def test_scores_equal_separate_fits(scoring, return_train_score):
    y = (LABELS == "up").astype(int)
    refit = not isinstance(scoring, (list, dict)) or next(iter(scoring))
    search = GridSearchCV(
        SignsClassifier(random_state=3),
        GRID,
        scoring=scoring,
        refit=refit,
        cv=4,
        return_train_score=return_train_score,
    )
    search.fit(X, y)
    assert not search.plan_.separate
    assert_equal_to_separate_fits(search, X, y)
    assert search.best_estimator_.n_terms == search.best_params_["n_terms"]


@settings(max_examples=12)
@given(
    terms=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    shifts=st.lists(st.sampled_from([0.0, -0.3, 0.7]), min_size=1, max_size=2),
    n_jobs=st.sampled_from([1, 2, 4]),
    backend=st.sampled_from(["threading", "loky"]),
    scoring=st.sampled_from([None, "r2", "neg_mean_absolute_error", ["r2", "neg_max_error"]]),
    seed=st.sampled_from([None, 0, 7]),
    cv=st.integers(2, 4),
)
def test_scores_do_not_depend_on_workers(terms, shifts, n_jobs, backend, scoring, seed, cv):
    grid = {"n_terms": terms, "shift": shifts}
    refit = "r2" if isinstance(scoring, list) else True
    with joblib.parallel_config(backend=backend):
        search = GridSearchCV(
            SignsRegressor(random_state=seed), grid, scoring=scoring, refit=refit, cv=cv, n_jobs=n_jobs
        ).fit(X, TARGET)
    assert_equal_to_separate_fits(search, X, TARGET)
    one = make_plan(
        search.estimator.set_params(random_state=search.plan_.seed), search.cv_results_["params"], cv
    )
    assert search.plan_.done == one.done


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_work_is_shared_whatever_the_workers(n_jobs):
    sharing_toys.COUNTS.clear()
    with joblib.parallel_config(backend="threading"):
        search = GridSearchCV(SignsRegressor(random_state=0), GRID, cv=3, n_jobs=n_jobs, refit=False).fit(
            X, TARGET
        )
    assert search.plan_.asked == {"fits": 18, "terms": 2 * 14 * 3}
    assert search.plan_.done == {"fits": 6, "terms": 2 * 9 * 3}
    assert sharing_toys.COUNTS["terms"] == 54
    assert str(search.plan_) == "18 fits asked for, 84 terms; 6 fits, 54 terms done"
    table = search.plan_.table()
    assert table["terms done"].sum() == 54 and set(table["shared"]) == {"terms of the largest sum"}


def test_plan_speaks_of_trees():
    batch = Batch(tuple(range(9)), (0, 1, 2), 1.0, "trees", (1 / 9,) * 9, {"trees": 1530}, {"trees": 300})
    assert str(Plan(9, 3, [batch])) == "27 fits asked for, 1530 trees; 300 grown"


def test_weights_groups_and_train_scores():
    fit = {"sample_weight": WEIGHT, "groups": np.arange(80) % 7}
    search = GridSearchCV(SignsRegressor(random_state=1), GRID, cv=GroupKFold(3), return_train_score=True)
    search.fit(X, TARGET, **fit)
    assert_equal_to_separate_fits(search, X, TARGET, fit)
    assert not np.array_equal(
        search.cv_results_["mean_test_score"],
        clone(search).fit(X, TARGET, groups=fit["groups"]).cv_results_["mean_test_score"],
    )


def test_one_seed_is_drawn_recorded_and_shared():
    np.random.seed(5)  # noqa: NPY002 - the generator that scikit-learn draws from
    search = GridSearchCV(SignsRegressor(), {"n_terms": [4, 4, 4]}, cv=ShuffleSplit(2, random_state=0)).fit(
        X, TARGET
    )
    assert isinstance(search.plan_.seed, int)
    assert len(set(search.cv_results_["mean_test_score"])) == 1
    assert search.best_estimator_.random_state == search.plan_.seed
    assert search.estimator.random_state is None and "random_state" not in search.best_params_
    assert_equal_to_separate_fits(search, X, TARGET)
    np.random.seed(5)  # noqa: NPY002 - the generator that scikit-learn draws from
    again = clone(search).fit(X, TARGET)
    assert again.plan_.seed == search.plan_.seed
    assert (
        GridSearchCV(SignsRegressor(random_state=2), {"n_terms": [1]}, cv=2).fit(X, TARGET).plan_.seed is None
    )


def test_seed_in_the_grid():
    search = GridSearchCV(SignsRegressor(), {"random_state": [0, None, 1]}, cv=3).fit(X, TARGET)
    assert search.cv_results_["params"][1] == {"random_state": None}
    alone = SignsRegressor(random_state=search.plan_.seed)
    expected = model_selection.cross_val_score(alone, X, TARGET, cv=3)
    assert search.cv_results_["mean_test_score"][1] == expected.mean()


def test_invalid_candidates_are_fitted_on_their_own():
    search = GridSearchCV(SignsRegressor(random_state=0), {"n_terms": [2, "many", 5]}, cv=2)
    with pytest.warns(
        FitFailedWarning, match="2 fits failed out of a total of 6(.|\n)*n_terms must be an integer"
    ):
        search.fit(X, TARGET)
    np.testing.assert_array_equal(np.isnan(search.cv_results_["mean_test_score"]), [False, True, False])
    assert list(search.plan_.separate) == [1] and "n_terms must be" in search.plan_.separate[1]
    assert search.plan_.batches[0].candidates == (0, 2)
    with pytest.raises(ValueError, match="n_terms must be an integer"):
        clone(search).set_params(error_score="raise").fit(X, TARGET)
    search = GridSearchCV(SignsRegressor(), {"n_terms": ["many"]}, cv=2)
    with pytest.raises(ValueError, match="All the 2 fits failed"):
        search.fit(X, TARGET)


def test_errors_of_the_data_are_those_of_separate_fits():
    gaps = X.copy()
    gaps[:3] = np.nan
    folds = ShuffleSplit(3, test_size=0.5, random_state=1)
    search = GridSearchCV(SignsRegressor(random_state=0), GRID, cv=folds)
    with pytest.raises(ValueError, match="All the 18 fits failed(.|\n)*X must not have missing values"):
        search.fit(gaps, TARGET)


class OwnPrediction(SignsRegressor):
    """Predicts otherwise than the shared fit knows."""

    def predict(self, X):
        return np.zeros(len(X))


class FailsLate(SignsRegressor):
    """Its shared fit breaks off after the first two models."""

    def fit_grid(self, *args, **kwargs):
        for n, result in enumerate(super().fit_grid(*args, **kwargs)):
            if n == 2:
                raise MemoryError("no room left")
            yield result


class Uncovered(SignsRegressor):
    """Its plan forgets a fold."""

    def plan_grid(self, candidates, n_folds):
        return super().plan_grid(candidates, n_folds - 1)


def test_overridden_methods_are_not_bypassed(monkeypatch):
    monkeypatch.setattr(OwnPrediction, "__module__", "elsewhere")
    search = GridSearchCV(OwnPrediction(random_state=0), GRID, cv=3).fit(X, TARGET)
    assert set(search.plan_.separate.values()) == {"OwnPrediction overrides predict of _Signs"}
    assert len(set(search.cv_results_["mean_test_score"])) == 1


def test_what_a_batch_cannot_finish_is_fitted_on_its_own():
    search = GridSearchCV(FailsLate(random_state=0), GRID, cv=2).fit(X, TARGET)
    assert_equal_to_separate_fits(search, X, TARGET)
    assert Counter(search.plan_.fallbacks) == {"MemoryError: no room left": 4}


def test_plans_must_cover_the_grid():
    with pytest.raises(ValueError, match="plan_grid of Uncovered must put every candidate"):
        GridSearchCV(Uncovered(random_state=0), GRID, cv=3).fit(X, TARGET)


def test_a_scorer_that_fails_is_not_a_fit_that_fails():
    def breaks(y, predicted):
        raise RuntimeError("no score today")

    search = GridSearchCV(
        SignsRegressor(random_state=0), GRID, cv=2, scoring=make_scorer(breaks), refit=False
    )
    with pytest.warns(UserWarning, match="Scoring failed(.|\n)*no score today"):
        search.fit(X, TARGET)
    assert np.isnan(search.cv_results_["mean_test_score"]).all() and not search.plan_.fallbacks
    with pytest.raises(RuntimeError, match="no score today"):
        search.set_params(error_score="raise").fit(X, TARGET)


def test_randomized_search_shares():
    search = RandomizedSearchCV(
        SignsClassifier(random_state=0), {"n_terms": range(1, 20)}, n_iter=6, cv=3, random_state=0
    ).fit(X, LABELS)
    assert search.plan_.done["terms"] < search.plan_.asked["terms"]
    assert_equal_to_separate_fits(search, X, LABELS)


def test_times_add_up_to_the_batches():
    search = GridSearchCV(SignsRegressor(random_state=0), {"n_terms": [10, 30]}, cv=2).fit(X, TARGET)
    short, long = search.cv_results_["mean_fit_time"]
    assert long == pytest.approx(3 * short)  # the weights of the batch


class Telling(SignsRegressor):
    """Scores itself by the threads it was given."""

    def score(self, X, y):
        return float(config.n_threads())


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_threads_are_divided_among_workers(backend):
    grid = {"shift": [0.0, 1.0], "n_terms": [1, 2]}
    with joblib.parallel_config(backend=backend), config.config_context(n_threads=8):
        for n_jobs, share in [(1, 8), (2, 4)]:
            search = GridSearchCV(Telling(random_state=0), grid, cv=2, n_jobs=n_jobs, refit=False).fit(
                X, TARGET
            )
            np.testing.assert_array_equal(search.cv_results_["mean_test_score"], share)


class Threaded(Telling):
    """Its batches keep all threads busy; its score is their number, negative in another process."""

    def plan_grid(self, candidates, n_folds):
        return [replace(batch, threaded=True) for batch in super().plan_grid(candidates, n_folds)]

    def score(self, X, y):
        return super().score(X, y) * (1 if multiprocessing.parent_process() is None else -1)


@pytest.mark.parametrize(("backend", "expected"), [(None, 8), ("threading", 8), ("loky", -4)])
def test_batches_that_keep_all_threads_busy_stay_unless_a_backend_is_active(backend, expected):
    active = joblib.parallel_config(backend=backend) if backend else contextlib.nullcontext()
    search = GridSearchCV(Threaded(random_state=0), GRID, cv=2, n_jobs=2, refit=False)
    with active, config.config_context(n_threads=8):
        search.fit(X, TARGET)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected)
    if backend is None:
        with config.config_context(n_threads=1):
            np.testing.assert_array_equal(search.fit(X, TARGET).cv_results_["mean_test_score"], 2)


def mean_only(estimator, X, y):
    return 0.5


def test_overhead_of_a_pair_is_small():
    data, target = X[:10], TARGET[:10]
    grid = {"n_terms": [1] * 400}
    estimator = SignsRegressor(n_terms=1, random_state=0)
    search = GridSearchCV(estimator, grid, cv=2, scoring=mean_only, refit=False)
    assert calls_of(lambda: search.fit(data, target)) / 800 < 300  # about 0.2 ms


def test_verify_uses_the_recorded_seed(capsys):
    search = GridSearchCV(SignsRegressor(), GRID, cv=3, scoring=make_scorer(mean_absolute_error)).fit(
        X, TARGET
    )
    found = search.verify(n=3)
    assert np.all(found.differences["score"] == 0) and found.winner_agrees["score"]
    assert "the winner among these agrees" in capsys.readouterr().out


INTERRUPTED = """
    import os, sys, time, joblib
    import numpy as np
    from sklearn.dummy import DummyRegressor
    from hpcml.model_selection import GridSearchCV

    class Slow(DummyRegressor):
        def fit(self, X, y):
            open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
            time.sleep(0.3)
            return super().fit(X, y)

    def run():
        X = np.zeros((30, 1))
        GridSearchCV(
            Slow(), {"quantile": list(np.linspace(0, 1, 500))}, cv=2, n_jobs=int(sys.argv[2]),
            journal=os.path.join(sys.argv[1], "journal"),
        ).fit(X, X[:, 0])

    if __name__ == "__main__":
        with joblib.parallel_config(backend=sys.argv[3]):
            run()
"""


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    "n_jobs, backend", [(1, "loky"), (2, "loky"), (2, "threading"), (2, "multiprocessing")]
)
def test_interrupt_leaves_nothing_running(tmp_path, n_jobs, backend):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(n_jobs), backend],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(config.__file__).parents[1]), *sys.path])},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    journal = tmp_path / "journal"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 3):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors
    workers = [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers and not any(alive(pid) for pid in workers)
    assert journal.read_bytes().endswith(b"\n")


def test_stored_responses_hold_no_rows_when_their_fold_is_over():
    class Table:
        pass

    table = Table()
    gone = weakref.ref(table)
    stored = StoredResponses(
        DummyClassifier().fit([[0.0]], [0]), functools.partial(getattr, table, "rows"), {}
    )
    gc.disable()
    try:
        del stored, table
        assert gone() is None  # though nobody has looked for what refers to itself
    finally:
        gc.enable()
