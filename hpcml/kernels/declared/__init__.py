"""The declarations of the kernels, one file for each module of the implementations; a new file is found."""

import importlib
import pkgutil

from hpcml.kernels.terms import Kernel

__all__ = ["DECLARED"]

_NAMES = sorted(module.name for module in pkgutil.iter_modules(__path__))

DECLARED: tuple[Kernel, ...] = tuple(
    kernel for name in _NAMES for kernel in importlib.import_module(f"{__name__}.{name}").KERNELS
)
