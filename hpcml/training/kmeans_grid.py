"""K-means for many candidates on the same rows: one pass over the rows moves the centers of all of them.

Runs from equal first centers are one path, whatever their tolerance and their most iterations: each
candidate leaves it where it stops. Seeds of k-means++ for few clusters begin those for many. Every number is
computed in the order in which a fit of its own computes it, so that the results have the same bits.
"""

from __future__ import annotations

import contextlib
import numbers
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcml.communicators import Communicator, Table
from hpcml.training.grids import Failed
from hpcml.training.kmeans import Best, least_inertia
from hpcml.training.lloyd import Run, mean_of_rows
from hpcml.training.relocation import relocate
from hpcml.training.seeding import dense_rows, seeds, usual_trials

__all__ = ["Asked", "Draws", "Starts", "fit_together"]

#: Labels of paths that are under way take at most this share of the bytes of the rows, but for a few paths.
SHARE_OF_LABELS = 0.5
LEAST_PATHS = 8

_LARGEST_SEED = 2**32 - 1  # of NumPy's RandomState

Centers = NDArray[Any]


@dataclass(frozen=True)
class Asked:
    """What a candidate asks for.

    Parameters
    ----------
    n_clusters : int
    start : callable or None
        Returns the first centers of a run; None: k-means++.
    draws : Draws
        The candidate's own, in the state in which its fit begins; it is changed.
    n_runs : int
    max_iter : int
    tol : float
        As for `hpcml.training.lloyd.iterate`.
    """

    n_clusters: int
    start: Callable[[Draws], Centers] | None
    draws: Draws
    n_runs: int
    max_iter: int
    tol: float


@dataclass
class _Path:
    """Centers that move, and the runs that follow them: candidate, number of the run."""

    centers: Centers
    followers: list[tuple[int, int]]
    column: int = -1
    n_iter: int = 0


@dataclass
class _Pool:
    """The paths under way, and columns of labels for them."""

    waiting: deque[_Path]
    columns: list[int]
    live: list[_Path] = field(default_factory=list)

    def fill_up(self) -> None:
        """Let paths begin where there are columns."""
        while self.waiting and self.columns:
            path = self.waiting.popleft()
            path.column = self.columns.pop()
            self.live.append(path)

    def end(self, path: _Path) -> None:
        """Give the column of a path to the next one."""
        self.live = [other for other in self.live if other is not path]
        self.columns.append(path.column)


class Draws:
    """A candidate's generator, made when it is first drawn from: to make one takes as long as many a kernel.

    Parameters
    ----------
    communicator : Communicator
    random_state : int, RandomState or None
        As an estimator is given it.
    """

    def __init__(self, communicator: Communicator, random_state: Any) -> None:
        self._make = partial(communicator.random_state, random_state)
        self.seed = int(random_state) if isinstance(random_state, numbers.Integral) else None
        if self.seed is None or not 0 <= self.seed <= _LARGEST_SEED or communicator.size > 1:
            self.rng = self._make()  # it may raise, and ranks may have been given different ones

    @cached_property
    def rng(self) -> np.random.RandomState:
        """The generator; it is the candidate's own."""
        return self._make()

    @property
    def state(self) -> Any:
        """Something that is equal for generators in the same state."""
        if "rng" not in vars(self):
            return self.seed
        name, words, *others = self.rng.get_state()
        return name, np.asarray(words).tobytes(), *others

    def leave(self, rng: np.random.RandomState, more: bool) -> None:
        """Take the state of another generator, if there is `more` to draw or others may see this one."""
        if more or self.seed is None:
            self.rng.set_state(rng.get_state())

    def copy(self) -> np.random.RandomState:
        """Return another generator in the same state."""
        if "rng" not in vars(self):
            return self._make()
        found = np.random.RandomState()
        found.set_state(self.rng.get_state())
        return found


