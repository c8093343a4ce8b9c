"""Progress: silent, plain lines that do not flood, a bar on a terminal."""

import io
import os
import re
import subprocess
import sys

import pytest
from sklearn.linear_model import Ridge

from hpcml import progress
from hpcml.model_selection import GridSearchCV
from hpcml.progress import Progress


class Clock:
    """Stands for time.monotonic."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def test_silent_at_verbose_0(capsys, clock):
    with Progress(5, "fits", verbose=0) as shown:
        for _ in range(5):
            clock.now += 100
            shown.advance()
    assert capsys.readouterr() == ("", "")
    assert shown.done == 5


def test_a_line_at_most_every_30_seconds(capsys, clock):
    with Progress(200, "fits", verbose=1) as shown:
        for _ in range(120):
            clock.now += 1
            shown.advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "fits: 30 of 200, about 2 min 50 s left",
        "fits: 60 of 200, about 2 min 20 s left",
        "fits: 90 of 200, about 1 min 50 s left",
        "fits: 120 of 200, about 1 min 20 s left",
    ]


def test_what_was_done_before_does_not_make_it_look_fast(capsys, clock):
    with Progress(100, "fits", verbose=1) as shown:
        shown.skip(90)
        clock.now += 40
        shown.advance(5)
        clock.now += 40
        shown.advance(5)
    assert capsys.readouterr().err.splitlines() == ["fits: 95 of 100, about 40 s left", "fits: 100 of 100"]


def test_long_durations(capsys, clock):
    with Progress(1000, "fits") as shown:
        clock.now += 60
        shown.advance(2)
    assert capsys.readouterr().err == "fits: 2 of 1000, about 8 h 19 min left\n"


def test_an_error_passes_through(clock):
    with pytest.raises(KeyboardInterrupt), Progress(2, "fits"):
        raise KeyboardInterrupt


def test_no_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with Progress(2, "fits", verbose=1) as shown:
        shown.advance(2)
    assert shown.done == 2


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self):
        return True


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(4, "fits") as shown:
        shown.advance(3)
        shown._bar.refresh()
        print("on stdout")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "fits" in text and "3/4" in text
    assert capsys.readouterr().out == "on stdout\n"


def test_searches_say_what_they_do_on_stdout_and_progress_on_stderr(monkeypatch, capsys):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    X = [[float(i)] for i in range(12)]
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2, verbose=1)
    search.fit(X, range(12))
    out, err = capsys.readouterr()
    assert out == "Fitting 2 folds for each of 2 candidates, totalling 4 fits\n"
    assert [line.partition(",")[0] for line in err.splitlines()] == [f"fits: {n} of 4" for n in (1, 2, 3, 4)]
    search.set_params(verbose=0).fit(X, range(12))
    assert capsys.readouterr() == ("", "")


def test_rich_is_loaded_for_a_terminal_only():
    code = "import sys, hpcml.progress as p\nwith p.Progress(1, 'x') as b:\n    b.advance()\n"
    code += "print('rich' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "False\n"
