"""What goes wrong with worker processes gives one clear error within seconds, and the next fit works."""

import contextlib
import errno
import multiprocessing.spawn
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types

import numpy as np
import pytest

import hpcml
from hpcml import communicators
from hpcml.communicators import pool, shared_memory
from hpcml.errors import WorkerLost

#: An error must come within this many seconds, on a busy machine too.
SOON = 20.0

X = np.ones((5000, 2))


@pytest.fixture(autouse=True, scope="module")
def _no_worker_is_left():
    pool.end_pool()  # of other tests, which may have more workers
    yield
    pool.end_pool()


@contextlib.contextmanager
def soon():
    start = time.monotonic()
    yield
    assert time.monotonic() - start < SOON


def put(n_workers=2, **rows):
    with hpcml.config_context(communicator="processes", n_workers=n_workers):
        return communicators.current().put(**(rows or {"X": X}))


def total(X):
    return {"sum": X.sum()}


def slow(X):
    import time

    time.sleep(60.0)
    return {"sum": X.sum()}


def elsewhere():
    """Return whether this runs in another process than the tests."""
    import sys

    spec = sys.modules["__main__"].__spec__
    return spec is not None and spec.name == "hpcml.communicators.worker"


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def assert_next_fit_works(before):
    """Check that no old worker is left and that new ones compute."""
    assert not any(map(is_alive, before))
    with put() as table:
        assert table.map_reduce(total)["sum"] == 10000
        assert not set(workers()) & set(before)


def workers():
    return pool.current_pool(1).process_ids


def test_a_worker_that_is_killed_in_a_kernel():
    table = put()
    before = workers()
    killer = threading.Timer(0.3, os.kill, (before[0], signal.SIGKILL))
    killer.start()
    with (
        soon(),
        pytest.raises(WorkerLost, match=rf"worker 2 of 2 \(process {before[0]}\) was killed by SIGKILL"),
    ):
        table.map_reduce(slow)
    killer.join()
    with soon(), pytest.raises(WorkerLost, match="gone, and the rows with them"):
        table.map_reduce(total)
    table.close()
    assert_next_fit_works(before)


def test_a_worker_that_is_killed_between_two_calls():
    with put() as table:
        before = workers()
        os.kill(before[0], signal.SIGKILL)
        assert np.shares_memory(table.rows("X"), X)  # no worker is asked
        with soon(), pytest.raises(WorkerLost, match="worker 2 of 2"):
            table.fill("labels", 0, np.int32)
    assert_next_fit_works(before)


def test_a_worker_of_another_table_that_is_killed():
    with put(2) as table, put(3) as other:
        before = pool.current_pool(2).process_ids
        os.kill(before[1], signal.SIGKILL)
        for _ in range(20):
            assert table.map_reduce(total)["sum"] == 10000
        with soon(), pytest.raises(WorkerLost, match="worker 3 of 3 .* was killed by SIGKILL"):
            other.map_reduce(total)
    assert_next_fit_works(before)


def test_a_worker_that_was_killed_between_two_fits():
    with put() as table:
        table.map_reduce(total)
    before = workers()
    os.kill(before[0], signal.SIGKILL)
    time.sleep(0.2)
    with put() as table:  # nothing is lost: new workers
        assert table.map_reduce(total)["sum"] == 10000
    assert_next_fit_works(before)


def test_a_kernel_that_ends_its_process():
    def ends(X):
        import os

        if elsewhere():
            os._exit(3)
        return {"sum": 0.0}

    with put() as table:
        before = workers()
        with soon(), pytest.raises(WorkerLost, match="ended with exit code 3 before it answered"):
            table.map_reduce(ends)
    assert_next_fit_works(before)


def test_workers_that_do_not_start():
    pool.end_pool()
    real = multiprocessing.spawn.get_executable()
    multiprocessing.set_executable("/bin/false")
    try:
        with soon(), pytest.raises(WorkerLost, match="ended with exit code 1"):
            put()
        multiprocessing.set_executable("/no/such/python")
        with pytest.raises(FileNotFoundError, match="/no/such/python"):
            put()
    finally:
        multiprocessing.set_executable(os.fsdecode(real))
    assert_next_fit_works([])


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not limit address space")
def test_a_worker_out_of_memory():
    def greedy(X):
        import resource

        import numpy as np

        if elsewhere():
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
            return {"sum": np.ones(1 << 31).sum()}
        return {"sum": 0.0}

    with put() as table:
        with soon(), pytest.raises(MemoryError, match="Unable to allocate 16.0 GiB"):
            table.map_reduce(greedy)
        assert table.map_reduce(total)["sum"] == 10000  # the workers are as they were
    pool.end_pool()


