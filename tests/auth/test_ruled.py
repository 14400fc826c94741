"""Sign-in and rules together: rules are not in the way of who signs in, and its tables are not open."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.auth.browser import Browser
from yugen.errors import YugenError
from yugen.testing import TestApp

APP = Path(__file__).parent / "ruled_app"


async def test_an_app_that_denies_everything_knows_who_is_signed_in() -> None:
    async with TestApp(APP) as app:
        ada, eve = Browser(app), Browser(app)
        for browser in (ada, eve):
            assert (await browser.post("/sign-in/anonymous")).status_code == 200
        own = await ada.caller()
        club = await own.mutation("auth:found", name="club")
        await own.mutation("auth:plan", organization=club, text="a picnic")
        watch = await own.watch("auth:plans")
        assert await watch.value() == ["a picnic"]
        assert [each["id"] for each in await own.query("auth/organizations:list")] == [club]
        stranger = await eve.caller()
        assert await stranger.query("auth:plans") == []
        with pytest.raises(YugenError, match="You may not insert"):
            await stranger.mutation("auth:plan", organization=club, text="mine")
        for who in (own, stranger, app):
            assert await who.query("auth:tables") == []
        await ada.post("/sign-out")
        await app.settle()
        with pytest.raises(YugenError, match="permission plans:read"):
            await watch.value()
