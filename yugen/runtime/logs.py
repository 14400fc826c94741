"""`print` and `logging` inside a function become the lines that go with its answer."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO, cast

from yugen.runtime.limits import RunLimits

_LEVELS = {"DEBUG": "DEBUG", "INFO": "INFO", "WARNING": "WARN", "ERROR": "ERROR", "CRITICAL": "ERROR"}


class captured:  # noqa: N801 -- named like those of contextlib
    """Collects what is logged within, in the form clients parse: `[LOG] 'text'` (protocol.md 2.12).

    Args:
        limits: how much of it.
        mask: gives a text without what must not be logged.
    """

    __slots__ = ("_token", "limits", "lines", "mask", "unfinished")

    def __init__(self, limits: RunLimits, mask: Callable[[str], str] = str) -> None:
        self.limits = limits
        self.mask = mask
        self.lines: list[str] = []
        self.unfinished: list[str] = []  # what was printed since the last end of a line

    def __enter__(self) -> list[str]:
        _install()
        self._token = _capture.set(self)
        return self.lines

    def __exit__(self, *error: object) -> None:
        if self.unfinished:
            add("LOG", "".join(self.unfinished))
        _capture.reset(self._token)


@contextmanager
def captured_apart(limits: RunLimits) -> Iterator[list[str]]:
    """Collects what is logged within in a list of its own, whose lines go with those around it at the end."""
    capture = captured(limits)
    try:
        with capture as lines:
            yield lines
    finally:
        for line in capture.lines:
            relay(line)


_capture: ContextVar[captured | None] = ContextVar("capture", default=None)


def add(level: str, text: str) -> None:
    """One line of the function that runs now; nothing when none runs."""
    capture = _capture.get()
    if capture is None:
        return
    text = capture.mask(text)  # before a cut leaves the beginning of a secret
    most = capture.limits.log_line_size
    relay(f"[{level}] '{text if len(text) <= most else f'{text[:most]}… (cut at {most} characters)'}'")


def relay(line: str) -> None:
    """A line that has its form already."""
    capture = _capture.get()
    if capture is None or len(capture.lines) > capture.limits.log_lines:
        return
    if len(capture.lines) == capture.limits.log_lines:
        line = f"[WARN] 'More than {capture.limits.log_lines} lines were logged; the rest is left out.'"
    capture.lines.append(line)


class _Stdout:
    """Standard output that belongs to the running function, if there is one. Anything else is as it was."""

    def __init__(self, outer: TextIO) -> None:
        self._outer = outer

    def write(self, text: str) -> int:
        capture = _capture.get()
        if capture is None:
            return self._outer.write(text)
        *finished, rest = text.split("\n")
        for line in finished:
            add("LOG", "".join([*capture.unfinished, line]))
            capture.unfinished.clear()
        if rest:
            capture.unfinished.append(rest)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outer, name)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _capture.get() is not None:
            try:
                add(_LEVELS.get(record.levelname, "INFO"), self.format(record))
            except Exception:
                self.handleError(record)
            return
        # Being there, this handler has taken the place of the one that Python falls back to.
        last_resort = logging.lastResort
        if _root.handlers == [self] and last_resort and record.levelno >= last_resort.level:
            last_resort.handle(record)


_handler = _Handler()
_root = logging.getLogger()


def _install() -> None:
    if not isinstance(sys.stdout, _Stdout):
        sys.stdout = cast("TextIO", _Stdout(sys.stdout))
    if _handler in _root.handlers:
        return
    if not _root.handlers:
        _root.setLevel(logging.INFO)  # nobody has set up logging, and what a function logs should not be lost
    _root.addHandler(_handler)
    logging.getLogger("yugen.function").setLevel(logging.DEBUG)
