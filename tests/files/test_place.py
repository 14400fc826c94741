"""Settings that name a place for files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.object_store import ObjectStore
from yugen.files.local import LocalFiles
from yugen.files.memory import MemoryFiles
from yugen.files.objects import ObjectFiles
from yugen.files.place import MEMORY, check_place, open_store
from yugen.files.store import BadFileStore, new_key


def test_each_setting_has_its_store(tmp_path: Path, s3: ObjectStore) -> None:
    assert isinstance(open_store("s3://bucket/prefix", tmp_path), ObjectFiles)
    assert isinstance(open_store(MEMORY, tmp_path), MemoryFiles)
    assert isinstance(open_store("", tmp_path), LocalFiles)


def test_without_one_files_are_beside_the_data(tmp_path: Path) -> None:
    for setting, folder in (("", tmp_path / "files"), (str(tmp_path / "mine"), tmp_path / "mine")):
        writer = open_store(setting, tmp_path).create(key := new_key())
        writer.finish()
        assert (folder / key[:2] / key).is_file()


def test_a_folder_gets_its_whole_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_place("mine") == str(tmp_path / "mine")
    assert check_place("") == ""


@pytest.mark.parametrize("setting", ["ftp://host/x", "s3://", "https://bucket.example", "S3://bucket"])
def test_what_names_no_place_is_refused(setting: str) -> None:
    with pytest.raises(BadFileStore, match="is no place for files; write s3://bucket/prefix"):
        check_place(setting)
