"""Settings: what an argument did not say, the context does, then the process, then the environment.

The dials: ``kernels`` (which implementation computes), ``n_threads`` (the thread budget), ``communicator``
(who shares the rows), ``n_workers`` (how many processes), ``device`` (processor or GPU) and ``strict_device``
(whether a GPU must take every call). Each is taken from the innermost `config_context`, else from
`set_config`, else from ``HPCML_KERNELS``, ``HPCML_NUM_THREADS``, ``HPCML_COMMUNICATOR``,
``HPCML_NUM_WORKERS``, ``HPCML_DEVICE`` or ``HPCML_STRICT_DEVICE``, else it is automatic. The
environment is read when a setting is used, and never written.
"""

import contextlib
import contextvars
import multiprocessing
import numbers
import os
from collections.abc import Iterator, Mapping
from typing import Any

from hpcml import machine

__all__ = [
    "COMMUNICATORS",
    "DEVICES",
    "KERNELS",
    "communicator",
    "communicator_is_chosen",
    "config_context",
    "device",
    "get_config",
    "kernels",
    "n_threads",
    "n_workers",
    "restored",
    "set_config",
    "share_cores",
    "snapshot",
    "strict_device",
    "worker_threads",
]

#: Values of the setting ``kernels``.
KERNELS = ("auto", "cuda", "cython", "numba", "reference")

#: Values of the setting ``device``.
DEVICES = ("auto", "cpu", "cuda")

#: Values of the setting ``communicator``.
COMMUNICATORS = ("serial", "processes", "mpi")

#: More threads are a slip, and a process that asks the system for them may be killed.
MOST_THREADS = 1024

_NOTHING: dict[str, Any] = dict.fromkeys(
    ("kernels", "n_threads", "communicator", "n_workers", "device", "strict_device")
)
_process: dict[str, Any] = dict(_NOTHING)  # set_config; every thread sees it
_context: contextvars.ContextVar[Mapping[str, Any]] = contextvars.ContextVar("hpcml", default=_NOTHING)
_forked = False
_share: int | None = None  # of the usable cores, where others of the same job use them too


def _mark_forked() -> None:
    global _forked
    _forked = True


# GNU OpenMP hangs in a forked child of a parent that has used threads; fresh interpreters (spawn, loky) are
# not marked.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mark_forked)


def _checked_word(value: Any, name: str, words: tuple[str, ...]) -> str | None:
    if value is None or (isinstance(value, str) and value in words):
        return value
    raise ValueError(f"{name} must be one of {', '.join(words)}. Got {value!r} instead.")


def _checked_truth(value: Any, name: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise TypeError(f"{name} must be True, False or None. Got {value!r} instead.")


def _checked_number(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer of at least 1 or None. Got {value!r} instead.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1. Got {value} instead.")
    return _not_too_many(int(value), name)


def _not_too_many(value: int, name: str) -> int:
    if value > MOST_THREADS:
        raise ValueError(f"{name} must be at most {MOST_THREADS}. Got {value} instead.")
    return value


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kernels": _checked_word(settings.get("kernels"), "kernels", KERNELS),
        "n_threads": _checked_number(settings.get("n_threads"), "n_threads"),
        "communicator": _checked_word(settings.get("communicator"), "communicator", COMMUNICATORS),
        "n_workers": _checked_number(settings.get("n_workers"), "n_workers"),
        "device": _checked_word(settings.get("device"), "device", DEVICES),
        "strict_device": _checked_truth(settings.get("strict_device"), "strict_device"),
    }


def _word_of_environment(name: str, words: tuple[str, ...]) -> str | None:
    return _checked_word(os.environ.get(name, "").strip() or None, name, words)


def _number_of_environment(name: str) -> int | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name} must be a whole number of at least 1. Got {text!r} instead.")
    return _not_too_many(int(text), name)


def _openmp_threads() -> int | None:
    # joblib's process workers set OMP_NUM_THREADS to their share of the cores. Others may write lists ("4,2")
    # there: the first number is the outermost level; what is no number is OpenMP's to complain about, not
    # ours.
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return max(1, int(text)) if text.isdecimal() else None


