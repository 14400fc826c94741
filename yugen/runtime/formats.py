"""How an event reads in a log: as text for people, or as JSON for machines."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from json import JSONEncoder
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from yugen.runtime.run import Run

FIELD_SIZE_MAX = 2000
TRACEBACK_SIZE_MAX = 20_000
"""Characters of one field of a line, and of a traceback; what is between its beginning and its end is left out."""

_dumps = JSONEncoder(default=str).encode
_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "31"}
_KINDS = {"query": "36", "mutation": "35", "action": "34", "http": "32"}
_BOLD, _DIM, _RED = "1", "2", "31"


class Format(logging.Formatter, ABC):
    """A format for events of which there needs not be a record, for making one takes longer than formatting it."""

    @abstractmethod
    def line(
        self, created: float, level: str, logger: str, message: str, fields: Mapping[str, Any], traceback: str = ""
    ) -> str:
        """The text of an event, without a line break at its end.

        Args:
            created: when it was, in seconds since the epoch.
            level: how bad it is, in capitals.
            logger: who says so.
            message: what has happened.
            fields: what belongs to it, by name, of the kinds that JSON has; in `lines` and `error` is what people see.
            traceback: of the exception, if there was one.
        """

    def ran(
        self,
        created: float,
        level: str,
        logger: str,
        run: Run,
        how: str,
        ms: float,
        documents: int,
        fields: Mapping[str, Any],
    ) -> str:
        """The text of a run that has ended.

        Args:
            created: when it ended, in seconds since the epoch.
            level: how bad it is, in capitals.
            logger: who says so.
            run: what ran; its path is canonical and its request id of letters, digits, `-` and `_`.
            how: how it went, in one word.
            ms: how long it took, in milliseconds.
            documents: how many it has read.
            fields: what else belongs to it.
        """
        return self.line(created, level, logger, ran(run, how, ms), {**about(run, ms, documents), **fields})

    def format(self, record: logging.LogRecord) -> str:
        traceback = self.formatException(record.exc_info) if record.exc_info else ""
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        return self.line(record.created, record.levelname, record.name, record.getMessage(), fields, traceback)


class Readable(Format):
    """One line for an event, and below it, indented, what belongs to it.

    Args:
        coloured: whether what matters stands out, on a terminal.
    """

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def line(
        self, created: float, level: str, logger: str, message: str, fields: Mapping[str, Any], traceback: str = ""
    ) -> str:
        # The first line of a failure says what its request id is, for those who have nothing else to go by.
        error = str(fields.get("error", ""))
        traceback = traceback or fields.get("traceback", "")
        parts = [_cut(part) for part in (message, *fields.get("lines", ()))]
        parts.append(_cut(traceback, TRACEBACK_SIZE_MAX) or _cut(error.partition("\n")[2] or error))
        first, *rest = [_printable(line) for part in parts for line in part.split("\n") if line] or [""]
        if "function" in fields:
            first = self._ran(first, fields)
        elif level in _COLOURS:
            first, *rest = (self._in(_COLOURS[level], line) for line in (first, *rest))
        shown = f"{level:8}"
        if level in _COLOURS:
            shown = self._in(_COLOURS[level], shown)
        at = self._in(_DIM, time.strftime("%H:%M:%S", time.localtime(created)))
        return "\n    ".join([f"{at} {shown} {first}", *rest])

    def _ran(self, text: str, fields: Mapping[str, Any]) -> str:
        """What to say of a run: what `ran` gives, what it has read, and why it ran."""
        kind, path = fields["kind"], fields["function"]
        rest = text.removeprefix(f"{kind} {path}")
        shown = f"{self._in(_KINDS[kind], kind)} {self._in(_BOLD, path)}"
        shown += self._in(_RED, rest) if "error" in fields else rest
        more = ""
        if kind in ("query", "mutation") and "documents" in fields:
            count = fields["documents"]
            more = f", read {count} document{'' if count == 1 else 's'}"
        if fields.get("why"):
            more += f"; {fields['why']}"
        return shown + self._in(_DIM, more) if more else shown

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text


class Json(Format):
    """One line of JSON for an event, in ASCII."""

    def __init__(self) -> None:
        super().__init__()
        self._newest = 0, ""

    def line(
        self, created: float, level: str, logger: str, message: str, fields: Mapping[str, Any], traceback: str = ""
    ) -> str:
        text = (
            f'{{"time": "{self._time(created)}", "level": "{level.lower()}", "logger": {_quoted(logger)}, '
            f'"message": {_quoted(_cut(message))}{_members(fields)}'
        )
        if traceback:
            text += f', "traceback": {_quoted(_cut(traceback, TRACEBACK_SIZE_MAX))}'
        return text + "}"

    def ran(
        self,
        created: float,
        level: str,
        logger: str,
        run: Run,
        how: str,
        ms: float,
        documents: int,
        fields: Mapping[str, Any],
    ) -> str:
        # As `line` would, in half the time.
        return (
            f'{{"time": "{self._time(created)}", "level": "{level.lower()}", "logger": "{logger}", '
            f'"message": "{ran(run, how, ms)}", "kind": "{run.kind}", "function": "{run.path}", '
            f'"request_id": "{run.request_id}", "milliseconds": {round(ms, 2)}, "documents": {documents}'
            f"{_members(fields) if fields else ''}}}"
        )

    def _time(self, created: float) -> str:
        """As `datetime.isoformat` gives it, which is slow: most lines come in the second of the line before."""
        second, milliseconds = divmod(int(created * 1000), 1000)
        newest, text = self._newest
        if second != newest:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._newest = second, text
        return f"{text}.{milliseconds:03}+00:00"


def ran(run: Run, how: str, ms: float) -> str:
    """What to say of a run."""
    return f"{run.kind} {run.path} {how} in {ms:.1f} ms"


def about(run: Run, ms: float, documents: int) -> dict[str, Any]:
    """What belongs to every run that has ended."""
    return {
        "kind": run.kind,
        "function": run.path,
        "request_id": run.request_id,
        "milliseconds": round(ms, 2),
        "documents": documents,
    }


def _members(fields: Mapping[str, Any]) -> str:
    return "".join(f', "{name}": {_dumps(_cut(value))}' for name, value in fields.items())


def _cut(value: Any, size_max: int = FIELD_SIZE_MAX) -> Any:
    if isinstance(value, str) and len(value) > size_max:
        return f"{value[: size_max // 2]}…{value[-size_max // 2 :]}"
    return [_cut(part) for part in value] if isinstance(value, list) else value


def _printable(text: str) -> str:
    """Text that cannot move the cursor of whoever reads the log, nor look like a line of it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
