"""Measurements of scaling: the command, its document, its refusals, what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from scaling_samples import synthetic

import hpcml
from hpcml.cli import main
from hpcml.counterparts import COUNTERPARTS
from hpcml.errors import MeasurementFailed
from hpcml.progress import Progress
from hpcml.scaling import Plan, analysis, document, measure, report, summary, workloads
from hpcml.scaling.launches import Launch

SCRIPT = '''
"""Functions that are measured."""
import os
import time


def half_shared(n, n_workers):
    """Sleep n ms, half of which workers share."""
    time.sleep(n / 1000 * (0.5 + 0.5 / n_workers))
    return n


def differs(n, n_workers):
    return n_workers


def fails(n, n_workers):
    if n_workers == 2:
        raise OSError("the disk is full")


def dies(n, n_workers):
    os._exit(3)


def unpicklable(n, n_workers):
    return lambda: n


def one(n):
    return n
'''


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


# -- what a document says ----------------------------------------------------------------------------------


def test_words_of_two_workers():
    told = summary.sentences(synthetic(lambda p: 0.1 + 0.9 / p))["strong"]
    assert told[0].startswith("2 workers: 1.8") and "% of what this machine can give." in told[0]
    assert told[1].startswith("Karp–Flatt serial fraction 1") and "%)" in told[1]
    assert told[2] == "Amdahl's law is not identified by 2 workers: nothing is said of more."


def test_laws_are_told_where_they_are_identified_and_oversubscription_enters_none():
    times = synthetic(lambda p: 0.1 + 0.9 / p, workers=(1, 2, 4, 8, 16), cores=8)
    result = analysis.analyse(times, "strong")
    s = result.fits["amdahl"].parameters["s"]
    assert s.low < 0.1 < s.high and result.fits["amdahl"].measured_to == 8
    told = " ".join(summary.sentences(times)["strong"])
    assert "16 workers" in told and "this enters no law" in told and "Amdahl's law: s = " in told


def test_weak_scaling_is_scaled():
    found = analysis.analyse(synthetic(lambda p: 1.0, workers=(1, 2, 4, 8), cores=8, mode="weak"), "weak")
    np.testing.assert_allclose(np.exp(found.speedups.logs), [2, 4, 8], rtol=0.02)
    with pytest.raises(ValueError, match="mode must be one that was measured"):
        analysis.analyse(synthetic(lambda p: 1.0), "weak")


def test_starved_samples_are_rejected_and_told():
    times = synthetic(lambda p: 1 / p)
    for sample in times["samples"]:
        if sample["block"] == 0 and sample["p"] == 2:
            sample["share"], sample["seconds"] = 0.5, 2 * sample["seconds"]
    result = analysis.analyse(times, "strong")
    assert (result.n_rejected, result.n_samples) == (3, 48)
    assert result.speedups.n[0] == 21 and result.unfiltered.n[0] == 24
    assert "48 samples in 3 launches, 3 rejected" in summary.text(times)
    starved = synthetic(lambda p: 1 / p, share=0.5)
    assert "not resolved" in summary.text(starved) and "with starved samples 2.0" in summary.text(starved)


def test_more_than_p_times_is_flagged():
    assert "cache or noise" in summary.text(synthetic(lambda p: 1 / p**1.3))


@pytest.mark.require("plots")
def test_one_number_of_workers_has_a_time_and_no_speedup():
    alone = synthetic(lambda p: 0.25, workers=(1,))
    told = summary.sentences(alone)["strong"]
    assert len(told) == 1 and told[0].startswith("1 worker: 2") and told[0].endswith(" ms.")
    assert analysis.half_widths(alone)[0] < 0.03
    assert b"<svg" in report.render(alone, "html") and report.render(alone, "csv")


def test_documents_are_read_back_and_checked(tmp_path):
    path = tmp_path / "d.json"
    whole = synthetic(lambda p: 1 / p)
    path.write_text(document.written(whole))
    assert document.read(path) == whole
    for text, named in [
        ("{", "is no JSON"),
        ("[]", "was not written by hpcml scale"),
        (json.dumps(whole | {"version": 99}), "has version 99 of the format and this hpcml reads 1"),
        (json.dumps({"format": document.FORMAT, "version": 1}), "lacks plan"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=named):
            document.read(path)


# -- what is measured --------------------------------------------------------------------------------------


class Recorded:
    """Stands for started processes: answers at once with seconds that are known, some of them noisy."""

    started: list["Recorded"] = []
    noise = 0.0

    def __init__(self, backend, name, workers):
        self.workers, self.ran, self.prepared = workers, [], []
        Recorded.started.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.ended = True

    def prepare(self, n, workers):
        self.prepared.append((n, tuple(workers)))

    def run(self, n, p, repeat=1):
        self.ran.append(("work", n, p, repeat))
        seconds = 0.04 * n / p * (1 + Recorded.noise * (len(self.ran) % 7))
        return {"seconds": seconds, "share": 1.0, "digest": str(n), "activity": [{}]}

    def spin(self, p, rounds):
        self.ran.append(("spin", 0, p, rounds))
        return {"seconds": rounds * 1e-6, "share": 1.0}


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setattr("hpcml.scaling.measurement.Launch", Recorded)
    monkeypatch.setattr(Recorded, "started", [])


@pytest.mark.parametrize("weak", [False, True])
def test_blocks_are_complete_in_an_order_drawn_anew_and_end_at_the_precision(recorded, monkeypatch, weak):
    told = []
    monkeypatch.setattr(Progress, "relabel", lambda self, label: told.append(label))
    plan = Plan("kmeans", workers=(2,), rows=1, weak=weak, budget=60.0, precision=0.1)
    found = measure(plan, verbose=1)
    assert found["seconds"] < 30 and len(found["launches"]) == 3 == len(Recorded.started)
    assert all(launch.ended and launch.workers == [1, 2] for launch in Recorded.started)
    assert Recorded.started[0].prepared == [(1, (1, 2)), (2, (2,))][: 1 + weak]
    points = [(1, 1), (1, 2), (2, 2)][: 2 + weak]
    complete = sorted([("work", *point) for point in points] + [("spin", 0, 1), ("spin", 0, 2)])
    blocks = {}
    for each in found["samples"]:
        blocks.setdefault((each["launch"], each["block"]), []).append((each["kind"], each["n"], each["p"]))
    assert len(blocks) >= 18 and all(sorted(block) == complete for block in blocks.values())
    assert len({tuple(block) for block in blocks.values()}) > 6  # of 24 or 120 orders
    # samples of 0.1 s at least, warmed: every point runs twice before the first block
    repeats = {(each["n"], each["p"]): each["repeat"] for each in found["samples"] if each["kind"] == "work"}
    assert repeats == dict(zip(points, [3, 5, 3], strict=False))
    for launch in Recorded.started:
        assert launch.ran[: 2 * len(points)] == [("work", *point, 1) for point in points for _ in range(2)]
    assert told and all("±" in each for each in told)


def test_what_is_never_precise_ends_at_the_budget(recorded, monkeypatch):
    monkeypatch.setattr(Recorded, "noise", 0.5)
    found = measure(Plan("kmeans", workers=(2,), rows=1, budget=0.2, precision=0.001), verbose=0)
    assert 0.2 < found["seconds"] < 10 and len(found["launches"]) > 3
    assert "not resolved" in summary.text(found) or not analysis.analyse(found, "strong").resolved


def test_the_command_measures_a_function_and_keeps_every_sample(script, tmp_path, capsys):
    target = tmp_path / "out.json"
    arguments = ["scale", f"{script}:half_shared", "-n", "40", "--budget", "2s", "--json", str(target), "-q"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "half_shared on threads, 40 rows (Sleep n ms, half of which workers share.)" in out
    kept = document.read(target)
    found = analysis.analyse(kept, "strong")
    assert found.unfiltered.at(0).value > 0 and found.n_samples == len(kept["samples"]) // 2
    assert kept["machine"]["versions"]["numpy"] and "git" in kept and kept["plan"]["budget"] == 2
    work = [each for each in kept["samples"] if each["kind"] == "work"]
    assert {each["p"] for each in work} == {1, 2} and all(each["repeat"] >= 1 for each in work)
    assert {each["kind"] for each in kept["samples"]} == {"work", "spin"}


@pytest.mark.parametrize(
    ("function", "named"),
    [
        ("differs", "gives one result on 1 workers and another on 2"),
        ("fails", "fails with 40 rows on 2 workers: OSError: the disk is full"),
        ("dies", "a process that is measured died with exit status 3"),
        (
            "unpicklable",
            "results must be values that can be pickled, so that runs can be compared. Got a function",
        ),
    ],
)
def test_work_that_cannot_be_measured(script, tmp_path, capsys, function, named):
    target = tmp_path / "out.json"
    assert main(["scale", f"{script}:{function}", "-n", "40", "--json", str(target), "-q"]) == 2
    err = capsys.readouterr().err
    assert named in err and err.count("\n") == 1 and not target.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["kmean"], "did you mean kmeans"),
        (["kmeans", "--workers", "0"], "--workers must be whole numbers of at least 1"),
        (["kmeans", "--workers", "1,5000"], "or --allow-oversubscription given"),
        (["kmeans", "--budget", "0s"], "--budget must be a time above 0"),
        (["kmeans", "--budget", ""], "--budget must be a time above 0"),
        (["kmeans", "--precision", "0%"], "--precision must lie between"),
        (["kmeans", "--rows", "0"], "rows must be at least 1"),
        (["kmeans", "--backend", "carrier-pigeons"], "backend must be one of threads"),
        (["kmeans", "--backend", "loky"], "kmeans runs on threads, processes, mpi. Got backend 'loky'"),
        (["forest", "--backend", "processes"], "forest runs on threads, mpi, spark. Got backend 'proc"),
        (["kmeans", "--json", "out.txt"], "the name must end in .json"),
        (["{script}:one"], "must take (n, n_workers)"),
        (["{script}:none"], "holds no function 'none'"),
        (["nowhere.py:f"], "there is no file nowhere.py"),
        ([], "Missing argument"),
    ],
)
def test_wrong_requests_are_one_line(script, capsys, arguments, named):
    found = main(["scale", *(each.format(script=script) for each in arguments or ["run"])])
    err = capsys.readouterr().err
    assert found == 2 and named in err and err.count("\n") == 1, err


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"workers": (0, 2)}, "workers must be numbers of at least 1"),
        ({"workers": ()}, "workers must be numbers of at least 1"),
        ({"workers": (10_000,)}, "allow-oversubscription"),
        ({"budget": 0.0}, "budget must be above 0 seconds"),
        ({"precision": 1.0}, "precision must lie between"),
        ({"sizes": (0,)}, "sizes must be numbers of at least 1"),
        ({"strong": False}, "strong, weak or sizes must be asked for"),
    ],
)
def test_plans_that_cannot_be_measured(wrong, named):
    with pytest.raises(ValueError, match=named):
        Plan("kmeans", **wrong)


def test_the_list_names_every_workload(capsys):
    assert main(["scale", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in workloads.WORKLOADS)
    measured = {f"hpcml.{path}" for path, *_ in workloads._ESTIMATORS.values()}
    assert measured == set(COUNTERPARTS)  # every estimator


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_every_workload_runs_and_gives_equal_results(name):
    run = workloads.WORKLOADS[name].prepare(1500, 0, 1)
    with hpcml.config_context(n_threads=1):
        one = run(1, "threads")
    with hpcml.config_context(n_threads=2):
        two = run(2, "threads")
    np.testing.assert_array_equal(one, two)
    assert len(one)


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("processes", "kmeans"),
        pytest.param("mpi", "kmeans", marks=pytest.mark.require("mpi")),
        pytest.param("mpi", "forest", marks=pytest.mark.require("mpi")),
        pytest.param("loky", "kmeans-grid", marks=pytest.mark.slow),
        pytest.param("spark", "kmeans-grid", marks=[pytest.mark.slow, pytest.mark.require("spark")]),
    ],
)
def test_backends_run_and_leave_nothing(monkeypatch, backend, name):
    if backend == "spark":
        import spark_work

        for variable, value in spark_work.needed().items():
            monkeypatch.setenv(variable, value)
    with hpcml.config_context(n_threads=1):
        here = joblib.hash(workloads.WORKLOADS[name].prepare(3000, 0, 1)(1, "threads"))
    with Launch(backend, name, (2,)) as launch:
        launch.prepare(3000, (2,))
        two = launch.run(3000, 2)
        assert two["digest"] == here and two["seconds"] > 0
        assert launch.spin(2, 1000)["seconds"] > 0
        pids = [told["pid"] for job in launch._jobs.values() for told in job.call("hello")]
    told = two["activity"][0]
    where = "dispatch" if workloads.WORKLOADS[name].backends[backend] == "tasks" else "communication"
    assert told["compute"] > 0 and told[where] > 0
    limit = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_sizes_and_memory():
    plan = Plan("scaler", workers=(1,), sizes=(1000, 2000, 4000, 8000), strong=False, budget=0.3)
    found = measure(plan, verbose=0)
    assert [each["n"] for each in found["peaks"]] == [1000, 2000, 4000, 8000]
    assert all(each["bytes"] >= 0 for each in found["peaks"])
    sizes = analysis.analyse_sizes(found)
    assert sizes.p == 1 and sizes.n == (1000, 2000, 4000, 8000)
    kept = [
        each
        for each in found["samples"]
        if each["kind"] == "work" and (each["launch"], each["block"], 1) not in analysis.starved(found)
    ]
    assert sizes.seconds.n.sum() == len(kept)


def test_a_measurement_that_is_ended_leaves_nothing(script, tmp_path):
    """By SIGTERM, while what it measures is being started."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    command = [sys.executable, "-c", "import sys; from hpcml.cli import main; sys.exit(main())"]
    started = subprocess.Popen(
        [*command, "scale", f"{script}:half_shared", "-n", "1000"],
        env=os.environ | {"TMPDIR": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(folder.glob("hpcml-scaling-*")):
        assert started.poll() is None, started.stderr.read()
        time.sleep(0.001)
    started.send_signal(signal.SIGTERM)
    assert started.wait(60) == 143
    assert list(folder.iterdir()) == [] and "Traceback" not in started.stderr.read()


def test_a_launch_that_does_not_start_says_why(monkeypatch):
    monkeypatch.setattr("hpcml.scaling.launches.sys.executable", "/bin/false")
    with pytest.raises(MeasurementFailed, match="did not start: it said nothing"):
        Launch("threads", "kmeans", (1,))
