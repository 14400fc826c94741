"""What only clients with a local store can show, by Yugen's own Python clients against a real server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, assert_type

import pytest
import pytest_asyncio

from reliability.relay import relaying
from reliability.serving import SECONDS_MAX, Server, serving
from tests.conformance.app import counters, messages
from tests.conformance.shelves import check_states, scribble, shown
from tests.conformance.shelves_app.books import everything, page
from tests.conformance.shelves_app.schema import Book
from tests.conformance.site import HERE, write_app
from tests.issuer import Issuer, issuing
from yugen_client import AdminAuth, AsyncClient, AuthenticationFailed, Client, FunctionError, LocalStore

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with serving(HERE / "app", tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as made:
        yield made


@pytest.fixture(scope="module")
def notes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notes")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def notes(issuer: Issuer, notes_folder: Path) -> AsyncIterator[Server]:
    app = write_app(notes_folder, "notes_app", auth=issuer.auth_py())
    async with serving(app, notes_folder / "data") as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shelves(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("shelves")
    async with serving(write_app(folder, "shelves_app"), folder / "data") as server:
        yield server


async def until(results: AsyncIterator[Any], wanted: Callable[[Any], bool]) -> list[Any]:
    """The results up to the first that is as wanted."""
    seen = []
    async with asyncio.timeout(SECONDS_MAX):
        async for result in results:
            seen.append(result)
            if wanted(result):
                return seen
    raise AssertionError(f"the results ended with {seen}")


# Optimistic updates


def perhaps(store: LocalStore, args: dict[str, Any]) -> None:
    """Adds a message that is not certain yet."""
    channel = {"channel": args["channel"]}
    bodies = store.get_query("messages:list", channel)
    if bodies is not None:
        store.set_query("messages:list", channel, [*bodies, f"{args['body']}, perhaps"])


def check_no_step_back(results: list[list[str]], bodies: list[str]) -> None:
    """Once all are shown they stay, and each turns from perhaps to certain, once."""
    first = next(number for number, result in enumerate(results) if len(result) == len(bodies))
    settled = [[not body.endswith(", perhaps") for body in result] for result in results[first:]]
    for before, after in pairwise(settled):
        assert len(after) == len(bodies)
        assert all(is_settled for was_settled, is_settled in zip(before, after, strict=True) if was_settled)
    assert results[-1] == bodies


async def test_a_step_back_is_found_also_beside_a_step_ahead() -> None:
    steps = [["one, perhaps", "two"], ["one", "two, perhaps"], ["one", "two"]]
    with pytest.raises(AssertionError):
        check_no_step_back(steps, ["one", "two"])
    check_no_step_back([["one"], *steps[:1], *steps[2:]], ["one", "two"])


async def test_optimistic_updates_give_way_without_a_step_back(server: Server) -> None:
    channel = {"channel": "optimistic"}
    bodies = ["one", "two", "three"]
    async with AsyncClient(server.url) as client:
        results = client.subscribe("messages:list", channel)
        assert await anext(results) == []
        sent = [
            asyncio.create_task(client.mutation("messages:send", {**channel, "body": body}, optimistic_update=perhaps))
            for body in bodies
        ]
        seen = await until(results, lambda shown: shown == bodies)
        await asyncio.gather(*sent)
    assert seen[0] == ["one, perhaps", "two, perhaps", "three, perhaps"]
    check_no_step_back(seen, bodies)


async def test_an_optimistic_update_is_rolled_back_alone(server: Server) -> None:
    channel = {"channel": "rolled back"}
    async with AsyncClient(server.url) as client:
        results = client.subscribe("messages:list", channel)
        assert await anext(results) == []
        calls = [
            client.mutation("messages:send", {**channel, "body": body}, optimistic_update=perhaps)
            for body in ("kept", "", "kept too")
        ]
        sent = [asyncio.create_task(call) for call in calls]
        seen = await until(results, lambda shown: shown == ["kept", "kept too"])
        assert seen[0] == ["kept, perhaps", ", perhaps", "kept too, perhaps"]
        ended = await asyncio.gather(*sent, return_exceptions=True)
        assert [isinstance(each, FunctionError) for each in ended] == [False, True, False]


async def test_optimistic_updates_outlive_a_cut_whose_answers_are_lost(server: Server) -> None:
    channel = {"channel": "cut"}
    bodies = ["one", "two", "three"]
    async with relaying(server.port) as relay, AsyncClient(relay.url) as client, AsyncClient(server.url) as direct:
        results = client.subscribe("messages:list", channel)
        assert await anext(results) == []
        relay.lose_answers()
        sent = [
            asyncio.create_task(client.mutation("messages:send", {**channel, "body": body}, optimistic_update=perhaps))
            for body in bodies[:2]
        ]
        await until(direct.subscribe("messages:list", channel), lambda shown: shown == bodies[:2])
        seen = [await anext(results)]
        relay.cut()
        # Made while there may be no connection, and shown at once.
        third = client.mutation("messages:send", {**channel, "body": bodies[2]}, optimistic_update=perhaps)
        sent.append(asyncio.create_task(third))
        seen += await until(results, lambda shown: shown == bodies)
        ids = await asyncio.gather(*sent)
        assert len(set(ids)) == 3
    check_no_step_back(seen, bodies)


async def test_the_blocking_client_shows_optimistic_updates(server: Server) -> None:
    channel = {"channel": "blocking"}

    def run() -> list[list[str]]:
        seen: list[list[str]] = []
        with Client(server.url) as client:
            results = client.subscribe("messages:list", channel)
            assert next(results) == []
            with ThreadPoolExecutor() as threads:
                for body in ("one", "two"):
                    threads.submit(
                        client.mutation, "messages:send", {**channel, "body": body}, optimistic_update=perhaps
                    )
                    seen.append(next(results))
            while seen[-1] != ["one", "two"]:
                seen.append(next(results))
        return seen

    seen = await asyncio.to_thread(run)
    assert seen[0] == ["one, perhaps"]
    check_no_step_back(seen, ["one", "two"])


# Several queries at one moment


async def test_a_group_is_of_one_moment_while_others_write_and_connections_break(server: Server) -> None:
    names = ["a", "b", "c"]
    queries: dict[str, Any] = {name: ("counters:count", {"team": "group", "name": name}) for name in names}
    queries["total"] = ("counters:total", {"team": "group"})
    bumps = 40

    async def bump(seed: int) -> None:
        dice = random.Random(seed)
        async with AsyncClient(server.url) as client:
            for number in range(bumps):
                await client.mutation("counters:bump", {"team": "group", "name": dice.choice(names)})
                if number == bumps // 2:
                    relay.cut()

    async with relaying(server.port) as relay, AsyncClient(relay.url) as client:
        group = client.subscribe_all(queries)
        bumping = [asyncio.create_task(bump(seed)) for seed in (1, 2)]
        seen = await until(group, lambda results: results["total"] == 2 * bumps)
        await asyncio.gather(*bumping)
    assert len(seen) > 3
    for results in seen:
        assert sum(results[name] for name in names) == results["total"]
    totals = [results["total"] for results in seen]
    assert totals == sorted(set(totals))


# Function objects


async def test_function_objects_name_and_type_what_they_give(server: Server, shelves: Server) -> None:
    async with AsyncClient(server.url, app="tests.conformance.app") as client:
        bump = await client.mutation(counters.bump, {"team": "typed", "name": "a"})
        assert_type(bump, int)
        assert (bump, type(bump)) == (1, int)
        bodies = await client.query(messages.list_messages, {"channel": "nobody's"})
        assert_type(bodies, list[str])
        assert bodies == []
        subscription = client.subscribe(counters.total, {"team": "typed"})
        assert await anext(subscription) == 1
    async with AsyncClient(shelves.url, app="tests.conformance.shelves_app") as client:
        await client.mutation("books:fill", {"shelf": "typed", "count": 3})
        books = await client.query(everything, {"shelf": "typed", "order": "asc"})
        assert_type(books, list[Book])
        assert [(type(book), book.title, book.position) for book in books] == [
            (Book, f"b{n}", 10.0 * n) for n in (1, 2, 3)
        ]
        frame = await client.query_polars(everything, {"shelf": "typed", "order": "asc"})
        assert frame["_id"].to_list() == [book.id for book in books]
        assert [created.timestamp() for created in frame["_creationTime"]] == pytest.approx(
            [book.creation_time / 1000 for book in books]
        )

        def first_only(store: LocalStore, args: dict[str, Any]) -> None:
            shown_books = store.get_query(everything, {"shelf": "typed", "order": "asc"})
            store.set_query(everything, {"shelf": "typed", "order": "asc"}, (shown_books or [])[:1])

        live = client.subscribe(everything, {"shelf": "typed", "order": "asc"})
        assert len(await anext(live)) == 3
        removing = client.mutation("books:remove", {"book": books[2].id}, optimistic_update=first_only)
        task = asyncio.create_task(removing)
        assert await anext(live) == books[:1]
        assert await anext(live) == books[:2]
        await task


# Pages


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_no_gap_ever_shows_while_others_write(shelves: Server, order: str) -> None:
    shelf = f"busy {order}"
    args = {"shelf": shelf, "order": order}
    states: list[dict[str, Any]] = []

    def label(book: dict[str, Any]) -> str:
        return f"{book['title']}@{book['position']:g}"

    async with relaying(shelves.port) as relay, AsyncClient(shelves.url) as direct, AsyncClient(relay.url) as client:
        books = await direct.mutation("books:fill", {"shelf": shelf, "count": 30})
        pages = client.subscribe_pages("books:page", args, page_size=5)
        everything_now = client.subscribe("books:everything", args)
        all_written = asyncio.Event()

        async def watch() -> None:
            pages_more = 3
            async for state in pages:
                at_this_moment = client._shown(everything_now._query_ids)
                states.append(
                    {
                        "status": "Exhausted" if state.is_done else "CanLoadMore",
                        "results": [label(book) for book in state.results],
                        "all": at_this_moment and [label(book) for book in at_this_moment[0].unwrap()],
                    }
                )
                if all_written.is_set():
                    if state.is_done and "the end" in {book["title"] for book in state.results}:
                        return
                    pages.load_more(20)
                elif pages_more:
                    pages_more -= pages.load_more()

        async with asyncio.timeout(SECONDS_MAX):
            watching = asyncio.create_task(watch())
            await asyncio.gather(*(scribble(shelves.url, shelf, books, seed) for seed in (1, 2)))
            relay.cut()
            await scribble(shelves.url, shelf, books, 3)
            all_written.set()
            await direct.mutation("books:insert", {"shelf": shelf, "position": 500, "title": "the end"})
            pages.load_more(20)
            await watching
        there = await shown(direct, shelf, order)
        assert not pages.load_more()
    checked = check_states(states)
    assert len(checked) > 30
    assert checked[-1]["results"] == there


async def test_pages_of_a_type_and_the_blocking_client(shelves: Server) -> None:
    args = {"shelf": "few", "order": "asc"}
    async with AsyncClient(shelves.url, app="tests.conformance.shelves_app") as client:
        await client.mutation("books:fill", {"shelf": "few", "count": 5})
        by_object = client.subscribe_pages(page, args, page_size=2)
        by_type = client.subscribe_pages("books:page", args, page_size=2, returns=Book)
        for pages in (by_object, by_type):
            assert [book.title for book in (await anext(pages)).results] == ["b1", "b2"]
            assert pages.load_more(3)
            assert not pages.load_more()
            state = await anext(pages)
            assert [book.title for book in state.results] == ["b1", "b2", "b3", "b4", "b5"]
        with pytest.raises(ValueError, match="at least one row"):
            client.subscribe_pages("books:page", args, page_size=0)

    def read() -> list[str]:
        with Client(shelves.url) as client:
            pages = client.subscribe_pages("books:page", args, page_size=2)
            state = next(pages)
            while not state.is_done:
                pages.load_more()
                state = next(pages)
            return [book["title"] for book in state.results]

    assert await asyncio.to_thread(read) == ["b1", "b2", "b3", "b4", "b5"]


# Who calls


async def test_users_who_come_and_go_on_a_live_connection(notes: Server, issuer: Issuer) -> None:
    async with AsyncClient(notes.url, auth=issuer.token(sub="ada")) as client:
        mine = client.subscribe("notes:mine")
        assert await anext(mine) == {"user": "ada", "texts": []}
        assert client.connection_state.authenticated
        of_ada = asyncio.create_task(client.mutation("notes:write", {"text": "of ada"}))
        await asyncio.sleep(0)  # called before, so that it is hers

        client.set_auth(issuer.token(sub="bob"))
        of_bob = asyncio.create_task(client.mutation("notes:write", {"text": "of bob"}))
        assert await client.action("notes:who") == "bob"
        assert (await client.query("notes:mine"))["user"] == "bob"
        await asyncio.gather(of_ada, of_bob)
        seen = await until(mine, lambda result: result["texts"] == ["of bob"])
        assert {result["user"] for result in seen} == {"bob"}

        client.set_auth(lambda: issuer.token(sub="ada"))
        assert await client.query("notes:mine") == {"user": "ada", "texts": ["of ada"]}
        client.set_auth(None)
        assert (await client.query("notes:mine"))["user"] is None
        with pytest.raises(FunctionError) as refused:
            await client.query("notes:secret")
        assert refused.value.data == {"code": "signed out"}
        assert client.connection_state.connection_count == 1


async def test_a_user_over_a_cut(notes: Server, issuer: Issuer) -> None:
    async with relaying(notes.port) as relay, AsyncClient(relay.url, auth=issuer.token(sub="cut")) as client:
        results = client.subscribe("notes:mine")
        assert (await anext(results))["user"] == "cut"
        relay.cut()
        client.set_auth(issuer.token(sub="after"))
        assert (await client.query("notes:mine"))["user"] == "after"
        assert (await anext(results))["user"] == "after"


async def test_a_token_that_is_refused_is_replaced_once(notes: Server, issuer: Issuer) -> None:
    forced: list[bool] = []

    async def auth(*, force_refresh: bool) -> str:
        forced.append(force_refresh)
        return issuer.token(sub="eve") if force_refresh else "what was in the cache"

    async with AsyncClient(notes.url, auth=auth) as client:
        assert (await client.query("notes:mine"))["user"] == "eve"
    assert forced == [False, True]


async def test_a_token_that_the_server_refuses(notes: Server) -> None:
    async with AsyncClient(notes.url, auth="nonsense") as client:
        with pytest.raises(AuthenticationFailed, match="refused the token"):
            await client.query("notes:mine")


async def test_an_administrator_calls_what_is_internal_and_acts_as_a_user(notes: Server, notes_folder: Path) -> None:
    key = (notes_folder / "data/admin_key").read_text().strip()
    identity = {"issuer": "https://id.example", "subject": "dot", "tokenIdentifier": "https://id.example|dot"}
    async with AsyncClient(notes.url, auth=AdminAuth(key)) as client:
        assert isinstance(await client.query("notes:all_owners"), list)
        client.set_auth(AdminAuth(key, acting_as=identity))
        assert await client.action("notes:who") == "dot"
