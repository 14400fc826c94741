"""A store that only looks, beside the one that writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.model import History, Note, append, key_of
from yugen.storage.interface import StorageError
from yugen.storage.sqlite import SqliteStore
from yugen.storage.sqlite_readonly import ReadOnlyStore

A, B = Note(1, "ada"), Note(2, "bob")


async def test_it_shows_what_is_there_while_another_writes(tmp_path: Path) -> None:
    writer, history = SqliteStore(tmp_path / "app.db"), History()
    await writer.open()
    await append(writer, history.commit(10, {1: A}))
    reader = ReadOnlyStore(tmp_path / "app.db")
    assert await reader.open() == 10
    await append(writer, history.commit(20, {1: B}))
    snapshot = await reader.snapshot(10)
    assert await snapshot.get(key_of(1)) == A.stored
    snapshot.close()
    assert [commit.ts for commit in await reader.changes(0)] == [10, 20]
    assert await reader.find_request("session", 1) is None
    assert await reader.last_request("session") == await writer.last_request("session")
    with pytest.raises(StorageError, match="open for reading only"):
        await reader.append(lambda *_: [])
    await reader.close()
    await reader.close()
    await writer.close()


async def test_it_is_opened_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="is not open"):
        await ReadOnlyStore(tmp_path / "app.db").snapshot(0)


async def test_there_must_be_a_database(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        await ReadOnlyStore(tmp_path / "app.db").open()
    assert not (tmp_path / "app.db").exists()
