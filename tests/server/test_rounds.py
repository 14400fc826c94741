from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from yugen.server import rounds
from yugen.server.rounds import Round, Rounds


class Guest:
    def __init__(self, serve: Callable[[Round], None]) -> None:
        self.serve_in = serve


async def test_all_who_are_due_are_served_in_one_round_in_their_order() -> None:
    served: list[tuple[int, Round]] = []
    kitchen = Rounds()
    for number in range(100):
        kitchen.add(Guest(lambda this, number=number: served.append((number, this))))  # type: ignore[misc]
    assert served == []
    await asyncio.sleep(0)
    assert [number for number, _ in served] == list(range(100))
    assert len({id(each) for _, each in served}) == 1


async def test_who_becomes_due_during_a_round_is_served_in_the_next() -> None:
    served: list[Round] = []
    kitchen = Rounds()

    def serve(round: Round) -> None:
        served.append(round)
        if len(served) < 3:
            kitchen.add(guest)

    guest = Guest(serve)
    kitchen.add(guest)
    for number in range(1, 4):
        await asyncio.sleep(0)
        assert len(served) == number
    assert len({id(each) for each in served}) == 3
    await asyncio.sleep(0)
    assert len(served) == 3


async def test_those_of_one_cause_do_not_wait_for_all_of_another() -> None:
    served: list[str] = []
    kitchen = Rounds()
    for name, cause in (("a1", 1), ("a2", 1), ("a3", 1), ("b1", 2), ("c1", None)):
        kitchen.add(Guest(lambda _, name=name: served.append(name)), cause)  # type: ignore[misc]
    await asyncio.sleep(0)
    assert served == ["a1", "b1", "c1", "a2", "a3"]


async def test_a_round_leaves_the_loop_to_others_before_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ROUND_SECONDS", 0.0)
    served: list[int] = []
    kitchen = Rounds()
    for number in range(100):
        kitchen.add(Guest(lambda _, number=number: served.append(number)))  # type: ignore[misc]
    turns = 0
    while len(served) < 100:
        await asyncio.sleep(0)
        turns += 1
    assert served == list(range(100))
    assert turns > 3


async def test_whoever_fails_badly_keeps_nobody_from_being_served() -> None:
    served: list[int] = []
    kitchen = Rounds()

    def fail(_: Round) -> None:
        raise ZeroDivisionError

    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context["exception"]))
    kitchen.add(Guest(fail))
    kitchen.add(Guest(lambda _: served.append(1)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert served == [1]
    [error] = heard
    assert isinstance(error, ZeroDivisionError)
