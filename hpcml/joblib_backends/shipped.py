"""What the driver ships to executors by value, so that it can tell there that hpcml is missing or another."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from hpcml import __version__
from hpcml.joblib_backends.executor import Work

__all__ = ["UNSUITABLE", "Deliver", "shipped", "versions"]

#: Stands for the number of a task: the executor's versions do not suit.
UNSUITABLE = -1

#: Takes number and outcome of a task.
Deliver = Callable[[int, Any], None]


def versions() -> dict[str, str]:
    """Return what must be equal on the executors: all of hpcml's version, of others the first two numbers."""
    import sklearn

    found = {"hpcml": __version__}
    for module in (np, sklearn):
        found[module.__name__] = ".".join(module.__version__.split(".")[:2])
    return found


def shipped(wanted: dict[str, str], work: Work) -> Callable[[Any, Any], Any]:
    """Return a function that runs the tasks of a partition on an executor.

    Parameters
    ----------
    wanted : dict of str to str
        `versions` of the driver.
    work : Work

    Returns
    -------
    callable
        Of lists of (number, payload) and the broadcasts of the arrays, None where they are files of the
        session. A generator of number and outcome; `UNSUITABLE` and a reason where the versions differ.
    """
    pickled, unsuitable = pickle.dumps(work), UNSUITABLE

    # a function of a function's body cannot be imported, so cloudpickle takes it by value; nothing in it may
    # come from hpcml before the versions are known
    def outcomes_of(rows, broadcasts):  # type: ignore[no-untyped-def]
        import importlib
        import pickle

        from pyspark import TaskContext

        for name, version in wanted.items():
            try:
                found = importlib.import_module(name).__version__
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            if found != version and not found.startswith(version + "."):
                yield unsuitable, f"{name} {version} on the driver, {found} on an executor"
                return
        from hpcml.joblib_backends.executor import run_tasks

        context = TaskContext.get()
        resources = context.resources() if context is not None else {}
        gpus = resources["gpu"].addresses if "gpu" in resources else ()
        work = pickle.loads(pickled)
        for tasks in rows:
            yield from run_tasks(tasks, work, broadcasts, gpus)

    return outcomes_of
