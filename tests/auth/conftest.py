"""What tests of sign-in have in common."""

from __future__ import annotations

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from yugen.auth import hashing


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has passwords cost nothing: what they are to cost, tests of `hashing` see."""
    cheap = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    monkeypatch.setattr(hashing, "hasher", lambda: cheap)
    monkeypatch.setattr(hashing, "NOBODYS", cheap.hash("nobody's"))
