"""Calls of kernels in tests, with arguments and results checked against the contract."""

import hpcml
from hpcml import kernels
from hpcml.kernels import contract


def call(name, implementation, *args, **kwargs):
    """Return what one implementation of a kernel returns."""
    dimensions = contract.check_call(name, args, kwargs)
    with hpcml.config_context(kernels=implementation):
        result = kernels.lookup(name)(*args, **kwargs)
    contract.check_result(name, result, dimensions)
    return result
