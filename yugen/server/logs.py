"""Logs of a server: one line for each function run, as JSON for machines or as text for people."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from rich.highlighter import NullHighlighter
from rich.logging import RichHandler

from yugen.catalog import Catalog
from yugen.functions.info import AppInfo
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack, Runner

logger = logging.getLogger("yugen.run")

FIELD_SIZE_MAX = 2000
"""Characters of one field of a line; the rest is cut."""


class LoggedRunner:
    """A runner whose every run leaves a line: what ran, how long, and how it went."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    @property
    def info(self) -> AppInfo:
        return self._runner.info

    async def start(self, catalog: Catalog) -> None:
        await self._runner.start(catalog)

    async def transact(self, run: Run) -> Outcome:
        started = time.perf_counter()
        outcome = await self._runner.transact(run)
        _log(run, outcome.answer, time.perf_counter() - started)
        return outcome

    async def act(self, run: Run, call: CallBack) -> Answer:
        started = time.perf_counter()
        answer = await self._runner.act(run, call)
        _log(run, answer, time.perf_counter() - started)
        return answer

    async def close(self) -> None:
        await self._runner.close()


def _log(run: Run, answer: Answer, seconds: float) -> None:
    level = logging.INFO if answer.failure is None else logging.WARNING
    if not logger.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "kind": run.kind,
        "function": run.path,
        "request_id": run.request_id,
        "milliseconds": round(seconds * 1000, 2),
    }
    if answer.failure is not None:
        fields["error"] = answer.failure.message
    if answer.log_lines:
        fields["lines"] = list(answer.log_lines)
    outcome = "failed" if answer.failure else "ran"
    logger.log(level, "%s %s %s in %.1f ms", run.kind, run.path, outcome, seconds * 1000, extra={"fields": fields})


def configure(*, readable: bool, level: int = logging.INFO) -> None:
    """Sets up logging for a process that is a server: text for a person, or a line of JSON for each event."""
    handler: logging.Handler
    if readable:
        handler = RichHandler(show_path=False, markup=False, highlighter=NullHighlighter(), log_time_format="%H:%M:%S")
        handler.setFormatter(_Readable())
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Json())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("yugen").setLevel(level)


class _Readable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", {})
        lines = [super().format(record), *fields.get("lines", [])]
        if "error" in fields:
            lines += str(fields["error"]).split("\n")[1:] or [fields["error"]]
        return "\n  ".join(_plain(line) for line in lines)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps({key: _cut(value) for key, value in line.items()}, ensure_ascii=True, default=str)


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > FIELD_SIZE_MAX:
        return f"{value[:FIELD_SIZE_MAX]}…"
    return [_cut(part) for part in value] if isinstance(value, list) else value


def _plain(text: str) -> str:
    """Text that cannot forge lines or move the cursor of whoever reads the log."""
    return "".join(char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in text)
