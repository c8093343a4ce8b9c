"""The arithmetic: arrays in, statistics out. One contract, one registry, one lookup.

Kernels know no model and no estimator. `contract` says what each takes and returns; ``reference/`` holds the
readable definition, ``numba/`` and ``cython/`` the fast versions under the same file and function names.

Examples
--------
>>> from hpcml import config_context, kernels
>>> with config_context(kernels="reference"):
...     kernels.lookup("apply_bins").__module__
'hpcml.kernels.reference.binning'
"""

from hpcml.kernels.registry import Availability, available, gpu, lookup, on_host

__all__ = ["Availability", "available", "gpu", "lookup", "on_host"]
