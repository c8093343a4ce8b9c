"""How the kernels of this folder are compiled and spread over threads.

Threads are Python's own around loops that hold no GIL, not numba's: its thread pool is one global setting,
its fallback layer ends the process when two Python threads enter it at once, and its OpenMP layer does not
survive ``fork``.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numba

MIN_BLOCK = 1024  # items; starting a thread takes as long as some thousand items of the cheapest kernel


def compiled(function):
    """Compile a loop that releases the GIL, kept on disk where a folder for that can be written."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(nogil=True)(function)


def in_blocks(loop, n_items, n_threads, *args, min_block=MIN_BLOCK):
    """Call ``loop(start, stop, *args)`` for consecutive blocks that cover ``range(n_items)``.

    The blocks write different items, so the result does not depend on their number.
    """
    n_blocks = max(1, min(n_threads, n_items // min_block))
    if n_blocks == 1:
        loop(0, n_items, *args)
        return
    ends = [n_items * i // n_blocks for i in range(n_blocks + 1)]
    with ThreadPoolExecutor(n_blocks - 1) as pool:
        others = [pool.submit(loop, *block, *args) for block in pairwise(ends[1:])]
        loop(ends[0], ends[1], *args)
        for other in others:
            other.result()
