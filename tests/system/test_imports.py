"""Imports: what files become in the database, and what they do not."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import pytest_asyncio

from tests.apps import write_app
from tests.engine import change, encoded, engine, new_store, value_of
from yugen import ids
from yugen.runtime.runtime import Runtime
from yugen.storage.memory import MemoryStore
from yugen.system import importing, imports
from yugen.values import Int64

APP = """
    from typing import Literal

    from yugen import Document, Id, Index, Int64, MutationCtx, mutation


    class User(Document, table="users"):
        name: str
        role: Literal["member", "admin"] = "member"
        note: str | None = None
        zip: str = ""
        age: float | None = None
        votes: Int64 = Int64(0)
        active: bool = False

        by_name = Index("name", unique=True)


    class Message(Document, table="messages"):
        author: Id[User]
        body: str

        by_author = Index("author")


    @mutation
    async def insert(ctx: MutationCtx, table: str, fields: dict[str, object]) -> str:
        return await ctx.db.insert(table, fields)
"""


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    async with engine(new_store(request.param, tmp_path), write_app(tmp_path, f=APP)) as runtime:
        yield runtime


@pytest_asyncio.fixture
async def quick(tmp_path: Path) -> AsyncIterator[Runtime]:
    async with engine(MemoryStore(), write_app(tmp_path, f=APP)) as runtime:
        yield runtime


Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts a file where uploads are, and returns its name: text, or the files of an archive."""

    def write(content: str | dict[str, str]) -> str:
        folder = tmp_path / ".yugen" / "imports"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"file{len(list(folder.iterdir()))}"
        if isinstance(content, str):
            (folder / name).write_text(content)
        else:
            with ZipFile(folder / name, "w") as archive:
                for entry, text in content.items():
                    archive.writestr(entry, text)
        return name

    return write


async def call(runtime: Runtime, name: str, **args: Any) -> Any:
    return value_of((await runtime.mutate(f"_system/imports:{name}", encoded(**args), public=False)).answer)


async def failure(runtime: Runtime, name: str, **args: Any) -> str:
    answer = (await runtime.mutate(f"_system/imports:{name}", encoded(**args), public=False)).answer
    assert answer.failure is not None
    return answer.failure.detail


async def state(runtime: Runtime, id: str) -> Any:
    args = encoded(importId=id)
    return value_of(await runtime.query("_system/cli/queryImport", args, public=False))["state"]


async def begin(
    runtime: Runtime, file: str, form: str = "zip", mode: str = "requireEmpty", table: str | None = None
) -> str:
    new_id = await call(runtime, "begin", file=file, form=form, mode=mode, table=table)
    assert isinstance(new_id, str)
    return new_id


async def check(runtime: Runtime, id: str) -> Any:
    """What an import would do, or what is wrong with it."""
    answer = await runtime.query("_system/imports:check", encoded(id=id), public=False)
    if answer.failure is not None:
        return answer.failure.detail
    return value_of(answer)


async def imported(runtime: Runtime, file: str, *args: str, **more: str) -> Any:
    """Takes an import to its end, which must be good; returns what had to be confirmed."""
    new_id = await begin(runtime, file, *args, **more)
    asked = await check(runtime, new_id)
    assert isinstance(asked, dict), asked
    await call(runtime, "checked", id=new_id, state=asked)
    await call(runtime, "confirm", id=new_id)
    await call(runtime, "perform", id=new_id)
    done = await state(runtime, new_id)
    assert done["state"] == "completed"
    return {**asked, "written": int(done["num_rows_written"])}


async def refused(runtime: Runtime, file: str, *args: str, **more: str) -> str:
    """What is wrong with an import, which is found out before and when it is carried out; nothing is written."""
    before = await everything(runtime)
    new_id = await begin(runtime, file, *args, **more)
    fault = await check(runtime, new_id)
    assert isinstance(fault, str)
    nothing: Any = {"notes": []}
    await call(runtime, "checked", id=new_id, state={**nothing, "state": "waiting_for_confirmation"})
    await call(runtime, "confirm", id=new_id)
    assert await failure(runtime, "perform", id=new_id) == fault
    assert await everything(runtime) == before
    code, _, text = fault.partition(": ")
    assert code == "InvalidImport"
    return text


async def documents(runtime: Runtime, table: str) -> list[dict[str, Any]]:
    options = {"cursor": None, "numItems": 1000}
    args = encoded(table=table, order="asc", paginationOpts=options)
    page = value_of(await runtime.query("_system/cli/tableData", args, public=False))["page"]
    assert isinstance(page, list)
    return page