def _thread_budget() -> int | None:
    return _explicit("n_threads") or _number_of_environment("HPCML_NUM_THREADS")


def _explicit(name: str) -> Any:
    value = _context.get()[name]
    return _process[name] if value is None else value


@contextlib.contextmanager
def config_context(
    *,
    kernels: str | None = None,
    n_threads: int | None = None,
    communicator: str | None = None,
    n_workers: int | None = None,
    device: str | None = None,
    strict_device: bool | None = None,
) -> Iterator[None]:
    """Change settings inside a ``with`` block, for the code that this thread or task runs in it.

    Parameters
    ----------
    kernels : {'auto', 'cuda', 'cython', 'numba', 'reference'}, optional
        Which implementation computes; 'auto' takes the fastest that is available. None leaves the setting
        alone.
    n_threads : int, optional
        Thread budget of estimators whose ``n_jobs`` is None; of every worker or rank under ``processes`` and
        ``mpi``. None leaves the setting alone.
    communicator : {'serial', 'processes', 'mpi'}, optional
        Who shares the rows of a fit: this process alone, worker processes of this machine, or the ranks of
        the MPI job, each of which gives its own rows to ``fit``. None leaves the setting alone.
    n_workers : int, optional
        Worker processes under ``processes``, the calling one included; by default one for each usable core.
        None leaves the setting alone.
    device : {'auto', 'cpu', 'cuda'}, optional
        Where kernels run: 'cuda' is the first GPU, 'cpu' the processor. 'auto' is the processor for every
        kernel until sizes have been measured from which a GPU is faster. What a GPU does not take (CSR rows,
        kernels without a version for it) runs on the processor, and the reason is logged once. None leaves
        the setting alone.
    strict_device : bool, optional
        Whether such a call raises instead. What is done once a fit by design, such as bins of trees, does
        not. None leaves the setting alone.

    Raises
    ------
    ValueError, TypeError
        If a value is none of those.

    Notes
    -----
    The settings are context variables: threads and processes that the block starts do not see them. A search
    carries them to joblib's workers with `snapshot` and `restored`.

    Examples
    --------
    >>> import hpcml
    >>> with hpcml.config_context(kernels="reference"):
    ...     hpcml.get_config()["kernels"]
    'reference'
    """
    new = _checked(
        {
            "kernels": kernels,
            "n_threads": n_threads,
            "communicator": communicator,
            "n_workers": n_workers,
            "device": device,
            "strict_device": strict_device,
        }
    )
    outer = _context.get()
    token = _context.set({name: outer[name] if value is None else value for name, value in new.items()})
    try:
        yield
    finally:
        _context.reset(token)


def set_config(**settings: Any) -> None:
    """Change settings of the whole process; `config_context` still goes before them.

    Parameters
    ----------
    **settings
        As in `config_context`. None gives a setting back to the environment;
        one that is not named stays as it is.

    Raises
    ------
    ValueError, TypeError
        If a value is not allowed, or a setting does not exist.

    Examples
    --------
    >>> import hpcml
    >>> hpcml.set_config(n_threads=1)
    >>> hpcml.get_config()["n_threads"]
    1
    >>> hpcml.set_config(n_threads=None)
    """
    unknown = sorted(set(settings) - set(_NOTHING))
    if unknown:
        raise TypeError(f"settings must be among {', '.join(_NOTHING)}. Got {', '.join(unknown)} instead.")
    new = _checked(settings)
    _process.update({name: new[name] for name in settings})


def get_config() -> dict[str, Any]:
    """Return the settings in force here, with everything automatic resolved.

    Returns
    -------
    dict
        ``kernels`` : str, ``n_threads`` : int, ``communicator`` : str, ``n_workers`` : int, ``device`` : str,
        ``strict_device`` : bool.

    Examples
    --------
    >>> import hpcml
    >>> sorted(hpcml.get_config())
    ['communicator', 'device', 'kernels', 'n_threads', 'n_workers', 'strict_device']
    """
    return {
        "kernels": kernels(),
        "n_threads": n_threads(),
        "communicator": communicator(),
        "n_workers": n_workers(),
        "device": device(),
        "strict_device": strict_device(),
    }


