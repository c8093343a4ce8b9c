"""hpcml: scikit-learn's training and grid searches, as fast as the hardware allows.

Submodules load when they are first used (``hpcml.cluster``, ``hpcml.model_selection``, ...), so ``import
hpcml`` costs next to nothing and loads no optional library.

Examples
--------
>>> import hpcml
>>> with hpcml.config_context(n_threads=1):
...     hpcml.get_config()["n_threads"]
1
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from hpcml.config import config_context, get_config, set_config

if TYPE_CHECKING:
    from hpcml import (
        cli,
        cluster,
        communicators,
        config,
        data,
        decomposition,
        ensemble,
        errors,
        farm,
        joblib_backends,
        kernels,
        linear_model,
        machine,
        mixture,
        model_selection,
        preprocessing,
        protocol,
        scaling,
        svm,
        tree,
    )
    from hpcml.communicators.rows import open_rows

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "cli",
    "cluster",
    "communicators",
    "config",
    "config_context",
    "data",
    "decomposition",
    "ensemble",
    "errors",
    "farm",
    "get_config",
    "joblib_backends",
    "kernels",
    "linear_model",
    "machine",
    "mixture",
    "model_selection",
    "open_rows",
    "preprocessing",
    "protocol",
    "scaling",
    "set_config",
    "svm",
    "tree",
]

_FUNCTIONS = {"open_rows": "hpcml.communicators.rows"}  # load with the module that holds them
_SUBMODULES = frozenset(__all__) - {"__version__", "config_context", "get_config", "set_config", *_FUNCTIONS}


# A launcher such as mpirun says so here: a rank that fails must not leave the others waiting.
if any(
    os.environ.get(name)
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_ID")
):
    importlib.import_module("hpcml.communicators.early_end").install()


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"hpcml.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'hpcml' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
