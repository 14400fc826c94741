"""How long and how much the functions of an app may run."""

from __future__ import annotations

from dataclasses import dataclass

from yugen.errors import Refused
from yugen.runtime.run import Run


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Limits of running functions; the figures are Convex's where it has one (protocol.md 10).

    Attributes:
        transaction_seconds: how long a query or a mutation may run.
        action_seconds: how long an action may run, and those of Yugen's own functions that take long.
        grace_seconds: how much longer a query or a mutation may hold out against being stopped before its process is
            killed.
        shutdown_seconds: how long running actions may take to finish when the server stops.
        cleanup_seconds: how long an action that is cancelled, at its limit or because the server stops, may take to
            clean up. Together with `shutdown_seconds` it is less than the 10 s after which Docker kills a container.
        slow_seconds: how long one function may occupy a worker before others are sent around it.
        workers_max: processes that run queries and mutations at once, those that are occupied included.
        depth: runs handed to one worker ahead of its answers.
        waiting_max: queries and mutations that may wait for a worker.
        actions_max: actions that may run at once, HTTP actions too; those that only wait for an action do not count.
        actions_waiting_max: actions that may wait until one of them has ended.
        ranges_read: ranges of indexes and single documents that a query or a mutation may read.
        documents_read: documents that it may read.
        bytes_read: bytes of their stored JSON.
        documents_written: documents that a mutation may write.
        bytes_written: bytes of their stored JSON.
        tables: tables of a deployment.
        scheduled: functions that a mutation may schedule.
        workflow_steps: steps of a workflow.
        scheduled_mutations_max: scheduled mutations that may run at once.
        scheduled_actions_max: scheduled actions that may run at once.
        arguments_bytes: size of the arguments of a function, as `yugen.values.size` has it.
        result_bytes: size of its result.
        http_request_bytes: size of the body of a request to an HTTP action.
        http_response_bytes: size of the body of its response.
        log_lines: lines that a function may log; the rest is left out.
        log_line_size: characters of a line; the rest of it is left out.
        memory_bytes: what the process of a query or a mutation may take beyond what it has at the start.
    """

    transaction_seconds: float = 1.0
    action_seconds: float = 600.0
    grace_seconds: float = 0.5
    shutdown_seconds: float = 7.0
    cleanup_seconds: float = 2.0
    slow_seconds: float = 0.02
    workers_max: int = 16
    depth: int = 16
    waiting_max: int = 10_000
    actions_max: int = 512
    actions_waiting_max: int = 1024
    ranges_read: int = 4096
    documents_read: int = 32_000
    bytes_read: int = 16 * 1024 * 1024
    documents_written: int = 16_000
    bytes_written: int = 16 * 1024 * 1024
    tables: int = 10_000
    scheduled: int = 1000
    workflow_steps: int = 1000
    scheduled_mutations_max: int = 16
    scheduled_actions_max: int = 64
    arguments_bytes: int = 16 * 1024 * 1024
    result_bytes: int = 16 * 1024 * 1024
    http_request_bytes: int = 20 * 1024 * 1024
    http_response_bytes: int = 20 * 1024 * 1024
    log_lines: int = 256
    log_line_size: int = 4096
    memory_bytes: int = 512 * 1024 * 1024

    def seconds(self, run: Run) -> float:
        """How long a run may take."""
        return self.action_seconds if run.long or run.kind in ("action", "http") else self.transaction_seconds


class TimeLimitExceeded(Refused):
    """A function ran longer than it may.

    Args:
        path: the function.
        seconds: its limit.
        place: where it was when it was stopped, if that is known: " in module.py:12".
        is_action: whether it had the time of an action.
    """

    code = "TimeLimitExceeded"

    def __init__(self, path: str, seconds: float, place: str = "", *, is_action: bool = False) -> None:
        instead = "raise the limit `action_seconds`" if is_action else "do it in an action"
        super().__init__(
            f"{path} ran for more than {seconds:g} s and was stopped{place}; do less in one call, or {instead}."
        )


class ActionCancelled(Refused):
    """An action that was running when the server stopped, for longer than the server waits."""

    code = "ActionCancelled"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} was cancelled because the server stops; it may have done part of its work.")


class MemoryLimitExceeded(Refused):
    """A function asked for more memory than its process may take.

    Args:
        path: the function.
        figure: the limit in bytes.
    """

    code = "MemoryLimitExceeded"

    def __init__(self, path: str, figure: int) -> None:
        super().__init__(
            f"{path} needs more than the {figure:,} bytes of memory that a function may take; do less in one call, or "
            "raise the limit `memory_bytes`."
        )
