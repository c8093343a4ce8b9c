"""The declarations of the kernels, one file for each module of the implementations."""

from hpcml.kernels.declared import binning, growth, moments, prediction
from hpcml.kernels.terms import Kernel

__all__ = ["DECLARED"]

DECLARED: tuple[Kernel, ...] = (
    *binning.KERNELS,
    *growth.KERNELS,
    *prediction.KERNELS,
    *moments.KERNELS,
)
