"""Inputs that live on the device, with the CPU in its place: kernels read them where they are."""

import gc
import types
import weakref

import numpy as np
import pytest
from cuda_host.driver import HostDriver, on_host
from sklearn.base import clone

import hpcml
from hpcml.cluster import KMeans
from hpcml.decomposition import PCA
from hpcml.ensemble import RandomForestClassifier
from hpcml.errors import KernelUnavailable
from hpcml.kernels.cuda import arrays, driver
from hpcml.linear_model import LogisticRegression, Ridge
from hpcml.mixture import GaussianMixture
from hpcml.svm import LinearSVC


class Exposed:
    """What CuPy, PyTorch and numba say of an array, and nothing else: NumPy cannot read it."""

    def __init__(self, array, **more):
        self._array = array
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": None if array.flags.c_contiguous else array.strides,
            "version": 3,
            "stream": 1,
            **more,
        }

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")


def table(dtype=np.float32, n=1100):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 7)).astype(dtype)
    y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(np.int64)
    return X, y


ESTIMATORS = [
    KMeans(4, n_init=1, max_iter=3, random_state=0),
    GaussianMixture(2, max_iter=2, init_params="random_from_data", random_state=0, tol=1e9),
    PCA(2, svd_solver="covariance_eigh"),
    Ridge(),
    LogisticRegression(tol=1e-2),
    LinearSVC(tol=1e-2),
    RandomForestClassifier(2, max_depth=2, random_state=0),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_kernels_read_the_rows_where_they_are(estimator, dtype):
    X, y = table(dtype)
    with on_host() as device, hpcml.config_context(device="cuda"):
        expected = clone(estimator).fit(X, y)
        predict = "transform" if isinstance(estimator, PCA) else "predict"
        labels = getattr(expected, predict)(X)
        sent = device.sent[X.nbytes]
        there = Exposed(X), Exposed(y)
        found = clone(estimator).fit(*there)
        assert device.settled and device.sent[X.nbytes] == sent
        assert getattr(found, predict)(there[0]).tobytes() == labels.tobytes()
        assert device.sent[X.nbytes] == sent  # the rows have not gone there again
    if not isinstance(estimator, RandomForestClassifier):  # its bins go there
        assert sent > 0
    for name, value in vars(expected).items():
        if isinstance(value, np.ndarray):
            assert type(vars(found)[name]) is np.ndarray
            np.testing.assert_array_equal(vars(found)[name], value)


def test_originals_are_left_in_peace_and_let_go():
    X, _ = table()
    there = Exposed(X.copy())
    gone = weakref.ref(there)
    # little memory beside the rows: these stay where they are, whatever comes in blocks
    with on_host(HostDriver(memory=150_000)) as device, hpcml.config_context(device="cuda"):
        expected = KMeans(3, n_init=1, max_iter=2, random_state=0).fit(X).cluster_centers_
        sent = device.copied_in
        found = KMeans(3, n_init=1, max_iter=2, random_state=0).fit(there).cluster_centers_
        assert device.copied_in - sent < sent
        assert found.tobytes() == expected.tobytes()
        assert there._array.tobytes() == X.tobytes()
    del there
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "kind",
    [
        "transposed", "reversed", "every other", "float16", "integers", "empty", "no features", "one",
        "big-endian", "equal rows", "a number",
    ],
)  # fmt: skip
def test_any_layout_and_type_is_read(kind):
    X = np.arange(60.0).reshape(10, 6)
    X = {
        "transposed": X.T, "reversed": X[::-1], "every other": X[::2, ::3], "float16": X.astype(np.float16),
        "integers": X.astype(np.int32), "empty": X[:0], "no features": X[:, :0], "one": X[:1, :1],
        "big-endian": X.astype(">f8"), "equal rows": np.broadcast_to(X[0], (10, 6)),
        "a number": X[3, 3:4].reshape(()),
    }[kind]  # fmt: skip
    with on_host() as device:
        found = arrays.on_host(Exposed(X, stream=None if kind == "one" else 77))
        assert device.settled or not X.size  # whatever the stream that the array names
        assert found.dtype == X.dtype and not (found.size and found.flags.writeable)
        np.testing.assert_array_equal(found, X)


@pytest.mark.parametrize("kind", ["transposed", "reversed", "every other", "big-endian", "a part"])
def test_fits_on_other_layouts_are_those_of_a_copy(kind):
    X = np.random.default_rng(0).standard_normal((240, 6))
    X = {
        "transposed": np.asfortranarray(X), "reversed": X[::-1, ::-1], "every other": X[::2, 1::2],
        "big-endian": X.astype(">f8"), "a part": X[30:90],
    }[kind]  # fmt: skip
    estimator = KMeans(3, n_init=1, max_iter=2, random_state=0)
    with on_host(), hpcml.config_context(device="cuda", strict_device=True):
        found = clone(estimator).fit(Exposed(X), sample_weight=Exposed(np.abs(X[:, 0])))
        expected = clone(estimator).fit(X.astype("f8", order="C"), sample_weight=np.abs(X[:, 0]).astype("f8"))
    assert found.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()
    assert found.labels_.tobytes() == expected.labels_.tobytes()


def test_what_cannot_be_read_is_told(monkeypatch):
    X, y = table(n=20)
    with on_host():
        with pytest.raises(ValueError, match="must have no mask"):
            arrays.on_host(Exposed(X, mask=X))
        with pytest.raises(ValueError, match=r"must have an address. Got 0 for one of shape \(20, 7\)"):
            arrays.on_host(Exposed(X, data=(0, False)))
        with pytest.raises(ValueError, match="0 sample"):
            Ridge().fit(Exposed(X[:0], data=(0, False)), Exposed(y[:0]))
        with pytest.raises(ValueError, match="It lacks data, shape, typestr"):
            arrays.on_host(types.SimpleNamespace(__cuda_array_interface__={}))
        X[3, 2] = np.nan
        with pytest.raises(ValueError, match="contains NaN"):
            Ridge().fit(Exposed(X), Exposed(y))
    monkeypatch.setattr(driver, "_found", lambda process: "pycuda is not installed")
    with pytest.raises(KernelUnavailable, match="No GPU can be used: pycuda is not installed"):
        Ridge().fit(Exposed(X), y)
