"""`print` and `logging` inside a function become the lines that go with its answer."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LINES_MAX = 256
LINE_SIZE_MAX = 4096
"""Characters of a line (protocol.md 10)."""

_lines: ContextVar[list[str] | None] = ContextVar("lines", default=None)
_unfinished: ContextVar[list[str]] = ContextVar("unfinished")

_LEVELS = {"DEBUG": "DEBUG", "INFO": "INFO", "WARNING": "WARN", "ERROR": "ERROR", "CRITICAL": "ERROR"}


@contextmanager
def captured() -> Iterator[list[str]]:
    """Collects what is logged within, in the form clients parse: `[LOG] 'text'` (protocol.md 2.12)."""
    _install()
    lines: list[str] = []
    pieces: list[str] = []
    token, piece_token = _lines.set(lines), _unfinished.set(pieces)
    try:
        yield lines
    finally:
        if pieces:
            add("LOG", "".join(pieces))
        _lines.reset(token)
        _unfinished.reset(piece_token)


def add(level: str, text: str) -> None:
    """One line of the function that runs now; nothing when none runs."""
    cut = text if len(text) <= LINE_SIZE_MAX else f"{text[:LINE_SIZE_MAX]}… (cut at {LINE_SIZE_MAX} characters)"
    relay(f"[{level}] '{cut}'")


def relay(line: str) -> None:
    """A line that has its form already."""
    lines = _lines.get()
    if lines is None or len(lines) > LINES_MAX:
        return
    if len(lines) == LINES_MAX:
        line = f"[WARN] 'More than {LINES_MAX} lines were logged; the rest is left out.'"
    lines.append(line)


class _Stdout(io.TextIOBase):
    """Standard output that belongs to the running function, if there is one."""

    def __init__(self, outer: io.TextIOBase) -> None:
        self.outer = outer

    def write(self, text: str) -> int:
        if _lines.get() is None:
            return self.outer.write(text)
        pieces = _unfinished.get()
        *finished, rest = text.split("\n")
        for line in finished:
            add("LOG", "".join([*pieces, line]))
            pieces.clear()
        if rest:
            pieces.append(rest)
        return len(text)

    def flush(self) -> None:
        self.outer.flush()


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        add(_LEVELS.get(record.levelname, "INFO"), record.getMessage())


_handler = _Handler()


def _install() -> None:
    if not isinstance(sys.stdout, _Stdout):
        sys.stdout = _Stdout(sys.stdout)  # type: ignore[arg-type, assignment]
    root = logging.getLogger()
    if _handler not in root.handlers:
        root.addHandler(_handler)
