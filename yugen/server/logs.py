"""Logs of a server: one line for each function run, as JSON for machines or as text for people."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from yugen.catalog import Catalog
from yugen.functions.info import AppInfo
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack, Runner

FIELD_SIZE_MAX = 2000
TRACEBACK_SIZE_MAX = 20_000
"""Characters of one field of a line, and of a traceback; what is between its beginning and its end is left out."""

_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "31"}

logger = logging.getLogger("yugen.run")


class LoggedRunner:
    """A runner whose every run leaves a line: what ran, how long, and how it went.

    Args:
        runner: what runs the functions.
        lines_to_callers: whether what functions log goes to their callers as well.
    """

    def __init__(self, runner: Runner, *, lines_to_callers: bool) -> None:
        self._runner = runner
        self._lines_to_callers = lines_to_callers

    @property
    def info(self) -> AppInfo:
        return self._runner.info

    async def start(self, catalog: Catalog) -> None:
        await self._runner.start(catalog)

    async def transact(self, run: Run) -> Outcome:
        started = time.perf_counter()
        outcome = await self._runner.transact(run)
        return replace(outcome, answer=self._logged(run, outcome.answer, started))

    async def act(self, run: Run, call: CallBack) -> Answer:
        started = time.perf_counter()
        return self._logged(run, await self._runner.act(run, call), started)

    async def close(self) -> None:
        await self._runner.close()

    def _logged(self, run: Run, answer: Answer, started: float) -> Answer:
        milliseconds = (time.perf_counter() - started) * 1000
        level, outcome = (logging.INFO, "ran") if answer.failure is None else (logging.WARNING, "failed")
        if logger.isEnabledFor(level):
            fields: dict[str, Any] = {
                "kind": run.kind,
                "function": run.path,
                "request_id": run.request_id,
                "milliseconds": round(milliseconds, 2),
            }
            if answer.failure is not None:
                fields["error"] = answer.failure.message
            if answer.log_lines:
                fields["lines"] = list(answer.log_lines)
            extra = {"fields": fields}
            logger.log(level, "%s %s %s in %.1f ms", run.kind, run.path, outcome, milliseconds, extra=extra)
        return answer if self._lines_to_callers else replace(answer, log_lines=())


def configure(*, readable: bool, level: int = logging.INFO) -> None:
    """Sets up logging to standard error for a process that is a server.

    Args:
        readable: text for a person, not a line of JSON for each event.
        level: the least that Yugen itself logs; libraries log warnings.
    """
    handler = logging.StreamHandler(sys.stderr)
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    handler.setFormatter(Readable(coloured=coloured) if readable else Json())
    handler.addFilter(_not_the_clients_fault)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("yugen").setLevel(level)


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


def _not_the_clients_fault(record: logging.LogRecord) -> bool:
    """Leaves out the traceback that uvicorn logs when a client sends text that is not UTF-8."""
    return not (record.name == "uvicorn.error" and record.exc_info and record.exc_info[0] is UnicodeDecodeError)


def _cut(value: Any, size_max: int = FIELD_SIZE_MAX) -> Any:
    if isinstance(value, str) and len(value) > size_max:
        return f"{value[: size_max // 2]}…{value[-size_max // 2 :]}"
    return [_cut(part) for part in value] if isinstance(value, list) else value


def _printable(text: str) -> str:
    """Text that cannot move the cursor of whoever reads the log, nor look like a line of it."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
