"""Reports of scaling: what they hold, that they ask for nothing, and that a browser shows them whole."""

import csv
import io
import json
import re
import shutil
import subprocess
import time

import numpy as np
import pytest
from scaling_samples import synthetic

import hpcml
from hpcml import activity, communicators
from hpcml.cli import main
from hpcml.scaling import document, figures, report, summary
from hpcml.scaling.breakdown import PARTS, breakdown

pytestmark = pytest.mark.require("plots")

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: What the page is asked in the browser: is every figure there, drawn, inside the window?
PROBE = """
<script>
window.addEventListener("load", () => {
  const plots = [...document.querySelectorAll("figure svg")].map(svg => {
    const box = svg.getBoundingClientRect();
    return {id: svg.parentElement.id, paths: svg.querySelectorAll("path").length,
            width: box.width, height: box.height, right: box.right};
  });
  document.body.innerHTML += "<pre id=probe>" + JSON.stringify({
    plots, window: innerWidth, wide: document.documentElement.scrollWidth,
    requests: performance.getEntriesByType("resource").map(entry => entry.name),
  }) + "</pre>";
});
</script>
"""


def measured():
    """Return a document with everything that a report can show."""
    whole = synthetic(lambda p: 0.1 + 0.9 / p, workers=(1, 2, 4, 8, 16), cores=8)
    for i, sample in enumerate(whole["samples"]):
        if sample["kind"] == "work":
            T = sample["seconds"]
            sample["activity"] = [
                {"compute": T * (0.8 - 0.1 * rank / sample["p"]), "communication": 0.1 * T, "dispatch": 0.0}
                for rank in range(sample["p"])
            ]
        if i % 40 == 7:
            sample["share"] = 0.5
    return whole


def test_every_format_is_whole():
    whole = measured()
    page = report.render(whole, "html").decode()
    assert json.loads(report.render(whole, "json")) == whole
    rows = list(csv.DictReader(io.StringIO(report.render(whole, "csv").decode())))
    assert len(rows) == len(whole["samples"]) and float(rows[0]["seconds"]) > 0
    assert report.render(whole, "png").startswith(b"\x89PNG")
    text = report.render(whole, "markdown").decode()
    for part in ("Karp–Flatt serial fraction", "Amdahl's law", "where the time goes", "95 % intervals"):
        assert part in text
    assert page.count("<svg") == len(figures.all_figures(whole)) == 5
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page.replace("xlink:href", "href"))
    # identifiers of one figure are not those of another
    marks = re.findall(r'<(?:path|clipPath) id="(m?p?[0-9a-f]{10})"', page)
    assert len(marks) == len(set(marks))


def test_names_from_outside_are_escaped():
    whole = measured()
    whole["plan"]["workload"] = "<script>alert(1)</script>"
    assert "<script>" not in report.render(whole, "html").decode()


def test_time_is_shared_out():
    whole = measured()
    told = summary.text(whole)
    assert "Time of 2 workers: " in told and "% imbalance" in told and "load balance" in told
    for each in breakdown(whole, "strong"):
        assert set(each.parts) == set(PARTS) and sum(each.parts.values()) == pytest.approx(1)
        assert 0 < each.pop["parallel_efficiency"] <= 1
    assert breakdown(synthetic(lambda p: 1 / p), "strong") == []


@pytest.mark.parametrize("communicator", ["serial", "processes"])
def test_communicators_report_what_they_do(communicator):
    from hpcml.cluster import KMeans

    X = np.random.default_rng(0).random((6000, 4))
    with (
        hpcml.config_context(communicator=communicator, n_workers=2, n_threads=1),
        activity.recorded() as spent,
    ):
        KMeans(4, n_init=1, random_state=0).fit(X)
    assert spent["compute"] > 0
    assert (spent["communication"] > 0) == (communicator == "processes")


def _longer_for_the_last_rows(X, number):
    if number[-1] == 5999:
        time.sleep(0.2)
    return {"n": np.ones((1,)) * len(X)}


