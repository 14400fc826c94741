"""A password and a second factor together: neither alone does what takes both."""

from __future__ import annotations

from pathlib import Path

import pyotp

from tests.auth.browser import Browser
from yugen.testing import TestApp

PASSWORD = "seven grey herons"


async def test_a_password_alone_makes_no_session_fresh_of_those_who_have_a_second_factor(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "auth.py").write_text(
        "from yugen.auth import Auth, EmailPassword, Totp\nauth = Auth(EmailPassword(verify=False), Totp())\n"
    )
    async with TestApp(folder) as app:
        ada = Browser(app)
        fields = {"email": "ada@example.com", "password": PASSWORD}
        user = (await ada.post("/sign-up/password", **fields)).json()["user"]
        await app.run(lambda ctx: ctx.db.patch(user, email_verified=True))
        phone = pyotp.TOTP((await ada.post("/totp/enable")).json()["secret"])
        assert (await ada.post("/totp/confirm", code=phone.at(app.now))).is_success
        await app.advance(minutes=16)
        refused = await ada.post("/reauthenticate", password=PASSWORD)
        assert (refused.status_code, refused.json()["code"]) == (403, "SecondFactorNeeded")
        assert not (await ada.ask("/session")).json()["session"]["fresh"]
        assert (await ada.post("/sign-in/password", **fields)).json()["secondFactor"] == ["totp"]
        await ada.post("/second-factor/totp", code=phone.at(app.now), trustDevice=True)
        assert (await ada.ask("/session")).json()["session"]["fresh"]
        await app.advance(minutes=16)
        assert (await ada.post("/reauthenticate", password=PASSWORD)).is_success
