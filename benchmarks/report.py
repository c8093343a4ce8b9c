"""The table and the file that a run of benchmarks leaves."""

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

__all__ = ["not_run", "tables", "write_json"]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : path
    content : dict
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(content, file, indent=1)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def tables(measured: list[dict[str, Any]]) -> list[Table]:
    """Lay out the results: one table a kind of benchmark.

    Parameters
    ----------
    measured : list of dict
        What the functions of `benchmarks.measure` and `benchmarks.memory` return.
    """
    layouts = {"speed": _speed, "scaling": _scaling, "memory": _memory, "accuracy": _accuracy}
    found = []
    for kind, lay_out in layouts.items():
        of_kind = [each for each in measured if each["kind"] == kind]
        if of_kind:
            found.append(lay_out(of_kind))
    return found


def not_run(measured: list[dict[str, Any]]) -> list[str]:
    """Return one line for each contestant that did not run, with the reason.

    Parameters
    ----------
    measured : list of dict
        As `tables` takes it.
    """
    lines = []
    for case in measured:
        for each in case.get("sizes", [case]):
            for result in each["results"]:
                if "skipped" in result:
                    lines.append(f"{each['case']}: {result['name']} did not run: {result['skipped']}")
    return lines


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < 2 else "right")
    return table


def _add(table: Table, *cells: str, style: str = "") -> None:
    table.add_row(*(Text(cell) for cell in cells), style=style)


def _verdict(met: bool | None) -> str:
    return {True: "yes", False: "NO", None: ""}[met]


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{seconds * 1e3:.3g} ms"


def _about(case: dict[str, Any], i: int) -> str:
    """Return what the first three rows of a case say in its first column."""
    return (case["case"], case["title"], case["data"])[i] if i < 3 else ""


def _speed(cases: list[dict[str, Any]]) -> Table:
    table = _table(
        "Speed: median of interleaved rounds, the better number of jobs",
        "case", "contestant", "jobs", "median", "least", "most", "samples",
        "hpcml faster", "at least", "met", "score",
    )  # fmt: skip
    for case in cases:
        for i, each in enumerate(case["results"]):
            style = "bold" if each["contestant"] == "hpcml" else ""
            if "skipped" in each:
                _add(table, _about(case, i), each["name"], "", "not run", style=style)
                continue
            _add(
                table,
                _about(case, i),
                each["name"],
                str(each["n_jobs"]),
                _time(each["median"]),
                _time(min(each["samples"])),
                _time(max(each["samples"])),
                str(len(each["samples"])),
                f"{each['ratio']:.2f} x" if "ratio" in each and each["contestant"] != "hpcml" else "",
                f"{each['target']:g} x" if "target" in each else "",
                _verdict(each.get("met")),
                f"{each['quality']:.4f}",
                style=style,
            )
        table.add_section()
    return table


def _scaling(cases: list[dict[str, Any]]) -> Table:
    table = _table(
        "Scaling: time per unit, as a multiple of that at the least size",
        "case", "contestant", "size", "median", "samples", "time per unit", "at most", "met",
    )  # fmt: skip
    for case in cases:
        for name, growth in case["growth"].items():
            own = [
                (of_size["size"], each)
                for of_size in case["sizes"]
                for each in of_size["results"]
                if each["contestant"] == name and "median" in each
            ]
            for i, ((size, each), times) in enumerate(zip(own, growth, strict=True)):
                last = name == "hpcml" and i == len(own) - 1
                _add(
                    table,
                    (case["case"], case["title"])[i] if name == "hpcml" and i < 2 else "",
                    each["name"] if i == 0 else "",
                    f"{size:,} {case['axis']}",
                    _time(each["median"]),
                    str(len(each["samples"])),
                    f"{times:.2f} x",
                    f"{case['allowed']:g} x" if last else "",
                    _verdict(case["met"]) if last else "",
                    style="bold" if name == "hpcml" else "",
                )
        table.add_section()
    return table


def _memory(cases: list[dict[str, Any]]) -> Table:
    table = _table(
        "Memory: peak above what the process held before (the table and the libraries)",
        "case", "contestant", "table", "held before", "peak", "more", "at most", "met",
    )  # fmt: skip
    for case in cases:
        for i, each in enumerate(case["results"]):
            if "skipped" in each:
                _add(table, _about(case, i), each["name"], "not run")
                continue
            sizes = [f"{each[key] / 1e6:,.1f} MB" for key in ("table", "before", "peak", "more")]
            limit = f"{each['limit'] / 1e6:,.1f} MB" if "limit" in each else ""
            style = "bold" if each["contestant"] == "hpcml" else ""
            _add(table, _about(case, i), each["name"], *sizes, limit, _verdict(each.get("met")), style=style)
        table.add_section()
    return table


def _accuracy(cases: list[dict[str, Any]]) -> Table:
    table = _table(
        "Accuracy: mean scores over seeds beside scikit-learn's",
        "case", "contestant", "seeds", "mean score", "spread over seeds",
        "greatest difference", "allowed", "met",
    )  # fmt: skip
    for case in cases:
        for i, each in enumerate(case["results"]):
            if "skipped" in each:
                _add(table, _about(case, i), each["name"], "", "not run")
                continue
            other = each["contestant"] != "sklearn" and "difference" in each
            _add(
                table,
                _about(case, i),
                each["name"],
                str(len(each["scores"])),
                f"{statistics.fmean(each['mean']):.4f}",
                f"{statistics.fmean(each['spread']):.4f}",
                f"{each['difference']:+.4f}" if other else "",
                f"{each['limit']:.4f}" if other else "",
                _verdict(each["met"]) if other else "",
                style="bold" if each["contestant"] == "hpcml" else "",
            )
        table.add_section()
    return table
