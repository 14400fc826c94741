"""Rules: of a database it is as if what one may not see were not there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from reliability.serving import SECONDS_MAX, serving
from yugen.errors import FunctionFailed, YugenError
from yugen.functions.registry import AppError, load
from yugen.testing import TestApp
from yugen_client import AdminAuth, AsyncClient

APP = Path(__file__).parent / "ruled_app"


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(APP) as made:
        yield made


class World:
    """Two teams with two notes each; one of the second is public. Ada edits the first, bob reads the second."""

    def __init__(self, app: TestApp) -> None:
        self.app = app
        self.ada, self.bob, self.eve = (app.as_user(subject=name) for name in ("ada", "bob", "eve"))
        self.notes: dict[str, str] = {}
        self.teams: dict[str, str] = {}

    async def fill(self) -> World:
        async def write(ctx: Any) -> None:
            for team, who, role in (("one", "ada", "editor"), ("two", "bob", "member")):
                self.teams[team] = await ctx.db.insert("teams", {"name": team})
                await ctx.db.insert("members", {"team": self.teams[team], "who": who, "role": role})
            for number, (team, text) in enumerate((("one", "a"), ("two", "b"), ("one", "c"), ("two", "d"))):
                fields = {"team": self.teams[team], "text": text, "rank": number, "public": text == "d"}
                self.notes[text] = await ctx.db.insert("notes", fields)
            await ctx.db.insert("secrets", {"text": "hidden"})

        await self.app.run(write)
        return self


@pytest.fixture
async def world(app: TestApp) -> World:
    return await World(app).fill()


async def failure(call: Any) -> str:
    with pytest.raises((YugenError, FunctionFailed)) as caught:
        await call
    return str(caught.value)


async def test_everybody_sees_what_is_for_them(world: World) -> None:
    for who, seen in ((world.ada, ["a", "c", "d"]), (world.bob, ["b", "d"]), (world.eve, ["d"]), (world.app, ["d"])):
        assert await who.query("notes:list") == seen
        for way in ("each", "select", "nested"):
            assert await who.query("notes:look", how=way) == seen, way
        assert await who.query("notes:look", how="take") == seen[:2]
        assert await who.query("notes:look", how="first") == "d"
        assert await who.query("notes:look", how="count") == len(seen)
        assert await who.query("notes:look", how="counted") == len(seen)
        assert await who.query("notes:look", how="filter") == [each for each in seen if each in "cd"]
        assert await who.action("notes:act", public=True) == seen
        for text, note in world.notes.items():
            assert await who.query("notes:look", how="get", note=note) == (text if text in seen else None)
        assert await who.query("notes:look", how="secrets") == []
        assert await who.query("notes:look", how="open") == ["a", "b", "c", "d"]
        assert await who.action("notes:act", public=False) == ["a", "b", "c", "d"]


async def test_totals_that_know_no_rules_are_refused(world: World) -> None:
    assert "totals know no rules" in await failure(world.ada.query("notes:look", how="rank", note=world.notes["b"]))


async def test_pages_have_all_that_is_for_one_and_nothing_else(world: World) -> None:
    for who, seen in ((world.ada, ["a", "c", "d"]), (world.bob, ["b", "d"]), (world.eve, ["d"])):
        for size in (1, 2, 3):
            shown, cursor = [], None
            for _ in range(10):
                page = await who.query("notes:pages", page={"numItems": size, "cursor": cursor})
                shown += [note.text for note in page.page]
                cursor = page.continue_cursor
                if page.is_done:
                    break
            assert shown == seen


async def test_what_one_may_not_see_cannot_be_told_from_what_is_not_there(world: World) -> None:
    hidden = world.notes["b"]

    async def drop(ctx: Any) -> str:
        gone = await ctx.db.insert("notes", {"team": world.teams["one"], "text": "x", "rank": 0, "public": False})
        await ctx.db.delete(gone)
        return str(gone)

    gone = await world.app.run(drop)
    for way in ("patch", "move", "replace", "delete", "comment", "nested", "caught"):
        args = {"how": way, "team": world.teams["one"], "text": "x"}
        if way == "caught":
            told = await world.ada.mutation("notes:change", note=hidden, **args)
            missing = await world.ada.mutation("notes:change", note=gone, **args)
        else:
            told = await failure(world.ada.mutation("notes:change", note=hidden, **args))
            missing = await failure(world.ada.mutation("notes:change", note=gone, **args))
        assert told.replace(hidden, "ID") == missing.replace(gone, "ID"), way
    assert await world.bob.query("notes:list") == ["b", "d"]


async def test_one_changes_what_one_may_before_and_after(world: World) -> None:
    ada, bob = world.ada, world.bob
    await ada.mutation("notes:change", how="insert", team=world.teams["one"], text="e")
    await ada.mutation("notes:change", how="patch", note=world.notes["a"], text="A")
    assert await ada.query("notes:list") == ["A", "c", "d", "e"]
    for refused in (
        ada.mutation("notes:change", how="insert", team=world.teams["two"], text="x"),
        ada.mutation("notes:change", how="move", note=world.notes["a"], team=world.teams["two"]),
        ada.mutation("notes:change", how="patch", note=world.notes["d"], text="x"),
        bob.mutation("notes:change", how="patch", note=world.notes["b"], text="x"),
        bob.mutation("notes:change", how="nested", note=world.notes["b"], text="x"),
        bob.mutation("notes:change", how="delete", note=world.notes["b"]),
        world.app.mutation("notes:change", how="comment", note=world.notes["d"], text="x"),
    ):
        assert "You may not" in await failure(refused)
    assert await bob.mutation("notes:change", how="caught", note=world.notes["b"], text="x")
    assert await bob.query("notes:list") == ["b", "d"]
    await bob.mutation("notes:change", how="open", note=world.notes["b"], text="B")
    await bob.mutation("notes:change", how="comment", note=world.notes["b"], text="mine")
    await world.app.mutation("notes:trusted", note=world.notes["b"], text="BB")
    assert await bob.query("notes:list") == ["BB", "d"]


@pytest.mark.parametrize("seed", range(8))
async def test_a_database_under_rules_is_the_same_without_what_is_hidden(app: TestApp, seed: int) -> None:
    dice = random.Random(seed)
    who = app.as_user(subject="ada")
    texts: list[str] = []

    async def fill(ctx: Any) -> None:
        teams = [await ctx.db.insert("teams", {"name": str(number)}) for number in range(4)]
        mine = set(dice.sample(teams, 2))
        for team in mine:
            await ctx.db.insert("members", {"team": team, "who": "ada", "role": "reader"})
        for number in range(dice.randrange(120)):
            team, public = dice.choice(teams), dice.random() < 0.1
            fields = {"team": team, "text": str(number), "rank": dice.randrange(4), "public": public}
            await ctx.db.insert("notes", fields)
            if public or team in mine:
                texts.append(str(number))

    await app.run(fill)
    assert await who.query("notes:list") == texts
    assert await who.query("notes:look", how="each") == texts
    assert await who.query("notes:look", how="count") == len(texts)
    assert await who.query("notes:look", how="take") == texts[:2]
    for size in (1, 7, 50):
        shown: list[str] = []
        page = {"numItems": size, "cursor": None}
        while True:
            got = await who.query("notes:pages", page=page)
            assert len(got.page) <= size
            shown += [note.text for note in got.page]
            if got.is_done:
                break
            page = {"numItems": size, "cursor": got.continue_cursor}
        assert shown == texts


async def test_mutations_read_under_rules_too(world: World) -> None:
    await world.ada.mutation("notes:later", text="for ada alone")
    for who, seen in ((world.ada, ["a", "c", "d"]), (world.bob, ["b", "d"]), (world.eve, ["d"])):
        for text, note in world.notes.items():
            assert await who.mutation("notes:change", how="get", note=note) == (text if text in seen else None)
        assert await who.mutation("notes:change", how="system") == []


async def test_what_a_rule_has_read_takes_data_off_an_open_page(world: World) -> None:
    watch = await world.bob.watch("notes:list")
    assert await watch.value() == ["b", "d"]

    async def leave(ctx: Any) -> None:
        for member in await ctx.db.query("members").collect():
            if member.who == "bob":
                await ctx.db.delete(member.id)

    await world.app.run(leave)
    await world.app.settle()
    assert await watch.value() == ["d"]


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [
        ("reader", True, False),
        ("writer", True, True),
        ("chief", True, True),
        ("root", True, True),
        ("other", False, False),
    ],
)
async def test_roles_say_which_functions_one_may_call(world: World, role: str, reads: bool, writes: bool) -> None:
    async def give(ctx: Any) -> None:
        await ctx.db.insert("members", {"team": world.teams["one"], "who": "eve", "role": role})

    await world.app.run(give)
    calls: list[tuple[bool, Any, str]] = [
        (reads, lambda who: who.query("notes:for_readers"), "read"),
        (writes, lambda who: who.mutation("notes:for_writers", text="x"), "x"),
        (writes, lambda who: who.action("notes:acting_writers"), "acted"),
    ]
    for may, call, result in calls:
        if may:
            assert await call(world.eve) == result
        else:
            with pytest.raises(YugenError) as caught:
                await call(world.eve)
            assert caught.value.data["code"] == "Forbidden"
        with pytest.raises(YugenError) as caught:
            await call(world.app)
        assert caught.value.data["code"] == "Unauthenticated"


async def test_a_role_that_is_taken_away_ends_what_was_open(world: World) -> None:
    async def role(ctx: Any, name: str) -> None:
        (member,) = [each for each in await ctx.db.query("members").collect() if each.who == "bob"]
        await ctx.db.patch(member.id, role=name)

    await world.app.run(lambda ctx: role(ctx, "reader"))
    watch = await world.bob.watch("notes:for_readers")
    assert await watch.value() == "read"
    await world.app.run(lambda ctx: role(ctx, "member"))
    await world.app.settle()
    assert "notes:read" in await failure(watch.value())


def refused(folder: Path, source: str) -> str:
    app = folder / "app"
    app.mkdir()
    (app / "things.py").write_text("from yugen import *\n" + source)
    with pytest.raises(AppError) as caught:
        load(app)
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("rules = Rules('maybe')", "the default is"),
        ("rules = Rules()\nother = Rules()", "have all of them in one"),
        ("rules = Rules()\n@rules.read('notes')\ndef f(ctx, note): ...", "a plain `async def`"),
        ("rules = Rules()\n@rules.read('notes')\n@query\nasync def f(ctx, note: str): ...", "a plain `async def`"),
        ("rules = Rules()\n@rules.read('notes')\nasync def f(ctx): ...", "takes a context and the document"),
        (
            "rules = Rules()\n@rules.update('notes')\nasync def f(ctx, note): ...",
            "takes a context and before and after",
        ),
        ("rules = Rules()\n@rules.read('a')\n@rules.read('a')\nasync def f(ctx, note): ...", "a rule for that already"),
        ("class A(Document): pass\nrules = Rules()\nrules.read(A)", "is of no table"),
        ("roles = Roles({'a': ['b'], 'b': ['a']})", "a contains b contains a"),
        ("roles = Roles({'a': 'b'})", "are a list"),
        ("roles = Roles({'member': ['x:y'], 'host': ['memebr']})", "which is no role"),
        ("roles = Roles({'a': ['x:y']})\n@query\n@roles.requires('x:y')\nasync def f(ctx): ...", "who has which role"),
        (
            """class N(Document, table='notes'): pass
