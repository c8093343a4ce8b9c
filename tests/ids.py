"""Names of parameters that are the same in every process."""

import re

__all__ = ["plain"]


def plain(value):
    """Return a value's text, without addresses in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
