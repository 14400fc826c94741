"""How an event reads in a log: as text for people, or as JSON for machines."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

FIELD_SIZE_MAX = 2000
TRACEBACK_SIZE_MAX = 20_000
"""Characters of one field of a line, and of a traceback; what is between its beginning and its end is left out."""

_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "31"}


class Readable(logging.Formatter):
    """One line for an event, and below it, indented, what belongs to it.

    Args:
        coloured: whether warnings and errors stand out, on a terminal.
    """

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", {})
        # The first line of a failure says what its request id is, for those who have nothing else to go by.
        error = str(fields.get("error", ""))
        parts = [
            _cut(part) for part in (record.getMessage(), error.partition("\n")[2] or error, *fields.get("lines", ()))
        ]
        if record.exc_info:
            parts.append(_cut(self.formatException(record.exc_info), TRACEBACK_SIZE_MAX))
        first, *rest = [_printable(line) for part in parts for line in part.split("\n") if line] or [""]
        level = f"{record.levelname:8}"
        if self._coloured and record.levelname in _COLOURS:
            level = f"\x1b[{_COLOURS[record.levelname]}m{level}\x1b[0m"
        return "\n    ".join([f"{self.formatTime(record, '%H:%M:%S')} {level} {first}", *rest])


class Json(logging.Formatter):
    """One line of JSON for an event, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        line = {key: _cut(value) for key, value in line.items()}
        if record.exc_info:
            line["traceback"] = _cut(self.formatException(record.exc_info), TRACEBACK_SIZE_MAX)
        return json.dumps(line, default=str)


def _cut(value: Any, size_max: int = FIELD_SIZE_MAX) -> Any:
    if isinstance(value, str) and len(value) > size_max:
        return f"{value[: size_max // 2]}…{value[-size_max // 2 :]}"
    return [_cut(part) for part in value] if isinstance(value, list) else value


def _printable(text: str) -> str:
    """Text that cannot move the cursor of whoever reads the log, nor look like a line of it."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
