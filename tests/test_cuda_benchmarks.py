"""The benchmarks for a GPU run, with the CPU in its place, at a size at which they measure nothing."""

import json

import numpy as np
import pytest
from cuda_host.driver import on_host
from test_benchmarks import ROOT

from benchmarks import gpu, gpu_cases, gpu_peers
from hpcml.kernels import contract
from hpcml.kernels.cuda import driver

CASES = {case.name: case for case in gpu_cases.CASES}


def test_all_cases_are_measured_beside_what_the_card_can_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(gpu_peers.LIBRARIES, "CuPy", lambda: gpu_peers.ArrayLibrary(np))
    path = tmp_path / "found.json"
    with on_host() as device:
        assert gpu.main(["--scale", "1e-5", "--rounds", "1", "--json", str(path)]) == 0
    for kernel in ("copy_words", "multiply_add_float", "multiply_add_double", "losses_float", "start_rows"):
        assert device.launched[kernel] > 0
    found = json.loads(path.read_text())
    assert set(found["rates"]) == {"copy", "float32", "float64"} and min(found["rates"].values()) > 0
    assert [each["case"] for each in found["measured"]] == list(CASES)
    for each in found["measured"]:
        assert set(CASES[each["case"]].targets) - {"PyTorch"} == set(each["met"])
        assert each["bound"] > 0 and each["medians"]["hpcml"] > 0
    text = capsys.readouterr().out
    assert "CuPy" in text and "share of bound" in text and device.name in text


def test_the_crossover_is_the_size_from_which_the_gpu_stays_faster(monkeypatch, capsys):
    times = iter([0.0, 9.0, 9.0, 10.0, 10.0, 12.0, 12.0, 13.0, 13.0, 14.0, 14.0, 16.0])
    case = gpu_cases.GpuCase("tiny", "tiny", 100, 2, lambda X, name: lambda: None, None, ("grow",))
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: next(times))
    # the GPU takes 9, 2, 1 s, the processor 1, 1, 2
    found = gpu.crossover(case, (10, 100, 1000), 1)
    assert found["from"] == 1000 and found["medians"][100] == {gpu.OURS: 2.0, gpu.PROCESSOR: 1.0}
    monkeypatch.undo()
    monkeypatch.setattr(gpu, "SIZES", (200,))
    with on_host():
        assert gpu.main(["--crossover", "--only", "mixture", "--rounds", "1", "--scale", "0.001"]) == 0
    assert '"gaussian_step": ' in capsys.readouterr().out


def test_thresholds_are_of_kernels_that_the_gpu_has():
    for case in CASES.values():
        assert all("cuda" not in contract.KERNELS[name].declined for name in case.kernels)
    text = (ROOT / "benchmarks" / "README.md").read_text()
    assert all(f"`{name}`" in text for name in CASES)


@pytest.mark.parametrize("library", [gpu_peers.ArrayLibrary(np)], ids=["NumPy"])
def test_other_libraries_compute_the_same(library, monkeypatch):
    monkeypatch.setattr(gpu_peers, "MOST_ENTRIES", 900)  # several chunks
    monkeypatch.setitem(gpu_peers.LIBRARIES, "CuPy", lambda: library)
    for name in ("kmeans", "mixture", "logistic"):
        case = CASES[name]
        X = case.table(70)
        found = [np.asarray(part) for part in case.prepare(X, "CuPy")()]
        (expected,) = case.prepare(X, gpu_cases.PROCESSOR)()
        size = found[0].size
        if name == "kmeans":
            np.testing.assert_allclose(expected[:size], found[0].ravel(), atol=1e-4)
        elif name == "mixture":
            np.testing.assert_allclose(sum(found[0]), 70, rtol=1e-5)
            assert any(
                np.allclose(expected[at : at + 16], found[0], rtol=1e-4) for at in range(len(expected) - 15)
            )
        else:
            np.testing.assert_allclose(expected[:size], found[0], rtol=1e-4)
            gradients = expected[size:].reshape(29, 60)[:28]
            np.testing.assert_allclose(gradients, found[1], atol=1e-3)


def test_no_gpu_is_told(monkeypatch, capsys):
    monkeypatch.setattr(driver, "_found", lambda process: "pycuda is not installed")
    assert gpu.main([]) == 1
    assert "no GPU can be used: pycuda is not installed" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        gpu.main(["--rounds", "0"])
