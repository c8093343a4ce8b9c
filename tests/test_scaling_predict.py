"""Predictions, replays, comparisons, loads and the pytest fixture."""

import heapq
import itertools
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scaling_samples import synthetic

from hpcml.cli import main
from hpcml.scaling import document, figures, laws, measurement, networks, report, summary
from hpcml.scaling.compare import compare
from hpcml.scaling.load import measure_load
from hpcml.scaling.predict import FarmCosts, predict, predict_farm, replay

ROOT = Path(__file__).parent.parent


# -- replay ------------------------------------------------------------------------------------------------


def test_replay_lies_within_grahams_bounds():
    rng = np.random.default_rng(0)
    for n, p in itertools.product((1, 7, 100), (1, 2, 5, 64)):
        times = rng.lognormal(0, 1, n)
        least, most = laws.farm_bounds(times.tolist(), p)
        assert least - 1e-9 <= replay(times, p) <= most + 1e-9
        with_costs = replay(times, p, dispatch=0.1, overhead=0.2)
        assert with_costs >= laws.farm_with_dispatch(times.tolist(), p, 0.1, 0.2) - 1e-9


def test_replay_is_list_scheduling():
    rng = np.random.default_rng(1)
    times = rng.random(50)
    free = [0.0] * 3
    for each in times:
        heapq.heapreplace(free, free[0] + each)
    assert replay(times, 3) == pytest.approx(max(free))
    # four workers whose overheads of 1 s take turns on two cores begin at 0, 0, 1 and 1 s
    assert replay([1.0] * 4, 4, overhead=1.0, cores=2) == 3.0 and replay([1.0] * 4, 4, overhead=1.0) == 2.0
    # if they compute for half of it, at 0, 0, 0.5 and 0.5 s
    assert replay([1.0] * 4, 4, overhead=1.0, computing=0.5, cores=2) == 2.5
    assert replay(times, 10**12) == times.max()
    assert replay([], 3) == 0.0 and replay(times, 1) == pytest.approx(times.sum())


def test_intervals_of_farms_cover_what_their_costs_draw():
    """A farm whose costs are drawn from one distribution, predicted from other draws of it."""
    rng = np.random.default_rng(2)

    def drawn(n):
        start, end = rng.lognormal(0, 0.5, 2) * (0.02, 0.05)
        return FarmCosts(*(scale * rng.lognormal(0, 0.5, n) for scale in (0.002, 0.01)), start, end)

    covered = []
    for seed in range(24):
        times, known, true = rng.random(64), [drawn(6) for _ in range(40)], drawn(64)
        found = predict_farm(times, 16, known, spread=0.0, seed=seed)
        measured = replay(times, 16, **vars(true))
        covered.append(found.low <= measured <= found.high)
    assert np.mean(covered) >= 0.9
    assert predict_farm(times, 16, spread=0.0).high < measured  # without its costs it would be too fast


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: replay([1.0], 0), "p must be at least 1"),
        (lambda: replay([-1.0], 1), "times must be at least 0"),
        (lambda: replay([1.0], 1, dispatch=-1), "dispatch must be at least 0"),
        (lambda: replay([1.0, 1.0], 1, overhead=[0.1, -0.1]), "overhead must be at least 0"),
        (lambda: replay([1.0], 1, cores=0), "cores must be at least 1"),
        (lambda: replay([1.0], 1, computing=1.5), "computing must lie between 0 and 1"),
        (lambda: replay([1.0], 2.5), "p must be a whole number of at least 1. Got 2.5"),
        (lambda: FarmCosts(overhead=[]), "overhead must hold at least one sample"),
        (lambda: predict_farm([1.0], 5000), "p must lie between 1 and 4096"),
        (lambda: networks.network("string-and-cans"), "network must be one of infiniband"),
        (lambda: networks.Network("mine", (2.0, 1.0), (0.0, 0.0)), "alpha must be a range"),
    ],
)
def test_wrong_arguments_are_named(call, named):
    with pytest.raises((TypeError, ValueError), match=named):
        call()


def test_sleeping_processes_are_predicted_and_run(monkeypatch):
    """Real processes and real dispatch; `benchmarks.validate` judges the errors, on a machine at rest."""
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not beside the tests; run the tests in a checkout")
    sys.path.insert(0, str(ROOT))
    from benchmarks.validate import CALLS, table, validate

    monkeypatch.setitem(CALLS, "multiprocessing", (6, 0.01, 0.02))
    rows = validate("multiprocessing", [16], sets=1, tasks_a_worker=2)
    assert [each.tasks for each in rows] == [32] and "intervals hold what was measured" in table(rows)
    for each in rows:  # nobody sleeps less than asked
        assert each.measured > 0.5 * each.predicted and each.low <= each.predicted <= each.high


