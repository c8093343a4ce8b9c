"""What a worker process of an executor does with a partition: run its tasks within the cores it was given."""

import contextlib
import functools
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from threadpoolctl import threadpool_limits

from hpcml import config
from hpcml.joblib_backends.executor_arrays import Described, Layout
from hpcml.joblib_backends.outcomes import run
from hpcml.joblib_backends.payload import load

__all__ = ["Work", "run_tasks"]


@dataclass(frozen=True)
class Work:
    """What all tasks of a job have in common.

    Parameters
    ----------
    threads : int
        Each task may use.
    thread_variables : tuple of str
        Environment variables that libraries of threads read when they are loaded.
    temp_folder : str or None
        Where arrays are laid out; by default in Spark's folder of the executor.
    mmap_mode : {'r', 'c', None}
    described : tuple of Described
        Of each array.
    keys : tuple of str
        Of each array.
    alive : frozenset of str
        Keys of all arrays that are in use in the application.
    """

    threads: int
    thread_variables: tuple[str, ...]
    temp_folder: str | None
    mmap_mode: str | None
    described: tuple[Described, ...] = ()
    keys: tuple[str, ...] = ()
    alive: frozenset[str] = frozenset()


class _Arrays(Sequence[np.ndarray]):
    """The arrays of a job; one is fetched when a task first asks for it."""

    def __init__(self, work: Work, broadcasts: Sequence[Any] | None, layout: Layout) -> None:
        self._work, self._broadcasts, self._layout = work, broadcasts, layout
        self._found: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._work.keys)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[np.ndarray]: ...
    def __getitem__(self, index: Any) -> Any:
        if self._work.mmap_mode != "r":  # each task has its own changes
            return self._fetch(index)
        if index not in self._found:
            self._found[index] = self._fetch(index)
        return self._found[index]

    def _fetch(self, index: int) -> np.ndarray:
        work = self._work
        if self._broadcasts is None:
            from pyspark import SparkFiles

            return self._layout.from_file(SparkFiles.get(work.keys[index]), work.described[index])
        return self._layout.array(work.keys[index], work.described[index], self._broadcasts[index])


def run_tasks(
    tasks: Sequence[tuple[int, bytes]], work: Work, broadcasts: Sequence[Any] | None, gpus: Sequence[str] = ()
) -> Iterator[tuple[int, bytes]]:
    """Run tasks one after another, up to the first that fails.

    Parameters
    ----------
    tasks : sequence of (int, bytes)
        Number and payload of each.
    work : Work
    broadcasts : sequence or None
        Each has the array as its ``value``; None: the arrays are files of the session, named by their keys.
    gpus : sequence of str
        Addresses of the task's GPUs.

    Yields
    ------
    (int, bytes)
        Number and outcome.
    """
    with _own_share(work, gpus):
        layout = Layout.current = Layout(work.temp_folder, work.mmap_mode)
        limits = _Limits(work.threads)
        try:
            layout.forget_all_but(work.alive)
            arrays = _Arrays(work, broadcasts, layout)
            for number, payload in tasks:
                outcome, failed = run(functools.partial(_call, payload, arrays, limits))
                yield number, outcome
                if failed:
                    return
        finally:
            limits.end()
            Layout.current = None
            _set_aside()


def _call(payload: bytes, arrays: _Arrays, limits: "_Limits") -> Any:
    function = load(payload, arrays)  # loads libraries, whose threads are limited after that
    limits.set()
    with config.config_context(communicator="serial"):
        return function()


_n_modules = 0  # that were loaded when `_set_aside` last looked


def _set_aside() -> None:
    """Spare the garbage collection that Spark has after every partition what libraries keep for good.

    It takes 50 ms for scikit-learn's 300,000 objects, as often as there are partitions.
    """
    global _n_modules
    if len(sys.modules) != _n_modules:
        _n_modules = len(sys.modules)
        gc.collect()
        gc.freeze()


class _Limits:
    """The limit of threads of native libraries, set again where others may have been loaded."""

    def __init__(self, threads: int) -> None:
        self._threads, self._n_modules = threads, 0
        self._set = contextlib.ExitStack()

    def set(self) -> None:
        if len(sys.modules) != self._n_modules:  # to look for the libraries takes milliseconds
            self._set.enter_context(threadpool_limits(limits=self._threads))
            self._n_modules = len(sys.modules)

    def end(self) -> None:
        self._set.close()


@contextlib.contextmanager
def _own_share(work: Work, gpus: Sequence[str]) -> Iterator[None]:
    """Use the task's cores and GPUs inside a ``with`` block; the process serves other jobs after it."""
    variables = dict.fromkeys(work.thread_variables, str(work.threads))
    variables["LOKY_MAX_CPU_COUNT"] = str(work.threads)
    if gpus:  # numbers as nvidia-smi has them, which Spark's scripts of discovery ask
        variables.update(CUDA_VISIBLE_DEVICES=",".join(gpus), CUDA_DEVICE_ORDER="PCI_BUS_ID")
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    config.share_cores(work.threads)
    try:
        yield
    finally:
        config.share_cores(None)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
