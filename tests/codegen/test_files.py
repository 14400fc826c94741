from __future__ import annotations

from pathlib import Path

import pytest

from yugen.codegen.declarations import declarations
from yugen.codegen.files import outdated, write_files
from yugen.functions.registry import App

FILES = {"one.js": "1\n", "two.js": "2 \u00e9\n"}


def test_everything_is_written_into_a_new_folder(tmp_path: Path) -> None:
    folder = tmp_path / "deep/er"
    assert write_files(FILES, folder) == [folder / "one.js", folder / "two.js"]
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == FILES


def test_only_what_has_changed_is_touched(tmp_path: Path) -> None:
    write_files(FILES, tmp_path)
    before = {path.name: path.stat() for path in tmp_path.iterdir()}
    assert write_files(FILES, tmp_path) == []
    assert write_files(FILES | {"two.js": "3"}, tmp_path) == [tmp_path / "two.js"]
    one = (tmp_path / "one.js").stat()
    assert (one.st_ino, one.st_mtime_ns) == (before["one.js"].st_ino, before["one.js"].st_mtime_ns)
    assert (tmp_path / "two.js").stat().st_ino != before["two.js"].st_ino  # a new file in the place of the old one
    assert (tmp_path / "two.js").read_text() == "3"


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(FILES, tmp_path)

    def full(path: Path, data: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_files({"one.js": "new"}, tmp_path)
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == FILES


def test_what_is_out_of_date(tmp_path: Path) -> None:
    assert outdated(FILES, tmp_path / "none") == [tmp_path / "none/one.js", tmp_path / "none/two.js"]
    write_files(FILES, tmp_path)
    assert outdated(FILES, tmp_path) == []
    assert outdated(FILES | {"one.js": "1"}, tmp_path) == [tmp_path / "one.js"]


def test_the_types_of_an_app(app: App, tmp_path: Path) -> None:
    assert [path.name for path in write_files(declarations(app), tmp_path)] == ["api.d.ts", "api.js", "dataModel.d.ts"]
    assert write_files(declarations(app), tmp_path) == []
