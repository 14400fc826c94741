"""Migrations of an app over documents that an earlier version of it has left."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.apps import write_app
from tests.engine import ask, change, engine
from yugen import MutationCtx
from yugen.errors import Refused
from yugen.runtime import deploy
from yugen.storage.memory import MemoryStore
from yugen.testing import TestApp

SCHEMA = """
    from yugen import Document, Id, Index, QueryCtx, Ref, query

    class Author(Document, table="authors"):
        name: str

    class Note(Document, table="notes"):
        body: str
        author: Id[Author] | None = Ref(on_delete="{on_delete}")

        by_body = Index("body")

    @query
    async def notes(ctx: QueryCtx) -> list[Note]:
        return await ctx.db.query(Note).with_index(Note.by_body).collect()

    @query
    async def authors(ctx: QueryCtx) -> list[str]:
        return [author.name for author in await ctx.db.query(Author).collect()]
"""
HEAD = """
    from typing import Any
    from yugen import DELETE, MutationCtx, migration
"""
RENAME = """
    @migration("notes")
    async def text_becomes_body(ctx: MutationCtx, note: dict[str, Any]) -> Any:
        note["body"] = note.pop("text")
        return note
"""


def app(folder: Path, *migrations: str, on_delete: str = "set_null") -> Path:
    text = HEAD + "".join(migrations)
    return write_app(folder, schema=SCHEMA.replace("{on_delete}", on_delete), migrations=text)


def with_notes(*texts: str, author: str | None = None) -> Callable[[MutationCtx], Awaitable[None]]:
    async def before(ctx: MutationCtx) -> None:
        who = author and await ctx.db.insert("authors", {"name": author})
        for text in texts:
            await ctx.db.insert("notes", {"text": text} | ({"author": who} if who else {}))

    return before


async def bodies(t: TestApp) -> list[str]:
    return [note.body for note in await t.query("schema:notes")]


async def test_documents_take_their_new_form_and_indexes_follow(tmp_path: Path) -> None:
    async with TestApp(app(tmp_path, RENAME), before=with_notes("b", "a")) as t:
        assert await bodies(t) == ["a", "b"]
        assert await t.query("_system/migrations:pending") == []


async def test_documents_may_be_deleted_left_alone_and_added(tmp_path: Path) -> None:
    splits = """
    @migration("notes")
    async def no_empty_ones(ctx: MutationCtx, note: dict[str, Any]) -> Any:
        if note["body"] == "":
            return DELETE
        if note["body"] == "twice":
            await ctx.db.insert("notes", {"body": "again"})
        return None
    """
    async with TestApp(app(tmp_path, RENAME, splits), before=with_notes("", "twice", "x")) as t:
        assert await bodies(t) == ["again", "twice", "x"]


@pytest.mark.parametrize(("on_delete", "left"), [("set_null", ["a"]), ("cascade", [])])
async def test_what_refers_to_a_deleted_document_goes_as_its_class_says(
    tmp_path: Path, on_delete: str, left: list[str]
) -> None:
    nobody = """
    @migration("authors")
    async def nobody(ctx: MutationCtx, author: dict[str, Any]) -> Any:
        return DELETE
    """
    async with TestApp(app(tmp_path, RENAME, nobody, on_delete=on_delete), before=with_notes("a", author="ada")) as t:
        assert await bodies(t) == left
        assert [note.author for note in await t.query("schema:notes")] == [None] * len(left)


async def test_a_document_that_must_stay_stops_a_migration(tmp_path: Path) -> None:
    nobody = """
    @migration("authors")
    async def nobody(ctx: MutationCtx, author: dict[str, Any]) -> Any:
        return DELETE
    """
    made = app(tmp_path, RENAME, nobody, on_delete="restrict")
    with pytest.raises(Refused, match=r"The migration nobody, given \w+, failed: BrokenReference: delete: \w+ refers"):
        await TestApp(made, before=with_notes("a", author="ada")).__aenter__()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("note['body'] = 1 / 0", r"The migration wrong, given \w+, failed: ZeroDivisionError: .* \(migrations.py:6\)$"),
        ("note['body'] = 'x'", r"The migration wrong, given \w+, changed it and returned nothing; return the document"),
        (
            "return 3",
            r"The migration wrong, given \w+, returned int; return the document, None to leave it as it is, or",
        ),
        ("return {'body': 3.0}", r"Documents of notes do not fit its class:\n  \w+: `body` must be a string, got"),
        ("return {'body': {1: 2}}", r"failed: DocumentInvalid: A document of notes cannot be stored: "),
    ],
)
async def test_one_that_goes_wrong_says_which_and_over_what(tmp_path: Path, body: str, words: str) -> None:
    wrong = f"""
    @migration("notes")
    async def wrong(ctx: MutationCtx, note: dict[str, Any]) -> Any:
        {body}
    """
    with pytest.raises(Refused, match=words):
        await TestApp(app(tmp_path, wrong), before=with_notes("a")).__aenter__()


async def test_a_table_that_is_not_there_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with TestApp(app(tmp_path, RENAME.replace('"notes"', '"noets"'))) as t:
            assert await bodies(t) == []
    assert "migration text_becomes_body: there is no table noets" in caplog.text


async def test_one_that_is_cut_off_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "_BATCH", 2)
    stops = """
    @migration("notes")
    async def stops_at_three(ctx: MutationCtx, note: dict[str, Any]) -> Any:
        note["body"] = note["body"] + "!"
        if len(await ctx.db.query("notes").collect()) == STOP and note["body"] == "3!":
            raise ValueError("not now")
        return note
    """
    store = MemoryStore()

    fills = """
        from yugen import MutationCtx, mutation

        @mutation
        async def add(ctx: MutationCtx, body: str) -> None:
            await ctx.db.insert("notes", {"body": body})
    """
    async with engine(store, write_app(tmp_path / "first", fill=fills)) as runtime:
        for number in range(6):
            await change(runtime, "fill:add", body=str(number))
    with pytest.raises(Refused, match=r"stops_at_three, given \w+, failed: ValueError: not now"):
        async with engine(store, app(tmp_path / "second", stops.replace("STOP", "6"))):
            pass
    # The first batches are done, and are not done again.
    async with engine(store, app(tmp_path / "third", stops.replace("STOP", "7"))) as runtime:
        found = [note["body"] for note in await ask(runtime, "schema:notes")]
    assert found == [f"{number}!" for number in range(6)]
