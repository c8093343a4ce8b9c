"""Searches over rows that ranks share: the results of one process, to the bit where fits are equal."""

import sys
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression as Stock
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline

import hpcml
from hpcml import communicators
from hpcml.cluster import KMeans
from hpcml.decomposition import PCA
from hpcml.linear_model import LogisticRegression, Ridge
from hpcml.mixture import GaussianMixture
from hpcml.model_selection import GridSearchCV, RandomizedSearchCV
from hpcml.model_selection.rank_rows import Shards
from hpcml.model_selection.row_sharded import unpacked
from hpcml.preprocessing import StandardScaler
from hpcml.svm import LinearSVC
from hpcml.tree import DecisionTreeClassifier
from mpi_runs import run_ranks

N = 4501

mpi = pytest.mark.require("mpi")


def table():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, 4))
    X[::3] += 2.0
    y = (X[:, 0] + rng.standard_normal(N) > 0).astype(int)
    return X, np.array(["no", "yes"])[y], rng.uniform(0.5, 2.0, N)


def searches():
    """Return searches by name, whether they get a target, and how far scores may be from one process's."""
    scaled = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8))
    return {
        "k-means": (GridSearchCV(KMeans(n_init=2, random_state=0), {"n_clusters": [2, 4]}, cv=3), False, 0),
        "mixture": (
            GridSearchCV(GaussianMixture(random_state=0, max_iter=5), {"n_components": [1, 2]}, cv=KFold(3)),
            False,
            0,
        ),
        "logistic": (
            GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0]}, cv=4, n_jobs=1, return_train_score=True),
            True,
            0,
        ),
        "machine": (GridSearchCV(LinearSVC(), {"C": [0.01, 1.0]}, cv=3, scoring="roc_auc"), True, 0),
        "pipeline": (
            RandomizedSearchCV(
                scaled,
                {"logisticregression__C": [0.01, 0.1, 1.0]},
                n_iter=2,
                random_state=0,
                cv=3,
                scoring=["roc_auc", "neg_log_loss"],
                refit="roc_auc",
            ),
            True,
            1e-6,
        ),
        "longer pipeline": (
            GridSearchCV(
                make_pipeline(StandardScaler(copy=False), PCA(), LogisticRegression(tol=1e-8)),
                {"pca__n_components": [2, 3], "logisticregression__C": [0.01, 1.0]},
                cv=3,
                scoring="neg_log_loss",
            ),
            True,
            1e-6,
        ),
        "an error": (GridSearchCV(LogisticRegression(), {"C": [1.0, -1.0]}, cv=3), True, 0),
        "shuffled": (
            GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=ShuffleSplit(2, random_state=0)),
            True,
            0,
        ),
    }


def scores_of(search):
    found = {name: each for name, each in search.cv_results_.items() if "_test_" in name or "_train_" in name}
    return found | {"index": search.best_index_}


def learnt(model):
    """Return what a fitted model is made of, None for a pipeline."""
    names = ("cluster_centers_", "means_", "coef_")
    return next((getattr(model, name) for name in names if hasattr(model, name)), None)


def sharded():
    X, y, w = table()
    communicator = communicators.current()
    start, stop = (N * (communicator.rank + i) ** 2 // communicator.size**2 for i in (0, 1))
    mine, target, weights = X[start:stop], y[start:stop], w[start:stop]
    found = {}
    for name, (search, supervised, _) in searches().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search.fit(mine, target if supervised else None)
        times = search.cv_results_["mean_fit_time"]
        found[name] = scores_of(search), times, learnt(search.best_estimator_), search.plan_
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 10.0]}, cv=3)
    search.fit(mine, mine[:, 0] * 2, sample_weight=weights)
    found["weights"] = scores_of(search), search.cv_results_["mean_fit_time"], None, search.plan_
    return found


@mpi
def test_ranks_find_what_one_process_finds():
    X, y, w = table()
    run = run_ranks(3, sharded)
    plans = {}
    for name, (search, supervised, tolerance) in searches().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search.fit(X, y if supervised else None)
        plans[name] = search.plan_
        wanted = scores_of(search)
        for scores, times, shown, _ in (found[name] for found in run.results):
            assert wanted.keys() == scores.keys()
            for key in wanted:
                assert_allclose(scores[key], wanted[key], rtol=0, atol=tolerance, err_msg=f"{name} {key}")
            assert_array_equal(times, run.results[0][name][1])
            if shown is not None:
                assert_array_equal(shown, learnt(search.best_estimator_))
    for name, found in run.results[0].items():  # every rank has the same results
        for other in run.results[1:]:
            for key, value in found[0].items():
                assert_array_equal(other[name][0][key], value)
    alone = GridSearchCV(Ridge(), {"alpha": [0.1, 10.0]}, cv=3).fit(X, X[:, 0] * 2, sample_weight=w)
    for key, value in scores_of(alone).items():
        assert_allclose(run.results[0]["weights"][0][key], value, rtol=1e-6)
    for name in plans:
        assert run.results[0][name][3].batches == plans[name].batches
        assert not run.results[0][name][3].fallbacks


