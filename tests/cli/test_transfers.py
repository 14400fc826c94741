"""Imports and exports by the command line, without a server; the tests of the clients' protocol are elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import httpx2 as httpx
import pytest

from reliability.serving import YUGEN, Process, Server, serving
from tests.cli.calling import call, done, done_there
from tests.cli.chat import write_chat
from yugen.cli.remote import Api
from yugen.server.imports import Imports

ROWS: list[dict[str, Any]] = [
    {"name": "Ada", "zip": "00501", "age": 36.5, "tags": ["a", "b"], "visits": {"$integer": "BQAAAAAAAAA="}},
    {"name": "Bob \"B\", Jr.\nof 'x'", "zip": "", "age": None, "tags": [], "visits": {"$integer": "AAAAAAAAAAA="}},
]


@pytest.fixture
def here(tmp_path: Path) -> list[str]:
    return ["--data", str(tmp_path / "data"), "--app", str(write_chat(tmp_path))]


def lines(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file


def documents(here: list[str], table: str = "users") -> list[dict[str, Any]]:
    return done("data", table, "--json", "--order", "asc", *here[:2]).json


def test_lines_come_in_and_go_out(here: list[str], tmp_path: Path) -> None:
    called = done("import", lines(tmp_path / "in.jsonl", ROWS), "--table", "users", *here)
    assert called.out == "Added 2 documents.\n"
    assert "users | 2      | 0" in called.err
    out = tmp_path / "out.jsonl"
    told = done("export", out, "--table", "users", *here).out
    assert told == f"Exported to {out} (2 documents, 0.0 MB).\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    exported = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(exported, key=lambda each: str(each["name"])) == documents(here)
    assert [{name: each[name] for name in ROWS[0]} for each in documents(here)] == ROWS
    done("import", out, "--table", "users", "--replace", "--yes", *here)
    again = tmp_path / "again.jsonl"
    done("export", again, "--table", "users", *here)
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("table", ["users", "loose"])
def test_csv_comes_back_as_it_was(here: list[str], tmp_path: Path, table: str) -> None:
    rows: list[Any] = (
        ROWS if table == "users" else [{"a": "1", "b": 1, "c": None}, {"a": True, "d": {"$bytes": "AA=="}}]
    )
    done("import", lines(tmp_path / "in.jsonl", rows), "--table", table, *here)
    before = documents(here, table)
    done("export", tmp_path / "out.csv", "--table", table, *here)
    done("import", tmp_path / "out.csv", "--table", table, "--replace", "--yes", *here)
    assert documents(here, table) == before
    done("export", tmp_path / "again.csv", "--table", table, *here)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()


def test_csv_is_plain_where_the_class_says_what_it_is(here: list[str], tmp_path: Path) -> None:
    done("import", lines(tmp_path / "in.jsonl", ROWS[:1]), "--table", "users", *here)
    done("export", tmp_path / "out.csv", "--table", "users", *here)
    head, row = (tmp_path / "out.csv").read_text().splitlines()
    assert head == "_id,_creationTime,name,zip,age,tags,visits"
    assert row.split(",", 2)[2] == 'Ada,00501,36.5,"[""a"",""b""]",5'


def test_a_snapshot_comes_back_byte_for_byte(here: list[str], tmp_path: Path) -> None:
    done("import", lines(tmp_path / "in.jsonl", ROWS), "--table", "users", *here)
    done("import", lines(tmp_path / "in.jsonl", [{"author": "Ada", "body": "x"}]), "--table", "messages", *here)
    one, other = tmp_path / "one.zip", tmp_path / "other.zip"
    done("export", one, *here)
    done("import", one, "--data", tmp_path / "elsewhere", "--app", tmp_path / "app")
    done("export", other, "--data", tmp_path / "elsewhere")
    assert one.read_bytes() == other.read_bytes()


def test_what_came_of_it_as_json(here: list[str], tmp_path: Path) -> None:
    called = done("import", lines(tmp_path / "in.jsonl", ROWS), "--table", "users", "--json", *here)
    assert (called.json, called.err) == ([{"added": 2}], "")
    [made] = done("export", tmp_path, "--table", "users", "--json", *here).json
    assert Path(made["path"]) == tmp_path / f"users_{made['ts']}.jsonl"
    assert made["documents"] == 2
    assert made["bytes"] == Path(made["path"]).stat().st_size
    [made] = done("export", tmp_path, "--json", *here).json
    assert Path(made["path"]).name == f"snapshot_{made['ts']}.zip"


def test_documents_are_removed_when_that_is_confirmed(here: list[str], tmp_path: Path) -> None:
    file = lines(tmp_path / "in.jsonl", ROWS)
    done("import", file, "--table", "users", *here)
    called = call("import", file, "--table", "users", "--replace", *here)
    assert called.status == 1
    assert called.err.endswith("Nothing was imported. Confirm that documents are removed, or say so with --yes.\n")
    called = call("import", file, "--table", "users", *here)
    assert (called.status, "--append" in called.err) == (1, True)
    ids = {each["_id"] for each in documents(here)}
    done("import", file, "--table", "users", "--replace", "--yes", *here)
    assert ids.isdisjoint({each["_id"] for each in documents(here)})
    lines(file, [{"name": "Cy"}])
    done("import", file, "--table", "users", "--append", *here)
    assert [each["name"] for each in documents(here)][-1] == "Cy"
    done("import", lines(file, [{"author": "a", "body": "b"}]), "--table", "messages", "--replace-all", "--yes", *here)
    assert documents(here) == []


def test_a_row_that_does_not_fit_leaves_everything(here: list[str], tmp_path: Path) -> None:
    called = call("import", lines(tmp_path / "in.jsonl", [*ROWS, {"zip": "1"}]), "--table", "users", *here)
    assert called.status == 1
    assert "row 3" in called.err
    assert documents(here) == []
    assert not list((tmp_path / "data" / "imports").iterdir())


def hostile(file: Path, kind: str) -> Path:
    """An archive that no export makes."""
    good = json.dumps({"author": "Eve", "body": "x"})
    with ZipFile(file, "w") as archive:
        archive.writestr("messages/documents.jsonl", good)
        match kind:
            case "above":
                archive.writestr("../users/documents.jsonl", good)
            case "absolute":
                archive.writestr("/users/documents.jsonl", good)
            case "drive":
                archive.writestr("C:/users/documents.jsonl", good)
            case "link":
                info = ZipInfo("users/documents.jsonl")
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, "/etc/passwd")
            case "twice":
                archive.writestr("x/messages/documents.jsonl", good)
            case "system":
                archive.writestr("a b/documents.jsonl", good)
            case "deep":
                archive.writestr("users/documents.jsonl", '{"name": ' + "[" * 5000 + "]" * 5000 + "}")
            case "damaged":
                archive.writestr("users/documents.jsonl", '{"name": "x"}' * 100)
    if kind == "damaged":
        content = bytearray(file.read_bytes())
        place = content.rindex(b'{"name": "x"}')
        content[place + 3] ^= 1
        file.write_bytes(content)
    return file


@pytest.mark.parametrize("kind", ["above", "absolute", "drive", "link", "twice", "system", "deep", "damaged"])
@pytest.mark.parametrize("mode", ["--append", "--replace-all"])
def test_a_hostile_archive_is_refused_before_anything_is_written(
    here: list[str], tmp_path: Path, kind: str, mode: str
) -> None:
    done("run", "messages:send", '{"author": "Ada", "body": "x"}', *here)
    before = documents(here, "messages")
    called = call("import", hostile(tmp_path / "bad.zip", kind), mode, "--yes", *here)
    assert called.status == 1
    assert called.err.endswith("\nNothing was imported.\n")
    assert documents(here, "messages") == before
    assert done("data", *here[:2]).lines == ["messages", "users"]
    assert not list((tmp_path / "data" / "imports").iterdir())


def test_mistakes_are_told(here: list[str], tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "a.zip").write_bytes(b"no archive")
    (tmp_path / "a.txt").touch()
    for arguments, status, part in [
        (["import", "a.txt"], 2, "name it with --format"),
        (["import", "a.jsonl"], 2, "with --table"),
        (["import", "a.zip", "--table", "users"], 2, "leave --table out"),
        (["import", "none.zip"], 1, "There is no file"),
        (["import", "a.zip"], 1, "cannot be read as an archive"),
        (["export", "a.txt"], 2, ".zip, .jsonl or .csv"),
        (["export", "b.zip", "--table", "users"], 2, "leave --table out"),
        (["export", "b.csv"], 2, "with --table"),
        (["export", "a.zip"], 1, "--force"),
        (["export", "no/a.zip"], 1, "make it first"),
        (["export", "b.csv", "--table", "nobody"], 1, "There is no table nobody"),
    ]:
        command, file, *rest = arguments
        called = call(command, tmp_path / file, *rest, *here)
        assert called.status == status, called
        assert part in called.err, called
    assert {each.name for each in tmp_path.iterdir()} == {"a.jsonl", "a.zip", "a.txt", "app", "data"}


def test_a_disk_that_refuses_is_told_of(here: list[str], tmp_path: Path) -> None:
    done("run", "messages:list", *here)
    for name in ("x" * 250, "x" * 300):  # of which only the second is too long before anything is done
        called = call("export", tmp_path / f"{name}.zip", *here)
        assert called.status == 1
        assert called.err.startswith("File name too long (")
    assert {each.name for each in tmp_path.iterdir()} == {"app", "data"}


def test_formats_can_be_named(here: list[str], tmp_path: Path) -> None:
    (tmp_path / "rows").write_text(json.dumps(ROWS))
    done("import", tmp_path / "rows", "--format", "json", "--table", "users", *here)
    done("export", tmp_path / "rows", "--format", "csv", "--table", "users", "--force", *here)
    assert (tmp_path / "rows").read_text().startswith("_id,")


@contextmanager
def at_a_terminal(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[str], str], int]]:
    """A command at a terminal; what waits until the terminal shows a text; and where to type."""
    ours, theirs = pty.openpty()
    command = [str(YUGEN), *map(str, arguments)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = ""

    def until(text: str) -> str:
        nonlocal shown
        while text not in shown:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other side is closed
                part = b""
            assert part, f"it ended without {text!r}: {shown}"
            shown += part.decode()
        return shown

    try:
        yield process, until, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_person_is_asked_before_documents_are_removed(here: list[str], tmp_path: Path) -> None:
    file = lines(tmp_path / "in.jsonl", ROWS)
    done("import", file, "--table", "users", *here)
    before = documents(here)
    command: list[str] = ["import", str(file), "--table", "users", "--replace", *here]
    with at_a_terminal(*command) as (process, until, keys):
        until("Documents are removed. Go on? [y/N] ")
        os.write(keys, b"\n")
        until("Nothing was imported.")
        assert process.wait() == 1
    assert documents(here) == before
    with at_a_terminal(*command) as (process, until, keys):
        until("Go on? [y/N] ")
        process.send_signal(signal.SIGINT)
        until("The import was canceled. Nothing was imported.")
        assert process.wait() == 130
    assert documents(here) == before
    assert not list((tmp_path / "data" / "imports").iterdir())
    with at_a_terminal(*command) as (process, until, keys):
        assert "Sending [" in until("Go on? [y/N] ")
        os.write(keys, b"y\n")
        until("Added 2 documents.")
        assert process.wait() == 0
    assert documents(here) != before


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("before", "The import was canceled. Nothing was imported.\n"),
        ("begun", "The import was canceled. Nothing was imported.\n"),
        ("done", "The import was done already. Added 2 documents.\n"),
        ("gone", "It is not known whether the documents were imported; see with `yugen data _imports --json`.\n"),
        ("twice", "It is not known whether the documents were imported; see with `yugen data _imports --json`.\n"),
    ],
)
def test_an_import_that_is_interrupted_while_it_is_written(
    here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, told: str
) -> None:
    post, perform = Api.post, Imports._perform
    is_interrupted = False
    is_done = asyncio.Event()

    async def interrupted(api: Api, place: str, body: Any = None, *, user: str | None = None) -> dict[str, Any]:
        nonlocal is_interrupted
        if is_interrupted and when == "gone":
            raise httpx.ConnectError("gone")
        if is_interrupted and when == "twice":
            signal.raise_signal(signal.SIGINT)
        if place != "/api/perform_import":
            return await post(api, place, body, user=user)
        if when != "before":
            await post(api, place, body, user=user)
        if when == "done":
            await is_done.wait()
        is_interrupted = True
        signal.raise_signal(signal.SIGINT)
        return await asyncio.Future()

    async def performed(of: Imports, import_id: str) -> None:
        if when != "done":
            await asyncio.Future()
        await perform(of, import_id)
        is_done.set()

    with monkeypatch.context() as patched:
        patched.setattr(Api, "post", interrupted)
        patched.setattr(Imports, "_perform", performed)
        called = call("import", lines(tmp_path / "in.jsonl", ROWS), "--table", "users", "--json", *here)
    assert (called.status, called.out, called.err) == (130, "", told)
    assert len(documents(here)) == (2 if when == "done" else 0)
    [record] = done("data", "_imports", "--json", *here[:2]).json
    assert record["state"]["state"] == ("completed" if when == "done" else "failed")


async def imports(server: Server, folder: Path) -> list[str]:
    """What has become of each import."""
    key = (folder / "data" / "admin_key").read_text().strip()
    async with httpx.AsyncClient(headers={"Authorization": f"Convex {key}"}) as client:
        call = {"path": "_system/cli/queryImport:list", "args": {}}
        answer = (await client.post(f"{server.url}/api/function", json=call)).json()
    return [each["state"]["state"] for each in answer["value"]]


async def test_an_import_can_be_given_up_until_it_is_written(tmp_path: Path) -> None:
    app = write_chat(tmp_path)
    file = lines(tmp_path / "in.jsonl", [{"author": "Ada", "body": "x" * 100}] * 20_000)
    async with serving(app, tmp_path / "data") as server:
        here = ("--url", server.url, "--data", tmp_path / "data")
        async with Process(YUGEN, "import", file, "--table", "messages", *here) as process:
            while (await imports(server, tmp_path)) != ["uploaded"]:
                pass
            process.interrupt()
            assert await process.ended() == 130
            assert process.lines == ["The import was canceled. Nothing was imported."]
        assert await imports(server, tmp_path) == ["failed"]
        assert (await done_there("data", "messages", *here)).err == "messages has no documents.\n"


async def test_a_server_in_several_processes_takes_and_gives_snapshots(tmp_path: Path) -> None:
    app = write_chat(tmp_path)
    async with serving(app, tmp_path / "data", "--workers", "2", development=False) as server:
        here = ("--url", server.url, "--data", tmp_path / "data")
        await done_there("import", lines(tmp_path / "in.jsonl", ROWS), "--table", "users", *here)
        await done_there("export", tmp_path / "one.zip", *here)
        await done_there("import", tmp_path / "one.zip", "--replace", "--yes", *here)
        await done_there("export", tmp_path / "two.zip", *here)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
