"""What this machine is: cores that may be used, caches, instruction sets, versions."""

import datetime
import functools
import importlib.metadata
import math
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "ISAS",
    "agree_isa",
    "caches",
    "cgroups",
    "cpu_model",
    "describe",
    "instruction_sets",
    "isa",
    "isa_level",
    "memory_bytes",
    "supported_isas",
    "usable_cores",
    "versions",
]

#: Instruction sets that the compiled kernels are built for, lowest first; the position is the level.
ISAS = ("baseline", "avx2", "avx512")

_NEEDED_FLAGS = {
    "baseline": frozenset[str](),
    "avx2": frozenset({"avx2", "fma"}),
    "avx512": frozenset({"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"}),
}
_SHOWN_FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni")
_SHOWN_FLAGS_ARM = ("asimd", "sve", "sve2")
_agreed_isa: int | None = None  # the lowest level of the ranks of a job
_LIBRARIES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "joblib",
    "threadpoolctl",
    "pandas",
    "numba",
    "scikit-learn-intelex",
    "lightgbm",
    "xgboost",
)


# -- cores -------------------------------------------------------------------------------------------------


@functools.cache
def _present_cores() -> int:
    """Return how many cores the machine has, asked once: to tell, Linux reads a file."""
    return os.cpu_count() or 1