def kernels() -> str:
    """Return which implementation is asked for: context, process, ``HPCML_KERNELS``, else 'auto'.

    Returns
    -------
    str
        One of `KERNELS`.

    Raises
    ------
    ValueError
        If ``HPCML_KERNELS`` holds anything else.

    Examples
    --------
    >>> from hpcml import config
    >>> with config.config_context(kernels="auto"):
    ...     config.kernels()
    'auto'
    """
    return _explicit("kernels") or _word_of_environment("HPCML_KERNELS", KERNELS) or "auto"


def device() -> str:
    """Return where kernels run: context, process, ``HPCML_DEVICE``, else 'auto'.

    Returns
    -------
    str
        One of `DEVICES`.

    Raises
    ------
    ValueError
        If ``HPCML_DEVICE`` holds anything else.

    Examples
    --------
    >>> from hpcml import config
    >>> with config.config_context(device="cpu"):
    ...     config.device()
    'cpu'
    """
    return _explicit("device") or _word_of_environment("HPCML_DEVICE", DEVICES) or "auto"


def strict_device() -> bool:
    """Return whether a call that a GPU does not take raises: context, process, ``HPCML_STRICT_DEVICE``.

    Raises
    ------
    ValueError
        If ``HPCML_STRICT_DEVICE`` is neither 0 nor 1.

    Examples
    --------
    >>> from hpcml import config
    >>> with config.config_context(strict_device=True):
    ...     config.strict_device()
    True
    """
    value = _explicit("strict_device")
    if value is None:
        text = os.environ.get("HPCML_STRICT_DEVICE", "").strip()
        if text not in ("", "0", "1"):
            raise ValueError(f"HPCML_STRICT_DEVICE must be 0 or 1. Got {text!r} instead.")
        value = text == "1"
    return bool(value)


def communicator() -> str:
    """Return who shares the rows of a fit: context, process, ``HPCML_COMMUNICATOR``, else 'serial'.

    Inside a worker process of joblib or `multiprocessing` the environment is not read: a task computes alone.

    Returns
    -------
    str
        One of `COMMUNICATORS`.

    Raises
    ------
    ValueError
        If ``HPCML_COMMUNICATOR`` holds anything else.

    Examples
    --------
    >>> from hpcml import config
    >>> with config.config_context(communicator="serial"):
    ...     config.communicator()
    'serial'
    """
    value = _explicit("communicator")
    if value is None and multiprocessing.parent_process() is None:
        value = _word_of_environment("HPCML_COMMUNICATOR", COMMUNICATORS)
    return value or "serial"


def communicator_is_chosen() -> bool:
    """Return whether `communicator` follows from a choice, be it 'serial', and not from there being none.

    Examples
    --------
    >>> from hpcml import config
    >>> with config.config_context(communicator="serial"):
    ...     config.communicator_is_chosen()
    True
    """
    if _explicit("communicator") is not None or multiprocessing.parent_process() is not None:
        return True
    return bool(os.environ.get("HPCML_COMMUNICATOR", "").strip())


