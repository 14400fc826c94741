"""Passkeys: made, used, and what is no passkey of here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.auth.browser import Browser
from tests.authenticator import BE, BS, UP, UV, Authenticator, encoded
from yugen.auth import AuthError, Passkeys
from yugen.auth.documents import AuditEvent, Verification
from yugen.auth.passkeys import Passkey
from yugen.errors import YugenError
from yugen.testing import TestApp

APP = Path(__file__).parent / "factors"
ORIGIN = "http://localhost:3210"


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(APP) as made:
        yield made


async def options(browser: Browser, path: str, **fields: Any) -> dict[str, Any]:
    response = await browser.post(f"{path}/options", **fields)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["options"]
    return found


async def with_passkey(app: TestApp, name: str = "ada") -> tuple[Browser, Authenticator]:
    """Somebody who has signed in and made a passkey."""
    browser, device = Browser(app, origin=ORIGIN), Authenticator(ORIGIN)
    await browser.sign_in(name)
    made = device.make(await options(browser, "/passkeys"))
    response = await browser.post("/passkeys", credential=made, name="Laptop")
    assert response.status_code == 200, response.text
    return browser, device


async def events(app: TestApp) -> list[str]:
    return [each.event for each in await app.run(lambda ctx: ctx.db.query(AuditEvent).collect())]


async def test_what_browsers_are_asked(app: TestApp) -> None:
    browser, device = await with_passkey(app)
    asked = await options(browser, "/passkeys")
    assert asked["rp"] == {"id": "localhost", "name": "Tasks"}
    assert asked["authenticatorSelection"]["residentKey"] == "required"
    assert asked["authenticatorSelection"]["userVerification"] == "required"
    assert [each["id"] for each in asked["excludeCredentials"]] == [encoded(device.credentials[0].id)]
    assert asked["user"]["id"] == device.credentials[0].handle
    assert "ada" not in asked["user"]["id"]
    assert asked["attestation"] == "none"
    used = await options(Browser(app, origin=ORIGIN), "/sign-in/passkey")
    assert used["rpId"] == "localhost"
    assert not used.get("allowCredentials")
    assert used["userVerification"] == "required"
    assert len({used["challenge"], (await options(browser, "/sign-in/passkey"))["challenge"], asked["challenge"]}) == 3


async def test_somebody_signs_in_by_it_without_a_name_and_without_a_second_factor(app: TestApp) -> None:
    _, device = await with_passkey(app)
    for _ in range(2):
        browser = Browser(app, origin=ORIGIN)
        answer = device.use(await options(browser, "/sign-in/passkey"))
        response = await browser.post("/sign-in/passkey", credential=answer)
        assert response.status_code == 200, response.text
        assert (await browser.ask("/session")).json()["user"]["name"] == "ada"
    (passkey,) = await app.run(lambda ctx: ctx.db.query(Passkey).collect())
    assert (passkey.count, passkey.name, passkey.transports) == (2, "Laptop", passkey.transports)
    assert set(passkey.transports) == {"internal", "hybrid"}


async def test_those_that_are_synchronised_do_not_count(app: TestApp) -> None:
    _, device = await with_passkey(app)
    device.counts = False
    for _ in range(3):
        browser = Browser(app, origin=ORIGIN)
        answer = device.use(await options(browser, "/sign-in/passkey"), flags=UP | UV | BE | BS)
        assert (await browser.post("/sign-in/passkey", credential=answer)).status_code == 200
    (passkey,) = await app.run(lambda ctx: ctx.db.query(Passkey).collect())
    assert passkey.backed_up


WRONG_USES: dict[str, dict[str, Any]] = {
    "another origin": {"origin": "https://evil.example"},
    "an origin that begins alike": {"origin": f"{ORIGIN}.evil.example"},
    "another port": {"origin": "http://localhost:9999"},
    "another domain": {"rp_id": "evil.example"},
    "another challenge": {"challenge": encoded(bytes(32))},
    "no challenge": {"challenge": ""},
    "nobody was verified": {"flags": UP},
    "nobody was there": {"flags": UV},
    "made, not used": {"type": "webauthn.create"},
    "in a frame of another site": {"cross_origin": True},
    "another key": {"key": ec.generate_private_key(ec.SECP256R1())},
    "another user": {"handle": encoded(b"somebody else")},
    "no user": {"handle": None},
}


@pytest.mark.parametrize("wrong", WRONG_USES.values(), ids=WRONG_USES.keys())
async def test_what_is_not_what_was_asked_for_signs_nobody_in(app: TestApp, wrong: dict[str, Any]) -> None:
    _, device = await with_passkey(app)
    browser = Browser(app, origin=ORIGIN)
    answer = device.use(await options(browser, "/sign-in/passkey"), **wrong)
    response = await browser.post("/sign-in/passkey", credential=answer)
    assert (response.status_code, response.json()["code"]) == (401, "PasskeyRefused")
    assert (await browser.ask("/session")).json()["user"] is None
    # Nor is a right answer to the same challenge good after it.
    assert (await browser.post("/sign-in/passkey", credential=answer)).json()["code"] == "ChallengeOver"


WRONG_MAKES: dict[str, dict[str, Any]] = {
    "another origin": {"origin": "https://evil.example"},
    "another domain": {"rp_id": "evil.example"},
    "another challenge": {"challenge": encoded(bytes(32))},
    "nobody was verified": {"flags": UP},
    "used, not made": {"type": "webauthn.get"},
    "in a frame of another site": {"cross_origin": True},
    "an algorithm that was not asked for": {"algorithm": -65535},
    "an id that is too long": {"id": bytes(1024)},
}


@pytest.mark.parametrize("wrong", WRONG_MAKES.values(), ids=WRONG_MAKES.keys())
async def test_what_was_not_made_as_asked_is_not_added(app: TestApp, wrong: dict[str, Any]) -> None:
    browser, device = Browser(app, origin=ORIGIN), Authenticator(ORIGIN)
    await browser.sign_in("ada")
    response = await browser.post("/passkeys", credential=device.make(await options(browser, "/passkeys"), **wrong))
    assert (response.status_code, response.json()["code"]) == (401, "PasskeyRefused")
    assert await app.run(lambda ctx: ctx.db.query(Passkey).collect()) == []


@pytest.mark.parametrize(
    "credential",
    [
        None,
        "text",
        [],
        {},
        {"id": 1},
        {"id": "x", "rawId": "x", "type": "public-key", "response": {}},
        {"id": "\ud800", "response": {"userHandle": "\ud800"}},
        {"id": "eA", "response": {"userHandle": "eA", "clientDataJSON": "%%", "transports": 7}},
    ],
)
async def test_what_is_no_answer_is_refused(app: TestApp, credential: Any) -> None:
    browser, _ = await with_passkey(app)
    for path in ("/sign-in/passkey", "/passkeys", "/sign-up/passkey"):
        await options(browser, path, name="x")
        content, headers = json.dumps({"credential": credential}), {"Content-Type": "application/json"}
        response = await browser.ask(path, "POST", content=content, headers=headers)
        assert response.status_code in (400, 401), response.text
        assert response.json()["code"] in ("MissingField", "PasskeyRefused", "BadRequest", "NotSignedIn")


async def test_a_challenge_is_good_once_for_five_minutes_and_in_one_browser(app: TestApp) -> None:
    _, device = await with_passkey(app)
    browser = Browser(app, origin=ORIGIN)
    answer = device.use(await options(browser, "/sign-in/passkey"))
    kept = dict(browser.jar)
    stranger = Browser(app, origin=ORIGIN)
    await options(stranger, "/sign-in/passkey")
    assert (await stranger.post("/sign-in/passkey", credential=answer)).status_code == 401
    assert (await Browser(app, origin=ORIGIN).post("/sign-in/passkey", credential=answer)).status_code == 400
    assert (await browser.post("/sign-in/passkey", credential=answer)).status_code == 200
    browser.jar = kept
    assert (await browser.post("/sign-in/passkey", credential=answer)).json()["code"] == "ChallengeOver"
    late = device.use(await options(browser, "/sign-in/passkey"))
    await app.advance(minutes=5, seconds=1)
    assert (await browser.post("/sign-in/passkey", credential=late)).json()["code"] == "ChallengeOver"
    browser.jar = kept
    await app.advance(hours=2)
    assert await app.run(lambda ctx: ctx.db.query(Verification).collect()) == []
    assert (await browser.post("/sign-in/passkey", credential=answer)).json()["code"] == "ChallengeOver"


async def test_one_answer_sent_many_times_at_once_signs_in_once(app: TestApp) -> None:
    _, device = await with_passkey(app)
    browser = Browser(app, origin=ORIGIN)
    answer = device.use(await options(browser, "/sign-in/passkey"))
    copies = []
    for _ in range(5):
        copy = Browser(app, origin=ORIGIN)
        copy.jar = dict(browser.jar)
        copies.append(copy)
    responses = await asyncio.gather(*(copy.post("/sign-in/passkey", credential=answer) for copy in copies))
    assert sorted(each.status_code for each in responses) == [200, 400, 400, 400, 400]


async def test_a_challenge_for_one_thing_is_not_good_for_another(app: TestApp) -> None:
    browser, device = await with_passkey(app)
    await options(browser, "/passkeys")
    browser.jar["yugen-passkey-sign-in"] = browser.jar["yugen-passkey-registration"]
    answer = device.use(await options(Browser(app, origin=ORIGIN), "/sign-in/passkey"))
    assert (await browser.post("/sign-in/passkey", credential=answer)).json()["code"] == "ChallengeOver"


async def test_a_counter_that_does_not_rise_is_one_of_two(app: TestApp) -> None:
    _, device = await with_passkey(app)
    statuses = []
    for count in (5, 5, 3, 0, 6):
        browser = Browser(app, origin=ORIGIN)
        answer = device.use(await options(browser, "/sign-in/passkey"), count=count)
        statuses.append((await browser.post("/sign-in/passkey", credential=answer)).status_code)
    assert statuses == [200, 401, 401, 401, 200]
    assert (await events(app)).count("passkey-copied") == 3


async def test_a_passkey_is_of_one_user(app: TestApp) -> None:
    _, device = await with_passkey(app)
    bob, other = Browser(app, origin=ORIGIN), Authenticator(ORIGIN)
    await bob.sign_in("bob")
    same = other.make(await options(bob, "/passkeys"), id=device.credentials[0].id)
    assert (await bob.post("/passkeys", credential=same)).json()["code"] == "PasskeyKnown"
    # What was begun as one user is not ended as another.
    browser = Browser(app, origin=ORIGIN)
    await browser.sign_in("ada")
    made = other.make(await options(browser, "/passkeys"))
    await browser.sign_in("bob")
    assert (await browser.post("/passkeys", credential=made)).status_code == 401


async def test_adding_and_removing_want_a_fresh_session(app: TestApp) -> None:
    browser, device = await with_passkey(app)
    asked = await options(browser, "/passkeys")
    ada = await browser.caller()
    (shown,) = await ada.query("auth/passkeys:list")
    await app.advance(minutes=16)
    assert (await browser.post("/passkeys/options")).json()["code"] == "NotFresh"
    assert (await browser.post("/passkeys", credential=device.make(asked))).json()["code"] == "NotFresh"
    with pytest.raises(YugenError, match="Confirm that it is you"):
        await ada.mutation("auth/passkeys:remove", passkey=shown["id"])
    assert (await Browser(app, origin=ORIGIN).post("/passkeys/options")).json()["code"] == "NotSignedIn"


async def test_passkeys_are_listed_renamed_and_removed_by_their_own_user(app: TestApp) -> None:
    browser, device = await with_passkey(app)
    bob, _ = await with_passkey(app, "bob")
    ada = await browser.caller()
    watch = await ada.watch("auth/passkeys:list")
    (shown,) = await watch.value()
    (other,) = await (await bob.caller()).query("auth/passkeys:list")
    assert (shown["name"], shown["used"], shown["backedUp"]) == ("Laptop", None, False)
    for passkey in (other["id"], "nonsense"):
        with pytest.raises(YugenError, match="no such passkey"):
            await ada.mutation("auth/passkeys:rename", passkey=passkey, name="mine")
        with pytest.raises(YugenError, match="no such passkey"):
            await ada.mutation("auth/passkeys:remove", passkey=passkey)
    await ada.mutation("auth/passkeys:rename", passkey=shown["id"], name=" Work  laptop ")
    await app.settle()
    assert [each["name"] for each in await watch.value()] == ["Work laptop"]
    with pytest.raises(YugenError, match="1 to 100 letters"):
        await ada.mutation("auth/passkeys:rename", passkey=shown["id"], name="")
    # It is the only thing by which she can sign in that the app knows of.
    with pytest.raises(YugenError, match="only way for you to sign in"):
        await ada.mutation("auth/passkeys:remove", passkey=shown["id"])
    await browser.post("/passkeys", credential=device.make(await options(browser, "/passkeys")))
    await ada.mutation("auth/passkeys:remove", passkey=shown["id"])
    await app.settle()
    assert [each["name"] for each in await watch.value()] == ["Passkey"]
    stranger = Browser(app, origin=ORIGIN)
    answer = device.use(await options(stranger, "/sign-in/passkey"), device.credentials[0])
    assert (await stranger.post("/sign-in/passkey", credential=answer)).status_code == 401
    assert {"passkey-added", "passkey-removed"} <= set(await events(app))


async def test_somebody_signs_up_by_a_passkey_alone(app: TestApp) -> None:
    for name in ("Grace", "Grace"):
        browser, device = Browser(app, origin=ORIGIN), Authenticator(ORIGIN)
        asked = await options(browser, "/sign-up/passkey", name=f"  {name} ")
        assert asked["user"]["name"] == "Grace"
        response = await browser.post("/sign-up/passkey", credential=device.make(asked))
        assert response.status_code == 200, response.text
        again = Browser(app, origin=ORIGIN)
        answer = device.use(await options(again, "/sign-in/passkey"))
        assert (await again.post("/sign-in/passkey", credential=answer)).json()["user"] == response.json()["user"]
        more = device.make(await options(again, "/passkeys"))
        assert (await again.post("/passkeys", credential=more)).status_code == 200
        assert device.credentials[0].handle == device.credentials[1].handle
    refused = await Browser(app, origin=ORIGIN).post("/sign-up/passkey/options", name=" ")
    assert refused.json()["code"] == "InvalidName"


async def test_clients_without_cookies_keep_the_challenge_themselves(app: TestApp) -> None:
    _, device = await with_passkey(app)
    program, headers = Browser(app, origin=None), {"Yugen-Client": "token"}
    asked = (await program.ask("/sign-in/passkey/options", "POST", json={}, headers=headers)).json()
    assert program.jar == {}
    answer = {"credential": device.use(asked["options"]), "handle": asked["handle"]}
    response = await program.ask("/sign-in/passkey", "POST", json=answer, headers=headers)
    assert response.json()["token"]
    program.jar = {}
    assert (await program.ask("/sign-in/passkey", "POST", json=answer, headers=headers)).status_code == 400
    forged = {**answer, "handle": asked["handle"][:-4] + "AAA="}
    assert (await program.ask("/sign-in/passkey", "POST", json=forged, headers=headers)).status_code == 400


async def test_numbers_have_no_passkeys(app: TestApp) -> None:
    browser = Browser(app, origin="http://127.0.0.1:3210")
    response = await browser.post("/sign-in/passkey/options")
    assert response.json()["message"] == "Open this page at http://localhost: passkeys need a name."
    browser.headers["Origin"] = "https://app.example.com"
    message = (await browser.post("/sign-in/passkey/options")).json()["message"]
    assert message.startswith("Passkeys are for pages of localhost here, and this one is of https://app.example.com")


@pytest.mark.parametrize(
    "setting",
    [
        {"rp_id": "https://example.com"},
        {"rp_id": "example.com:443"},
        {"rp_id": "127.0.0.1"},
        {"rp_id": "Example.com"},
        {"origins": "https://app.example.com"},
        {"origins": ["app.example.com"]},
        {"origins": ["https://app.example.com/"]},
    ],
)
def test_what_cannot_be_is_refused_at_once(setting: Any) -> None:
    with pytest.raises(ValueError, match="Passkeys: "):
        Passkeys(**setting)


def test_settings_that_can_be() -> None:
    Passkeys(rp_id="example.com", origins=["https://app.example.com", "android:apk-key-hash:abc"])


class At:
    """A request to a deployment at an address, from a page."""

    def __init__(self, base: str, page: str | None, *origins: str) -> None:
        self.base = base
        self.auth = SimpleNamespace(origins=origins, name=None)
        self.http = SimpleNamespace(headers={} if page is None else {"origin": page})
        self.ctx = SimpleNamespace(env={"YUGEN_ENVIRONMENT": "prod", "CONVEX_SITE_URL": f"{base}/http"})


@pytest.mark.parametrize(
    ("part", "request_", "domain", "origins"),
    [
        (Passkeys(), At("https://tasks.example", None), "tasks.example", ("https://tasks.example",)),
        (
            Passkeys(rp_id="example.com"),
            At("https://api.example.com", "https://app.example.com", "https://app.example.com", "https://evil.example"),
            "example.com",
            ("https://api.example.com", "https://app.example.com"),
        ),
        (
            Passkeys(origins=["android:apk-key-hash:abc"]),
            At("https://tasks.example:8443", "https://tasks.example:8443"),
            "tasks.example",
            ("https://tasks.example:8443", "android:apk-key-hash:abc"),
        ),
        (
            Passkeys(rp_id="example.com"),
            At("https://api.example.com", "https://ada.example.com", "https://*.example.com"),
            "example.com",
            ("https://api.example.com", "https://ada.example.com"),
        ),
        (Passkeys(), At("http://[::1]:3210", None), "localhost", ("http://localhost:3210",)),
    ],
)
def test_for_whom_passkeys_are_follows_from_the_settings(
    part: Passkeys, request_: Any, domain: str, origins: tuple[str, ...]
) -> None:
    party = part.party(request_)
    assert (party.id, party.origins) == (domain, origins)


@pytest.mark.parametrize(
    "request_",
    [
        At("https://tasks.example", "https://tasks.example.evil.example"),
        At("https://tasks.example", "https://eviltasks.example"),
        At("https://tasks.example", "http://tasks.example"),
        At("https://tasks.example", "http://localhost:3000"),
        At("https://192.0.2.1", None),
    ],
)
def test_pages_of_elsewhere_have_none(request_: Any) -> None:
    with pytest.raises(AuthError, match=r"[Pp]asskeys"):
        Passkeys().party(request_)
