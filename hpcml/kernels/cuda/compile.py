"""From ``ext/cuda/<source>.cu`` to machine code: of the wheel, of the cache on disk, or made by nvcc."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import subprocess
import tempfile
from pathlib import Path

from hpcml import parts
from hpcml.errors import KernelUnavailable

__all__ = ["OPTIONS", "code", "compiled", "files", "reason", "sources"]

#: -fmad=false: a fused multiplication and addition rounds once, and trees must have the bits of the
#: processor; sources whose results are compared with a tolerance are compiled without it.
OPTIONS: dict[str, tuple[str, ...]] = {
    "growth": ("-fmad=false",),
    "growth_rows": ("-fmad=false",),
    "prediction": ("-fmad=false",),
}
_COMMON = ("-O3", "-std=c++17")

#: The oldest architecture: __match_any_sync needs 7.0, and CUDA 13 compiles for none before 7.5.
OLDEST = 75


def sources() -> Path:
    """Return the folder of the sources: in a wheel beside this file, in a checkout ``ext/cuda``."""
    own = Path(__file__).with_name("sources")
    return own if own.is_dir() else Path(__file__).parents[3] / "ext" / "cuda"


def files(path: Path) -> list[Path]:
    """Return a file and the headers of `sources` that it includes."""
    found = [path]
    for file in found:
        for name in re.findall(r'^#include "([^"]+)"', file.read_text(), re.MULTILINE):
            header = sources() / name
            if header.exists() and header not in found:
                found.append(header)
    return found


@functools.cache
def _version(nvcc: str) -> str:
    return subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout


def reason(architecture: int) -> str | None:
    """Return None if there is, or can be made, code for an architecture, else why not."""
    if architecture < OLDEST:
        return (
            f"the GPU has compute capability {architecture // 10}.{architecture % 10}, "
            f"and the kernels need at least {OLDEST // 10}.{OLDEST % 10}"
        )
    if parts.nvcc() is None and _ahead("sums", architecture) is None:
        return (
            f"the wheel holds no code for compute capability {architecture // 10}.{architecture % 10}, and "
            f"{parts.check('nvcc')}; to mend that: {parts.PARTS['nvcc'].cure}"
        )
    return None


def _ahead(source: str, architecture: int) -> Path | None:
    """Return the code of the wheel that runs there: of the same major number, and no newer minor one."""
    paths = sources().glob(f"{source}.sm_*.cubin")
    found = {int(path.name.removeprefix(f"{source}.sm_").removesuffix(".cubin")): path for path in paths}
    fitting = [each for each in found if each // 10 == architecture // 10 and each <= architecture]
    return found[max(fitting)] if fitting else None


def code(source: str, architecture: int) -> bytes:
    """Return the machine code of a source.

    Parameters
    ----------
    source : str
        Name of the file, without ``.cu``.
    architecture : int
        Compute capability times 10, such as 90.

    Raises
    ------
    KernelUnavailable
        If nvcc is missing or fails; its words are in the message.
    """
    ahead = _ahead(source, architecture)
    if ahead is not None:
        return ahead.read_bytes()
    nvcc = parts.nvcc()
    if nvcc is None:
        raise KernelUnavailable(str(reason(architecture)))
    key = hashlib.blake2b(digest_size=16)
    for text in (
        _version(nvcc),
        str(architecture),
        *_COMMON,
        *OPTIONS.get(source, ()),
        *(file.read_text() for file in files(sources() / f"{source}.cu")),
    ):
        key.update(text.encode() + b"\0")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "hpcml", "cuda")
    kept = cache / f"{source}-{architecture}-{key.hexdigest()}.cubin"
    if kept.exists():
        return kept.read_bytes()
    made, _ = compiled(source, architecture, nvcc=nvcc)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:
            file.write(made)
        os.replace(file.name, kept)  # whole, or not there
    except OSError:
        pass  # a home that cannot be written to: it is compiled again next time
    return made


def compiled(source: str, *architectures: int, nvcc: str | None = None) -> tuple[bytes, str]:
    """Run nvcc; return the machine code and what the assembler says of registers and memory.

    Parameters
    ----------
    source : str
    *architectures : int
        Of several the code is a "fat binary". The sources use nothing that the oldest architecture lacks, so
        that its PTX, made once, is assembled for each.
    nvcc : str, optional
        Its path; by default it is looked for.

    Raises
    ------
    KernelUnavailable
        If it is not there, or fails.
    """
    nvcc = nvcc or parts.nvcc()
    if nvcc is None:
        raise KernelUnavailable(f"{parts.check('nvcc')}; to mend it: {parts.PARTS['nvcc'].cure}.")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "code")
        options = [*_COMMON, *OPTIONS.get(source, ()), "-Xptxas", "-v"]
        options += [f"-gencode=arch=compute_{OLDEST},code=sm_{each}" for each in architectures]
        done = subprocess.run(
            [
                nvcc,
                "-cubin" if len(architectures) == 1 else "-fatbin",
                *options,
                "-o",
                str(out),
                str(sources() / f"{source}.cu"),
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            names = ", ".join(f"sm_{each}" for each in architectures)
            raise KernelUnavailable(f"{nvcc} failed on {source}.cu for {names}: {done.stderr.strip()}")
        return out.read_bytes(), done.stderr + done.stdout
