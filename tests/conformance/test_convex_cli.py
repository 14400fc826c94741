"""The official convex command line, unmodified, against real servers."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx2 as httpx
import pytest
import pytest_asyncio

from reliability.serving import ROOT, SECONDS_MAX, Process, serving
from tests.apps import write_app

MAIN = ROOT / "node_modules" / "convex" / "bin" / "main.js"

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCHEMA = """
    from typing import Any

    from yugen import Document, Id, Index, Int64


    class User(Document, table="users"):
        name: str
        age: float | None = None
        by_name = Index("name", unique=True)


    class Message(Document, table="messages"):
        author: Id[User]
        body: str
        count: Int64 = Int64(0)
        more: Any = None
        by_author = Index("author")
"""
_HEAD, _USER, _MESSAGE = SCHEMA.split("\n\n\n")
TURNED = "\n\n\n".join([_HEAD, _MESSAGE.replace("Id[User]", 'Id["User"]').rstrip(), _USER.rstrip()])
"""The same tables the other way round, so that they get each other's numbers."""

FUNCTIONS = """
    from typing import Any

    from yugen import Id, MutationCtx, QueryCtx, YugenError, internal_query, mutation, query

    from .schema import Message, User


    @query(name="list")
    async def list_messages(ctx: QueryCtx) -> list[str]:
        return [message.body for message in await ctx.db.query(Message).collect()]


    @mutation
    async def send(ctx: MutationCtx, author: str, body: str, more: Any = None) -> Id[Message]:
        print("sending", body)
        user = await ctx.db.query(User).with_index(User.by_name, name=author).first()
        user_id = user.id if user else await ctx.db.insert(User(name=author))
        return await ctx.db.insert(Message(author=user_id, body=body, more=more))


    @mutation
    async def put(ctx: MutationCtx, table: str, fields: dict[str, Any]) -> None:
        await ctx.db.insert(table, fields)


    @query
    async def whoami(ctx: QueryCtx) -> str | None:
        identity = await ctx.auth.get_user_identity()
        return identity and identity.name


    @mutation
    async def crash(ctx: MutationCtx) -> None:
        raise ValueError("the tea is cold")


    @mutation
    async def refuse(ctx: MutationCtx) -> None:
        raise YugenError({"code": "full"})


    @internal_query
    async def hidden(ctx: QueryCtx) -> str:
        return ctx.env.get("SECRET", "nothing")
"""


@dataclass(frozen=True)
class Ran:
    """What a command has printed, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """What a command says that has failed politely: one line, without trying again."""
        assert self.status == 1, self
        assert "Retrying" not in self.err, self
        return self.err.strip().removeprefix("✖ ")


class Cli:
    """The command line for one deployment."""

    def __init__(self, url: str, data: Path, folder: Path) -> None:
        self.url = url
        self.data = data
        self.key = (data / "admin_key").read_text().strip()
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text('{"dependencies": {"convex": "1.48.0"}}')

    def command(self, *args: str, key: str | None = None) -> list[str]:
        """A command in an environment of nothing but what it needs."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "CI": "1",  # no telemetry
            "NO_COLOR": "1",
            "TZ": "UTC",
            "CONVEX_SELF_HOSTED_URL": self.url,
            "CONVEX_SELF_HOSTED_ADMIN_KEY": key or self.key,
        }
        return ["env", "-i", *(f"{name}={value}" for name, value in env.items()), "node", str(MAIN), *args]

    async def run(self, *args: str, key: str | None = None) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *self.command(*args, key=key),
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(SECONDS_MAX):
                out, err = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def ok(self, *args: str) -> str:
        """What a command prints as its result."""
        ran = await self.run(*args)
        assert ran.status == 0, ran
        return ran.out

    def follow(self, *args: str) -> Process:
        """A command that goes on until it is interrupted."""
        return Process(*self.command(*args), cwd=self.folder)

    async def call(self, path: str, **args: Any) -> Any:
        """The value of a function, in the encoded form, without the command line."""
        body = {"path": path, "args": args, "format": "convex_encoded_json"}
        headers = {"Authorization": f"Convex {self.key}"}
        async with httpx.AsyncClient() as client:
            answer = (await client.post(f"{self.url}/api/function", json=body, headers=headers)).json()
        assert answer["status"] == "success", answer
        return answer["value"]

    async def documents(self, table: str) -> list[Any]:
        options = {"cursor": None, "numItems": 1000}
        page = await self.call("_system/cli/tableData", table=table, order="asc", paginationOpts=options)
        found: list[Any] = page["page"]
        return found


