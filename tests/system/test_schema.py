"""Stored documents are held against the classes of an app before it is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from tests.engine import ask, change, engine
from yugen.errors import Refused
from yugen.runtime import deploy
from yugen.storage.memory import MemoryStore
from yugen.system.schema import FAULTS_MAX

APP = """
    from typing import Any

    from pydantic import field_validator
    from yugen import Document, Id, Index, MutationCtx, QueryCtx, Ref, mutation, query

    {classes}

    @mutation
    async def add(ctx: MutationCtx, table: str, fields: dict[str, Any]) -> str:
        return await ctx.db.insert(table, fields)

    @mutation
    async def remove(ctx: MutationCtx, id: str) -> None:
        await ctx.db.delete(id)

    @query
    async def all(ctx: QueryCtx, table: str) -> list[Any]:
        return await ctx.db.query(table).collect()
"""
NOTE = """
    class Note(Document, table="notes"):
        text: str
        {more}
"""


def app(folder: Path, more: str | None = None) -> Path:
    return write_app(folder, f=APP.replace("{classes}", "" if more is None else NOTE.replace("{more}", more)))


async def test_the_first_documents_that_do_not_fit_are_named_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "_BATCH", 3)
    store = MemoryStore()
    async with engine(store, app(tmp_path / "a")) as runtime:
        for number in range(20):
            await change(runtime, "f:add", table="notes", fields={"text": "x" if number < 8 else float(number)})
        ids = sorted(note["_id"] for note in await ask(runtime, "f:all", table="notes") if note["text"] != "x")
    log = await store.changes(0)
    with pytest.raises(Refused) as refused:
        async with engine(store, app(tmp_path / "b", more='by_text = Index("text")')):
            pass
    first, *faults, last = str(refused.value).splitlines()
    assert first == "Documents of notes do not fit its class:"
    assert len(faults) <= FAULTS_MAX
    assert faults[0].startswith(f"  {ids[0]}: `text` must be a string, got the number ")
    assert "docs/migrations.md" in last
    assert await store.changes(0) == log
    async with engine(store, app(tmp_path / "c")) as runtime:
        assert len(await ask(runtime, "f:all", table="notes")) == 20


async def documents(store: MemoryStore, folder: Path, **notes: Any) -> None:
    async with engine(store, app(folder)) as runtime:
        ada = await change(runtime, "f:add", table="people", fields={"name": "ada"})
        gone = await change(runtime, "f:add", table="people", fields={"name": "gone"})
        await change(runtime, "f:remove", id=gone)
        for name, text in notes.items():
            fields = {"text": text} | ({"by": ada} if name == "ada" else {"by": gone} if name == "gone" else {})
            await change(runtime, "f:add", table="notes", fields=fields)


REFERS = 'by: Id["people"] | None = Ref(on_delete="set_null")'


async def test_a_reference_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    store = MemoryStore()
    await documents(store, tmp_path / "a", ada="x", none="y")
    async with engine(store, app(tmp_path / "b", more=REFERS)) as runtime:
        assert len(await ask(runtime, "f:all", table="notes")) == 2
    store = MemoryStore()
    await documents(store, tmp_path / "c", ada="x", gone="y")
    async with engine(store, app(tmp_path / "d", more='by: Id["people"] | None = None')):
        pass
    with pytest.raises(Refused, match=r"notes do not fit its class:\n  \w+: `by` refers to \w+, which is not there\n"):
        async with engine(store, app(tmp_path / "e", more=REFERS)):
            pass


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("stars: int", "`stars` is missing"),
        ("stars: int = 3", None),
        ("stars: int | None = None", None),
        (
            """@field_validator("text")
        @classmethod
        def short(cls, text: str) -> str:
            if len(text) > 3:
                raise ValueError("is too long")
            return text
        """,
            "`text` does not fit: is too long",
        ),
    ],
)
async def test_whatever_decides_about_documents_is_a_reason_to_look_at_them(
    tmp_path: Path, more: str, fault: str | None
) -> None:
    store = MemoryStore()
    async with engine(store, app(tmp_path / "a", more="")) as runtime:
        await change(runtime, "f:add", table="notes", fields={"text": "long enough"})
    if fault is None:
        async with engine(store, app(tmp_path / "b", more=more)):
            pass
    else:
        with pytest.raises(Refused, match=fault):
            async with engine(store, app(tmp_path / "b", more=more)):
                pass
