"""Every call of a kernel that a fit makes, checked against the contract."""

import contextlib
from unittest import mock

from hpcml.communicators import local
from hpcml.kernels import contract, lookup


@contextlib.contextmanager
def checked_kernels():
    """Check arguments and results of all kernels of the table inside a ``with`` block."""

    def checking(name):
        function = lookup(name)

        def call(**arguments):
            dimensions = contract.check_call(name, (), arguments)
            result = function(**arguments)
            contract.check_result(name, result, dimensions)
            return result

        return call

    with mock.patch.object(local, "lookup", checking):
        yield