@asynccontextmanager
async def deployed(folder: Path, *, schema: str = SCHEMA) -> AsyncIterator[Cli]:
    """The command line for a new deployment."""
    app = write_app(folder, schema=schema, messages=FUNCTIONS)
    async with serving(app, folder / "data") as server:
        yield Cli(server.url, folder / "data", folder / "project")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cli]:
    async with deployed(tmp_path_factory.mktemp("deployment")) as cli:
        yield cli


@pytest.fixture
def cli(shared: Cli, tmp_path: Path) -> Cli:
    """The command line for a deployment that tests share, in a folder of the test's own."""
    return Cli(shared.url, shared.data, tmp_path / "project")


# run ------------------------------------------------------------------------------------------------------------------


async def test_run(cli: Cli) -> None:
    sent = await cli.run("run", "messages:send", "{author: 'ada', body: 'hello'}")
    assert json.loads(sent.out)
    assert "[LOG] 'sending hello'" in sent.err
    listed, who, hidden, put = await asyncio.gather(
        cli.ok("run", "messages:list"),
        cli.ok("run", "messages:whoami", "--identity", "{name: 'Ada'}"),
        cli.ok("run", "messages.js:hidden"),
        cli.ok("run", "messages:put", "{table: 'loose', fields: {n: 1}}"),
    )
    assert "hello" in json.loads(listed)
    assert json.loads(who) == "Ada"
    assert json.loads(hidden) == "nothing"
    assert put == ""


async def test_run_that_fails(cli: Cli) -> None:
    crashed, refused, missing, wrong, component, inline, locked = await asyncio.gather(
        cli.run("run", "messages:crash"),
        cli.run("run", "messages:refuse"),
        cli.run("run", "messages:nothing"),
        cli.run("run", "messages:list", "{more: 1}"),
        cli.run("run", "messages:list", "--component", "billing"),
        cli.run("run", "--inline-query", "1 + 1"),
        cli.run("run", "messages:list", key="yugen|wrong"),
    )
    assert "Uncaught ValueError: the tea is cold\n    at crash (messages.py:" in crashed.refusal
    assert "full" in refused.refusal
    assert "Could not find function `messages:nothing`" in missing.refusal
    assert "Available functions:" in missing.refusal
    assert "• messages:send" in missing.refusal
    assert "The argument `more` of messages:list is not expected here" in wrong.refusal
    assert "An app has no components" in component.refusal
    assert inline.refusal.startswith("Yugen runs no JavaScript")
    assert "BadDeployKey" in locked.refusal


async def test_run_watch(cli: Cli) -> None:
    async with cli.follow("run", "messages:list", "--watch") as watching:
        await watching.printed("Watching query messages:list")
        await watching.printed(r"\]$")
        for body in ("first live", "second live"):
            await cli.call("messages:send", author="bob", body=body)
            await watching.printed(f'"{body}"')
        watching.interrupt()
        assert await watching.ended() == 0


# data -----------------------------------------------------------------------------------------------------------------


async def test_data(cli: Cli) -> None:
    for number in range(3):
        await cli.call("messages:put", table="numbers", fields={"n": number, "big": {"$integer": "KgAAAAAAAAA="}})
    tables, pretty, lines, ascending, unknown = await asyncio.gather(
        cli.ok("data"),
        cli.run("data", "numbers", "--limit", "2"),
        cli.ok("data", "numbers", "--format", "jsonl"),
        cli.ok("data", "numbers", "--order", "asc", "--limit", "1", "--format", "jsonl"),
        cli.run("data", "nothing"),
    )
    assert {"messages", "users", "numbers"} <= set(tables.split())
    assert not any(name.startswith("_") for name in tables.split())
    assert pretty.out.splitlines()[0].split() == ["_id", "|", "_creationTime", "|", "big", "|", "n"]
    assert "Showing the 2 most recently created documents" in pretty.out + pretty.err
    assert [line.split('"n": ')[1] for line in lines.splitlines()] == ["2 }", "1 }", "0 }"]
    assert '"big": 42n' in lines
    assert '"n": 0' in ascending
    assert "There are no documents in this table." in unknown.err