# -- memory to share ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOMEM, errno.EFBIG])
def test_no_memory_to_share(monkeypatch, code):
    put().close()
    before = workers()

    def full(fd, offset, length):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with (
            soon(),
            pytest.raises(MemoryError, match=r"put\(X\): 0.0 MB .* cannot be reserved \(.*\); .* left"),
        ):
            put()
    with put() as table:
        assert table.map_reduce(total)["sum"] == 10000
        assert workers() == before
        with monkeypatch.context() as patch:
            patch.setattr(os, "posix_fallocate", full)
            with pytest.raises(MemoryError, match="a message between processes: 8.4 MB"):
                table.map_reduce(lambda X, model: {"sum": model.sum()}, model=np.ones(1_000_000))
            table.fill("labels", 1, np.int32)
            with pytest.raises(MemoryError, match=r"rows\(labels\): 0.0 MB"):
                table.rows("labels")
        assert table.map_reduce(total)["sum"] == 10000
        assert table.rows("labels").sum() == 5000


def test_more_than_the_memory_that_is_left_is_refused(monkeypatch):
    monkeypatch.setattr(shared_memory, "memory_left", lambda: 1_000_000)
    with pytest.raises(MemoryError, match=r"put\(X\): 2.0 MB .* are needed, and 1.0 MB are left"):
        put(X=np.zeros((250_000, 2)))


def test_memory_left_is_what_the_system_and_the_groups_leave(tmp_path):
    assert shared_memory.memory_left(tmp_path) is None
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 500 kB\nSwapFree: 100 kB\n")
    assert shared_memory.memory_left(tmp_path) == 600 * 1024
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/job/step\n0::/job\n")
    step = tmp_path / "sys/fs/cgroup/memory/job"
    step.mkdir(parents=True)
    (step / "memory.limit_in_bytes").write_text("400000\n")
    (step / "memory.usage_in_bytes").write_text("100000\n")
    assert shared_memory.memory_left(tmp_path) == 300_000
    (tmp_path / "sys/fs/cgroup/job").mkdir()
    (tmp_path / "sys/fs/cgroup/job/memory.max").write_text("max\n")
    (tmp_path / "sys/fs/cgroup/job/memory.current").write_text("200000\n")
    assert shared_memory.memory_left(tmp_path) == 300_000
    (tmp_path / "sys/fs/cgroup/job/memory.max").write_text("250000\n")
    (tmp_path / "sys/fs/cgroup/job/memory.stat").write_text("anon 1\ninactive_file 9000\n")
    assert shared_memory.memory_left(tmp_path) == 59_000


