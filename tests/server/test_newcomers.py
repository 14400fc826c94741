"""New connections get their first results in order, and keep nobody waiting who has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.server.peers import Bench, Client, LoopTime, bench, until_blocked
from yugen.server.connection import RESEND_SECONDS_MAX
from yugen.server.newcomers import AT_ONCE, Newcomers


class Guest:
    """One who remembers to have been admitted."""

    def __init__(self, number: int, heard: list[int]) -> None:
        self._number = number
        self._heard = heard

    def admitted(self) -> None:
        self._heard.append(self._number)


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


def many(notes: Bench, count: int) -> list[Client]:
    """Clients with a query each of their own."""
    return [notes.client((0, "notes:count", {"book": str(number)})) for number in range(count)]


def test_so_many_have_a_place_and_the_others_follow_in_order() -> None:
    heard: list[int] = []
    guests = [Guest(number, heard) for number in range(AT_ONCE + 3)]
    newcomers = Newcomers()
    assert [newcomers.admit(guest) for guest in guests] == [True] * AT_ONCE + [False] * 3
    assert [newcomers.admit(guest) for guest in guests] == [True] * AT_ONCE + [False] * 3  # once is enough
    assert newcomers.waiting == 3
    newcomers.leave(guests[AT_ONCE])  # one that waits
    newcomers.leave(guests[5])
    assert heard == [AT_ONCE + 1]
    newcomers.leave(guests[5])
    assert heard == [AT_ONCE + 1]
    for guest in guests:
        newcomers.leave(guest)
    assert heard == [AT_ONCE + 1, AT_ONCE + 2]
    assert not newcomers._admitted
    assert not newcomers.waiting


async def test_a_crowd_waits_in_order_and_those_who_are_there_do_not(notes: Bench) -> None:
    there = notes.client((0, "notes:texts", {"book": "a"}))
    assert await there.values() == {0: []}
    notes.probe.gate.clear()
    crowd = many(notes, AT_ONCE + 10)
    await until_blocked()
    assert (notes.probe.waiting, notes.newcomers.waiting) == (AT_ONCE, 10)
    there.mutate("notes:add", book="a", text="x")
    await until_blocked()
    assert notes.probe.waiting == AT_ONCE + 1
    notes.probe.gate.set()
    await there.response()
    assert await there.values() == {0: ["x"]}
    for client in crowd:
        assert await client.values() == {0: 0}


async def test_whoever_leaves_has_no_place(notes: Bench) -> None:
    notes.probe.gate.clear()
    crowd = many(notes, AT_ONCE + 1)
    await until_blocked()
    crowd[0].leave()
    await notes.gone(0)
    await until_blocked()
    assert notes.newcomers.waiting == 0
    notes.probe.gate.set()
    assert await crowd[-1].values() == {0: 0}


async def test_whoever_asks_nothing_or_reads_nothing_has_no_place(notes: Bench) -> None:
    for _ in range(AT_ONCE):
        notes.client()
    deaf = []
    for number in range(AT_ONCE):
        client = notes.client()
        client.reads.clear()
        client.mutate("notes:add", book=str(number), text="x")
        await until_blocked()
        client.subscribe((0, "notes:count", {"book": str(number)}))
        deaf.append(client)
    await until_blocked()
    assert await notes.client((0, "notes:count", {"book": "a"})).values() == {0: 0}
    for client in deaf:
        client.reads.set()


async def test_whoever_stops_reading_while_it_waits_has_no_place(notes: Bench) -> None:
    notes.probe.gate.clear()
    crowd = many(notes, AT_ONCE)
    await until_blocked()
    deaf, last = many(notes, 2)
    deaf.reads.clear()
    deaf.mutate("notes:add", text={"$integer": "x"})  # whose answer takes no run, and is not read
    await until_blocked()
    assert notes.newcomers.waiting == 2
    crowd[0].leave()
    await notes.gone(0)
    await until_blocked()
    assert notes.newcomers.waiting == 0
    notes.probe.gate.set()
    assert await last.values() == {0: 0}
    deaf.reads.set()
    await deaf.response()
    assert await deaf.values() == {0: 0}


async def test_whoever_waits_for_its_own_mutation_has_no_place(notes: Bench) -> None:
    notes.probe.gate.clear()
    crowd = []
    for number in range(AT_ONCE + 1):
        client = notes.client(connect=False)
        client.connect(connectionCount=1)
        client.subscribe((0, "notes:count", {"book": str(number)}))
        client.mutate("notes:add", book=str(number), text="x")
        crowd.append(client)
    await until_blocked()
    LoopTime().forward(RESEND_SECONDS_MAX)
    await until_blocked()
    newcomer = notes.client((0, "notes:count", {"book": "other"}))
    await until_blocked()
    assert notes.newcomers.waiting == 0
    notes.probe.gate.set()
    assert await newcomer.values() == {0: 0}
    for client in crowd:
        await client.response()
        assert await client.values() == {0: 1}


async def test_whoever_breaks_the_rules_has_no_place(notes: Bench) -> None:
    notes.probe.gate.clear()
    crowd = many(notes, AT_ONCE + 1)
    await until_blocked()
    crowd[0].reads.clear()  # so that it stays for a while
    crowd[0].subscribe(base=7)
    await until_blocked()
    assert notes.newcomers.waiting == 0
    crowd[0].reads.set()
    notes.probe.gate.set()
    assert await crowd[-1].values() == {0: 0}
