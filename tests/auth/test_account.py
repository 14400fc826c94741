"""What people do with their own accounts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.auth.browser import Browser
from tests.auth.postbox import (
    ACCOUNTS,
    OTHER,
    PASSWORD,
    events,
    last_mail,
    postbox,
    signed_up,
    signing_in,
    token_in,
    who,
)
from yugen.auth.documents import Account, Session
from yugen.testing import TestApp


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(ACCOUNTS) as made:
        postbox().clear()
        yield made


@pytest.fixture
async def ada(app: TestApp) -> Browser:
    browser = Browser(app)
    await signed_up(app, browser)
    return browser


@pytest.mark.parametrize("path", ["/profile", "/change-email", "/confirm-email", "/ways/remove", "/delete-account"])
async def test_all_of_it_is_for_those_who_are_signed_in(app: TestApp, path: str) -> None:
    response = await Browser(app).post(path, email="bob@example.com", token="x", way="x")
    assert (response.status_code, response.json()["code"]) == (401, "NotSignedIn")


@pytest.mark.parametrize("path", ["/change-email", "/ways/remove", "/delete-account", "/set-password"])
async def test_what_is_sensitive_wants_a_fresh_session(app: TestApp, ada: Browser, path: str) -> None:
    await app.advance(minutes=16)
    response = await ada.post(path, email="new@example.com", way="x", password=OTHER)
    assert (response.status_code, response.json()["code"]) == (403, "NotFresh")


async def test_name_and_picture_change_and_go(ada: Browser) -> None:
    await ada.post("/profile", name=" Ada  L. ", image="https://example.com/ada.png")
    user = await who(ada)
    assert user is not None
    assert (user["name"], user["image"]) == ("Ada L.", "https://example.com/ada.png")
    await ada.post("/profile", name="")
    user = await who(ada)
    assert user is not None
    assert (user["name"], user["image"]) == (None, "https://example.com/ada.png")
    for image in ("javascript:alert(1)", "http://example.com/x.png", "data:image/png;base64,", "https://"):
        assert (await ada.post("/profile", image=image)).json()["code"] == "InvalidImage"


async def test_another_address_is_confirmed_there_and_told_here(app: TestApp, ada: Browser) -> None:
    assert (await ada.post("/change-email", email="New@example.com")).json() == {"sent": True}
    mail = await last_mail(app, "new@example.com")
    assert "/auth/verify?code=change&token=" in mail.text
    user = await who(ada)
    assert user is not None
    assert user["email"] == "ada@example.com"
    assert (await ada.post("/confirm-email", token=token_in(mail))).json() == {}
    user = await who(ada)
    assert user is not None
    assert (user["email"], user["emailVerified"]) == ("new@example.com", True)
    notice = await last_mail(app)
    assert "new@example.com" in notice.text
    assert (await Browser(app).post("/sign-in/password", email="new@example.com", password=PASSWORD)).is_success
    assert (await Browser(app).post("/sign-in/password", email="ada@example.com", password=PASSWORD)).status_code == 401
    assert (await ada.post("/confirm-email", token=token_in(mail))).json()["code"] == "StaleLink"
    assert "email-changed" in await events(app)


async def test_the_link_to_another_address_leads_to_a_button(app: TestApp, ada: Browser) -> None:
    await ada.post("/change-email", email="new@example.com")
    token = token_in(await last_mail(app, "new@example.com"))
    opened = await ada.ask(f"/verify?code=change&token={token}", headers={"Accept": "text/html"})
    assert opened.status_code == 303
    assert token not in opened.headers["location"]
    page = await ada.ask("/verify", headers={"Accept": "text/html"})
    assert 'action="/auth/confirm-email"' in page.text
    assert token in page.text


async def test_the_owner_of_an_address_does_not_give_it_to_anothers_account(app: TestApp, ada: Browser) -> None:
    await ada.post("/change-email", email="bob@example.com")
    token = token_in(await last_mail(app, "bob@example.com"))
    bob = Browser(app)
    assert (await bob.post("/confirm-email", token=token)).json()["code"] == "NotSignedIn"
    await bob.post("/sign-in/elsewhere", email="bob@example.com")
    assert (await bob.post("/confirm-email", token=token)).json()["code"] == "StaleLink"
    # And once it is taken, it is not given away either.
    assert (await ada.post("/confirm-email", token=token)).json()["code"] == "StaleLink"


async def test_an_address_that_somebody_has_is_answered_like_any_other(app: TestApp, ada: Browser) -> None:
    await Browser(app).post("/sign-in/elsewhere", email="bob@example.com")
    assert (await ada.post("/change-email", email="bob@example.com")).json() == {"sent": True}
    mail = await last_mail(app, "bob@example.com")
    assert "token=" not in mail.text
    assert (await ada.post("/change-email", email="ada@example.com")).json()["code"] == "SameEmail"


async def test_a_link_for_another_address_is_good_for_an_hour(app: TestApp, ada: Browser) -> None:
    await ada.post("/change-email", email="new@example.com")
    token = token_in(await last_mail(app, "new@example.com"))
    await app.advance(hours=1, seconds=1)
    assert (await ada.post("/confirm-email", token=token)).json()["code"] == "StaleLink"


async def test_a_link_to_reset_goes_with_the_address_that_it_was_sent_to(app: TestApp, ada: Browser) -> None:
    await ada.post("/forgot-password", email="ada@example.com")
    reset = token_in(await last_mail(app))
    await ada.post("/change-email", email="new@example.com")
    await ada.post("/confirm-email", token=token_in(await last_mail(app, "new@example.com")))
    assert (await Browser(app).post("/reset-password", token=reset, password=OTHER)).json()["code"] == "StaleLink"


async def test_one_sees_by_which_ways_one_signs_in_and_keeps_the_last(
    app: TestApp, ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await ada.caller()
    shown = await caller.query("auth/account:ways")
    assert [(each["provider"], each["subject"]) for each in shown] == [("password", None)]
    bob = Browser(app)
    await signed_up(app, bob, "bob@example.com", OTHER)
    assert (await bob.post("/ways/remove", way=shown[0]["id"])).json()["code"] == "NoSuchWay"
    assert (await bob.post("/ways/remove", way="nonsense")).json()["code"] == "NoSuchWay"
    # Whoever gets mail signs in by that too.
    assert (await ada.post("/ways/remove", way=shown[0]["id"])).json() == {}
    assert (await last_mail(app)).subject == "You no longer sign in to Gardens by password"
    assert (await Browser(app).post("/sign-in/password", email="ada@example.com", password=PASSWORD)).status_code == 401

    async def none(*_: Any) -> int:
        return 0

    for part in ("magic-link", "email-code"):
        monkeypatch.setattr(signing_in().part(part), "ways", none)
    way = (await (await bob.caller()).query("auth/account:ways"))[0]["id"]
    assert (await bob.post("/ways/remove", way=way)).json()["code"] == "LastWay"


async def test_who_deletes_their_account_leaves_nothing_by_which_they_sign_in(app: TestApp, ada: Browser) -> None:
    phone = Browser(app)
    await phone.post("/sign-in/password", email="ada@example.com", password=PASSWORD)
    assert (await ada.post("/delete-account")).json() == {}
    assert "yugen-session" not in ada.jar
    assert await who(phone) is None
    for kind in ("users", Account, Session):
        assert await app.run(lambda ctx, kind=kind: ctx.db.query(kind).collect()) == []  # type: ignore[misc]
    assert (await last_mail(app)).subject == "Your account at Gardens is deleted"
    assert (await phone.post("/sign-in/password", email="ada@example.com", password=PASSWORD)).status_code == 401
