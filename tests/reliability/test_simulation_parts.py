"""The parts of the simulation: each minds what it is there to mind."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from contextvars import Context
from pathlib import Path
from typing import Any, cast

import pytest

from reliability.records import Operation, Outcome
from reliability.simulation import jobs
from reliability.simulation.administrator import AWAY_SECONDS, Administrator
from reliability.simulation.app import model, transaction
from reliability.simulation.clock import machine
from reliability.simulation.forgetting import Trimming
from reliability.simulation.loop import LIFE, Life, SimulatedLoop, Stalled
from reliability.simulation.network import Network, Wire
from reliability.simulation.verdict import Report, of_the_cron
from reliability.vfs import faulty_disk
from yugen.runtime.runtime import TimestampOutOfReach
from yugen.storage import sqlite_connect
from yugen.storage.interface import Logged, StorageError


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    loop = SimulatedLoop()
    yield loop
    loop.bury()
    loop.close()


def test_an_hour_passes_at_once(loop: SimulatedLoop) -> None:
    loop.run_until_complete(asyncio.sleep(3600))
    assert loop.now == 3600


def test_who_is_busy_without_end_is_found_out(loop: SimulatedLoop) -> None:
    async def spin() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(Stalled, match="busy without end"):
        loop.run_until_complete(spin())


def test_who_waits_for_nothing_is_found_out(loop: SimulatedLoop) -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stalled, match="everybody waits"):
        loop.run_until_complete(wait())


def test_a_life_that_ends_does_nothing_more_and_what_it_has_left_is_known(loop: SimulatedLoop) -> None:
    life, done = Life(), list[str]()

    async def work(seconds: float) -> None:
        await asyncio.sleep(seconds)
        done.append(f"after {seconds}")

    async def live() -> None:
        LIFE.set(life)
        short, long = loop.create_task(work(1)), loop.create_task(work(5))
        await asyncio.sleep(2)
        assert short.done()
        assert long in loop.left_of(life)
        assert short not in loop.left_of(life)

    living = loop.create_task(live())
    loop.run_until_complete(asyncio.sleep(3))
    assert living.done()
    loop.end(life)
    loop.run_until_complete(asyncio.sleep(10))
    assert done == ["after 1"]


def test_what_is_in_a_file_is_heard_after_a_while_by_those_who_still_listen(loop: SimulatedLoop) -> None:
    loop.hearing = lambda: 0.5
    life, heard = Life(), list[tuple[float, bytes]]()
    read, write = os.pipe()

    def listen() -> None:
        LIFE.set(life)
        loop.add_reader(read, lambda: heard.append((round(loop.now, 3), os.read(read, 9))))

    async def ring() -> None:
        for second in range(1, 5):
            await asyncio.sleep(second - loop.now)
            os.write(write, str(second).encode())
            if second == 2:
                await asyncio.sleep(0.1)
                assert loop.remove_reader(read)
                assert not loop.remove_reader(read)
                Context().run(listen)
            if second == 4:
                await asyncio.sleep(0.1)
                loop.end(life)
        await asyncio.sleep(10)

    Context().run(listen)
    loop.run_until_complete(ring())
    assert heard == [(1.5, b"1"), (2.6, b"2"), (3.5, b"3")]
    os.close(read)
    os.close(write)


def _said(loop: SimulatedLoop, partitions: bool, cuts: bool) -> list[Any]:
    """What arrives of what a client says, some of it during a partition."""
    network = Network(loop, random.Random(1), lambda _: None)
    wire = Wire(network, "c0")
    heard: list[Any] = []

    async def talk() -> None:
        for number in range(20):
            if partitions and number == 5:
                network.partition()
            if number == 15:
                network.heal()
            await wire.send(str(number))
        if cuts:
            wire.cut()
        await asyncio.sleep(1)
        while wire._to_server.arrived:
            heard.append(wire._to_server.arrived.popleft())

    network.wires["c0"] = wire
    loop.run_until_complete(talk())
    return heard


@pytest.mark.parametrize("partitions", [False, True])
def test_a_connection_keeps_its_order_and_loses_nothing(loop: SimulatedLoop, partitions: bool) -> None:
    assert _said(loop, partitions, cuts=False) == [str(number) for number in range(20)]


def test_what_a_cut_loses_is_the_end_of_what_was_said(loop: SimulatedLoop) -> None:
    heard = _said(loop, partitions=False, cuts=True)
    assert heard[-1] is None
    assert heard[:-1] == [str(number) for number in range(len(heard) - 1)]


def test_an_image_has_what_nobody_has_opened_and_nothing_of_other_folders(tmp_path: Path) -> None:
    now, before, image = tmp_path / "now", tmp_path / "before", tmp_path / "image"
    with faulty_disk() as disk:
        for folder in (now, before):
            folder.mkdir()
            connection = sqlite_connect.connect(folder / "data.sqlite3")
            connection.execute("CREATE TABLE a (b)")
            connection.close()
        disk.forget()
        disk.know(*now.iterdir())
        connection = sqlite_connect.connect(before / "data.sqlite3")  # a process that is dead, and goes on for a moment
        connection.execute("DROP TABLE a")
        disk.image(now, image, random.Random(2))
        connection.close()
    assert (image / "data.sqlite3").read_bytes() == (now / "data.sqlite3").read_bytes()


def _later(token: str, outcome: Outcome = "ok", function: str = "j:later") -> Operation:
    return Operation("c0", function, {"token": token}, 0, None if outcome == "lost" else 1, outcome)


@pytest.mark.parametrize(
    ("operation", "stored", "ran", "wrong"),
    [
        (_later("a"), [["a", "mutation", False]], ["a"], False),
        (_later("a"), [["a", "mutation", False]], [], True),
        (_later("a"), [["a", "mutation", False]], ["a", "a"], True),
        (_later("a"), [["a", "mutation", True]], [], False),
        (_later("a"), [["a", "mutation", True]], ["a"], True),
        (_later("a"), [["a", "action", False]], [], False),
        (_later("a"), [["a", "action", False]], ["a", "a"], True),
        (_later("a"), [["a", "action", True]], ["a"], True),
        (_later("a"), [], [], True),
        (_later("a", "failed"), [], [], False),
        (_later("a", "failed"), [["a", "mutation", False]], ["a"], True),
        (_later("a", function="j:called"), [], ["a"], False),
        (_later("a", function="j:called"), [], [], True),
        (_later("a", "lost", "j:called"), [], [], False),
        (_later("a", "lost", "j:called"), [], ["a", "a"], True),
        (_later("a", "failed"), [], ["b"], True),
    ],
)
def test_jobs_are_done_as_often_as_is_promised(
    operation: Operation, stored: list[list[Any]], ran: list[str], wrong: bool
) -> None:
    assert bool(jobs.check([operation], stored, ran)) == wrong


@pytest.mark.parametrize(
    ("pending", "since", "wrong"), [(1, 2, 0), (1, 3, 0), (0, 2, 1), (2, 2, 1), (1, 0, 1), (1, 5, 1)]
)
def test_a_cron_runs_once_each_time(pending: int, since: int, wrong: int) -> None:
    report = Report(1)
    of_the_cron(report, 9, since, [{"what": "cron tick"}] * pending)
    assert len(report.violations) == wrong


def test_the_model_carries_out_what_is_nested_and_leaves_out_what_is_refused() -> None:
    parts = [
        [[["append", "00000/00000", 1]], ""],
        [[["append", "00000/00000", 2]], "refused"],
        [[["append", "00000/00000", 3]], ""],
    ]
    args = {"token": "t", "parts": parts}
    value, changes = model({}, "g:nested", args)
    assert value == [[[1]], None, [[1, 3]]]
    assert changes["00000/00000"] == [1, 3]
    told = transaction(Operation("c0", "g:nested", args, 0, 1, "ok", value, 5))
    assert told is not None
    assert [str(step) for step in told.operations if "Append" in str(step)] == [
        "Append(key='00000/00000', value=1)",
        "Append(key='00000/00000', value=3)",
    ]


def test_the_model_has_what_is_between_the_ends_of_a_page() -> None:
    notes = {"x": ("a", 1, "t1"), "y": ("a", 2, "t2"), "z": ("a", 2, "t3"), "w": ("b", 2, "t4")}
    between = {"shelf": "a", "low": [1, "x", "t1"], "high": [2, "y", "t2"]}
    assert model({"notes": notes}, "g:between", between)[0] == [["y", "a", 2]]
    assert model({"notes": notes}, "g:between", {**between, "high": None})[0] == [["y", "a", 2], ["z", "a", 2]]
    # Another of that name that was made later comes behind it.
    assert model({"notes": {**notes, "y": ("a", 2, "t9")}}, "g:between", between)[0] == []


def test_the_model_has_what_is_imported_and_no_more() -> None:
    _, changes = model({"kept": {"a": "old"}}, "k:import", {"token": "t", "documents": {"b": "new"}})
    assert changes == {"kept": {"b": "new"}}
    assert model(changes, "k:get", {"id": "a"})[0] is None
    assert model(changes, "k:write", {"token": "t", "id": "a", "text": "more"}) == (None, {})
    assert model(changes, "k:write", {"token": "t", "id": "b", "text": "more"}) == ("new", {"kept": {"b": "more"}})
    assert model(changes, "k:drop", {"token": "t", "id": "b"}) == (True, {"kept": {}})


class _Refusing:
    """A machine, its only server and the runtime, which says of every timestamp that the log does not reach it."""

    def __init__(self, newest: int) -> None:
        self.servers = [self]
        self.runtime = self
        self.ts = self.acknowledged = newest
        self.asked: list[Any] = []

    def anyone(self) -> _Refusing:
        return self

    def ask(self, work: Any) -> None:
        self.asked.append(work)

    async def query_at(self, *_: Any, **__: Any) -> None:
        raise TimestampOutOfReach("too old")


@pytest.mark.parametrize(("seconds", "newest_then", "wrong"), [(2.9, 7, 1), (3.1, 7, 0), (3.1, 9, 1)])
def test_the_log_may_not_end_too_soon(loop: SimulatedLoop, seconds: float, newest_then: int, wrong: int) -> None:
    report, server = Report(1), _Refusing(newest_then)
    with machine(1, loop):
        administrator = Administrator(cast("Any", server), report, [], lambda _: None, log_seconds=3.0)
        administrator.look()
        server.ts = 8
        loop.run_until_complete(asyncio.sleep(seconds))
        administrator.look_back("g:get", {"name": "n1"}, 0.0)
        loop.run_until_complete(server.asked[0])
    assert report.counts["looks behind the log"] == 1
    assert len(report.violations) == wrong


def test_requests_are_forgotten_that_nobody_can_send_again(loop: SimulatedLoop) -> None:
    forgotten = list[int]()

    class Forgetful(_Refusing):
        async def forget_requests(self, through: int) -> None:
            forgotten.append(through)

    report, server = Report(1), Forgetful(0)
    answered = Operation("c0", "g:put", {"token": "t"}, 0, 1, "ok", None, 2)
    with machine(1, loop) as clock:
        administrator = Administrator(cast("Any", server), report, [answered], lambda _: None, log_seconds=3.0)
        for second in range(10):
            server.acknowledged = second
            administrator.look()
            loop.run_until_complete(asyncio.sleep(1))
        administrator.forget(int(4.5e9))
        administrator.forget(None)
        for work in server.asked:
            loop.run_until_complete(work)
        assert clock.monotonic() == 10
    assert forgotten == [4, int(10 - AWAY_SECONDS)]
    assert report.counts["requests forgotten"] == 1


def test_what_is_trimmed_is_counted(loop: SimulatedLoop) -> None:
    class Trimmed:
        ts, now = 0, 0.0
        answers: Iterator[Logged | StorageError] = iter(
            [Logged(9, 1, 9), Logged(9, 1, 9), StorageError("no space left"), Logged(5, 4, 9)]
        )

        async def trim_log(self, through: int) -> Logged:
            answer = next(self.answers)
            if isinstance(answer, StorageError):
                raise answer
            return answer

    counts, begun = Counter[str](), list[None]()
    trimming = Trimming(cast("Any", Trimmed()), 3.0, counts, lambda: begun.append(None))
    for _ in range(4):
        with suppress(StorageError):
            loop.run_until_complete(trimming.trim())
        assert not trimming.is_at_it
    assert len(begun) == 4
    assert counts == {"trimmings": 1, "trimmings that failed": 1}
    assert trimming.oldest == 4