async def everything(runtime: Runtime) -> dict[str, Any]:
    tables = await documents(runtime, "_tables")
    return {table["name"]: await documents(runtime, table["name"]) for table in tables}


async def number(runtime: Runtime, table: str) -> int:
    (found,) = [each for each in await documents(runtime, "_tables") if each["name"] == table]
    return int(found["number"])


def new_id(table: int, last: int = 1) -> str:
    return ids.encode_id(table, bytes(15) + bytes([last]))


def lines(*rows: Any) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


async def test_lines_become_documents_with_all_that_their_class_adds(runtime: Runtime, write: Write) -> None:
    rows = lines({"name": "ada", "votes": {"$integer": "BwAAAAAAAAA="}}, {"name": "bob", "role": "admin"})
    asked = await imported(runtime, write(rows), "jsonLines", table="users")
    assert asked["written"] == 2
    assert asked["require_manual_confirmation"] is False
    assert asked["message_to_confirm"].splitlines()[:4] == [
        "Import change summary:",
        "table | create | delete",
        "-----------------------",
        "users | 2      | 0     ",
    ]
    ada, bob = await documents(runtime, "users")
    assert (ada["name"], ada["role"], ada["votes"]) == ("ada", "member", Int64(7))
    assert bob["role"] == "admin"
    assert ids.decode_id(ada["_id"])[0] == await number(runtime, "users")
    assert ada["_creationTime"] > 1e12


async def test_trying_out_writes_nothing(runtime: Runtime, write: Write) -> None:
    before = await everything(runtime)
    first = await begin(runtime, write(lines({"a": 1})), "jsonLines", table="fresh")
    assert (await check(runtime, first))["state"] == "waiting_for_confirmation"
    assert await everything(runtime) == before


async def test_ids_and_creation_times_stay(runtime: Runtime, write: Write) -> None:
    users = await number(runtime, "users")
    row = {"_id": new_id(users), "_creationTime": 1234.5, "name": "ada"}
    await imported(runtime, write(lines(row, {"_creationTime": 99.25, "name": "bob"})), "jsonLines", table="users")
    ada, bob = sorted(await documents(runtime, "users"), key=lambda user: str(user["name"]))
    assert (ada["_id"], ada["_creationTime"]) == (row["_id"], 1234.5)
    assert bob["_creationTime"] == 99.25


async def test_a_new_table_keeps_its_number_and_its_ids(runtime: Runtime, write: Write) -> None:
    row = {"_id": new_id(10_500), "at": new_id(10_500), "n": 1}
    await imported(runtime, write({"loose/documents.jsonl": lines(row)}))
    assert await number(runtime, "loose") == 10_500
    assert [(each["_id"], each["at"]) for each in await documents(runtime, "loose")] == [(row["_id"], row["_id"])]
    await change(runtime, "f:insert", table="later", fields={})
    assert await number(runtime, "later") == 10_501


async def test_documents_of_renumbered_tables_keep_referring_to_one_another(runtime: Runtime, write: Write) -> None:
    users, messages = await number(runtime, "users"), await number(runtime, "messages")
    # Where the file comes from, the numbers are the other way round.
    ada, bob, hello = new_id(messages, 1), new_id(messages, 2), new_id(users, 3)
    elsewhere, broken = new_id(10_900), ada[:-1] + ("0" if ada[-1] != "0" else "1")
    tables = lines(
        {"name": "users", "id": messages}, {"name": "messages", "id": users}, {"name": "loose", "id": 10_700}
    )
    loose = {"ids": [ada, {ada: [hello, bob]}], "text": f"see {ada}", "elsewhere": elsewhere, "broken": broken}
    file = write(
        {
            "_tables/documents.jsonl": tables,
            "users/documents.jsonl": lines({"_id": ada, "name": "ada", "note": hello}, {"_id": bob, "name": "bob"}),
            "messages/documents.jsonl": lines({"_id": hello, "author": ada, "body": "hello"}),
            "loose/documents.jsonl": lines({"_id": new_id(10_700), **loose}),
        }
    )
    await imported(runtime, file)
    own = {
        name: {each.get("name"): each["_id"] for each in await documents(runtime, name)}
        for name in ("users", "messages")
    }
    assert own["users"] == {"ada": new_id(users, 1), "bob": new_id(users, 2)}
    [message] = await documents(runtime, "messages")
    assert (message["_id"], message["author"]) == (new_id(messages, 3), new_id(users, 1))
    assert [user["note"] for user in await documents(runtime, "users") if "note" in user] == [new_id(messages, 3)]
    [found] = await documents(runtime, "loose")
    ada_here, bob_here, hello_here = new_id(users, 1), new_id(users, 2), new_id(messages, 3)
    assert found["ids"] == [ada_here, {ada_here: [hello_here, bob_here]}]
    assert (found["text"], found["elsewhere"], found["broken"]) == (f"see {ada}", elsewhere, broken)