async def test_data_that_is_refused(cli: Cli) -> None:
    locked, component = await asyncio.gather(
        cli.run("data", key="yugen|wrong"), cli.run("data", "numbers", "--component", "billing")
    )
    assert locked.refusal.endswith("it takes this deployment's admin key.")
    assert component.refusal.startswith(
        "You do not have permission to perform this operation: an app has no components"
    )


# env ------------------------------------------------------------------------------------------------------------------


async def test_env(cli: Cli) -> None:
    assert "Successfully set SECRET" in (await cli.run("env", "set", "SECRET", "rosebud = 'é'")).err
    (cli.folder / "more.env").write_text("FROM_FILE=1\nLINES='a\nb'\n")
    await cli.ok("env", "set", "--from-file", "more.env")
    secret, listed, missing, run = await asyncio.gather(
        cli.ok("env", "get", "SECRET"),
        cli.ok("env", "list"),
        cli.run("env", "get", "NOTHING"),
        cli.ok("run", "messages:hidden"),
    )
    assert secret == "rosebud = 'é'\n"
    assert listed.startswith("FROM_FILE=1\nLINES=")
    assert 'Environment variable "NOTHING" not found' in missing.err
    assert json.loads(run) == "rosebud = 'é'"
    await asyncio.gather(*(cli.ok("env", "remove", name) for name in ("SECRET", "FROM_FILE", "LINES", "NOTHING")))
    assert "No environment variables set" in (await cli.run("env", "list")).err


async def test_env_that_is_refused(cli: Cli) -> None:
    long, name, locked = await asyncio.gather(
        cli.run("env", "set", "LONG", "x" * 9000),
        cli.run("env", "set", "é=1"),
        cli.run("env", "set", "A", "1", key="yugen|wrong"),
    )
    assert "InvalidEnvironmentVariable: The value of LONG is longer than 8192 bytes" in long.refusal
    assert "'é=1' cannot name an environment variable" in name.refusal
    assert locked.refusal == "The admin key is not the one of this deployment; see its data folder."


# logs -----------------------------------------------------------------------------------------------------------------


async def test_logs_follow_what_runs(cli: Cli) -> None:
    async with cli.follow("logs", "--history", "--success") as logs:
        await logs.printed("Watching logs")
        await cli.call("messages:send", author="ada", body="for the log")
        line = await logs.printed(r"\[CONVEX M\(messages:send\)\] \[LOG\] 'sending for the log'")
        assert line.string.split(",")[0].count("/") == 2
        await logs.printed(r"\[CONVEX M\(messages:send\)\] Function executed in \d+ ms")
        failed = await cli.run("run", "messages:crash")
        assert failed.status == 1
        await logs.printed(r"\[CONVEX M\(messages:crash\)\] Uncaught ValueError: the tea is cold")
        logs.interrupt()
        await logs.ended()


async def test_logs_of_production_tell_administrators_what_clients_do_not_hear(tmp_path: Path) -> None:
    app = write_app(tmp_path, schema=SCHEMA, messages=FUNCTIONS)
    async with serving(app, tmp_path / "data", development=False) as server:
        cli = Cli(server.url, tmp_path / "data", tmp_path / "project")
        crashed = await cli.run("run", "messages:crash")
        assert "the tea is cold" not in crashed.err
        request_id = crashed.err.split("Request ID: ")[1][:16]
        async with cli.follow("logs", "--history", "--jsonl") as logs:
            found = await logs.printed('"identifier":"messages:crash"')
            entry = json.loads(found.string)
            assert entry["error"].startswith("Uncaught ValueError: the tea is cold\n    at crash (messages.py:")
            assert entry["requestId"] == request_id
            # A server that is told to stop does not wait for who follows it.
            server.interrupt()
            assert await server.ended() == 0


async def test_logs_with_a_wrong_key(cli: Cli) -> None:
    ran = await cli.run("logs", key="yugen|wrong")
    assert ran.refusal.endswith("The admin key is not the one of this deployment; see its data folder.")


