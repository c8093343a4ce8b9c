"""Every benchmark by name: the cases of all files ``cases_<area>.py``, each of which has a tuple CASES."""

import importlib
import pkgutil

import benchmarks
from benchmarks.kinds import Case, Scaling

__all__ = ["CASES"]

_AREAS = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name.startswith("cases_"))

CASES: dict[str, Case | Scaling] = {
    case.name: case for area in _AREAS for case in importlib.import_module(f"benchmarks.{area}").CASES
}
