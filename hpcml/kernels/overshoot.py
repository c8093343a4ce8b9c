"""How far directions overshoot, in codes that are counted: a smallest step without a minimum over shards.

The statistics of shards are added up, so a shard counts itself under the code of its largest ratio -dx/x;
the highest code that any shard has gives the largest ratio of all rows, rounded up by an eighth of an octave
of what it exceeds 1 by.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LOWEST_CODE",
    "LOWEST_OVERSHOOT",
    "N_CODES",
    "SHIFT",
    "largest_ratio",
    "largest_ratio_of",
    "overshoot_code",
]

#: Ratios up to 1 and a little more have code 0.
LOWEST_OVERSHOOT = 2.0**-14
#: Codes an octave: 2^CODE_BITS.
CODE_BITS = 3
#: Up to 2^66; the last code holds whatever is beyond.
N_CODES = 80 << CODE_BITS

#: Bits that the code of a double leaves out, and what is left of that of the lowest overshoot.
SHIFT = 52 - CODE_BITS
LOWEST_CODE = int(np.float64(LOWEST_OVERSHOOT).view(np.int64)) >> SHIFT


def overshoot_code(ratio: float) -> int:
    """Return the code of a ratio: the leading bits of what it exceeds 1 by, as a double.

    Examples
    --------
    >>> from hpcml.kernels.overshoot import largest_ratio, overshoot_code
    >>> overshoot_code(0.3), largest_ratio(overshoot_code(1.5))
    (0, 1.5625)
    """
    beyond = np.float64(max(ratio - 1.0, LOWEST_OVERSHOOT))
    return min((int(beyond.view(np.int64)) >> SHIFT) - LOWEST_CODE, N_CODES - 1)


def largest_ratio(code: int) -> float:
    """Return the number that no ratio of a code exceeds; inf for the last code."""
    if code == N_CODES - 1:
        return float("inf")
    return 1.0 + float(np.int64((code + LOWEST_CODE + 1) << SHIFT).view(np.float64))


def largest_ratio_of(counts: NDArray[np.float64]) -> float:
    """Return the number that no ratio exceeds where shards have counted themselves so."""
    return largest_ratio(int(np.flatnonzero(counts)[-1]))
