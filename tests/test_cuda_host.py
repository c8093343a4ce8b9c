"""The CPU in place of a GPU: its barriers, its order of threads, and what it finds wrong with kernels."""

import ctypes

import numpy as np
import pytest
from cuda_host import build

#: A kernel for each thing that the header does; sizes are of a block of 64 threads.
SOURCE = """
#include "device.h"

struct Words { Int *found; Int what; };

__device__ void reversed(const Words &a) {  // through shared memory
    __shared__ Int shared[64];
    shared[threadIdx.x] = a.found[threadIdx.x];
    if (a.what) __syncthreads();
    a.found[threadIdx.x] = shared[63 - threadIdx.x];
}
KERNEL(reversed_block, 64, 1, Words, reversed)

__device__ void warps(const Words &a) {
    const int t = threadIdx.x, lane = t % 32;
    Int *found = a.found + 8 * t;
    found[0] = __shfl_xor_sync(ALL_LANES, t, 5);
    found[1] = __shfl_down_sync(ALL_LANES, (double)t, 3);
    found[2] = __shfl_sync(ALL_LANES, t, 7, 16);
    found[3] = __ballot_sync(ALL_LANES, lane % 3 == 0);
    found[4] = __match_any_sync(ALL_LANES, lane / 10);
    found[5] = warp_sum(t);
    if (lane < 8) found[6] = __any_sync(0xffu, lane == 5);
    else found[6] = __all_sync(0xffffff00u, lane != 9);
    found[7] = __popc(found[3]) + __ffs(12);
}
KERNEL(warp_functions, 64, 1, Words, warps)

__device__ void count(const Words &a) {
    unsigned long long *found = (unsigned long long *)a.found, more = blockIdx.x + 1;
    if (blockIdx.y == 1 && threadIdx.x < 48) atomicAdd(found, more);
}
KERNEL(count_threads, 64, 1, Words, count)

__device__ void sum(const Words &a) {
    __shared__ double room[THREADS / WARP_SIZE];
    const double found = block_sum(threadIdx.x, room) + block_sum(1, room);
    if (threadIdx.x == 0) a.found[0] = (Int)found;
}
KERNEL(sum_block, THREADS, 1, Words, sum)

__device__ void wrong(const Words &a) {
    const int lane = threadIdx.x % 32;
    if (a.what == 0 && lane == 0) __syncthreads();
    if (a.what == 0) __syncwarp();
    if (a.what == 1 && lane < 16) __shfl_xor_sync(ALL_LANES, lane, 1);
    if (a.what == 2) __shfl_sync(0xffffu, lane, 1);
    if (a.what == 3 && lane < 16) __shfl_xor_sync(0xffffu, lane, 16);
    if (a.what == 4) __syncwarp(lane < 3 ? 0xffu : ALL_LANES);
}
KERNEL(wrong_barriers, 64, 1, Words, wrong)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("cuda") / "probe.cu"
    path.write_text(SOURCE)
    return ctypes.CDLL(str(build.built("probe", ".so", [*build.FLAGS, "-shared"], path)))


def launch(library, name, found, what=0, *, grid=(1, 1, 1), threads=64, backward=False, shared=0):
    entry = getattr(library, f"host_{name}")
    entry.restype = ctypes.c_char_p
    dimensions = (ctypes.c_uint32 * 8)(*grid, threads, 1, 1, shared, backward)
    words = (ctypes.c_int64 * 2)(found.ctypes.data, what)
    message = entry(dimensions, words, ctypes.c_size_t(16))
    return None if message is None else message.decode()


@pytest.mark.parametrize("backward", [False, True])
def test_barriers_and_shared_memory(library, backward):
    found = np.arange(64)
    assert launch(library, "reversed_block", found, 1, backward=backward) is None
    assert found.tolist() == list(range(64))[::-1]


def test_a_missing_barrier_shows_in_one_of_both_orders(library):
    both = [np.arange(64), np.arange(64)]
    for found, backward in zip(both, (False, True), strict=True):
        assert launch(library, "reversed_block", found, 0, backward=backward) is None
    assert (both[0] != both[1]).any()


@pytest.mark.parametrize("backward", [False, True])
def test_functions_of_warps(library, backward):
    found = np.zeros((64, 8), dtype=np.int64)
    assert launch(library, "warp_functions", found, backward=backward) is None
    t = np.arange(64)
    lane, base = t % 32, t // 32 * 32
    votes = sum(1 << i for i in range(0, 32, 3))
    equal = [sum(1 << j for j in range(32) if j // 10 == i // 10) for i in lane]
    expected = [
        base + (lane ^ 5),
        np.where(lane + 3 < 32, t + 3, t),
        t // 16 * 16 + 7,
        np.full(64, votes),
        equal,
        np.where(t < 32, 496, 496 + 32 * 32),
        np.where(lane < 8, 1, 0),
        np.full(64, votes.bit_count() + 3),
    ]
    np.testing.assert_array_equal(found.T, expected)


def test_every_block_runs_once_and_atomics_add(library):
    found = np.zeros(1, dtype=np.int64)
    assert launch(library, "count_threads", found, grid=(3, 2, 2)) is None
    assert found[0] == 48 * (1 + 2 + 3) * 2
    assert launch(library, "sum_block", found, threads=256) is None
    assert found[0] == 255 * 128 + 256


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (0, "different barriers"),
        (1, "thread that has ended"),
        (2, "not in the mask of its own"),
        (3, "a lane that is not in its mask"),
        (4, "different masks"),
    ],
)
@pytest.mark.parametrize("backward", [False, True])
def test_barriers_that_cannot_be_met_are_told(library, what, words, backward):
    message = launch(library, "wrong_barriers", np.zeros(1, dtype=np.int64), what, backward=backward)
    assert message is not None
    assert words in message or "nobody releases" in message


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"threads": 65}, "more threads than the kernel was compiled for"),
        ({"grid": (0, 1, 1)}, "no block"),
        ({"grid": (1, 65536, 1)}, "too many blocks"),
        ({"shared": 1 << 20}, "too much shared memory"),
    ],
)
def test_launches_that_no_device_takes_are_told(library, more, words):
    assert words in launch(library, "reversed_block", np.zeros(64, dtype=np.int64), 1, **more)
