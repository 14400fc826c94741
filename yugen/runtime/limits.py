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
        grace_seconds: how much longer a function may hold out against being stopped before its process is killed.
        slow_seconds: how long one function may occupy a worker before others are sent around it.
        workers_max: processes that run queries and mutations at once, those that are occupied included.
        depth: runs handed to one worker ahead of its answers.
        waiting_max: queries and mutations that may wait for a worker.
        actions_max: actions that may run at once.
    """

    transaction_seconds: float = 1.0
    action_seconds: float = 600.0
    grace_seconds: float = 0.5
    slow_seconds: float = 0.02
    workers_max: int = 16
    depth: int = 16
    waiting_max: int = 10_000
    actions_max: int = 512

    def seconds(self, run: Run) -> float:
        """How long a run may take."""
        return self.action_seconds if run.long or run.kind == "action" else self.transaction_seconds


class TimeLimitExceeded(Refused):
    """A function ran longer than it may.

    Args:
        path: the function.
        seconds: its limit.
        place: where it was when it was stopped, if that is known: " in module.py:12".
    """

    code = "TimeLimitExceeded"

    def __init__(self, path: str, seconds: float, place: str = "") -> None:
        super().__init__(
            f"{path} ran for more than {seconds:g} s and was stopped{place}; do less in one call, or do it in an "
            "action."
        )
