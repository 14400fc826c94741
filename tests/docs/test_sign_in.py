"""The example of docs/sign-in.md."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from reliability.serving import ROOT
from tests.auth.browser import ISSUER, Browser
from tests.auth.conftest import quick_passwords
from tests.auth.postbox import token_in
from yugen import YugenError
from yugen.auth import Auth, AuthError, Mail
from yugen.functions.extensions import extension_of
from yugen.testing import TestApp

APP = ROOT / "examples/garden/app"

__all__ = ["quick_passwords"]


@pytest_asyncio.fixture
async def t() -> AsyncIterator[TestApp]:
    async with TestApp(APP) as t:
        yield t


@pytest_asyncio.fixture
async def sent(t: TestApp) -> list[Mail]:
    """The mail that is sent."""
    kept: list[Mail] = []

    class Kept:
        async def send(self, mail: Mail) -> None:
            kept.append(mail)

    async def keep(ctx: object) -> None:
        extension_of(ctx, Auth).sender = Kept()  # type: ignore[arg-type]

    await t.run(keep)
    return kept


async def test_a_garden_belongs_to_whoever_has_signed_up(t: TestApp, sent: list[Mail]) -> None:
    browser = Browser(t)
    await browser.post("/sign-up/password", email="ada@example.com", password="seven grey herons")
    await t.advance()
    await browser.post("/verify-email", token=token_in(sent[0]))
    ada = await browser.caller()
    await ada.mutation("plants:plant", name="a fern")
    assert await ada.query("plants:mine") == ["a daisy, from us", "a fern"]
    assert await t.query("plants:mine") == []
    for number in range(8):
        await ada.mutation("plants:plant", name=f"a tulip {number}")
    with pytest.raises(YugenError, match="Your garden is full"):
        await ada.mutation("plants:plant", name="one more")
    await t.advance(minutes=16)
    with pytest.raises(YugenError, match="Confirm that it is you"):
        await ada.mutation("plants:clear")
    await browser.post("/reauthenticate", password="seven grey herons")
    await ada.mutation("plants:clear")
    assert await ada.query("plants:mine") == []


async def test_letters_are_the_apps_own(t: TestApp, sent: list[Mail]) -> None:
    await Browser(t).post("/sign-in/magic-link", email="ada@example.com")
    await t.advance()
    assert sent[0].subject == "The gate of Garden is open"
    assert "/auth/link?token=" in sent[0].text


async def test_what_was_planted_without_an_account_comes_along(t: TestApp, sent: list[Mail]) -> None:
    known, guest = Browser(t), Browser(t)
    for browser in (known, guest):
        if browser is guest:
            await guest.post("/sign-in/anonymous")
            await (await guest.caller()).mutation("plants:plant", name="a rose")
        await browser.post("/sign-in/magic-link", email="ada@example.com")
        await t.advance()
        await browser.post("/verify/magic-link", token=token_in(sent[-1]))
    assert "a rose" in await (await known.caller()).query("plants:mine")


async def test_a_test_signs_somebody_in(t: TestApp) -> None:
    browser = Browser(t)
    await browser.post("/sign-in/anonymous")
    session = (await browser.ask("/session")).json()
    user, own = session["user"]["id"], session["session"]["id"]
    assert await t.as_user(issuer=ISSUER, subject=user, sid=own).query("plants:mine") == ["a daisy, from us"]
    with pytest.raises((YugenError, AuthError), match="Sign in first"):
        await t.mutation("plants:plant", name="nobody's")


async def test_two_lines_are_all_it_takes() -> None:
    async with TestApp(ROOT / "examples/garden/smallest") as t:
        page = await t.fetch("/auth/sign-in", headers={"Accept": "text/html"})
        assert page.status_code == 200
        assert 'name="password"' in page.text
