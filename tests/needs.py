"""Optional parts in tests: skip with the cure where one is missing, or fail where HPCML_REQUIRE names it."""

import os

import pytest

from hpcml import parts
from hpcml.kernels import contract
from hpcml.kernels.cuda import driver
from hpcml.kernels.registry import IMPLEMENTATIONS


def required() -> frozenset[str]:
    """Return the parts that HPCML_REQUIRE names."""
    names = frozenset(filter(None, os.environ.get("HPCML_REQUIRE", "").replace(" ", "").split(",")))
    unknown = sorted(names - set(parts.PARTS))
    if unknown:
        raise pytest.UsageError(
            f"HPCML_REQUIRE must name parts among {', '.join(parts.PARTS)}. Got {', '.join(unknown)} instead."
        )
    return names


def require(part: str) -> None:
    """Skip the running test if `part` is missing; fail it if HPCML_REQUIRE names the part."""
    reason = parts.check(part)
    if part == "cuda" and reason is None:
        reason = driver.reason()
    if reason is None:
        return
    message = f"{part}: {reason}; to mend it: {parts.PARTS[part].cure}"
    if part in required():
        pytest.fail(f"HPCML_REQUIRE names {message}", pytrace=False)
    pytest.skip(message)


def implementations(kernel: str, *, reference: bool = False) -> list:
    """Return the implementations of a kernel as parameters of a test, each with the part that it needs."""
    names = [name for name in IMPLEMENTATIONS if name not in contract.KERNELS[kernel].declined]
    return [
        pytest.param(name, marks=[pytest.mark.require(name)] if name in parts.PARTS else [])
        for name in names
        if reference or name != "reference"
    ]
