from __future__ import annotations

import stat
from pathlib import Path

import pytest

from yugen.server import encryption_keys
from yugen.server.encryption_keys import EncryptionKeys, KeysBusy
from yugen.vault import BadKey, new_key, parse_keys


def test_a_key_is_made_once_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    keys = EncryptionKeys(tmp_path / "data", "")
    assert keys() == ()
    keys.make()
    assert len(keys()) == 1
    assert stat.S_IMODE(keys.file.stat().st_mode) == 0o600
    first = keys()
    keys.make()
    assert keys() == first == EncryptionKeys(tmp_path / "data", "")()
    assert [file.name for file in keys.file.parent.iterdir()] == ["encryption_key"]


def test_a_key_of_the_file_is_renewed_and_the_old_one_forgotten(tmp_path: Path) -> None:
    keys, elsewhere = EncryptionKeys(tmp_path, ""), EncryptionKeys(tmp_path, "")
    keys.make()
    [old] = elsewhere()
    keys.renew()
    new, *rest = elsewhere()
    assert rest == [old]
    assert new != old
    assert keys.forget_old() == 1
    assert keys() == elsewhere() == (new,)
    assert keys.forget_old() == 0


def test_keys_that_are_given_go_before_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    EncryptionKeys(tmp_path, "").make()
    one, two = new_key(), new_key()
    monkeypatch.setenv("YUGEN_ENCRYPTION_KEY", f"{one}, {two}")
    keys = EncryptionKeys(tmp_path)
    assert keys.are_given
    assert keys()[:2] == parse_keys(f"{one} {two}", "")
    assert len(keys()) == 3
    assert keys.forget_old() == 1
    assert not keys.file.exists()
    keys.make()
    assert not keys.file.exists()


def test_what_is_no_key_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadKey, match="The key in YUGEN_ENCRYPTION_KEY is no key"):
        EncryptionKeys(tmp_path, "secret")
    (tmp_path / "encryption_key").write_text("what")
    with pytest.raises(BadKey, match=f"The key in {tmp_path}/encryption_key is no key"):
        EncryptionKeys(tmp_path, "")
    (tmp_path / "encryption_key").write_bytes(b"\xff")
    with pytest.raises(BadKey, match="does not hold keys; put back what it held"):
        EncryptionKeys(tmp_path, "")


async def test_keys_are_kept_by_many_or_by_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption_keys, "_WAIT_SECONDS_MAX", 0.0)
    one, other = EncryptionKeys(tmp_path, ""), EncryptionKeys(tmp_path, "")
    async with one.keep(), other.keep():
        with pytest.raises(KeysBusy, match="try again in a moment"):
            async with one.keep(alone=True):
                pass
    async with one.keep(alone=True):
        with pytest.raises(KeysBusy):
            async with other.keep():
                pass
    async with other.keep(alone=True):
        pass