async def test_a_number_that_is_taken_or_none_at_all_is_replaced(quick: Runtime, write: Write) -> None:
    users = await number(quick, "users")
    for name, theirs in (("taken", users), ("huge", ids.TABLES_MAX - 1), ("system", 3)):
        row = {"_id": new_id(theirs), "me": new_id(theirs)}
        await imported(quick, write(lines(row)), "jsonLines", table=name)
        own = new_id(await number(quick, name))
        assert [(each["_id"], each["me"]) for each in await documents(quick, name)] == [(own, own)]
        assert 10_002 < await number(quick, name) < 10_100


async def test_what_becomes_of_documents_that_are_there(runtime: Runtime, write: Write) -> None:
    for name in ("ada", "bob"):
        await change(runtime, "f:insert", table="users", fields={"name": name})
    await change(runtime, "f:insert", table="loose", fields={"n": 1})
    rows = write(lines({"name": "cyd"}))
    assert await refused(runtime, rows, "jsonLines", table="users") == (
        "Table users has documents already; add to them with --append, or replace them with --replace."
    )
    await imported(runtime, rows, "jsonLines", mode="append", table="users")
    assert [user["name"] for user in await documents(runtime, "users")] == ["ada", "bob", "cyd"]
    asked = await imported(runtime, rows, "jsonLines", mode="replace", table="users")
    assert asked["require_manual_confirmation"] is True
    assert "users | 1      | 3     " in asked["message_to_confirm"]
    assert [user["name"] for user in await documents(runtime, "users")] == ["cyd"]
    assert len(await documents(runtime, "loose")) == 1
    asked = await imported(runtime, rows, "jsonLines", mode="replaceAll", table="users")
    assert "loose    | 0      | 1     " in asked["message_to_confirm"]
    assert "messages | 0      | 0     " in asked["message_to_confirm"]
    assert await documents(runtime, "loose") == []
    assert len(await documents(runtime, "users")) == 1


async def test_replacing_documents_by_themselves_changes_nothing_but_what_changed(
    runtime: Runtime, write: Write
) -> None:
    await change(runtime, "f:insert", table="users", fields={"name": "ada", "note": "x"})
    [ada] = await documents(runtime, "users")
    row = {"_id": ada["_id"], "_creationTime": ada["_creationTime"], "name": "ada", "note": "y"}
    await imported(runtime, write(lines(row)), "jsonLines", mode="replace", table="users")
    assert await documents(runtime, "users") == [{**ada, "note": "y"}]


async def test_cells_become_what_the_fields_of_the_class_are(quick: Runtime, write: Write) -> None:
    text = "name,zip,age,votes,active,note\nada,01234,36,9,true,\nbob,5,,1,FALSE,7\n"
    await imported(quick, write(text), "csv", table="users")
    ada, bob = await documents(quick, "users")
    assert [ada[name] for name in ("zip", "age", "votes", "active", "note")] == ["01234", 36.0, Int64(9), True, ""]
    assert "age" not in bob
    assert [bob[name] for name in ("zip", "votes", "active", "note")] == ["5", Int64(1), False, "7"]
    await imported(quick, write("a,b\n1,x\n"), "csv", table="loose")
    assert [(each["a"], each["b"]) for each in await documents(quick, "loose")] == [(1.0, "x")]


async def test_the_kinds_of_columns_are_told(quick: Runtime) -> None:
    told = value_of(await quick.query("_system/imports:columns", encoded(table="users"), public=False))
    assert told["zip"] == ["string"]
    assert told["age"] == ["null", "number"]
    assert told["votes"] == ["bigint"]
    assert value_of(await quick.query("_system/imports:columns", encoded(table="loose"), public=False)) == {}


async def test_an_array(quick: Runtime, write: Write) -> None:
    await imported(quick, write('[{"n": {"$float": "AAAAAAAA+H8="}}]'), "jsonArray", table="loose")
    [found] = await documents(quick, "loose")
    assert math.isnan(found["n"])


