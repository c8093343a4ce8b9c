"""The one registry of kernels and its one lookup.

An implementation of a kernel is the function with the kernel's name in
``hpcml.kernels.<implementation>.<module>``; that it exists is its registration. Nothing loads before it is
looked up. Kernels of the kind "reduce" are written for one shard in ``reference/`` and ``numba/`` and get
their loop over shards here; the compiled ones bring their own.
"""

import functools
import importlib
import importlib.util
import inspect
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hpcml import config
from hpcml.errors import KernelUnavailable
from hpcml.kernels import away, contract
from hpcml.kernels.shards import over_shards
from hpcml.kernels.thresholds import FROM_NUMBERS
from hpcml.parts import PARTS, check

__all__ = [
    "IMPLEMENTATIONS",
    "PROCESSOR",
    "Availability",
    "NotSuitable",
    "available",
    "gpu",
    "lookup",
    "on_host",
]

#: Implementations on the processor, fastest first: the order in which ``kernels="auto"`` prefers them.
PROCESSOR = ("cython", "numba", "reference")
#: All of them.
IMPLEMENTATIONS = ("cuda", *PROCESSOR)

_log = logging.getLogger("hpcml")

_warned = False


class NotSuitable(Exception):
    """Raised by an implementation before any work: it does not take such arguments; the message says why."""


class Availability(NamedTuple):
    """What `available` says of one kernel."""

    kernel: str
    implementation: str | None
    reasons: dict[str, str | None]


def _driver() -> Any:
    return importlib.import_module("hpcml.kernels.cuda.driver")


def _load(name: str, implementation: str) -> Callable[..., Any] | str:
    """Return the function, or the reason why there is none."""
    kernel = contract.KERNELS[name]
    if implementation in kernel.declined:
        return f"not implemented by design: {kernel.declined[implementation]}"
    if implementation == "cuda":
        missing: str | None = _driver().reason()
        return _on_cuda(name) if missing is None else missing
    return _loaded(name, implementation)


@functools.cache
def _loaded(name: str, implementation: str) -> Callable[..., Any] | str:
    kernel = contract.KERNELS[name]
    module = f"hpcml.kernels.{implementation}.{kernel.module}"
    try:
        function: Callable[..., Any] | None = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        if implementation == "cython" and importlib.util.find_spec(module) is None:
            return f"not compiled in {Path(__file__).parent.parent}"
        if implementation == "numba" and importlib.util.find_spec("numba") is None:
            return "numba is not installed"
        return f"cannot be loaded ({error})"
    if function is None:
        return f"module {module} has no function {name}"
    if kernel.kind == "reduce" and implementation not in ("cython", "cuda"):  # written for one shard
        function = over_shards(function, kernel.row_arrays)
        names = [a.name for a in kernel.call_arguments]
        parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


