"""`Auth` as it is put together."""

from __future__ import annotations

import sys

import pytest

from yugen.auth import Auth, EmailPassword, Passkeys, Totp, google
from yugen.auth.parts import Part


@pytest.mark.parametrize(
    ("part", "package"),
    [(EmailPassword(), "pwdlib"), (Totp(), "segno"), (Passkeys(), "webauthn"), (google(), "authlib")],
)
def test_packages_that_are_missing_are_missed_when_the_app_loads(
    monkeypatch: pytest.MonkeyPatch, part: Part, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=r"pip install 'yugen\[auth\]'"):
        Auth(part)
