"""Backends for joblib that take tasks to other machines; each is registered on request."""

from hpcml.joblib_backends.mpi import register_mpi

__all__ = ["register_mpi"]
