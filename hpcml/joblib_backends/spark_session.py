"""The Spark session that a backend works on: which one, how many tasks at a time, what its errors mean."""

import contextlib
import os
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from hpcml import parts
from hpcml.errors import HpcmlError, WorkerLost

__all__ = [
    "RECIPE",
    "checked_count",
    "current_session",
    "explained",
    "inheriting",
    "is_connect",
    "new_session",
    "require_spark",
    "resource_profile",
    "slots",
    "task_cpus",
]

RECIPE = "PYSPARK_PYTHON names the executors' Python; see 'Executors without hpcml' on the page about Spark"


def require_spark() -> None:
    """Raise if the libraries of the part ``spark`` are missing.

    Raises
    ------
    ImportError
        With the command that installs them.
    """
    reason = parts.check("spark")
    if reason is not None:
        raise ImportError(
            f"the backend 'spark' needs PySpark and joblibspark: {reason}; to mend it: "
            f"{parts.PARTS['spark'].cure}"
        )


def is_connect(session: Any) -> bool:
    """Return whether a session is one of Spark Connect, which has DataFrames and no SparkContext."""
    return type(session).__module__.startswith("pyspark.sql.connect")


def _is_spark_3() -> bool:
    import pyspark

    return pyspark.__version__.startswith("3.")


