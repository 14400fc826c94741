from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pyotp
import pytest

from reliability.serving import ROOT
from tests.auth.browser import Browser
from tests.authenticator import Authenticator
from yugen.testing import TestApp

APP = ROOT / "examples/keys/app"
ORIGIN = "http://localhost:3210"


@pytest.fixture
async def t() -> AsyncIterator[TestApp]:
    async with TestApp(APP) as t:
        yield t


async def signed_up(t: TestApp) -> tuple[Browser, Authenticator]:
    """Somebody with an account by a passkey alone."""
    browser, device = Browser(t, origin=ORIGIN), Authenticator(ORIGIN)
    options = (await browser.post("/sign-up/passkey/options", name="Ada")).json()["options"]
    response = await browser.post("/sign-up/passkey", credential=device.make(options))
    assert response.status_code == 200, response.text
    return browser, device


async def passkey(browser: Browser, device: Authenticator) -> dict[str, Any]:
    options = (await browser.post("/sign-in/passkey/options")).json()["options"]
    return device.use(options)


async def test_what_is_sensitive_wants_a_fresh_session(t: TestApp) -> None:
    browser, device = await signed_up(t)
    ada = await browser.caller()
    await ada.mutation("tasks:add", title="mine")
    assert [task.title for task in await ada.query("tasks:list")] == ["mine"]
    await t.advance(minutes=16)
    with pytest.raises(Exception, match="Confirm that it is you"):
        await ada.mutation("tasks:clear")
    await browser.post("/sign-in/passkey", credential=await passkey(browser, device))
    ada = await browser.caller()
    await ada.mutation("tasks:clear")
    assert await ada.query("tasks:list") == []


async def test_a_phone_and_a_passkey(t: TestApp) -> None:
    browser, device = await signed_up(t)
    asked = (await browser.post("/totp/enable")).json()
    phone = pyotp.TOTP(asked["secret"])
    confirmed = await browser.post("/totp/confirm", code=phone.at(t.now))
    assert len(confirmed.json()["backupCodes"]) == 10
    # A passkey shows both at once.
    again = Browser(t, origin=ORIGIN)
    signed_in = await again.post("/sign-in/passkey", credential=await passkey(again, device))
    assert "secondFactor" not in signed_in.json()
    user = (await again.ask("/session")).json()["user"]
    assert await t.mutation("auth/totp:reset", user=user["id"]) is True
