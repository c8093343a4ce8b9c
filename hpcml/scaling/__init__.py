"""Scaling, measured and predicted: what more workers, or more rows, do to the time of a computation.

Submodules load when they are first used: a process that is measured loads none that it does not need.

Examples
--------
>>> from hpcml.scaling import laws
>>> round(float(laws.amdahl(64, 0.05)), 1)
15.4
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcml.scaling import compare, fit, laws, load, networks, predict, report, statistics, summary
    from hpcml.scaling.measurement import Plan, measure

__all__ = [
    "Plan",
    "compare",
    "fit",
    "laws",
    "load",
    "measure",
    "networks",
    "predict",
    "report",
    "statistics",
    "summary",
]

_OF_MEASUREMENT = ("Plan", "measure")


def __getattr__(name: str) -> Any:
    if name in _OF_MEASUREMENT:
        return getattr(importlib.import_module("hpcml.scaling.measurement"), name)
    if name in __all__:
        return importlib.import_module(f"hpcml.scaling.{name}")
    raise AttributeError(f"module 'hpcml.scaling' has no attribute {name!r}")
