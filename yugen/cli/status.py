"""How commands end: what the exit statuses mean, and the sentence that goes with one that is not 0."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def told() -> Iterator[None]:
    """Ends the process with a status and a sentence where a file, the output or the person at the terminal says no."""
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except UnicodeError as error:
        fail(f"Text cannot be read or written as it is ({error}); use UTF-8.")
    except OSError as error:
        _leave_output()
        if isinstance(error, BrokenPipeError):  # whoever read the output has had enough
            sys.exit(FAILED)
        file = "" if error.filename is None else f" ({error.filename})"
        fail(f"{error.strerror or error}{file}.")


def _leave_output() -> None:
    """Forgets what cannot be written; Python would try it again, and complain, on its way out."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
