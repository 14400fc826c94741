"""Exports: the archive of one moment, and the record of what has become of each."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import orjson
import pytest
import pytest_asyncio

from tests.apps import write_app
from tests.engine import change, encoded, engine, new_store, set_variables, value_of
from yugen.runtime.runtime import Runtime
from yugen.storage.memory import MemoryStore
from yugen.system.exports import KEPT
from yugen.values import Int64

APP = """
    from yugen import Document, Index, Int64, MutationCtx, mutation


    class Note(Document, table="notes"):
        text: str
        votes: Int64 | str = Int64(0)

        by_text = Index("text")


    class Empty(Document, table="empty"):
        pass


    @mutation
    async def add(ctx: MutationCtx, text: str, count: int = 1) -> None:
        for number in range(count):
            await ctx.db.insert(Note(text=text, votes=Int64(number) if number % 2 else str(number)))
        await ctx.db.insert("loose", {"raw": text.encode()})
"""


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    async with engine(new_store(request.param, tmp_path), write_app(tmp_path, f=APP)) as runtime:
        yield runtime


async def call(runtime: Runtime, name: str, **args: Any) -> Any:
    return value_of((await runtime.mutate(f"_system/exports:{name}", encoded(**args), public=False)).answer)


async def latest(runtime: Runtime) -> Any:
    return value_of(await runtime.query("_system/cli/exports:getLatest", encoded(), public=False))


async def write(runtime: Runtime, ts: int) -> Int64:
    args = encoded(start_ts=Int64(ts))
    answer = await runtime.query_at("_system/exports:write", args, None, ts, public=False, any_age=True)
    size = value_of(answer)
    assert isinstance(size, Int64)
    return size


def lines(archive: ZipFile, name: str) -> list[Any]:
    return [orjson.loads(line) for line in archive.read(name).splitlines()]


async def test_an_archive_shows_one_moment(runtime: Runtime, tmp_path: Path) -> None:
    await set_variables(runtime, KEY="a canary")
    await change(runtime, "f:add", text="before", count=700)
    ts = runtime.ts
    await change(runtime, "f:add", text="after")
    size = await write(runtime, ts)
    file = tmp_path / ".yugen" / "exports" / f"{ts}.zip"
    assert file.stat().st_size == size
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    with ZipFile(file) as archive:
        assert sorted(archive.namelist()) == [
            "README.md",
            "_tables/documents.jsonl",
            *(
                f"{table}/{name}.jsonl"
                for table in ("empty", "loose", "notes")
                for name in ("documents", "generated_schema")
            ),
        ]
        tables = {table["name"]: table["id"] for table in lines(archive, "_tables/documents.jsonl")}
        assert tables.keys() == {"empty", "notes", "loose"}
        notes = lines(archive, "notes/documents.jsonl")
        assert {note["text"] for note in notes} == {"before"}
        assert sorted(int(note["votes"]) for note in notes) == list(range(700))
        shape, *hints = lines(archive, "notes/generated_schema.jsonl")
        assert '"votes": string | int64' in shape or '"votes": int64 | string' in shape
        assert len(hints) == 350
        [loose] = lines(archive, "loose/documents.jsonl")
        assert loose["raw"] == "YmVmb3Jl"
        assert lines(archive, "empty/documents.jsonl") == []
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert b"canary" not in everything


async def test_an_archive_that_cannot_be_written_leaves_nothing(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / ".yugen").write_text("in the way")
    args = encoded(start_ts=Int64(runtime.ts))
    answer = await runtime.query("_system/exports:write", args, public=False)
    assert answer.failure is not None
    assert (tmp_path / ".yugen").read_text() == "in the way"


async def test_the_record_follows_an_export_to_its_end(runtime: Runtime) -> None:
    assert await latest(runtime) is None
    form = {"format": "zip", "include_storage": False}
    await call(runtime, "request", start_ts=Int64(5), form=form)
    begun = await latest(runtime)
    assert (begun["state"], begun["start_ts"], begun["format"]) == ("in_progress", Int64(5), form)
    assert await call(runtime, "finish", start_ts=Int64(5), size=Int64(7)) == [Int64(5)]
    done = await latest(runtime)
    assert (done["state"], done["zip_object_key"], done["size"]) == ("completed", "5.zip", Int64(7))
    assert isinstance(done["complete_ts"], Int64)
    await call(runtime, "request", start_ts=Int64(6), form=form)
    assert await call(runtime, "finish", start_ts=Int64(6), size=None) == [Int64(5)]
    assert (await latest(runtime))["state"] == "failed"


async def test_what_was_being_made_has_failed_after_a_restart_and_before_the_next(runtime: Runtime) -> None:
    await call(runtime, "request", start_ts=Int64(5), form={})
    assert await call(runtime, "recover") == []
    assert (await latest(runtime))["state"] == "failed"
    await call(runtime, "request", start_ts=Int64(6), form={})
    await call(runtime, "request", start_ts=Int64(7), form={})
    assert await call(runtime, "finish", start_ts=Int64(6), size=Int64(1)) == [Int64(6)]
    assert (await latest(runtime))["state"] == "in_progress"


async def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    async with engine(MemoryStore(), write_app(tmp_path, f=APP)) as runtime:
        kept: list[Int64] = []
        for ts in range(KEPT + 2):
            await call(runtime, "request", start_ts=Int64(ts), form={})
            kept = await call(runtime, "finish", start_ts=Int64(ts), size=Int64(1))
        assert kept == [Int64(ts) for ts in reversed(range(2, KEPT + 2))]
        options = {"numItems": 10, "cursor": None}
        args = encoded(table="_exports", paginationOpts=options)
        page = value_of(await runtime.query("_system/cli/tableData", args, public=False))["page"]
        assert len(page) == KEPT