def test_systems_without_nameless_memory_use_unlinked_files(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = np.arange(400_000.0).reshape(-1, 2)
    with put(X=rows) as table:
        assert table.map_reduce(total)["sum"] == rows.sum()
        assert os.listdir(tmp_path) == []


# -- errors of kernels -------------------------------------------------------------------------------------


class Awkward(Exception):
    """Cannot be unpickled: its __init__ takes other arguments than it hands on."""

    def __init__(self, code, text):
        super().__init__(f"{text} ({code})")
        self.code = code


class Worse(Exception):
    """Cannot even be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()

    def __str__(self):
        return f"worse: {self.args[0]}"


def assert_raises_in_a_worker(kernel, kind, text, name=None):
    def there(X):
        return kernel(X) if elsewhere() else {"n": 0}

    with put() as table:
        with soon(), pytest.raises((kind, Exception)) as caught:
            table.map_reduce(kernel)  # this process raises too, and its own error is the one to be seen
        assert not hasattr(caught.value, "__notes__")
        with soon(), pytest.raises(kind, match=text) as caught:
            table.map_reduce(there)
        assert type(caught.value).__name__ == (name or kind.__name__)
        assert any("Raised in the worker process" in note for note in caught.value.__notes__)
        assert any("Traceback" in note for note in caught.value.__notes__)
        assert table.map_reduce(total)["sum"] == 10000
        return caught.value


def test_an_error_arrives_with_its_type_and_message():
    def fails(X):
        raise FloatingPointError("at row 7")

    assert_raises_in_a_worker(fails, FloatingPointError, "at row 7")

    def missing(X):
        return {"n": open("/no/such/file")}

    assert assert_raises_in_a_worker(missing, FileNotFoundError, "/no/such/file").errno == errno.ENOENT


def test_an_error_that_cannot_be_unpickled_arrives():
    def fails(X):
        raise Awkward(7, "no luck")

    error = assert_raises_in_a_worker(fails, Awkward, r"no luck \(7\)")
    assert error.code == 7


def test_an_error_that_cannot_be_pickled_arrives():
    def fails(X):
        raise Worse("at all")

    assert_raises_in_a_worker(fails, Worse, "worse: at all")


def test_an_error_whose_class_is_the_functions_own_arrives():
    def fails(X):
        class Own(Exception):
            pass

        raise Own("of its own")

    assert_raises_in_a_worker(fails, Exception, "of its own", name="Own")


def test_the_end_of_a_worker_is_not_a_kernels_to_decide():
    def exits(X):
        raise SystemExit("enough")

    assert_raises_in_a_worker(exits, SystemExit, "enough")


def test_unknown_names_and_arguments_that_cannot_travel():
    with put() as table:
        before = workers()
        with pytest.raises(KeyError, match="unknown"):
            table.rows("unknown")
        with pytest.raises(KeyError, match="unknown"):
            table.drop("unknown")
        with pytest.raises(TypeError, match="pickle"):
            table.map_reduce(lambda X, lock: {"n": 1}, lock=threading.Lock())
        with pytest.raises(ValueError, match="'part' of <lambda> must have one entry for each of"):
            table.map_rows(lambda X: {"part": X[:3]})
        with pytest.raises(IndexError, match="from 0 to 4999"):
            table.fill("labels", 0, np.int32)
            table.take(np.array([5000]), "labels")
        assert table.map_reduce(total)["sum"] == 10000
        assert workers() == before


# -- interrupts --------------------------------------------------------------------------------------------


def test_an_interrupt_ends_the_workers():
    with put() as table:
        before = workers()
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with soon(), pytest.raises(KeyboardInterrupt):
            table.map_reduce(slow)
        timer.join()
        with pytest.raises(WorkerLost, match="KeyboardInterrupt came before they answered"):
            table.map_reduce(total)
    assert_next_fit_works(before)


def test_an_interrupt_of_this_process_alone():
    def slow_here(X):
        import time

        time.sleep(0.5 if elsewhere() else 60.0)
        return {"sum": X.sum()}

    def interrupt_once_answered(workers):
        for told in (True, False):
            while workers._under_way is not told:
                time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    with put() as table:
        before = workers()
        for _ in range(2):
            waiting = threading.Thread(target=interrupt_once_answered, args=(pool.current_pool(1),))
            waiting.start()
            with soon(), pytest.raises(KeyboardInterrupt):
                table.map_reduce(slow_here)
            waiting.join()
            assert table.map_reduce(total)["sum"] == 10000  # the workers had answered
        assert workers() == before


def test_an_interrupt_while_workers_start(monkeypatch):
    pool.end_pool()
    started = []

    def interrupted(*arguments, **options):
        started.append(subprocess.Popen(*arguments, **options))
        signal.raise_signal(signal.SIGINT)
        return started[-1]

    with monkeypatch.context() as patch:
        patch.setattr(
            pool, "subprocess", types.SimpleNamespace(Popen=interrupted, DEVNULL=subprocess.DEVNULL)
        )
        with pytest.raises(KeyboardInterrupt):
            put()
    assert workers()[0] == started[0].pid  # it is known, so that it will be ended
    pool.end_pool()
    assert_next_fit_works([started[0].pid])


def test_an_interrupt_of_the_terminal_does_not_reach_workers():
    with put() as table:
        for pid in workers():
            assert os.getsid(pid) != os.getsid(0)
            os.kill(pid, signal.SIGINT)
        assert table.map_reduce(total)["sum"] == 10000


def test_close_reaches_a_thread_that_waits():
    errors = []
    table = put()
    before = workers()

    def wait():
        try:
            table.map_reduce(slow)
        except WorkerLost as error:
            errors.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    with soon():
        pool.end_pool()
        thread.join()
    assert len(errors) == 1 and "ended by close" in errors[0]
    assert_next_fit_works(before)


def test_close_ends_the_workers():
    with hpcml.config_context(communicator="processes", n_workers=2), communicators.current() as communicator:
        table = communicator.put(X=X)
        before = workers()
        communicator.close()
        with pytest.raises(WorkerLost, match="ended by close"):
            table.map_reduce(total)
        table.close()
    assert_next_fit_works(before)