def told_of_one_rank():
    """Search where the rows of one rank alone do not allow the fit, or the batch, and afterwards."""
    X, y, _ = table()
    rank, size = (getattr(communicators.current(), name) for name in ("rank", "size"))
    start, stop = (N * (rank + i) // size for i in (0, 1))
    X, y, found = X[start:stop].copy(), y[start:stop], []
    twice = [(np.r_[0:3000, 0:10], np.arange(3000, N))]  # the first rank has rows that train twice
    for estimator, grid in (
        (LogisticRegression(), {"C": [0.1, 1.0]}),
        (KMeans(n_init=1), {"n_clusters": [2]}),
    ):
        search = GridSearchCV(estimator, grid, cv=twice, error_score="raise").fit(X, y)
        found.append((search.plan_.fallbacks, search.cv_results_["mean_test_score"].tolist()))
    if rank == 1:
        X[5, 1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for steps in (
            [],
            [StandardScaler()],
            [StandardScaler(), KMeans(n_clusters=3, n_init=1, random_state=0)],
        ):
            grid = {"logisticregression__C": [0.1, 1.0]}
            estimator = make_pipeline(*steps, LogisticRegression())
            try:
                GridSearchCV(estimator, grid, cv=3, error_score="raise").fit(X, y)
            except Exception as error:
                found.append(str(error))
    X[np.isnan(X)] = 0.0
    found.append(GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=3).fit(X, y).best_score_)
    return found


@mpi
def test_what_one_rank_refuses_is_known_to_all():
    run = run_ranks(2, told_of_one_rank)
    (logistic, kmeans, *first, score), (_, _, *second, _) = run.results
    assert run.results[1][:2] == [logistic, kmeans]
    assert run.results[1][-1] == score
    assert len(logistic[0]) == 2
    assert "trains on rows more than once" in logistic[0][0]
    assert len(first) == len(second) == 3
    assert all("contains NaN" in text for text in [*first, *second])


def refused():
    X, y, _ = table()
    communicator = communicators.current()
    start, stop = (N * (communicator.rank + i) // communicator.size for i in (0, 1))
    told = []
    for search in (
        GridSearchCV(Stock(), {"C": [1.0]}),
        GridSearchCV(make_pipeline(StandardScaler(), Stock()), {"logisticregression__C": [1.0]}),
        GridSearchCV(LogisticRegression(), {"C": [1.0]}, journal="journal"),
        GridSearchCV(LogisticRegression(), {"C": [-1.0]}, error_score="raise"),
        GridSearchCV(DecisionTreeClassifier(), {"max_depth": [1]}, error_score="raise"),
        GridSearchCV(LogisticRegression(), {"C": [1.0]}, refit="none", scoring=["accuracy"]),
    ):
        try:
            search.fit(X[start:stop], y[start:stop])
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")
    return told


@mpi
def test_what_cannot_be_searched_over_shards_is_one_error_on_every_rank():
    run = run_ranks(2, refused)
    assert [len(told) for told in run.results] == [6, 6]
    for told in run.results:
        assert "must be an estimator of hpcml" in told[0]
        assert "estimator__logisticregression" in told[1]
        assert "journal must be None" in told[2]
        assert "C" in told[3] and "-1.0" in told[3]
        assert "needs all rows in one process" in told[4]
        assert "refit" in told[5]


def opened(folder):
    rows = hpcml.open_rows(folder, target=-1)
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1000.0]}, cv=3)
    return scores_of(search.fit(rows))


@mpi
def test_rows_of_a_folder(tmp_path):
    X, _, _ = table()
    for part, rows in enumerate(np.array_split(X, 3)):
        np.save(tmp_path / f"part{part}.npy", rows)
    wanted = scores_of(GridSearchCV(Ridge(), {"alpha": [0.1, 1000.0]}, cv=3).fit(X[:, :-1], X[:, -1]))
    for found in run_ranks(2, opened, str(tmp_path)).results:
        for key, value in wanted.items():
            assert_allclose(found[key], value, rtol=1e-6)


HUGE_ROWS, HUGE_COLUMNS = 3_000_000, 128  # 3 GB of float64 that take no room on the disk


def within_two_gigabytes(folder):
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    rows = hpcml.open_rows(f"{folder}/X.npy", target=f"{folder}/y.npy")
    found = []
    for estimator, grid in ((Ridge(), {"alpha": [1.0, 1e9]}), (LinearSVC(), {"C": [1.0, 1e-9]})):
        search = GridSearchCV(estimator, grid, cv=KFold(2), refit=False).fit(rows)
        assert not search.plan_.separate and not search.plan_.fallbacks, search.plan_.fallbacks
        found.append((search.best_index_, search.cv_results_["split0_test_score"].tolist()))
    return len(rows.X), found


@pytest.mark.slow
@mpi
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of the address space is Linux's")
def test_a_table_larger_than_the_memory_of_a_rank(tmp_path):
    half = HUGE_ROWS // 2
    for name, shape in (("X", (HUGE_ROWS, HUGE_COLUMNS)), ("y", (HUGE_ROWS,))):
        array = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.float64, shape)
        array[:1000], array[half : half + 1000] = 1.0, 1.0  # y = x of every feature, in both folds
    run = run_ranks(4, within_two_gigabytes, str(tmp_path), timeout=300)
    for n_local, ((ridge, scores), (svc, _)) in run.results:
        assert (n_local, ridge, svc) == (HUGE_ROWS // 4, 0, 0)
        assert scores[0] > 0.999 and scores[1] < 0.1
    assert run.results == [run.results[0]] * 4


def test_rows_and_target_are_given_once(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((5, 3)))
    rows = hpcml.open_rows(tmp_path / "rows.npy", target=0)
    assert unpacked(rows, None) == (rows.X, rows.y)
    with pytest.raises(ValueError, match="y must be None"):
        unpacked(rows, np.ones(5))


def test_parts_of_rows():
    communicator = communicators.current()
    shards = Shards.of(communicator, np.ones((5, 2)))
    rows = np.array([4, 0, -1, 2])
    assert shards.n_rows == 5
    assert shards.own(rows).tolist() == [4, 0, 4, 2]
    assert shards.gathered(rows * 10, rows).tolist() == [40, 0, -10, 20]
    assert shards.gathered_params({"sample_weight": np.arange(5), "other": 3})["other"] == 3
