"""The machine: cores under affinity, cgroup quotas and SLURM; instruction sets; metadata."""

import json
import os

import pytest

from hpcml import machine

AVX2 = "fpu sse4_2 avx avx2 fma"
AVX512 = AVX2 + " avx512f avx512bw avx512dq avx512vl"


@pytest.fixture
def root(tmp_path):
    """Return a function that writes files of a fake machine below a root and returns the root."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path.joinpath(*name.split("|"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.fixture
def sixteen_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(machine, "_present_cores", lambda: 32)


V2 = {"proc|self|cgroup": "0::/user/job\n"}
V1 = {"proc|self|cgroup": "4:cpu,cpuacct:/job\n3:memory:/job\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "environ", "expected", "word"),
    [
        ({}, {}, 16, "affinity: 16 of 32"),
        ({**V2, "sys|fs|cgroup|user|job|cpu.max": "max 100000"}, {}, 16, "affinity"),
        ({**V2, "sys|fs|cgroup|user|job|cpu.max": "350000 100000"}, {}, 4, "quota: 3.5"),
        # a group above is narrower; the own folder is not visible in the container
        ({**V2, "sys|fs|cgroup|cpu.max": "200000 100000"}, {}, 2, "quota: 2"),
        (
            {
                **V2,
                "sys|fs|cgroup|user|cpu.max": "100000 100000",
                "sys|fs|cgroup|user|job|cpu.max": "800000 100000",
            },
            {},
            1,
            "quota: 1",
        ),
        ({**V2, "sys|fs|cgroup|cpu.max": "5000 100000"}, {}, 1, "quota: 0.05"),
        (
            {
                **V1,
                "sys|fs|cgroup|cpu,cpuacct|job|cpu.cfs_quota_us": "600000",
                "sys|fs|cgroup|cpu,cpuacct|job|cpu.cfs_period_us": "100000",
            },
            {},
            6,
            "quota: 6",
        ),
        (
            {
                **V1,
                "sys|fs|cgroup|cpu|cpu.cfs_quota_us": "-1",
                "sys|fs|cgroup|cpu|cpu.cfs_period_us": "100000",
            },
            {},
            16,
            "affinity",
        ),
        ({}, {"SLURM_CPUS_PER_TASK": "3"}, 3, "SLURM_CPUS_PER_TASK=3"),
        ({}, {"SLURM_CPUS_PER_TASK": "64"}, 16, "affinity"),
        ({}, {"SLURM_CPUS_PER_TASK": "0"}, 16, "affinity"),
        ({**V2, "sys|fs|cgroup|cpu.max": "900000 100000"}, {"SLURM_CPUS_PER_TASK": "5"}, 5, "SLURM"),
    ],
)
def test_usable_cores_is_the_least_limit(root, sixteen_cores, files, environ, expected, word):
    n, reason = machine.usable_cores(root(**files), environ)
    assert n == expected
    assert word in reason


def test_usable_cores_of_this_machine():
    n, reason = machine.usable_cores()
    assert 1 <= n <= os.cpu_count()
    assert reason


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t: fpu sse2", ("baseline",)),
        ("flags\t: avx2", ("baseline",)),  # without fma
        (f"flags\t: {AVX2}", ("baseline", "avx2")),
        (f"flags\t: {AVX2} avx512f", ("baseline", "avx2")),  # the first AVX-512 machines lack bw, dq, vl
        (f"flags\t: {AVX512}", ("baseline", "avx2", "avx512")),
        ("Features\t: fp asimd crc32", ("baseline",)),  # arm64
        ("", ("baseline",)),
    ],
)
def test_supported_isas(root, flags, expected):
    text = f"processor\t: 0\nmodel name\t: fake\n{flags}\n\nprocessor\t: 1\nflags\t: other\n"
    assert machine.supported_isas(root(**{"proc|cpuinfo": text})) == expected


@pytest.mark.parametrize("name", machine.supported_isas())
def test_isa_follows_the_environment_at_every_call(monkeypatch, name):
    monkeypatch.setenv("HPCML_ISA", name.upper())
    assert machine.isa() == name
    assert machine.isa_level() == machine.ISAS.index(name)
    monkeypatch.delenv("HPCML_ISA")
    assert machine.isa() == machine.supported_isas()[-1]


def test_isa_that_does_not_exist_is_refused(monkeypatch):
    monkeypatch.setenv("HPCML_ISA", "sse9")
    with pytest.raises(ValueError, match=r"HPCML_ISA must be one of baseline.* Got 'sse9' instead"):
        machine.isa()


def test_isa_that_the_processor_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(machine, "supported_isas", lambda: ("baseline", "avx2"))
    machine._isa_level_of.cache_clear()
    try:
        monkeypatch.setenv("HPCML_ISA", "avx512")
        with pytest.raises(ValueError, match="baseline, avx2 on this processor. Got 'avx512'"):
            machine.isa_level()
    finally:
        machine._isa_level_of.cache_clear()


def test_caches_are_read_in_bytes(root):
    base = "sys|devices|system|cpu|cpu0|cache"
    files = {}
    for i, (level, kind, size) in enumerate(
        [("1", "Data", "32K"), ("1", "Instruction", "64K"), ("3", "Unified", "8M")]
    ):
        files |= {
            f"{base}|index{i}|level": level,
            f"{base}|index{i}|type": kind,
            f"{base}|index{i}|size": size,
        }
    assert machine.caches(root(**files)) == {"L1d": 32 * 1024, "L1i": 64 * 1024, "L3": 8 * 1024**2}


def test_description_is_json_and_complete():
    described = json.loads(json.dumps(machine.describe()))
    assert described["cores_usable"] == machine.usable_cores()[0]
    assert {"numpy", "scikit-learn", "python"} <= set(described["versions"])
    assert described["isa"] in machine.ISAS
    assert described["time"].endswith("+00:00")