def test_measurements_become_a_table(tmp_path):
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not beside the tests; run the tests in a checkout")
    sys.path.insert(0, str(ROOT))
    from benchmarks.scaling_table import documents, table

    whole = fitted()
    whole["plan"] |= {"workload": "kmeans", "backend": "mpi"}
    one, suite = tmp_path / "one.json", tmp_path / "suite.json"
    one.write_text(document.written(whole))
    suite.write_text(json.dumps({"benchmarks": [], "hpcml_scaling": [whole, whole]}))
    lines = table(documents([one, suite])).splitlines()
    assert len(lines) == 5 and lines[2].startswith("| kmeans | mpi (rows) | 300,000 | 1.007 s |")
    assert "| 1.98 (" in lines[2] and "| 48 of 48 |" in lines[2]
    assert len(table([whole], "weak").splitlines()) == 2  # it was not measured
    grown = synthetic(lambda p: 1.0, mode="weak")
    grown["plan"] |= {"workload": "kmeans", "backend": "mpi"}
    (line,) = table([whole, grown], "weak").splitlines()[2:]
    assert line.startswith("| kmeans | mpi (rows) | 1,000 | 0.997 s | 2.00 (1.98")


# -- the model of components -------------------------------------------------------------------------------


def fitted(rows=300_000, serial=0.01, compute=1.0, sums=20, sum_bytes=20 * 8192):
    """Return a strong measurement of a fit that reports its kernels and sums."""
    whole = synthetic(lambda p: serial + compute / p)
    whole["rows"] = rows
    for sample in whole["samples"]:
        if sample["kind"] == "work":
            p, sample["n"] = sample["p"], rows
            told = {"compute": compute / p, "communication": 0.0, "dispatch": 0.0}
            sample["activity"] = [told | {"sums": sums, "sum_bytes": sum_bytes}]
    return whole


def test_components_add_up():
    exact = networks.Network("exact", (1e-3, 1e-3), (0.0, 0.0), (0.0, 0.0))
    found = predict(fitted(), [1, 2, 64, 256, 4096], exact)
    by = {each["p"]: each for each in found["rows"]}
    assert found["label"] == "predicted, not measured" and found["shards"] == 256
    assert by[1]["speedup"] == pytest.approx(1, abs=0.01)
    # 20 sums of ⌈lg 64⌉ messages of 1 ms each, 4 of 256 shards, 0.01 s serial
    assert by[64]["exchange_seconds"] == pytest.approx(0.12)
    assert by[64]["seconds"] == pytest.approx(0.01 + 4 / 256 + 0.12, rel=0.1)
    # no more workers than shards compute
    assert by[4096]["seconds"] > by[256]["seconds"]
    for each in found["rows"]:
        assert each["low"] <= each["speedup"] <= each["high"]


def test_a_wider_network_widens_the_interval_and_everything_is_labelled():
    wide = predict(fitted(), [64], networks.network("ethernet-10g"))["rows"][0]
    narrow = predict(fitted(), [64], networks.network("infiniband"))["rows"][0]
    assert wide["high"] / wide["low"] > narrow["high"] / narrow["low"]
    whole = fitted() | {"prediction": predict(fitted(), [64], networks.network("infiniband"))}
    assert "Predicted, not measured, for the network infiniband" in summary.text(whole)


def test_nothing_is_predicted_from_rejected_samples():
    whole, exact = fitted(), networks.network("infiniband")
    for sample in whole["samples"]:
        if sample["launch"] == 0:  # slow, while something else had the cores
            sample |= {"share": 0.5, "seconds": 10 * sample["seconds"]}
    right = predict(fitted(), [2], exact)["rows"][0]["seconds"]
    assert predict(whole, [2], exact)["rows"][0]["seconds"] == pytest.approx(right, rel=0.02)
    for sample in whole["samples"]:
        sample["share"] = 0.5
    whole["prediction"] = predict(whole, [64], exact)
    assert "Nothing can be predicted: every sample of 1 worker was rejected." in summary.text(whole)
    assert "Predicted, not measured" not in report.tables(whole)
    labels = []
    measurement._relabel(whole, SimpleNamespace(relabel=labels.append))
    measurement._relabel(whole, SimpleNamespace(relabel=labels.append), late=True)
    assert labels[0] == "w: 48 of 48 samples rejected, seconds of the budget"
    assert "every sample so far was rejected, something else uses the cores" in labels[1]


@pytest.mark.require("plots")
def test_charts_without_accepted_samples_say_so():
    whole = synthetic(lambda p: 1.0 / p, share=0.5)
    drawn = {name: draw() for name, (_, draw) in figures.all_figures(whole).items()}
    for name in ("strong-speedup", "strong-efficiency", "karp-flatt"):
        assert [each.get_text() for each in drawn[name].axes[0].texts] == ["no accepted samples"]
    told = [each.get_text() for each in drawn["noise"].axes[0].get_legend().get_texts()]
    assert told == ["rejected work", "rejected calibration spin"]


