"""The figures of a report, drawn by matplotlib as SVG or PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from hpcml.errors import MeasurementFailed
from hpcml.scaling.analysis import Result, analyse, analyse_sizes, noise
from hpcml.scaling.breakdown import PARTS, breakdown

__all__ = ["all_figures", "as_png", "as_svg"]

#: Okabe and Ito's colours, told apart by colour-blind readers and, by their lightness, in print.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
_HATCHES = ("", "///", "...", "xxx", "\\\\\\")

Figure = Any


def _figure(height: float = 3.3) -> tuple[Figure, Any]:
    try:
        from matplotlib.figure import Figure as New
    except ImportError:
        raise MeasurementFailed('figures need matplotlib: python -m pip install "hpcml[plots]"') from None
    figure = New(figsize=(4.6, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _bars(result: Result, ratios: Any) -> tuple[Any, Any, Any]:
    """Return p, values and the lengths of the error bars, of what is resolved at all."""
    some = [i for i in range(len(result.p)) if np.isfinite(ratios.half[i])]
    found = [ratios.at(i) for i in some]
    values = np.array([each.value for each in found])
    low, high = (np.array([getattr(each, end) for each in found]) for end in ("low", "high"))
    return np.array(result.p)[some], values, np.stack([values - low, high - values])


def _tell_empty(axes: Any) -> None:
    box = {"facecolor": "white", "edgecolor": "none"}
    axes.text(0.5, 0.5, "no accepted samples", transform=axes.transAxes, ha="center", va="center", bbox=box)


def _log_workers(axes: Any, result: Result, end: float) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    ticks = [1, *result.p] + [2.0**i for i in range(20) if max(result.p) < 2.0**i <= end]
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{each:g}" for each in ticks])
    axes.set_xlabel("workers")
    axes.set_xlim(0.9, end * 1.15)


def _speedup(result: Result) -> Figure:
    figure, axes = _figure()
    end = max(2.0, *result.p, result.trusted)
    line = np.geomspace(1, end, 100)
    axes.plot(line, line, color=BLACK, linewidth=1, linestyle=":", label="ideal")
    p, values, bars = _bars(result, result.ceiling)
    axes.plot([1, *p], [1, *values], color="#777777", linestyle="--", marker="_", label="this machine gives")
    styles = {"amdahl": (BLUE, "-"), "usl": (GREEN, "-."), "gustafson": (BLUE, "-")}
    for name, each in result.fits.items():
        if each.identified:
            q = np.geomspace(1, result.trusted, 100)
            value, low, high = each.predict(q)
            colour, style = styles[name]
            axes.plot(q, value, color=colour, linestyle=style, label=each.law)
            axes.fill_between(q, low, high, color=colour, alpha=0.15, linewidth=0)
    p, values, bars = _bars(result, result.speedups)
    if len(p):
        axes.errorbar(
            p, values, yerr=bars, color=VERMILION, fmt="o", capsize=4, label="measured, 95 % interval"
        )
    else:
        _tell_empty(axes)
    _log_workers(axes, result, end)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylabel("scaled speed-up" if result.mode == "weak" else "speed-up")
    axes.legend(fontsize=8)
    return figure


def _efficiency(result: Result) -> Figure:
    figure, axes = _figure()
    axes.axhline(100, color=BLACK, linewidth=1, linestyle=":", label="ideal")
    shares = {
        "of p workers": (result.speedups, VERMILION, "o"),
        "of the machine": (result.relative, BLUE, "s"),
    }
    for i, (name, (ratios, colour, marker)) in enumerate(shares.items()):
        p, values, bars = _bars(result, ratios)
        by = p if i == 0 else np.ones(len(p))
        if len(p):
            axes.errorbar(
                p * (1 + 0.03 * (2 * i - 1)),
                100 * values / by,
                yerr=100 * bars / by,
                color=colour,
                fmt=marker,
                capsize=4,
                label=name,
            )
    if not np.isfinite(result.speedups.half).any():
        _tell_empty(axes)
    _log_workers(axes, result, max(2, *result.p))
    axes.set_ylim(0, None)
    axes.set_ylabel("efficiency (%)")
    axes.legend(fontsize=8)
    return figure


def _karp_flatt(result: Result) -> Figure:
    figure, axes = _figure()
    some = [i for i, p in enumerate(result.p) if np.isfinite(result.speedups.half[i]) and p <= result.cores]
    found = [result.karp_flatt(i) for i in some]
    axes.axhline(0, color=BLACK, linewidth=1, linestyle=":")
    if found:
        values = 100 * np.array([each.value for each in found])
        ends = 100 * np.array([[each.low, each.high] for each in found]).T
        p = np.array(result.p)[some]
        bars = np.abs(ends - values)
        axes.errorbar(p, values, yerr=bars, color=PURPLE, fmt="D", capsize=4)
    else:
        _tell_empty(axes)
    _log_workers(axes, result, max(2, *result.p))
    axes.set_ylabel("Karp–Flatt serial fraction (%)")
    return figure


def _breakdown(document: Mapping[str, Any], result: Result) -> Figure:
    figure, axes = _figure()
    rows = breakdown(document, result.mode)
    bottom = np.zeros(len(rows))
    places = np.arange(len(rows))
    for i, (name, colour) in enumerate(zip(PARTS, (BLUE, ORANGE, SKY, GREEN, PURPLE), strict=True)):
        share = np.array([100 * each.parts[name] for each in rows])
        axes.bar(
            places,
            share,
            0.6,
            bottom=bottom,
            color=colour,
            edgecolor="white",
            hatch=_HATCHES[i],
            label=name,
        )
        bottom += share
    axes.set_xticks(places, [f"{each.p}" for each in rows])
    axes.set_xlabel("workers")
    axes.set_ylabel("share of the workers' time (%)")
    axes.set_ylim(0, 100)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _noise(document: Mapping[str, Any]) -> Figure:
    figure, axes = _figure(height=3.0)
    samples = noise(document)
    at = np.arange(len(samples))
    ratio = 100 * (np.array([each["ratio"] for each in samples]) - 1)
    starved = np.array([each["starved"] for each in samples], dtype=bool)
    work = np.array([each["kind"] == "work" for each in samples], dtype=bool)
    for rows, colour, marker, label in (
        (work & ~starved, BLUE, "o", "work"),
        (~work & ~starved, ORANGE, "^", "calibration spin"),
        (work & starved, VERMILION, "x", "rejected work"),
        (~work & starved, PURPLE, "+", "rejected calibration spin"),
    ):
        if rows.any():
            axes.scatter(at[rows], ratio[rows], s=14, color=colour, marker=marker, label=label)
    launches = np.array([each["launch"] for each in samples])
    for start in np.flatnonzero(np.diff(launches)) + 0.5:
        axes.axvline(start, color="#999999", linewidth=0.8)
    axes.set_xlabel("sample, in the order of measuring (lines: fresh launches)")
    axes.set_ylabel("beside the median (%)")
    axes.legend(fontsize=8)
    return figure


def _sizes(document: Mapping[str, Any]) -> Figure:
    figure, axes = _figure()
    sizes = analyse_sizes(document)
    n, seconds = np.array(sizes.n), np.exp(sizes.seconds.logs)
    if sizes.power.identified:
        q = np.geomspace(n.min(), 10 * n.max(), 100)
        value, low, high = sizes.power.predict(q)
        inside = q <= n.max()
        axes.plot(q[inside], value[inside], color=BLUE, label="fitted")
        axes.plot(q[~inside], value[~inside], color=BLUE, linestyle="--", label="predicted, not measured")
        axes.fill_between(q, low, high, color=BLUE, alpha=0.15, linewidth=0)
    axes.plot(n, seconds, color=VERMILION, marker="o", linestyle="none", label="measured")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rows")
    axes.set_ylabel("seconds")
    axes.legend(fontsize=8)
    return figure


def all_figures(document: Mapping[str, Any]) -> dict[str, tuple[str, Callable[[], Figure]]]:
    """Return for every figure that the document has samples for its title, and what draws it.

    Raises
    ------
    MeasurementFailed
        When it is drawn without matplotlib.
    """
    found: dict[str, tuple[str, Callable[[], Figure]]] = {}
    for mode in ("strong", "weak"):
        if not document["plan"][mode]:
            continue
        result = analyse(document, mode)
        if not result.p:
            continue
        found[f"{mode}-speedup"] = (
            f"{mode.capitalize()} scaling: speed-up",
            partial(_speedup, result),
        )
        found[f"{mode}-efficiency"] = (
            f"{mode.capitalize()} scaling: efficiency",
            partial(_efficiency, result),
        )
        if mode == "strong":
            found["karp-flatt"] = (
                "Karp–Flatt serial fraction: level is serial work, rising is overhead",
                partial(_karp_flatt, result),
            )
        if breakdown(document, mode):
            found[f"{mode}-breakdown"] = (
                f"{mode.capitalize()} scaling: where the time goes",
                partial(_breakdown, document, result),
            )
    if document["plan"]["sizes"]:
        found["sizes"] = ("Time against rows", lambda: _sizes(document))
    if document["samples"]:
        found["noise"] = ("Noise", lambda: _noise(document))
    return found


def as_svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG to stand inside a page; `name` keeps its identifiers apart from others'."""
    import matplotlib

    target = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(target, format="svg", metadata={"Date": None})
    text = target.getvalue()
    return text[text.index("<svg") :]


def as_png(figures: list[Figure]) -> bytes:
    """Return figures below one another as one PNG."""
    images = []
    for figure in figures:
        target = io.BytesIO()
        figure.savefig(target, format="raw", dpi=150)
        width, height = (round(each * 150) for each in figure.get_size_inches())
        images.append(np.frombuffer(target.getvalue(), dtype=np.uint8).reshape(height, width, 4))
    widest = max(each.shape[1] for each in images)
    padded = [
        np.pad(each, ((0, 0), (0, widest - each.shape[1]), (0, 0)), constant_values=255) for each in images
    ]
    from matplotlib.image import imsave

    target = io.BytesIO()
    imsave(target, np.concatenate(padded), format="png")
    return target.getvalue()
