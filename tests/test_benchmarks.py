"""The benchmarks run, at a size at which they measure nothing."""

import json
import math
import mmap
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

ROOT = Path(__file__).parent.parent
if not (ROOT / "benchmarks").is_dir():
    pytest.skip(
        "the benchmarks are not beside the tests; run the tests in a checkout", allow_module_level=True
    )
sys.path.insert(0, str(ROOT))

import hpcml  # noqa: E402
from benchmarks import __main__ as runner  # noqa: E402
from benchmarks import exchange, kinds, measure, memory, report  # noqa: E402
from benchmarks.cases import CASES  # noqa: E402
from benchmarks.data import classes, numbers  # noqa: E402
from benchmarks.peers import PEERS, Forest, Peer  # noqa: E402
from benchmarks.work import Fit  # noqa: E402


def quiet(**changes):
    return measure.Options(**{"rounds": 2, "scale": 0.001, "jobs": (1,), "say": lambda text: None, **changes})


def values(data):
    return data.X.data if sparse.issparse(data.X) else data.X


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_declared_whole(name):
    case = CASES[name]
    if isinstance(case, kinds.Scaling):
        assert list(case.sizes) == sorted(case.sizes)
        case = case.case(case.sizes[0])
    assert case.peers[0] == "hpcml" and set(case.peers) <= set(PEERS)
    assert set(getattr(case, "targets", {})) <= set(case.peers)
    try:
        data = case.data(1, 0.001)
    except FileNotFoundError as error:
        assert "HPCML_DATA" in str(error)
        return
    assert data.X.shape[0] == len(data.y) >= 300 and data.X_test.shape[0] == len(data.y_test) > 0
    X, again, other = (values(case.data(seed, 0.001)) for seed in (1, 1, 2))
    assert np.isfinite(X).all() and len(np.unique(data.y)) > 1
    np.testing.assert_array_equal(X, again)
    assert not np.array_equal(X, other)


def test_the_readme_names_every_case():
    text = (ROOT / "benchmarks" / "README.md").read_text()
    for name, case in CASES.items():
        assert f"`{name}`" in text or isinstance(case, kinds.Accuracy)


@pytest.mark.parametrize("name", [name for name in PEERS if name not in ("faiss", "dask")])  # without forests
def test_every_installed_peer_fits_and_says_its_version(name):
    peer = PEERS[name]
    if peer.version() is None:
        pytest.skip(f'{peer.module} is not installed: python -m pip install "hpcml[peers]"')
    work = Fit(Forest("classifier", 3, 3, "sqrt"))
    data = classes(300, 20)(0, 1.0)
    fitted = work.prepare(peer, data, 1, 0)()
    assert 0.3 < work.quality(fitted, data)[0] <= 1


def test_a_speed_case_gives_samples_ratios_and_verdicts():
    case = kinds.Speed(
        "tiny",
        "tiny",
        numbers(300, 12),
        Fit(Forest("regressor", 3, 3, "all")),
        ("hpcml", "sklearn"),
        {"sklearn": 1e9},
    )
    measured = measure.measure_speed(case, quiet(jobs=(1, 2)))
    ours, theirs = measured["results"]
    assert 1 <= len(ours["samples"]) <= 2 and {each["n_jobs"] for each in theirs["variants"]} == {1, 2}
    assert theirs["ratio"] == theirs["median"] / ours["median"] and theirs["met"] is False
    table = report.tables([measured])[0]
    assert table.row_count == 2


def test_a_peer_that_is_not_there_or_fails_is_told_of_and_the_others_run(monkeypatch):
    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setitem(PEERS, "xgboost", Peer("absent", "no_such_module", "none", fail))
    monkeypatch.setitem(PEERS, "lightgbm", Peer("broken", "sklearn", "scikit-learn", fail))
    case = kinds.Speed(
        "tiny",
        "tiny",
        numbers(300, 12),
        Fit(Forest("regressor", 3, 3, "all")),
        ("lightgbm", "xgboost", "sklearn"),
    )
    measured = measure.measure_speed(case, quiet())
    broken, absent, present = measured["results"]
    assert (
        absent["skipped"] == "no_such_module is not installed" and broken["skipped"] == "RuntimeError: broken"
    )
    assert len(present["samples"]) == 2
    assert len(report.not_run([measured])) == 2 and report.tables([measured])[0].row_count == 3


