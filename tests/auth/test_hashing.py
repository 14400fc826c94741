"""Passwords: which are taken, and how they are kept."""

from __future__ import annotations

import asyncio
import importlib
import threading
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.auth import hashing
from yugen.auth.common_passwords import COMMON
from yugen.auth.errors import AuthError


@pytest.fixture
def real() -> Any:
    """The module as it is, and not as `quick_passwords` has made it for other tests."""
    spec = importlib.util.find_spec("yugen.auth.hashing")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_passwords_are_kept_as_argon2id_of_the_figures_of_rfc_9106(real: Any) -> None:
    stored = await real.made("seven grey herons")
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert await real.matches("seven grey herons", stored) == (True, None)
    assert await real.matches("seven grey heron", stored) == (False, None)
    assert await real.made("seven grey herons") != stored


async def test_nobodys_password_costs_what_others_do(real: Any) -> None:
    assert not real.hasher().current_hasher.check_needs_rehash(real.NOBODYS)


@pytest.mark.parametrize("password", ["x", "seven grey herons", "x" * 1000])
async def test_nothing_matches_where_there_is_no_password(password: str) -> None:
    assert await hashing.matches(password, None) == (False, None)


async def test_only_a_few_are_made_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(hashing.AT_ONCE)

    class Slow:
        def hash(self, password: str) -> str:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            both.wait()
            with lock:
                running -= 1
            return password

    monkeypatch.setattr(hashing, "hasher", Slow)
    await asyncio.gather(*(hashing.made(str(number)) for number in range(4 * hashing.AT_ONCE)))
    assert most == hashing.AT_ONCE


@given(st.text(max_size=140) | st.text(min_size=6, max_size=12) | st.text(min_size=120, max_size=140))
def test_a_password_is_taken_by_its_length_after_nfc_whatever_it_is_made_of(text: str) -> None:
    kept = unicodedata.normalize("NFC", text)
    if len(kept) < hashing.LENGTH_MIN:
        expected = "PasswordTooShort"
    elif len(kept) > hashing.LENGTH_MAX:
        expected = "PasswordTooLong"
    else:
        # What is left are rules on what anybody would try first, which random text breaks by being of few letters.
        few = len(set(kept.casefold())) < 4
        expected = "PasswordCommon" if few else ""
    if expected:
        with pytest.raises(AuthError) as refused:
            hashing.checked(text)
        assert refused.value.code == expected
    else:
        assert hashing.checked(text) == kept


def test_common_passwords_are_refused_in_any_case() -> None:
    assert len(COMMON) > 300
    for password in COMMON:
        assert password == password.casefold()
        with pytest.raises(AuthError, match="first that anybody would try"):
            hashing.checked(password.upper())


@pytest.mark.parametrize("password", ["xx Ada.Lovelace xx", "my example.com one", "TASKS are fun!"])
def test_what_others_know_is_refused(password: str) -> None:
    with pytest.raises(AuthError, match="contains your address or the name"):
        hashing.checked(password, "ada.lovelace@example.com", "Tasks")
    assert hashing.checked(password, None, "A") == password