def usable_cores(root: str | Path = "/", environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Return how many cores this process may use, and why that many.

    Parameters
    ----------
    root : path, optional
        Where ``/proc`` and ``/sys`` are looked for.
    environ : mapping, optional
        The environment; by default the process's own.

    Returns
    -------
    n : int
        The least of the affinity mask, the cgroup quota (rounded up to whole cores) and
        ``SLURM_CPUS_PER_TASK``.
    reason : str
        Which of these decided, such as ``"affinity: 2 of 8 cores"``.

    Examples
    --------
    >>> from hpcml import machine
    >>> n, reason = machine.usable_cores()
    >>> n >= 1
    True
    """
    environ = os.environ if environ is None else environ
    present = _present_cores()
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
        limits = [(allowed, f"affinity: {allowed} of {present} cores")]
    else:
        limits = [(present, f"the machine has {present} cores")]
    quota = _cgroup_quota(str(root))
    if quota is not None:
        limits.append((max(1, math.ceil(quota)), f"cgroup quota: {quota:g} cores"))
    slurm = environ.get("SLURM_CPUS_PER_TASK", "").strip()
    if slurm.isdecimal() and int(slurm) > 0:
        limits.append((int(slurm), f"SLURM_CPUS_PER_TASK={slurm}"))
    return min(limits, key=lambda limit: limit[0])


def cgroups(controller: str, root: str | Path = "/") -> Iterator[tuple[Path, int]]:
    """Yield where the limits of this process's cgroup and of those above it may be read.

    Parameters
    ----------
    controller : str
        What is limited: ``"cpu"`` or ``"memory"``.
    root : path, optional
        Where ``/proc`` and ``/sys`` are looked for.

    Yields
    ------
    (folder, version) : tuple of Path and int
        Perhaps of a folder that does not exist: inside a container the path may be the host's. Version 1 and
        2 of cgroups have other files.

    Examples
    --------
    >>> from hpcml import machine
    >>> all(version in (1, 2) for _, version in machine.cgroups("cpu"))
    True
    """
    for line in _lines(Path(root, "proc/self/cgroup")):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            mounts, version = ("sys/fs/cgroup", "sys/fs/cgroup/unified"), 2
        elif controller in controllers.split(","):
            mounts, version = (f"sys/fs/cgroup/{controllers}", f"sys/fs/cgroup/{controller}"), 1
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                yield Path(root, mount, *parts[:depth]), version


@functools.lru_cache(maxsize=16)
def _cgroup_quota(root: str) -> float | None:
    """Return the least CPU quota, in cores, of this process's cgroup and those above it."""
    read = {1: _quota_v1, 2: _quota_v2}
    quotas = [read[version](folder) for folder, version in cgroups("cpu", root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_v2(folder: Path) -> float | None:
    words = " ".join(_lines(folder / "cpu.max")).split()  # "200000 100000", or "max 100000" for no limit
    if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]) > 0:
        return int(words[0]) / int(words[1])
    return None


def _quota_v1(folder: Path) -> float | None:
    quota = "".join(_lines(folder / "cpu.cfs_quota_us")).strip()  # -1 for no limit
    period = "".join(_lines(folder / "cpu.cfs_period_us")).strip()
    if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
        return int(quota) / int(period)
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


# -- processor ---------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=16)
def _cpuinfo(root: str = "/") -> dict[str, str]:
    info: dict[str, str] = {}
    for line in _lines(Path(root, "proc/cpuinfo")):
        key, separator, value = line.partition(":")
        if separator:
            info.setdefault(key.strip(), value.strip())
        elif info:
            break  # the first processor is enough
    return info


def cpu_model() -> str:
    """Return the processor's name.

    Examples
    --------
    >>> from hpcml import machine
    >>> machine.cpu_model() != ""
    True
    """
    return _cpuinfo().get("model name") or platform.processor() or platform.machine() or "unknown"


@functools.lru_cache(maxsize=16)
def _flags(root: str = "/") -> frozenset[str]:
    info = _cpuinfo(root)
    return frozenset((info.get("flags") or info.get("Features") or "").split())


def instruction_sets() -> list[str]:
    """Return the vector instruction sets of the processor that matter to kernels.

    Examples
    --------
    >>> from hpcml import machine
    >>> isinstance(machine.instruction_sets(), list)
    True
    """
    if platform.machine().lower() in ("aarch64", "arm64"):
        found = ["neon" if flag == "asimd" else flag for flag in _SHOWN_FLAGS_ARM if flag in _flags()]
        return found or ["neon"]  # macOS lists no flags, and every arm64 processor has NEON
    return [flag for flag in _SHOWN_FLAGS if flag in _flags()]


def supported_isas(root: str | Path = "/") -> tuple[str, ...]:
    """Return which of `ISAS` this processor runs, lowest first; on arm64 only 'baseline', which has NEON.

    Parameters
    ----------
    root : path, optional
        Where ``/proc`` is looked for.

    Examples
    --------
    >>> from hpcml import machine
    >>> machine.supported_isas()[0]
    'baseline'
    """
    return tuple(name for name in ISAS if _NEEDED_FLAGS[name] <= _flags(str(root)))


def isa() -> str:
    """Return the instruction set that compiled kernels use: ``HPCML_ISA``, else the highest supported one.

    Where the ranks of a job have agreed on a lower one (`agree_isa`), that.

    Returns
    -------
    str
        One of `supported_isas`.

    Raises
    ------
    ValueError
        If ``HPCML_ISA`` names one that does not exist or that this processor lacks.

    Examples
    --------
    >>> from hpcml import machine
    >>> machine.isa() in machine.supported_isas()
    True
    """
    return ISAS[isa_level()]


def isa_level() -> int:
    """Return the position of `isa` in `ISAS`: 0 baseline, 1 avx2, 2 avx512.

    Raises
    ------
    ValueError
        As `isa`.

    Examples
    --------
    >>> from hpcml import machine
    >>> machine.ISAS[machine.isa_level()] == machine.isa()
    True
    """
    level = _isa_level_of(os.environ.get("HPCML_ISA", ""))
    return level if _agreed_isa is None else min(level, _agreed_isa)


def agree_isa(level: int | None) -> None:
    """Let compiled kernels use no higher instruction set than the others of the same job can.

    Parameters
    ----------
    level : int or None
        Position in `ISAS`; None takes the agreement back.

    Examples
    --------
    >>> from hpcml import machine
    >>> machine.agree_isa(0)
    >>> machine.isa()
    'baseline'
    >>> machine.agree_isa(None)
    """
    global _agreed_isa
    _agreed_isa = level


@functools.lru_cache(maxsize=16)
def _isa_level_of(wanted: str) -> int:
    supported = supported_isas()
    wanted = wanted.strip().lower()
    if not wanted:
        return ISAS.index(supported[-1])
    if wanted not in supported:
        raise ValueError(
            f"HPCML_ISA must be one of {', '.join(supported)} on this processor. Got {wanted!r} instead."
        )
    return ISAS.index(wanted)


def caches(root: str | Path = "/") -> dict[str, int]:
    """Return the sizes in bytes of the caches that the first core sees.

    Parameters
    ----------
    root : path, optional
        Where ``/sys`` is looked for.

    Returns
    -------
    dict
        Such as ``{"L1d": 32768, "L2": 1048576, "L3": 33554432}``; empty where the system does not say.

    Examples
    --------
    >>> from hpcml import machine
    >>> all(size > 0 for size in machine.caches().values())
    True
    """
    sizes = {}
    for index in sorted(Path(root, "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ("".join(_lines(index / name)).strip() for name in ("level", "type", "size"))
        factor = {"K": 1024, "M": 1024**2}.get(size[-1:], 1)
        digits = size.rstrip("KM")
        if digits.isdecimal():
            suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
            sizes[f"L{level}{suffix}"] = int(digits) * factor
    return sizes


def memory_bytes() -> int | None:
    """Return the size of the main memory in bytes, None where the system does not say.

    Examples
    --------
    >>> from hpcml import machine
    >>> machine.memory_bytes() is None or machine.memory_bytes() > 0
    True
    """
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


# -- software ----------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that matter to speed, without loading them.

    Examples
    --------
    >>> from hpcml import machine
    >>> "numpy" in machine.versions()
    True
    """
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """Return what a measurement must say about its machine; every value can be written as JSON.

    Returns
    -------
    dict
        Time, processor, cores and why that many, caches, instruction sets, memory, load, system, compiler,
        libc, versions, BLAS and thread pools loaded now, and the environment variables that set numbers of
        threads.

    Examples
    --------
    >>> import json
    >>> from hpcml import machine
    >>> json.loads(json.dumps(machine.describe()))["isa"] == machine.isa()
    True
    """
    import hpcml

    n_cores, reason = usable_cores()
    load = os.getloadavg() if hasattr(os, "getloadavg") else ()
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "hpcml": hpcml.__version__,
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "cores_present": os.cpu_count(),
        "cores_usable": n_cores,
        "cores_reason": reason,
        "caches": caches(),
        "instruction_sets": instruction_sets(),
        "isa": isa(),
        "memory_bytes": memory_bytes(),
        "load_average": [round(value, 2) for value in load],
        "governor": "".join(_lines(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))) or None,
        "system": platform.platform(),
        "compiler_of_python": platform.python_compiler(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "versions": versions(),
        "thread_pools": _thread_pools(),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith("HPCML_") or name.endswith("_NUM_THREADS") or name == "SLURM_CPUS_PER_TASK"
        },
    }


def _thread_pools() -> list[dict[str, Any]]:
    import threadpoolctl

    shown = ("user_api", "internal_api", "version", "num_threads", "threading_layer", "architecture")
    return [{key: pool[key] for key in shown if key in pool} for pool in threadpoolctl.threadpool_info()]