def n_workers() -> int:
    """Return how many processes share the rows under ``communicator="processes"``, this one included.

    Returns
    -------
    int
        Context, process, ``HPCML_NUM_WORKERS``, else as many as fill the usable cores: one for each, or for
        each ``n_threads`` of them where that is set.

    Raises
    ------
    ValueError
        If ``HPCML_NUM_WORKERS`` is no number of processes.

    Examples
    --------
    >>> from hpcml import config
    >>> with config.config_context(n_workers=3):
    ...     config.n_workers()
    3
    """
    value = _explicit("n_workers") or _number_of_environment("HPCML_NUM_WORKERS")
    return value or max(1, _cores() // (_thread_budget() or 1))


def worker_threads(workers: int) -> int:
    """Return how many threads each worker process may use.

    Parameters
    ----------
    workers : int
        How many there are.

    Returns
    -------
    int
        The thread budget, if there is one; else an equal share of the usable cores, at least 1.

    Examples
    --------
    >>> from hpcml import config
    >>> with config.config_context(n_threads=3):
    ...     config.worker_threads(2)
    3
    """
    budget = _thread_budget()
    if budget is None:  # every kernel asks: cores are looked up where it matters
        cores = _cores()
        budget = max(1, min(cores // workers, _openmp_threads() or cores))
    return budget


def share_cores(n: int | None) -> None:
    """Say that only `n` of the usable cores are this process's own, the others those of ranks of its job.

    Parameters
    ----------
    n : int or None
        Cores; None takes back what was said.

    Examples
    --------
    >>> from hpcml import config
    >>> config.share_cores(1)
    >>> with config.config_context():
    ...     config.n_threads(-1)
    1
    >>> config.share_cores(None)
    """
    global _share
    _share = _checked_number(n, "n")


def _cores() -> int:
    cores, _ = machine.usable_cores()
    return min(cores, _share or cores)


def n_threads(n_jobs: int | None = None) -> int:
    """Return how many threads a kernel may use.

    Parameters
    ----------
    n_jobs : int, optional
        An estimator's ``n_jobs``: at least 1, or negative as in joblib (-1 all usable cores, -2 all but one).
        None is the thread budget: context, process, ``HPCML_NUM_THREADS``, else the usable cores, of which
        ``OMP_NUM_THREADS`` (which joblib's process workers set to their share) may leave fewer.

    Returns
    -------
    int
        At least 1; always 1 in a forked child, where GNU OpenMP would hang.

    Raises
    ------
    ValueError, TypeError
        If `n_jobs` is 0, above 1024 or no integer, or an environment variable is no number of threads.

    Examples
    --------
    >>> from hpcml import config
    >>> config.n_threads(3)
    3
    >>> with config.config_context(n_threads=2):
    ...     config.n_threads(), config.n_threads(1)
    (2, 1)
    """
    if n_jobs is not None:
        if isinstance(n_jobs, bool) or not isinstance(n_jobs, numbers.Integral):
            raise TypeError(f"n_jobs must be an integer other than 0 or None. Got {n_jobs!r} instead.")
        if n_jobs == 0:
            raise ValueError("n_jobs must be an integer other than 0 or None. Got 0 instead.")
        n_jobs = _not_too_many(int(n_jobs), "n_jobs")
    if _forked:
        return 1
    if n_jobs is not None:
        return n_jobs if n_jobs > 0 else max(1, _cores() + 1 + n_jobs)
    return worker_threads(1)


def snapshot() -> dict[str, Any]:
    """Return the settings to carry to another thread or process.

    Returns
    -------
    dict
        Picklable. ``kernels`` and the device with the environment resolved, because a worker may have been
        started with another one; ``n_threads`` only if it was set by code, because a worker has its own
        share of the cores; the communicator is 'serial', because a task computes alone.

    Examples
    --------
    >>> from hpcml import config
    >>> with config.config_context(kernels="reference", n_threads=2):
    ...     carried = config.snapshot()
    >>> with config.restored(carried):
    ...     config.kernels(), config.n_threads()
    ('reference', 2)
    """
    return {
        "kernels": kernels(),
        "n_threads": _explicit("n_threads"),
        "communicator": "serial",
        "n_workers": None,
        "device": device(),
        "strict_device": strict_device(),
    }


@contextlib.contextmanager
def restored(snapshot: Mapping[str, Any]) -> Iterator[None]:
    """Apply the settings of a `snapshot` inside a ``with`` block, in place of those in force.

    Parameters
    ----------
    snapshot : mapping
        What `snapshot` returned; give it another ``n_threads`` to set the task's share of the cores.

    Raises
    ------
    ValueError, TypeError
        If a value is not allowed.

    Examples
    --------
    >>> from hpcml import config
    >>> with config.restored({**config.snapshot(), "n_threads": 1}):
    ...     config.n_threads()
    1
    """
    token = _context.set(_checked(snapshot))
    try:
        yield
    finally:
        _context.reset(token)