USERS = "users/documents.jsonl"


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (
            [{"name": "ada"}, {"name": 7}],
            "row 2 of users/documents.jsonl: A document of users does not fit User: `name`",
        ),
        ([{"name": "ada", "color": "red"}], "row 1 of users/documents.jsonl: User has no field `color`"),
        (
            [{"name": "ada"}, {"name": "ada"}],
            "row 2 of users/documents.jsonl: Table users already has a document with name",
        ),
        ([{"_id": "x", "name": "ada"}], "row 1 of users/documents.jsonl: 'x' is not an id"),
        ([{"_id": 7, "name": "ada"}], "row 1 of users/documents.jsonl: An id is a string"),
        (
            [{"_id": new_id(10_001), "name": "a"}] * 2,
            "row 2 of users/documents.jsonl: its _id is that of a row before it.",
        ),
        (
            [{"_id": new_id(10_001), "name": "a"}, {"_id": new_id(10_002), "name": "b"}],
            "row 2 of users/documents.jsonl: its _id is not of the same table as the others.",
        ),
        ([{"_creationTime": "now", "name": "ada"}], "row 1 of users/documents.jsonl: its _creationTime is no time"),
        (
            [{"name": "x" * (1 << 20)}],
            "row 1 of users/documents.jsonl: A document of users cannot be stored: this document is 10486",
        ),
        ([{"name": "ada", "_own": 1}], "row 1 of users/documents.jsonl: User has no field `_own`"),
        (
            [{"name": "ada", "votes": 7}],
            "row 1 of users/documents.jsonl: A document of users does not fit User: `votes`",
        ),
    ],
)
async def test_a_row_that_is_no_document_of_its_table_is_named(
    quick: Runtime, write: Write, rows: list[Any], fault: str
) -> None:
    assert (await refused(quick, write({USERS: lines(*rows)}))).startswith(fault)


async def test_a_document_that_is_there_already_is_not_added(quick: Runtime, write: Write) -> None:
    await change(quick, "f:insert", table="users", fields={"name": "ada"})
    [ada] = await documents(quick, "users")
    same = write(lines({"_id": ada["_id"], "name": "bob"}))
    fault = "row 1: a document with its _id is there already."
    assert await refused(quick, same, "jsonLines", mode="append", table="users") == fault
    clash = write(lines({"name": "ada"}))
    fault = await refused(quick, clash, "jsonLines", mode="append", table="users")
    assert fault.startswith('row 1: Table users already has a document with name = "ada"')


async def test_a_file_that_cannot_be_read(quick: Runtime, write: Write) -> None:
    assert "cannot be read as an archive" in await refused(quick, write("no archive"))
    assert "row 1 is not valid JSON" in await refused(quick, write("{"), "jsonLines", table="users")
    assert "Name the table" in await refused(quick, write("{}"), "jsonLines")


async def test_there_is_a_limit_to_documents(quick: Runtime, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "DOCUMENTS_MAX", 3)
    rows = lines(*({"n": number} for number in range(3)))
    await imported(quick, write(rows), "jsonLines", table="loose")
    assert "at most 3 documents together" in await refused(quick, write(rows), "jsonLines", "replace", "loose")
    assert "at most 3" in await refused(quick, write(rows + rows), "jsonLines", table="others")


async def test_what_is_left_out_is_to_be_confirmed(quick: Runtime, write: Write) -> None:
    file = write({USERS: lines({"name": "ada"}), "_storage/kg1.png": "x", "_indexes/documents.jsonl": lines({"x": 1})})
    asked = await imported(quick, file)
    assert "1 stored files are left out" in asked["message_to_confirm"]
    assert "System tables are left out: _indexes." in asked["notes"]


REFERRING = """
    from yugen import Document, Id, Index, MutationCtx, Ref, mutation


    class Team(Document, table="teams"):
        name: str


    class Player(Document, table="players"):
        team: Id[Team] = Ref(on_delete="cascade")
        name: str

        by_team = Index("team")


    @mutation
    async def insert(ctx: MutationCtx, table: str, fields: dict[str, object]) -> str:
        return await ctx.db.insert(table, fields)
"""


async def test_references_stay_whole(tmp_path: Path, write: Write) -> None:
    async with engine(MemoryStore(), write_app(tmp_path, f=REFERRING)) as runtime:
        teams = await number(runtime, "teams")
        one, other = new_id(teams, 1), new_id(teams, 2)
        player = lines({"team": one, "name": "ada"})
        fault = await refused(runtime, write(player), "jsonLines", table="players")
        assert fault == f"row 1: team refers to {one}, which is not there; import that too."
        both = {"players/documents.jsonl": player, "teams/documents.jsonl": lines({"_id": one, "name": "red"})}
        await imported(runtime, write(both))
        fault = await refused(runtime, write(lines({"_id": other, "name": "blue"})), "jsonLines", "replace", "teams")
        assert f"refers to {one} by players.team, and the import has no such document; import players too." in fault
        await imported(runtime, write(lines({"_id": one, "name": "blue"})), "jsonLines", "replace", "teams")
        await imported(runtime, write(lines({"_id": other, "name": "new"})), "jsonLines", "replaceAll", "teams")
        assert await documents(runtime, "players") == []


