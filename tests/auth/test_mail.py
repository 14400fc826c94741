"""Mail: how it leaves, and what it cannot be made to say."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.auth.browser import Browser
from tests.auth.mail_server import MailServer, certificate, listening
from tests.auth.postbox import ACCOUNTS, PASSWORD, postbox, signing_in, token_in
from yugen.auth import Console, Mail, Smtp
from yugen.testing import TestApp

SENDER = "Gardens <no-reply@gardens.example>"
MAIL = Mail(to="ada@example.com", subject="Grüße", text="Hello\n.\nAda", html="<p>Hello</p>", key="auth: mail 1a2b")


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(ACCOUNTS) as made:
        postbox().clear()
        yield made


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate that clients trust here."""
    context, chain = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    return context


async def test_a_message_goes_as_text_and_as_html() -> None:
    async with listening(MailServer()) as server:
        await Smtp(host="127.0.0.1", port=server.port, sender=SENDER, security="none").send(MAIL)
    [(sender, to, message, is_secure)] = server.received
    assert (sender, to, is_secure) == ("no-reply@gardens.example", "ada@example.com", False)
    assert (message["From"], message["To"], message["Subject"]) == (SENDER, "ada@example.com", "Grüße")
    assert message["Message-ID"] == "<auth-mail-1a2b@127.0.0.1>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"] is not None
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().split() == ["Hello", ".", "Ada"]
    assert html.get_content().strip() == "<p>Hello</p>"


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_message_and_a_password_go_over_tls(trusted: ssl.SSLContext, security: Any) -> None:
    login = ("gardens", "of the mail server")
    made = MailServer(certificate=trusted, implicit=security == "tls", login=login)
    async with listening(made) as server:
        smtp = Smtp(
            host="localhost", port=server.port, sender=SENDER, user=login[0], password=login[1], security=security
        )
        await smtp.send(MAIL)
    assert [is_secure for *_, is_secure in server.received] == [True]


async def test_a_server_that_speaks_no_tls_or_is_somebody_else_gets_nothing(tmp_path: Path) -> None:
    async with listening(MailServer()) as server:
        with pytest.raises(smtplib.SMTPNotSupportedError, match="STARTTLS"):
            await Smtp(host="127.0.0.1", port=server.port, sender=SENDER).send(MAIL)
    assert server.received == []
    stranger, _ = certificate(tmp_path)
    async with listening(MailServer(certificate=stranger)) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await Smtp(host="localhost", port=server.port, sender=SENDER).send(MAIL)
    assert server.received == []


@pytest.mark.parametrize(
    ("to", "subject"),
    [
        ("ada@example.com\r\nBcc: all@example.com", "Hello"),
        ("ada@example.com", "Hello\r\nBcc: all@example.com"),
        ("ada@example.com", "Hello\nX: y"),
    ],
)
async def test_nothing_adds_a_header(to: str, subject: str) -> None:
    async with listening(MailServer()) as server:
        smtp = Smtp(host="127.0.0.1", port=server.port, sender=SENDER, security="none")
        with pytest.raises(ValueError, match=r"linefeed|newline"):
            await smtp.send(Mail(to=to, subject=subject, text="Hello"))
    assert server.received == []


@pytest.mark.parametrize(
    "email",
    [
        "ada@example.com\r\nBcc: all@example.com",
        "ada@example.com\nbcc:all@example.com",
        "ada@example.com,all@example.com",
        "Ada <ada@example.com>",
        "ada@example.com\0",
        "ada@@example.com",
        "ada",
    ],
)
async def test_an_address_that_is_more_than_one_is_refused(app: TestApp, email: str) -> None:
    for path in ("/sign-up/password", "/sign-in/magic-link", "/forgot-password", "/sign-in/code"):
        response = await Browser(app).post(path, email=email, password=PASSWORD)
        assert (response.status_code, response.json()["field"]) == (400, "email")
    await app.advance()
    assert postbox() == []


async def test_what_a_server_refuses_for_now_is_sent_later_and_once(
    app: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(MailServer(refusals=3)) as server:
        smtp = Smtp(host="127.0.0.1", port=server.port, sender=SENDER, security="none")
        monkeypatch.setattr(signing_in(), "sender", smtp)
        browser = Browser(app)
        await browser.post("/sign-up/password", email="ada@example.com", password=PASSWORD)
        await app.advance()
        assert server.received == []
        await app.advance(seconds=30)
        assert server.received == []
        await app.advance(hours=1)
    [(_, to, message, _)] = server.received
    body = message.get_body(("plain",))
    assert body is not None
    mail = Mail(to=to, subject=message["Subject"], text=body.get_content())
    assert (await browser.post("/verify-email", token=token_in(mail))).is_success


async def test_the_console_shows_mail_while_one_works_on_an_app(caplog: pytest.LogCaptureFixture) -> None:
    await Console().send(MAIL)
    assert "mail to ada@example.com: Grüße" in caplog.text
