"""Sessions: how they begin, go on and end."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.auth.browser import APP, Browser
from yugen.auth import crypto
from yugen.auth.documents import AuditEvent
from yugen.auth.documents import Session as Row
from yugen.testing import TestApp


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(APP) as made:
        yield made


async def test_signing_in_makes_a_session_and_a_cookie_of_which_the_database_has_the_digest(app: TestApp) -> None:
    browser = Browser(app)
    response = await browser.post("/sign-in/name", name="ada")
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("yugen-session=")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie
    rows = await app.run(lambda ctx: ctx.db.query(Row).collect())
    token = browser.jar["yugen-session"].rpartition(".")[0]
    assert [row.token for row in rows] == [crypto.digest(token)]
    assert token not in str(rows)
    assert (await browser.ask("/session")).json()["user"]["name"] == "ada"
    assert "token" not in response.json()


async def test_the_app_hears_of_who_signs_up_in_the_same_transaction(app: TestApp) -> None:
    browser = Browser(app)
    await browser.sign_in("ada")
    await browser.sign_in("ada")
    assert await (await browser.caller()).query("auth:notes") == ["welcome"]


async def test_signing_in_again_ends_the_session_that_was_there(app: TestApp) -> None:
    browser = Browser(app)
    await browser.sign_in("ada")
    before = dict(browser.jar)
    await browser.sign_in("bob")
    assert browser.jar != before
    fixed = Browser(app)
    fixed.jar = before
    assert (await fixed.ask("/session")).json() == {"user": None, "session": None}


async def test_a_cookie_that_was_planted_is_no_session(app: TestApp) -> None:
    planted = crypto.new_token()
    browser = Browser(app)
    for value in (planted, f"{planted}.c2lnbmVk", crypto.sign("another secret", "cookie yugen-session", planted)):
        browser.jar = {"yugen-session": value}
        assert (await browser.ask("/session")).json()["user"] is None
        await browser.sign_in("ada")
        assert planted not in browser.jar["yugen-session"]


async def test_a_session_lasts_a_week_of_silence_and_is_moved_by_use_once_a_day(app: TestApp) -> None:
    browser = Browser(app)
    await browser.sign_in("ada")
    for _ in range(3):
        await app.advance(days=6)
        response = await browser.post("/token")
        assert response.json()["token"]
        assert "yugen-session" in response.headers["set-cookie"]
        assert "set-cookie" not in (await browser.post("/token")).headers
    await app.advance(days=7, seconds=1)
    assert (await browser.ask("/session")).json()["user"] is None
    assert (await browser.post("/token")).status_code == 401


async def test_a_session_ends_after_its_longest_time_whatever_is_heard_of_it(tmp_path: Path) -> None:
    shutil.copytree(APP, tmp_path / "app")
    auth = tmp_path / "app/auth.py"
    auth.write_text(auth.read_text().replace("Lifetimes(", "Lifetimes(at_most=timedelta(days=9), "))
    async with TestApp(tmp_path / "app") as app:
        browser = Browser(app)
        await browser.sign_in("ada")
        for _ in range(3):
            await app.advance(days=3)
            await browser.post("/token")
        assert (await browser.ask("/session")).json()["user"] is not None
        await app.advance(seconds=1)
        assert (await browser.ask("/session")).json()["user"] is None


async def test_what_is_over_is_swept(app: TestApp) -> None:
    await Browser(app).sign_in("ada")
    await app.advance(days=8)
    assert await app.run(lambda ctx: ctx.db.query(Row).collect()) == []


async def test_one_sees_and_ends_ones_own_sessions_alone(app: TestApp) -> None:
    phone, laptop, bob = Browser(app), Browser(app), Browser(app)
    await phone.sign_in("ada")
    await laptop.sign_in("ada")
    bobs = await bob.sign_in("bob")
    ada = await laptop.caller()
    shown = await ada.query("auth/sessions:list")
    assert [each["current"] for each in shown] == [True, False]
    with pytest.raises(Exception, match="no such session"):
        await ada.mutation("auth/sessions:revoke", session=bobs["session"])
    with pytest.raises(Exception, match="no such session"):
        await ada.mutation("auth/sessions:revoke", session="nonsense")
    await ada.mutation("auth/sessions:revoke", session=shown[1]["id"])
    assert (await phone.ask("/session")).json()["user"] is None
    assert (await laptop.ask("/session")).json()["user"] is not None
    assert (await bob.ask("/session")).json()["user"] is not None


async def test_all_others_or_all_sessions_can_be_ended(app: TestApp) -> None:
    browsers = [Browser(app) for _ in range(3)]
    for browser in browsers:
        await browser.sign_in("ada")
    assert await (await browsers[1].caller()).mutation("auth/sessions:revoke_others") == 2
    assert [(await each.ask("/session")).json()["user"] is None for each in browsers] == [True, False, True]
    assert await (await browsers[1].caller()).mutation("auth/sessions:revoke_all") == 1
    assert (await browsers[1].ask("/session")).json()["user"] is None


async def test_what_a_revoked_session_shows_and_does_ends_by_push(app: TestApp) -> None:
    browser = Browser(app)
    await browser.sign_in("ada")
    ada = await browser.caller()
    watch = await ada.watch("auth:notes")
    await ada.mutation("auth:write", text="mine")
    await app.settle()
    assert await watch.value() == ["welcome", "mine"]
    await app.run(_delete_sessions)
    await app.settle()
    assert await watch.value() is None
    with pytest.raises(Exception, match="Sign in first"):
        await ada.mutation("auth:write", text="after the end")


async def _delete_sessions(ctx: Any) -> None:
    for row in await ctx.db.query(Row).collect():
        await ctx.db.delete(row.id)


async def test_a_session_that_waits_for_a_second_factor_is_good_for_nothing(app: TestApp) -> None:
    browser = Browser(app)
    assert (await browser.sign_in("careful"))["secondFactor"] == ["by-name"]
    assert (await browser.ask("/session")).json() == {"user": None, "session": None, "secondFactor": ["by-name"]}
    assert (await browser.post("/token")).status_code == 401
    rows = await app.run(lambda ctx: ctx.db.query(Row).collect())
    posing = app.as_user(issuer="http://127.0.0.1:3210/http", subject=rows[0].user, sid=rows[0].id)
    assert await posing.query("auth:notes") is None
    assert await posing.query("auth/users:me") is None
    assert await app.query("auth/sessions:standing", session=rows[0].id) is False
    await app.advance(minutes=10, seconds=1)
    assert (await browser.ask("/session")).json() == {"user": None, "session": None}


async def test_what_is_sensitive_wants_a_fresh_session(app: TestApp) -> None:
    browser = Browser(app)
    await browser.sign_in("ada")
    ada = await browser.caller()
    await ada.mutation("auth:burn")
    await app.advance(minutes=16)
    with pytest.raises(Exception, match="Confirm that it is you"):
        await ada.mutation("auth:burn")


async def test_who_has_too_many_sessions_loses_the_oldest(app: TestApp) -> None:
    first = Browser(app)
    await first.sign_in("ada")
    for _ in range(100):
        await Browser(app).sign_in("ada")
    assert (await first.ask("/session")).json()["user"] is None
    assert len(await app.run(lambda ctx: ctx.db.query(Row).collect())) == 100


async def test_signing_out_ends_the_session(app: TestApp) -> None:
    browser, copy = Browser(app), Browser(app)
    await browser.sign_in("ada")
    copy.jar = dict(browser.jar)
    await browser.post("/sign-out")
    assert browser.jar == {}
    assert (await copy.ask("/session")).json()["user"] is None


async def test_a_client_that_is_no_browser_is_given_the_token_itself(app: TestApp) -> None:
    program = Browser(app, origin=None)
    answer = await program.ask("/sign-in/name", "POST", json={"name": "ada"}, headers={"Yugen-Client": "token"})
    token = answer.json()["token"]
    stranger = Browser(app, origin=None)
    shown = await stranger.ask("/session", headers={"Authorization": f"Bearer {token}"})
    assert shown.json()["user"]["name"] == "ada"


async def test_what_happens_is_written_down(app: TestApp) -> None:
    browser = Browser(app)
    await browser.sign_in("ada")
    await browser.post("/sign-out")
    events = await app.run(lambda ctx: ctx.db.query(AuditEvent).collect())
    assert [event.event for event in events] == ["sign-up", "sign-in", "sign-out"]
    assert all(event.agent for event in events[1:])


async def test_events_are_forgotten_after_a_year(app: TestApp) -> None:
    browser = Browser(app)
    await browser.sign_in("ada")
    day = 86_400_000_000_000
    app._now_ns += 364 * day
    await browser.sign_in("bob")
    for days, left in ((0, ["sign-up", "sign-in", "sign-up", "sign-in"]), (2, ["sign-up", "sign-in"]), (365, [])):
        app._now_ns += days * day
        await app.action("auth/core:sweep")
        events = await app.run(lambda ctx: ctx.db.query(AuditEvent).collect())
        assert [event.event for event in events] == left


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://test", True),
        ("http://127.0.0.1:3210", True),
        ("https://app.example.com", True),
        ("https://app.example.com.evil.example", False),
        ("https://evil.example", False),
        ("http://app.example.com", False),
        ("https://app.example.com:444", False),
        ("null", False),
        ("", False),
    ],
)
async def test_pages_of_other_sites_can_do_nothing(app: TestApp, origin: str, allowed: bool) -> None:
    browser = Browser(app)
    await browser.sign_in("ada")
    browser.headers["Origin"] = origin
    response = await browser.post("/sign-out")
    assert response.status_code == (200 if allowed else 403)
    assert response.headers.get("access-control-allow-origin") == (origin if allowed else None)
    browser.headers["Origin"] = "http://test"
    assert ((await browser.ask("/session")).json()["user"] is None) == allowed


async def test_a_cookie_without_an_origin_does_nothing(app: TestApp) -> None:
    browser = Browser(app)
    await browser.sign_in("ada")
    browser.headers = {}
    assert (await browser.post("/sign-out")).status_code == 403
    browser.headers = {"Sec-Fetch-Site": "cross-site"}
    assert (await browser.post("/sign-out")).status_code == 403
    browser.headers = {"Sec-Fetch-Site": "same-origin"}
    assert (await browser.post("/sign-out")).status_code == 200
