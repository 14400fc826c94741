"""Logs of a server: one line for each function run, as JSON for machines or as text for people."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any

from yugen.catalog import Catalog
from yugen.functions.info import AppInfo
from yugen.functions.names import SYSTEM_PREFIX
from yugen.runtime.formats import Json, Readable
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack, Runner
from yugen.server.runs import Runs

logger = logging.getLogger("yugen.run")


class LoggedRunner:
    """A runner whose every run leaves a line: what ran, how long, and how it went.

    Args:
        runner: what runs the functions.
        lines_to_callers: whether what functions log goes to their callers as well.
        runs: where the runs are kept for administrators, if anywhere.
    """

    def __init__(self, runner: Runner, *, lines_to_callers: bool, runs: Runs | None = None) -> None:
        self._runner = runner
        self._runs = runs
        self._lines_to_callers = lines_to_callers

    @property
    def info(self) -> AppInfo:
        return self._runner.info

    async def start(self, catalog: Catalog) -> None:
        await self._runner.start(catalog)

    async def transact(self, run: Run) -> Outcome:
        started = time.perf_counter()
        outcome = await self._runner.transact(run)
        return outcome._replace(answer=self._logged(run, outcome.answer, started))

    async def act(self, run: Run, call: CallBack) -> Answer:
        started = time.perf_counter()
        return self._logged(run, await self._runner.act(run, call), started)

    async def close(self) -> None:
        await self._runner.close()

    def _logged(self, run: Run, answer: Answer, started: float) -> Answer:
        seconds = time.perf_counter() - started
        milliseconds = seconds * 1000
        if self._runs is not None:
            self._runs.add(run, answer, seconds)
        level, outcome = (logging.INFO, "ran") if answer.failure is None else (logging.WARNING, "failed")
        if run.path.startswith(SYSTEM_PREFIX):
            level = logging.DEBUG  # an administrator looks around
        if logger.isEnabledFor(level):
            fields: dict[str, Any] = {
                "kind": run.kind,
                "function": run.path,
                "request_id": run.request_id,
                "milliseconds": round(milliseconds, 2),
            }
            if answer.failure is not None:
                message, detail = answer.failure.message, answer.failure.detail
                fields["error"] = message if detail in message else f"{message}\nUncaught {detail}"
            if answer.log_lines:
                fields["lines"] = list(answer.log_lines)
            extra = {"fields": fields}
            logger.log(level, "%s %s %s in %.1f ms", run.kind, run.path, outcome, milliseconds, extra=extra)
        return answer if self._lines_to_callers else answer._replace(log_lines=())


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


def _not_the_clients_fault(record: logging.LogRecord) -> bool:
    """Leaves out the traceback that uvicorn logs when a client sends text that is not UTF-8."""
    return not (record.name == "uvicorn.error" and record.exc_info and record.exc_info[0] is UnicodeDecodeError)
