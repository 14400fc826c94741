"""People hear by mail of what has changed in how they sign in."""

from __future__ import annotations

from pathlib import Path

import pyotp

from tests.apps import write_app
from tests.auth.browser import Browser
from yugen.auth import Auth
from yugen.testing import TestApp

APP = """
from yugen import internal_mutation, MutationCtx
from yugen.auth import Anonymous, Auth, EmailPassword, Mail, Totp

class Kept:
    sent: list[Mail] = []

    async def send(self, mail: Mail) -> None:
        self.sent.append(mail)

auth = Auth(EmailPassword(), Totp(), Anonymous(), sender=Kept())
"""


async def test_mail_tells_of_a_second_factor_and_says_what_to_do(tmp_path: Path) -> None:
    async with TestApp(write_app(tmp_path, auth=APP)) as app:
        auth = app._loaded.extensions[Auth]
        assert isinstance(auth, Auth)
        sent = auth.sender.sent  # type: ignore[union-attr]
        ada = Browser(app)
        await ada.post("/sign-up/password", email="ada@example.com", password="seven grey herons")
        await app.advance()
        token = next(line for line in sent[-1].text.splitlines() if "token=" in line).partition("token=")[2]
        assert (await ada.post("/verify-email", token=token.strip())).is_success
        phone = pyotp.TOTP((await ada.post("/totp/enable")).json()["secret"])
        before = len(sent)
        assert (await ada.post("/totp/confirm", code=phone.at(app.now))).is_success
        await app.advance()
        (told,) = sent[before:]
        assert told.to == "ada@example.com"
        assert "takes a number from a phone" in told.text
        assert "/auth/account" in told.text
