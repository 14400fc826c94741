"""Secrets of a deployment are searched for wherever they must not be: its files, its logs, its errors, its exports."""

from __future__ import annotations

import json
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reliability.serving import YUGEN, Process, Server, serving
from tests.apps import write_app
from tests.cli.calling import call_there, done_there
from tests.runtime.test_founding import Opened
from yugen.storage.sqlite import SqliteStore
from yugen.vault import new_key
from yugen_client import AsyncClient

APP = """
    import logging
    import sys
    import threading

    from yugen import ActionCtx, Document, MutationCtx, QueryCtx, action, internal_query, mutation, query


    class Note(Document, table="notes"):
        text: str


    @query
    async def length(ctx: QueryCtx, name: str) -> int:
        return len(ctx.env[name])


    @mutation
    async def tell(ctx: MutationCtx) -> None:
        await ctx.db.insert(Note(text="kept"))
        for name, value in ctx.env.items():
            print(name, "is", value)
            print({name: value})
            ctx.log.warning("%s is %r", name, value)
            logging.getLogger("theirs").error("%s is %s", name, value)
        print("x" * 4090, ctx.env["PLAIN"])


    @mutation
    async def fail(ctx: MutationCtx, name: str) -> None:
        try:
            raise LookupError(f"inside is {ctx.env[name]}")
        except LookupError:
            raise ValueError(f"it is {ctx.env[name]!r}")


    @query
    async def wrong(ctx: QueryCtx, name: str) -> int:
        return ctx.env[name]  # a result that is none, which its error shows


    @internal_query
    async def slow(ctx: QueryCtx, secret: str) -> int:
        until = __import__("time").monotonic() + 0.15
        while __import__("time").monotonic() < until:
            pass
        return len(secret)


    @action
    async def hand_on(ctx: ActionCtx) -> int:
        def aside() -> None:
            print("on a thread:", ctx.env["PLAIN"])
            print("on a thread:", ctx.env["PLAIN"], file=sys.stderr)
            logging.getLogger("theirs").error("on a thread: %s", ctx.env["PEM"])

        thread = threading.Thread(target=aside)
        thread.start()
        thread.join()
        return await ctx.run_query(slow, secret=ctx.env["PLAIN"])
"""

SECRETS = {
    "PLAIN": "canary-plain-Qx7fQx",
    "QUOTED": "canary \"quoted\" 'b' \\ é Qx58Qx",
    "PEM": "-----BEGIN KEY-----\nMIIQxcanaryQxADANBgkq\nhkiGQxcanaryQx9w0BAQEF\n-----END KEY-----",
    "FIRST": "canary-replaced-Qx11Qx",
    "GONE": "canary-removed-Qx22Qx",
}
PARTS = ("Qx7fQx", "Qx58Qx", "MIIQxcan", "hkiGQxcan", "Qx11Qx", "Qx22Qx", "canary")
"""What no other text has. A part of a secret that is left somewhere is one part too much."""


