"""Signing up and in at a real server, with cookies, mail over SMTP, and passwords at their full price."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2 as httpx
import pytest

from reliability.serving import ROOT, Server, serving
from tests.auth.mail_server import MailServer, listening
from tests.auth.postbox import token_in
from yugen.auth import Mail
from yugen_client import AsyncClient

PASSWORD = "seven grey herons"


@pytest.fixture
async def mail() -> AsyncIterator[MailServer]:
    async with listening(MailServer()) as server:
        yield server


@pytest.fixture
async def garden(mail: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.setenv("SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("SMTP_PORT", str(mail.port))
    async with serving(ROOT / "examples/garden/app", tmp_path / "data", development=False) as server:
        yield server


async def next_mail(mail: MailServer, count: int) -> Mail:
    """The message that comes as the so-manieth."""
    await mail.came(count)
    _, to, message, _ = mail.received[count - 1]
    body = message.get_body(("plain",))
    assert body is not None
    return Mail(to=to, subject=message["Subject"], text=body.get_content())


async def test_the_whole_way_from_signing_up_to_an_account_that_is_gone(garden: Server, mail: MailServer) -> None:
    laptop = httpx.AsyncClient(base_url=garden.url, headers={"Origin": garden.url}, timeout=60)
    phone = httpx.AsyncClient(base_url=garden.url, headers={"Origin": garden.url}, timeout=60)
    async with laptop, phone, AsyncClient(garden.url) as client:
        fields = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"}
        assert (await laptop.post("/auth/sign-up/password", json=fields)).json() == {"sent": True}
        letter = await next_mail(mail, 1)
        assert f"{garden.url}/auth/verify?token=" in letter.text
        verified = await laptop.post("/auth/verify-email", json={"token": token_in(letter)})
        assert verified.status_code == 200, verified.text
        cookie = next(each for each in verified.headers.get_list("set-cookie") if each.startswith("yugen-session="))
        assert "HttpOnly" in cookie

        token = (await laptop.post("/auth/token", json={})).json()["token"]
        client.set_auth(lambda: token)
        assert await client.query("plants:mine") == ["a daisy, from us"]

        wrong = await phone.post("/auth/sign-in/password", json={**fields, "password": "another tall ladder"})
        assert wrong.status_code == 401
        assert (await phone.post("/auth/sign-in/password", json=fields)).status_code == 200

        await phone.post("/auth/forgot-password", json={"email": "ada@example.com"})
        reset = {"token": token_in(await next_mail(mail, 2)), "password": "another tall ladder"}
        assert (await phone.post("/auth/reset-password", json=reset)).json() == {}
        assert (await laptop.get("/auth/session")).json()["user"] is None
        again = {"email": "ada@example.com", "password": "another tall ladder"}
        assert (await laptop.post("/auth/sign-in/password", json=again)).status_code == 200
        assert (await laptop.post("/auth/delete-account", json={})).json() == {}
        gone = await phone.post("/auth/sign-in/password", json=again)
        assert gone.status_code == 401


async def test_without_javascript_a_form_does_it_and_the_token_leaves_the_address(
    garden: Server, mail: MailServer
) -> None:
    options = {"base_url": garden.url, "headers": {"Origin": garden.url, "Accept": "text/html"}, "timeout": 30}
    browser = httpx.AsyncClient(**options, follow_redirects=True)  # type: ignore[arg-type]
    other = httpx.AsyncClient(**options, follow_redirects=True)  # type: ignore[arg-type]
    async with browser, other:
        fields = {"email": "ada@example.com", "password": PASSWORD, "page": "sign-up"}
        page = await browser.post("/auth/sign-up/password", data=fields)
        assert page.url.path == "/auth/verify"
        link = re.search(r"https?://\S+", (await next_mail(mail, 1)).text)
        assert link is not None
        opened = await other.get(link[0])
        assert "token" not in str(opened.url)
        assert opened.headers["referrer-policy"] in ("no-referrer", "same-origin")
        token = re.search(r'name="token" value="([^"]+)"', opened.text)
        assert token is not None
        # Elsewhere than where they have signed up, they are asked for the password.
        asked = await other.post("/auth/verify-email", data={"token": token[1], "page": "verify"})
        assert asked.status_code == 403
        assert 'type="password"' in asked.text
        done = await other.post("/auth/verify-email", data={"token": token[1], "page": "verify", "password": PASSWORD})
        assert done.status_code == 200
        assert (await other.get("/auth/session")).json()["user"]["email"] == "ada@example.com"
