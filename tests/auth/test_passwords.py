"""Sign-in with an address and a password, and the attacks on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

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
    told,
    user_ids,
    who,
)
from yugen.auth import hashing
from yugen.auth.documents import Account, AuditEvent, Session, Verification
from yugen.testing import TestApp


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(ACCOUNTS) as made:
        postbox().clear()
        yield made


async def rows(app: TestApp, kind: Any) -> list[Any]:
    return await app.run(lambda ctx: ctx.db.query(kind).collect())


# Signing up ---------------------------------------------------------------------------------------------------------


async def test_who_signs_up_is_a_user_once_the_link_in_the_mail_was_opened(app: TestApp) -> None:
    browser = Browser(app)
    response = await browser.post("/sign-up/password", email=" Ada@Example.com ", password=PASSWORD, name="Ada")
    assert response.json() == {"sent": True}
    assert await who(browser) is None
    mail = await last_mail(app)
    assert (mail.subject, "http://127.0.0.1:3210/auth/verify?token=" in mail.text) == (
        "Confirm your address for Gardens",
        True,
    )
    assert await user_ids(app) == []
    verified = await browser.post("/verify-email", token=token_in(mail))
    assert verified.status_code == 200
    user = await who(browser)
    assert user is not None
    assert (user["email"], user["emailVerified"], user["name"]) == ("ada@example.com", True, "Ada")
    again = await Browser(app).post("/verify-email", token=token_in(mail), password=PASSWORD)
    assert (again.status_code, again.json()["code"]) == (400, "StaleLink")


async def test_another_browser_is_asked_for_the_password_that_was_chosen(app: TestApp) -> None:
    await Browser(app).post("/sign-up/password", email="ada@example.com", password=PASSWORD)
    token, phone = token_in(await last_mail(app)), Browser(app)
    asked = await phone.post("/verify-email", token=token)
    assert (asked.status_code, asked.json()["code"], asked.json()["field"]) == (403, "PasswordNeeded", "password")
    assert (await phone.post("/verify-email", token=token, password=OTHER)).json()["code"] == "WrongPassword"
    assert (await phone.post("/verify-email", token=token, password=PASSWORD)).status_code == 200
    assert (await who(phone)) is not None


async def test_a_link_is_good_for_a_day(app: TestApp) -> None:
    browser = Browser(app)
    await browser.post("/sign-up/password", email="ada@example.com", password=PASSWORD)
    token = token_in(await last_mail(app))
    await app.advance(hours=24, seconds=1)
    assert (await browser.post("/verify-email", token=token)).json()["code"] == "StaleLink"


async def test_the_mail_can_be_sent_again(app: TestApp) -> None:
    browser = Browser(app)
    await browser.post("/sign-up/password", email="ada@example.com", password=PASSWORD)
    first = token_in(await last_mail(app))
    assert (await browser.post("/send-verification", email="ada@example.com")).json() == {"sent": True}
    second = token_in(await last_mail(app))
    assert first != second
    assert (await browser.post("/verify-email", token=second)).status_code == 200
    assert (await browser.post("/verify-email", token=first)).json()["code"] == "StaleLink"


async def test_there_is_no_signing_in_before_the_link_was_opened(app: TestApp) -> None:
    browser = Browser(app)
    await browser.post("/sign-up/password", email="ada@example.com", password=PASSWORD)
    response = await browser.post("/sign-in/password", email="ada@example.com", password=PASSWORD)
    assert (response.status_code, response.json()["code"]) == (401, "WrongCredentials")


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short 1", "PasswordTooShort"),
        ("x y" * 50, "PasswordTooLong"),
        ("Password123", "PasswordCommon"),
        ("aaaaaaaaaaaa", "PasswordCommon"),
        ("23456789", "PasswordCommon"),
        ("my ada.lovelace secret", "PasswordGuessable"),
        ("gardens are green", "PasswordGuessable"),
    ],
)
async def test_passwords_that_anybody_would_try_are_refused(app: TestApp, password: str, code: str) -> None:
    response = await Browser(app).post("/sign-up/password", email="ada.lovelace@example.com", password=password)
    assert (response.status_code, response.json()["code"], response.json()["field"]) == (400, code, "password")


async def test_a_password_is_any_text_and_counts_as_it_is_read(app: TestApp) -> None:
    composed, apart = "cafés übér 🦆", "cafe\u0301s u\u0308be\u0301r 🦆"
    await signed_up(app, Browser(app), password=apart)
    for typed in (composed, apart):
        response = await Browser(app).post("/sign-in/password", email="ADA@example.com", password=typed)
        assert response.status_code == 200
    response = await Browser(app).post("/sign-in/password", email="ada@example.com", password=composed + " ")
    assert response.status_code == 401


async def test_a_long_password_is_never_cut(app: TestApp) -> None:
    longest = "0123456789abcdef" * 8
    await signed_up(app, Browser(app), password=longest)
    assert (await Browser(app).post("/sign-in/password", email="ada@example.com", password=longest)).is_success
    for wrong in (longest[:-1], longest + "0", longest[:72]):
        assert (
            await Browser(app).post("/sign-in/password", email="ada@example.com", password=wrong)
        ).status_code == 401


# Whether there is an account stays a secret --------------------------------------------------------------------------


async def counted_rows(app: TestApp) -> list[int]:
    """How many messages wait, how many links and codes are good, and how many events were written down."""
    outbox = await app.run(lambda ctx: ctx.db.system.query("_outbox").collect())
    return [len(outbox), len(await rows(app, Verification)), len(await rows(app, AuditEvent))]


async def measured(app: TestApp, monkeypatch: pytest.MonkeyPatch, path: str, **fields: str) -> Any:
    """What a request is answered, and what it costs: passwords made and compared, messages that wait, and rows."""
    calls: list[str] = []
    apart = hashing._apart

    async def noted(call: Any, *args: Any) -> Any:
        calls.append(call.__name__)
        return await apart(call, *args)

    await app.advance()
    before = await counted_rows(app)
    with monkeypatch.context() as patched:
        patched.setattr(hashing, "_apart", noted)
        response = await Browser(app).post(path, **fields)
    written = [after - earlier for after, earlier in zip(await counted_rows(app), before, strict=True)]
    body = {name: value for name, value in response.json().items() if name != "handle"}
    names = sorted(name.lower() for name, _ in response.headers.multi_items())
    return response.status_code, body, names, calls, written


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/sign-up/password", {"password": OTHER}),
        ("/sign-in/password", {"password": OTHER}),
        ("/sign-in/password", {"password": "x" * 200}),
        ("/forgot-password", {}),
        ("/send-verification", {}),
        ("/sign-in/magic-link", {}),
        ("/sign-in/code", {}),
    ],
)
async def test_nobody_learns_whether_an_address_has_an_account(
    app: TestApp, monkeypatch: pytest.MonkeyPatch, path: str, fields: dict[str, str]
) -> None:
    await signed_up(app, Browser(app))
    there = await measured(app, monkeypatch, path, email="ada@example.com", **fields)
    not_there = await measured(app, monkeypatch, path, email="bob@example.com", **fields)
    assert there == not_there


async def test_who_has_an_account_hears_that_somebody_signed_up_with_their_address(app: TestApp) -> None:
    await signed_up(app, Browser(app))
    stranger = Browser(app)
    await stranger.post("/sign-up/password", email="ada@example.com", password=OTHER)
    mail = await last_mail(app)
    assert mail.subject == "You already have an account at Gardens"
    assert "http://127.0.0.1:3210/auth/sign-in" in mail.text
    assert "token" not in mail.text
    assert (await stranger.post("/sign-in/password", email="ada@example.com", password=OTHER)).status_code == 401


# Accounts that wait for their owner ----------------------------------------------------------------------------------


async def test_a_victim_who_presses_the_button_in_unasked_mail_does_not_take_over_the_strangers_password(
    app: TestApp,
) -> None:
    stranger, victim = Browser(app), Browser(app)
    await stranger.post("/sign-up/password", email="ada@example.com", password=OTHER)
    pressed = await victim.post("/verify-email", token=token_in(await last_mail(app)))
    assert pressed.json()["code"] == "PasswordNeeded"
    assert (await stranger.post("/sign-in/password", email="ada@example.com", password=OTHER)).status_code == 401


async def test_signing_up_with_anothers_address_does_not_take_away_their_link(app: TestApp) -> None:
    victim, stranger = Browser(app), Browser(app)
    await victim.post("/sign-up/password", email="ada@example.com", password=PASSWORD)
    own = token_in(await last_mail(app))
    await stranger.post("/sign-up/password", email="ada@example.com", password=OTHER)
    theirs = token_in(await last_mail(app))
    assert (await victim.post("/verify-email", token=theirs)).json()["code"] == "PasswordNeeded"
    assert (await victim.post("/verify-email", token=own)).status_code == 200
    assert (await stranger.post("/verify-email", token=theirs)).json()["code"] == "StaleLink"
    assert (await stranger.post("/sign-in/password", email="ada@example.com", password=OTHER)).status_code == 401


async def test_the_mail_that_is_sent_again_is_for_whoever_asks_where_they_have_signed_up(app: TestApp) -> None:
    victim, stranger = Browser(app), Browser(app)
    await victim.post("/sign-up/password", email="ada@example.com", password=PASSWORD)
    await stranger.post("/sign-up/password", email="ada@example.com", password=OTHER)
    await victim.post("/send-verification", email="ada@example.com")
    assert (await victim.post("/verify-email", token=token_in(await last_mail(app)))).is_success
    signed_in = await Browser(app).post("/sign-in/password", email="ada@example.com", password=PASSWORD)
    assert signed_in.is_success


async def test_a_change_of_address_that_was_asked_for_before_the_owner_came_is_good_no_more(
    app: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger, victim = Browser(app), Browser(app)
    await _unverified(app, monkeypatch, stranger)
    await stranger.post("/change-email", email="evil@example.com")
    token = token_in(await last_mail(app, "evil@example.com"))
    await victim.post("/sign-in/elsewhere", email="ada@example.com")
    assert (await victim.post("/confirm-email", token=token)).json()["code"] == "StaleLink"
    user = await who(victim)
    assert user is not None
    assert user["email"] == "ada@example.com"


async def _unverified(app: TestApp, monkeypatch: pytest.MonkeyPatch, browser: Browser) -> dict[str, Any]:
    """Somebody who has signed up, with an address that is not theirs, where that signs in at once."""
    with monkeypatch.context() as patched:
        patched.setattr(signing_in().part("password"), "verify", False)
        response = await browser.post("/sign-up/password", email="ada@example.com", password=OTHER, name="Ada")
    assert response.status_code == 200, response.text
    return dict(response.json())


@pytest.mark.parametrize("way", ["elsewhere", "magic-link", "code", "reset", "sign-up"])
async def test_an_account_that_was_made_with_anothers_address_gives_way_to_them(
    app: TestApp, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    stranger, victim = Browser(app), Browser(app)
    made = await _unverified(app, monkeypatch, stranger)
    kept = await stranger.caller()
    assert await kept.query("auth:notes") == []
    if way == "elsewhere":
        assert (await victim.post("/sign-in/elsewhere", email="ada@example.com")).is_success
    elif way == "magic-link":
        await victim.post("/sign-in/magic-link", email="ada@example.com")
        assert (await victim.post("/verify/magic-link", token=token_in(await last_mail(app)))).is_success
    elif way == "code":
        handle = (await victim.post("/sign-in/code", email="ada@example.com")).json()["handle"]
        code = (await last_mail(app)).subject[-6:]
        assert (await victim.post("/verify/code", handle=handle, code=code)).is_success
    elif way == "reset":
        await victim.post("/forgot-password", email="ada@example.com")
        token = token_in(await last_mail(app))
        assert (await victim.post("/reset-password", token=token, password=PASSWORD)).is_success
        assert (await victim.post("/sign-in/password", email="ada@example.com", password=PASSWORD)).is_success
    else:
        await signed_up(app, victim)
    user = await who(victim)
    assert user is not None
    assert (user["id"], user["emailVerified"], user["name"]) == (made["user"], True, None)
    assert await who(stranger) is None
    assert await kept.query("auth:notes") is None
    assert (await stranger.post("/sign-in/password", email="ada@example.com", password=OTHER)).status_code == 401


async def test_without_verification_signing_up_signs_in_and_the_address_is_only_what_they_say(
    app: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(app)
    await _unverified(app, monkeypatch, browser)
    user = await who(browser)
    assert user is not None
    assert not user["emailVerified"]
    mail = await last_mail(app)
    # Who has opened the link elsewhere did not choose the password, and is asked for it.
    assert (await Browser(app).post("/verify-email", token=token_in(mail))).json()["code"] == "PasswordNeeded"
    assert (await browser.post("/verify-email", token=token_in(mail))).is_success
    user = await who(browser)
    assert user is not None
    assert user["emailVerified"]
    assert [event for event, _ in await told(app)] == ["sign-up", "change"]


# Signing in ---------------------------------------------------------------------------------------------------------


async def test_a_hash_of_other_figures_is_made_anew_when_it_is_next_used(
    app: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    await signed_up(app, Browser(app))
    before = (await rows(app, Account))[0].secret
    dearer = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=16, parallelism=1),))
    monkeypatch.setattr(hashing, "hasher", lambda: dearer)
    for _ in range(2):
        response = await Browser(app).post("/sign-in/password", email="ada@example.com", password=PASSWORD)
        assert response.is_success
        after = (await rows(app, Account))[0].secret
        assert "m=16,t=2" in after
        assert after != before
    wrong = await Browser(app).post("/sign-in/password", email="ada@example.com", password=OTHER)
    assert wrong.status_code == 401


async def test_a_password_that_was_changed_meanwhile_does_not_sign_in(
    app: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    await signed_up(app, Browser(app))
    compare = hashing.matches

    async def slow(password: str, stored: str | None) -> tuple[bool, str | None]:
        answer = await compare(password, stored)
        account = (await rows(app, Account))[0]
        await app.run(lambda ctx: ctx.db.patch(account.id, secret="another"))
        return answer

    monkeypatch.setattr(hashing, "matches", slow)
    response = await Browser(app).post("/sign-in/password", email="ada@example.com", password=PASSWORD)
    assert response.status_code == 401


async def test_the_password_is_nowhere_but_in_its_hash(app: TestApp) -> None:
    await signed_up(app, Browser(app))
    stored = [str(await rows(app, kind)) for kind in (Account, Session, Verification)]
    assert all(PASSWORD not in each for each in stored)
    assert "$argon2id$" in stored[0]


# Another password ---------------------------------------------------------------------------------------------------


async def test_a_forgotten_password_is_replaced_by_mail_and_signs_out_everywhere(app: TestApp) -> None:
    laptop, phone = Browser(app), Browser(app)
    await signed_up(app, laptop)
    await phone.post("/forgot-password", email="ada@example.com")
    mail = await last_mail(app)
    token = token_in(mail)
    assert "http://127.0.0.1:3210/auth/reset?token=" in mail.text
    assert (await phone.post("/reset-password", token=token, password="short")).json()["code"] == "PasswordTooShort"
    assert (await phone.post("/reset-password", token=token, password=OTHER)).json() == {}
    assert await who(phone) is None
    assert await who(laptop) is None
    assert (await phone.post("/reset-password", token=token, password=PASSWORD)).json()["code"] == "StaleLink"
    assert (await phone.post("/sign-in/password", email="ada@example.com", password=PASSWORD)).status_code == 401
    assert (await phone.post("/sign-in/password", email="ada@example.com", password=OTHER)).is_success
    assert (await last_mail(app)).subject == "Your password for Gardens was changed"
    assert "password-reset" in await events(app)


async def test_a_link_to_reset_is_good_for_an_hour_and_only_the_newest(app: TestApp) -> None:
    browser = Browser(app)
    await signed_up(app, browser)
    await browser.post("/forgot-password", email="ada@example.com")
    first = token_in(await last_mail(app))
    await browser.post("/forgot-password", email="ada@example.com")
    second = token_in(await last_mail(app))
    assert (await browser.post("/reset-password", token=first, password=OTHER)).json()["code"] == "StaleLink"
    await app.advance(hours=1, seconds=1)
    assert (await browser.post("/reset-password", token=second, password=OTHER)).json()["code"] == "StaleLink"


async def test_whoever_resets_a_password_with_a_second_factor_still_needs_that(app: TestApp) -> None:
    browser = Browser(app)
    await signed_up(app, browser)
    await browser.post("/profile", name="careful")
    await browser.post("/sign-out")
    await browser.post("/forgot-password", email="ada@example.com")
    await browser.post("/reset-password", token=token_in(await last_mail(app)), password=OTHER)
    signed_in = await browser.post("/sign-in/password", email="ada@example.com", password=OTHER)
    assert signed_in.json()["secondFactor"] == ["elsewhere"]
    assert await who(browser) is None


async def test_changing_a_password_takes_the_old_one_and_ends_other_sessions(app: TestApp) -> None:
    laptop, phone = Browser(app), Browser(app)
    await signed_up(app, laptop)
    await phone.post("/sign-in/password", email="ada@example.com", password=PASSWORD)
    await app.advance(minutes=16)
    assert (await laptop.post("/change-password", password=OTHER)).json()["code"] == "NotFresh"
    wrong = await laptop.post("/change-password", password=OTHER, currentPassword=OTHER)
    assert (wrong.status_code, wrong.json()["field"]) == (401, "currentPassword")
    assert (await laptop.post("/change-password", password=OTHER, currentPassword=PASSWORD)).is_success
    assert await who(laptop) is not None
    assert await who(phone) is None
    assert (await phone.post("/sign-in/password", email="ada@example.com", password=OTHER)).is_success


async def test_nobody_changes_a_password_who_is_not_signed_in(app: TestApp) -> None:
    for path in ("/change-password", "/set-password", "/reauthenticate"):
        response = await Browser(app).post(path, password=OTHER, currentPassword=PASSWORD)
        assert (response.status_code, response.json()["code"]) == (401, "NotSignedIn")


async def test_who_signs_in_otherwise_can_set_a_password_once(app: TestApp) -> None:
    browser = Browser(app)
    await browser.post("/sign-in/elsewhere", email="ada@example.com")
    assert (await browser.post("/change-password", password=PASSWORD)).json()["code"] == "NoPassword"
    assert (await browser.post("/reauthenticate", password=PASSWORD)).json()["code"] == "NoPassword"
    assert (await browser.post("/set-password", password=PASSWORD)).is_success
    assert (await browser.post("/set-password", password=OTHER)).json()["code"] == "HasPassword"
    assert (await Browser(app).post("/sign-in/password", email="ada@example.com", password=PASSWORD)).is_success


async def test_showing_the_password_again_makes_the_session_fresh_and_gives_it_another_token(app: TestApp) -> None:
    browser, copy = Browser(app), Browser(app)
    await signed_up(app, browser)
    await app.advance(minutes=16)
    copy.jar = dict(browser.jar)
    session = (await browser.ask("/session")).json()["session"]
    assert not session["fresh"]
    assert (await browser.post("/reauthenticate", password=OTHER)).json()["code"] == "WrongPassword"
    assert (await browser.post("/reauthenticate", password=PASSWORD)).is_success
    after = (await browser.ask("/session")).json()["session"]
    assert (after["id"], after["fresh"]) == (session["id"], True)
    assert await who(copy) is None


async def test_links_never_go_to_what_a_request_says_that_we_are(app: TestApp) -> None:
    await signed_up(app, Browser(app))
    for path in ("/forgot-password", "/sign-in/magic-link"):
        headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
        response = await Browser(app, origin=None).ask(path, "POST", json={"email": "ada@example.com"}, headers=headers)
        assert response.is_success
        mail = await last_mail(app)
        assert "evil.example" not in f"{mail.text}{mail.html}"
        assert "http://127.0.0.1:3210/auth/" in mail.text
