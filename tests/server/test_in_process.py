"""Calls from the process that serves the app: over real worker processes, on the test's event loop and from threads."""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.apps import write_app
from tests.server.peers import SECONDS_MAX
from yugen.errors import FunctionFailed, YugenError
from yugen.runtime.outcome import Answer
from yugen.runtime.queries import Subscription
from yugen.server.backend import NotServing
from yugen.server.in_process import InProcessSubscription
from yugen.server.yugen import Yugen
from yugen.storage.interface import Timestamp

SHELVES = """
    from __future__ import annotations

    from yugen import (
        ActionCtx, Document, Id, Index, MutationCtx, PaginationOptions, PaginationResult, QueryCtx, YugenError,
        action, internal_query, mutation, query,
    )


    class Book(Document, table="books"):
        title: str
        shelf: Id[Shelf] | None = None
        owner: str | None = None

        by_title = Index("title")


    class Shelf(Document, table="shelves"):
        name: str


    @query(name="list")
    async def list_books(ctx: QueryCtx) -> list[Book]:
        return await ctx.db.query(Book).with_index(Book.by_title).collect()


    @query
    async def mine(ctx: QueryCtx) -> list[str]:
        user = await ctx.auth.get_user_identity()
        owner = user and user.token_identifier
        return [book.title for book in await ctx.db.query(Book).collect() if book.owner == owner]


    @query
    async def page(ctx: QueryCtx, options: PaginationOptions) -> PaginationResult[Book]:
        return await ctx.db.query(Book).with_index(Book.by_title).paginate(options)


    @query
    async def only(ctx: QueryCtx) -> Book | None:
        books = await ctx.db.query(Book).collect()
        if len(books) > 1:
            raise YugenError({"code": "too many", "books": len(books)})
        return books[0] if books else None


    @mutation
    async def add(ctx: MutationCtx, title: str) -> Id[Book]:
        if not title:
            raise YugenError({"code": "untitled"})
        user = await ctx.auth.get_user_identity()
        return await ctx.db.insert(Book(title=title, owner=user and user.token_identifier))


    @mutation
    async def break_off(ctx: MutationCtx) -> None:
        raise ValueError("secret")


    @action
    async def add_twice(ctx: ActionCtx, title: str) -> list[Id[Book]]:
        return [await ctx.run_mutation(add, title) for _ in range(2)]


    @internal_query
    async def count(ctx: QueryCtx) -> int:
        return await ctx.db.query(Book).count()
"""
MORE = SHELVES.replace("return [book.title for", "return ['new code'] + [book.title for")


@pytest.fixture
async def yugen(tmp_path: Path) -> AsyncIterator[Yugen]:
    made = Yugen(write_app(tmp_path, books=SHELVES))
    yield made
    await made.close()