class Starts:
    """Rows to start from, drawn as k-means++ does; each state of the generator is drawn from once.

    Parameters
    ----------
    table : Table
    weighted : bool
        Whether the table has the row array ``weights``.
    """

    def __init__(self, table: Table, weighted: bool) -> None:
        self.table, self.weighted = table, weighted

    def __call__(self, wanted: Sequence[tuple[int, Draws, bool]]) -> list[NDArray[np.int64]]:
        """Return rows for numbers of clusters and generators.

        Those that are to be drawn from again, as the third entry tells, are left as after `plus_plus`.
        """
        groups: dict[Any, dict[int, list[int]]] = {}
        for at, (k, draws, _) in enumerate(wanted):
            same = groups.setdefault((usual_trials(k), draws.state), {})
            same.setdefault(k, []).append(at)
        found: dict[int, NDArray[np.int64]] = {}
        for (n_trials, _), sizes in groups.items():
            rng = wanted[next(iter(sizes.values()))[0]][1].copy()
            rows: list[int] = []
            with contextlib.closing(seeds(self.table, rng, self.weighted, n_trials)) as drawn:
                for k in sorted(sizes):
                    rows += [next(drawn) for _ in range(k - len(rows))]
                    for at in sizes[k]:
                        found[at] = np.array(rows, dtype=np.int64)
                        wanted[at][1].leave(rng, more=wanted[at][2])
        return [found[at] for at in range(len(wanted))]


def fit_together(
    table: Table,
    communicator: Communicator,
    asked: Mapping[int, Asked],
    origin: NDArray[Any] | None,
    weighted: bool,
) -> Iterator[tuple[int, Best | Failed]]:
    """Fit candidates on the rows of a table.

    Parameters
    ----------
    table : Table
        With the row array ``weights`` if `weighted`.
    communicator : Communicator
    asked : mapping of int to Asked
        By number of the candidate.
    origin : ndarray of shape (n_features,) or None
        As for `hpcml.training.kmeans.best_of`.
    weighted : bool

    Yields
    ------
    (int, Best or Failed) : tuple
        The candidate, as soon as its runs have ended. Its labels are dropped by the next step.
    """
    starts, failed = _first_centers(table, communicator, asked, weighted)
    for i, error in failed.items():
        yield i, Failed(error)
    ended: dict[int, dict[int, Run]] = {i: {} for i in starts}
    for found in _runs(table, communicator, asked, _paths(starts, origin), origin, weighted):
        for i, number, run in found:
            ended[i][number] = run
        for i in dict.fromkeys(i for i, _, _ in found):
            if len(ended[i]) == asked[i].n_runs:
                runs = ended.pop(i)
                yield i, least_inertia(table, [_again(table, runs[r]) for r in sorted(runs)], origin)


def _again(table: Table, run: Run) -> Callable[[str], Run]:
    """Return what `least_inertia` takes for a run that has ended."""

    def labelled(labels: str) -> Run:
        table.fill(labels, -1, np.int32)
        return run

    return labelled


def _first_centers(
    table: Table, communicator: Communicator, asked: Mapping[int, Asked], weighted: bool
) -> tuple[dict[int, list[Centers]], dict[int, Exception]]:
    """Return the first centers of all runs of every candidate, and errors."""
    plus_plus = Starts(table, weighted)
    starts: dict[int, list[Centers]] = {i: [] for i in asked}
    failed: dict[int, Exception] = {}
    for i, one in asked.items():
        if one.start is not None:
            try:
                starts[i] = [one.start(one.draws) for _ in range(one.n_runs)]
            except Exception as error:
                if communicator.size > 1:  # other ranks may be waiting for this one
                    raise
                failed[i] = error
                del starts[i]
    drawn = [i for i, one in asked.items() if one.start is None]
    for number in range(max((asked[i].n_runs for i in drawn), default=0)):
        some = [i for i in drawn if asked[i].n_runs > number]
        found = plus_plus([(asked[i].n_clusters, asked[i].draws, number + 1 < asked[i].n_runs) for i in some])
        for i, rows in zip(some, found, strict=True):
            starts[i].append(dense_rows(table, rows))
    return starts, failed


