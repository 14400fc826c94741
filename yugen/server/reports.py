"""What goes wrong, told to Sentry: where and in what, and nothing of anybody's data.

An event has the class of the error, its frames, the function, the kind, the request id, the release and the
environment. The text of the error is not sent, for it may quote arguments, and neither are local variables, source
code, headers, or who called: they are in the log, under the request id.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
import traceback
from collections.abc import Callable, Mapping
from random import random
from typing import TYPE_CHECKING, Any, Final, Self

from yugen.functions.names import SYSTEM_PREFIX
from yugen.runtime.causes import CALLED, Why
from yugen.runtime.outcome import Answer, Failure
from yugen.runtime.run import Run

if TYPE_CHECKING:
    import sentry_sdk

logger = logging.getLogger(__name__)

WINDOW_SECONDS: Final = 60.0
SAME_MAX: Final = 1
"""Reports of one class of error in one function, in a window: a cron that fails each second is told of once."""

ALL_MAX: Final = 60
"""Reports of all errors in a window."""

FLUSH_SECONDS_MAX: Final = 2.0
"""How long a host that does not answer may hold up the end of the server."""

_LOGGERS: Final = ("yugen.cli", "yugen.runtime", "yugen.server", "uvicorn.error")
_FRAME: Final = re.compile(r'^[ |+]*File "(?P<filename>[^"\n]+)", line (?P<lineno>\d+), in (?P<function>[\w<>.]+)$')
_HEAD: Final = "Traceback (most recent call last):"
_NAME: Final = re.compile(r"[\w.]{1,100}")


class Budget:
    """Counts reports, so that many of the same are told of once and many in all are not all told of.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._counts: dict[tuple[str, str], int] = {}
        self._all = 0

    def allows(self, path: str, kind: str) -> bool:
        """Whether one more may go, which is counted then."""
        if self._clock() - self._began >= WINDOW_SECONDS:
            self._began, self._all = self._clock(), 0
            self._counts.clear()
        key = (path, kind)
        if self._all >= ALL_MAX or self._counts.get(key, 0) >= SAME_MAX:
            return False
        self._all += 1
        self._counts[key] = self._counts.get(key, 0) + 1
        return True


class Reports(logging.Handler):
    """Sends errors of functions and of the server, and as many runs as asked for, to Sentry.

    Args:
        client: sends events, from a thread and a queue with a bound.
        sample_rate: the share of runs that become a transaction each.

    Attributes:
        environment: says whether this is `dev`, `test` or `prod`.
        dropped: how many errors were not sent, as there were too many.
    """

    def __init__(self, client: sentry_sdk.Client, sample_rate: float = 0.0) -> None:
        super().__init__(logging.ERROR)
        self._client = client
        self._sample_rate = sample_rate
        self._budget = Budget()
        self.environment: Callable[[], str | None] = lambda: None
        self.dropped = 0

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self | None:
        """What SENTRY_DSN, SENTRY_TRACES_SAMPLE_RATE and YUGEN_RELEASE ask for; nothing without the first."""
        if not (dsn := environ.get("SENTRY_DSN")):
            return None
        import sentry_sdk  # noqa: PLC0415 -- not for those who do without
        from sentry_sdk.utils import BadDsn  # noqa: PLC0415

        try:
            rate = float(environ.get("SENTRY_TRACES_SAMPLE_RATE", "0"))
            # A client of its own: what the app does with Sentry is the app's business.
            client = sentry_sdk.Client(
                dsn,
                release=environ.get("YUGEN_RELEASE") or environ.get("SENTRY_RELEASE"),
                default_integrations=False,
                auto_enabling_integrations=False,
                max_breadcrumbs=0,
                auto_session_tracking=False,
                send_client_reports=False,
                shutdown_timeout=FLUSH_SECONDS_MAX,
            )
        except (BadDsn, ValueError) as error:
            logger.error("nothing is sent to Sentry: %s", type(error).__name__)  # its text is the secret
            return None
        return cls(client, rate)

    def open(self) -> None:
        """Hears of errors of the server from now on."""
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self)

    def close(self) -> None:
        """Sends what there is, within `FLUSH_SECONDS_MAX`, and ends."""
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self)
        self._client.close(timeout=FLUSH_SECONDS_MAX)
        super().close()

    def ended(self, run: Run, answer: Answer, seconds: float, why: Why = CALLED) -> None:
        """Takes note of a run that took so many seconds."""
        if run.path.startswith(SYSTEM_PREFIX):
            return
        failure = answer.failure
        if failure is not None and _is_fault(failure):
            name = failure.detail.partition(":")[0]
            name = name if _NAME.fullmatch(name) else "Error"
            self._error(name, _frames(failure.traceback), run.path, _tags(run))
        if self._sample_rate and random() < self._sample_rate:
            self._transaction(run, failed=failure is not None, seconds=seconds)

    def emit(self, record: logging.LogRecord) -> None:
        """Takes note of an error that the server has logged."""
        if not record.exc_info or (error := record.exc_info[1]) is None:
            return
        try:
            frames = [
                {"filename": each.filename, "lineno": each.lineno, "function": each.name}
                for each in traceback.extract_tb(error.__traceback__)
            ]
            self._error(type(error).__name__, frames, record.name, {"logger": record.name})
        except Exception:
            self.handleError(record)

    def _error(self, name: str, frames: list[dict[str, Any]], where: str, tags: dict[str, str]) -> None:
        if not self._budget.allows(where, name):
            self.dropped += 1
            return
        exception = {"type": name, "value": "", "stacktrace": {"frames": frames}}
        self._send({"level": "error", "exception": {"values": [exception]}, "transaction": where, "tags": tags})

    def _transaction(self, run: Run, *, failed: bool, seconds: float) -> None:
        now = time.time()
        trace = {
            "trace_id": secrets.token_hex(16),
            "span_id": secrets.token_hex(8),
            "op": f"function.{run.kind}",
            "status": "internal_error" if failed else "ok",
        }
        self._send(
            {
                "type": "transaction",
                "transaction": run.path,
                "start_timestamp": now - seconds,
                "timestamp": now,
                "contexts": {"trace": trace},
                "spans": [],
                "tags": _tags(run),
            }
        )

    def _send(self, event: Any) -> None:
        environment = self.environment() or os.environ.get("SENTRY_ENVIRONMENT")
        if environment:
            event["environment"] = environment
        event["server_name"] = ""  # the name of a host is nobody's business
        self._client.capture_event(event)


def _is_fault(failure: Failure) -> bool:
    """Whether code of the app has failed; not what it raises on purpose, nor calls that were refused before it ran."""
    return failure.data is None and bool(failure.traceback)


def _tags(run: Run) -> dict[str, str]:
    return {"function": run.path, "kind": run.kind, "request_id": run.request_id}


def _frames(text: str) -> list[dict[str, Any]]:
    """The frames of the last error in a traceback, the innermost last; no line of it that is the text of an error."""
    frames: list[dict[str, Any]] = []
    for line in text.rpartition(_HEAD)[2].splitlines()[1:]:
        if not line.startswith((" ", "|")):
            break
        if found := _FRAME.match(line):
            frames.append({**found.groupdict(), "lineno": int(found["lineno"])})
    return frames
