from __future__ import annotations

import base64
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reliability.serving import ROOT
from yugen.vault import KEY_BYTES, BadKey, Unreadable, Vault, new_key, parse_keys

OLD, NEW = bytes(KEY_BYTES), bytes(range(KEY_BYTES))
NAMES = st.from_regex(r"[A-Z_]{1,20}", fullmatch=True)


@settings(max_examples=50, deadline=None)
@given(NAMES, st.text(st.characters(codec="utf-8")))
def test_what_is_sealed_is_opened_and_does_not_show(name: str, value: str) -> None:
    vault = Vault(lambda: (OLD,))
    sealed = vault.seal(name, value)
    assert vault.open(name, sealed) == value
    assert len(value) < 8 or value not in sealed
    with pytest.raises(Unreadable):
        vault.open(f"{name}_", sealed)


def test_keys_are_replaced_one_after_the_other() -> None:
    keys = [OLD]
    vault = Vault(lambda: keys)
    sealed = vault.seal("A", "value")
    keys[:] = [NEW, OLD]
    assert vault.open("A", sealed) == "value"
    resealed = vault.reseal("A", sealed)
    keys[:] = [NEW]
    assert vault.open("A", resealed) == "value"
    assert Vault(lambda: (NEW,)).open("A", resealed) == "value"
    with pytest.raises(Unreadable, match="A was not sealed with a key that is at hand"):
        Vault(lambda: (NEW,)).open("A", sealed)


def test_a_key_that_another_process_has_made_is_found() -> None:
    keys = [OLD]
    vault = Vault(lambda: keys)
    assert vault.open("A", vault.seal("A", "old")) == "old"
    sealed = Vault(lambda: (NEW,)).seal("A", "new")
    with pytest.raises(Unreadable):
        vault.open("A", sealed)
    keys[:] = [NEW, OLD]
    assert vault.open("A", sealed) == "new"


def test_what_one_deployment_has_sealed_is_not_read_by_another_with_the_same_key() -> None:
    one, other = Vault(lambda: (OLD,), b"one"), Vault(lambda: (OLD,), b"other")
    with pytest.raises(Unreadable):
        other.open("A", one.seal("A", "value"))
    other.deployment = b"one"
    assert other.open("A", one.seal("A", "value")) == "value"


def test_without_a_key_nothing_is_sealed_or_opened() -> None:
    with pytest.raises(Unreadable, match="no key"):
        Vault(tuple).seal("A", "value")
    with pytest.raises(Unreadable):
        Vault(tuple).open("A", Vault(lambda: (OLD,)).seal("A", "value"))


@pytest.mark.parametrize("sealed", ["", "x", "gAAAAA==", "é"])
def test_what_is_damaged_is_not_opened(sealed: str) -> None:
    with pytest.raises(Unreadable):
        Vault(lambda: (OLD,)).open("A", sealed)


def test_keys_are_written_in_either_alphabet() -> None:
    key = bytes(range(224, 256))
    plain, safe = base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()
    assert plain != safe
    assert parse_keys(f" {plain},{safe}\n{plain} ", "X") == (key, key, key)
    assert parse_keys(" \n", "X") == ()
    assert len(parse_keys(new_key(), "X")[0]) == KEY_BYTES
    assert new_key() != new_key()


@pytest.mark.parametrize("key", ["hunter2", "A" * 43, "A" * 44, "*" * 44, "é" * 44])
def test_a_key_that_is_none_is_told_and_not_shown(key: str) -> None:
    with pytest.raises(BadKey) as refused:
        parse_keys(key, "THE_PLACE")
    assert str(refused.value).startswith("The key in THE_PLACE is no key: write 32 random bytes in base 64, as ")
    with pytest.raises(BadKey, match=r"^Key 2 of 2 in THE_PLACE") as refused:
        parse_keys(f"{new_key()},{key}", "THE_PLACE")
    assert key not in str(refused.value)


def test_a_server_starts_without_what_only_variables_and_functions_need() -> None:
    program = "import sys, yugen.cli.serve, yugen.server.asgi; print({'cryptography', 'pydantic'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True) == "set()\n"
