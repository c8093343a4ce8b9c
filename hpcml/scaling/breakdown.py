"""Where the workers' time goes, from what the communicators and backends report, as POP efficiencies.

Of a sample on p workers that takes T seconds, p T seconds are shared out: computing; waiting for the slowest
(imbalance); exchanging; handing out tasks; and serial, which is time of one process outside of any of these,
in which the others wait. Of threads, what they computed is read off the processor time that the process used:
less than kernels took is imbalance, more is computing that no kernel reported. Threads that spin while they
wait count as computing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcml.activity import KINDS
from hpcml.scaling import laws
from hpcml.scaling.analysis import accepted

__all__ = ["PARTS", "Breakdown", "breakdown"]

#: What time goes to.
PARTS = ("compute", "imbalance", "communication", "dispatch", "serial")


@dataclass(frozen=True)
class Breakdown:
    """Shares of the workers' time at one p.

    Parameters
    ----------
    p : int
    parts : dict of str to float
        Shares by the names of `PARTS`, 1 together.
    pop : dict of str to float
        `laws.pop_efficiencies`.
    """

    p: int
    parts: Mapping[str, float]
    pop: Mapping[str, float]


def _of_sample(sample: Mapping[str, Any], backend: str) -> dict[str, float] | None:
    """Return the parts of one sample as shares of p T."""
    told, p, T = sample.get("activity"), sample["p"], sample["seconds"]
    if not told or not any(each.get(kind) for each in told for kind in KINDS):
        return None
    if len(told) == p > 1:  # every worker reports
        compute = np.array([each["compute"] for each in told])
        communication = float(np.mean([each["communication"] for each in told]))
        dispatch = float(np.mean([each["dispatch"] for each in told]))
        imbalance = float(compute.max() - compute.mean())
        communication = max(0.0, communication - imbalance)
        busy = float(compute.mean())
    else:  # one process reports, for its threads or for all workers
        own = told[0]
        busy, imbalance = own["compute"], own.get("imbalance", 0.0)
        communication, dispatch = own["communication"], own["dispatch"]
        if backend == "threads" and p > 1 and "share" in sample:
            # processor time p T share = p busy + (T - busy), if threads were busy exactly while kernels ran
            surplus = p * T * sample["share"] - p * busy - max(0.0, T - busy)
            imbalance = min(busy, max(0.0, -surplus / p))
            busy += min(max(0.0, surplus / (p - 1)), max(0.0, T - busy)) - imbalance
    used = busy + imbalance + communication + dispatch
    serial = max(0.0, T - used)
    whole = used + serial
    found = {
        "compute": busy,
        "imbalance": imbalance,
        "communication": communication,
        "dispatch": dispatch,
        "serial": serial,
    }
    return {name: value / whole for name, value in found.items()}


def breakdown(document: Mapping[str, Any], mode: str) -> list[Breakdown]:
    """Return the median shares at every p, without starved samples; nothing where nobody reported.

    Parameters
    ----------
    document : mapping
    mode : {'strong', 'weak'}

    Examples
    --------
    >>> from hpcml.scaling.breakdown import breakdown
    >>> told = [{"compute": 0.8, "communication": 0.1, "dispatch": 0.0}] * 2
    >>> sample = {"kind": "work", "n": 9, "p": 2, "seconds": 1.0, "activity": told}
    >>> machine = {"cores_usable": 2}
    >>> document = {"rows": 9, "plan": {"workers": [2]}, "machine": machine, "samples": [sample]}
    >>> found = breakdown(document, "strong")[0]
    >>> found.pop["parallel_efficiency"], round(found.parts["serial"], 3)
    (0.8, 0.1)
    """
    found, kept = [], accepted(document)
    for p in sorted({1, *document["plan"]["workers"]}):
        n = document["rows"] * (p if mode == "weak" else 1)
        samples = [each for each in kept if each["kind"] == "work" and each["n"] == n and each["p"] == p]
        told = [_of_sample(each, document["plan"].get("backend", "")) for each in samples]
        shares = [some for some in told if some is not None]
        if not shares:
            continue
        parts = {name: float(np.median([each[name] for each in shares])) for name in PARTS}
        total = sum(parts.values())
        parts = {name: value / total for name, value in parts.items()}
        # useful time of every worker, in units of T: the mean, and the longest that the imbalance tells
        longest = parts["compute"] + parts["imbalance"]
        useful = [longest] + [(p * parts["compute"] - longest) / (p - 1)] * (p - 1) if p > 1 else [longest]
        found.append(Breakdown(p, parts, laws.pop_efficiencies(np.maximum(useful, 0.0).tolist(), 1.0)))
    return found
