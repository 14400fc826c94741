"""The last runs of functions, as they are kept for administrators."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise

import pytest

from yugen.functions.info import Kind
from yugen.identity import Identity
from yugen.runtime.outcome import Answer, Failure
from yugen.runtime.run import Run
from yugen.server import runs
from yugen.server.runs import Runs

SECRET = b'{"password":"hunter2"}'


def run(path: str = "notes:count", kind: Kind = "query", identity: Identity | None = None) -> Run:
    return Run(kind, path, SECRET, True, 1, 0.0, b"seed", "0123456789abcdef", identity)


def paths(kept: Runs, cursor: float = 0) -> list[str]:
    return [ran.path for ran in kept.after(cursor)]


def test_a_run_in_the_form_of_the_command_line() -> None:
    kept = Runs(clock=lambda: 1_700_000_000.5)
    kept.add(run(kind="mutation"), Answer(b"1.0", log_lines=("[LOG] 'a\nb'", "[WARN] 'c'", "odd")), 0.25)
    [ran] = kept.after(0)
    at = ran.cursor
    assert at == kept.newest == pytest.approx(1_700_000_000_500)
    entry = ran.to_json(structured=True)
    assert entry["kind"] == "Completion"
    assert (entry["udfType"], entry["identifier"]) == ("Mutation", "notes:count")
    assert (entry["timestamp"], entry["executionTime"]) == (pytest.approx(1_700_000_000.5), 0.25)
    assert entry["executionTimestamp"] == pytest.approx(1_700_000_000.25)
    assert (entry["error"], entry["returnBytes"]) == (None, 3)
    assert (entry["requestId"], entry["identityType"]) == ("0123456789abcdef", "unknown")
    line = {"isTruncated": False, "timestamp": at}
    assert entry["logLines"] == [
        {"level": "LOG", "messages": ["'a\nb'"], **line},
        {"level": "WARN", "messages": ["'c'"], **line},
        {"level": "LOG", "messages": ["odd"], **line},
    ]
    assert ran.to_json(structured=False)["logLines"] == ["[LOG] 'a\nb'", "[WARN] 'c'", "odd"]


def test_an_error_is_told_in_full_and_arguments_and_results_not_at_all() -> None:
    kept = Runs()
    failure = Failure("[Request ID: 01] Server Error", detail="LookupError: none\n    at count (notes.py:3:1)")
    kept.add(run(identity=Identity("i|s", "s", "i")), Answer(failure=failure), 0.1)
    kept.add(run(), Answer(b'"treasure"'), 0.1)
    failed, good = kept.after(0)
    entry = failed.to_json(structured=True)
    assert entry["error"] == "Uncaught LookupError: none\n    at count (notes.py:3:1)"
    assert (entry["returnBytes"], entry["identityType"]) == (None, "user")
    told = json.dumps([entry, good.to_json(structured=True)])
    assert "hunter2" not in told
    assert "treasure" not in told


def test_yugens_own_functions_are_left_out() -> None:
    kept = Runs()
    kept.add(run("_system/cli/tables:default"), Answer(b"1.0"), 0.1)
    assert paths(kept) == []


def test_cursors_rise_also_when_the_clock_does_not() -> None:
    times = iter([5.0, 5.0, 5.0, 4.0, 6.0])
    kept = Runs(clock=lambda: next(times))
    for path in "abcd":
        kept.add(run(path), Answer(b"1.0"), 0.1)
    cursors = [ran.cursor for ran in kept.after(0)]
    assert all(before < after for before, after in pairwise(cursors))
    assert [paths(kept, cursor) for cursor in cursors] == [["b", "c", "d"], ["c", "d"], ["d"], []]
    assert paths(kept, float(json.dumps(cursors[1]))) == ["c", "d"]


def test_only_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUNS_MAX", 3)
    kept = Runs()
    for path in "abcde":
        kept.add(run(path), Answer(b"1.0"), 0.1)
    assert paths(kept) == ["c", "d", "e"]


def test_what_is_kept_takes_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "CHARACTERS_MAX", 10_000)
    kept = Runs()
    for path in "abcde":
        kept.add(run(path), Answer(b"1.0", log_lines=("x" * 4000,)), 0.1)
    assert paths(kept) == ["d", "e"]
    kept.add(run("too much"), Answer(b"1.0", log_lines=("x" * 20_000,)), 0.1)
    assert paths(kept) == []
    kept.add(run("f"), Answer(b"1.0"), 0.1)
    assert paths(kept) == ["f"]


async def test_whoever_waits_hears_of_the_next_run() -> None:
    kept = Runs()
    waiting = [asyncio.create_task(kept.wait_after(kept.newest)) for _ in range(3)]
    await kept.wait_after(0)
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    kept.add(run(), Answer(b"1.0"), 0.1)
    await asyncio.gather(*waiting)


async def test_nobody_waits_once_it_is_closed() -> None:
    kept = Runs()
    waiting = asyncio.create_task(kept.wait_after(kept.newest))
    await asyncio.sleep(0)
    kept.close()
    await waiting
    await kept.wait_after(kept.newest)
