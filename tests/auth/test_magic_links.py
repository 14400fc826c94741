"""Sign-in by a link that comes by mail."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.auth.browser import Browser
from tests.auth.postbox import ACCOUNTS, last_mail, postbox, signing_in, token_in, who
from yugen.auth import Auth, MagicLink
from yugen.auth.documents import Verification
from yugen.testing import TestApp


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(ACCOUNTS) as made:
        postbox().clear()
        yield made


async def asked(app: TestApp, browser: Browser) -> str:
    response = await browser.post("/sign-in/magic-link", email="Ada@example.com")
    assert response.json() == {"sent": True}
    mail = await last_mail(app)
    assert "http://127.0.0.1:3210/auth/link?token=" in mail.text
    return token_in(mail)


async def test_a_link_signs_up_and_signs_in_once(app: TestApp) -> None:
    browser = Browser(app)
    token = await asked(app, browser)
    assert await who(browser) is None
    assert (await browser.post("/verify/magic-link", token=token)).is_success
    first = await who(browser)
    assert first is not None
    assert (first["email"], first["emailVerified"]) == ("ada@example.com", True)
    assert (await Browser(app).post("/verify/magic-link", token=token)).json()["code"] == "StaleLink"
    again = Browser(app)
    await again.post("/verify/magic-link", token=await asked(app, again))
    assert await who(again) == first


async def test_looking_at_a_link_does_not_use_it_up(app: TestApp) -> None:
    browser, scanner = Browser(app), Browser(app, origin=None)
    token = await asked(app, browser)
    for _ in range(2):
        await scanner.ask(f"/link?token={token}")
        assert (await scanner.ask(f"/verify/magic-link?token={token}")).status_code == 404
        assert await who(scanner) is None
    assert (await browser.post("/verify/magic-link", token=token)).is_success


async def test_a_link_is_good_for_a_quarter_of_an_hour_and_only_the_newest(app: TestApp) -> None:
    browser = Browser(app)
    first = await asked(app, browser)
    second = await asked(app, browser)
    assert (await browser.post("/verify/magic-link", token=first)).json()["code"] == "StaleLink"
    await app.advance(minutes=15, seconds=1)
    assert (await browser.post("/verify/magic-link", token=second)).json()["code"] == "StaleLink"


async def test_the_database_does_not_hold_what_opens_an_account(app: TestApp) -> None:
    token = await asked(app, Browser(app))
    stored = str(await app.run(lambda ctx: ctx.db.query(Verification).collect()))
    waiting = str(await app.run(lambda ctx: ctx.db.system.query("_outbox").collect()))
    assert token not in stored
    assert token not in waiting


async def test_where_nobody_signs_up_by_it_strangers_get_no_mail(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_in().part("magic-link"), "sign_up", False)
    response = await Browser(app).post("/sign-in/magic-link", email="ada@example.com")
    assert response.json() == {"sent": True}
    await app.advance()
    assert postbox() == []


async def test_one_goes_on_only_to_where_one_may_be_sent(app: TestApp) -> None:
    browser = Browser(app)
    await browser.post("/sign-in/magic-link", email="ada@example.com", redirect="/board?x=1")
    assert "&redirect=%2Fboard%3Fx%3D1" in (await last_mail(app)).text
    for target in ("https://evil.example", "//evil.example", "javascript:alert(1)"):
        response = await browser.post("/sign-in/magic-link", email="ada@example.com", redirect=target)
        assert response.json()["code"] == "BadRedirect"


@pytest.mark.parametrize(
    "link", ["https://app.example.com/in", "/in#{token}", "http://app.example.com/{token}", "javascript:{token}"]
)
def test_a_page_of_the_apps_own_is_a_whole_address_with_a_place_for_the_token(link: str) -> None:
    with pytest.raises(ValueError, match="MagicLink: link"):
        MagicLink(link=link)


async def test_the_link_may_lead_to_a_page_of_the_apps_own(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_in().part("magic-link"), "link", "https://app.example.com/in#{token}")
    await Browser(app).post("/sign-in/magic-link", email="ada@example.com")
    assert "https://app.example.com/in#" in (await last_mail(app)).text


def test_without_pages_there_must_be_one() -> None:
    with pytest.raises(ValueError, match="without the ready-made pages, give link"):
        Auth(MagicLink(), pages=None)
