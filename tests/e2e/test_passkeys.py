"""Passkeys in a real Chromium with an authenticator that it makes up: added on one page, used on another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, CDPSession, expect

from reliability.serving import ROOT, Server, serving
from tests.chromium import Window, chromium, empty_window

pytestmark = pytest.mark.browser

APP = ROOT / "tests/auth/factors"

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}

POST = """async ([path, fields]) => {
    const sent = { body: JSON.stringify(fields), headers: { "Content-Type": "application/json" } };
    const response = await fetch(`/auth${path}`, { method: "POST", ...sent });
    return { status: response.status, ...(await response.json()) };
}"""

ASK = """async ([kind, options]) => {
    const creating = kind === "create";
    const parse = creating ? "parseCreationOptionsFromJSON" : "parseRequestOptionsFromJSON";
    const publicKey = PublicKeyCredential[parse](options);
    try {
        return (await navigator.credentials[creating ? "create" : "get"]({ publicKey })).toJSON();
    } catch (error) {
        return { failed: error.name };
    }
}"""


class Person:
    """Somebody at a page of the server, with an authenticator."""

    def __init__(self, window: Window, devtools: CDPSession, authenticator: str) -> None:
        self.window = window
        self._devtools = devtools
        self._authenticator = authenticator

    async def post(self, path: str, **fields: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.window.page.evaluate(POST, [path, fields])
        return answer

    async def ask(self, kind: str, options: dict[str, Any]) -> dict[str, Any]:
        """What the browser gives to `navigator.credentials.create` or `get`."""
        answer: dict[str, Any] = await self.window.page.evaluate(ASK, [kind, options])
        return answer

    async def user(self) -> dict[str, Any] | None:
        session = await self.window.page.evaluate("fetch('/auth/session').then((response) => response.json())")
        found: dict[str, Any] | None = session["user"]
        return found

    async def passkeys(self) -> list[dict[str, Any]]:
        """What the authenticator holds."""
        held = await self._devtools.send("WebAuthn.getCredentials", {"authenticatorId": self._authenticator})
        found: list[dict[str, Any]] = held["credentials"]
        return found

    async def give(self, passkey: dict[str, Any]) -> None:
        """Puts a passkey into the authenticator, as synchronising does."""
        await self._devtools.send(
            "WebAuthn.addCredential", {"authenticatorId": self._authenticator, "credential": passkey}
        )


@asynccontextmanager
async def person(browser: Browser, server: Server, **differing: Any) -> AsyncIterator[Person]:
    window = await empty_window(browser)
    # Passkeys are bound to a name, which 127.0.0.1 is not.
    await window.page.goto(f"http://localhost:{server.port}/auth/session")
    devtools = await window.page.context.new_cdp_session(window.page)
    await devtools.send("WebAuthn.enable")
    made = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": {**AUTHENTICATOR, **differing}})
    yield Person(window, devtools, made["authenticatorId"])
    await window.page.context.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(APP, tmp_path / "data") as made:
        yield made


async def test_a_passkey_is_added_and_signs_in_on_another_device(server: Server) -> None:
    async with chromium() as browser, person(browser, server) as ada, person(browser, server) as phone:
        await ada.post("/sign-in/name", name="ada")
        asked = await ada.post("/passkeys/options")
        made = await ada.ask("create", asked["options"])
        added = await ada.post("/passkeys", credential=made, name="Laptop")
        assert added["status"] == 200, added

        # The browser refuses to make a second one where there is one.
        again = await ada.post("/passkeys/options")
        assert await ada.ask("create", again["options"]) == {"failed": "InvalidStateError"}

        (passkey,) = await ada.passkeys()
        await phone.give(passkey)
        assert await phone.user() is None
        asked = await phone.post("/sign-in/passkey/options")
        used = await phone.ask("get", asked["options"])
        signed_in = await phone.post("/sign-in/passkey", credential=used)
        assert signed_in["status"] == 200, signed_in
        user = await phone.user()
        assert user is not None
        assert user["name"] == "ada"
        assert (await phone.post("/sign-in/passkey", credential=used))["code"] == "ChallengeOver"

        # The laptop's counter stands where it was, as that of a copy would.
        asked = await ada.post("/sign-in/passkey/options")
        copied = await ada.post("/sign-in/passkey", credential=await ada.ask("get", asked["options"]))
        assert (copied["status"], copied["code"]) == (401, "PasskeyRefused")
        assert not server.errors()


async def test_somebody_signs_up_by_a_passkey_alone(server: Server) -> None:
    async with chromium() as browser, person(browser, server) as grace:
        asked = await grace.post("/sign-up/passkey/options", name="Grace")
        made = await grace.ask("create", asked["options"])
        signed_up = await grace.post("/sign-up/passkey", credential=made)
        assert signed_up["status"] == 200, signed_up
        await grace.post("/sign-out")
        assert await grace.user() is None
        asked = await grace.post("/sign-in/passkey/options")
        await grace.post("/sign-in/passkey", credential=await grace.ask("get", asked["options"]))
        user = await grace.user()
        assert user is not None
        assert (user["name"], user["email"]) == ("Grace", None)


async def test_the_page_of_the_guide(tmp_path: Path) -> None:
    async with (
        serving(ROOT / "examples/keys/app", tmp_path / "data") as server,
        chromium() as browser,
        person(browser, server) as ada,
    ):
        page = ada.window.page
        await page.goto(f"http://localhost:{server.port}/")
        await page.fill("#name", "Ada")
        await page.click("#up")
        await expect(page.locator("#who")).to_have_text("Signed in as Ada")
        await page.locator("#who").evaluate("(shown) => (shown.textContent = '')")
        await page.click("#in")
        await expect(page.locator("#who")).to_have_text("Signed in as Ada")
        (passkey,) = await ada.passkeys()
        assert passkey["signCount"] == 2
        await page.click("#add")  # refused, since this authenticator has one
        await expect(page.locator("#who")).not_to_have_text("Signed in as Ada")
        assert not server.errors()


async def test_a_device_that_does_not_look_who_uses_it_is_not_enough(server: Server) -> None:
    async with chromium() as browser, person(browser, server, hasUserVerification=False) as ada:
        await ada.post("/sign-in/name", name="ada")
        asked = await ada.post("/passkeys/options")
        assert "failed" in await ada.ask("create", asked["options"])
        # Also where the page asks for less than it was told to.
        options = asked["options"]
        options["authenticatorSelection"]["userVerification"] = "discouraged"
        made = await ada.ask("create", options)
        assert "failed" not in made
        refused = await ada.post("/passkeys", credential=made)
        assert (refused["status"], refused["code"]) == (401, "PasskeyRefused")
