"""What every store of files does, whatever it is made of."""

from __future__ import annotations

import random

import pytest

from yugen.files.store import FileDamaged, FileStore, FileStoreError, checked, new_key

LARGE = random.Random(5).randbytes(20 * 1024 * 1024 + 7)  # several parts of an upload to an object store


def put(store: FileStore, content: bytes) -> str:
    key = new_key()
    writer = store.create(key)
    for start in range(0, len(content), 3_000_000):
        writer.write(content[start : start + 3_000_000])
    writer.finish()
    return key


def read(store: FileStore, key: str, start: int, end: int) -> bytes:
    reader = store.open(key, start, end)
    pieces = []
    while piece := reader.read():
        pieces.append(piece)
    reader.close()
    return b"".join(pieces)


@pytest.mark.parametrize("content", [b"", b"x", LARGE], ids=["empty", "small", "large"])
def test_what_is_stored_is_read(store: FileStore, content: bytes) -> None:
    key = put(store, content)
    assert read(store, key, 0, len(content)) == content
    assert [held.key for batch in store.held() for held in batch] == [key]
    reader = store.open(key, 0, len(content))
    assert reader.size == len(content)
    reader.close()


@pytest.mark.parametrize(("start", "end"), [(0, 1), (5, 5), (1, 300_000), (len(LARGE) - 3, len(LARGE))])
def test_a_part_of_it_is_read(store: FileStore, start: int, end: int) -> None:
    assert read(store, put(store, LARGE), start, end) == LARGE[start:end]


def test_nothing_is_there_before_it_is_complete(store: FileStore) -> None:
    writer = store.create(key := new_key())
    writer.write(b"half of it")
    assert [held for batch in store.held() for held in batch] == []
    with pytest.raises(FileDamaged):
        store.open(key, 0, 1)
    writer.abandon()
    assert [held for batch in store.held() for held in batch] == []


def test_what_is_removed_is_gone(store: FileStore) -> None:
    one, other = put(store, b"one"), put(store, b"other")
    store.remove([one, new_key()])
    assert [held.key for batch in store.held() for held in batch] == [other]
    with pytest.raises(FileDamaged):
        store.open(one, 0, 3)


def test_who_has_begun_to_read_goes_on(store: FileStore) -> None:
    key = put(store, LARGE)
    reader = store.open(key, 0, len(LARGE))
    first = reader.read()
    store.remove([key])
    rest = []
    while piece := reader.read():
        rest.append(piece)
    reader.close()
    assert first + b"".join(rest) == LARGE


@pytest.mark.parametrize("key", ["", "../../admin_key", "A" * 32, "0" * 33, "/etc/passwd", "0" * 31 + "\0"])
def test_a_key_leads_nowhere_else(store: FileStore, key: str) -> None:
    with pytest.raises(FileStoreError):
        checked(key)
    with pytest.raises(FileStoreError):
        store.open(key, 0, 1)
