"""Code on the pages runs and prints what the page says; the examples run."""

import doctest
import re
import runpy
from pathlib import Path

import pytest

from hpcml.kernels import contract

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted(path for path in [REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md")] if path.exists())
#: Those for the ranks of an MPI job run in test_mpi_examples.py, that over a table in test_adult_example.py,
#: that for a Spark cluster in test_spark_programs.py.
ELSEWHERE = {
    *REPOSITORY.glob("examples/mpi_*.py"),
    *REPOSITORY.glob("examples/spark_*.py"),
    REPOSITORY / "examples" / "adult.py",
}
EXAMPLES = sorted(set(REPOSITORY.glob("examples/*.py")) - ELSEWHERE)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

pytestmark = pytest.mark.skipif(
    not PAGES, reason="the pages are not beside the tests; run them in a checkout"
)


def blocks(path):
    """Yield ``(line, code)`` of every block of Python on a page."""
    text = path.read_text()
    for match in re.finditer(r"^```(?:python|\{doctest\})\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield text[: match.start()].count("\n") + 1, match[1]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_code_on_the_page_runs(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__page__"}
    for line, code in blocks(path):
        if ">>>" not in code:
            exec(compile(code, f"{path.name}:{line}", "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(code, names, path.name, str(path), line)
        report = []
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        assert runner.run(test, out=report.append, clear_globs=False).failed == 0, "".join(report)
        names = test.globs


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(path, capsys):
    assert runpy.run_path(str(path))["main"]() in (None, True)
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_readme_has_exactly_two_commands():
    readme = (REPOSITORY / "README.md").read_text()
    commands = re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert len(commands) == 2
    assert all(command.count("\n") == 1 and command.startswith("python3 -m venv") for command in commands)


def test_page_of_kernels_is_made_from_the_contract():
    page = (REPOSITORY / "docs" / "kernels.md").read_text()
    assert "generated/contract.md" in page
    assert all(f"`{name}`" in contract.markdown() for name in contract.KERNELS)
