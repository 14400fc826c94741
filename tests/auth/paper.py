"""A browser that knows no scripts: it goes to addresses, reads pages, and sends their forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urlsplit

import httpx2 as httpx

from tests.auth.browser import Browser
from yugen.testing import TestApp


@dataclass
class SentForm:
    """A form of a page.

    Attributes:
        action: where it goes to.
        fields: what is in it.
        types: of its inputs, by name.
    """

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)


class _Reader(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[SentForm] = []
        self.links: list[str] = []
        self.text = ""
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if tag == "form":
            self.forms.append(SentForm(given["action"]))
        elif tag == "input" and self.forms and given.get("name"):
            self.forms[-1].types[given["name"]] = given.get("type", "text")
            if given.get("type") != "checkbox":
                self.forms[-1].fields[given["name"]] = given.get("value", "")
        elif tag == "a":
            self.links.append(given["href"])

    def handle_data(self, data: str) -> None:
        self.text += data


class Paper:
    """Somebody's browser, without scripts.

    Attributes:
        browser: its cookies.
        response: the newest.
        path: where it is, with the query.
        went: where it was sent to, since the last time it was told to do anything.
    """

    def __init__(self, app: TestApp, origin: str | None = "http://test") -> None:
        self.browser = Browser(app, origin)
        self.path = ""
        self.went: list[str] = []
        self.response: httpx.Response

    async def visit(self, path: str) -> Paper:
        """Goes to an address, as `/auth/sign-in`."""
        self.went = []
        self.response = await self._ask(path, "GET")
        await self._follow(path)
        return self

    async def send(self, action: str, number: int = 0, **fields: str) -> Paper:
        """Sends a form of the page, the one for this endpoint.

        Args:
            action: the endpoint, as `/sign-in/password`.
            number: which of several.
            fields: what is filled in.
        """
        forms = [form for form in self.read.forms if form.action == f"/auth{action}"]
        form = forms[number]
        assert set(fields) <= set(form.types), (fields, form)
        self.went = []
        body = urlencode({**form.fields, **fields})
        self.response = await self._ask(form.action, "POST", body)
        await self._follow(form.action)
        return self

    async def _ask(self, path: str, method: str, body: str | None = None) -> httpx.Response:
        headers = {"accept": "text/html,*/*;q=0.8"}
        if body is not None:
            headers["content-type"] = "application/x-www-form-urlencoded"
        return await self.browser.ask(path.removeprefix("/auth"), method, headers=headers, content=body)

    async def _follow(self, path: str) -> None:
        for _ in range(10):
            if self.response.status_code != 303:
                break
            path = self.response.headers["location"]
            self.went.append(path)
            if not path.startswith("/auth/"):
                break
            self.response = await self._ask(path, "GET")
        self.path = path

    @property
    def read(self) -> _Reader:
        """What is on the page."""
        return _Reader(self.response.text)

    @property
    def place(self) -> str:
        """The path of where it is."""
        return urlsplit(self.path).path

    @property
    def actions(self) -> list[str]:
        """The endpoints of the page's forms."""
        return [form.action.removeprefix("/auth") for form in self.read.forms]

    def shows(self, text: str) -> bool:
        """Whether a text is on the page."""
        return text in self.read.text
