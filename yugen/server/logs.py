"""Logs of a server: one line for each function run, as JSON for machines or as text for people."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from yugen.functions.names import SYSTEM_PREFIX
from yugen.runtime.causes import CALLED, Why
from yugen.runtime.formats import Format, Json, Readable, ran
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run
from yugen.server.lines import Lines
from yugen.server.runs import Runs

own = logging.getLogger("yugen")
logger = logging.getLogger("yugen.run")

_NO_FIELDS: dict[str, Any] = {}


class RunLog:
    """Leaves a line of every run: what ran, how long, and how it went.

    Args:
        lines_to_callers: whether what functions log goes to their callers as well.
        runs: where the runs are kept for administrators, if anywhere.
    """

    def __init__(self, *, lines_to_callers: bool, runs: Runs | None = None) -> None:
        self._runs = runs
        self._lines_to_callers = lines_to_callers

    def ended(self, run: Run, outcome: Outcome, seconds: float, why: Why = CALLED) -> Answer:
        """Takes note of a run that took so many seconds; gives what its caller gets to see of its answer."""
        answer = outcome.answer
        if run.path.startswith(SYSTEM_PREFIX):
            level = logging.DEBUG  # an administrator looks around
        else:
            level = logging.INFO if answer.failure is None else logging.WARNING
            if self._runs is not None:
                self._runs.add(run, answer, seconds)
        if logger.isEnabledFor(level):
            _log(level, run, answer, seconds * 1000)
        if answer.log_lines and not self._lines_to_callers:
            return answer._replace(log_lines=())
        return answer


def _log(level: int, run: Run, answer: Answer, milliseconds: float) -> None:
    how, fields = "ran", _NO_FIELDS
    if answer.failure is not None:
        how, message, detail = "failed", answer.failure.message, answer.failure.detail
        fields = {"error": message if detail in message else f"{message}\nUncaught {detail}"}
    if answer.log_lines:
        fields = {**fields, "lines": list(answer.log_lines)}
    match logger.root.handlers:
        case [StandardError() as only] if not (logger.handlers or logger.filters or own.handlers):
            # What logging would do in the end, without a record of where in the code the event is and the like.
            only.add_run(level, run, how, milliseconds, fields)
        case _:
            about: dict[str, Any] = {
                "kind": run.kind,
                "function": run.path,
                "request_id": run.request_id,
                "milliseconds": round(milliseconds, 2),
            }
            logger.log(level, "%s", ran(run, how, milliseconds), extra={"fields": about | fields})


class StandardError(logging.Handler):
    """Writes events to standard error, soon, see `yugen.server.lines`."""

    def __init__(self, form: Format) -> None:
        super().__init__()
        self._form = form
        self._lines = Lines(sys.stderr, self._missing)
        self.setFormatter(form)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.add(self.format(record))
        except Exception:
            self.handleError(record)

    def add_run(self, level: int, run: Run, how: str, milliseconds: float, fields: Mapping[str, Any]) -> None:
        """Writes that a run has ended now."""
        level_name = logging.getLevelName(level)
        self._lines.add(self._form.ran(time.time(), level_name, logger.name, run, how, milliseconds, fields))

    def flush(self) -> None:
        """Writes what there is, now. `logging` itself does so when the process ends."""
        self._lines.flush()

    def close(self) -> None:
        self._lines.close()
        super().close()

    def _missing(self, count: int) -> str:
        text = f"{count} lines are missing here: they came faster than standard error was read."
        return self._form.line(time.time(), "WARNING", own.name, text, {})


def configure(*, readable: bool, at_once: bool = False, level: int = logging.INFO) -> None:
    """Sets up logging to standard error for a process that is a server.

    Args:
        readable: text for a person, not a line of JSON for each event.
        at_once: write each line as it comes, without a thread, for a process that forks.
        level: the least that Yugen itself logs; libraries log warnings.
    """
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    form = Readable(coloured=coloured) if readable else Json()
    handler = logging.StreamHandler(sys.stderr) if at_once else StandardError(form)
    handler.setFormatter(form)
    handler.addFilter(_not_the_clients_fault)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    own.setLevel(level)


def _not_the_clients_fault(record: logging.LogRecord) -> bool:
    """Leaves out the traceback that uvicorn logs when a client sends text that is not UTF-8."""
    return not (record.name == "uvicorn.error" and record.exc_info and record.exc_info[0] is UnicodeDecodeError)
