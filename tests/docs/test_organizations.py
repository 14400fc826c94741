"""The example of docs/organizations.md."""

from __future__ import annotations

from typing import Any

import pytest

from reliability.serving import ROOT
from tests.auth.browser import ISSUER, Browser
from tests.auth.conftest import quick_passwords
from tests.auth.postbox import token_in
from yugen import YugenError
from yugen.auth import Auth, Mail
from yugen.functions.extensions import extension_of
from yugen.testing import Caller, TestApp

__all__ = ["quick_passwords"]


async def test_offices_are_shared_by_those_who_are_invited_and_looked_after_by_administrators() -> None:
    async with TestApp(ROOT / "examples/offices/app") as t:
        mail: list[Mail] = []

        class Kept:
            async def send(self, message: Mail) -> None:
                mail.append(message)

        async def keep(ctx: Any) -> None:
            extension_of(ctx, Auth).sender = Kept()

        await t.run(keep)

        async def signed_up(name: str) -> Caller:
            browser = Browser(t)
            fields = {"email": f"{name}@example.com", "password": "seven grey herons"}
            await browser.post("/sign-up/password", **fields)
            await t.advance()
            assert (await browser.post("/verify-email", token=token_in(mail[-1]))).is_success
            session = (await browser.ask("/session")).json()
            return t.as_user(issuer=ISSUER, subject=session["user"]["id"], sid=session["session"]["id"])

        ada, bob = await signed_up("ada"), await signed_up("bob")
        office = await ada.mutation("auth/organizations:create", name="Main street", slug="main-street")
        await ada.mutation("desks:add", organization=office, name="window")
        with pytest.raises(YugenError, match="no such organisation"):
            await bob.query("desks:list", organization=office)
        await ada.action("auth/organizations:invite", organization=office, email="bob@example.com", role="guest")
        await t.advance()
        await bob.mutation("auth/organizations:answer_invitation", token=token_in(mail[-1]))
        assert [desk.name for desk in await bob.query("desks:list", organization=office)] == ["window"]
        with pytest.raises(YugenError, match="may not do that"):
            await bob.mutation("desks:add", organization=office, name="corner")
        with pytest.raises(YugenError, match="permission reports:read"):
            await ada.query("desks:count")
        await t.mutation("auth/admin:make_admin", email="ada@example.com")
        assert await ada.query("desks:count") == 1
