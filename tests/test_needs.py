"""Tests of a missing part skip with its cure, and fail where HPCML_REQUIRE names it."""

import pytest

import needs
from hpcml import parts


@pytest.fixture
def gone(monkeypatch):
    monkeypatch.setattr(parts, "check", lambda name: f"{name} is not installed")


def test_a_missing_part_skips_with_its_cure(gone, monkeypatch):
    monkeypatch.setenv("HPCML_REQUIRE", "numba")
    with pytest.raises(pytest.skip.Exception, match="polars is not installed; to mend it: .*pip install"):
        needs.require("polars")


def test_a_missing_part_that_is_required_fails(gone, monkeypatch):
    monkeypatch.setenv("HPCML_REQUIRE", "numba, polars")
    with pytest.raises(pytest.fail.Exception, match="HPCML_REQUIRE names polars.*pip install"):
        needs.require("polars")


def test_a_misspelt_part_is_refused(monkeypatch):
    monkeypatch.setenv("HPCML_REQUIRE", "numba,polar")
    with pytest.raises(pytest.UsageError, match="Got polar instead"):
        needs.required()
