"""The grid over the census table: its output is what the page of the search shows."""

import os
import runpy
from pathlib import Path

import pytest

import hpcml

REPOSITORY = Path(hpcml.__file__).parents[1]
EXAMPLE = REPOSITORY / "examples" / "adult.py"
DATA = Path(os.environ.get("HPCML_DATA", "nowhere"), "adult.csv")


@pytest.mark.skipif(not EXAMPLE.exists(), reason="the examples are not beside the package")
@pytest.mark.skipif(not DATA.exists(), reason="HPCML_DATA names no folder with adult.csv")
def test_output_is_on_the_page(capsys):
    assert runpy.run_path(str(EXAMPLE))["main"]()
    printed = capsys.readouterr().out
    planned, done = printed.splitlines()[:2]
    assert planned.removeprefix("planned: ") == done.removeprefix("done:    ")
    assert f"```text\n{printed}```" in (REPOSITORY / "docs" / "searching.md").read_text()
