"""Numbers from a phone as a second factor, backup codes, and trusted devices."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

from tests.auth.browser import ISSUER, Browser
from yugen.auth import Auth, Totp, users
from yugen.auth.documents import Account, AuditEvent, Session
from yugen.auth.totp import BackupCode, TotpSecret, TrustedDevice
from yugen.errors import FunctionFailed, YugenError
from yugen.functions.extensions import extension_of
from yugen.functions.registry import load
from yugen.testing import Caller, TestApp

APP = Path(__file__).parent / "factors"


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(APP) as made:
        yield made


class Phone:
    """An app on a phone that makes numbers, by the clock of the test."""

    def __init__(self, app: TestApp, secret: str) -> None:
        self.app = app
        self.totp = pyotp.TOTP(secret)

    def number(self, steps: int = 0) -> str:
        return self.totp.at(self.app.now, counter_offset=steps)

    def wrong(self) -> str:
        near = {self.number(steps) for steps in range(-3, 4)}
        return next(code for code in (f"{number:06d}" for number in range(10)) if code not in near)


async def set_up(app: TestApp, name: str = "ada") -> tuple[Browser, Phone, list[str]]:
    """Somebody who has turned it on, and the next number is good again."""
    browser = Browser(app)
    await browser.sign_in(name)
    asked = (await browser.post("/totp/enable")).json()
    phone = Phone(app, asked["secret"])
    response = await browser.post("/totp/confirm", code=phone.number())
    assert response.status_code == 200, response.text
    await app.advance(seconds=30)
    return browser, phone, response.json()["backupCodes"]


async def half(app: TestApp, name: str = "ada") -> Browser:
    """Somebody of whom the second factor is asked."""
    browser = Browser(app)
    assert (await browser.sign_in(name))["secondFactor"] == ["totp"]
    return browser


async def rows(app: TestApp, kind: Any) -> list[Any]:
    return await app.run(lambda ctx: ctx.db.query(kind).collect())


async def test_it_counts_once_a_number_was_shown(app: TestApp) -> None:
    browser = Browser(app)
    await browser.sign_in("ada")
    asked = (await browser.post("/totp/enable")).json()
    uri = urlsplit(asked["uri"])
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/Tasks:ada%40example.com")
    assert parse_qs(uri.query) == {"secret": [asked["secret"]], "issuer": ["Tasks"]}
    assert asked["qr"].startswith("data:image/svg+xml")
    assert (await Browser(app).sign_in("ada")).get("secondFactor") is None
    phone = Phone(app, asked["secret"])
    assert (await browser.post("/totp/confirm", code=phone.wrong())).json()["code"] == "WrongCode"
    assert (await Browser(app).sign_in("ada")).get("secondFactor") is None
    codes = (await browser.post("/totp/confirm", code=phone.number())).json()["backupCodes"]
    assert len(set(codes)) == 10
    assert await (await browser.caller()).query("auth/totp:status") == {"enabled": True, "backupCodes": 10}
    await half(app)


async def test_a_secret_that_was_not_confirmed_gives_way_to_the_next(app: TestApp) -> None:
    browser = Browser(app)
    await browser.sign_in("ada")
    first = (await browser.post("/totp/enable")).json()["secret"]
    second = (await browser.post("/totp/enable")).json()["secret"]
    assert first != second
    assert (await browser.post("/totp/confirm", code=Phone(app, first).number())).status_code == 401
    assert (await browser.post("/totp/confirm", code=Phone(app, second).number())).status_code == 200
    assert (await browser.post("/totp/enable")).json()["code"] == "AlreadyEnabled"
    assert (await browser.post("/totp/confirm", code=Phone(app, second).number(1))).json()["code"] == "NothingToConfirm"


async def test_turning_it_on_ends_sessions_in_which_it_was_not_shown(app: TestApp) -> None:
    other = Browser(app)
    await other.sign_in("ada")
    mine, _, _ = await set_up(app)
    assert (await other.ask("/session")).json()["user"] is None
    assert (await mine.ask("/session")).json()["user"] is not None


async def test_the_number_gives_another_session_than_the_one_that_waited(app: TestApp) -> None:
    _, phone, _ = await set_up(app)
    browser = await half(app)
    before = dict(browser.jar)
    response = await browser.post("/second-factor/totp", code=phone.number())
    assert response.status_code == 200, response.text
    assert "secondFactor" not in response.json()
    assert (await browser.ask("/session")).json()["user"]["name"] == "ada"
    assert browser.jar["yugen-session"] != before["yugen-session"]
    browser.jar = before
    assert (await browser.ask("/session")).json() == {"user": None, "session": None}


async def test_a_number_may_be_a_step_early_or_late_and_is_good_once(app: TestApp) -> None:
    _, phone, _ = await set_up(app)
    await app.advance(minutes=5)
    for steps, status in ((-2, 401), (2, 401), (-1, 200), (-1, 401), (0, 200), (1, 200), (0, 401)):
        browser = await half(app)
        response = await browser.post("/second-factor/totp", code=phone.number(steps))
        assert response.status_code == status, steps
    await app.advance(minutes=20)
    spaced = phone.number()
    assert (await (await half(app)).post("/second-factor/totp", code=f" {spaced[:3]} {spaced[3:]}")).status_code == 200


async def test_the_number_that_turned_it_on_is_used(app: TestApp) -> None:
    browser = Browser(app)
    await browser.sign_in("ada")
    phone = Phone(app, (await browser.post("/totp/enable")).json()["secret"])
    await browser.post("/totp/confirm", code=phone.number())
    assert (await (await half(app)).post("/second-factor/totp", code=phone.number())).status_code == 401


@pytest.mark.parametrize(
    "code", ["", "12345", "1234567", "abcdef", "\uff11\uff12\uff13\uff14\uff15\uff16", "+12345", "1e5000", "null"]
)
async def test_what_is_no_number_is_refused(app: TestApp, code: str) -> None:
    await set_up(app)
    response = await (await half(app)).post("/second-factor/totp", code=code)
    assert response.status_code == (401 if code else 400)
    assert (await (await half(app)).post("/second-factor/totp", code=123456)).status_code == 400


async def test_numbers_cannot_be_guessed(app: TestApp) -> None:
    _, phone, codes = await set_up(app)
    for _ in range(5):
        response = await (await half(app)).post("/second-factor/totp", code=phone.wrong())
        assert response.json()["code"] == "WrongCode"
    browser = await half(app)
    response = await browser.post("/second-factor/totp", code=phone.number())
    assert (response.status_code, response.json()["code"]) == (429, "TooManyAttempts")
    assert 0 < int(response.headers["retry-after"]) <= 180
    # Whoever has a backup code is not kept out by somebody who guesses.
    assert (await browser.post("/second-factor/backup-code", code=codes[0])).status_code == 200
    await app.advance(minutes=3, seconds=1)
    assert (await (await half(app)).post("/second-factor/totp", code=phone.number())).status_code == 200
    wrong = 0
    for _ in range(4 * 24):
        await app.advance(minutes=15)
        for _ in range(5):
            wrong += (await (await half(app)).post("/second-factor/totp", code=phone.wrong())).status_code == 401
    assert wrong <= 60


async def test_a_backup_code_is_good_once(app: TestApp) -> None:
    _, _, codes = await set_up(app)
    for code, status in (
        (codes[0], 200),
        (codes[0], 401),
        (codes[1].upper().replace("-", " "), 200),
        (codes[2] + "x", 401),
        ("", 400),
        (codes[3].replace("-", ""), 200),
    ):
        response = await (await half(app)).post("/second-factor/backup-code", code=code)
        assert response.status_code == status, code
    stored = await rows(app, BackupCode)
    assert len(stored) == 7
    assert not any(code.replace("-", "") in str(stored) for code in codes)


async def test_backup_codes_cannot_be_guessed_and_are_of_one_user(app: TestApp) -> None:
    _, _, codes = await set_up(app, "bob")
    await set_up(app)
    assert (await (await half(app)).post("/second-factor/backup-code", code=codes[0])).status_code == 401
    for _ in range(9):
        await (await half(app)).post("/second-factor/backup-code", code="aaaa-aaaa-aaaa")
    assert (await (await half(app)).post("/second-factor/backup-code", code="aaaa-aaaa-aaaa")).status_code == 429
    assert (await (await half(app, "bob")).post("/second-factor/backup-code", code=codes[0])).status_code == 200


async def test_backup_codes_are_renewed_by_a_code(app: TestApp) -> None:
    browser, phone, codes = await set_up(app)
    assert (await browser.post("/totp/backup-codes")).status_code == 400
    assert (await browser.post("/totp/backup-codes", code=phone.wrong())).status_code == 401
    renewed = (await browser.post("/totp/backup-codes", code=codes[0])).json()["backupCodes"]
    assert not set(renewed) & set(codes)
    assert (await (await half(app)).post("/second-factor/backup-code", code=codes[1])).status_code == 401
    assert (await (await half(app)).post("/second-factor/backup-code", code=renewed[0])).status_code == 200


async def test_a_trusted_device_is_not_asked_for_thirty_days(app: TestApp) -> None:
    _, phone, _ = await set_up(app)
    browser = await half(app)
    response = await browser.post("/second-factor/totp", code=phone.number(), trustDevice=True)
    assert "httponly" in response.headers.get_list("set-cookie")[-1].lower()
    assert browser.jar["yugen-device"].rpartition(".")[0] not in str(await rows(app, TrustedDevice))
    await app.advance(days=29)
    assert "secondFactor" not in await browser.sign_in("ada")
    await app.advance(days=1, seconds=1)
    assert (await browser.sign_in("ada"))["secondFactor"] == ["totp"]


async def test_a_device_is_trusted_by_one_user_and_by_its_own_cookie(app: TestApp) -> None:
    _, phone, _ = await set_up(app)
    await set_up(app, "bob")
    browser = await half(app)
    await browser.post("/second-factor/totp", code=phone.number(), trustDevice=True)
    assert (await browser.sign_in("bob"))["secondFactor"] == ["totp"]
    stranger = Browser(app)
    stranger.jar = {"yugen-device": browser.jar["yugen-device"].rpartition(".")[0] + ".Zm9yZ2Vk"}
    assert (await stranger.sign_in("ada"))["secondFactor"] == ["totp"]


async def test_trusted_devices_are_listed_and_revoked_by_their_own_user(app: TestApp) -> None:
    browser, phone, _ = await set_up(app)
    bob, bobs_phone, _ = await set_up(app, "bob")
    laptop, bobs = await half(app), await half(app, "bob")
    await laptop.post("/second-factor/totp", code=phone.number(), trustDevice=True)
    await bobs.post("/second-factor/totp", code=bobs_phone.number(), trustDevice=True)
    ada = await browser.caller()
    watch = await ada.watch("auth/totp:devices")
    (shown,) = await watch.value()
    (other,) = await (await bob.caller()).query("auth/totp:devices")
    for device in (other["id"], "nonsense", await _a_session(app)):
        with pytest.raises(YugenError, match="no such device"):
            await ada.mutation("auth/totp:revoke_device", device=device)
    await ada.mutation("auth/totp:revoke_device", device=shown["id"])
    await app.settle()
    assert await watch.value() == []
    assert (await laptop.sign_in("ada"))["secondFactor"] == ["totp"]
    assert await (await bob.caller()).mutation("auth/totp:revoke_devices") == 1
    assert (await bobs.sign_in("bob"))["secondFactor"] == ["totp"]


async def _a_session(app: TestApp) -> str:
    found: str = (await rows(app, Session))[0].id
    return found


async def test_no_device_is_trusted_that_was_before_another_password(app: TestApp) -> None:
    browser, phone, _ = await set_up(app)
    laptop = await half(app)
    await laptop.post("/second-factor/totp", code=phone.number(), trustDevice=True)
    assert "secondFactor" not in await laptop.sign_in("ada")
    user = (await browser.ask("/session")).json()["user"]["id"]

    async def change(ctx: Any) -> None:
        await ctx.db.insert(Account(user=user, provider="password", subject=user, secret="hash", changed=ctx.now))

    await app.advance(seconds=1)
    await app.run(change)
    assert (await laptop.sign_in("ada"))["secondFactor"] == ["totp"]
    assert await (await browser.caller()).query("auth/totp:devices") == []


async def test_turning_it_off_wants_a_fresh_session_and_a_code(app: TestApp) -> None:
    browser, phone, codes = await set_up(app)
    laptop = await half(app)
    await laptop.post("/second-factor/totp", code=phone.number(), trustDevice=True)
    for code in (phone.wrong(), phone.number(), "aaaa-aaaa-aaaa"):
        assert (await browser.post("/totp/disable", code=code)).status_code == 401
    await app.advance(minutes=16)
    assert (await browser.post("/totp/disable", code=phone.number())).json()["code"] == "NotFresh"
    await laptop.sign_in("ada")
    assert (await laptop.post("/totp/disable", code=codes[0])).status_code == 200
    assert (await browser.ask("/session")).json()["user"] is None
    assert "yugen-device" not in laptop.jar
    for kind in (TotpSecret, BackupCode, TrustedDevice):
        assert await rows(app, kind) == []
    assert "secondFactor" not in await Browser(app).sign_in("ada")


async def test_an_administrator_can_reset_it(app: TestApp) -> None:
    browser, _, _ = await set_up(app)
    user = (await browser.ask("/session")).json()["user"]["id"]
    assert await app.mutation("auth/totp:reset", user=user) is True
    assert await app.mutation("auth/totp:reset", user=user) is False
    assert (await browser.ask("/session")).json()["user"] is None
    assert "secondFactor" not in await Browser(app).sign_in("ada")
    assert not load(APP, fresh=False).functions["auth/totp:reset"].function.public


async def test_the_secret_is_sealed_and_what_happens_is_written_down(app: TestApp) -> None:
    _, phone, codes = await set_up(app)
    await (await half(app)).post("/second-factor/totp", code=phone.wrong())
    await (await half(app)).post("/second-factor/totp", code=phone.number(), trustDevice=True)
    secret = phone.totp.secret
    for kind in (TotpSecret, AuditEvent, Session, BackupCode):
        assert secret not in str(await rows(app, kind))
        assert codes[0] not in str(await rows(app, kind))
    events = [event.event for event in await rows(app, AuditEvent)]
    assert events == [
        *("sign-up", "sign-in", "second-factor-enabled", "sign-in-pending", "second-factor-failed"),
        *("sign-in-pending", "device-trusted", "sign-in"),
    ]


async def test_a_session_that_waits_can_do_nothing_else(app: TestApp) -> None:
    """A session that was kept from before the second factor was taken for one after it: GHSA-xg6x-h9c9-2m83."""
    browser, phone, codes = await set_up(app)
    user = (await browser.ask("/session")).json()["user"]["id"]
    waiting = await half(app)
    auth = next(each for each in load(APP, fresh=False).extensions.values() if isinstance(each, Auth))
    assert auth.pages is not None
    pages = {each.path for each in auth.pages.endpoints() if each.method == "GET"}  # see tests/auth/pages
    free = {"/session", "/methods", "/sign-out", *pages}
    fields = {"code": phone.number(), "name": "mine", "scopes": [], "credential": {}}
    refused = set()
    for method, path in sorted(auth._endpoints):
        if path in free or path.startswith(("/sign-in/", "/sign-up/", "/second-factor")):
            continue
        options = {"json": fields} if method == "POST" else {}
        given, of_nobody = await waiting.ask(path, method, **options), await Browser(app).ask(path, method, **options)
        if given.headers.get("content-type") == "application/json":
            assert (given.status_code, given.json()) == (of_nobody.status_code, of_nobody.json()), (method, path)
        assert "ada" not in re.findall(r"\w+", given.text), (method, path)
        if given.status_code == 401:
            refused.add(path)
    assert refused >= {"/token", "/passkeys", "/api-keys", "/totp/enable", "/totp/disable"}
    row = await app.run(lambda ctx: ctx.db.query(Session).order("desc").first())
    assert row is not None
    assert row.state == "pending"
    posing = app.as_user(issuer=ISSUER, subject=user, sid=row.id)
    assert await posing.query("auth/users:me") is None
    assert await posing.query("tasks:list") is None
    assert await app.query("auth/sessions:standing", session=row.id) is False
    closed = set()
    for path, registered in load(APP, fresh=False).functions.items():
        if not registered.function.public or not path.startswith("auth/"):
            continue
        args = dict.fromkeys(registered.function.positional, "x")
        answer = await _answer(posing, registered.function.kind, path, args)
        assert answer == await _answer(app, registered.function.kind, path, args), path
        if "Sign in first" in answer:
            closed.add(path)
    assert {"auth/sessions:list", "auth/passkeys:remove", "auth/api_keys:revoke", "auth/totp:devices"} <= closed
    # Nor is there more to it once the second factor was shown elsewhere.
    done = await half(app)
    assert (await done.post("/second-factor/backup-code", code=codes[0])).status_code == 200
    assert (await waiting.post("/token")).status_code == 401


async def _answer(caller: Caller, kind: str, path: str, args: dict[str, Any]) -> str:
    """What a function gives somebody, or how it fails, but for the number of the request."""
    call = {"query": caller.query, "mutation": caller.mutation, "action": caller.action}[kind]
    try:
        return repr(await call(path, **args))
    except (YugenError, FunctionFailed) as error:
        return re.sub(r"Request ID: \w+", "", str(error))


async def test_nobody_ends_the_waiting_of_somebody_else(app: TestApp) -> None:
    _, phone, _ = await set_up(app)
    assert (await Browser(app).post("/second-factor/totp", code=phone.number())).status_code == 401
    bob = Browser(app)
    await bob.sign_in("bob")
    assert (await bob.post("/second-factor/totp", code=phone.number())).status_code == 401
    waiting = await half(app)
    row = await app.run(lambda ctx: ctx.db.query(Session).order("desc").first())
    assert row is not None
    device = {"token": "t", "replaces": "of another", "trusted": None, "address": None, "agent": None}
    with pytest.raises(YugenError, match="Sign in first"):
        await app.mutation(
            "auth/totp:complete", session=row.id, factor="totp", code=phone.number(), device=device, trust=None
        )
    await app.advance(minutes=10, seconds=1)
    assert (await waiting.post("/second-factor/totp", code=phone.number())).status_code == 401


async def test_two_numbers_at_once_are_one(app: TestApp) -> None:
    _, phone, _ = await set_up(app)
    browsers = [await half(app) for _ in range(4)]
    code = phone.number()
    responses = await asyncio.gather(*(each.post("/second-factor/totp", code=code) for each in browsers))
    assert sorted(each.status_code for each in responses) == [200, 401, 401, 401]


async def test_what_is_stored_goes_with_the_user(app: TestApp) -> None:
    _, phone, _ = await set_up(app)
    await (await half(app)).post("/second-factor/totp", code=phone.number(), trustDevice=True)

    async def delete(ctx: Any) -> None:
        auth = extension_of(ctx, Auth)
        user = await users.by_email(ctx, auth, "ada@example.com")
        assert user is not None
        await users.delete(ctx, auth, user)

    await app.run(delete)
    for kind in (TotpSecret, BackupCode, TrustedDevice, Session):
        assert await rows(app, kind) == []


def test_an_issuer_is_a_name() -> None:
    with pytest.raises(ValueError, match="without a colon"):
        Totp(issuer="Tasks: the app")
