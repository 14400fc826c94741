"""Holds what came of a run against what was promised."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from reliability.checkers.convergence import convergence
from reliability.checkers.once import once, scheduled_once
from reliability.checkers.replay import Replay
from reliability.checkers.serializability import anomalies
from reliability.checkers.sessions import Sessions
from reliability.checkers.violation import Violation
from reliability.records import Event, Operation, View
from reliability.simulation import jobs
from reliability.simulation.app import model, parts, transaction
from reliability.simulation.jobs import CRON_SECONDS
from reliability.verify import verify
from yugen.storage.interface import Timestamp

Ask: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Gives the newest result of a query."""


@dataclass
class Report:
    """What came of a run.

    Attributes:
        violations: which promises were broken, and where.
        counts: what happened, and what was checked.
        trace: a line for each thing that happened.
    """

    seed: int
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)

    def claim(self, violations: Iterable[Any]) -> None:
        """Takes down promises that were broken."""
        self.violations += map(str, violations)

    @property
    def digest(self) -> str:
        """The same for runs that are the same."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:16]


async def of_what_is_stored(
    report: Report, events: Sequence[Event], ask: Ask, final: Mapping[str, Any], clients: Collection[str]
) -> None:
    """Holds the answers of a run against what its effects have left, each as often as is promised."""
    low, high = f"{report.seed:05}/", f"{report.seed:05}/~"
    done = await ask("f:done", {"round": f"{report.seed:05}", "low": low, "high": high})
    operations = [each for each in events if isinstance(each, Operation)]
    noting = [part for each in operations for part in parts(each)]
    noting += [each for each in operations if each.function == "f:bump"]
    schedulers = [each for each in noting if each.args.get("ends") == "scheduled" and each.outcome == "ok"]
    report.claim(once(noting, (token for token, scheduled in done if not scheduled)))
    report.claim(scheduled_once(schedulers, (token for token, scheduled in done if scheduled)))
    report.claim(convergence((each for each in events if isinstance(each, View)), final, clients))
    later = [each for each in operations if each.function in ("j:later", "j:called")]
    ran, rows = await ask("j:ran", {}), await ask("j:jobs", {})
    report.claim(jobs.check(later, rows, ran))
    report.counts.update(
        {
            "effects": len(done),
            "scheduled": len(schedulers),
            "jobs": len(rows),
            "jobs cancelled": sum(cancelled for _, _, cancelled in rows),
            "jobs and actions done": len(ran),
            "actions lost": sum(each.outcome == "lost" for each in later),
        }
    )


def of_the_cron(report: Report, ticks: int, since: int, due: Iterable[Mapping[str, Any]]) -> None:
    """Holds the cron against its timetable.

    Args:
        report: takes what is wrong.
        ticks: how often it has run.
        since: how often of that in the last two and a half of its periods.
        due: what is scheduled.
    """
    report.counts["runs of the cron"] += ticks
    pending = sum(each["what"] == "cron tick" for each in due)
    if pending != 1:
        report.claim([Violation("crons", f"{pending} runs are to come of one cron")])
    if not 2 <= since <= 3:
        report.claim([Violation("crons", f"{since} runs in {2.5 * CRON_SECONDS} seconds")])


def of_the_history(report: Report, events: Sequence[Event], disk_failures: int) -> None:
    """Holds all that clients were told against the model, against themselves, and against one another."""
    replay, sessions = Replay(model), Sessions()
    told = [each for each in events if isinstance(each, View) or each.function != "j:called"]  # actions have no moment
    replay.take(told)
    sessions.take(told)
    operations = [each for each in told if isinstance(each, Operation)]
    failed = [each for each in operations if each.outcome == "failed"]
    if not disk_failures:
        unexplained = [each for each in failed if each.args.get("ends") != "refused" and not _was_taken(each)]
        report.claim(Violation("failed", f"{each.function} {each.args}: {each.value}") for each in unexplained)
    report.claim([*replay.violations, *sessions.violations])
    transactions = [each for each in map(transaction, operations) if each is not None]
    report.claim(anomalies(sorted(transactions, key=lambda each: each.invoked)))
    report.counts.update(
        {
            "answers replayed": replay.operations,
            "views": replay.views,
            "results compared": replay.results,
            "transactions": len(transactions),
            "mutations failed": len(failed),
            "disk operations failed": disk_failures,
        }
    )


def _was_taken(operation: Operation) -> bool:
    return operation.function == "g:claim" and "taken" in operation.value


def of_the_file(report: Report, path: Path, forgotten: Timestamp) -> None:
    """Holds what the last life has left against itself.

    Args:
        report: takes what is wrong.
        path: the database.
        forgotten: up to when requests were to be forgotten.
    """
    try:
        verify(path, whole_log=False, forgotten=forgotten)
    except AssertionError as error:
        report.claim([Violation("file", str(error))])
