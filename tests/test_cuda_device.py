"""The setting device: which calls a GPU gets, what the others say, and what is said where there is none."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from cuda_host.driver import HostDriver, on_host
from scipy import sparse
from sklearn.base import clone
from tables import few_values, same_trees

import hpcml
from hpcml import kernels, parts
from hpcml.cluster import KMeans, MiniBatchKMeans
from hpcml.decomposition import PCA
from hpcml.ensemble import RandomForestClassifier
from hpcml.errors import KernelUnavailable
from hpcml.kernels import contract, registry
from hpcml.kernels.csr import CSR
from hpcml.kernels.cuda import driver, pycuda_driver
from hpcml.linear_model import LinearRegression, LogisticRegression, Ridge
from hpcml.mixture import GaussianMixture
from hpcml.preprocessing import StandardScaler
from hpcml.svm import LinearSVC, LinearSVR

ON_GPU = [name for name, kernel in contract.KERNELS.items() if "cuda" not in kernel.declined]
ELSEWHERE = [name for name in contract.KERNELS if name not in ON_GPU]
ASIDE = ("find_bins", "apply_bins", "shard_sums", "rescale", "interior_start", "descend_coordinates")


@pytest.fixture(autouse=True)
def fresh_log():
    registry._told.cache_clear()


@pytest.mark.parametrize("name", ON_GPU)
@pytest.mark.parametrize("setting", [{"device": "cuda"}, {"kernels": "cuda"}])
def test_kernels_of_the_gpu_are_found_and_take_the_contract_s_arguments(name, setting):
    with on_host(), hpcml.config_context(**setting):
        kernel = kernels.lookup(name)
        assert next(row for row in kernels.available() if row.kernel == name).implementation == "cuda"
    assert kernel.__name__ == name
    assert kernel.__module__ == f"hpcml.kernels.cuda.{contract.KERNELS[name].module}"
    code = kernel.__wrapped__.__code__
    parameters = list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    assert parameters == [a.name for a in contract.KERNELS[name].call_arguments]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_kernels_without_a_version_run_on_the_processor_and_say_why(name, caplog):
    with on_host(), hpcml.config_context(device="cuda"), caplog.at_level(logging.INFO, "hpcml"):
        kernel = kernels.lookup(name)
        assert kernels.lookup(name) is kernel
    with hpcml.config_context(device="cpu"):
        assert kernels.lookup(name) is kernel
    assert caplog.messages == [f"{name} runs on the processor: {contract.KERNELS[name].declined['cuda']}"]
    assert caplog.records[0].levelno == (logging.INFO if name in ASIDE else logging.WARNING)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_strict_device_refuses_kernels_without_a_version_unless_they_are_aside(name):
    with on_host(), hpcml.config_context(device="cuda", strict_device=True):
        if name in ASIDE:
            assert kernels.lookup(name).__module__.rpartition(".")[0] != "hpcml.kernels.cuda"
        else:
            with pytest.raises(KernelUnavailable, match=f"{name}.*strict_device is set"):
                kernels.lookup(name)


@pytest.mark.filterwarnings("ignore:.*onverge")
@pytest.mark.parametrize(
    "estimator",
    [
        KMeans(3, n_init=1, max_iter=2), MiniBatchKMeans(3, n_init=1, max_iter=2),
        GaussianMixture(2, max_iter=1, tol=1e9), PCA(2, svd_solver="covariance_eigh"), Ridge(),
        LinearRegression(), LogisticRegression(tol=0.1), LinearSVC(tol=0.1), LinearSVR(tol=0.1),
        LogisticRegression(l1_ratio=1.0, solver="saga", tol=0.1), LinearSVC(loss="hinge", tol=0.1),
        RandomForestClassifier(2, max_depth=2), StandardScaler(),
    ],
    ids=lambda estimator: str(estimator).replace(" ", ""),
)  # fmt: skip
def test_a_strict_device_fits_what_the_page_names(estimator, caplog):
    X = np.random.default_rng(0).standard_normal((120, 4))
    with on_host() as device, hpcml.config_context(device="cuda", strict_device=True):
        estimator.fit(X, (X[:, 0] > X[:, 1]) * 1)
    assert sum(device.launched.values()) > 0 and not caplog.messages


def test_a_strict_device_refuses_elkan():
    with on_host(), hpcml.config_context(device="cuda", strict_device=True):
        with pytest.raises(KernelUnavailable, match="'bounded_step'.*lloyd_step is faster"):
            KMeans(3, n_init=1, algorithm="elkan").fit(np.random.default_rng(0).standard_normal((50, 2)))


def sparse_call():
    X = CSR.of(sparse.csr_array(np.eye(4)))
    return kernels.lookup("nearest_center")(X, np.eye(4)[:2].copy(), None, 1)


def test_rows_that_the_gpu_does_not_take_go_to_the_processor(caplog):
    with on_host() as device, hpcml.config_context(device="cuda"):
        labels, _ = sparse_call()
        sparse_call()
    assert labels.tolist()[:2] == [0, 1] and not device.launched
    assert caplog.messages == [
        "nearest_center runs on the processor: CSR rows: the cuda kernels take dense ones"
    ]
    with on_host(), hpcml.config_context(device="cuda", strict_device=True):
        with pytest.raises(KernelUnavailable, match="nearest_center.*CSR rows"):
            sparse_call()


@pytest.mark.parametrize("dtype", [np.float16, object])
def test_types_that_the_gpu_does_not_take_go_to_the_processor(dtype, caplog):
    X = np.arange(12.0).reshape(4, 3).astype(dtype)
    W = np.ones((1, 4))

    def margins():
        return kernels.lookup("linear_margins")(X, None, W)

    name = np.dtype(dtype).name
    with on_host() as device, hpcml.config_context(device="cuda", kernels="reference"):
        assert margins().ravel().tolist() == [4, 13, 22, 31] and not device.launched
        assert caplog.messages == [
            f"linear_margins runs on the processor: {name} rows: the cuda kernels take float32 and float64"
        ]
        with hpcml.config_context(strict_device=True):
            with pytest.raises(KernelUnavailable, match=f"linear_margins.*{name} rows"):
                margins()


@pytest.mark.parametrize("kind", [np.float16, object, sparse.csr_array])
def test_forests_of_any_table_are_those_of_the_processor(kind):
    X = few_values(n=120)[0].astype(np.float16)
    y = X[:, 0] > np.median(X[:, 0])
    X = kind(X.astype(np.float32)) if kind is sparse.csr_array else X.astype(kind)
    forest = RandomForestClassifier(2, max_depth=3, random_state=0)
    expected = clone(forest).fit(X, y)
    with on_host() as device, hpcml.config_context(device="cuda", strict_device=True):
        found = forest.fit(X, y)
    assert device.launched["start_rows"] == 1 and same_trees(found, expected)


def test_tables_without_rows_or_with_fewer_than_clusters_are_refused_before_any_work():
    with on_host() as device, hpcml.config_context(device="cuda"):
        with pytest.raises(ValueError, match=r"0 sample\(s\)"):
            RandomForestClassifier().fit(np.empty((0, 3)), [])
        with pytest.raises(ValueError, match="n_samples=3 should be >= n_clusters=4"):
            KMeans(4).fit(np.eye(3))
        one = RandomForestClassifier(2, random_state=0).fit(np.ones((1, 2)), [3])
        assert one.predict(np.zeros((2, 2))).tolist() == [3, 3] and device.launched["start_rows"] == 1


def test_automatic_choice_is_the_processor():
    with on_host():
        assert kernels.lookup("lloyd_step").__module__ == "hpcml.kernels.cython.kmeans" or parts.check(
            "cython"
        )
        with hpcml.config_context(kernels="cuda", device="cpu"):
            assert not kernels.lookup("lloyd_step").__module__.startswith("hpcml.kernels.cuda")


def test_automatic_choice_is_by_size_where_that_has_been_measured(monkeypatch):
    monkeypatch.setitem(registry.FROM_NUMBERS, "linear_margins", 100)
    W = np.ones((1, 3))
    small, large = np.ones((49, 2)), np.ones((50, 2))
    with on_host() as device:
        margins = kernels.lookup("linear_margins")
        assert margins.__name__ == "linear_margins"
        assert (margins(small, None, W) == 3).all() and not device.launched
        assert (margins(X=large, origin=None, W=W) == 3).all() and device.launched["margins_double"] == 1
        assert (margins(CSR.of(sparse.csr_array(large)), None, W) == 3).all()
        with hpcml.config_context(device="cpu"):
            assert (kernels.lookup("linear_margins")(large, None, W) == 3).all()
        assert device.launched["margins_double"] == 1
    monkeypatch.setattr(driver, "_found", lambda process: "no GPU")
    assert (margins(large, None, W) == 3).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fit_on_the_device_is_that_on_the_processor(dtype):
    X = few_values(n=400)[0].astype(dtype)
    X += np.random.default_rng(0).standard_normal(X.shape).astype(dtype)

    def fit():
        return KMeans(5, n_init=1, max_iter=8, random_state=0).fit(X)

    expected = fit()
    with on_host() as device, hpcml.config_context(device="cuda"):
        found = fit()
        labels = found.predict(X)
    assert device.launched["order_rows"] > 1
    assert type(found.cluster_centers_) is np.ndarray
    np.testing.assert_allclose(found.cluster_centers_, expected.cluster_centers_, rtol=1e-4)
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    np.testing.assert_array_equal(labels, expected.labels_)
    assert found.inertia_ == pytest.approx(expected.inertia_, rel=1e-5)
    # the rows went there once for all steps of the fit, and once for the prediction
    assert device.copied_in < 2 * X.nbytes + 60 * 8 * len(X) + 100_000
    with on_host(HostDriver(backward=True)), hpcml.config_context(device="cuda"):
        assert fit().cluster_centers_.tobytes() == found.cluster_centers_.tobytes()


def test_no_gpu_says_what_to_install(monkeypatch):
    missing = "pycuda is not installed"
    monkeypatch.setattr(driver, "_found", lambda process: missing)
    monkeypatch.setattr(registry, "check", lambda name: missing)
    monkeypatch.setattr(parts, "check", lambda name: missing)
    for setting in ({"device": "cuda"}, {"kernels": "cuda"}):
        with hpcml.config_context(**setting):
            with pytest.raises(KernelUnavailable) as caught:
                KMeans(2).fit(np.eye(4))
            assert kernels.available()[-3].reasons["cuda"] is not None
        for word in (missing, "cuda", parts.PARTS["cuda"].cure):
            assert word in str(caught.value)
    with pytest.raises(KernelUnavailable, match=f"No GPU can be used: {missing}; to mend it: "):
        driver.current()


def test_a_driver_that_is_missing_is_told(monkeypatch, tmp_path):
    folder = tmp_path / "pycuda"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "driver.py").write_text('raise ImportError("libcuda.so.1: cannot open shared object file")')
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    reason = parts.check.__wrapped__("cuda")
    for name in ("pycuda", "pycuda.driver"):
        sys.modules.pop(name, None)
    assert reason == (
        "pycuda.driver fails on import: libcuda.so.1: cannot open shared object file "
        "(the driver of the GPU brings it)"
    )


def test_processes_of_a_machine_take_devices_of_their_own(monkeypatch):
    for name in list(os.environ):
        if "LOCAL" in name:
            monkeypatch.delenv(name)
    assert pycuda_driver.own_number() == 0
    monkeypatch.setenv("SLURM_LOCALID", "2")
    assert pycuda_driver.own_number() == 2


def test_a_device_is_not_used_across_a_fork(monkeypatch):
    asked = []
    monkeypatch.setattr(driver, "_found", lambda process: asked.append(process) or "none")
    driver.reason()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    driver.reason()
    assert len(set(asked)) == 2


def test_looking_at_the_kernels_does_not_load_the_library():
    code = "import sys, hpcml, hpcml.kernels; hpcml.kernels.lookup('grow'); print('pycuda' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
