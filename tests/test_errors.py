"""The exceptions: their kinds, and that they survive the way back from a worker."""

import pickle

import pytest

from hpcml import errors

KINDS = {
    "DeviceMemoryError": MemoryError,
    "KernelUnavailable": ImportError,
    "MeasurementFailed": RuntimeError,
    "WorkerLost": RuntimeError,
    "JournalMismatch": ValueError,
}


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n != "HpcmlError"])
def test_each_is_ours_and_of_a_builtin_kind(name):
    error = getattr(errors, name)
    assert issubclass(error, errors.HpcmlError)
    assert issubclass(error, KINDS[name])
    with pytest.raises(KINDS[name], match="the reason"):
        raise error("the reason")


@pytest.mark.parametrize("name", errors.__all__)
def test_pickling_keeps_kind_and_message(name):
    error = pickle.loads(pickle.dumps(getattr(errors, name)("the reason")))
    assert type(error) is getattr(errors, name)
    assert str(error) == "the reason"
