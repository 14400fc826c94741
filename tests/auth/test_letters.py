"""What the mail says."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Callable
from html.parser import HTMLParser

import pytest

from tests.auth.browser import Browser
from tests.auth.postbox import ACCOUNTS, PASSWORD, last_mail, postbox, signing_in
from yugen.auth import Letter, Letters
from yugen.auth.letters import check_link, letter
from yugen.testing import TestApp

KINDS = [name for name, _ in inspect.getmembers(Letters, inspect.isfunction) if not name.startswith("_")]


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(ACCOUNTS) as made:
        postbox().clear()
        yield made


class Reader(HTMLParser):
    """What stands in HTML, and where its links lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("html", "meta", "title", "body", "p", "a")
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


@pytest.mark.parametrize("kind", KINDS)
def test_text_and_html_say_the_same_and_hold_what_is_to_be_opened(kind: str) -> None:
    write: Callable[..., Letter] = getattr(Letters(), kind)
    names = list(inspect.signature(write).parameters)
    given = {name: f"https://app.example.com/{name}?a=1&b=<2>" for name in names}
    given["app"] = "Tom & <b>Jerry</b>"
    written = write(**given)
    assert written.html is not None
    html = Reader(written.html)
    assert "\n" not in written.subject
    assert given["app"] in written.subject
    for name in names:
        assert given[name] in written.text
        assert given[name] in html.text
    assert set(html.links) <= set(given.values())
    for line in filter(None, (line.rstrip(":") for line in written.text.splitlines())):
        assert line in html.text


def test_a_subject_is_one_line() -> None:
    assert letter("Hello\r\nBcc: all@example.com", "Hello").to("ada@example.com").subject == (
        "Hello Bcc: all@example.com"
    )


async def test_an_app_says_it_in_its_own_words(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(Letters):
        def verify_email(self, app: str, link: str) -> Letter:
            return Letter(f"{app}?", f"Yes: {link}")

    monkeypatch.setattr(signing_in(), "letters", Short())
    await Browser(app).post("/sign-up/password", email="ada@example.com", password=PASSWORD)
    mail = await last_mail(app)
    assert (mail.subject, mail.html) == ("Gardens?", None)
    assert re.fullmatch(r"Yes: http://127\.0\.0\.1:3210/auth/verify\?token=[\w-]{43}", mail.text)


async def test_what_somebody_types_is_in_no_mail(app: TestApp) -> None:
    name = "Buy cheap watches at evil.example"
    await Browser(app).post("/sign-up/password", email="ada@example.com", password=PASSWORD, name=name)
    mail = await last_mail(app)
    assert "watches" not in f"{mail.subject}{mail.text}{mail.html}"


@pytest.mark.parametrize(
    ("link", "good"),
    [
        ("https://app.example.com/in?token={token}", True),
        ("http://localhost:5173/in#{token}", True),
        ("http://app.example.com/in#{token}", False),
        ("https://app.example.com/in", False),
        ("/in?token={token}", False),
        (None, True),
    ],
)
def test_links_lead_to_whole_and_safe_addresses(link: str | None, good: bool) -> None:
    if good:
        check_link("Part", "link", link)
    else:
        with pytest.raises(ValueError, match="Part: link"):
            check_link("Part", "link", link)
