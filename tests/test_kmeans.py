"""KMeans and MiniBatchKMeans beside scikit-learn's, and what only hpcml promises."""

import io
import warnings
from contextlib import redirect_stdout

import numpy as np
import pandas as pd
import pytest
import sklearn.cluster
from scipy import sparse
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

import hpcml
from hpcml import communicators
from hpcml.cluster import KMeans, MiniBatchKMeans
from hpcml.training.relocation import farthest_rows
from hpcml.training.seeding import plus_plus, random_rows

WITHIN = {"float64": 1e-6, "float32": 1e-3}  # of scikit-learn's inertia, relative


@pytest.fixture(autouse=True)
def one_thread():
    """Small fits on threads mostly wait for each other."""
    with threadpool_limits(1), hpcml.config_context(n_threads=1):
        yield


def rows(n=3000, d=5, dtype="float64", seed=0, csr=False):
    X = np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)
    return sparse.csr_array(np.where(np.abs(X) > 0.7, X, 0)) if csr else X


def both(kind, X, w=None, **parameters):
    """Return ours and scikit-learn's, fitted with the same parameters."""
    ours = getattr(hpcml.cluster, kind)(**parameters)
    theirs = getattr(sklearn.cluster, kind)(**parameters)
    return ours.fit(X, sample_weight=w), theirs.fit(X, sample_weight=w)


@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "weights"])
@pytest.mark.parametrize("csr", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("init", ["k-means++", "random", "array"])
@pytest.mark.parametrize("algorithm", ["lloyd", "elkan"])
def test_same_clusters_as_scikit_learn(algorithm, init, csr, weighted):
    X = rows(csr=csr)
    w = np.random.default_rng(1).random(3000) * (np.arange(3000) % 4 > 0) if weighted else None
    start = rows(7, seed=9) if init == "array" else init
    n_init = 1 if init != "random" else 3
    ours, theirs = both(
        "KMeans", X, w, n_clusters=7, init=start, n_init=n_init, algorithm=algorithm, random_state=3
    )
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-10)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=1e-9)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(400, 1, 6), (500, 8, 1), (300, 200, 12), (4000, 3, 150), (2000, 16, 8)])
def test_inertia_from_the_same_start(shape, dtype):
    n, d, k = shape
    X = rows(n, d, dtype, seed=2)
    ours, theirs = both("KMeans", X, n_clusters=k, init=X[:k].copy(), n_init=1, tol=0, max_iter=40)
    assert abs(ours.inertia_ - theirs.inertia_) <= WITHIN[dtype] * theirs.inertia_
    assert ours.cluster_centers_.dtype == dtype and ours.labels_.dtype == np.int32
    assert ours.score(X) == -ours.inertia_


@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "weights"])
@pytest.mark.parametrize("csr", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"init": "random"},
        {"tol": 1e-3, "max_no_improvement": None},
        {"batch_size": 60, "n_clusters": 12, "reassignment_ratio": 0.5},
        {"compute_labels": False, "init_size": 50},
    ],
    ids=["default", "random", "tol", "reassign", "no-labels"],
)
def test_same_batches_as_scikit_learn(parameters, csr, weighted):
    w = np.random.default_rng(1).random(3000) if weighted else None
    ours, theirs = both("MiniBatchKMeans", rows(csr=csr), w, **{"random_state": 4, **parameters})
    assert (ours.n_steps_, ours.n_iter_) == (theirs.n_steps_, theirs.n_iter_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=1e-8)
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-8)
    assert hasattr(ours, "labels_") == hasattr(theirs, "labels_")


def test_partial_fit_goes_on_as_scikit_learn_does():
    X, w = rows(1500), np.random.default_rng(0).random(1500)
    ours, theirs = (
        kind(n_clusters=12, random_state=0) for kind in (MiniBatchKMeans, sklearn.cluster.MiniBatchKMeans)
    )
    for i in range(0, 1500, 100):
        for model in (ours, theirs):
            model.partial_fit(X[i : i + 100], sample_weight=w[i : i + 100])
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=1e-9)
    twin = ours.to_sklearn()
    ours.reassignment_ratio = twin.reassignment_ratio = 0  # else they draw, each from its own generator
    ours.partial_fit(X[:200])
    twin.partial_fit(X[:200])
    np.testing.assert_allclose(twin.cluster_centers_, ours.cluster_centers_, atol=1e-9)