def found_in(content: bytes) -> list[str]:
    return [part for part in PARTS if part.encode() in content]


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder by name, and what is in archives among them."""
    found = {}
    for file in folder.rglob("*"):
        if file.is_file():
            found[str(file)] = file.read_bytes()
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    found |= {f"{file}/{name}": archive.read(name) for name in archive.namelist()}
    return found


def test_what_is_there_is_found(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in.txt", SECRETS["PLAIN"] * 9)
    (tmp_path / "all.bin").write_bytes(b"\0".join(value.encode() for value in SECRETS.values()))
    found = {Path(name).name: found_in(content) for name, content in contents(tmp_path).items()}
    assert found == {"a.zip": [], "in.txt": ["Qx7fQx", "canary"], "all.bin": list(PARTS)}


@asynccontextmanager
async def secretive(folder: Path, *options: str, development: bool) -> AsyncIterator[tuple[Server, list[str | Path]]]:
    app = write_app(folder, f=APP)
    errors = ('"logger": "theirs"', "on a thread", "ERROR    PLAIN is", " is ")
    async with serving(app, folder / "data", *options, development=development, expected_errors=errors) as server:
        yield server, ["--url", server.url, "--data", folder / "data"]


@pytest.mark.parametrize(
    ("development", "options"),
    [(True, ()), (False, ()), (False, ("--workers", "2"))],
    ids=["dev", "serve", "nodes"],
)
async def test_no_secret_is_found_where_it_must_not_be(
    tmp_path: Path, development: bool, options: tuple[str, ...]
) -> None:
    shown: list[str] = []
    async with secretive(tmp_path, *options, development=development) as (server, here):

        async def command(*words: str | Path, stdin: str = "") -> None:
            called = await call_there(*words, *here, stdin=stdin)
            shown.extend((called.out, called.err))

        for name, value in SECRETS.items():
            await done_there("env", "set", name, *here, stdin=value)
        await done_there("env", "set", "FIRST", *here, stdin="the second one")
        await done_there("env", "unset", "GONE", *here)
        assert (await done_there("env", "get", "PEM", *here)).out == f"{SECRETS['PEM']}\n"
        async with AsyncClient(server.url) as client:
            for name in ("PLAIN", "QUOTED", "PEM"):
                assert await client.query("f:length", {"name": name}) == len(SECRETS[name])
                for call in (client.mutation("f:fail", {"name": name}), client.query("f:wrong", {"name": name})):
                    with pytest.raises(Exception, match="Server Error") as failed:
                        await call
                    shown.append(str(failed.value))
            await client.mutation("f:tell")
            assert await client.action("f:hand_on") == len(SECRETS["PLAIN"])
        rotated = await done_there("env", "rotate", "--json", *here)
        assert rotated.json == [{"variables": 4, "given": False, "dropped": 1}]
        await command("run", "f:fail", '{"name": "QUOTED"}')
        await command("logs")
        await command("logs", "--json")
        await command("why", "--json")
        await command("data", "_environment_variables", "--json")
        await command("data", "_deployment", "--json")
        await command("doctor", "--json")
        await command("env", "list", "--names")
        await command("export", tmp_path / "snapshot.zip")
        await command("export", tmp_path / "notes.jsonl", "--table", "notes")
        await command("export", tmp_path / "variables.jsonl", "--table", "_environment_variables")
        await server.kill()
        for name, content in contents(tmp_path / "data").items():
            assert not found_in(content), name
        await server.start()
        async with AsyncClient(server.url) as client:
            assert await client.query("f:length", {"name": "QUOTED"}) == len(SECRETS["QUOTED"])
        await server.stop()
        files = contents(tmp_path)
        for name, content in files.items():
            assert not found_in(content), name
        assert any(name.endswith("snapshot.zip/notes/documents.jsonl") for name in files)
        for line in (*server.lines, *shown):
            assert not found_in(line.encode()), line
        assert sum("•••" in line or "\\u2022" in line for line in server.lines) > 5
        assert any('"function": "f:hand_on"' in line or "f:slow" in line for line in shown)


async def test_what_an_earlier_version_stored_in_the_clear_is_sealed(tmp_path: Path) -> None:
    app = write_app(tmp_path, f=APP)
    file = tmp_path / "data" / "data.sqlite3"
    old = Opened(SqliteStore(file), None)
    await old.open()
    await old.write(*({"name": name, "value": value} for name, value in SECRETS.items()))
    await old.store.close()
    assert found_in(file.read_bytes()) == list(PARTS)
    async with serving(app, tmp_path / "data", development=False) as server:
        assert not any(found_in(content) for content in contents(tmp_path / "data").values())
        listed = await done_there("env", "list", "--json", "--url", server.url, "--data", tmp_path / "data")
        assert listed.json == [dict(sorted(SECRETS.items()))]


async def test_data_of_one_environment_is_not_served_as_another(tmp_path: Path) -> None:
    app, data = write_app(tmp_path, f=APP), tmp_path / "data"
    async with serving(app, data) as server:
        await done_there("env", "set", "PLAIN", "x", "--url", server.url, "--data", data)
    for options in ((), ("--workers", "2")):
        async with Process(YUGEN, "serve", app, "--port", "0", "--data", data, *options, cwd=tmp_path) as refused:
            assert await refused.ended() == 1
            assert refused.lines[-1].startswith(
                "This data belongs to the environment dev, and was to be opened for prod."
            )
    async with serving(app, data, "--environment", "dev", development=False) as server:
        assert (await done_there("env", "get", "PLAIN", "--url", server.url, "--data", data)).out == "x\n"


async def test_a_server_does_not_start_with_another_key(tmp_path: Path) -> None:
    app, data = write_app(tmp_path, f=APP), tmp_path / "data"
    async with serving(app, data) as server:
        await done_there("env", "set", "PLAIN", "x", "--url", server.url, "--data", data)
    (data / "encryption_key").write_text(f"{new_key()}\n")
    for command in ("dev", "serve"):
        options = ("--port", "0", "--data", data, "--environment", "dev")
        async with Process(YUGEN, command, app, *options, cwd=tmp_path) as refused:
            assert await refused.ended() == 1
            assert "The environment variable PLAIN was sealed with another key than those at hand." in refused.lines[-1]
    assert (await call_there("env", "get", "PLAIN", "--data", data)).status == 1
    assert (await done_there("env", "unset", "PLAIN", "--data", data)).err.endswith("Removed PLAIN.\n")
    async with serving(app, data) as server:
        assert json.loads((await done_there("env", "list", "--json", "--url", server.url, "--data", data)).out) == {}


@pytest.mark.usefixtures("started_as_people_do")
async def test_the_code_of_an_app_does_not_see_the_key(tmp_path: Path) -> None:
    app = write_app(
        tmp_path,
        f="import os\nfrom yugen import QueryCtx, query\n\n@query\nasync def key(ctx: QueryCtx) -> str:\n"
        "    return os.environ.get('YUGEN_ENCRYPTION_KEY', 'none')\n",
    )
    env = {"YUGEN_ENCRYPTION_KEY": new_key()}
    options = ("--host", "127.0.0.1", "--port", "0", "--data", tmp_path / "data")
    async with Process(YUGEN, "serve", app, *options, cwd=tmp_path, env=env) as server:
        url = (await server.printed(r"ready at (\S+)"))[1]
        async with AsyncClient(url) as client:
            assert await client.query("f:key") == "none"
        assert not (tmp_path / "data" / "encryption_key").exists()
        server.interrupt()
        assert await server.ended() == 0
