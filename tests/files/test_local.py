"""Files on a disk that fails, fills up, and is shared."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from yugen.files.local import LocalFiles
from yugen.files.store import FileStoreError, new_key

CALLS = ("open", "write", "fsync", "close")


def everything(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def put(store: LocalFiles, content: bytes) -> str:
    writer = store.create(key := new_key())
    try:
        writer.write(content)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    return key


def test_only_its_owner_can_look(tmp_path: Path) -> None:
    key = put(LocalFiles(tmp_path / "files"), b"secret")
    for folder in (tmp_path / "files", tmp_path / "files" / key[:2], tmp_path / "files" / "parts"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "files" / key[:2] / key).stat().st_mode) == 0o600


def test_a_link_is_no_file(tmp_path: Path) -> None:
    store = LocalFiles(tmp_path / "files")
    key = put(store, b"x")
    path = tmp_path / "files" / key[:2] / key
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(FileStoreError, match="cannot be used"):
        store.open(key, 0, 1)


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """Whichever call it is that fails, first, second or third."""
    store = LocalFiles(tmp_path / "files")
    real = getattr(os, call)
    for nth in range(1, 3):
        count = 0

        def failing(*args: Any, nth: int = nth, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == nth:
                raise OSError(number, os.strerror(number))
            return real(*args, **named)

        with monkeypatch.context() as patched:
            patched.setattr(os, call, failing)
            caught: FileStoreError | None = None
            try:
                put(store, b"content")
            except FileStoreError as error:
                caught = error
        assert (caught is not None) == (count >= nth)
        if caught is not None:
            assert caught.full == (number == errno.ENOSPC)
            assert everything(tmp_path) == []
        store.remove([held.key for batch in store.held() for held in batch])
    key = put(store, b"again")
    assert store.open(key, 0, 5).read() == b"again"


def test_what_a_killed_writer_has_left_is_cleared(tmp_path: Path) -> None:
    store = LocalFiles(tmp_path)
    writer, fresh = store.create(new_key()), store.create(new_key())
    for each in (writer, fresh):
        each.write(b"half")
    old, _ = sorted((tmp_path / "parts").iterdir(), key=lambda path: path.stat().st_ino)
    os.utime(old, (1000, 1000))
    store.clear(before=2000)
    assert len(everything(tmp_path)) == 1
    fresh.finish()
    fresh_keys = [held.key for batch in store.held() for held in batch]
    assert len(fresh_keys) == 1
    writer.abandon()


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    store = LocalFiles(tmp_path)
    key = put(store, b"x")
    (tmp_path / key[:2] / "notes.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    assert [held.key for batch in store.held() for held in batch] == [key]
