"""The kinds of benchmarks: each case is one small declaration of data, work, contestants, and a target."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.data import Maker
from benchmarks.estimate import Estimate
from benchmarks.search import Search
from benchmarks.work import Work

__all__ = ["ALL", "LIKE_SKLEARN", "Accuracy", "Case", "Memory", "Scaling", "Speed"]

ALL = ("hpcml", "intelex", "lightgbm", "xgboost", "sklearn")
LIKE_SKLEARN = ("hpcml", "intelex", "sklearn")


@dataclass(frozen=True)
class Case:
    """What all cases have.

    Parameters
    ----------
    name : str
        As ``--only`` takes it.
    title : str
        What the table says.
    data : Maker
    work : Work
    peers : tuple of str
        Contestants, keys of `benchmarks.peers.PEERS`.
    """

    name: str
    title: str
    data: Maker
    work: Work | Estimate | Search
    peers: tuple[str, ...] = ALL


@dataclass(frozen=True)
class Speed(Case):
    """Times beside the peers'.

    Parameters
    ----------
    targets : mapping of str to float
        How many times faster than a peer hpcml is to be.
    """

    targets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Accuracy(Case):
    """Scores over several seeds, which must not differ by more than the seeds make them differ.

    Parameters
    ----------
    n_seeds : int
    allowed : float
        Difference of mean scores that is allowed whatever the noise.
    """

    n_seeds: int = 5
    allowed: float = 0.0


@dataclass(frozen=True)
class Memory(Case):
    """Peak memory above what the process held before, in a fresh process a contestant.

    Parameters
    ----------
    bytes_a_value : float
        Allowed for each value of the table.
    bytes_more : float
        Allowed beside.
    """

    bytes_a_value: float = 2.0
    bytes_more: float = 200e6


@dataclass(frozen=True)
class Scaling:
    """How time grows with one number.

    Parameters
    ----------
    name, title : str
    axis : str
        What grows.
    sizes : tuple of int
    case : callable
        ``case(size)`` is the `Speed` case of a size.
    allowed : float
        Time per unit at the largest size, as a multiple of that at the smallest, that still counts as linear.
    """

    name: str
    title: str
    axis: str
    sizes: tuple[int, ...]
    case: Callable[[int], Speed]
    allowed: float = 1.5
