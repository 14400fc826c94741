"""Small versions of the scenarios of load pass, and what does not hold in one is told."""

from __future__ import annotations

import asyncio
from importlib import import_module
from pathlib import Path

import pytest

from reliability.load import SCENARIOS
from reliability.loads import crowd, raw
from reliability.loads import scene as scenes
from reliability.loads.crowd import Seen
from reliability.loads.scene import GIVEN_UP_SECONDS, Scene, scene

TOGETHER: dict[str, dict[str, int]] = {
    "flood": {"clients": 10, "queries": 3, "seconds": 0, "writers": 2},
    "idle": {"clients": 20, "seconds": 0},
    "slow": {"readers": 5, "kib": 800, "updates": 12, "cut": 0},
    "giant": {"clients": 2, "mib": 2},
    "hoard": {"clients": 1, "queries": 10, "mib": 14, "silent": 2},
    "queued": {"calls": 600},
    "functions": {"calls": 0},
    "mutations": {"clients": 5, "seconds": 1},
}
"""Scenarios that one server goes through, one after the other."""

RESTARTING: dict[str, dict[str, int]] = {
    "storm": {"clients": 30, "queries": 3},
    "tables": {"tables": 100},
}
"""Those in which it is started again."""


def test_each_scenario_is_played() -> None:
    assert {*TOGETHER, *RESTARTING} == {*SCENARIOS}


@pytest.mark.parametrize("played", [TOGETHER, RESTARTING], ids=["together", "restarting"])
async def test_small_ones_pass(played: dict[str, dict[str, int]], tmp_path: Path) -> None:
    async with scene(tmp_path / "data", may_refuse=True) as made:
        for name, sizes in played.items():
            before = len(made.figures)
            module = import_module(f"reliability.loads.{name}")
            assert sizes.keys() == module.SIZES.keys()
            await module.play(made, **sizes)
            assert len(made.figures) > before
            assert made.failures == [], name
    assert made.failures == []
    assert not made.figures["canary"].startswith("canary: 0 ")


def test_times_count_where_they_are_to() -> None:
    for strict, seconds, failures in ((False, 9.0, 0), (True, 9.0, 1), (True, 5.0, 0), (False, float("inf"), 1)):
        made = Scene(server=None, data=Path(), strict=strict)  # type: ignore[arg-type]  # which nobody asks
        made.within("it was done", seconds, 5.0)
        assert len(made.failures) == failures
        assert made.figures == {"seconds until it was done": seconds}


async def test_what_does_not_hold_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path / "data") as made:
        # Of what is to be refused, one is answered, and one is refused as something else.
        one, two = ("query", "heavy:echo", {"value": 1}), ("query", "heavy:nest", {"depth": 70})
        assert await made.refused([one, two], "ReturnsValidationError") == 1
        assert await made.refused([two], "TimeLimitExceeded") == 0
        told = [failure.partition(" was not refused as ")[0] for failure in made.failures]
        assert told == ["heavy:echo", "heavy:nest"]
        made.failures.clear()
        # And the server has more in the end than it may.
        for name in ("LEAVING_SECONDS", "LEFT_MIB", "LEFT_FILES"):
            monkeypatch.setattr(scenes, name, -1)
        made.clients = -64
    assert sorted(failure.split(" ")[-3:] for failure in made.failures) == [["-1", "are", "allowed"]] * 2


async def test_a_crowd_notices_what_goes_back_or_does_not_follow() -> None:
    process = crowd._Process("http://127.0.0.1:9", 0, 1, 1)
    [client] = process.clients
    start = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
    client._version = start
    for number in (2, 1):
        end = {**start, "ts": f"{number}"}
        updated = {"type": "QueryUpdated", "queryId": 0, "value": [{"number": number}]}
        client._hear({"type": "Transition", "startVersion": start, "endVersion": end, "modifications": [updated]})
    client._hear({"type": "AuthError", "error": "no"})
    client._see({"type": "QueryFailed", "queryId": 0})
    follows, back, error, failed = process.seen.wrong
    assert "and was told {'querySet': 0, " in follows
    assert back == "0 was shown 1 after 2"
    assert "AuthError" in error
    assert "QueryFailed" in failed
    assert process.shown == {2: 0, 1: 1}


async def test_a_crowd_that_is_not_let_in_says_so() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        asked.set()

    asked = asyncio.Event()
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        process = crowd._Process(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 0, 1, 1)
        [client] = process.clients
        client.come()
        for _ in range(2):  # it comes again by itself
            async with asyncio.timeout(GIVEN_UP_SECONDS):
                await asked.wait()
            asked.clear()
        client.leave()
    assert [*process.lost] == ["HTTP/1.1 503 Service Unavailable"]
    assert await raw.closed(9, "{}") == "ConnectionRefusedError"


def test_what_several_have_seen_adds_up() -> None:
    seen = Seen(1, 2, 3, {"a": 1}, ["x"])
    seen.add(Seen(1, 2, 3, {"a": 1, "b": 2}, []))
    assert seen == Seen(2, 4, 6, {"a": 2, "b": 2}, ["x"])