def test_what_cannot_be_predicted_is_refused():
    with pytest.raises(ValueError, match="predict must be asked for 1 to 4096 workers"):
        predict(fitted(), [5000], networks.network("infiniband"))
    with pytest.raises(ValueError, match="report kernels and sums over rows"):
        predict(synthetic(lambda p: 1 / p), [64], networks.network("infiniband"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["kmeans", "--predict", "64"], "--predict and --network go together"),
        (["kmeans", "--predict", "64", "--network", "wet-string"], "network must be one of"),
        (["kmeans", "--predict", "5000", "--network", "infiniband"], "--predict must be at most 4096"),
        (["kmeans", "--weak", "--predict", "64", "--network", "infiniband"], "add --strong"),
        (["forest", "--predict", "64", "--network", "infiniband"], "knows fits whose workers share rows"),
        (["kmeans-grid", "--backend", "loky", "--predict", "4", "--network", "infiniband"], "shares tasks"),
        (["predict-load", "kmeans-predict", "--callers", "0"], "--callers must be whole numbers"),
        (["predict-load", "kmeans-predict", "--rows", "0"], "rows must be at least 1"),
        (["compare", "nowhere.json", "nowhere.json"], "nowhere.json cannot be read"),
    ],
)
def test_wrong_requests_are_one_line(capsys, arguments, named):
    assert main(["scale", *arguments]) == 2
    err = capsys.readouterr().err
    assert named in err and err.count("\n") == 1, err


# -- comparisons -------------------------------------------------------------------------------------------


def test_comparisons_decide_on_intervals(tmp_path, capsys):
    old, new, other = (tmp_path / name for name in ("old.json", "new.json", "other.json"))
    old.write_text(document.written(synthetic(lambda p: 1 / p)))
    new.write_text(document.written(synthetic(lambda p: 1.1 / p)))
    other.write_text(document.written(synthetic(lambda p: 1 / p) | {"machine": {"cpu": "another"}}))
    assert main(["scale", "compare", str(old), str(old)]) == 0
    assert main(["scale", "compare", str(old), str(new)]) == 1
    told = capsys.readouterr()
    assert "1,000 rows on 2 workers: 1.1" in told.out and "slower than" in told.err
    assert told.err.count("\n") == 1
    assert main(["scale", "compare", str(old), str(new), "--fail-if-slower", "20%"]) == 0
    assert main(["scale", "compare", str(new), str(old)]) == 0  # faster
    capsys.readouterr()
    assert main(["scale", "compare", str(old), str(other)]) == 2
    assert "of one processor" in capsys.readouterr().err
    few = synthetic(lambda p: 1 / p, launches=1, blocks=2)
    assert "not resolved" in str(compare(few, few)[0])


# -- concurrent callers ------------------------------------------------------------------------------------


def test_loads(capsys):
    found = measure_load("forest-predict", [1, 3], rows=20, seconds=0.3)
    for each in found:
        assert each.calls > 0 and 0 < each.p50 <= each.p99
        assert each.rows_a_second == pytest.approx(20 * each.calls_a_second)
    assert main(["scale", "predict-load", "scaler-predict", "--callers", "1", "--seconds", "0.1s"]) == 0
    assert "1 callers: " in capsys.readouterr().out


# -- the fixture -------------------------------------------------------------------------------------------

SUITE = """
import time

import pytest


def work(n, n_workers):
    time.sleep(n / 1000 / n_workers)
    return n


def test_scales(benchmark, scaling):
    scaling.measure(work, n=40, budget=1.2)
    try:
        scaling.assert_efficiency(p=2, at_least=1e-6, of="workers")
    except AssertionError as error:  # a machine that others use too
        assert "not resolved" in str(error)
    with pytest.raises(AssertionError, match="efficiency at p = 2"):
        scaling.assert_efficiency(p=2, at_least=1e6)
    with pytest.raises(ValueError, match="p must be one of"):
        scaling.assert_efficiency(p=3, at_least=0.5)
    benchmark.pedantic(work, (1, 1), rounds=1)


def test_refusals(scaling):
    with pytest.raises(ValueError, match="must come before"):
        scaling.assert_efficiency(p=2, at_least=0.5)
    with pytest.raises(TypeError, match="top of a file"):
        scaling.measure(lambda n, p: n, n=1)
"""


def test_the_fixture_asserts_and_publishes(tmp_path):
    (tmp_path / "test_suite.py").write_text(SUITE)
    installed = any(each.value == "hpcml.pytest_plugin" for each in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "hpcml.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "--benchmark-json=out.json", "test_suite.py"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=alone, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads((tmp_path / "out.json").read_text())
    assert "work on threads, 40 rows" in told["benchmarks"][0]["extra_info"]["scaling"]
    assert told["hpcml_scaling"][0]["format"] == document.FORMAT
