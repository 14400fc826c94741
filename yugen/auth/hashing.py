"""Passwords: which are taken, and how they are kept.

They are kept as argon2id makes them, with what RFC 9106 recommends for machines that have little memory to spare. That
takes a tenth of a second and 64 MiB on purpose, so few are made at the same time, and none in the event loop.
"""

from __future__ import annotations

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from yugen.auth.common_passwords import COMMON
from yugen.auth.errors import AuthError

if TYPE_CHECKING:
    from pwdlib import PasswordHash

LENGTH_MIN: Final = 8
LENGTH_MAX: Final = 128
"""Characters of a password, after NFC: é is one however it was typed (ASVS 5.0, 6.2.1 and 6.2.9)."""

AT_ONCE: Final = 2
"""How many are made or compared at the same time in a process; others wait."""

NOBODYS: Final = "$argon2id$v=19$m=65536,t=3,p=4$BznefWDUrA7/aFhTNBtPxw$7uWjapgFcvcAC5G1HRonrUz4Z63yysXdXmHeQ9ehvcw"
"""What a password is compared with where there is none, so that this takes as long as with one. Nothing matches it."""

_CONTEXT_MIN: Final = 4


def normalized(password: str) -> str:
    """A password as it is kept and compared: in NFC, and otherwise as it was typed, spaces and all."""
    return unicodedata.normalize("NFC", password)


def checked(password: str, *context: str | None, field: str = "password") -> str:
    """A password that may be chosen, as it is kept.

    There are no rules on what it is made of (NIST SP 800-63B-4, 3.1.1.2): they make passwords alike. What everybody
    tries first is refused: the commonest passwords, and what is known of whoever chooses.

    Args:
        password: as it was typed.
        context: what it must not be made of: the address of the user, the name of the app.
        field: what it is called in the request.

    Raises:
        AuthError: it may not be chosen.
    """
    chosen = normalized(password)
    if len(chosen) < LENGTH_MIN:
        raise AuthError(
            "PasswordTooShort", f"A password has at least {LENGTH_MIN} characters; a few words will do.", field=field
        )
    if len(chosen) > LENGTH_MAX:
        raise AuthError("PasswordTooLong", f"A password has at most {LENGTH_MAX} characters.", field=field)
    folded = chosen.casefold()
    if folded in COMMON or len(set(folded)) < _CONTEXT_MIN or _is_sequence(folded):
        raise AuthError(
            "PasswordCommon", "This password is among the first that anybody would try; choose another.", field=field
        )
    for word in _words(context):
        if word in folded:
            raise AuthError(
                "PasswordGuessable",
                "This password contains your address or the name of this site; choose another.",
                field=field,
            )
    return chosen


def _words(context: tuple[str | None, ...]) -> set[str]:
    """What others know: of ada.lovelace@example.com the whole, ada.lovelace and example.com."""
    texts = [text.casefold() for text in context if text]
    parts = [part for text in texts for part in (text, *text.split("@"))]
    return {part for part in parts if len(part) >= _CONTEXT_MIN}


def _is_sequence(text: str) -> bool:
    """Whether each character comes after that before it, or before: 12345678, hgfedcba."""
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    return steps in ({1}, {-1})


async def made(password: str) -> str:
    """What is stored of a password that `checked` has let through."""
    return str(await _apart(hasher().hash, password))


async def matches(password: str, stored: str | None) -> tuple[bool, str | None]:
    """Whether a password is the one that something was made of, and what to store instead where that is out of date.

    Args:
        password: as it was typed.
        stored: what is stored; None for nobody, which takes as long.
    """
    typed = normalized(password)
    if len(typed) > LENGTH_MAX:
        # It cannot be right. It is compared all the same, cut to what may cost something, for the time that takes.
        await _apart(hasher().verify, typed[:LENGTH_MAX], NOBODYS)
        return False, None
    ok, again = await _apart(hasher().verify_and_update, typed, NOBODYS if stored is None else stored)
    return (ok, again) if stored is not None else (False, None)


@lru_cache(maxsize=1)
def hasher() -> PasswordHash:
    """What makes and compares. With other figures, each password is made anew when it is next used."""
    from pwdlib import PasswordHash  # noqa: PLC0415 -- of those who have passwords
    from pwdlib.hashers.argon2 import Argon2Hasher  # noqa: PLC0415 -- as above

    return PasswordHash((Argon2Hasher(time_cost=3, memory_cost=64 * 1024, parallelism=4),))


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, "passwords")


async def _apart(call: Any, *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(_threads(), call, *args)
