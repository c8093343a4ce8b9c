"""The optional parts of hpcml: whether each works here and, if not, the exact command that mends it."""

import functools
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PARTS", "Part", "check", "check_all", "nvcc"]


@dataclass(frozen=True)
class Part:
    """An optional part.

    Parameters
    ----------
    name : str
        Name, as in ``HPCML_REQUIRE`` and ``hpcml info``.
    purpose : str
        What it is good for.
    cure : str
        The command that mends it.
    modules : tuple of str
        Modules that must be importable.
    apart : bool
        Whether a process of its own tries, because importing them does more than that: MPI starts.
    program : str
        A program that must be found.
    java : int or None
        Oldest version of Java that it runs on.
    java_cure : str
        The command that installs one.
    """

    name: str
    purpose: str
    cure: str
    modules: tuple[str, ...]
    apart: bool = False
    program: str = ""
    java: int | None = None
    java_cure: str = ""


def _extra(name: str) -> str:
    return f'python -m pip install "hpcml[{name}]"'


_COMPILER = "xcode-select --install" if sys.platform == "darwin" else "sudo apt-get install gcc libc6-dev"
_JAVA = "sudo apt-get install openjdk-17-jre-headless"

_DECLARED = (
    Part(
        "cython",
        "the compiled kernels",
        f"{_COMPILER} && python -m pip install --force-reinstall --no-deps --no-cache-dir hpcml"
        "  # or python -m pip install -e . in a checkout",
        (
            "hpcml.kernels.cython.binning",
            "hpcml.kernels.cython.gram",
            "hpcml.kernels.cython.growth",
            "hpcml.kernels.cython.interior_point",
            "hpcml.kernels.cython.kmeans",
            "hpcml.kernels.cython.linear_loss",
            "hpcml.kernels.cython.mixture",
            "hpcml.kernels.cython.moments",
            "hpcml.kernels.cython.prediction",
            "hpcml.kernels.cython.quadratic",
        ),
    ),
    Part("numba", "fast kernels where no C compiler is found", _extra("numba"), ("numba",)),
    Part("parquet", "Parquet tables", _extra("parquet"), ("pyarrow.parquet",)),
    Part("polars", "polars frames", _extra("polars"), ("polars",)),
    Part("plots", "figures and reports of scaling", _extra("plots"), ("matplotlib", "jinja2")),
    Part(
        "peers",
        "the libraries that benchmarks compare with",
        _extra("peers"),
        ("sklearnex", "lightgbm", "xgboost", "faiss"),
    ),
    Part("mpi", "fits and searches on the ranks of an MPI job", _extra("mpi"), ("mpi4py.MPI",), apart=True),
    Part("hdf5", "rows in HDF5 files", _extra("hdf5"), ("h5py",)),
    Part(
        "spark",
        "grid searches and any joblib tasks on a Spark cluster",
        f"{_extra('spark')}  # beside Java 17 or newer: {_JAVA}",
        ("joblibspark", "pyspark"),
        java=17,
        java_cure=_JAVA,
    ),
    Part(
        "cuda",
        "kernels on an NVIDIA GPU",
        'CUDA_ROOT=/usr/local/cuda python -m pip install "hpcml[cuda]"',
        ("pycuda.driver",),
    ),
    Part(
        "nvcc",
        "code for a GPU, made at the first use of a kernel",
        'python -m pip install "hpcml[nvcc]"',
        (),
        program="nvcc",
    ),
)

#: The optional parts by name.
PARTS: dict[str, Part] = {part.name: part for part in _DECLARED}


def nvcc() -> str | None:
    """Return the path of CUDA's compiler, or None.

    It is looked for on the PATH, below ``CUDA_ROOT``, ``CUDA_HOME`` and ``/usr/local/cuda``, and where the
    wheels of NVIDIA put it.

    Examples
    --------
    >>> from hpcml import parts
    >>> parts.nvcc() is None or parts.nvcc().endswith("nvcc")
    True
    """
    roots = [os.environ[name] for name in ("CUDA_ROOT", "CUDA_HOME") if os.environ.get(name)]
    wheels = sorted(Path(sysconfig.get_path("purelib"), "nvidia").glob("cu*"), reverse=True)
    candidates = [
        "nvcc",
        *(str(Path(root, "bin", "nvcc")) for root in [*roots, "/usr/local/cuda", *map(str, wheels)]),
    ]
    return next(filter(None, map(shutil.which, candidates)), None)


@functools.cache
def check(name: str) -> str | None:
    """Return None if a part works, else the reason why not.

    Parameters
    ----------
    name : str
        A key of `PARTS`.

    Returns
    -------
    str or None
        The first reason found. The part's modules are imported, once a process.

    Raises
    ------
    ValueError
        If there is no such part.

    Examples
    --------
    >>> from hpcml import parts
    >>> reason = parts.check("numba")
    >>> reason is None or isinstance(reason, str)
    True
    """
    if name not in PARTS:
        raise ValueError(f"name must be an optional part: {', '.join(PARTS)}. Got {name!r} instead.")
    if PARTS[name].program == "nvcc" and nvcc() is None:
        return "nvcc of the CUDA toolkit is neither on the PATH nor below CUDA_ROOT"
    for module in PARTS[name].modules:
        if PARTS[name].apart:
            reason = _tried_apart(module)
            if reason is not None:
                return reason
            continue
        try:
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed"
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            return f"{error.name} is not installed"
        except Exception as error:  # a broken library raises anything on import: OSError, RuntimeError, ...
            hint = " (the driver of the GPU brings it)" if "libcuda.so" in str(error) else ""
            return f"{module} fails on import: {error}{hint}"
    oldest = PARTS[name].java
    return None if oldest is None else _reason_against_java(oldest)


def _reason_against_java(oldest: int) -> str | None:
    """Return None if there is a Java of at least a version, else the reason why not."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else "java"
    try:
        told = subprocess.run([java, "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError:
        return f"Java {oldest} or newer is not installed ({java} is not there)"
    version = re.search(r'version "(?:1\.)?(\d+)', told.stderr + told.stdout)
    if version is None:
        return f"{java} -version tells no version"
    return None if int(version[1]) >= oldest else f"Java is {version[1]}, and {oldest} or newer is needed"


def _tried_apart(module: str) -> str | None:
    """Return None if a process of its own can import a module, else the reason why not."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        return f"{module.partition('.')[0]} is not installed"
    # a launcher's variables would make it a rank of this process's job
    launcher = ("PMI_", "PMIX_", "OMPI_", "SLURM_", "MPI_LOCAL")
    kept = {key: text for key, text in os.environ.items() if not key.startswith(launcher)}
    command = [sys.executable, "-c", f"import {module}"]
    tried = subprocess.run(command, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if tried.returncode == 0:
        return None
    lines = tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"]
    return f"{module} fails on import: {lines[-1]}"


def check_all() -> dict[str, str | None]:
    """Return `check` of every part.

    Examples
    --------
    >>> from hpcml import parts
    >>> list(parts.check_all()) == list(parts.PARTS)
    True
    """
    return {name: check(name) for name in PARTS}
