"""``python -m benchmarks.scaling_table FILE.json ...``: measurements of scaling as a table of Markdown.

Takes files of ``hpcml scale --json`` and of ``pytest benchmarks/bench_scaling.py --benchmark-json``.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpcml.scaling.analysis import analyse
from hpcml.scaling.breakdown import PARTS, breakdown
from hpcml.scaling.document import FORMAT, read
from hpcml.scaling.workloads import WORKLOADS

__all__ = ["documents", "table"]


def documents(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return every measurement of some files.

    Parameters
    ----------
    paths : sequence of Path
    """
    found = []
    for path in paths:
        suite = json.loads(path.read_text()).get("hpcml_scaling", [])
        found += [each for each in suite if each["format"] == FORMAT] or [read(path)]
    return found


def _row(document: Mapping[str, Any], mode: str) -> list[str]:
    plan, result = document["plan"], analyse(document, mode)
    i = len(result.p) - 1
    p, S, of = result.p[i], result.speedups.at(i), result.relative.at(i)
    resolved = np.isfinite(result.relative.half[i])
    shared = WORKLOADS[plan["workload"]].backends[plan["backend"]]
    spent = next((each for each in breakdown(document, mode) if each.p == p), None)
    return [
        plan["workload"],
        plan["backend"] if shared in ("threads", "function") else f"{plan['backend']} ({shared})",
        f"{document['rows']:,}",
        f"{result.seconds[1]:.3f} s",
        str(S) if resolved else "not resolved",
        f"{of.value:.2f} ({of.low:.2f}–{of.high:.2f})" if resolved else "",
        *(f"{100 * spent.parts[part]:.1f}" if spent else "" for part in PARTS),
        f"{result.n_samples - result.n_rejected} of {result.n_samples}",
    ]


def table(found: Sequence[Mapping[str, Any]], mode: str = "strong") -> str:
    """Return measurements of own workloads at their largest number of workers, one a line.

    Parameters
    ----------
    found : sequence of mapping
        Documents; those that were not measured in this mode are left out.
    mode : {'strong', 'weak'}
        Rows are those of one worker.
    """
    heads = ["workload", "workers", "rows", "1 worker"]
    heads += ["speed-up" if mode == "strong" else "scaled speed-up", "of the ceiling"]
    heads += [*(f"{part} %" for part in PARTS), "samples kept"]
    rows = [_row(each, mode) for each in found if each["plan"][mode]]
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, ["---"] * len(heads), *rows])


if __name__ == "__main__":
    everything = documents([Path(each) for each in sys.argv[1:]])
    for way in ("strong", "weak"):
        print(f"{way.capitalize()} scaling:\n\n{table(everything, way)}\n")