@functools.cache
def _on_cuda(name: str) -> Callable[..., Any] | str:
    """Return the kernel of the GPU, which leaves the calls that it does not take to the processor."""
    function = _loaded(name, "cuda")
    if isinstance(function, str):
        return function

    @functools.wraps(function)
    def kernel(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except NotSuitable as declined:
            _leave_the_gpu(name, str(declined))
        away.at_home((*args, *kwargs.values()))
        return _first(name, _on_processor(name))(*args, **kwargs)

    kernel.takes_lent = True  # type: ignore[attr-defined]
    return kernel


@functools.cache
def _told(name: str, reason: str) -> None:
    level = logging.INFO if contract.KERNELS[name].aside else logging.WARNING
    _log.log(level, "%s runs on the processor: %s", name, reason)


def _leave_the_gpu(name: str, reason: str) -> None:
    """Log the reason once, or raise it where the device is strict, unless the kernel's work is aside."""
    if config.strict_device() and not contract.KERNELS[name].aside:
        raise KernelUnavailable(
            f"The GPU does not take this call of {name!r}: {reason}. strict_device is set."
        )
    _told(name, reason)


def _wants_gpu() -> bool:
    device = config.device()
    return device == "cuda" or (device == "auto" and config.kernels() == "cuda")


def _on_processor(name: str) -> tuple[str, ...]:
    """Return the implementations to try without a GPU."""
    wanted = config.kernels()
    anything = wanted in ("auto", "cuda") or wanted in contract.KERNELS[name].declined
    return PROCESSOR if anything else (wanted,)


def _order(name: str, wants_gpu: bool) -> tuple[str, ...]:
    """Return the implementations to try: the wanted one, and others only where it declines by design."""
    if wants_gpu and "cuda" not in contract.KERNELS[name].declined:
        return ("cuda",)
    return _on_processor(name)


@functools.cache
def _by_size(name: str) -> Callable[..., Any]:
    """Return the kernel that runs on the GPU, if there is one, where the table is large."""
    kernel = contract.KERNELS[name]
    table = kernel.row_arrays[0]
    at = [argument.name for argument in kernel.call_arguments].index(table)

    def choose(*args: Any, **kwargs: Any) -> Any:
        rows = kwargs[table] if table in kwargs else args[at]
        if getattr(rows, "size", 0) >= FROM_NUMBERS[name]:  # sparse rows have none
            on_cuda = _load(name, "cuda")
            if not isinstance(on_cuda, str):
                return on_cuda(*args, **kwargs)
        away.at_home((*args, *kwargs.values()))
        return _first(name, _on_processor(name))(*args, **kwargs)

    choose.takes_lent = True  # type: ignore[attr-defined]
    choose.__name__ = choose.__qualname__ = name
    return choose


def lookup(name: str) -> Callable[..., Any]:
    """Return the best available implementation of a kernel under the configuration.

    Parameters
    ----------
    name : str
        Name of the kernel, a key of `hpcml.kernels.contract.KERNELS`.

    Returns
    -------
    callable
        Takes the arguments that the contract says. Under ``device="cuda"`` the GPU's; else under
        ``kernels="auto"`` the fastest implementation of the processor that works, under another setting that
        one. Only where it declines the kernel *by design* (numba grows no trees) the preference order
        decides; what the GPU declines is logged. One that is missing is never replaced in silence.

    Raises
    ------
    KernelUnavailable
        If the implementation asked for cannot run here; the message names the reason and the cure. If the
        GPU has no version of the kernel, which is not done aside either, and ``strict_device`` is set.
    ValueError
        If there is no such kernel.

    Warns
    -----
    RuntimeWarning
        Once a process, if ``kernels="auto"`` has to do without the compiled kernels.

    Examples
    --------
    >>> from hpcml import config_context
    >>> from hpcml.kernels import lookup
    >>> with config_context(kernels="reference"):
    ...     find_bins = lookup("find_bins")
    >>> find_bins.__name__
    'find_bins'
    """
    if name not in contract.KERNELS:
        raise ValueError(f"name must be a kernel: {', '.join(contract.KERNELS)}. Got {name!r} instead.")
    wants_gpu = _wants_gpu()  # asked once: every pass over the rows looks its kernel up
    declined = contract.KERNELS[name].declined.get("cuda")
    if declined is not None and wants_gpu:
        _leave_the_gpu(name, declined)
    if name in FROM_NUMBERS and config.device() == config.kernels() == "auto":
        return _by_size(name)
    return _first(name, _order(name, wants_gpu))


def _first(name: str, order: tuple[str, ...]) -> Callable[..., Any]:
    """Return the first implementation that works."""
    reasons: list[str] = []
    for implementation in order:
        found = _load(name, implementation)
        if not isinstance(found, str):
            if reasons and config.kernels() == "auto":
                _warn_once(implementation, reasons)
            return found
        mends = implementation in PARTS and (implementation != "cuda" or check("cuda") is not None)
        cure = f"; to mend it: {PARTS[implementation].cure}" if mends else ""
        reasons.append(f"{implementation}: {found}{cure}")
    setting = f'device="{config.device()}", ' if _wants_gpu() else ""
    raise KernelUnavailable(
        f'No implementation of the kernel {name!r} can run under {setting}kernels="{config.kernels()}". '
        + ". ".join(reasons)
        + "."
    )


def _warn_once(implementation: str, reasons: list[str]) -> None:
    global _warned
    if not _warned and reasons[0].startswith("cython:"):
        _warned = True
        warnings.warn(
            f"hpcml runs on its slower {implementation} kernels. {reasons[0]}. `hpcml info` shows how to "
            f'mend that; hpcml.set_config(kernels="{implementation}") silences this.',
            RuntimeWarning,
            stacklevel=3,
        )


def on_host(array: Any) -> Any:
    """Return a device's array as one of the processor, in place of which kernels there read the original.

    Parameters
    ----------
    array : object
        One with ``__cuda_array_interface__``; others are returned as they are.

    Returns
    -------
    ndarray
        A copy that is not to be written to. The original must not change while the copy is used.

    Raises
    ------
    KernelUnavailable
        If the array lives on a device and none can be used.
    ValueError
        If it has a mask.

    Examples
    --------
    >>> from hpcml.kernels import on_host
    >>> on_host([1, 2])
    [1, 2]
    """
    if getattr(array, "__cuda_array_interface__", None) is None:
        return array
    return importlib.import_module("hpcml.kernels.cuda.arrays").on_host(array)


def gpu() -> tuple[str | None, str | None]:
    """Return the name of the GPU that kernels run on, or None, and why there is none, or None.

    Examples
    --------
    >>> from hpcml.kernels import gpu
    >>> name, reason = gpu()
    >>> (name is None) != (reason is None)
    True
    """
    reason = _driver().reason()
    return (_driver().current().name, None) if reason is None else (None, reason)


def available() -> list[Availability]:
    """Return, for every kernel, which implementation would run and why each other one cannot.

    Returns
    -------
    list of Availability
        ``(kernel, implementation, reasons)``: `implementation` is None where the configuration allows none;
        `reasons` maps every implementation to None if it works, else to the reason.

    Examples
    --------
    >>> from hpcml import config_context
    >>> from hpcml.kernels import available
    >>> with config_context(kernels="reference"):
    ...     {row.implementation for row in available()}
    {'reference'}
    """
    rows = []
    for name in contract.KERNELS:
        loaded = {implementation: _load(name, implementation) for implementation in IMPLEMENTATIONS}
        reasons = {key: found if isinstance(found, str) else None for key, found in loaded.items()}
        would_run = next((key for key in _order(name, _wants_gpu()) if reasons[key] is None), None)
        rows.append(Availability(name, would_run, reasons))
    return rows
