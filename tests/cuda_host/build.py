"""The sources of ext/cuda compiled by g++, kept in the git-ignored folder ``build``."""

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hpcml.kernels.cuda.compile import OPTIONS, files, sources

HERE = Path(__file__).parent
BUILD = HERE.parent.parent / "build" / "cuda_host"
FLAGS = ["-std=c++17", "-O2", "-g1", "-fPIC", "-Wall", "-Werror", "-Wno-unknown-pragmas"]
# otherwise arrays of equal names in two libraries would be one
FLAGS += ["-fno-gnu-unique", "-fvisibility-inlines-hidden"]
SANITIZE = ["-Og", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-U_FORTIFY_SOURCE"]
NAMES = sorted(path.stem for path in sources().glob("*.cu"))


def compiler():
    """Return the path of g++; skip the running test where there is none."""
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found is None:
        pytest.skip("no C++ compiler was found")
    return found


def built(name, output, flags, source):
    """Return the path of what g++ makes of a source, compiled if it is not there."""
    key = hashlib.blake2b(" ".join(flags).encode(), digest_size=8)
    for path in (*files(source), *sorted(HERE.glob("*.h"))):
        key.update(path.read_bytes())
    made = BUILD / f"{name}-{key.hexdigest()}{output}"
    if not made.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            out = Path(folder, "out")
            include = [f"-I{HERE}", f"-I{sources()}"]
            subprocess.run(
                [compiler(), *flags, *include, "-x", "c++", str(source), "-o", str(out)], check=True
            )
            os.replace(out, made)  # whole, or not there
    return made


def library(name, *more):
    """Return the shared library of one source; `more` are further flags."""
    contract = ["-ffp-contract=off"] if "-fmad=false" in OPTIONS.get(name, ()) else []
    return built(name, ".so", [*FLAGS, *contract, *more, "-shared"], sources() / f"{name}.cu")


def replay():
    """Return the command that repeats a record under AddressSanitizer and UBSan."""
    with ThreadPoolExecutor(2) as pool:
        program = pool.submit(built, "replay", "", [*FLAGS, *SANITIZE, "-ldl"], HERE / "replay.cpp")
        made = list(pool.map(lambda name: library(name, *SANITIZE), NAMES))
        return lambda record: [str(program.result()), str(record), *map(str, made)]


def cuda_driver():
    """Return the library that stands in for the driver of a GPU."""
    return built(
        "libcuda", ".so", [*FLAGS, "-shared", "-Wl,-soname,libcuda.so.1", "-ldl"], HERE / "libcuda.cpp"
    )


@functools.cache
def libraries():
    """Return the shared libraries of all sources by name."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(NAMES, pool.map(library, NAMES), strict=True))
