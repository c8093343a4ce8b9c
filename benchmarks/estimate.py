"""Fits and predictions of estimators that have scikit-learn's interface, and of peers that have their own."""

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import threadpoolctl

import hpcml
from benchmarks.data import Dataset
from benchmarks.peers import PEERS, Peer

__all__ = ["Estimate", "threads"]


@functools.cache
def _libraries(n_modules: int) -> threadpoolctl.ThreadpoolController:
    """Return the handle on all libraries with threads: to find them takes 2 ms, where a fit may take 20."""
    return threadpoolctl.ThreadpoolController()


@contextlib.contextmanager
def threads(n: int | None) -> Iterator[None]:
    """Give every library `n` threads inside the block.

    Parameters
    ----------
    n : int or None
    """
    if n is None:
        yield
        return
    with hpcml.config_context(n_threads=n), _libraries(len(sys.modules)).limit(limits=n):
        yield


@dataclass(frozen=True)
class Estimate:
    """One call of an estimator; the same class name in every library that has scikit-learn's interface.

    Parameters
    ----------
    estimator : str
        Module and class below the library, such as ``"cluster.KMeans"``.
    parameters : callable
        ``parameters(data, seed)`` returns the parameters, the same for everybody.
    judge : callable
        ``judge(result, data)`` returns a score of what the call returned, more is better.
    call : str
        ``"fit"`` (of a new estimator), or a method that a fitted one is timed with, such as ``"predict"``;
        that one is fitted before the clock starts.
    supervised : bool
        Whether `fit` is given the target.
    own : mapping of str to mapping
        Contestant, a key of `benchmarks.peers.PEERS`, -> parameters that it has beside or instead.
    others : mapping of str to callable
        Contestant without that interface -> ``make(data, parameters, n_jobs)``, which returns what is timed.
    """

    estimator: str
    parameters: Callable[[Dataset, int], dict[str, Any]]
    judge: Callable[[Any, Dataset], float]
    call: str = "fit"
    supervised: bool = False
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    others: Mapping[str, Callable[[Dataset, dict[str, Any], int | None], Callable[[], Any]]] = field(
        default_factory=dict
    )

    def prepare(self, peer: Peer, data: Dataset, n_jobs: int | None, seed: int) -> Callable[[], Any]:
        """Return the callable that is timed; what it needs is made here, outside the clock.

        Parameters
        ----------
        peer : Peer
        data : Dataset
        n_jobs : int or None
        seed : int
        """
        contestant = next(key for key, value in PEERS.items() if value is peer)
        parameters = {**self.parameters(data, seed), **self.own.get(contestant, {})}
        if contestant in self.others:
            work = self.others[contestant](data, parameters, n_jobs)
        else:
            work = self._like_scikit_learn(peer, data, parameters)

        def run() -> Any:
            with threads(n_jobs):
                return work()

        return run

    def _like_scikit_learn(self, peer: Peer, data: Dataset, parameters: dict[str, Any]) -> Callable[[], Any]:
        module, _, name = self.estimator.rpartition(".")
        kind = getattr(importlib.import_module(f"{peer.module}.{module}"), name)
        target = (data.y,) if self.supervised else ()
        if self.call == "fit":
            return lambda: kind(**parameters).fit(data.X, *target)
        fitted = kind(**parameters).fit(data.X, *target)
        return lambda: getattr(fitted, self.call)(data.X)

    def quality(self, result: Any, data: Dataset) -> np.ndarray:
        """Return the score of what the timed callable returned: more is better.

        Parameters
        ----------
        result : object
        data : Dataset
        """
        return np.array([self.judge(result, data)])
