"""Whether the bytes of stored files are those that were stored, for which all of them are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from yugen import keys, values
from yugen.catalog import STORAGE
from yugen.files.place import open_store
from yugen.files.store import FileDamaged, FileStore
from yugen.files.streams import whole_file
from yugen.functions.storage import Record, stored_bytes
from yugen.storage.sqlite_readonly import ReadOnlyStore

_PAGE: Final = 200


class Looked(NamedTuple):
    """What was looked at.

    Attributes:
        files: how many files.
        damaged: the ids of those that are not what was stored, or not there.
    """

    files: int
    damaged: list[str]


async def look(data: Path, setting: str) -> Looked:
    """Reads every file of a deployment, also while a server has it.

    Args:
        data: the folder of its data.
        setting: where its files are, as `yugen.files.place` has it.

    Raises:
        BadFileStore: that is no place.
        FileStoreError: the place cannot be read.
        StorageError: the database cannot be read.
    """
    store, database = open_store(setting, data), data / "data.sqlite3"
    count, damaged = 0, []
    async for record in _records(database):
        count += 1
        if not _is_whole(store, record):
            damaged.append(str(record["_id"]))
    if damaged:  # those that have been deleted meanwhile are not
        there = {record["_id"] async for record in _records(database)}
        damaged = [each for each in damaged if each in there]
    return Looked(count, damaged)


def _is_whole(store: FileStore, record: Record) -> bool:
    with suppress(FileDamaged):
        for _ in whole_file(store, stored_bytes(record)):
            pass
        return True
    return False


async def _records(database: Path) -> AsyncIterator[Record]:
    """The records of all files. None of them is read at an old moment, which would keep the log from starting over."""
    start = keys.index_prefix(STORAGE.number, 0)
    end = keys.prefix_end(start)
    while True:
        store = ReadOnlyStore(database)
        newest = await store.open()
        snapshot = await store.snapshot(newest)
        rows = await snapshot.scan(start, end, limit=_PAGE)
        snapshot.close()
        await store.close()
        for row in rows:
            yield cast("dict[str, Any]", values.loads(row.value))
        if len(rows) < _PAGE:
            return
        start = rows[-1].key + b"\0"