async def test_a_strict_app_takes_no_other_tables(tmp_path: Path, write: Write) -> None:
    async with engine(MemoryStore(), write_app(tmp_path, schema="strict = True\n", f=APP)) as runtime:
        assert "loose has no class" in await refused(runtime, write(lines({"n": 1})), "jsonLines", table="loose")


# The record of imports -----------------------------------------------------------------------------------------------


async def test_an_import_goes_one_way(quick: Runtime, write: Write) -> None:
    first = await begin(quick, write(lines({"name": "ada"})), "jsonLines", table="users")
    assert await state(quick, first) == {"state": "uploaded"}
    for name in ("confirm", "perform"):
        assert (await failure(quick, name, id=first)).startswith("ImportNotPossible: ")
    await call(quick, "checked", id=first, state=await check(quick, first))
    assert (await state(quick, first))["state"] == "waiting_for_confirmation"
    assert (await failure(quick, "checked", id=first, state={})).startswith("ImportNotPossible: ")
    assert (await check(quick, first)).startswith("ImportNotPossible: ")
    await call(quick, "confirm", id=first)
    assert (await state(quick, first))["state"] == "in_progress"
    await call(quick, "perform", id=first)
    for name in ("perform", "confirm", "cancel"):
        assert (await failure(quick, name, id=first)).startswith("ImportNotPossible: ")
    await call(quick, "fail", id=first, text="too late")
    assert (await state(quick, first))["state"] == "completed"


async def test_an_import_can_fail_and_be_canceled(quick: Runtime, write: Write) -> None:
    failed = await begin(quick, "none", "jsonLines", table="users")
    await call(quick, "fail", id=failed, text="It is bad.")
    assert await state(quick, failed) == {"state": "failed", "error_message": "It is bad.\nNothing was imported."}
    canceled = await begin(quick, "none", "jsonLines", table="users")
    await call(quick, "cancel", id=canceled)
    assert (await state(quick, canceled))["error_message"] == "The import was canceled. Nothing was imported."
    assert (await failure(quick, "perform", id=canceled)).startswith("ImportNotPossible: ")


async def test_a_file_is_one_that_was_uploaded(quick: Runtime) -> None:
    for file in ("../data.sqlite3", "/etc/passwd", "", ".", "a/b"):
        args: Any = {"file": file, "form": "jsonLines", "mode": "append", "table": "users"}
        assert (await failure(quick, "begin", **args)).startswith("ImportNotPossible: ")


async def test_only_imports_are_shown_as_such(quick: Runtime) -> None:
    user = await change(quick, "f:insert", table="users", fields={"name": "ada"})
    assert value_of(await quick.query("_system/cli/queryImport", encoded(importId=user), public=False)) is None
    assert (await failure(quick, "cancel", id=user)).startswith("ImportNotPossible: ")


async def test_after_a_restart_only_what_waits_goes_on(quick: Runtime, write: Write) -> None:
    file = write(lines({"name": "ada"}))
    uploaded, waiting, running = [await begin(quick, file, "jsonLines", table="users") for _ in range(3)]
    for each in (waiting, running):
        await call(quick, "checked", id=each, state=await check(quick, each))
    await call(quick, "confirm", id=running)
    await call(quick, "recover")
    assert (await state(quick, waiting))["state"] == "waiting_for_confirmation"
    for each in (uploaded, running):
        assert "The server has been restarted" in (await state(quick, each))["error_message"]


async def test_only_so_many_are_remembered(quick: Runtime) -> None:
    waiting = [
        await begin(quick, f"file{number}", "jsonLines", table="users") for number in range(imports.WAITING_MAX + 1)
    ]
    assert "Newer imports have taken the place" in (await state(quick, waiting[0]))["error_message"]
    args = encoded()
    files = value_of(await quick.query("_system/imports:files", args, public=False))
    assert files == [f"file{number}" for number in range(1, imports.WAITING_MAX + 1)]
    for _ in range(imports.KEPT + 5):
        await call(quick, "cancel", id=await begin(quick, "none", "jsonLines", table="users"))
    assert len(await documents(quick, "_imports")) <= imports.KEPT + imports.WAITING_MAX + 1
    listed = value_of(await quick.query("_system/cli/queryImport:list", args, public=False))
    assert len(listed) == imports.KEPT
    assert listed[0]["_creationTime"] > listed[-1]["_creationTime"]
