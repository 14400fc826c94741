"""Sign-in by a code that comes by mail."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.auth.browser import Browser
from tests.auth.postbox import ACCOUNTS, last_mail, postbox, signing_in, who
from yugen.auth.documents import Verification
from yugen.testing import TestApp


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(ACCOUNTS) as made:
        postbox().clear()
        yield made


async def asked(app: TestApp, browser: Browser, email: str = "ada@example.com") -> tuple[str, str]:
    """A handle, and the code that came."""
    response = await browser.post("/sign-in/code", email=email)
    assert response.is_success, response.text
    return response.json()["handle"], (await last_mail(app, email)).subject[-6:]


def other(code: str, by: int = 1) -> str:
    return f"{(int(code) + by) % 1_000_000:06d}"


async def test_a_code_signs_up_and_signs_in_once(app: TestApp) -> None:
    browser = Browser(app)
    handle, code = await asked(app, browser)
    assert code.isdigit()
    assert (await browser.post("/verify/code", handle=handle, code=f" {code[:3]} {code[3:]}")).is_success
    user = await who(browser)
    assert user is not None
    assert user["emailVerified"]
    assert (await browser.post("/verify/code", handle=handle, code=code)).json()["code"] == "WrongCode"


async def test_a_code_is_good_for_ten_minutes(app: TestApp) -> None:
    handle, code = await asked(app, Browser(app))
    await app.advance(minutes=10, seconds=1)
    assert (await Browser(app).post("/verify/code", handle=handle, code=code)).json()["code"] == "WrongCode"


async def test_a_code_is_good_only_where_it_was_asked_for(app: TestApp) -> None:
    victim, stranger = Browser(app), Browser(app)
    own, code = await asked(app, victim)
    theirs, second = await asked(app, stranger)
    assert code != second
    assert (await stranger.post("/verify/code", handle=theirs, code=code)).status_code == 401
    assert (await stranger.post("/verify/code", handle="made up", code=code)).status_code == 401
    assert (await victim.post("/verify/code", handle=own, code=code)).is_success


async def test_a_code_takes_five_tries(app: TestApp) -> None:
    browser = Browser(app)
    handle, code = await asked(app, browser)
    for by in range(1, 6):
        assert (await browser.post("/verify/code", handle=handle, code=other(code, by))).status_code == 401
    assert (await browser.post("/verify/code", handle=handle, code=code)).json()["code"] == "WrongCode"
    handle, code = await asked(app, browser)
    for by in range(1, 5):
        await browser.post("/verify/code", handle=handle, code=other(code, by))
    assert (await browser.post("/verify/code", handle=handle, code=code)).is_success


async def test_having_more_codes_sent_gives_no_more_tries(app: TestApp) -> None:
    """From however many addresses: at this rate somebody is right by chance once in decades."""
    tries = sent = 0
    for hour in range(24):
        for number in range(4):
            stranger = Browser(app, address=f"9.9.{hour}.{number}")
            response = await stranger.post("/sign-in/code", email="ada@example.com")
            if response.status_code == 429:
                continue
            sent += 1
            code = (await last_mail(app)).subject[-6:]
            for by in range(1, 6):
                shown = await stranger.post("/verify/code", handle=response.json()["handle"], code=other(code, by))
                tries += shown.status_code == 401
                assert shown.status_code in (401, 429)
        await app.advance(hours=1)
    assert sent >= 24 * 3
    assert tries <= 200


async def test_a_stranger_is_answered_as_somebody_with_an_account_to_the_last_try(
    app: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Browser(app).post("/sign-in/elsewhere", email="ada@example.com")
    monkeypatch.setattr(signing_in().part("email-code"), "sign_up", False)
    answers = []
    for email in ("ada@example.com", "bob@example.com"):
        browser, seen = Browser(app), []
        response = await browser.post("/sign-in/code", email=email)
        for number in range(12):
            shown = await browser.post("/verify/code", handle=response.json()["handle"], code=f"{number:06d}")
            seen.append((shown.status_code, shown.json()["code"]))
        answers.append(seen)
    assert answers[0] == answers[1]
    await app.advance()
    assert [mail.to for mail in postbox()] == ["ada@example.com"]


async def test_the_database_holds_no_code(app: TestApp) -> None:
    _, code = await asked(app, Browser(app))
    assert code not in str([row.digest for row in await app.run(lambda ctx: ctx.db.query(Verification).collect())])
    assert code not in str(await app.run(lambda ctx: ctx.db.system.query("_outbox").collect()))
