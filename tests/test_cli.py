"""The ``hpcml`` command: manuals, info, and the ways in which a command line can be wrong."""

import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from hpcml import kernels, parts
from hpcml.cli import estimators, files, main
from hpcml.cli.failures import CommandError
from hpcml.cli.grid import parse_assignments, parse_values

TREE = "sklearn.tree.DecisionTreeRegressor"


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def rooms(tmp_path):
    """A CSV file with a good target, a text, a constant and a missing one."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "beds": rng.integers(1, 5, 60),
            "kind": rng.choice(["flat", "house", "loft"], 60),
            "price": rng.normal(100, 10, 60),
            "same": 3,
            "gaps": np.where(np.arange(60) < 2, np.nan, 1.0 + np.arange(60)),
        }
    )
    path = tmp_path / "rooms.csv"
    table.to_csv(path, index=False)
    return path


def fails(capsys, *arguments):
    """Run the command, which must fail as every command does; return what it says."""
    assert main([str(each) for each in arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Traceback" not in err, err
    return err.strip()


# Manuals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["search"], ["info"]])
def test_manuals(capsys, command):
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage: " + " ".join(["hpcml", *command]) in text
    assert "[[" not in text


def test_manual_of_search_names_every_estimator_and_gives_examples(capsys):
    main(["search", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("hpcml search ") >= 5
    for name in estimators.names():
        assert name in text


def test_without_arguments_the_command_shows_its_manual(capsys):
    assert main([]) == 0
    assert "Usage: hpcml" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"hpcml \d+\.\d+.*\n", capsys.readouterr().out)


def short_info(capsys):
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80, lines
    return lines


def test_info_says_on_one_screen_what_is_here_and_what_is_missing(capsys):
    text = "\n".join(short_info(capsys))
    assert "usable cores" in text and "hpcml info --all" in text
    assert f"{len(kernels.available())} on" in text or "; " in text
    for name, reason in parts.check_all().items():
        assert name in text
        assert reason is None or f"{name}: {reason}"[:60] in text


def test_info_fits_a_screen_where_all_is_missing(capsys, monkeypatch):
    def missing(name):
        return f"lib{name} fails on import: " + "a long story " * 10

    monkeypatch.setattr(parts, "check", missing)
    monkeypatch.setattr(parts, "check_all", lambda: {name: missing(name) for name in parts.PARTS})
    rows = [
        row._replace(implementation="reference", reasons={**row.reasons, "cython": "not compiled"})
        for row in kernels.available()
    ]
    monkeypatch.setattr(kernels, "available", lambda: rows)
    lines = short_info(capsys)
    text = "\n".join(lines)
    assert "no optional part" in text and "not on cython: not compiled" in text
    assert sum(" fails on import" in line for line in lines) == len(parts.PARTS)
    words = " ".join(text.split())
    # in the order in which they are to be given: PyCUDA needs the compiler that an extra brings
    ordered = [
        parts.PARTS["cython"].cure.split("  #")[0],
        '"hpcml[numba,',
        "mpi,",
        "nvcc]",
        "CUDA_ROOT=",
        "more",
    ]
    assert sorted(ordered, key=words.index) == ordered


def test_info_tells_how_to_install_java_where_only_that_is_missing(capsys, monkeypatch):
    reasons = dict.fromkeys(parts.PARTS) | {"spark": "Java is 11, and 17 or newer is needed"}
    monkeypatch.setattr(parts, "check_all", lambda: reasons)
    assert "to mend    sudo apt-get install openjdk-17-jre-headless" in short_info(capsys)


def test_info_all_names_every_kernel_and_part_and_how_to_mend_it(capsys):
    assert main(["info", "--all"]) == 0
    text = capsys.readouterr().out
    for row in kernels.available():
        assert row.kernel in text
    for name, reason in parts.check_all().items():
        assert name in text
        if reason is not None:
            assert parts.PARTS[name].cure.split("&&")[0].strip() in text
    assert "usable cores" in text and "instruction sets" in text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_output_that_cannot_be_written_is_told_in_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "hpcml.cli", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("hpcml: the output cannot be written")
    assert done.stderr.count("\n") == 1


def test_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "hpcml.cli", "--version"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.startswith("hpcml ")


# Wrong command lines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serch"], "No such command 'serch'.*'hpcml --help' shows the commands"),
        (["search", "--gird", "a=1"], "No such option: --gird.*'hpcml search --help' shows all options"),
        (["search", "--cv", "few"], "--cv.*integer"),
        (["search", "--cv", "1"], "--cv.*2"),
        (["search", "--n-jobs", "0"], "--n-jobs 0 means nothing; give the number"),
        (["search", "-e", "random-forest-regresor"], "is unknown; did you mean random-forest-regressor"),
        (["search", "-e", "sklearn.linear_model.Rigde"], "has no Rigde; did you mean Ridge"),
        (["search", "-e", "no_such_library.Model"], "no_such_library cannot be imported.*check its name"),
        (["search", "-e", "sklearn.cluster.KMeans"], "neither a classifier nor a regressor"),
        (["search", "-e", "sklearn.ensemble.VotingRegressor"], "cannot be made without arguments"),
        (["search", "-e", "sklearn.metrics.r2_score"], "is no class with scikit-learn's fit"),
        (["search", "-e", TREE, "-g", "max_dept=3"], "no such parameter; did you mean max_depth"),
        (
            ["search", "-e", TREE, "-p", "max_dept=3", "-g", "max_depth=1"],
            "--param max_dept.*no such parameter",
        ),
        (["search", "-e", TREE, "-g", "max_depth"], "is not NAME=VALUE; write it as max_depth=2,5,10"),
        (["search", "-e", TREE, "-g", "max_depth=2,,3"], "a value is empty"),
        (["search", "-e", TREE, "-g", "max_depth=2", "-g", "max_depth=3"], "given twice"),
        (["search", "-e", TREE, "-g", "max_depth=2", "-p", "max_depth=3"], "in --param and in --grid"),
        (
            ["search", "-e", "sklearn.linear_model.LinearRegression"],
            "no usual grid.*--grid NAME=VALUE.*of its parameters there are .*fit_intercept",
        ),
        (["search", "-e", TREE, "--scoring", "r3"], "--scoring 'r3' is no score"),
        (["search", "-e", TREE, "--scoring", "r2,r2"], "given twice"),
        (["search", "-e", TREE, "--scoring", "accuracy"], "does not suit this regressor"),
        (["search", "-e", TREE, "--cv", "1000"], "needs at least 1000 rows and the table has 442"),
        (["search", "-e", TREE, "--verify"], "--verify compares hpcml's own estimators"),
        (["search", "no_such.csv", "-t", "a", "-e", TREE], "no such file: no_such.csv; check the path"),
        (["search", "-e", TREE, "-t", "targte"], "no column 'targte' in the table; did you mean target"),
    ],
)
def test_wrong_command_lines_are_told_in_one_line_with_the_cure(capsys, arguments, says):
    assert re.search(says, fails(capsys, *arguments))


@pytest.mark.parametrize(
    ("target", "estimator", "says"),
    [
        ("kind", TREE, "the target 'kind' is text or dates .*which no regressor predicts"),
        ("same", TREE, "the target 'same' is constant"),
        ("gaps", TREE, "the target 'gaps' is missing in 2 of 60 rows"),
        ("price", "sklearn.tree.DecisionTreeClassifier", "fractional values, which are no classes"),
        ("prise", TREE, "did you mean price"),
    ],
)
def test_wrong_targets(capsys, rooms, target, estimator, says):
    assert re.search(says, fails(capsys, "search", rooms, "-t", target, "-e", estimator))


def test_a_table_needs_a_target(capsys, rooms):
    assert "with --target; there are beds, gaps, kind" in fails(capsys, "search", rooms, "-e", TREE)


def test_empty_tables(capsys, tmp_path):
    path = tmp_path / "empty.csv"
    path.write_text("beds,price\n")
    assert "the table is empty" in fails(capsys, "search", path, "-t", "price", "-e", TREE)


@pytest.mark.parametrize("value", [np.inf, -1e300])
def test_values_that_no_estimator_takes_are_told_with_their_column(capsys, tmp_path, value):
    path = tmp_path / "table.csv"
    pd.DataFrame({"a": [value, *range(9)], "b": range(10)}).to_csv(path, index=False)
    said = fails(capsys, "search", path, "-t", "b", "-e", "random-forest-regressor")
    assert "infinite values or values beyond 3.4e38 in a:" in said


def test_classes_with_too_few_rows(capsys, tmp_path):
    path = tmp_path / "names.csv"
    pd.DataFrame({"a": range(6), "name": list("aabbcc")}).to_csv(path, index=False)
    classifier = "sklearn.tree.DecisionTreeClassifier"
    assert "no class of 'name' has 3 rows" in fails(capsys, "search", path, "-t", "name", "-e", classifier)


@pytest.mark.parametrize(
    ("option", "name", "says"),
    [
        ("--output", "missing/results.csv", "there is no folder"),
        ("--output", "results.xlsx", "must end in .csv"),
        ("--save-model", "model.csv", "must end in .joblib"),
        ("--journal", ".", "is a folder"),
        ("--output", "rooms.csv", "--output and TABLE are the same file"),
    ],
)
def test_files_are_checked_before_any_work(capsys, monkeypatch, rooms, option, name, says):
    monkeypatch.setattr("hpcml.data.read_table", lambda path: pytest.fail("the table was read"))
    monkeypatch.chdir(rooms.parent)
    assert says in fails(capsys, "search", rooms, "-t", "price", "-e", TREE, option, name)


def test_a_folder_that_cannot_be_written_to(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(
        "tempfile.NamedTemporaryFile", refuse
    )  # permissions do not bind root, who runs some tests
    with pytest.raises(CommandError, match=r"cannot be written \(Permission denied\); choose another folder"):
        files.check_writable(tmp_path / "results.csv", "--output")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(CommandError, match="No space left on device"):
        files.write_atomically(path, fail)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


# Values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2,5,10", [2, 5, 10]),
        ("None, 0.5,1e-3,True", [None, 0.5, 1e-3, True]),
        ("sqrt,'log2',balanced_subsample", ["sqrt", "log2", "balanced_subsample"]),
        ("2..5", [2, 3, 4, 5]),
        ("-1..1,20..60..20", [-1, 0, 1, 20, 40, 60]),
        ("(10,),(20,10)", [(10,), (20, 10)]),
        ("'a,b',{'x': 1}", ["a,b", {"x": 1}]),
        ("1,1.0,True", [1, 1.0, True]),
    ],
)
def test_values(text, values):
    parsed = parse_values(text)
    assert parsed == values and [type(each) for each in parsed] == [type(each) for each in values]


@pytest.mark.parametrize("text", ["", "1,", "5..2", "1..5..0", "1..999999", "(1,2", "'a", "2,2", "1+", "a b"])
def test_values_that_cannot_be_read(text):
    with pytest.raises(CommandError, match="cannot be read: .*; write it as max_depth=2,5,10"):
        parse_assignments([f"max_depth={text}"], "--grid")


def test_a_fixed_parameter_has_one_value():
    with pytest.raises(CommandError, match="must have one value; use --grid max_depth=2,5"):
        parse_assignments(["max_depth=2,5"], "--param", single=True)