# -- the bits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data", ["normal", "blobs", "csr", "few-values"])
def test_elkan_has_the_bits_of_lloyd(data, dtype):
    if data == "blobs":
        X = make_blobs(4000, 8, centers=25, random_state=0)[0]
    elif data == "few-values":
        X = np.random.default_rng(0).integers(0, 3, size=(3000, 4))
    else:
        X = rows(4000, csr=data == "csr")
    X = X.astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        a, b = (KMeans(40, random_state=1, algorithm=name).fit(X) for name in ("lloyd", "elkan"))
    assert a.cluster_centers_.tobytes() == b.cluster_centers_.tobytes()
    assert a.labels_.tobytes() == b.labels_.tobytes()
    assert (a.inertia_, a.n_iter_) == (b.inertia_, b.n_iter_)


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels_are_those_of_predict(kind, dtype):
    X = rows(5000, 9, dtype) + 50
    model = kind(11, random_state=0, max_iter=7, init="random").fit(X)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_array_equal(model.fit_predict(X), model.labels_)
    np.testing.assert_array_equal(model.transform(X).argmin(axis=1)[:100], model.labels_[:100])


# -- data ----------------------------------------------------------------------------------------------------


def test_far_from_zero_single_precision_keeps_the_clusters():
    X = rows(4000, 6, "float32", seed=1)
    start = X[:9].copy()
    near = KMeans(9, init=start, n_init=1).fit(X)
    far = KMeans(9, init=start + 1024, n_init=1).fit(X + 1024)  # keeps about 13 bits of the fraction
    assert abs(far.inertia_ - near.inertia_) < 1e-3 * near.inertia_
    assert (far.labels_ == near.labels_).mean() > 0.95


@pytest.mark.parametrize("copy_x", [False, True])
def test_rows_are_neither_copied_nor_changed(copy_x):
    X = rows()
    X.flags.writeable = False
    before = X.tobytes()
    KMeans(4, random_state=0, copy_x=copy_x).fit(X)
    assert X.tobytes() == before


def test_sparse_rows_are_never_made_dense():
    X = sparse.random_array((2000, 2_000_000), density=2e-6, format="csr", rng=np.random.default_rng(0))
    model = KMeans(3, init="random", n_init=1, max_iter=2, random_state=0).fit(X)  # dense: 32 GB
    assert model.cluster_centers_.shape == (3, 2_000_000) and model.predict(X).shape == (2000,)


def test_doubled_entries_of_sparse_rows_count_as_their_sum():
    columns, ends = np.array([0, 0, 1, 1, 1, 0], np.int32), np.array([0, 2, 3, 5, 6], np.int32)
    X = sparse.csr_array((np.ones(6), columns, ends), shape=(4, 2))
    found = KMeans(2, random_state=0).fit(X)
    expected = KMeans(2, random_state=0).fit(X.toarray())
    assert X.nnz == 6
    np.testing.assert_allclose(found.cluster_centers_, expected.cluster_centers_)


def test_constant_rows_give_one_cluster():
    with pytest.warns(ConvergenceWarning, match=r"clusters \(1\) found smaller than n_clusters \(3\)"):
        model = KMeans(3, random_state=0).fit(np.full((50, 4), 7.5))
    assert model.inertia_ == 0 and (model.labels_ == 0).all() and (model.cluster_centers_ == 7.5).all()


def test_callable_sees_the_rows_as_they_are():
    X, seen = rows(200), []

    def init(given, n_clusters, random_state):
        seen.append((given.copy(), random_state.random_sample()))
        return given[:n_clusters]

    model = KMeans(3, init=init, n_init=2, random_state=0).fit(X)
    assert len(seen) == 2 and all((given == X).all() for given, _ in seen)
    assert model.inertia_ == KMeans(3, init=X[:3], n_init=1).fit(X).inertia_


def test_frames_and_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows(100, 3), columns=["a", "b", "c"])
    model = KMeans(4, random_state=0).fit(frame).set_output(transform="pandas")
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert list(model.transform(frame).columns) == ["kmeans0", "kmeans1", "kmeans2", "kmeans3"]
    assert model.to_sklearn().predict(frame).tolist() == model.labels_.tolist()


# -- empty clusters and starts -------------------------------------------------------------------------------


def test_empty_clusters_start_at_the_farthest_rows_ties_to_the_lowest():
    X = np.array([[0.0], [0.0], [6.0], [-6.0], [6.0], [1.0]])
    model = KMeans(3, init=[[0.0], [50.0], [60.0]], n_init=1, max_iter=1).fit(X)
    np.testing.assert_allclose(model.cluster_centers_.ravel(), [7 / 4, 6.0, -6.0])


