"""Users who have not said who they are, and do so later."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.auth.browser import Browser
from tests.auth.postbox import ACCOUNTS, PASSWORD, events, last_mail, postbox, signed_up, token_in, told, user_ids, who
from yugen.testing import TestApp


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(ACCOUNTS) as made:
        postbox().clear()
        yield made


async def begun(app: TestApp, browser: Browser) -> str:
    """The id of somebody who has begun without an account, and written a note."""
    response = await browser.post("/sign-in/anonymous")
    assert response.is_success, response.text
    await (await browser.caller()).mutation("auth:write", text="mine")
    return str(response.json()["user"])


async def test_one_begins_without_an_account(app: TestApp) -> None:
    browser = Browser(app)
    own = await begun(app, browser)
    user = await who(browser)
    assert user is not None
    assert (user["id"], user["anonymous"], user["email"]) == (own, True, None)
    assert (await browser.post("/sign-in/anonymous")).json()["user"] == own
    assert await user_ids(app) == [own]


async def test_who_has_an_account_does_not_become_nobody(app: TestApp) -> None:
    browser = Browser(app)
    await browser.post("/sign-in/elsewhere", email="ada@example.com")
    assert (await browser.post("/sign-in/anonymous")).json()["code"] == "SignedIn"


@pytest.mark.parametrize("way", ["elsewhere", "magic-link", "password"])
async def test_who_signs_up_stays_who_they_are(app: TestApp, way: str) -> None:
    browser, copy = Browser(app), Browser(app)
    own = await begun(app, browser)
    copy.jar = dict(browser.jar)
    if way == "elsewhere":
        await browser.post("/sign-in/elsewhere", email="ada@example.com")
    elif way == "magic-link":
        await browser.post("/sign-in/magic-link", email="ada@example.com")
        await browser.post("/verify/magic-link", token=token_in(await last_mail(app)))
    else:
        await signed_up(app, browser)
    user = await who(browser)
    assert user is not None
    assert (user["id"], user["anonymous"], user["email"]) == (own, False, "ada@example.com")
    assert await (await browser.caller()).query("auth:notes") == ["mine"]
    assert await who(copy) is None
    assert await told(app) == [("sign-up", own), ("change", own)]


async def test_who_signs_up_and_opens_the_mail_elsewhere_stays_who_they_are(app: TestApp) -> None:
    laptop, phone = Browser(app), Browser(app)
    own = await begun(app, laptop)
    await laptop.post("/sign-up/password", email="ada@example.com", password=PASSWORD)
    token = token_in(await last_mail(app))
    assert (await phone.post("/verify-email", token=token, password=PASSWORD)).json()["user"] == own
    assert await who(laptop) is None  # that session was anybody's


async def test_who_signs_in_to_an_account_has_it_told_and_is_gone(app: TestApp) -> None:
    browser = Browser(app)
    known = (await Browser(app).post("/sign-in/elsewhere", email="ada@example.com")).json()["user"]
    own = await begun(app, browser)
    assert (await browser.post("/sign-in/elsewhere", email="ada@example.com")).json()["user"] == known
    assert await (await browser.caller()).query("auth:notes") == ["mine"]
    assert own not in await user_ids(app)
    assert "account-deleted" in await events(app)


async def test_nothing_moves_before_a_second_factor_is_shown(app: TestApp) -> None:
    own, stranger = Browser(app), Browser(app)
    known = (await own.post("/sign-in/elsewhere", email="ada@example.com")).json()["user"]
    await own.post("/profile", name="careful")
    left = await begun(app, stranger)
    assert "secondFactor" in (await stranger.post("/sign-in/elsewhere", email="ada@example.com")).json()
    assert await (await own.caller()).query("auth:notes") == []
    assert left in await user_ids(app)
    assert (await stranger.post("/second")).is_success
    assert await (await stranger.caller()).query("auth:notes") == ["mine"]
    assert await user_ids(app) == [known]


async def test_the_page_to_sign_in_is_there_for_who_has_begun_without_an_account(app: TestApp) -> None:
    browser = Browser(app)
    await begun(app, browser)
    page = await browser.ask("/sign-in", headers={"Accept": "text/html"})
    assert 'action="/auth/sign-in/password"' in page.text
    await browser.post("/sign-in/elsewhere", email="ada@example.com")
    page = await browser.ask("/sign-in", headers={"Accept": "text/html"})
    assert 'action="/auth/sign-in/password"' not in page.text


async def test_a_user_who_has_an_account_is_never_merged_into_another(app: TestApp) -> None:
    browser = Browser(app)
    ada = (await browser.post("/sign-in/elsewhere", email="ada@example.com")).json()["user"]
    await (await browser.caller()).mutation("auth:write", text="ada's")
    bob = (await browser.post("/sign-in/elsewhere", email="bob@example.com")).json()["user"]
    assert await (await browser.caller()).query("auth:notes") == []
    assert await user_ids(app) == [ada, bob]


async def test_one_address_cannot_make_users_without_end(app: TestApp) -> None:
    statuses = [(await Browser(app, address="9.9.9.9").post("/sign-in/anonymous")).status_code for _ in range(61)]
    assert statuses == [200] * 60 + [429]
