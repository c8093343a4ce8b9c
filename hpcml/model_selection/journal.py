"""The journal of a search: what is finished survives the death of the process.

A file of JSON lines. The first says which search it is (fingerprints of data, grid, estimator, ...) and
holds what was drawn at random: splits, candidates and the seed. Every other line is one candidate on one
fold. A line counts once it ends with its line feed; lines are on the disk (fsync) before the search goes on.
"""

import base64
import fcntl
import json
import os
import stat
import weakref
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from hpcml.errors import HpcmlError, JournalMismatch
from hpcml.model_selection.fitting import Record

__all__ = ["FORMAT_VERSION", "Journal", "decode_splits", "encode_splits"]

FORMAT = "hpcml search journal"
#: Raised whenever an older hpcml could not read the file.
FORMAT_VERSION = 1

#: What every record has.
_RECORD = {"candidate", "fold", "test_scores"}

_open_journals: "weakref.WeakSet[Journal]" = weakref.WeakSet()


def _close_in_child() -> None:
    # a forked worker must not keep the lock when its parent is gone; closing its copy does not unlock the
    # parent's
    for journal in list(_open_journals):
        journal.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


class Journal:
    """A journal file, locked for this search.

    Parameters
    ----------
    path : path-like
        Made if it does not exist.
    identity : mapping of str to str
        What the search is: name -> fingerprint or version. A file with another identity is refused.

    Attributes
    ----------
    drawn : dict or None
        What the search that began the file drew; None if the file is new.
    records : list of dict
        What is finished.

    Raises
    ------
    JournalMismatch
        If the file is another search's, or no journal.
    HpcmlError
        If another search is writing it.

    Examples
    --------
    >>> import os, tempfile
    >>> from hpcml.model_selection.journal import Journal
    >>> path = os.path.join(tempfile.mkdtemp(), "search.jsonl")
    >>> with Journal(path, {"X": "ab"}) as journal:
    ...     journal.begin({"seed": 3})
    ...     journal.add([{"candidate": 0, "fold": 1, "test_scores": 0.5}])
    >>> with Journal(path, {"X": "ab"}) as journal:
    ...     journal.drawn["seed"], len(journal.records)
    (3, 1)
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, str]) -> None:
        self.path = Path(path)
        self._identity = dict(identity)
        self.drawn: dict[str, Any] | None = None
        self.records: list[Record] = []
        new = not self.path.exists()
        self._fd = _opened(self.path)
        _open_journals.add(self)
        try:
            self._lock()
            self._read()
            if new:
                _sync_folder(self.path.parent)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlock and close the file; does nothing the second time."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HpcmlError(
                f"journal {self.path} is being written by another search. "
                "Wait for it, or give another journal."
            ) from None

    def _read(self) -> None:
        content = _whole(self._fd)
        lines = content.split(b"\n")
        torn = lines.pop()  # what follows the last line feed
        good = len(content) - len(torn)
        parsed = []
        for number, line in enumerate(lines, start=1):
            try:
                parsed.append(json.loads(line))
            except ValueError:
                if number == 1 and not _may_begin_header(line):  # nobody is told to delete another file
                    raise JournalMismatch(
                        f"journal {self.path} is no journal of a search. Give another file."
                    ) from None
                if number < len(lines):
                    self._refuse_damaged(number)
                good -= len(line) + 1  # written in part, with whatever the disk held behind it
        if torn and not parsed and not _may_begin_header(torn):
            raise JournalMismatch(f"journal {self.path} is no journal of a search. Give another file.")
        if parsed:
            self._check_header(parsed[0])
            for number, record in enumerate(parsed[1:], start=2):
                if not isinstance(record, dict) or not record.keys() >= _RECORD:
                    self._refuse_damaged(number)
            self.drawn, self.records = parsed[0]["drawn"], parsed[1:]
        if good < len(content):
            os.ftruncate(self._fd, good)
            os.fsync(self._fd)

    def _refuse_damaged(self, number: int) -> NoReturn:
        raise JournalMismatch(
            f"journal {self.path} is damaged in line {number}. Give another journal, or delete this one."
        ) from None

    def _check_header(self, header: Any) -> None:
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise JournalMismatch(f"journal {self.path} is no journal of a search. Give another file.")
        if header.get("format_version") != FORMAT_VERSION:
            raise JournalMismatch(
                f"journal {self.path} has format version {header.get('format_version')}; "
                f"this hpcml reads {FORMAT_VERSION}. Give another journal, or delete this one."
            )
        drawn, theirs = header.get("drawn"), header.get("identity")
        if not isinstance(theirs, dict) or not isinstance(drawn, dict):
            self._refuse_damaged(1)
        names = [*self._identity, *(name for name in theirs if name not in self._identity)]
        other = [name for name in names if theirs.get(name) != self._identity.get(name)]
        if other:
            listed = other[0] if len(other) == 1 else f"{', '.join(other[:-1])} and {other[-1]}"
            verb = "differs" if len(other) == 1 else "differ"
            raise JournalMismatch(
                f"journal {self.path} belongs to another search: {listed} {verb}. "
                "Give another journal, or delete this one to start afresh."
            )

    def begin(self, drawn: Mapping[str, Any]) -> None:
        """Write the header of a new file."""
        self.drawn = dict(drawn)
        header = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "identity": self._identity,
            "drawn": self.drawn,
        }
        self._append([header])

    def add(self, records: Iterable[Record]) -> None:
        """Write finished pairs; they are on the disk when this returns."""
        self._append([{key: _stored(value) for key, value in record.items()} for record in records])

    def _append(self, objects: Sequence[Any]) -> None:
        data = "".join(json.dumps(item) + "\n" for item in objects).encode()
        while data:
            data = data[os.write(self._fd, data) :]
        os.fsync(self._fd)


def _opened(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise OSError(
            error.errno, f"journal {path} cannot be opened for writing ({error.strerror}). Give another file."
        ) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):  # a device may never end
        os.close(fd)
        raise JournalMismatch(f"journal {path} is no regular file. Give another file.")
    return fd


def _whole(fd: int) -> bytes:
    os.lseek(fd, 0, os.SEEK_SET)
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def _may_begin_header(torn: bytes) -> bool:
    start = json.dumps({"format": FORMAT})[:-1].encode()
    return torn.startswith(start[: len(torn)])


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _stored(value: Any) -> Any:
    """Return what JSON can hold: scores are numbers, of which it knows integers and doubles."""
    if isinstance(value, dict):
        return {name: _stored(item) for name, item in value.items()}
    return value if value is None or isinstance(value, (bool, int, str)) else float(value)


def _encode(rows: Any) -> str:
    # differences of sorted rows are small and compress well
    steps = np.diff(np.asarray(rows, dtype="<i8"), prepend=0)
    return base64.b64encode(zlib.compress(steps.astype("<i8").tobytes())).decode("ascii")


def _decode(text: str) -> Any:
    steps = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i8")
    return np.cumsum(steps).astype(np.intp)


def encode_splits(splits: Sequence[tuple[Any, Any]], n: int) -> list[dict[str, str]]:
    """Return splits of `n` rows as JSON can hold them; training rows that are just the other rows are left
    out.

    Examples
    --------
    >>> import numpy as np
    >>> from hpcml.model_selection.journal import decode_splits, encode_splits
    >>> encoded = encode_splits([(np.array([0, 2]), np.array([1]))], 3)
    >>> sorted(encoded[0]), decode_splits(encoded, 3)
    (['test'], [(array([0, 2]), array([1]))])
    """
    encoded = []
    for train, test in splits:
        entry = {"test": _encode(test)}
        if not np.array_equal(_others(test, n), train):
            entry["train"] = _encode(train)
        encoded.append(entry)
    return encoded


def decode_splits(encoded: Sequence[Mapping[str, str]], n: int) -> list[tuple[Any, Any]]:
    """Return the splits that `encode_splits` was given."""
    splits = []
    for entry in encoded:
        test = _decode(entry["test"])
        splits.append((_decode(entry["train"]) if "train" in entry else _others(test, n), test))
    return splits


def _others(rows: Any, n: int) -> Any:
    mask = np.ones(n, dtype=bool)
    mask[rows] = False
    return np.flatnonzero(mask)
