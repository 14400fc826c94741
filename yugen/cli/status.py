"""How commands end: what the exit statuses mean, and the sentence that goes with one that is not 0."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

FAILED: Final = 1
"""What was asked for could not be done."""

USAGE: Final = 2
"""The command line itself is wrong."""

UNREACHABLE: Final = 3
"""There is no server to ask, or it does not let us in."""

INTERRUPTED: Final = 130
"""Somebody pressed Ctrl-C."""


def fail(text: str, status: int = FAILED) -> NoReturn:
    """Ends the process with a status, and says why."""
    print(text, file=sys.stderr)
    sys.exit(status)
