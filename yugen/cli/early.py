"""What `dev` and `serve` do before they import the server, which takes most of the time of a start."""

from __future__ import annotations

import gc
import signal
import sys
from types import FrameType


def begin() -> None:
    """Has the app's process begin with its imports, and leaves out the search for garbage, of which imports make none.

    The server takes up that search when it has been imported. Until it can be told to stop, this can.
    """
    from yugen.runtime.spawn import spawn_early

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    gc.disable()
    spawn_early()


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)
