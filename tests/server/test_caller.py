from __future__ import annotations

import stat
from pathlib import Path

import pytest

from yugen.server.caller import AdminKey


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "data" / "admin_key"
    key = AdminKey(file)
    text = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert text.startswith("yugen|")
    assert len(text) > 40
    assert key.opens(text)
    assert AdminKey(file).opens(text)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("wrong", ["", "yugen|", "ключ", "\ud800", "\x00", "x" * 100_000])
def test_nothing_else_opens(tmp_path: Path, wrong: str) -> None:
    key = AdminKey(tmp_path / "admin_key")
    assert not key.opens(wrong)
    assert not key.opens(key.file.read_text())  # the line has an end, the key has none


def test_an_empty_file_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "admin_key"
    file.write_text("\n")
    key = AdminKey(file)
    assert not key.opens("")
    assert key.opens(file.read_text().strip())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_a_crash_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "admin_key.new").write_text("half")
    key = AdminKey(tmp_path / "admin_key")
    assert not key.opens("half")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_key_of_the_owners_choice_stays(tmp_path: Path) -> None:
    file = tmp_path / "admin_key"
    file.write_text("prod|chosen\n")
    assert AdminKey(file).opens("prod|chosen")
    assert file.read_text() == "prod|chosen\n"
