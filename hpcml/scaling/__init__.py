"""Scaling, measured and predicted: what more workers, or more rows, do to the time of a computation.

Examples
--------
>>> from hpcml.scaling import laws
>>> round(float(laws.amdahl(64, 0.05)), 1)
15.4
"""

from hpcml.scaling import fit, laws, report, statistics, summary
from hpcml.scaling.measure import Plan, measure

__all__ = ["Plan", "fit", "laws", "measure", "report", "statistics", "summary"]
