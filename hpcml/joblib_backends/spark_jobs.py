"""One Spark job for many tasks, on a session with a SparkContext."""

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hpcml.joblib_backends.executor import Work
from hpcml.joblib_backends.executor_arrays import Sent, describe
from hpcml.joblib_backends.shipped import Deliver, shipped, versions

__all__ = ["ClassicCluster"]

#: Results of a partition up to this size come through an accumulator, as soon as the partition ends.
_SMALL = 1 << 20


class ClassicCluster:
    """Spark with a SparkContext: broadcasts, an accumulator for results, cancellation by tag.

    Parameters
    ----------
    session : SparkSession
    profile : ResourceProfile or None
    """

    def __init__(self, session: Any, profile: Any) -> None:
        self._sc, self._profile = session.sparkContext, profile

    def run(
        self,
        parts: Sequence[Sequence[tuple[int, bytes]]],
        arrays: Sequence[np.ndarray],
        work: Work,
        name: str,
        tag: str,
        deliver: Deliver,
        cancelled: threading.Event,
    ) -> None:
        """Run tasks as one job and deliver their outcomes, some while it runs.

        Parameters
        ----------
        parts : sequence of sequences of (int, bytes)
            Number and payload of the tasks of each partition.
        arrays : sequence of ndarray
        work : Work
        name : str
            What Spark's pages call the job.
        tag : str
            For `cancel`.
        deliver : callable
            Called with number and outcome; perhaps twice, where Spark ran a partition again.
        cancelled : Event
            Nothing is started once it is set.

        Raises
        ------
        Exception
            Whatever Spark raises.
        """
        sc = self._sc
        keys = tuple(f"hpcml-{uuid.uuid4().hex}" for _ in arrays)
        broadcasts: list[Any] = []
        stream = _Stream.of(sc)
        before = sc.getLocalProperty("spark.job.description")
        with stream.open(deliver) as call, _alive(keys):
            sc.addJobTag(tag)
            sc.setJobDescription(f"{before}: {name}" if before else name)
            try:
                for key, array in zip(keys, arrays, strict=True):
                    if cancelled.is_set():
                        return
                    broadcasts.append(sc.broadcast(Sent(key, array)))
                described = tuple(describe(array) for array in arrays)
                work = replace(work, keys=keys, described=described, alive=frozenset(_in_use))
                run = _partition(versions(), work, broadcasts, stream.accumulator, call)
                rdd = sc.parallelize([list(part) for part in parts], len(parts))
                if self._profile is not None:
                    rdd = rdd.withResources(self._profile)
                if not cancelled.is_set():
                    for number, outcome in rdd.mapPartitions(run).collect():
                        deliver(number, outcome)
            finally:
                sc.removeJobTag(tag)
                sc.setLocalProperty("spark.job.description", before)
                for broadcast in broadcasts:
                    broadcast.destroy()

    def cancel(self, tag: str) -> None:
        """Cancel the jobs with a tag, and end the worker processes that run their tasks."""
        self._sc.cancelJobsWithTag(tag)


_in_use: set[str] = set()


@contextlib.contextmanager
def _alive(keys: Iterable[str]) -> Iterator[None]:
    """Let no executor forget arrays inside a ``with`` block."""
    _in_use.update(keys)
    try:
        yield
    finally:
        _in_use.difference_update(keys)


def _partition(
    versions: dict[str, str], work: Work, broadcasts: Sequence[Any], accumulator: Any, call: str
) -> Callable[[Any], Any]:
    """Return the function of a partition; it goes by value."""
    outcomes_of, small = shipped(versions, work), _SMALL

    def run(rows):  # type: ignore[no-untyped-def]
        done, size = [], 0
        for number, outcome in outcomes_of(rows, broadcasts):
            size += len(outcome)
            if size > small:
                yield number, outcome
            else:
                done.append((call, number, outcome))
        accumulator.add(done)

    return run


class _Stream:
    """An accumulator of an application, through which finished partitions hand over outcomes."""

    _streams: dict[str, "_Stream"] = {}  # of the process, by application
    _lock = threading.Lock()

    def __init__(self, sc: Any) -> None:
        from pyspark.accumulators import AccumulatorParam, AddingAccumulatorParam

        calls: dict[str, Deliver] = {}

        class Param(AccumulatorParam):  # type: ignore[type-arg]
            """Hands over on the driver; adds up lists on the executors."""

            def zero(self, value: Any) -> Any:
                return []

            def addInPlace(self, value1: Any, value2: Any) -> Any:
                for call, number, outcome in value2:
                    deliver = calls.get(call)
                    if deliver is not None:
                        deliver(number, outcome)
                return value1

            def __reduce__(self) -> tuple[Any, ...]:
                return AddingAccumulatorParam, ([],)

        self.accumulator = sc.accumulator([], Param())
        self._calls = calls

    @classmethod
    def of(cls, sc: Any) -> "_Stream":
        with cls._lock:
            if sc.applicationId not in cls._streams:
                cls._streams.clear()  # a process has one application at a time
                cls._streams[sc.applicationId] = cls(sc)
            return cls._streams[sc.applicationId]

    @contextlib.contextmanager
    def open(self, deliver: Deliver) -> Iterator[str]:
        """Give a call a name, under which outcomes are handed over inside a ``with`` block."""
        name = uuid.uuid4().hex
        self._calls[name] = deliver
        try:
            yield name
        finally:
            del self._calls[name]
