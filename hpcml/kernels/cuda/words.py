"""What the launches of all kernels say of their arguments."""

from hpcml.kernels.csr import CSR
from hpcml.kernels.registry import NotSuitable

__all__ = ["dense", "suffix"]


def dense(X, types=("float32", "float64")):
    """Decline rows that are sparse or of another type."""
    if isinstance(X, CSR):
        raise NotSuitable("CSR rows: the cuda kernels take dense ones")
    if X.dtype.name not in types:
        raise NotSuitable(f"{X.dtype.name} rows: the cuda kernels take {' and '.join(types)}")


def suffix(array):
    """Return what the names of kernels for the type of an array end with."""
    return {"float32": "float", "float64": "double"}[array.dtype.name]
