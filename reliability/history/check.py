"""Judges the history that a run has left in its folder, a round at a time, with all checkers there are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from reliability import records
from reliability.checkers.convergence import convergence
from reliability.checkers.once import once, scheduled_once
from reliability.checkers.replay import Replay
from reliability.checkers.serializability import anomalies, windows
from reliability.checkers.sessions import Sessions
from reliability.history import lists
from reliability.history.run import operations
from reliability.records import Event, Operation, View


@dataclass
class Verdict:
    """What was checked, by kind, and what was wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def check(folder: Path) -> Verdict:
    """Judges a folder; the two halves of the work go to a process each."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        halves = [pool.submit(each, folder) for each in (check_timestamps, check_dependencies)]
        verdict = Verdict()
        for half in halves:
            verdict.counts += half.result().counts
            verdict.violations += half.result().violations
    return verdict


def check_timestamps(folder: Path) -> Verdict:
    """By the timestamps that the server names: replay, sessions, exactly-once and convergence."""
    plan = json.loads((folder / "plan.json").read_text())
    replay, sessions = Replay(lists.model), Sessions()
    verdict = Verdict()
    last: dict[str, View] = {}

    def rounds() -> Iterator[list[Event]]:
        for number in range(plan["rounds"] + 1):  # in the last one, clients only look
            yield list(records.read(folder / f"round-{number:05}.jsonl"))

    for events in in_their_rounds(rounds()):
        replay.take(events)
    for number, events in enumerate(rounds()):
        sessions.take(events)
        last.update({event.client: event for event in events if isinstance(event, View)})
        if number < plan["rounds"]:
            verdict.violations += map(str, _check_once(folder, number, list(operations(events)), verdict.counts))
    end = json.loads((folder / "final.json").read_text())
    verdict.violations += map(str, convergence(last.values(), end["final"], end["clients"]))
    verdict.violations += map(str, [*replay.violations, *sessions.violations])
    verdict.counts.update(
        {
            "answers replayed": replay.operations,
            "views compared": replay.views,
            "results compared": replay.results,
            "reconnects seen": sessions.reconnects,
            "lost that landed": len(replay.landed),
            "clients converged": len(end["clients"]),
        }
    )
    return verdict


def in_their_rounds(rounds: Iterable[list[Event]]) -> Iterator[list[Event]]:
    """The same, with each view in the round whose state it shows: some come when their round has all its answers."""
    before: list[Event] = []
    for events in rounds:
        newest = max((each.ts or 0 for each in before if isinstance(each, Operation)), default=0)
        late = [each for each in events if isinstance(each, View) and each.ts < newest]
        yield [*before, *late]
        before = [each for each in events if not (isinstance(each, View) and each.ts < newest)]
    yield before


def _check_once(folder: Path, number: int, asked: list[Operation], counts: Counter[str]) -> Iterator[Any]:
    rows = json.loads((folder / f"done-{number:05}.json").read_text())
    schedulers = [each for each in asked if each.args.get("ends") == "scheduled"]
    counts.update({each.outcome: 0 for each in asked})
    for each in asked:
        counts[each.outcome] += 1
    counts["effects counted"] += len(rows)
    counts["scheduled counted"] += sum(scheduled for _, scheduled in rows)
    yield from once(asked, (token for token, scheduled in rows if not scheduled))
    yield from scheduled_once(schedulers, (token for token, scheduled in rows if scheduled))


def check_dependencies(folder: Path) -> Verdict:
    """By nothing but what clients saw and when: cycles of dependencies and of real time."""
    plan = json.loads((folder / "plan.json").read_text())
    verdict = Verdict()

    def history() -> Iterator[Any]:
        for number in range(plan["rounds"]):
            asked = operations(records.read(folder / f"round-{number:05}.jsonl"))
            found = filter(None, map(lists.transaction, asked))
            yield from sorted(found, key=lambda each: each.invoked)

    for window in windows(history()):
        verdict.counts.update({"transactions in windows": len(window), "windows": 1})
        verdict.violations += map(str, anomalies(window))
    return verdict