rules = Rules('allow')
@rules.read('ntoes')
async def f(ctx, note): ...""",
            "the table of no class",
        ),
        (
            "roles = Roles({'a': ['x:y']})\n@query\n@roles.requires('x:z')\nasync def f(ctx): ...",
            "no role has the permission",
        ),
        (
            "roles = Roles({'a': ['*']})\n@query\n@roles.requires('x')\nasync def f(ctx): ...",
            "no role has the permission",
        ),
        (
            "roles = Roles({'a': ['x:y']})\n@roles.requires('x:y')\n@query\nasync def f(ctx): ...",
            "right above the `async def`",
        ),
        (
            "roles = Roles({'a': ['x:y']}, functions='deny')\n@query\nasync def f(ctx): ...",
            "does not say who may call it",
        ),
        ("roles = Roles({'a': ['x:y']})\n@roles.of\n@query\nasync def f(ctx): ...", "above @internal_query"),
    ],
)
def test_what_cannot_be_meant_does_not_load(tmp_path: Path, source: str, text: str) -> None:
    assert text in refused(tmp_path, source)


def test_http_actions_say_whom_they_are_for_too(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "http.py").write_text(
        "from yugen import HttpRouter, Roles\n"
        "from starlette.requests import Request\n"
        "http = HttpRouter()\n"
        "roles = Roles({'a': ['x:y']}, functions='deny')\n"
        "@http.route('/open')\n@roles.anybody\nasync def open(ctx, request): ...\n"
        "@http.route('/hook')\nasync def hook(ctx, request): ...\n"
    )
    with pytest.raises(AppError, match="GET /hook does not say who may call it"):
        load(app)


async def test_what_keeps_a_document_is_not_told_to_whom_it_is_hidden_from(world: World) -> None:
    async def keep(ctx: Any) -> None:
        for text in ("a", "c"):
            note, team = world.notes[text], world.teams["one" if text == "c" else "two"]
            await ctx.db.insert("pins", {"note": note, "team": team})

    await world.app.run(keep)
    told = await failure(world.ada.mutation("notes:change", how="delete", note=world.notes["a"]))
    assert "something that you may not see refers to" in told
    assert "pins" not in told
    assert "by pins.note" in await failure(world.ada.mutation("notes:change", how="delete", note=world.notes["c"]))


async def test_system_tables_are_under_rules_too(world: World) -> None:
    await world.ada.mutation("notes:later", text="for ada alone")
    assert await world.eve.query("notes:scheduled") == []
    assert await world.app.run(lambda ctx: ctx.db.system.query("_scheduled_functions").collect())


async def test_a_rule_may_ask_functions_of_the_app(world: World) -> None:
    await world.ada.mutation("notes:change", how="comment", note=world.notes["a"], text="x")
    assert await world.ada.query("notes:comments") == ["x"]
    assert await world.bob.query("notes:comments") == []


async def test_real_sockets_show_each_what_is_theirs_and_lose_it_in_one_transition(tmp_path: Path) -> None:
    async with serving(APP, tmp_path / "data") as server, asyncio.timeout(SECONDS_MAX):
        key = (tmp_path / "data" / "admin_key").read_text().strip()

        def client(name: str) -> AsyncClient:
            return AsyncClient(server.url, auth=AdminAuth(key, {"issuer": "https://id.example", "subject": name}))

        async with client("ada") as ada, client("bob") as bob:
            await ada.mutation("notes:begin", {"members": {"ada": "editor", "bob": "member"}, "texts": ["a", "b"]})
            async with bob.subscribe("notes:list") as shown:
                assert await anext(shown) == ["a", "b"]
                await ada.mutation("notes:begin", {"members": {}, "texts": []})
                assert await anext(shown) == []
            assert await ada.query("notes:list") == []


async def test_a_default_that_allows_hides_only_what_has_rules(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "things.py").write_text(
        "from typing import Any\n"
        "from yugen import MutationCtx, QueryCtx, Rules, mutation, query\n"
        "rules = Rules('allow')\n"
        "@rules.read('b')\n"
        "async def sees(ctx: QueryCtx, thing: Any) -> bool:\n    return False\n"
        "@query\nasync def both(ctx: QueryCtx) -> list[int]:\n"
        "    return [len(await ctx.db.query(table).collect()) for table in ('a', 'b')]\n"
        "@mutation\nasync def fill(ctx: MutationCtx) -> None:\n"
        "    for table in ('a', 'b'):\n        await ctx.db.insert(table, {})\n"
    )
    async with TestApp(app) as t:
        await t.mutation("things:fill")
        assert await t.query("things:both") == [1, 0]
