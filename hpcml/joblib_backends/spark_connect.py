"""One job for many tasks through Spark Connect, which knows DataFrames only."""

import hashlib
import pickle
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpcml.joblib_backends.executor import Work
from hpcml.joblib_backends.executor_arrays import bytes_of, describe
from hpcml.joblib_backends.shipped import Deliver, shipped, versions

__all__ = ["ConnectCluster"]

#: Tasks of a partition up to this size travel with the job, which may not be larger than a message of gRPC.
_SMALL = 1 << 20

#: Names of the files that a session has: Spark keeps them until it ends, so none is sent twice.
_sent: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


class ConnectCluster:
    """Spark Connect: arrays are files of the session, results the rows of a DataFrame, cancellation by tag.

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
        session.addTag(tag)
        try:
            keys = []
            for array in arrays:
                if cancelled.is_set():
                    return
                keys.append(self._send(bytes_of(array)))
            work = replace(work, keys=tuple(keys), described=tuple(describe(array) for array in arrays))
            pickled = [pickle.dumps(list(part)) for part in parts]
            rows = [self._send(tasks) if len(tasks) > _SMALL else tasks for tasks in pickled]
            frame = session.range(0, len(rows), 1, len(rows))  # one row a partition
            run = _partition(versions(), work, rows)
            asked = {} if self._profile is None else {"profile": self._profile}  # Spark 3.5 knows none here
            results = frame.mapInArrow(run, "number long, outcome binary", **asked)
            if not cancelled.is_set():
                for row in results.toLocalIterator():
                    outcome = bytes(row.outcome)
                    deliver(row.number, outcome if row.number >= 0 else outcome.decode())
        finally:
            session.removeTag(tag)

    def cancel(self, tag: str) -> None:
        """Cancel the operations with a tag."""
        self._session.interruptTag(tag)

    def _send(self, content: Any) -> str:
        """Make bytes a file of the session, named by what they are, and return its name."""
        name = f"hpcml-{hashlib.blake2b(content, digest_size=16).hexdigest()}"
        sent = _sent.setdefault(self._session, set())
        if name not in sent:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, name)
                path.write_bytes(content)
                self._session.addArtifacts(str(path), file=True)
            sent.add(name)
        return name


def _partition(wanted: dict[str, str], work: Work, rows: Sequence[Any]) -> Callable[[Any], Any]:
    """Return the function of a partition; it goes by value."""
    outcomes_of = shipped(wanted, work)

    def run(batches):  # type: ignore[no-untyped-def]
        import pickle
        from pathlib import Path

        import pyarrow
        from pyspark import SparkFiles

        types = pyarrow.schema([("number", pyarrow.int64()), ("outcome", pyarrow.binary())])
        for batch in batches:
            for i in batch.column(0).to_pylist():
                tasks = Path(SparkFiles.get(rows[i])).read_bytes() if isinstance(rows[i], str) else rows[i]
                for number, outcome in outcomes_of([pickle.loads(tasks)], None):
                    data = outcome.encode() if isinstance(outcome, str) else outcome
                    found = {"number": [number], "outcome": [data]}
                    yield pyarrow.RecordBatch.from_pydict(found, schema=types)

    return run
