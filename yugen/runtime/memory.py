"""How this process takes memory from the system."""

from __future__ import annotations

import ctypes
from typing import Final

LARGE_BYTES: Final = 1 << 20

_M_MMAP_THRESHOLD: Final = -3
"""As in `malloc.h` of glibc."""


def give_back_large_blocks() -> bool:
    """Has memory for something large go back to the system when that is gone; whether this system can be told.

    glibc does so only with the first one: having seen a large block go, it takes others of that size from its heap, of
    which it then keeps as much (mallopt(3), `M_MMAP_THRESHOLD`). A few results of 15 MiB left a server with 100 MiB.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
    except (OSError, AttributeError):  # another system, or another C library
        return False
