"""Row arrays that kernels write to stay on the device until somebody reads them: always the latest values."""

import gc

import numpy as np
import pytest
from cuda_host.driver import HostDriver, on_host
from scipy import sparse
from sklearn.base import clone

import hpcml
from hpcml.cluster import KMeans
from hpcml.communicators.serial import SerialTable
from hpcml.kernels import away, lookup
from hpcml.kernels.csr import CSR
from hpcml.kernels.shards import bounds_of
from hpcml.svm import LinearSVC

N, K = 3100, 3
CENTERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def table():
    X = np.random.default_rng(0).standard_normal((N, 2))
    found = SerialTable({"X": X})
    found.fill("labels", -1, np.int32)
    return found


def step(given, centers=CENTERS):
    return given.map_reduce("lloyd_step", weights=None, centers=centers, origin=None, with_inertia=1)


def moved(given):
    return step(given)["changed"][0]


@pytest.mark.parametrize("memory", [1 << 32, 60_000])
def test_labels_stay_until_they_are_read(memory):
    with on_host(HostDriver(memory=memory)) as device, hpcml.config_context(device="cuda"):
        given = table()
        assert moved(given) == N and moved(given) == moved(given) == 0  # the last ones are compared with
        whole = memory > 1 << 20
        assert device.brought[4 * N] == 0 and device.sent[4 * N] == whole
        labels = given.rows("labels")
        nearest = ((given.rows("X")[:, np.newaxis] - CENTERS) ** 2).sum(axis=2).argmin(axis=1)
        assert (labels == nearest).all() and device.brought[4 * N] == whole
        labels[:] = -1  # whoever asks for an array may change it
        assert moved(given) == N
        before = device.brought[4 * N]
        assert (given.take(np.arange(N), "labels") == nearest).all()  # a copy: the device keeps its own
        assert (
            moved(given) == 0 and device.sent[4 * N] == 2 * whole and device.brought[4 * N] == before + whole
        )
        held = len(away._copies)
        given.close()
        del labels
        gc.collect()
        assert len(away._copies) == held - whole
        moved(table())  # gives back what died
    assert sum(array.nbytes for array in device.arrays.values()) <= 2 * 8 * 2 * N + 2 * 4 * N


def test_the_processor_and_functions_get_the_latest(monkeypatch):
    with on_host(), hpcml.config_context(device="cuda"):
        given = table()
        step(given)
        counts = given.map_reduce(lambda labels: {"counts": np.bincount(labels, minlength=K)})["counts"]
        assert counts.sum() == N and counts.min() > 0
        with hpcml.config_context(device="cpu"):
            assert moved(given) == 0
            step(given, CENTERS[::-1].copy())  # writes to them
        assert moved(given) > 0
        given.map_rows("label_distances", centers=CENTERS, origin=None)
        assert given.rows("distances").max() < 30
        # a kernel that the device does not take
        monkeypatch.setitem(given._chunk.arrays, "X", CSR.of(sparse.csr_array(given.rows("X"))))
        assert moved(given) == 0


def test_memory_that_is_needed_brings_what_was_left_home():
    with on_host(HostDriver(memory=150_000)) as device, hpcml.config_context(device="cuda"):
        first = table()
        step(first)
        others = [table() for _ in range(5)]
        for each in others:
            step(each)
        assert moved(first) == 0 and all(moved(each) == 0 for each in others)
        assert device.brought[4 * N] > 0  # there was not room for all


def test_another_device_and_calls_without_a_table_get_the_latest():
    with on_host(), hpcml.config_context(device="cuda"):
        given = table()
        step(given)
        with on_host():
            assert moved(given) == 0
        labels = given._chunk.arrays.get("labels")
        bounds = bounds_of(N)
        lookup("lloyd_step")(
            bounds=bounds, first_shard=0, n_shards=len(bounds) - 1, X=given.rows("X"), weights=None,
            labels=labels, centers=CENTERS, origin=None, with_inertia=0,
        )  # fmt: skip
        assert labels.min() == 0 and away._of(labels) is None


@pytest.mark.parametrize(
    ("estimator", "size"),
    [
        (KMeans(4, n_init=1, max_iter=9, tol=0, random_state=0), 4),
        (LinearSVC(loss="hinge", tol=1e-3), 8),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.filterwarnings("ignore:.*onverge")
def test_a_fit_brings_row_arrays_home_once(estimator, size):
    X = np.random.default_rng(0).standard_normal((1200, 3))
    y = (X[:, 0] > X[:, 1]) * 1
    expected = clone(estimator).fit(X, y)
    with on_host() as device, hpcml.config_context(device="cuda"):
        found = clone(estimator).fit(X, y)
    for name, value in vars(expected).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(vars(found)[name], value, rtol=1e-5, atol=1e-6)
    launches = max(device.launched.values())
    assert device.brought[size * 1200] <= 6 < launches, (device.brought, device.launched)