# function-spec --------------------------------------------------------------------------------------------------------


async def test_function_spec(cli: Cli) -> None:
    spec = json.loads(await cli.ok("function-spec"))
    assert spec["url"] == cli.url
    functions = {function["identifier"]: function for function in spec["functions"]}
    assert functions.keys() >= {"messages.js:list", "messages.js:send", "messages.js:hidden"}
    send = functions["messages.js:send"]
    assert (send["functionType"], send["visibility"]) == ("Mutation", {"kind": "public"})
    assert send["returns"] == {"type": "id", "tableName": "messages"}
    assert send["args"]["value"]["author"] == {"fieldType": {"type": "string"}, "optional": False}
    assert send["args"]["value"]["more"] == {"fieldType": {"type": "any"}, "optional": True}
    assert functions["messages.js:hidden"]["visibility"] == {"kind": "internal"}


# export and import ----------------------------------------------------------------------------------------------------


def special(number: float) -> dict[str, str]:
    return {"$float": base64.b64encode(struct.pack("<d", number)).decode()}


def integer(number: int) -> dict[str, str]:
    return {"$integer": base64.b64encode(struct.pack("<q", number)).decode()}


EVERYTHING = {
    "null": None,
    "yes": True,
    "numbers": [0.0, 1.5, -1e300, 5e-324, 2.0**53],
    "special": [special(float("nan")), special(float("inf")), special(float("-inf")), special(-0.0)],
    "odd": {"$float": "AQAAAAAA+H8="},
    "big": [integer(0), integer(-(2**63)), integer(2**63 - 1)],
    "raw": [{"$bytes": ""}, {"$bytes": "AAH/"}],
    "text": ["", "é\n\u2028😀", "1", "NaN", "AAH/"],
    "mixed": ["1", integer(1), {"$bytes": "AQ=="}, special(float("inf")), 1.0, [], {}, [[{"deep": integer(7)}]]],
    "names": {f"key {number}": integer(number) for number in range(300)},
}


async def test_an_export_comes_back_as_it_was(tmp_path: Path) -> None:
    async with (
        deployed(tmp_path / "old") as source,
        deployed(tmp_path / "new") as target,
        deployed(tmp_path / "turned", schema=TURNED) as other,
    ):
        for number in range(3):
            more = [EVERYTHING, {**EVERYTHING, "mixed": "1"}, None][number]
            await source.call("messages:send", author=f"user {number % 2}", body=f"message {number}", more=more)
        await source.call("messages:put", table="loose", fields=EVERYTHING)
        await source.ok("env", "set", "CANARY", "not for exports")
        await source.ok("export", "--path", str(tmp_path / "export.zip"))

        for cli in (target, other):
            ran = await cli.run("import", str(tmp_path / "export.zip"))
            assert ran.status == 0, ran
            assert "✔ Added 6 documents." in ran.err
        for table in ("users", "messages", "loose"):
            assert await target.documents(table) == await source.documents(table)

        # In the other deployment the numbers of tables differ: ids do too, and references follow them.
        users = {user["_id"]: user["name"] for user in await other.documents("users")}
        assert users.keys().isdisjoint(user["_id"] for user in await source.documents("users"))
        written = [(users[each["author"]], each["body"]) for each in await other.documents("messages")]
        assert written == [("user 0", "message 0"), ("user 1", "message 1"), ("user 0", "message 2")]
        [loose] = await other.documents("loose")
        assert {name: loose[name] for name in EVERYTHING} == EVERYTHING

    with ZipFile(tmp_path / "export.zip") as archive:
        assert not any(b"not for exports" in archive.read(name) for name in archive.namelist())


async def test_an_export_into_a_folder_and_with_a_wrong_key(cli: Cli) -> None:
    locked, stored = await asyncio.gather(
        cli.run("export", "--path", str(cli.folder / "locked.zip"), key="yugen|wrong"),
        cli.run("export", "--include-file-storage", "--path", str(cli.folder)),
    )
    assert "The admin key is not the one of this deployment" in locked.refusal
    assert stored.status == 0, stored
    [file] = cli.folder.glob("snapshot_*.zip")
    with ZipFile(file) as archive:
        assert "_tables/documents.jsonl" in archive.namelist()


