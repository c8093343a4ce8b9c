"""The exceptions of hpcml; wrong arguments raise ValueError and TypeError, as in scikit-learn."""

__all__ = [
    "DeviceMemoryError",
    "HpcmlError",
    "JournalMismatch",
    "KernelUnavailable",
    "MeasurementFailed",
    "WorkerLost",
]


class HpcmlError(Exception):
    """Base of every error that is hpcml's own.

    Examples
    --------
    >>> from hpcml.errors import HpcmlError, JournalMismatch
    >>> issubclass(JournalMismatch, HpcmlError)
    True
    """


class KernelUnavailable(HpcmlError, ImportError):
    """The implementation asked for cannot run here; the message gives the reasons and the cure."""


class DeviceMemoryError(HpcmlError, MemoryError):
    """A GPU has not enough memory for a single shard of the rows; the message gives the sizes."""


class WorkerLost(HpcmlError, RuntimeError):
    """A worker died (killed, out of memory) before it answered."""


class JournalMismatch(HpcmlError, ValueError):
    """The journal of a search was written for other data, another grid or another version."""


class MeasurementFailed(HpcmlError, RuntimeError):
    """A measurement of scaling cannot go on: the work fails, its results differ, or it cannot be started."""
