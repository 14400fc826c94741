"""What `dev` and `serve` do before they import the server, which takes most of the time of a start."""

from __future__ import annotations

import gc


def begin() -> None:
    """Has the app's process begin with its imports, and leaves out the search for garbage, of which imports make none.

    The server takes up that search when it has been imported.
    """
    from yugen.runtime.spawn import spawn_early

    gc.disable()
    spawn_early()