async def test_imports_of_tables(cli: Cli) -> None:
    (cli.folder / "rows.csv").write_text("title,pages,isbn\nDune,412,0441013597\nEmma,,x\n")
    (cli.folder / "rows.jsonl").write_text('{"title": "Ulysses"}\n')
    (cli.folder / "rows.json").write_text('[{"title": "Solaris"}]')
    added = await cli.run("import", "--table", "books", "rows.csv")
    assert 'Added 2 documents to table "books"' in added.err, added
    refused = await cli.run("import", "--table", "books", "rows.jsonl")
    assert "Table books has documents already; add to them with --append" in refused.refusal
    await cli.ok("import", "--table", "books", "--append", "rows.jsonl")
    assert [book["title"] for book in await cli.documents("books")] == ["Dune", "Emma", "Ulysses"]
    assert [(book.get("pages"), book.get("isbn")) for book in await cli.documents("books")][:2] == [
        (412.0, 441013597.0),
        ("", "x"),
    ]
    unasked = await cli.run("import", "--table", "books", "--replace", "rows.json")
    assert unasked.status == 1
    assert "books | 1      | 3     " in unasked.err + unasked.out
    assert len(await cli.documents("books")) == 3
    await cli.ok("import", "--table", "books", "--replace", "-y", "rows.json")
    assert [book["title"] for book in await cli.documents("books")] == ["Solaris"]


async def test_imports_that_are_refused_change_nothing(cli: Cli) -> None:
    files: dict[str, Any] = {
        "broken.jsonl": '{"name": "new"}\n{"name": }\n',
        "wrong.jsonl": '{"name": "new"}\n{"name": 7}\n',
        "twice.jsonl": '{"name": "new"}\n{"name": "new"}\n',
        "empty.zip": {},
        "outside.zip": {"../users/documents.jsonl": "{}"},
        "none.zip": "no archive",
    }
    for name, content in files.items():
        if isinstance(content, str):
            (cli.folder / name).write_text(content)
            continue
        with ZipFile(cli.folder / name, "w") as archive:
            for entry, text in content.items():
                archive.writestr(entry, text)
    before = await cli.documents("users")
    table = ("--table", "users", "--append", "-y")
    ran = await asyncio.gather(
        *(cli.run("import", *(table if name.endswith("jsonl") else ("-y",)), name) for name in files),
        cli.run("import", *table, "broken.jsonl", key="yugen|wrong"),
        cli.run("import", *table, "--component", "billing", "broken.jsonl"),
    )
    faults = [
        "row 2 is not valid JSON",
        "row 2: A document of users does not fit User: `name` must be a string, got the number 7.",
        'row 2: Table users already has a document with name = "new"',
        "The archive holds no documents.jsonl of any table",
        "The archive holds a file called '../users/documents.jsonl', which no export does.",
        "cannot be read as an archive",
        "The admin key is not the one of this deployment",
        "An app has no components",
    ]
    for one, fault in zip(ran, faults, strict=True):
        assert fault in one.refusal, one
    assert await cli.documents("users") == before


# Everything else ------------------------------------------------------------------------------------------------------


async def test_what_yugen_does_not_do_is_said_politely(cli: Cli) -> None:
    (cli.folder / "node_modules").symlink_to(ROOT / "node_modules")
    (cli.folder / "convex").mkdir()
    dev, init, deploy, usage, limits, default, dashboard = await asyncio.gather(
        cli.run("dev", "--once"),
        cli.run("init"),
        cli.run("deploy", "-y"),
        cli.run("deployment", "usage"),
        cli.run("deployment", "usage-limits", "list"),
        cli.run("env", "default", "list"),
        cli.run("dashboard"),
    )
    for ran in (dev, init, deploy):
        assert "run it with `yugen dev`, which takes up what you save" in ran.refusal, ran
    for ran in (usage, limits):
        assert ran.refusal == "Yugen counts no usage and sets no limits to it: it runs on your own machine."
    assert default.status == 1
    assert dashboard.status == 0
    shutil.rmtree(cli.folder / "convex")


async def test_network_test(cli: Cli) -> None:
    ran = await cli.run("network-test")
    assert ran.status == 0, ran
    assert "Network test passed" in ran.err
