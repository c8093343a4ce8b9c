"""Settings: which source wins, what is refused, what reaches workers and forked children."""

import os
import pickle
import threading

import pytest

import hpcml
from hpcml import config, machine


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("HPCML_KERNELS", "HPCML_NUM_THREADS", "OMP_NUM_THREADS", "HPCML_DEVICE"):
        monkeypatch.delenv(name, raising=False)


def test_argument_context_process_environment_in_this_order(monkeypatch):
    assert config.n_threads() == machine.usable_cores()[0]
    monkeypatch.setenv("HPCML_NUM_THREADS", "7")
    assert config.n_threads() == 7
    hpcml.set_config(n_threads=5)
    try:
        assert config.n_threads() == 5
        with hpcml.config_context(n_threads=3):
            assert config.n_threads() == 3
            assert config.n_threads(2) == 2
        assert config.n_threads() == 5
    finally:
        hpcml.set_config(n_threads=None)
    assert config.n_threads() == 7


def test_kernels_context_process_environment(monkeypatch):
    assert config.kernels() == "auto"
    monkeypatch.setenv("HPCML_KERNELS", "numba")
    assert hpcml.get_config()["kernels"] == "numba"
    with hpcml.config_context(kernels="auto"):
        assert config.kernels() == "auto"
        with hpcml.config_context(n_threads=1):  # leaves the outer setting alone
            assert config.kernels() == "auto"


def test_device_context_process_environment(monkeypatch):
    assert (config.device(), config.strict_device()) == ("auto", False)
    monkeypatch.setenv("HPCML_DEVICE", "cpu")
    monkeypatch.setenv("HPCML_STRICT_DEVICE", "1")
    assert (config.device(), config.strict_device()) == ("cpu", True)
    with hpcml.config_context(device="cuda", strict_device=False):
        assert (config.device(), config.strict_device()) == ("cuda", False)


@pytest.mark.parametrize("n_jobs", [-1, -2, -1000])
def test_negative_n_jobs_count_from_the_usable_cores(n_jobs):
    assert config.n_threads(n_jobs) == max(1, machine.usable_cores()[0] + 1 + n_jobs)


def test_openmp_share_of_a_worker_is_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1,4")
    assert config.n_threads() == 1
    assert config.n_threads(2) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "1000000")
    assert config.n_threads() == machine.usable_cores()[0]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: config.n_threads(0), ValueError, ["n_jobs", "0"]),
        (lambda: config.n_threads(1025), ValueError, ["n_jobs", "at most 1024", "1025"]),
        (lambda: hpcml.set_config(n_threads=10**6), ValueError, ["n_threads", "at most 1024", "1000000"]),
        (lambda: config.n_threads(1.5), TypeError, ["n_jobs", "1.5"]),
        (lambda: config.n_threads(True), TypeError, ["n_jobs", "True"]),
        (lambda: hpcml.set_config(n_threads=0), ValueError, ["n_threads", "at least 1", "0"]),
        (lambda: hpcml.set_config(n_threads="2"), TypeError, ["n_threads", "'2'"]),
        (lambda: hpcml.set_config(kernels="fast"), ValueError, ["kernels", "cython", "'fast'"]),
        (lambda: hpcml.set_config(threads=2), TypeError, ["kernels, n_threads", "threads"]),
        (lambda: hpcml.config_context(kernels="fast").__enter__(), ValueError, ["kernels", "numba"]),
        (lambda: hpcml.set_config(device="gpu"), ValueError, ["device", "auto, cpu, cuda", "'gpu'"]),
        (lambda: hpcml.set_config(strict_device=1), TypeError, ["strict_device", "True, False", "1"]),
    ],
)
def test_bad_values_name_parameter_allowed_and_given(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "call"),
    [
        ("HPCML_KERNELS", "fast", config.kernels),
        ("HPCML_DEVICE", "gpu", config.device),
        ("HPCML_STRICT_DEVICE", "yes", config.strict_device),
        ("HPCML_NUM_THREADS", "0", config.n_threads),
        ("HPCML_NUM_THREADS", "two", config.n_threads),
    ],
)
def test_bad_environment_names_the_variable(monkeypatch, name, value, call):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name} must be .* Got '{value}'"):
        call()
    monkeypatch.setenv(name, "")
    call()


def test_context_is_of_this_thread_and_snapshot_carries_it():
    seen = {}

    def work(name, carried=None):
        if carried is None:
            seen[name] = config.kernels()
        else:
            with config.restored(carried):
                seen[name] = config.kernels(), config.n_threads()

    with hpcml.config_context(kernels="reference", n_threads=1):
        carried = pickle.loads(pickle.dumps(config.snapshot()))
        for args in (("bare",), ("carried", carried)):
            thread = threading.Thread(target=work, args=args)
            thread.start()
            thread.join()
    assert seen == {"bare": "auto", "carried": ("reference", 1)}


def test_snapshot_resolves_the_environment_but_leaves_cores_to_the_worker(monkeypatch):
    monkeypatch.setenv("HPCML_KERNELS", "reference")
    monkeypatch.setenv("HPCML_NUM_THREADS", "3")
    monkeypatch.setenv("HPCML_COMMUNICATOR", "processes")
    assert config.snapshot() == {
        "kernels": "reference",
        "n_threads": None,
        "communicator": "serial",
        "n_workers": None,
        "device": "auto",
        "strict_device": False,
    }


def test_restored_replaces_what_is_in_force():
    with hpcml.config_context(kernels="reference", n_threads=3):
        with config.restored({"kernels": "auto", "n_threads": None}):
            assert config.kernels() == "auto"
            assert config.n_threads() == machine.usable_cores()[0]
        assert config.n_threads() == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_uses_one_thread():
    pid = os.fork()
    if pid == 0:
        os._exit(0 if config.n_threads() == config.n_threads(4) == config.n_threads(-1) == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert config.n_threads(4) == 4