def _paths(starts: Mapping[int, list[Centers]], origin: NDArray[Any] | None) -> list[_Path]:
    """Return one path for every different start, those of most centers first."""
    paths: dict[tuple[int, bytes], _Path] = {}
    for i, own in starts.items():
        for number, centers in enumerate(own):
            relative = centers if origin is None else centers - origin
            path = paths.setdefault((len(centers), relative.tobytes()), _Path(relative, []))
            path.followers.append((i, number))
    return sorted(paths.values(), key=lambda path: -len(path.centers))


def _runs(
    table: Table,
    communicator: Communicator,
    asked: Mapping[int, Asked],
    paths: list[_Path],
    origin: NDArray[Any] | None,
    weighted: bool,
) -> Iterator[list[tuple[int, int, Run]]]:
    """Step all paths; yield runs that end: candidate, number of the run, and the run."""
    columns = min(len(paths), _most_paths(table))
    table.fill("columns_of_labels", -1, np.int32, (columns,))
    pool = _Pool(deque(paths), list(range(columns)))
    pool.fill_up()
    try:
        while pool.live:
            centers = _step(table, communicator, pool.live, origin, weighted)
            ended = []
            for path, (after, changed, moves) in zip(pool.live, centers, strict=True):
                unchanged = changed == 0 and path.n_iter > 0  # a new path finds labels of another one
                path.centers, path.n_iter = after, path.n_iter + 1
                stay = []
                for i, number in path.followers:
                    if unchanged or moves <= asked[i].tol or path.n_iter == asked[i].max_iter:
                        ended.append((i, number, Run(after, path.n_iter)))
                    else:
                        stay.append((i, number))
                path.followers = stay
                if not stay:
                    pool.end(path)
            if ended:
                yield ended
            pool.fill_up()
    finally:
        table.drop("columns_of_labels")


def _most_paths(table: Table) -> int:
    row = table.take(np.zeros(1, dtype=np.int64))
    bytes_of_row = row.nbytes if isinstance(row, np.ndarray) else 0
    return max(LEAST_PATHS, int(SHARE_OF_LABELS * bytes_of_row) // np.dtype(np.int32).itemsize)


def _step(
    table: Table,
    communicator: Communicator,
    live: list[_Path],
    origin: NDArray[Any] | None,
    weighted: bool,
) -> list[tuple[Centers, float, float]]:
    """Return for every path where its centers go, how many labels have changed, and the squared moves."""
    first = np.cumsum([0, *(len(path.centers) for path in live)])
    before = np.concatenate([path.centers for path in live])
    found = table.map_reduce(
        "lloyd_steps",
        labels="columns_of_labels",
        columns=np.array([path.column for path in live]),
        first=first,
        centers=before,
        origin=origin,
    )
    sums, counts = found["sums"], found["counts"]
    parts = [slice(start, stop) for start, stop in pairwise(first.tolist())]
    empty = counts == 0
    if empty.any():
        for path, part in zip(live, parts, strict=True):
            if empty[part].any():
                _keep_column(table, path.column)
                own = sums[part], counts[part], path.centers
                relocate(table, communicator, *own, origin, "labels_of_path", weighted)
                table.drop("labels_of_path")
    if (counts > 0).all():
        means = sums / counts[:, np.newaxis]
    else:
        means = np.concatenate([mean_of_rows(sums[part], counts[part]) for part in parts])
    after = means.astype(before.dtype)
    squares = np.square(after.astype(np.float64) - before)
    moves = [float(squares[part].sum()) for part in parts]
    return list(zip([after[part] for part in parts], found["changed"].tolist(), moves, strict=True))


def _keep_column(table: Table, column: int) -> None:
    """Make the row array ``labels_of_path`` of one column of labels."""
    table.map_rows(_column, columns_of_labels="columns_of_labels", column=column)


def _column(columns_of_labels: NDArray[np.int32], column: int) -> dict[str, NDArray[np.int32]]:
    return {"labels_of_path": columns_of_labels[:, column].copy()}
