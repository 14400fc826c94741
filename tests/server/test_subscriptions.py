"""What is asked for one update, some of it later than the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from tests.engine import change, engine, new_store
from tests.server.peers import NOTES, Bench, Client, bench, until_blocked
from yugen.runtime.queries import Subscription
from yugen.server import subscriptions
from yugen.server.caller import ANYONE
from yugen.server.subscriptions import Answers, Subscriptions
from yugen.sync.messages import AddQuery
from yugen.sync.session import SessionLimits, Update


async def test_what_is_asked_last_is_of_the_moment_of_its_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "QUERIES_AT_ONCE_MAX", 1)
    ask, told_later = Subscription.ask, asyncio.Queue[Callable[[], None]]()

    def ask_slowly(self: Subscription, ts: int, told: Any) -> None:
        ask(self, ts, lambda answer: told_later.put_nowait(partial(told, answer)))

    monkeypatch.setattr(Subscription, "ask", ask_slowly)
    async with engine(new_store("memory", tmp_path), write_app(tmp_path / "noted", notes=NOTES)) as runtime:
        answered: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        served = Subscriptions(
            runtime, 1 << 20, lambda _: None, lambda _, answers: answered.set_result(answers), answered.set_exception
        )
        queries = tuple(
            AddQuery(number, path, {"book": "a"}, None) for number, path in enumerate(("notes:count", "notes:texts"))
        )
        assert served.answer(Update(runtime.ts, 1, 0, ANYONE, (), queries)) is None
        tell = await told_later.get()
        await change(runtime, "notes:add", book="a", text="meanwhile")
        tell()
        tell = await told_later.get()
        tell()
        assert [answer.value for answer in (await answered).values()] == [b"0.0", b"[]"]
        served.end()


TEXT_BYTES = 10_000
ROOM = SessionLimits(answer_bytes=5 * TEXT_BYTES // 2)
"""For two answers with a text."""


def texts(*books: str) -> tuple[tuple[int, str, dict[str, Any]], ...]:
    return tuple((number, "notes:texts", {"book": book}) for number, book in enumerate(books))


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Bench]:
    """Books a, b and c with a text each, and an empty one."""
    async with bench(tmp_path) as made:
        for book in "abc":
            await change(made.runtime, "notes:add", book=book, text=book * TEXT_BYTES)
        yield made


async def shown(client: Client, seen: dict[int, str], count: int) -> None:
    """Takes down the first letters of what a client is told next, or what has failed, of so many queries."""
    while count:
        for each in (await client.hear("Transition"))["modifications"]:
            if each["type"] == "QueryUpdated":
                seen[each["queryId"]] = "".join(each["value"])[:1]
            elif each["type"] == "QueryFailed":
                seen[each["queryId"]] = each["errorMessage"].split("Uncaught ")[1][:14]
            else:
                continue
            count -= 1


async def test_answers_beyond_what_a_connection_may_hold_fail_until_there_is_room(library: Bench) -> None:
    seen: dict[int, str] = {}
    client = library.client(*texts("a", "b", "c"), limits=ROOM)
    message = await client.hear("Transition")
    [failed] = [each["errorMessage"] for each in message["modifications"] if each["type"] == "QueryFailed"]
    assert "bytes with what it depends on, and the results of one connection may take 25000 bytes; subscrib" in failed
    seen |= {each["queryId"]: each["type"] for each in message["modifications"]}
    assert seen == {0: "QueryUpdated", 1: "QueryUpdated", 2: "QueryFailed"}
    client.unsubscribe(0, base=1)
    await shown(client, seen, 1)  # asked for again by the server itself
    assert seen[2] == "c"


async def test_an_answer_for_which_there_was_no_room_is_shown_when_it_has_become_smaller(library: Bench) -> None:
    seen: dict[int, str] = {}
    client = library.client(*texts("a", "b", "c"), limits=ROOM)
    await shown(client, seen, 3)
    assert seen == {0: "a", 1: "b", 2: "ResultTooLarge"}
    await change(library.runtime, "notes:drop", book="c", text="c" * TEXT_BYTES)
    await shown(client, seen, 1)
    assert seen[2] == ""


async def test_what_failed_for_one_connection_is_not_kept_and_shown_to_another(library: Bench) -> None:
    seen: dict[int, str] = {}
    client = library.client(*texts("a", "b", "c"), limits=ROOM)
    await shown(client, seen, 3)
    queries = library.runtime.queries
    kept = queries.live_bytes
    assert 2 * TEXT_BYTES < kept < 3 * TEXT_BYTES
    other = library.client(*texts("c"))
    assert await other.values() == {0: ["c" * TEXT_BYTES]}
    assert queries.live_bytes > kept + TEXT_BYTES
    await change(library.runtime, "notes:add", book="c", text="d")
    assert await other.values() == {0: ["c" * TEXT_BYTES, "d"]}
    other.leave()
    await library.gone(1)
    await until_blocked()
    assert queries.live_bytes == kept
    assert seen[2] == "ResultTooLarge"


async def test_what_was_read_counts_as_well(library: Bench) -> None:
    limits = SessionLimits(answer_bytes=1500)
    queries = [(number, "notes:echo", {"value": number}) for number in range(3)]
    client = library.client(*queries, limits=limits)
    kinds = [each["type"] for each in (await client.hear("Transition"))["modifications"]]
    assert sorted(kinds) == ["QueryFailed", "QueryFailed", "QueryUpdated"]  # of a few bytes, but to keep one is work


async def test_who_has_more_than_is_left_for_others_is_sent_away(library: Bench) -> None:
    queries = library.runtime.queries
    queries.live_bytes_max = 5 * TEXT_BYTES
    modest = library.client((0, "notes:count", {"book": "empty"}))
    assert await modest.values() == {0: 0}
    greedy = library.client(*texts("a", "b", "c"))
    assert await greedy.is_closed() == (1013, "TooManyConcurrentRequests")
    await library.gone(1)
    await change(library.runtime, "notes:add", book="empty", text="now")
    assert await modest.values() == {0: 1}
    again = library.client(*texts("a", "b"))
    assert len(await again.values()) == 2


async def test_who_has_too_much_is_sent_away_also_where_the_answer_is_at_hand(library: Bench) -> None:
    first = library.client(*texts("a"))
    await first.values()
    library.runtime.queries.live_bytes_max = 3 * TEXT_BYTES // 2
    second = library.client(*texts("a"))
    assert await second.is_closed() == (1013, "TooManyConcurrentRequests")
    await change(library.runtime, "notes:drop", book="a", text="a" * TEXT_BYTES)
    assert await first.values() == {0: []}