def test_the_budget_ends_sampling_but_never_before_the_first(monkeypatch):
    entry = measure._Entry("sklearn", 1, lambda: None)
    measure._rounds("tiny", [entry], quiet(rounds=5, budget=0.0))
    assert len(entry.samples) == 1


def test_difference_is_judged_by_the_noise_of_the_seeds():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (2, 5, 3))
    assert measure._difference(noise[0], noise[1], 0.0)["met"]
    assert not measure._difference(noise[0] + 0.1, noise[1], 0.0)["met"]
    assert measure._difference(noise[0] + 0.1, noise[1], 0.2)["met"]
    assert measure._difference(noise[0] * 0, noise[0] * 0, 0.0)["met"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
def test_peak_memory_is_that_of_the_work_alone(monkeypatch):
    class Greedy(Fit):
        def prepare(self, peer, data, n_jobs, seed):
            # pages of its own: an array may be given memory that this process has held and freed before
            size = 40_000_000 if len(data.X) > 500 else 1
            return lambda: np.frombuffer(mmap.mmap(-1, size), dtype=np.uint8).fill(1)

    case = kinds.Memory(
        "tiny", "tiny", numbers(1000, 12), Greedy(Forest("regressor", 1, 1, "all")), ("sklearn",)
    )
    monkeypatch.setitem(CASES, "tiny", case)
    found = memory._alone("tiny", "sklearn", 1.0, 0)
    assert 30e6 < found["peak"] - found["before"] < 80e6
    assert found["values"] == 12_000


def test_the_runner_prints_tables_and_writes_samples_with_the_machine(monkeypatch, tmp_path, capsys):
    work = Fit(Forest("regressor", 2, 2, "all"))
    pair = ("hpcml", "sklearn")
    tiny = {
        "speed": kinds.Speed("speed", "tiny", numbers(300, 12), work, pair),
        "scaling": kinds.Scaling(
            "scaling",
            "tiny",
            "rows",
            (300, 600),
            lambda n: kinds.Speed(f"n{n}", "", numbers(n, 12), work, pair),
        ),
        "accuracy": kinds.Accuracy("accuracy", "tiny", numbers(300, 12), work, pair, n_seeds=2),
    }
    monkeypatch.setattr(runner, "CASES", tiny)
    path = tmp_path / "results.json"
    assert runner.main(["--rounds", "2", "--jobs", "1", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "Speed:" in out and "Scaling:" in out and "Accuracy:" in out and "scikit-learn" in out
    content = json.loads(path.read_text())
    assert content["machine"]["cores_usable"] >= 1
    speed, scaling, accuracy = content["measured"]
    assert all(math.isfinite(each) for each in speed["results"][1]["samples"])
    assert scaling["growth"]["sklearn"][0] == 1 and len(accuracy["results"][1]["scores"]) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--only", "nothing"], "no such case"), (["--rounds", "0"], "--rounds"), (["--jobs", "x"], "--jobs")],
)
def test_wrong_command_lines(capsys, arguments, says):
    assert runner.main(arguments) == 2
    assert says in capsys.readouterr().err


def test_a_family_of_cases_is_chosen_by_its_name():
    assert runner._chosen(["memory", "memory-airbnb", "rows"]) == ["memory", "memory-airbnb", "rows"]
    assert runner._chosen(["predict"]) == ["predict-classes", "predict-numbers"]


def test_the_list_names_every_case(capsys):
    assert runner.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(CASES)


def test_the_cost_of_a_communicator_is_measured_beside_one_process(monkeypatch):
    monkeypatch.setattr(exchange, "ROUNDS", 2)
    monkeypatch.setattr(exchange, "ITERATIONS", 3)
    with hpcml.config_context(communicator="processes", n_workers=2, n_threads=1):
        found = exchange.measure()
    assert list(found) == list(exchange.STEPS)
    for samples in found.values():
        assert list(samples) == ["processes", "serial, 1 thread"]
        assert all(len(times) == 6 and min(times) > 0 for times in samples.values())
