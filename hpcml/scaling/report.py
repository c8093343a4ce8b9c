"""Reports of a measurement: one HTML file that opens offline, Markdown, CSV, JSON, PNG."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from hpcml.errors import MeasurementFailed
from hpcml.scaling import figures, summary
from hpcml.scaling.analysis import Result, Sizes, analyse, analyse_sizes
from hpcml.scaling.breakdown import PARTS, Breakdown, breakdown
from hpcml.scaling.document import written
from hpcml.scaling.statistics import Estimate

__all__ = ["FORMATS", "Table", "csv_text", "html", "markdown", "png", "render", "tables"]


@dataclass(frozen=True)
class Table:
    """Heads and rows of text."""

    heads: list[str]
    rows: list[list[str]]


def _of(estimate: Estimate, half: float, scale: float = 1.0) -> str:
    if not np.isfinite(half):
        return "not resolved"
    return f"{scale * estimate.value:.3g} ({scale * estimate.low:.3g}–{scale * estimate.high:.3g})"


def tables(document: Mapping[str, Any]) -> dict[str, Table]:
    """Return the tables of a report by their captions."""
    found: dict[str, Table] = {}
    for mode in ("strong", "weak"):
        if not document["plan"][mode]:
            continue
        found[f"{mode.capitalize()} scaling"] = _speedups(analyse(document, mode))
        spent = breakdown(document, mode)
        if spent:
            found[f"{mode.capitalize()} scaling: where the time goes"] = _parts(spent)
    if document["plan"]["sizes"]:
        found["Rows"] = _sizes(analyse_sizes(document))
    prediction = document.get("prediction")
    if prediction and prediction["rows"]:
        keys = ("seconds", "speedup", "low", "high")
        rows = [[f"{each['p']}", *(f"{each[key]:.4g}" for key in keys)] for each in prediction["rows"]]
        found["Predicted, not measured"] = Table(["workers", "seconds", "speed-up", "from", "to"], rows)
    return found


def _speedups(result: Result) -> Table:
    heads = [
        "workers",
        "median seconds",
        "speed-up",
        "with rejected samples",
        "machine's ceiling",
        "% of the ceiling",
        "Karp–Flatt %",
    ]
    rows = [["1", f"{result.seconds[1]:.4g}", *[""] * 5]]
    for i, p in enumerate(result.p):
        rows.append(
            [
                f"{p}",
                f"{result.seconds[p]:.4g}",
                _of(result.speedups.at(i), result.speedups.half[i]),
                _of(result.unfiltered.at(i), result.unfiltered.half[i]),
                _of(result.ceiling.at(i), result.ceiling.half[i]),
                _of(result.relative.at(i), result.relative.half[i], 100),
                _of(result.karp_flatt(i), result.speedups.half[i], 100) if result.mode == "strong" else "",
            ]
        )
    return Table(heads, rows)


def _parts(spent: Sequence[Breakdown]) -> Table:
    heads = ["workers", *(f"{part} %" for part in PARTS), "load balance", "communication efficiency"]
    rows = [
        [
            f"{each.p}",
            *(f"{100 * each.parts[part]:.1f}" for part in PARTS),
            f"{each.pop['load_balance']:.3f}",
            f"{each.pop['communication_efficiency']:.3f}",
        ]
        for each in spent
    ]
    return Table(heads, rows)


def _sizes(sizes: Sizes) -> Table:
    rows = [
        [f"{n:,}", _of(sizes.seconds.at(i), sizes.seconds.half[i]), f"{peak / 2**20:.1f}" if peak else ""]
        for i, (n, peak) in enumerate(zip(sizes.n, sizes.peaks, strict=True))
    ]
    return Table(["rows", "seconds", "peak MiB above before"], rows)


def _facts(document: Mapping[str, Any]) -> dict[str, str]:
    machine, plan = document["machine"], document["plan"]
    versions = machine.get("versions", {})
    shown = {
        "workload": f"{plan['workload']}: {document['workload']}",
        "rows": f"{document['rows']:,}",
        "backend": plan["backend"],
        "time": document.get("time"),
        "processor": machine.get("cpu"),
        "cores": f"{machine.get('cores_usable')} ({machine.get('cores_reason')})",
        "system": machine.get("system"),
        "instructions": machine.get("isa"),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "hpcml": machine.get("hpcml"),
        "git revision": document.get("git"),
        "method": "Randomised blocks in fresh launches, a calibration spin beside every sample; medians of "
        "within-block ratios, 95 % intervals over launches and blocks. A sample is rejected where the "
        "calibration beside it got less than 95 % of its cores.",
    }
    return {name: str(fact) for name, fact in shown.items() if fact}


def _title(document: Mapping[str, Any]) -> str:
    return f"Scaling of {document['plan']['workload']} on {document['plan']['backend']}"


def html(document: Mapping[str, Any]) -> str:
    """Return one HTML page that holds everything and asks for nothing.

    Raises
    ------
    MeasurementFailed
        If Jinja2 or matplotlib is not installed; the message gives the command.
    """
    try:
        from jinja2 import Environment
    except ImportError:
        raise MeasurementFailed('HTML needs Jinja2: python -m pip install "hpcml[plots]"') from None
    template = resources.files("hpcml.scaling").joinpath("templates", "report.html").read_text("utf-8")
    drawn = {
        name: (caption, figures.as_svg(draw(), name))
        for name, (caption, draw) in figures.all_figures(document).items()
    }
    return (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            title=_title(document),
            sentences=summary.sentences(document),
            figures=drawn,
            tables=tables(document),
            facts=_facts(document),
        )
    )


def markdown(document: Mapping[str, Any]) -> str:
    """Return the report without figures as Markdown."""
    lines = [f"# {_title(document)}", ""]
    for name, told in summary.sentences(document).items():
        lines += [f"**{name.capitalize()}.** " + " ".join(told), ""]
    for caption, table in tables(document).items():
        lines += [f"## {caption}", "", "| " + " | ".join(table.heads) + " |"]
        lines.append("| " + " | ".join(["---"] * len(table.heads)) + " |")
        lines += ["| " + " | ".join(row) + " |" for row in table.rows] + [""]
    lines += ["## How and where it was measured", ""]
    lines += [f"* {name}: {fact}" for name, fact in _facts(document).items()]
    return "\n".join(lines) + "\n"


def csv_text(document: Mapping[str, Any]) -> str:
    """Return every sample as a line of CSV."""
    names = ["launch", "block", "kind", "n", "p", "seconds", "share", "repeat"]
    target = io.StringIO()
    writer = csv.DictWriter(target, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(document["samples"])
    return target.getvalue()


def png(document: Mapping[str, Any]) -> bytes:
    """Return all figures as one PNG."""
    return figures.as_png([draw() for _, draw in figures.all_figures(document).values()])


#: Writers by the name of the option.
FORMATS: dict[str, Callable[[dict[str, Any]], str | bytes]] = {
    "html": html,
    "json": written,
    "markdown": markdown,
    "csv": csv_text,
    "png": png,
}


def render(document: Mapping[str, Any], kind: str) -> bytes:
    """Return a report as the bytes of a file.

    Parameters
    ----------
    document : mapping
    kind : {'html', 'json', 'markdown', 'csv', 'png'}
    """
    found = FORMATS[kind](dict(document))
    return found if isinstance(found, bytes) else found.encode()
