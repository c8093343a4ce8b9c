"""One job for many tasks through Spark Connect, which knows DataFrames only."""

import pickle
import tempfile
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpcml.joblib_backends.executor import Work
from hpcml.joblib_backends.executor_arrays import describe
from hpcml.joblib_backends.shipped import Deliver, shipped, versions

__all__ = ["ConnectCluster"]


class ConnectCluster:
    """Spark Connect: arrays are files of the session, results the rows of a DataFrame, one batch a partition.

    Parameters
    ----------
    session : SparkSession
    profile : ResourceProfile or None
    """

    def __init__(self, session: Any, profile: Any) -> None:
        self._session, self._profile = session, profile

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
        """Run tasks as one job, as `ClassicCluster.run` does; Connect has no place for `name`."""
        session = self._session
        if work.temp_folder is not None:
            raise ValueError(f"temp_folder must be None on Spark Connect. Got {work.temp_folder!r} instead.")
        keys = tuple(f"hpcml-{uuid.uuid4().hex}" for _ in arrays)
        session.addTag(tag)
        try:
            for key, array in zip(keys, arrays, strict=True):
                if cancelled.is_set():
                    return
                self._send(key, array)
            work = replace(work, keys=keys, described=tuple(describe(array) for array in arrays))
            rows = [(i, pickle.dumps(list(part))) for i, part in enumerate(parts)]
            frame = session.createDataFrame(rows, "part int, tasks binary").repartition(len(parts))
            run = _partition(versions(), work)
            results = frame.mapInArrow(run, "number long, outcome binary", profile=self._profile)
            if not cancelled.is_set():
                for row in results.toLocalIterator():
                    outcome = bytes(row.outcome)
                    deliver(row.number, outcome if row.number >= 0 else outcome.decode())
        finally:
            session.removeTag(tag)

    def cancel(self, tag: str) -> None:
        """Cancel the operations with a tag."""
        self._session.interruptTag(tag)

    def _send(self, key: str, array: np.ndarray) -> None:
        """Make an array a file of the session; Spark keeps it there until the session ends."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, key)
            (array.T if describe(array)[2] else array).tofile(path)
            self._session.addArtifacts(str(path), file=True)


def _partition(wanted: dict[str, str], work: Work) -> Callable[[Any], Any]:
    """Return the function of a partition; it goes by value."""
    outcomes_of = shipped(wanted, work)

    def run(batches):  # type: ignore[no-untyped-def]
        import pickle

        import pyarrow

        types = pyarrow.schema([("number", pyarrow.int64()), ("outcome", pyarrow.binary())])
        for batch in batches:
            rows = (pickle.loads(tasks) for tasks in batch.column("tasks").to_pylist())
            for number, outcome in outcomes_of(rows, None):
                data = outcome.encode() if isinstance(outcome, str) else outcome
                yield pyarrow.RecordBatch.from_pydict({"number": [number], "outcome": [data]}, schema=types)

    return run
