"""joblib's own tests of `Parallel`, with its lists of backends replaced by one of ours."""

from pathlib import Path

#: Lists of backends in joblib's file -> what stands there instead; NAME is the backend's.
_REPLACED = {
    "_BACKENDS = BACKENDS.copy()": '_BACKENDS = {"NAME": BACKENDS.get("NAME")}',
    "ALL_VALID_BACKENDS = [None] + sorted(BACKENDS.keys())": 'ALL_VALID_BACKENDS = ["NAME"]',
    "for backend_str in BACKENDS]": 'for backend_str in BACKENDS if backend_str == "NAME"]',
    'ALL_VALID_BACKENDS.append(mp.get_context("spawn"))': "pass",
    'PROCESS_BACKENDS = ["multiprocessing", "loky"]': 'PROCESS_BACKENDS = ["NAME"]',
    'PARALLEL_BACKENDS = PROCESS_BACKENDS + ["threading"]': 'PARALLEL_BACKENDS = ["NAME"]',
    '@parametrize("backend", BACKENDS)': '@parametrize("backend", ["NAME"])',
    '@parametrize("backend", ["loky", "multiprocessing", "threading"])': '@parametrize("backend", ["NAME"])',
}

#: Of a script that runs those that pytest's -k selects.
RUN = """
import sys
import pytest
options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", ".", "--tb=short", "-rA"]
status = pytest.main([*options, "-k", "SELECTED", *sys.argv[1:], "test_parallel_there.py"])
"""


def write(folder, name, selected, before, after):
    """Write the tests for a backend into a folder, and a script that runs some between two pieces of code."""
    import joblib.test

    source = Path(joblib.test.__file__).with_name("test_parallel.py").read_text()
    found = [old for old in _REPLACED if old in source]
    for old in found:
        source = source.replace(old, _REPLACED[old].replace("NAME", name))
    assert len(found) == len(_REPLACED), set(_REPLACED) - set(found)
    (folder / "test_parallel_there.py").write_text(source)
    (folder / "run.py").write_text(before + RUN.replace("SELECTED", selected) + after)


def check(run, name, least):
    """Assert that all tests passed, and at least some of them on the backend."""
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    passed = [line for line in run.stdout.splitlines() if line.startswith("PASSED") and name in line]
    assert len(passed) > least, run.stdout[-2000:]


def left_out(not_ours):
    """Return pytest's options for the tests that do not apply."""
    return [f"--deselect=test_parallel_there.py::{name}" for name in not_ours]
