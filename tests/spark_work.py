"""A real Spark cluster for tests, and the functions that its workers run."""

import contextlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

TESTS = Path(__file__).resolve().parent

#: Of a Java that lives for seconds: its code is compiled quickly, and not well.
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

#: Address of the GPU that each executor of the cluster says it has.
GPU = "GPU-of-a-test"


def environment(**changes):
    """Return the environment of a program that finds this hpcml, these tests and this Python everywhere."""
    import hpcml

    paths = [str(Path(hpcml.__file__).resolve().parents[1]), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYSPARK_PYTHON": sys.executable,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_CONF_DIR": str(TESTS),
        "JAVA_TOOL_OPTIONS": " ".join(filter(None, [os.environ.get("JAVA_TOOL_OPTIONS"), JAVA])),
        **changes,
    }


def needed():
    """Return what Spark and its Pythons need in the environment."""
    names = "PYSPARK_PYTHON", "SPARK_LOCAL_IP", "SPARK_CONF_DIR", "JAVA_TOOL_OPTIONS", "PYTHONPATH"
    whole = environment()
    return {name: whole[name] for name in names}


def has_connect_server():
    """Return whether PySpark brings the server of Spark Connect: the wheels of Spark 3.5 do not."""
    import pyspark

    return any(Path(pyspark.__file__).parent.glob("jars/spark-connect_*.jar"))


def free_port():
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def cluster(**settings):
    """Start a master and two executors of one core each, and stop them after the block."""
    import pyspark
    from pyspark.sql import SparkSession

    own = needed()
    before = {name: os.environ.get(name) for name in own}
    handler = signal.getsignal(signal.SIGINT)
    os.environ.update(own)
    try:
        builder = SparkSession.builder.master("local-cluster[2,1,1024]").appName("hpcml-tests")
        options = {
            "spark.ui.enabled": "true",
            "spark.ui.port": "0",
            "spark.executorEnv.PYTHONPATH": own["PYTHONPATH"],
            "spark.driver.memory": "1g",
            "spark.worker.resource.gpu.amount": "1",
            "spark.worker.resource.gpu.discoveryScript": str(TESTS / "spark_gpus.sh"),
            "spark.executor.resource.gpu.amount": "1",
            **settings,
        }
        for name, value in options.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
    finally:
        signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    context = session.sparkContext
    context.setLogLevel("OFF")
    try:
        yield session
    finally:
        application = context.applicationId
        session.stop()
        shutil.rmtree(Path(pyspark.__file__).parent / "work" / application, ignore_errors=True)


def executor_process():
    """Return the process of the executor that runs this task."""
    time.sleep(0.05)
    return _victim("executor")


def square(x):
    return x * x


def note(folder, number, seconds=0.0):
    """Leave a file that says that a task ran, and where."""
    path = Path(folder, f"{number}-{time.monotonic_ns()}-{os.getpid()}")
    path.write_text(str(os.getppid()))
    time.sleep(seconds)
    return number


def runs(folder):
    """Return how often each task ran."""
    numbers = [int(path.name.split("-")[0]) for path in Path(folder).iterdir() if path.name[0].isdigit()]
    return {number: numbers.count(number) for number in sorted(set(numbers))}


def wait_for(path, number):
    """Return whether a file was waited for: all but number 0 do, a minute at most."""
    until = time.monotonic() + 60
    while number and not path.exists():
        if time.monotonic() > until:
            return number, False
        time.sleep(0.01)
    return number, number > 0


def gpus():
    """Return the GPUs that CUDA would show to this task, in which order, and those that Spark gave it."""
    from pyspark import TaskContext

    given = TaskContext.get().resources().get("gpu")
    shown = [os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")]
    return *shown, given and given.addresses


def fail(number):
    raise KeyError(f"task {number}", 42)


class Unpicklable(Exception):
    """Cannot be pickled, and cannot be made from its message alone."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")
        self.lock = open(os.devnull)


def fail_unpicklable():
    raise Unpicklable("this", "that")


def describe(X):
    """Return what a task sees of an array."""
    if isinstance(X, np.ndarray):
        return (
            type(X).__name__,
            str(X.dtype),
            X.shape,
            X.flags.f_contiguous,
            X.flags.writeable,
            X.tobytes()[:80],
        )
    rows = X.toarray() if hasattr(X, "toarray") else X.to_numpy()
    return type(X).__name__, X.shape, rows.tobytes()


def where(X):
    """Return the process and the file that an array is mapped from, by its device and inode."""
    address = X.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(each, 16) for each in line.split()[0].split("-"))
        if first <= address < last:
            time.sleep(0.05)
            return os.getpid(), os.getppid(), line.split()[3:5]
    return None


def write_into(X):
    X[0] = 1.0
    return float(X[0].sum())


def threads():
    import joblib
    from threadpoolctl import threadpool_info

    import hpcml

    pools = {pool["num_threads"] for pool in threadpool_info()}
    return pools, hpcml.get_config()["n_threads"], joblib.effective_n_jobs(-1), os.environ["OMP_NUM_THREADS"]


def nested(n):
    from joblib import Parallel, delayed

    return Parallel(n_jobs=-1)(delayed(square)(i) for i in range(n))


def nested_search(X, y):
    """Return where the fits of a search within a task ran, and how many workers joblib offered there."""
    from sklearn.model_selection import GridSearchCV

    Census.seen.clear()
    forest_like = Census(n_jobs=-1)
    search = GridSearchCV(forest_like, {"seconds": [0.0, 0.01, 0.02]}, cv=2, n_jobs=-1).fit(X, y)
    return sorted(Census.seen), search.cv_results_["mean_test_score"].tolist()


class Sleeper(ClassifierMixin, BaseEstimator):
    """Fits by sleeping; may kill its process, once a folder, or raise."""

    def __init__(self, seconds=0.0, folder=None, kill=None, fail=False):
        self.seconds, self.folder, self.kill, self.fail = seconds, folder, kill, fail

    def fit(self, X, y):
        if self.folder is not None:
            note(self.folder, round(1000 * self.seconds))
        if self.kill is not None:
            mark = Path(self.folder, f"killed-{self.kill}")
            with contextlib.suppress(FileExistsError):
                mark.touch(exist_ok=False)
                os.kill(_victim(self.kill), signal.SIGKILL)
                time.sleep(60)
        if self.fail:
            raise ValueError("this fit fails")
        time.sleep(self.seconds)
        self.classes_ = np.unique(y)
        self.threshold_ = X[:, 0].mean() + self.seconds
        return self

    def predict(self, X):
        return self.classes_[(X[:, 0] > self.threshold_).astype(int)]


class Census(Sleeper):
    """Notes the processes and threads in which it is fitted, and joblib's workers for its own ``n_jobs``."""

    seen = set()

    def __init__(self, seconds=0.0, n_jobs=None):
        super().__init__(seconds)
        self.n_jobs = n_jobs

    def fit(self, X, y):
        import joblib

        place = os.getpid(), threading.get_ident(), joblib.effective_n_jobs(self.n_jobs)
        self.seen.add(place)
        return super().fit(X, y)


class Writer(Sleeper):
    """Writes into the rows that it is fitted to."""

    def fit(self, X, y):
        X[:, 0] = 0.0
        return super().fit(X, y)


def _victim(kind):
    if kind == "worker":
        return os.getpid()
    process = os.getppid()  # the daemon of Python workers, whose parent is the executor
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