def test_farthest_rows():
    with communicators.current() as communicator, communicator.put(v=np.array([1.0, 5, 5, 0, 5, 2])) as table:
        found, values = farthest_rows(table, communicator, "v", 2)
        assert found.tolist() == [1, 2] and values.tolist() == [5, 5]
        assert farthest_rows(table, communicator, "v", 99)[0].tolist() == [1, 2, 4, 5, 0, 3]


@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "weights"])
def test_random_rows_are_those_of_numpy(weighted):
    w = np.random.default_rng(0).random(500) * (np.arange(500) % 3 > 0)
    p = w / w.sum() if weighted else np.full(500, 1 / 500)
    with communicators.current() as communicator:
        with communicator.put(X=rows(500), weights=w if weighted else None) as table:
            for seed in range(20):
                expected = np.random.RandomState(seed).choice(500, 120, replace=False, p=p)
                found = random_rows(table, 120, np.random.RandomState(seed), weighted)
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n_trials", [None, 1, 3])
def test_seeds_are_those_of_scikit_learn(n_trials):
    X, w = rows(2500), np.random.default_rng(0).random(2500)
    with communicators.current() as communicator, communicator.put(X=X, weights=w) as table:
        found = plus_plus(table, 30, np.random.RandomState(5), True, n_trials)
    _, expected = sklearn.cluster.kmeans_plusplus(
        X, 30, sample_weight=w, random_state=5, n_local_trials=n_trials
    )
    np.testing.assert_array_equal(found, expected)


def test_the_best_of_several_runs_is_kept():
    X = make_blobs(1000, 2, centers=12, cluster_std=0.5, random_state=3)[0]
    runs = [KMeans(12, init="random", n_init=n, random_state=0).fit(X) for n in (1, 4, 12)]
    assert runs[0].inertia_ >= runs[1].inertia_ >= runs[2].inertia_
    assert runs[2].score(X) == -runs[2].inertia_  # labels, centers and inertia are of one run


# -- words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["lloyd", "elkan"])
def test_verbose_prints_the_inertia_of_every_iteration(algorithm):
    with redirect_stdout(io.StringIO()) as out:
        model = KMeans(5, random_state=0, verbose=1, algorithm=algorithm).fit(rows(500))
    lines = [float(line.split()[-1].rstrip(".")) for line in out.getvalue().splitlines() if "inertia" in line]
    assert len(lines) == model.n_iter_ and sorted(lines, reverse=True) == lines
    assert lines[-1] >= model.inertia_ * (1 - 1e-12)


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize(
    ("parameters", "weights", "message"),
    [
        ({"n_clusters": 101}, None, "n_samples=100 should be >= n_clusters=101"),
        ({"init": np.ones((8, 2))}, None, "does not match the number of features"),
        ({"init": np.full((8, 3), np.nan)}, None, "NaN"),
        ({"init": "farthest"}, None, "'init' parameter"),
        ({"init": np.float64(2)}, None, "'init' parameter"),
        ({"tol": -1.0}, None, "'tol' parameter"),
        ({"n_init": 0}, None, "'n_init' parameter"),
        ({}, np.full(100, -1.0), "Negative values"),
        ({}, np.zeros(100), "at least one non-zero"),
        ({"init": "random"}, np.eye(100)[0], "at least n_clusters=8 rows"),
    ],
)
def test_bad_input_is_named(kind, parameters, weights, message):
    with pytest.raises(ValueError, match=message):
        kind(**parameters).fit(rows(100, 3), sample_weight=weights)


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("method", ["fit", "predict", "score", "transform"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite(kind, method, bad):
    X = rows(500, 6)
    ours = kind(5, random_state=0).fit(X)
    X[77, 3] = bad
    tables = [X, X.astype("float32"), np.asfortranarray(X), X.tolist(), pd.DataFrame(X), sparse.csr_array(X)]
    for table in tables:
        with pytest.raises(ValueError, match="Input X contains") as found:
            getattr(ours, method)(table)
        with pytest.raises(ValueError, match="Input X contains") as expected:
            getattr(sklearn.cluster.KMeans(5, random_state=0).fit(rows(500, 6)), method)(table)
        assert str(found.value) == str(expected.value).replace("KMeans", kind.__name__)
    if method != "fit":
        with sklearn.config_context(assume_finite=True):
            getattr(ours, method)(X)


def test_numbers_that_overflow_are_no_error():
    X = rows(50, 3, "float32")
    model = KMeans(4, random_state=0).fit(X)
    X[:2] = 3e38
    labels = model.predict(X)
    assert ((labels >= 0) & (labels < 4)).all()
    np.testing.assert_array_equal(labels[2:], model.predict(X[2:]))
