"""The guard of BLAS threads: counted, so that overlapping users leave the limit as it was."""

import sys
import threading

import pytest
import threadpoolctl

from hpcml import blas


def threads():
    return sorted(
        pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"
    )


@pytest.fixture(autouse=True)
def _three_threads():
    import scipy.linalg  # noqa: F401  (its BLAS is another than NumPy's)

    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        yield


def test_blas_has_one_thread_inside_and_what_it_had_after():
    before = threads()
    assert set(before) == {3}
    with blas.one_thread():
        assert set(threads()) == {1}
        with blas.one_thread():
            assert set(threads()) == {1}
        assert set(threads()) == {1}
    assert threads() == before


def test_users_that_overlap_leave_no_limit_behind():
    before = threads()
    first, second = threading.Event(), threading.Event()

    def one():
        with blas.one_thread():
            first.set()
            second.wait(10)

    thread = threading.Thread(target=one)
    thread.start()
    first.wait(10)
    with blas.one_thread():
        second.set()
        thread.join()
        assert set(threads()) == {1}  # the first has left, the second is still inside
    assert threads() == before


def test_an_error_lifts_the_limit():
    before = threads()
    with pytest.raises(ZeroDivisionError), blas.one_thread():
        1 / 0
    assert threads() == before


def test_a_blas_that_is_loaded_later_is_found(monkeypatch):
    monkeypatch.delitem(sys.modules, "scipy.linalg")
    blas._controller.cache_clear()
    with blas.one_thread():
        pass
    monkeypatch.undo()
    with blas.one_thread():
        assert set(threads()) == {1}
