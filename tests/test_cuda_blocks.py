"""Rows on the device: what stays there, what comes in blocks, what is said where memory is short."""

import gc
import mmap
import sys

import numpy as np
import pytest
from cuda_host.driver import HostDriver

from hpcml.errors import DeviceMemoryError
from hpcml.kernels.cuda.blocks import THREADS, Rows, ceil, run
from hpcml.kernels.cuda.driver import OutOfDeviceMemory
from hpcml.kernels.cuda.transfers import STAGED, Lane, Residents
from hpcml.kernels.shards import TreeSum, bounds_of

N, M = 20_000, 3
WEIGHTS = np.array([1.0, 10.0, 0.1])


def table(*, writeable=False):
    X = np.random.default_rng(0).standard_normal((N, 1))
    X.flags.writeable = writeable
    return X


def seed_sums(X, driver, first=0, stop=None, shares=None, staged=STAGED):
    """Return what is left of shares with three seeds, by shards `first` to `stop`."""
    bounds = bounds_of(N)[first : None if stop is None else stop + 1]
    start, end = int(bounds[0]), int(bounds[-1])
    shares = np.full(N, 1.0) if shares is None else shares

    def launch(block):
        parts = ceil(block.most_rows, THREADS)
        block.launch(
            "kmeans", "seed_shares_double", (parts, block.n_shards),
            block["X"], 0, block["shares"], block["seeds"], M, 1, block["bounds"], parts, block["parts"], 1,
        )  # fmt: skip
        block.launch(
            "sums", "sum_of_parts", (1, block.n_shards),
            block["parts"], parts, M, block["bounds"], THREADS, block.statistics, M, 0,
        )  # fmt: skip

    return run(
        driver, bounds - start, first, len(bounds_of(N)) - 1, width=M, launch=launch, staged=staged,
        rows={"X": Rows(X[start:end] if stop else X), "shares": Rows(shares[start:end], writes=True)},
        constants={"seeds": np.array([[0.0], [1.0], [-1.0]])},
        scratch=lambda lengths: {"parts": 8 * M * len(lengths) * ceil(int(lengths.max()), THREADS)},
    )  # fmt: skip


@pytest.mark.parametrize("staged", [STAGED, 1000])
def test_blocks_change_no_bit_and_bring_back_what_is_written(staged):
    X = table()
    whole, expected_shares = None, None
    for memory in (1 << 30, 450_000, 230_000, 50_000):
        driver = HostDriver(memory=memory)
        shares = np.full(N, 1.0)
        ranges, sums = seed_sums(X, driver, shares=shares, staged=staged)
        assert ranges.tolist() == [[0, 19]]
        if whole is None:
            whole, expected_shares = sums, shares
            assert driver.launched["seed_shares_double"] == 1
        assert sums.tobytes() == whole.tobytes() and shares.tobytes() == expected_shares.tobytes()
    assert driver.launched["seed_shares_double"] > 10
    assert (expected_shares < 1).any()


def test_shards_of_a_rank_leave_the_pieces_of_the_fixed_tree():
    X, driver = table(), HostDriver()
    whole = seed_sums(X, driver)[1][0]
    tree = TreeSum(19)
    for first, stop in ((5, 12), (0, 5), (12, 19)):
        own = HostDriver(memory=70_000)
        ranges, sums = seed_sums(X, own, first, stop)
        assert own.launched["seed_shares_double"] > 1
        for (low, high), statistic in zip(ranges.tolist(), sums, strict=True):
            tree.add(low, high, statistic)
    assert tree.pieces()[1][0].tobytes() == whole.tobytes()


def test_rows_that_nobody_can_change_go_to_the_device_once():
    driver, X = HostDriver(), table()
    seed_sums(X, driver)
    first = driver.copied_in
    assert first >= X.nbytes
    seed_sums(X, driver)
    assert driver.copied_in < 2 * first - X.nbytes + 1
    held = sum(array.nbytes for array in driver.arrays.values())
    assert held == X.nbytes
    del X
    gc.collect()
    with driver.active():
        Residents.of(driver).collect()
    assert not driver.arrays


def test_rows_that_may_change_are_copied_every_time():
    driver, X = HostDriver(), table(writeable=True)
    before = seed_sums(X, driver)[1]
    X += 1.0
    assert not np.array_equal(seed_sums(X, driver)[1], before)
    assert not driver.arrays


