"""What every test shares: the `require` marker, hypothesis's profile, a configuration that no test leaks."""

import os
import signal

# Threads of OpenMP and OpenBLAS that wait for work would spin on the cores that pytest's other worker needs:
# tests of many small fits would take several times as long. Both libraries read this when they are loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import hypothesis
import pytest

import hpcml
from hpcml import kernels, machine
from needs import require, required

collect_ignore = ["cuda_host/stand_in"]  # a driver in the place of a GPU's, imported by tests of its own

hypothesis.settings.register_profile(
    "hpcml",
    deadline=None,
    database=None,
    max_examples=25,
    derandomize=os.environ.get("CI", "") not in ("", "0", "false"),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "hpcml"))


def pytest_configure(config):
    required()  # a misspelt part must not pass for one that is there
    # a shell starts background jobs with interrupts ignored, and tests of interrupts could not send any
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config):
    rows = ", ".join(f"{row.kernel}: {row.implementation}" for row in kernels.available())
    cores, reason = machine.usable_cores()
    return [f"hpcml {hpcml.__version__}: {rows}", f"cores: {cores} ({reason}); isa: {machine.isa()}"]


def pytest_collection_modifyitems(items):
    for item in items:
        if "upstream" in item.path.parts:
            item.add_marker("upstream")
        if item.get_closest_marker("upstream"):  # scikit-learn's own test files, in processes of their own
            item.add_marker("slow")
    items.sort(key=lambda item: item.get_closest_marker("upstream") is not None)  # at the end


def pytest_runtest_setup(item):
    for marker in item.iter_markers("require"):
        for part in marker.args:
            require(part)


@pytest.fixture(scope="session")
def spark():
    """A Spark session on a cluster of two executors, with joblib's backend "spark" registered."""
    require("spark")
    import spark_work
    from hpcml.joblib_backends import register_spark

    connect = {  # the same cluster behind a server of Spark Connect
        "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
        "spark.connect.grpc.binding.port": str(spark_work.free_port()),
    }
    if not spark_work.has_connect_server():
        connect = {}
    with spark_work.cluster(**connect, **{"spark.driver.maxResultSize": "48m"}) as session:
        register_spark()
        yield session


@pytest.fixture(autouse=True)
def _settings_do_not_leak():
    before = dict(hpcml.config._process)
    yield
    after = dict(hpcml.config._process)
    hpcml.set_config(**before)
    assert after == before, f"the test left set_config at {after}"
