"""What a page is made with: who asks for it, what they have sent, and what a form of it looks like to them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from yugen import values
from yugen.auth.origins import safe_target
from yugen.auth.pages.forms import Form, Problem, render
from yugen.auth.pages.html import Content, Html, element

if TYPE_CHECKING:
    from yugen.auth.pages import Pages
    from yugen.auth.requests import AuthRequest
    from yugen.auth.users import User

MEMORY_COOKIE: Final = "yugen-page"
"""The name of the cookie that tells the next page what has happened, and holds what came in the address of a link."""

MEMORY_MINUTES: Final = 15

LINKED: Final = ("token", "code", "email")
"""What may come in the address of a link in a mail. It is taken out of there at once, before it gets into a history."""


class View:
    """A page as it is made for a request.

    Args:
        pages: whose it is.
        request: the request.
        name: of the page.
        problem: what was wrong with a form that was sent from it, if one was.

    Attributes:
        pages, request, name, problem: as given.
        memory: what the page before has left for this one: `notice`, and fields.
    """

    def __init__(self, pages: Pages, request: AuthRequest, name: str, problem: Problem | None = None) -> None:
        self.pages = pages
        self.request = request
        self.name = name
        self.problem = problem
        self.memory: Mapping[str, str] = recalled(request, name)
        self._has_focus = problem is not None

    # Where things are -----------------------------------------------------------------------------------------------

    @property
    def redirect(self) -> str | None:
        """Where somebody goes on to once they are signed in, if that is a place where one may be sent."""
        return checked_redirect(self.request, self.request.fields.get("redirect") or self.memory.get("redirect"))

    def url(self, page: str, **query: str | None) -> str:
        """The address of a page, which goes on to where this one does."""
        return self.pages.address(self.request, page, redirect=self.redirect, **query)

    def has(self, action: str) -> bool:
        """Whether there is an endpoint for a form."""
        return self.request.auth.endpoint("POST", action) is not None

    # What is on it --------------------------------------------------------------------------------------------------

    def form(self, form: Form, *, focus: bool = False) -> Html | None:
        """A form; None where nothing would answer it.

        Args:
            form: the form.
            focus: whether its first field has the focus, if nothing else on the page needs it more.
        """
        if not self.has(form.action):
            return None
        hidden = {**form.hidden, "page": self.name}
        if self.redirect is not None:
            hidden["redirect"] = self.redirect
        problem = self.problem if self.problem is not None and self.problem.is_of(form) else None
        address = f"{base_of(self.request)}{form.action}"
        return render(form, address, hidden=hidden, problem=problem, focus=focus and not self._has_focus)

    def link(self, page: str, text: str, *, class_: str | None = None) -> Html:
        """A link to a page."""
        return element("a", text, href=self.url(page), class_=class_)

    def notice(self) -> Html | None:
        """What the page before has had done, for those who want to know that it was."""
        text = self.memory.get("notice")
        return element("p", text, role="status", class_="notice") if text else None

    def section(self, title: str, *content: Content) -> Html | None:
        """A part of a page under a heading of its own; None where there is nothing in it."""
        shown = [each for each in content if each]
        return element("section", element("h2", title), *shown) if shown else None

    async def user(self) -> User | None:
        """Who is signed in."""
        return await self.request.user()

    async def ask(self, function: str, **args: Any) -> Any:
        """The result of a query of the app as who is signed in sees it; None where there is no such function."""
        if function not in self.request.auth.functions:
            return None
        return await self.request.query(function, **args)


def base_of(request: AuthRequest) -> str:
    """What the addresses of our endpoints begin with where this request came to, without the origin."""
    path = request.http.url.path
    return path[: -len(request.http.path_params["path"])].rstrip("/")


def checked_redirect(request: AuthRequest, target: object) -> str | None:
    """Where a request wants somebody to be sent, if it may."""
    return safe_target(request, target) if isinstance(target, str) else None


def remember(request: AuthRequest, page: str, **what: str | None) -> None:
    """Leaves something for a page, which is opened next: in a cookie that only this server can have written."""
    kept = {name: value for name, value in what.items() if value is not None}
    expires = request.ctx.now + MEMORY_MINUTES * 60_000
    text = base64.urlsafe_b64encode(json.dumps({"page": page, **kept}).encode()).decode()
    request.set_cookie(MEMORY_COOKIE, text if kept else None, expires)


def recalled(request: AuthRequest, page: str) -> dict[str, str]:
    """What was left for a page."""
    try:
        memory = values.parse_json(base64.urlsafe_b64decode(request.cookie(MEMORY_COOKIE) or "") or b"{}")
    except (ValueError, values.InvalidValue):  # it takes no half characters, as json does
        return {}
    if not isinstance(memory, dict) or memory.pop("page", None) != page:
        return {}
    return {str(name): str(value) for name, value in memory.items()}


def with_query(address: str, query: Mapping[str, str | None]) -> str:
    """An address with a query."""
    given = {name: value for name, value in query.items() if value is not None}
    if not given:
        return address
    return f"{address}{'&' if '?' in address else '?'}{urlencode(given)}"