def test_arrays_of_others_make_room():
    driver = HostDriver(memory=900_000)
    tables = [table() for _ in range(6)]
    expected = seed_sums(tables[0], driver)[1]
    for X in tables[1:]:
        assert seed_sums(X, driver)[1].tobytes() == expected.tobytes()


def test_memory_that_others_took_meanwhile_makes_blocks_smaller():
    class Shared(HostDriver):
        """Another library takes memory after this one has been told how much there is."""

        failures = 3

        def allocate(self, n_bytes):
            if n_bytes > 60_000 and self.failures:
                self.failures -= 1
                raise OutOfDeviceMemory("taken")
            return super().allocate(n_bytes)

    X, shares = table(), np.full(N, 1.0)
    driver = Shared(memory=700_000)
    found = seed_sums(X, driver, shares=shares)[1]
    assert driver.failures < 3 and driver.launched["seed_shares_double"] > 1
    assert found.tobytes() == seed_sums(X, HostDriver())[1].tobytes()


def test_a_device_that_cannot_hold_a_shard_says_the_sizes():
    driver, shares = HostDriver(memory=20_000), np.full(N, 1.0)
    with pytest.raises(
        DeviceMemoryError, match=r"has 0.018 MB left, and a call needs 0.0\d+ MB: .* of 19 shards"
    ):
        seed_sums(table(), driver, shares=shares)
    assert not driver.arrays and (shares == 1.0).all()


def test_no_shards_at_all():
    ranges, sums = seed_sums(table(), HostDriver(), 4, 4)
    assert ranges.shape == (0, 2) and len(sums) == 0


@pytest.mark.parametrize("n_bytes", [0, 1, 999, 1000, 1001, 5500])
def test_staged_copies_bring_every_byte(n_bytes):
    driver = HostDriver()
    data = np.random.default_rng(0).integers(0, 256, n_bytes, dtype=np.uint8)
    with driver.active():
        lane, address = Lane(driver, 1000), driver.allocate(n_bytes)
        sent = data.copy()
        lane.upload(address, sent)
        sent[:] = 0  # the caller may change it at once
        back = np.zeros_like(data)
        lane.download(back, address)
        assert (back == data).all()


def test_a_failed_launch_raises_and_leaves_nothing_behind():
    driver = HostDriver()

    def launch(block):
        block.launch("sums", "sum_of_tree", (1, 1), 0, 0, 0, 0, threads=2 * THREADS)

    with pytest.raises(RuntimeError, match="sum_of_tree: a block has more threads"):
        run(driver, bounds_of(5), 0, 1, rows={"X": Rows(np.zeros((5, 1)))}, launch=launch, width=1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is reserved that is not used")
@pytest.mark.parametrize(("dtype", "d"), [("float32", 64), ("float64", 3)])
def test_rows_beyond_two_to_the_31_elements(dtype, d):
    """The last rows of a table that is address space alone: only its last pages are ever touched."""
    size = np.dtype(dtype).itemsize
    n = (1 << 31) // d + 5000
    no_reserve = 0x4000  # of Linux
    space = mmap.mmap(-1, n * d * size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
    try:
        X = np.frombuffer(space, dtype=dtype).reshape(n, d)
        rng = np.random.default_rng(0)
        centers = rng.standard_normal((20, d)).astype(dtype)
        X[-300:] = centers[rng.integers(0, 20, 300)]
        labels = np.full(300, -1, dtype=np.int32)
        driver = HostDriver()
        counters, half = np.zeros(2, dtype=np.uint64), np.zeros(20, dtype=dtype)
        bounds = np.array([n - 300, n])
        address = {name: a.ctypes.data for name, a in locals().items() if isinstance(a, np.ndarray)}
        kind = "float" if dtype == "float32" else "double"
        with driver.active():
            stream = driver.stream()
            driver.launch(
                "kmeans",
                f"half_norms_{kind}",
                (1,),
                256,
                (address["centers"], 20, d, address["half"]),
                stream,
            )
            driver.launch(
                "kmeans", f"assign_many_{kind}", (3, 1), 256,
                (
                    address["X"], address["bounds"], address["centers"], address["half"], 0, 20, d,
                    address["labels"] - 4 * (n - 300), 1, address["counters"],
                ),
                stream,
            )  # fmt: skip
            driver.wait(stream)
        assert (X[-300:] == centers[labels]).all() and counters.tolist() == [300, 0]
    finally:
        space.madvise(mmap.MADV_DONTNEED)
