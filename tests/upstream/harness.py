"""Run one of scikit-learn's test modules, as installed, with some of its classes replaced."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent.parent


@dataclass
class UpstreamResult:
    """Outcomes by test (``{"test_pickle": "passed", "test_refit[0]": "failed"}``), tracebacks, output."""

    outcomes: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    output: str = ""

    def tests(self, outcome: str) -> list[str]:
        """Return the tests that ended so: ``"passed"``, ``"failed"`` or ``"skipped"``."""
        return [test for test, found in self.outcomes.items() if found == outcome]


def _covers(entry: str, test: str) -> bool:
    return test == entry or test.split("[", 1)[0] == entry


def run_upstream(
    module: str,
    replace: Mapping[str, str],
    expected_failures: Mapping[str, str] | None = None,
    *,
    select: str | None = None,
    deselect: Sequence[str] = (),
    timeout: float = 900.0,
) -> UpstreamResult:
    """Run a test module of scikit-learn with some names replaced, and assert what fails.

    Tests that reach none of the names are left out.

    Parameters
    ----------
    module : str
        Dotted name, such as ``"sklearn.ensemble.tests.test_forest"``.
    replace : mapping of str to str
        Name that the module imports -> dotted name of what takes its place.
    expected_failures : mapping of str to str
        Test -> reason. ``"test_x"`` stands for every parametrisation of it, ``"test_x[a]"`` for one. Every
        test that an entry stands for must fail, and no other may.
    select : str, optional
        Expression for pytest's ``-k``; entries of `expected_failures` that it leaves out are not asserted.
    deselect : sequence of str
        Tests, named as in `expected_failures`, that are not run at all.
    timeout : float
        Seconds for the whole run.

    Returns
    -------
    UpstreamResult

    Raises
    ------
    AssertionError
        If a test fails that is not listed, or a listed one passes, is skipped or does not exist.
    """
    expected = dict(expected_failures or {})
    job = {"module": module, "replace": dict(replace), "deselect": list(deselect)}
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
    command += ["-p", "replacing", "-c", os.devnull, "--pyargs", module]
    if select:
        command += ["-k", select]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        paths = [str(_ROOT), str(_HERE), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",  # there are others beside it
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "HPCML_UPSTREAM": json.dumps(job),
            "HPCML_UPSTREAM_REPORT": str(report),
        }
        output = _output_of(command, folder, environment, timeout)
        assert report.exists(), f"{module} did not run:\n{output[-4000:]}"
        found = UpstreamResult(**json.loads(report.read_text()), output=output)
    assert found.outcomes, f"{module}: no test was run:\n{output[-4000:]}"
    _assert_expected(module, found, expected, partial=select is not None or bool(deselect))
    return found


def _output_of(command: list[str], folder: str, environment: Mapping[str, str], timeout: float) -> str:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes) as process:
        try:
            return process.communicate(timeout=timeout)[0]
        finally:
            process.kill()


def _assert_expected(module: str, found: UpstreamResult, expected: Mapping[str, str], partial: bool) -> None:
    unlisted = [t for t in found.tests("failed") if not any(_covers(entry, t) for entry in expected)]
    wrong = []
    for entry in expected:
        covered = {t: outcome for t, outcome in found.outcomes.items() if _covers(entry, t)}
        if not covered and not partial:
            wrong.append(f"{entry} is listed but does not exist")
        wrong += [f"{t} is listed but {outcome}" for t, outcome in covered.items() if outcome != "failed"]
    tracebacks = "\n\n".join(f"____ {t} ____\n{found.messages[t]}" for t in unlisted)
    problems = [f"{t} fails and is not listed" for t in unlisted] + wrong
    assert not problems, f"{module}:\n" + "\n".join(problems) + "\n\n" + tracebacks
