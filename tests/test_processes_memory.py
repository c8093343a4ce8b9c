"""What worker processes cost in memory: one copy of the rows for all of them, none of a memory map."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import hpcml
from hpcml import communicators
from hpcml.communicators import pool, processes
from hpcml.kernels.csr import CSR

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/smaps_rollup"), reason="memory is measured in /proc"
)

MB = 2**20
N_WORKERS = 2
X_BYTES = 160 * MB

#: What one worker may need beside its share of the rows: the interpreter, NumPy, a block of rows at work.
A_WORKER = 60 * MB


@pytest.fixture(autouse=True)
def _no_worker_is_left():
    pool.end_pool()
    yield
    pool.end_pool()


def used(pid, *fields):
    """Return bytes of a process by the fields of its memory map, shared pages divided among their users."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    return sum(found[field] for field in fields)


def used_by_all(*fields):
    return sum(used(pid, *fields) for pid in (os.getpid(), *pool.current_pool(N_WORKERS - 1).process_ids))


def work(table):
    """Let every worker touch all of its rows."""
    table.map_reduce("moments", centers=np.zeros(32), weights=None)
    table.map_rows(lambda X: {"labels": np.zeros(X.shape[0], dtype=np.int32)})


def put(X):
    with hpcml.config_context(communicator="processes", n_workers=N_WORKERS, n_threads=1):
        return communicators.current().put(X=X)


@pytest.mark.parametrize("least", [X_BYTES, X_BYTES + 1])
def test_the_rows_exist_once_for_all_workers(monkeypatch, least):
    monkeypatch.setattr(processes, "SENT_BYTES", least)
    X = np.ones((X_BYTES // 128, 32), dtype=np.float32)
    before = used(os.getpid(), "Pss")
    with put(X) as table:
        work(table)
        after = used_by_all("Pss")
        shared = used_by_all("Pss_Shmem")
    copied = X_BYTES * (N_WORKERS - 1) / N_WORKERS  # this process reads its rows where they are
    if least > X_BYTES or not pool.current_pool(N_WORKERS - 1).may_write:
        assert 0.99 * copied <= shared <= 1.02 * copied + MB
    else:
        assert shared <= MB
    assert 0.99 * copied <= after - before <= 1.1 * copied + N_WORKERS * A_WORKER
    assert used_by_all("Pss") - before <= N_WORKERS * A_WORKER  # and is given back with the table


def test_sparse_rows_exist_once_for_all_workers():
    n, per_row = 1_000_000, 3
    data = np.ones(n * per_row)
    indices = np.tile(np.arange(per_row, dtype=np.int32), n)
    X = CSR.of(sparse.csr_array((data, indices, np.arange(n + 1) * per_row), shape=(n, 32)))
    size = data.nbytes + indices.nbytes + X.indptr.nbytes
    before = used(os.getpid(), "Pss")
    with put(X) as table:
        table.map_reduce(lambda X: {"sum": X.data.sum()})
        after = used_by_all("Pss")
    assert after - before <= 1.1 * size + N_WORKERS * A_WORKER


def test_a_memory_map_is_not_copied(tmp_path):
    np.save(tmp_path / "X.npy", np.ones((X_BYTES // 128, 32), dtype=np.float32))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    own = ("Pss_Anon", "Pss_Shmem")
    before = used(os.getpid(), *own)
    with put(X) as table:
        work(table)
        after = used_by_all(*own)
    assert after - before <= 0.1 * X_BYTES + N_WORKERS * A_WORKER
    assert used_by_all("Pss_Shmem") <= 2 * MB


def test_an_idle_worker_is_small():
    with put(np.ones((5000, 32))):
        for pid in pool.current_pool(N_WORKERS - 1).process_ids:
            assert used(pid, "Pss") <= 40 * MB


def test_the_pages_of_a_segment_are_there_before_they_are_written(tmp_path):
    code = (
        "import os\n"
        "from hpcml.communicators.shared_memory import reserve\n"
        "fd = reserve(3 << 20, 'a test')\n"
        "print(os.fstat(fd).st_size, os.fstat(fd).st_blocks * 512)\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == [str(3 << 20)] * 2
