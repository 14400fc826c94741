"""Lines for a stream, which a thread writes a few milliseconds after they came: many at once, with nobody waiting.

Writing each by itself takes longer than most functions run, and a reader that has stopped would stop the server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TextIO

CHARACTERS_MAX = 4 * 1024 * 1024
"""Of lines that wait to be written; of those that come then, only the number is kept."""

PAUSE_SECONDS = 0.005
"""How long lines are gathered."""

GOODBYE_SECONDS_MAX = 2.0
"""How long a stream that takes nothing may hold up whoever wants all lines written."""


class Lines:
    """Writes lines to a stream in the order in which they are added, from whichever thread.

    Args:
        stream: where they go.
        missing: says, as a line, that so many lines are missing.
    """

    def __init__(self, stream: TextIO, missing: Callable[[int], str]) -> None:
        self._stream = stream
        self._missing = missing
        self._lines: list[str] = []
        self._characters = 0
        self._dropped = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._some = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._write_forever, name="yugen-log", daemon=True)
        self._thread.start()

    def add(self, line: str) -> None:
        """Adds a line, without its line break."""
        with self._lock:
            if self._characters > CHARACTERS_MAX:
                self._dropped += 1
                return
            self._lines.append(line)
            self._characters += len(line)
        if not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Writes what has been added, now; it gives up when the stream takes nothing for too long."""
        if self._writing.acquire(timeout=GOODBYE_SECONDS_MAX):
            try:
                self._write()
            finally:
                self._writing.release()

    def close(self) -> None:
        """Writes what has been added and ends the thread."""
        self._closed = True
        self._some.set()
        self._thread.join(GOODBYE_SECONDS_MAX)
        self.flush()

    def _write_forever(self) -> None:
        while not self._closed:
            self._some.wait()
            if not self._closed:
                time.sleep(PAUSE_SECONDS)
            self._some.clear()
            with self._writing:
                self._write()

    def _write(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
            dropped, self._dropped = self._dropped, 0
            self._characters = 0
        if dropped:
            lines.append(self._missing(dropped))
        if lines:
            lines.append("")
            try:
                self._stream.write("\n".join(lines))
                self._stream.flush()
            except (OSError, ValueError):
                pass  # its reader is gone, or it was closed: there is nobody to tell