@pytest.fixture
def books(yugen: Yugen, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the app, imported as the outer app does."""
    monkeypatch.syspath_prepend(yugen.app.parent)
    _forget_app()
    yield importlib.import_module("app.books")
    _forget_app()


def _forget_app() -> None:
    for name in [name for name in sys.modules if name == "app" or name.startswith("app.")]:
        del sys.modules[name]


async def test_results_are_what_annotations_promise(yugen: Yugen, books: ModuleType) -> None:
    book_id = await yugen.mutation(books.add, "Emma")
    [book] = await yugen.query(books.list_books)
    assert (type(book), book.id, book.title) == (books.Book, book_id, "Emma")
    assert await yugen.action(books.add_twice, title="Persuasion") != []
    assert await yugen.query(books.count) == 3
    page = await yugen.query(books.page, options={"num_items": 2, "cursor": None})
    assert [type(each) for each in page.page] == [books.Book, books.Book]


async def test_named_by_a_path_values_are_those_of_clients(yugen: Yugen) -> None:
    book_id = await yugen.mutation("books:add", title="Emma")
    [book] = await yugen.query("books:list")
    assert (book["_id"], book["title"]) == (book_id, "Emma")
    assert len(await yugen.action("books:add_twice", title="Persuasion")) == 2
    assert await yugen.query("books:count") == 3
    assert "app.books" not in sys.modules


async def test_a_caller_is_whom_it_says(yugen: Yugen, books: ModuleType) -> None:
    ada = yugen.as_user(issuer="https://id.example", subject="ada")
    await ada.mutation(books.add, "Emma")
    await yugen.mutation(books.add, "Persuasion")
    assert await ada.query(books.mine) == ["Emma"]
    assert await yugen.query(books.mine) == ["Persuasion"]
    [book] = [book for book in await yugen.query(books.list_books) if book.owner]
    assert book.owner == "https://id.example|ada"


async def test_errors_are_exceptions(yugen: Yugen, books: ModuleType) -> None:
    with pytest.raises(YugenError) as raised:
        await yugen.mutation(books.add, title="")
    assert raised.value.data == {"code": "untitled"}
    with pytest.raises(FunctionFailed, match="ValueError: secret"):
        await yugen.mutation(books.break_off)
    with pytest.raises(FunctionFailed, match="`title` of books:add"):
        await yugen.mutation(books.add, title=1)
    with pytest.raises(FunctionFailed, match=r"FunctionNotFound.*books:nothing"):
        await yugen.query("books:nothing")
    with pytest.raises(FunctionFailed, match="FunctionNotFound"):
        await yugen.query("..")
    with pytest.raises(FunctionFailed, match="InvalidValue"):
        await yugen.query("books:list", than=object())
    with pytest.raises(FunctionFailed, match="WrongKind"):
        await yugen.query("books:add", title="Emma")
    with pytest.raises(TypeError, match="by name"):
        await yugen.query("books:list", 1)  # type: ignore[call-overload]
    assert await yugen.query(books.list_books) == []


async def test_functions_of_another_app_are_refused(yugen: Yugen, tmp_path: Path, books: ModuleType) -> None:
    other = Yugen(write_app(tmp_path / "other", books=SHELVES))
    with pytest.raises(TypeError, match=r"is not of the app in .*other/app"):
        await other.query(books.list_books)
    await other.close()


async def test_a_subscription_gives_what_is_new(yugen: Yugen, books: ModuleType) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        titles = yugen.subscribe(books.list_books)
        assert await anext(titles) == []
        waiting = asyncio.ensure_future(anext(titles))
        await yugen.mutation(books.add, "Emma")
        assert [book.title for book in await waiting] == ["Emma"]
        for title in ("Persuasion", "Sanditon"):
            await yugen.mutation(books.add, title)
        assert len(await anext(titles)) == 3  # and not those in between


async def test_nothing_is_said_of_a_result_that_is_the_same(yugen: Yugen, books: ModuleType) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        ada = yugen.as_user(issuer="https://id.example", subject="ada")
        mine = ada.subscribe(books.mine)
        assert await anext(mine) == []
        waiting = asyncio.ensure_future(anext(mine))
        await yugen.mutation(books.add, "of somebody else")
        await ada.query(books.mine)
        await ada.mutation(books.add, "Emma")
        assert await waiting == ["Emma"]


async def test_a_subscription_goes_on_after_an_error(yugen: Yugen, books: ModuleType) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        await yugen.mutation(books.add, "Emma")
        only = yugen.subscribe("books:only")
        assert (await anext(only))["title"] == "Emma"
        for count in (2, 3):
            await yugen.mutation(books.add, "Persuasion")
            with pytest.raises(YugenError) as raised:
                await anext(only)
            assert raised.value.data == {"code": "too many", "books": count}


async def test_a_cancelled_iteration_loses_nothing(yugen: Yugen, books: ModuleType) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        titles = yugen.subscribe(books.list_books)
        assert await anext(titles) == []
        for waits in range(5):
            waiting = asyncio.ensure_future(anext(titles))
            await yugen.mutation(books.add, "Emma")
            for _ in range(waits):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            heard = await anext(titles) if waiting.cancelled() else waiting.result()
            assert len(heard) == waits + 1


def listeners(yugen: Yugen) -> int:
    """How many subscribe to functions of the app; the scheduler does to its own as soon as it has started."""
    assert yugen._backend is not None
    queries = yugen._backend.runtime.queries._queries.values()
    return sum(query.listening for query in queries if query.key.path.startswith("books:"))


async def test_subscriptions_end(yugen: Yugen, books: ModuleType) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        async for _ in yugen.subscribe(books.list_books):
            break
        gc.collect()
        await asyncio.sleep(0)
        assert listeners(yugen) == 0
        with yugen.subscribe(books.list_books) as titles:
            await anext(titles)
            assert listeners(yugen) == 1
            waiting = asyncio.ensure_future(anext(titles, "ended"))
            await asyncio.sleep(0)
        assert await waiting == "ended"
        assert listeners(yugen) == 0
        assert await anext(titles, "ended") == "ended"


async def test_a_page_ends_where_it_ended(yugen: Yugen, books: ModuleType) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        for title in "aceg":
            await yugen.mutation(books.add, title)
        pages = yugen.subscribe(books.page, options={"num_items": 2, "cursor": None})
        assert [book.title for book in (await anext(pages)).page] == ["a", "c"]
        await yugen.mutation(books.add, "b")
        assert [book.title for book in (await anext(pages)).page] == ["a", "b", "c"]


async def test_a_page_that_changes_before_its_end_is_settled_is_seen(
    yugen: Yugen, books: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, changes = Subscription.at, iter("b")

    async def at_then_change(subscription: Subscription, ts: Timestamp) -> Answer:
        answer = await at(subscription, ts)
        for title in changes:
            await yugen.mutation(books.add, title)
        return answer

    monkeypatch.setattr(Subscription, "at", at_then_change)
    async with asyncio.timeout(SECONDS_MAX):
        await yugen.mutation(books.add, "a")
        async for books_seen in yugen.subscribe(books.page, options={"num_items": 2, "cursor": None}):
            if len(books_seen.page) == 2:
                break


async def test_subscriptions_live_through_a_reload_and_end_with_the_backend(yugen: Yugen, tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        mine: InProcessSubscription[Any] = yugen.subscribe("books:mine")
        assert await anext(mine) == []
        waiting = asyncio.ensure_future(anext(mine))
        write_app(tmp_path, books=MORE)
        await yugen.reload()
        assert await waiting == ["new code"]
        waiting = asyncio.ensure_future(anext(mine, "ended"))
        await yugen.mutation("books:add", title="Emma")
        assert await waiting == ["new code", "Emma"]
        waiting = asyncio.ensure_future(anext(mine, "ended"))
        await asyncio.sleep(0)
        await yugen.close()
        assert await waiting == "ended"
        with pytest.raises(NotServing, match="shutting down"):
            await yugen.query("books:mine")
        with pytest.raises(NotServing, match="shutting down"):
            await anext(yugen.subscribe("books:mine"))


async def test_clients_and_the_process_share_answers(yugen: Yugen, books: ModuleType) -> None:
    await yugen.query(books.list_books)
    runtime = (await yugen.backend()).runtime
    assert runtime.queries.kept(runtime.query_key("books:list", b"{}"), None, runtime.ts) is not None


async def test_threads_call_by_blocking(yugen: Yugen, books: ModuleType) -> None:
    def view() -> list[str]:
        ada = yugen.blocking.as_user(issuer="https://id.example", subject="ada")
        ada.mutation(books.add, "Emma")
        yugen.blocking.action("books:add_twice", title="Persuasion")
        with pytest.raises(YugenError):
            yugen.blocking.mutation(books.add, title="")
        return [*ada.query(books.mine), *yugen.blocking.query(books.mine)]

    with pytest.raises(NotServing, match="has not been started"):
        await asyncio.to_thread(view)
    await yugen.start()
    assert await asyncio.to_thread(view) == ["Emma", "Persuasion", "Persuasion"]
    with pytest.raises(RuntimeError, match="await the call without it"):
        yugen.blocking.query(books.mine)
    await yugen.close()
    with pytest.raises(NotServing, match="shutting down"):
        await asyncio.to_thread(view)


async def test_another_event_loop_is_told_so(yugen: Yugen, books: ModuleType) -> None:
    await yugen.start()

    def elsewhere() -> None:
        asyncio.run(yugen.query(books.mine))

    with pytest.raises(RuntimeError, match="another event loop"):
        await asyncio.to_thread(elsewhere)


def test_what_has_started_by_itself_closes_with_its_event_loop(tmp_path: Path) -> None:
    yugen = Yugen(write_app(tmp_path, books=SHELVES))

    async def script(title: str) -> Any:
        await yugen.mutation("books:add", title=title)
        return await yugen.query("books:mine")

    assert asyncio.run(script("Emma")) == ["Emma"]
    assert yugen._backend is None
    assert asyncio.run(script("Persuasion")) == ["Emma", "Persuasion"]


async def test_what_cannot_start_says_so(tmp_path: Path) -> None:
    broken = Yugen(write_app(tmp_path, books="def"), development=True)
    with pytest.raises(NotServing, match=r"books\.py"):
        await broken.query("books:mine")
    with pytest.raises(NotServing, match=r"books\.py"):
        await anext(broken.subscribe("books:mine"))
    (tmp_path / "app/books.py").write_text(textwrap.dedent(SHELVES))
    async with broken:
        assert await broken.query("books:mine") == []


async def test_closing_ends_calls_under_way(yugen: Yugen, tmp_path: Path) -> None:
    endless = SHELVES + (
        "\n\n    @action\n    async def wait(ctx: ActionCtx) -> None:\n"
        "        import asyncio\n        await ctx.run_mutation(add, 'here')\n        await asyncio.Event().wait()\n"
    )
    async with asyncio.timeout(SECONDS_MAX), Yugen(write_app(tmp_path / "endless", books=endless)) as waiting:
        calling = asyncio.ensure_future(waiting.action("books:wait"))
        async for titles in waiting.subscribe("books:mine"):
            if titles:
                break
        await waiting.close()
        with pytest.raises((NotServing, FunctionFailed)):
            await calling