def test_imbalance_of_processes_is_told_from_communication():
    """Rank 1 sleeps 0.2 s in its kernel: the mean of both is compute, the rest of it imbalance."""
    X = np.zeros((6000, 1))
    with (
        hpcml.config_context(communicator="processes", n_workers=2, n_threads=1),
        communicators.current() as communicator,
        communicator.put(X=X, number=np.arange(6000)) as table,
        activity.recorded() as spent,
    ):
        started = time.perf_counter()
        assert table.map_reduce(_longer_for_the_last_rows)["n"] == 6000
        whole = time.perf_counter() - started
    longest = spent["compute"] + spent["imbalance"]
    assert longest >= 0.2 and spent["imbalance"] > 0
    assert spent["communication"] <= whole - longest + 1e-3


def test_time_of_threads_inside_kernels_is_the_processors():
    told = {"compute": 0.9, "communication": 0.0, "dispatch": 0.0}
    sample = {"kind": "work", "n": 9, "p": 2, "seconds": 1.0, "share": 0.75, "activity": [told]}
    plan = {"workers": [2], "backend": "threads"}
    whole = {"rows": 9, "plan": plan, "machine": {"cores_usable": 2}, "samples": [sample]}
    parts = breakdown(whole, "strong")[0].parts
    # 1.5 s of processor time: 0.1 s serial, 1.4 s of two threads in kernels that took 2 x 0.9 s
    assert parts["compute"] == pytest.approx(0.7) and parts["imbalance"] == pytest.approx(0.2)
    assert parts["serial"] == pytest.approx(0.1)
    # 1.9 s of processor time and 0.6 s in kernels: two threads computed for 0.3 s that no kernel told of
    told, sample["share"] = told | {"compute": 0.6}, 0.95
    sample["activity"] = [told]
    parts = breakdown(whole, "strong")[0].parts
    assert parts["compute"] == pytest.approx(0.9) and parts["imbalance"] == 0
    starving = {"kind": "spin", "n": 0, "p": 2, "seconds": 1.0, "share": 0.5}
    at = {"launch": 0, "block": 0}
    assert breakdown(whole | {"samples": [sample | at, starving | at]}, "strong") == []


def test_reports_of_a_file(tmp_path, capsys):
    source, page = tmp_path / "d.json", tmp_path / "d.html"
    source.write_text(document.written(measured()))
    assert main(["scale", "report", str(source), "--html", str(page)]) == 0
    assert page.read_text().startswith("<!DOCTYPE html>") and "2 workers" in capsys.readouterr().out
    source.write_text(json.dumps(measured() | {"version": 7}))
    assert main(["scale", "report", str(source), "--html", str(tmp_path / "e.html")]) == 2
    err = capsys.readouterr().err
    assert "has version 7" in err and err.count("\n") == 1 and not (tmp_path / "e.html").exists()


@pytest.mark.skipif(BROWSER is None, reason="there is no browser: apt-get install chromium")
@pytest.mark.parametrize("width", [1400, 500])
def test_a_browser_draws_every_figure_and_asks_for_nothing(tmp_path, width):
    whole = measured()
    page = report.render(whole, "html").decode().replace("</head>", PROBE + "</head>")
    path = tmp_path / "report.html"
    path.write_text(page)
    switches = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom --timeout=20000"
    )
    command = [
        BROWSER,
        *switches.split(),
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},2000",
        path.as_uri(),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="probe">(.*?)</pre>', ran.stdout, re.DOTALL)
    assert found, ran.stderr[-2000:]
    told = json.loads(found[1])
    assert {each["id"] for each in told["plots"]} == set(figures.all_figures(whole))
    for each in told["plots"]:
        assert each["paths"] > 10 and each["width"] > 200 and each["height"] > 100
        assert each["right"] <= told["window"]
    assert told["requests"] == [] and told["wide"] <= told["window"]
    assert "CONSOLE" not in ran.stderr, ran.stderr[-2000:]
