"""The app of `tests/auth/accounts` with somebody's browser, and the mail that comes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from tests.auth.browser import Browser
from yugen.auth import Auth, Mail
from yugen.auth.documents import AuditEvent
from yugen.testing import TestApp

ACCOUNTS = Path(__file__).parent / "accounts"
PASSWORD = "seven grey herons"
OTHER = "another tall ladder"


def postbox() -> list[Mail]:
    """The mail that was sent."""
    return signing_in().sender.sent  # type: ignore[union-attr, no-any-return]


def signing_in() -> Auth:
    """What the app has in its `auth.py`."""
    return sys.modules["accounts.auth"].auth  # type: ignore[no-any-return]


def token_in(mail: Mail) -> str:
    """What the link in a message holds."""
    found = re.search(r"[?&#]token=([\w-]+)", mail.text)
    assert found is not None, mail.text
    return found[1]


async def last_mail(app: TestApp, to: str = "ada@example.com") -> Mail:
    """The newest message to an address."""
    await app.advance()
    return [each for each in postbox() if each.to == to][-1]


async def signed_up(
    app: TestApp, browser: Browser, email: str = "ada@example.com", password: str = PASSWORD
) -> dict[str, Any]:
    """Somebody who has signed up and opened the link where they did."""
    response = await browser.post("/sign-up/password", email=email, password=password)
    assert response.status_code == 200, response.text
    response = await browser.post("/verify-email", token=token_in(await last_mail(app, email)))
    assert response.status_code == 200, response.text
    return dict(response.json())


async def who(browser: Browser) -> dict[str, Any] | None:
    """Who is signed in."""
    user: dict[str, Any] | None = (await browser.ask("/session")).json()["user"]
    return user


async def told(app: TestApp) -> list[tuple[str, str]]:
    """What the app heard of its users: the event, and who."""
    found: list[Any] = await app.run(lambda ctx: ctx.db.query("told").collect())
    return [(each.event, each.user) for each in found]


async def user_ids(app: TestApp) -> list[str]:
    """All users there are."""
    found: list[Any] = await app.run(lambda ctx: ctx.db.query("users").collect())
    return [each.id for each in found]


async def events(app: TestApp) -> list[str]:
    """What was written down."""
    return [each.event for each in await app.run(lambda ctx: ctx.db.query(AuditEvent).collect())]
