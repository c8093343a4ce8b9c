"""Machine code of the CUDA kernels for every architecture: registers, spills, the cache."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cuda_host.build import NAMES

from hpcml import parts
from hpcml.errors import KernelUnavailable
from hpcml.kernels.cuda import compile

#: Bytes that a thread may keep in local memory, of kernels that index an array at run time; all others: none.
#: Nobody may spill registers.
LOCAL_BYTES: dict[str, int] = {}

OLDEST, ALWAYS = 75, (75, 80, 90)


def architectures():
    """Return those that are always tested, and the newest one that the compiler knows."""
    nvcc = parts.nvcc()
    if nvcc is None:
        return list(ALWAYS)
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    known = {int(number) for number in re.findall(r"compute_(\d+)\b", listed)}
    return sorted({*ALWAYS, max(number for number in known if number % 10 == 0)})


def resources(report):
    """Return registers, local bytes and spilled bytes of every kernel and architecture that it tells of."""
    found = {}
    for part in report.split("Compiling entry function '")[1:]:
        name = re.match(r"(\w+)' for 'sm_(\d+)'", part).groups()
        frame, stores, loads = map(
            int,
            re.search(
                r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part
            ).groups(),
        )
        found[name] = int(re.search(r"Used (\d+) registers", part)[1]), frame, stores + loads
    return found


@pytest.mark.slow
@pytest.mark.require("nvcc")
def test_kernels_keep_their_variables_in_registers():
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda source: compile.compiled(source, *architectures()), NAMES))
    for source, (code, report) in zip(NAMES, made, strict=True):
        assert code[:4] == b"\x50\xed\x55\xba", source  # of a fat binary
        assert "warning" not in report, f"{source}: {report}"
        text = (compile.sources() / f"{source}.cu").read_text()
        declared = re.findall(r"^KERNEL\((\w+),", text, re.MULTILINE)
        found = resources(report)
        assert declared and set(found) == {(n, str(each)) for n in declared for each in architectures()}
        for (name, architecture), (registers, frame, spilled) in found.items():
            assert spilled == 0, f"{name} spills {spilled} bytes on sm_{architecture}"
            assert frame <= LOCAL_BYTES.get(name, 0), (
                f"{name} keeps {frame} bytes in local memory on sm_{architecture}"
            )
            assert 0 < registers <= 255


def test_reports_with_spills_are_read():
    report = """ptxas info    : Compiling entry function 'bad' for 'sm_90'
    16 bytes stack frame, 120 bytes spill stores, 84 bytes spill loads
    ptxas info    : Used 128 registers, used 1 barriers, 16 bytes cumulative stack size"""
    assert resources(report) == {("bad", "90"): (128, 16, 204)}


@pytest.fixture
def compiler_of_paper(monkeypatch, tmp_path):
    """Count what is compiled; the cache is a folder of the test."""
    asked = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compile, "_version", lambda nvcc: "13")
    monkeypatch.setattr(parts, "nvcc", lambda: "nvcc")
    monkeypatch.setattr(compile, "compiled", lambda *args, nvcc: (asked.append(args), (b"code", ""))[1])
    return asked


def test_code_is_kept_by_source_architecture_and_options(compiler_of_paper, monkeypatch, tmp_path):
    for _ in range(2):
        assert compile.code("sums", 90) == b"code"
    assert len(compiler_of_paper) == 1
    compile.code("sums", 80)
    monkeypatch.setitem(compile.OPTIONS, "sums", ("-fmad=false",))
    compile.code("sums", 90)
    monkeypatch.setattr(compile, "_version", lambda nvcc: "14")
    compile.code("sums", 90)
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "sums.cu").write_text("// another one")
    monkeypatch.setattr(compile, "sources", lambda: folder)
    compile.code("sums", 90)
    assert len(compiler_of_paper) == 5
    assert len(list((tmp_path / "hpcml" / "cuda").iterdir())) == 5


def test_a_cache_that_cannot_be_written_costs_time_alone(compiler_of_paper, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compile.code("sums", 90) == b"code"


def test_code_of_the_wheel_needs_no_compiler(monkeypatch, tmp_path):
    (tmp_path / "sums.sm_90.cubin").write_bytes(b"ahead")
    monkeypatch.setattr(compile, "sources", lambda: tmp_path)
    monkeypatch.setattr(parts, "nvcc", lambda: None)
    monkeypatch.setattr(parts, "check", parts.check.__wrapped__)  # remembers nothing for other tests
    assert compile.reason(90) is None and compile.code("sums", 90) == b"ahead"
    (tmp_path / "sums.sm_80.cubin").write_bytes(b"older")
    assert compile.code("sums", 86) == b"older"
    (tmp_path / "sums.sm_80.cubin").unlink()
    assert "no code for compute capability 8.0" in compile.reason(80)
    assert "nvcc" in compile.reason(80)
    with pytest.raises(KernelUnavailable, match="no code for compute capability 8.0"):
        compile.code("sums", 80)


def test_wheels_hold_machine_code_where_that_is_asked_for(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    root = Path(__file__).parent.parent
    if not (root / "setup.py").exists():
        pytest.skip("these tests lie outside of the tree")
    nvcc = tmp_path / "nvcc"  # writes to what follows -o what it was asked for
    nvcc.write_text('#!/bin/sh\nasked="$*"\nwhile [ "$1" != -o ]; do shift; done\necho "$asked" > "$2"\n')
    nvcc.chmod(0o755)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path / "lib")],
        cwd=root, check=True, capture_output=True,
        env={
            **os.environ, "HPCML_BUILD_CUDA": "1", "HPCML_CUDA_ARCHITECTURES": "80,120",
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        },
    )  # fmt: skip
    folder = tmp_path / "lib" / "hpcml" / "kernels" / "cuda" / "sources"
    found = {path.name: path.read_text() for path in folder.glob("*.cubin")}
    assert set(found) == {f"{name}.sm_{each}.cubin" for name in NAMES for each in (80, 120)}
    assert "code=sm_120" in found["growth.sm_120.cubin"] and "-fmad=false" in found["growth.sm_120.cubin"]
    assert (folder / "growth.h").exists() and not (root / "hpcml" / "kernels" / "cuda" / "sources").exists()


def test_a_gpu_that_is_too_old_is_told():
    assert compile.reason(61) == "the GPU has compute capability 6.1, and the kernels need at least 7.5"
    assert compile.OLDEST == OLDEST


@pytest.mark.require("nvcc")
def test_what_the_compiler_says_is_in_the_error(monkeypatch, tmp_path):
    (tmp_path / "bad.cu").write_text("this is no C++")
    monkeypatch.setattr(compile, "sources", lambda: Path(tmp_path))
    with pytest.raises(KernelUnavailable, match=r"failed on bad.cu for sm_90: (.|\n)*error"):
        compile.compiled("bad", 90)
