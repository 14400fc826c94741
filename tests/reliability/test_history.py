"""A small share of real runs, whose histories must have nothing wrong; and a server that is wrong, which is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reliability import records
from reliability.history.check import check_dependencies, check_timestamps
from reliability.history.run import Plan, Run
from reliability.records import Operation


async def run(plan: Plan, folder: Path) -> None:
    await Run(plan, folder, print).go()


@pytest.mark.parametrize("workers", [1, 2])
async def test_clients_are_never_told_anything_wrong(workers: int, tmp_path: Path) -> None:
    plan = Plan(workers, 800, round_size=400, clients=16, cut_share=0.05, kills=1, workers=workers)
    await run(plan, tmp_path)
    timestamps, dependencies = check_timestamps(tmp_path), check_dependencies(tmp_path)
    assert timestamps.violations + dependencies.violations == []
    counts = timestamps.counts + dependencies.counts
    assert counts["answers replayed"] > 700
    assert counts["transactions in windows"] > 600
    assert counts["results compared"] > 300
    assert counts["effects counted"] > 700
    assert counts["scheduled counted"] > 0
    assert counts["reconnects seen"] > 10
    assert counts["clients converged"] == 16


async def test_a_history_with_a_fault_is_found(tmp_path: Path) -> None:
    await run(Plan(7, 300, round_size=300, clients=8), tmp_path)
    place = tmp_path / "round-00000.jsonl"
    events = list(records.read(place))
    reads = [
        event
        for event in events
        if isinstance(event, Operation) and event.outcome == "ok" and event.function == "f:bump"
    ]
    bumped = max(reads, key=lambda each: each.value)
    events.remove(bumped)
    records.write(events, place)
    # Its effect is stored, and nobody has asked for it.
    assert any(each.startswith("unasked") for each in check_timestamps(tmp_path).violations)
    done = tmp_path / "done-00000.json"
    rows = json.loads(done.read_text())
    done.write_text(json.dumps([*rows, rows[0]]))
    assert any(", 2 times" in each for each in check_timestamps(tmp_path).violations)
