"""What was measured, in plain words: the first paragraph of every report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hpcml.scaling.analysis import Result, Sizes, analyse, analyse_sizes
from hpcml.scaling.breakdown import PARTS, Breakdown, breakdown
from hpcml.scaling.statistics import Estimate

__all__ = ["percent", "sentences", "text"]


def percent(estimate: Estimate) -> str:
    """Return an estimate in percent.

    Examples
    --------
    >>> from hpcml.scaling.statistics import Estimate
    >>> from hpcml.scaling.summary import percent
    >>> percent(Estimate(0.036, 0.02, 0.053))
    '3.6 % (2.0–5.3 %)'
    """
    digits = 1 if abs(estimate.value) >= 0.01 else 2
    low, high = f"{100 * estimate.low:.{digits}f}", f"{100 * estimate.high:.{digits}f}"
    between = " to " if low.startswith("-") else "–"
    return f"{100 * estimate.value:.{digits}f} % ({low}{between}{high} %)"


def _workers(p: int) -> str:
    return f"{p} worker{'' if p == 1 else 's'}"


def _of_result(result: Result, precision: float) -> list[str]:
    found = []
    what = "times the work of one in the same time" if result.mode == "weak" else "×"
    for i, p in enumerate(result.p):
        S, raw = result.speedups.at(i), result.unfiltered.at(i)
        if not np.isfinite(result.speedups.half[i]):
            found.append(
                f"{_workers(p)}: not resolved; too few samples had their share of the cores"
                + (f" (with starved samples {raw.value:.2f})" if np.isfinite(raw.value) else "")
                + "."
            )
            continue
        over = p > result.cores
        gives = result.relative.at(i)
        line = f"{_workers(p)}: {S.value:.2f} {what} ({S.low:.2f}–{S.high:.2f})"
        if over:
            line += f", more workers than the {result.cores} cores: this enters no law"
        elif np.isfinite(result.relative.half[i]):
            line += f", {100 * gives.value:.0f} % of what this machine can give"
        if result.speedups.half[i] > precision:
            line += f"; not resolved to ±{100 * precision:g} %"
        found.append(line + ".")
        if result.superlinear(i):
            found.append(f"More than {p} times: cache or noise.")
        if result.mode == "strong" and not over:
            found.append(f"Karp–Flatt serial fraction {percent(result.karp_flatt(i))}.")
    return found + _of_laws(result)


def _of_laws(result: Result) -> list[str]:
    found = []
    largest = max([p for p in result.p if p <= result.cores], default=1)
    for each in result.fits.values():
        name = each.law[0].upper() + each.law[1:]
        if each.identified:
            told = ", ".join(f"{key} = {percent(value)}" for key, value in each.parameters.items())
            found.append(f"{name}: {told}, to be believed up to {result.trusted:.0f} workers.")
        elif "different numbers" in (each.reason or ""):
            found.append(f"{name} is not identified by {_workers(largest)}: nothing is said of more.")
        else:
            found.append(f"{name} is not identified: {each.reason}.")
    return found


def _of_time(spent: Breakdown) -> str:
    told = ", ".join(f"{100 * spent.parts[part]:.1f} % {part}" for part in PARTS)
    balance, exchange = spent.pop["load_balance"], spent.pop["communication_efficiency"]
    return (
        f"Time of {_workers(spent.p)}: {told} (load balance {balance:.2f} × communication efficiency "
        f"{exchange:.2f})."
    )


def _of_sizes(sizes: Sizes) -> list[str]:
    found = []
    if sizes.power.identified:
        exponent = sizes.power.parameters["exponent"]
        found.append(f"Time grows with the rows to the power {exponent} on {_workers(sizes.p)}.")
        n = 10 * max(sizes.n)
        value, low, high = (float(each[0]) for each in sizes.power.predict(n))
        found.append(
            f"Predicted, not measured: {n:,} rows take {_time(value)} ({_time(low)} to {_time(high)})."
        )
    else:
        found.append(f"The exponent of the rows is not identified: {sizes.power.reason}.")
    peak = sizes.peaks[-1]
    if peak is not None:
        found.append(f"{max(sizes.n):,} rows take {peak / 2**20:,.0f} MiB above what was held before.")
    return found


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def sentences(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what may be said, by part: strong, weak, sizes, noise."""
    plan = document["plan"]
    found: dict[str, list[str]] = {}
    rejected = samples = 0
    for mode in ("strong", "weak"):
        if plan[mode]:
            result = analyse(document, mode)
            found[mode] = _of_result(result, plan["precision"])
            rejected, samples = result.n_rejected, result.n_samples
            if not result.p:
                found[mode] = [f"1 worker: {_time(result.seconds[1])}."]
            found[mode] += [_of_time(each) for each in breakdown(document, mode) if each.p > 1]
    if plan["sizes"]:
        found["sizes"] = _of_sizes(analyse_sizes(document))
    prediction = document.get("prediction")
    if prediction and not prediction["rows"]:
        found["predicted"] = [f"Nothing can be predicted: {prediction['reason']}."]
    elif prediction:
        told = [
            f"{each['p']} workers: {each['speedup']:.3g} × ({each['low']:.3g}–{each['high']:.3g})"
            for each in prediction["rows"]
        ]
        found["predicted"] = [
            f"Predicted, not measured, for the network {prediction['network']} ({prediction['source']}), "
            f"one core a rank: {'; '.join(told)}."
        ]
    if samples:
        launches = len(document["launches"])
        found["noise"] = [
            f"{samples} samples in {launches} launches, {rejected} rejected because something else "
            "had the cores meanwhile."
        ]
    return found


def text(document: Mapping[str, Any]) -> str:
    """Return the summary as lines for a terminal."""
    plan = document["plan"]
    lines = [f"{plan['workload']} on {plan['backend']}, {document['rows']:,} rows ({document['workload']})"]
    for name, told in sentences(document).items():
        lines.append(f"{name}: " + " ".join(told))
    return "\n".join(lines)
