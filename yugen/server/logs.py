"""Logs of a server: one line for each function run, as JSON for machines or as text for people."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from yugen.catalog import Catalog
from yugen.functions.names import SYSTEM_PREFIX
from yugen.runtime.causes import CALLED, Why
from yugen.runtime.formats import Format, Json, Readable, about, ran
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.queries import QueryKey
from yugen.runtime.run import Run
from yugen.server.lines import Lines
from yugen.server.runs import Runs
from yugen.server.telemetry import Listener

own = logging.getLogger("yugen")
logger = logging.getLogger("yugen.run")

_NO_FIELDS: dict[str, Any] = {}


class RunLog:
    """Leaves a line of every run: what ran, how long, and how it went.

    Args:
        lines_to_callers: whether what functions log goes to their callers as well.
        runs: where the runs are kept for administrators, if anywhere.
        listeners: hear of the runs, too.
        tells_why: whether it is said why they ran.

    Attributes:
        catalog: gives the tables, whose names are said then.
    """

    def __init__(
        self,
        *,
        lines_to_callers: bool,
        runs: Runs | None = None,
        listeners: Sequence[Listener] = (),
        tells_why: bool = False,
    ) -> None:
        self._runs = runs
        self._listeners = listeners
        self._lines_to_callers = lines_to_callers
        self._tells_why = tells_why
        self.catalog: Callable[[], Catalog] = Catalog

    def ended(self, run: Run, outcome: Outcome, seconds: float, why: Why = CALLED) -> Answer:
        """Takes note of a run that took so many seconds; gives what its caller gets to see of its answer."""
        answer = outcome.answer
        for listener in self._listeners:
            listener.ended(run, answer, seconds, why)
        if run.path.startswith(SYSTEM_PREFIX):
            level = logging.DEBUG  # an administrator looks around
        else:
            level = logging.INFO if answer.failure is None else logging.WARNING
            if self._runs is not None:
                self._runs.add(run, answer, seconds)
        if logger.isEnabledFor(level):
            words = why.in_words(run.kind, self.catalog()) if self._tells_why else ""
            shown = answer
            if answer.failure is not None and not self._lines_to_callers:
                # The worker has logged where it was raised.
                shown = answer._replace(failure=answer.failure._replace(traceback=""))
            _log(level, run, shown, seconds * 1000, outcome.used.documents, words)
        if answer.log_lines and not self._lines_to_callers:
            return answer._replace(log_lines=())
        return answer

    def kept(self, key: QueryKey, subscribed: bool) -> None:
        """Takes note of a query that was answered without a run."""
        if not key.path.startswith(SYSTEM_PREFIX):
            why = "subscribed" if subscribed else "called"
            fields = {"kind": "query", "function": key.path, "why": why}
            logger.info("query %s answered from the cache", key.path, extra={"fields": fields})


def _log(level: int, run: Run, answer: Answer, milliseconds: float, documents: int, why: str) -> None:
    how, fields = "ran", _NO_FIELDS
    if why:
        fields = {"why": why}
    if answer.failure is not None:
        how, message, detail = "failed", answer.failure.message, answer.failure.detail
        fields = {**fields, "error": message if detail in message else f"{message}\nUncaught {detail}"}
        if answer.failure.traceback:
            fields = {**fields, "traceback": answer.failure.traceback}
    if answer.log_lines:
        fields = {**fields, "lines": list(answer.log_lines)}
    match logger.root.handlers:
        case [StandardError() as only] if not (logger.handlers or logger.filters or own.handlers):
            # What logging would do in the end, without a record of where in the code the event is and the like.
            only.add_run(level, run, how, milliseconds, documents, fields)
        case _:
            told = about(run, milliseconds, documents) | fields
            logger.log(level, "%s", ran(run, how, milliseconds), extra={"fields": told})


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

    def add_run(
        self, level: int, run: Run, how: str, milliseconds: float, documents: int, fields: Mapping[str, Any]
    ) -> None:
        """Writes that a run has ended now."""
        level_name = logging.getLevelName(level)
        self._lines.add(self._form.ran(time.time(), level_name, logger.name, run, how, milliseconds, documents, fields))

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

    What ends the process is logged too.
    """
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    form = Readable(coloured=coloured) if readable else Json()
    handler = logging.StreamHandler(sys.stderr) if at_once else StandardError(form)
    handler.setFormatter(form)
    handler.addFilter(_is_news)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    own.setLevel(level)
    # Python's own would come in the middle of a line that another thread writes.
    sys.excepthook = _uncaught


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Logs what ends the process."""
    own.critical("the process ends with an error", exc_info=(kind, error, traceback))


def _is_news(record: logging.LogRecord) -> bool:
    """Leaves out what uvicorn logs of text from clients that is not UTF-8, and of what has been logged already."""
    error = record.exc_info[0] if record.name == "uvicorn.error" and record.exc_info else None
    return not (error is UnicodeDecodeError or getattr(error, "is_logged", False))