def inheriting(session: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what wraps the target of a thread, so that Spark sees there the properties set in this one."""
    from pyspark import inheritable_thread_target

    if not _is_spark_3():
        return inheritable_thread_target(session)  # type: ignore[no-any-return]
    # Spark 3.5 wraps the target itself, and through Spark Connect has nothing to hand on
    return (lambda target: target) if is_connect(session) else inheritable_thread_target


def current_session() -> Any:
    """Return the active Spark session, else the one of the process, else a new one, and say so."""
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    before = time.time() * 1000
    if session is None:
        with _own_python():
            session = SparkSession.builder.appName("hpcml").getOrCreate()
    if not is_connect(session) and session.sparkContext.startTime >= before:
        warnings.warn(
            f"there was no Spark session, so one was made with master {session.sparkContext.master!r}; make "
            "your own first (SparkSession.builder...getOrCreate()) to choose a cluster",
            UserWarning,
            stacklevel=2,
        )
    return session


def new_session(name: str, master: str | None) -> Any:
    """Start a quiet session.

    Parameters
    ----------
    name : str
        Of the application.
    master : str or None
        None: what Spark is configured for, else this machine.

    Raises
    ------
    Exception
        Whatever Spark raises.
    """
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName(name).config("spark.ui.showConsoleProgress", "false")
    with _own_python(master):
        session = (builder if master is None else builder.master(master)).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


@contextlib.contextmanager
def _own_python(master: str | None = None) -> Iterator[None]:
    """Let a session on this machine, made inside a ``with`` block, run workers of this Python."""
    # by the user, or by spark-submit, which knows where the executors are
    chosen = {"PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "PYSPARK_GATEWAY_PORT"} & os.environ.keys()
    if chosen or not (master or "local").startswith("local"):
        yield
        return
    os.environ["PYSPARK_PYTHON"] = sys.executable
    try:
        yield
    finally:
        del os.environ["PYSPARK_PYTHON"]


def checked_count(value: Any, name: str, least: int) -> int | None:
    """Return a number of cores or GPUs, or None.

    Raises
    ------
    TypeError, ValueError
        If it is no integer of at least `least`.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer of at least {least} or None. Got {value!r} instead.")
    if value < least:
        raise ValueError(f"{name} must be an integer of at least {least} or None. Got {value} instead.")
    return value


def resource_profile(session: Any, cpus: int | None, gpus: int | None) -> Any:
    """Return what Spark is asked for a task, or None where its own configuration holds.

    Parameters
    ----------
    session : SparkSession
    cpus, gpus : int or None

    Raises
    ------
    ValueError
        If Spark runs in local mode, which knows no such requests, and they differ from its configuration; if
        it is Spark 3.5 through Spark Connect; if a process would serve tasks with one GPU and then with
        another.
    """
    own = session.conf
    configured = int(own.get("spark.task.cpus", "1")), float(own.get("spark.task.resource.gpu.amount", "0"))
    wanted = cpus or configured[0], configured[1] if gpus is None else gpus
    _check_gpus(own, wanted[1])
    if cpus is None and gpus is None:
        return None
    if own.get("spark.master", "").partition("[")[0] == "local":
        if wanted == configured:
            return None
        raise ValueError(
            f"num_cpus_per_spark_task={cpus} and num_gpus_per_spark_task={gpus} need a cluster: Spark's "
            "local mode gives every task spark.task.cpus cores; set that when the session is made"
        )
    from joblibspark.utils import create_resource_profile

    if is_connect(session) and _is_spark_3():
        raise ValueError(
            f"num_cpus_per_spark_task={cpus} and num_gpus_per_spark_task={gpus} need Spark 4 through Spark "
            "Connect; with Spark 3.5 set spark.task.cpus when the server is started"
        )
    profile = create_resource_profile(*wanted)
    if is_connect(session):
        _ = profile.id  # made on the server now, by a thread that has the session
    return profile


def _check_gpus(conf: Any, a_task: float) -> None:
    """Raise if a worker process would get tasks with other GPUs than it has started CUDA with."""
    an_executor = float(conf.get("spark.executor.resource.gpu.amount", "0"))
    if (
        0 < a_task
        and max(1, a_task) < an_executor
        and conf.get("spark.python.worker.reuse", "true") != "false"
    ):
        raise ValueError(
            f"tasks of {a_task:g} GPUs on executors of {an_executor:g}: a Python worker keeps the GPUs it "
            "has started with, and would then serve tasks that have others; when the session is made, set "
            "spark.python.worker.reuse=false, or give executors as many GPUs as a task, "
            f"spark.executor.resource.gpu.amount={max(1, a_task):g}"
        )


def task_cpus(session: Any, cpus: int | None) -> int:
    """Return the cores of a task."""
    return cpus or int(session.conf.get("spark.task.cpus", "1"))


def slots(session: Any, cpus: int) -> int:
    """Return how many tasks of `cpus` cores run at a time, as far as executors are there now.

    Parameters
    ----------
    session : SparkSession
    cpus : int

    Returns
    -------
    int
        At least 1.
    """
    conf = session.conf
    each, executors = conf.get("spark.executor.cores", None), conf.get("spark.executor.instances", None)
    if conf.get("spark.default.parallelism", None) and each and executors:  # then it is not the cores
        cores = int(each) * int(executors)
    elif is_connect(session):
        cores = _connect_cores(session)
    else:
        cores = session.sparkContext.defaultParallelism
    return max(1, cores // cpus)


_cores: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # of sessions of Spark Connect


def _connect_cores(session: Any) -> int:
    """Return the cores behind a session of Spark Connect: as many partitions as Spark makes by itself."""
    dynamic = session.conf.get("spark.dynamicAllocation.enabled", "false") == "true"
    if dynamic or session not in _cores:
        from pyspark.sql.functions import spark_partition_id

        partitions = session.range(1 << 16).select(spark_partition_id().alias("part")).distinct()
        _cores[session] = partitions.count()
    return _cores[session]


#: What a Spark error tells of, and what to do about it.
_CAUSES = (
    (
        "spark.driver.maxResultSize",
        HpcmlError,
        "the results of the tasks are larger together than spark.driver.maxResultSize; raise it when the "
        "session is made, as in .config('spark.driver.maxResultSize', '4g'), or return less",
    ),
    ("No module named 'hpcml", HpcmlError, f"the executors' Python has no hpcml; {RECIPE}"),
    ("No module named", HpcmlError, f"the executors' Python lacks a module; {RECIPE}"),
    (
        "PYTHON_VERSION_MISMATCH",
        HpcmlError,
        f"the executors run another version of Python than the driver; {RECIPE}",
    ),
    (
        "Python worker exited unexpectedly",
        WorkerLost,
        "a Python worker of an executor ended again and again: a task crashes it, or it takes more memory "
        "than the executor may use (spark.executor.memoryOverhead)",
    ),
    ("ExecutorLostFailure", WorkerLost, "an executor was lost again and again"),
    ("cancelled", HpcmlError, "the Spark job was cancelled"),
    ("OPERATION_CANCELED", HpcmlError, "the Spark job was cancelled"),
)


def explained(error: BaseException) -> BaseException:
    """Return an exception that says in one line what a Spark job failed of; Spark's own is its cause.

    Parameters
    ----------
    error : BaseException
    """
    text = str(error)
    for sign, kind, message in _CAUSES:
        if sign in text:
            made: BaseException = kind(f"{message} ({_first_line(text)})")
            break
    else:
        if type(error).__module__.partition(".")[0] not in ("grpc", "py4j", "pyspark"):
            return error
        made = HpcmlError(f"the Spark job failed: {_first_line(text)}")
    made.__cause__ = error
    return made


def _first_line(text: str) -> str:
    """Return the line that says why; Spark puts the call before it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reasons = [line for line in lines if "Error" in line or "Exception" in line or "cancelled" in line]
    return (reasons or lines or ["no reason given"])[0][:300]
