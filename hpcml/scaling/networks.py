"""Networks that predictions assume: declared figures with ranges, never measured here.

Bandwidths are those of the links, less 5 to 50 % that protocols and copies take. Latencies are ranges within
which half of a ping-pong of small messages between two processes is usually published (the OSU
micro-benchmarks of MVAPICH, osu_latency, are the usual program). Measure your own and pass a `Network`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NETWORKS", "Network", "network"]


@dataclass(frozen=True)
class Network:
    """Latency, time a byte and time a byte of adding up, each as a range.

    Parameters
    ----------
    name : str
    alpha : tuple of float
        Least and greatest seconds of a small message.
    beta : tuple of float
        Least and greatest seconds a byte.
    gamma : tuple of float
        Least and greatest seconds a byte of adding up.
    source : str
        Where the figures come from.

    Raises
    ------
    ValueError
        If a range is none.
    """

    name: str
    alpha: tuple[float, float]
    beta: tuple[float, float]
    gamma: tuple[float, float] = (5e-11, 2e-10)  # two reads and a write of 8 bytes at 100 to 5 GB/s
    source: str = "the user"

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(
                    f"{name} must be a range of seconds, least first. Got {(low, high)} instead."
                )


#: Presets by name.
NETWORKS: dict[str, Network] = {
    each.name: each
    for each in (
        Network(
            "infiniband",
            (1.0e-6, 2.0e-6),
            (8.4e-11, 1.6e-10),
            source="InfiniBand EDR, 100 Gb/s (InfiniBand Trade Association); MPI latencies of 1 to 2 µs",
        ),
        Network(
            "ethernet-100g",
            (2.0e-6, 1.5e-5),
            (8.4e-11, 2.0e-10),
            source="100 Gb/s (IEEE 802.3bj); 2 µs with RoCE, 15 µs through the kernel's TCP",
        ),
        Network(
            "ethernet-10g",
            (1.0e-5, 5.0e-5),
            (8.4e-10, 1.6e-9),
            source="10 Gb/s (IEEE 802.3ae); TCP between hosts of one switch 10 to 50 µs",
        ),
        Network(
            "ethernet-1g",
            (2.5e-5, 1.0e-4),
            (8.4e-9, 1.2e-8),
            source="1 Gb/s (IEEE 802.3ab); TCP between hosts of one switch 25 to 100 µs",
        ),
        Network(
            "shared-memory",
            (3.0e-7, 2.0e-6),
            (1.0e-10, 5.0e-10),
            source="ranks of one node: 2 to 10 GB/s through shared memory, latencies below 2 µs",
        ),
    )
}


def network(name: str) -> Network:
    """Return a preset.

    Raises
    ------
    ValueError
        If there is none of this name.

    Examples
    --------
    >>> from hpcml.scaling.networks import network
    >>> network("infiniband").alpha
    (1e-06, 2e-06)
    """
    if name not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}. Got {name!r} instead.")
    return NETWORKS[name]
