"""Ready-made pages below `/auth/` by which people sign in and look after their accounts; they need no JavaScript.

Their forms go to the endpoints that programs use. What an app does not have a part for is not on them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from yugen.auth.pages import account, entry, layout
from yugen.auth.pages.forms import Problem, alert
from yugen.auth.pages.html import Content, Html, element, join
from yugen.auth.pages.view import LINKED, View, base_of, checked_redirect, recalled, remember, with_query
from yugen.auth.parts import Endpoint, Part
from yugen.origins import origin_of

if TYPE_CHECKING:
    from starlette.responses import Response

    from yugen.auth.errors import AuthError
    from yugen.auth.requests import AuthRequest

__all__ = ["Pages", "View"]

TITLES: Final[Mapping[str, str]] = {
    "sign-in": "Sign in",
    "sign-up": "Create an account",
    "forgot": "Forgotten password",
    "reset": "Choose a new password",
    "verify": "Confirm your address",
    "link": "Sign in by mail",
    "code": "Type the code",
    "second-factor": "One more step",
    "confirm": "Confirm that it is you",
    "account": "Your account",
    "totp": "Set up your phone",
    "invitation": "An invitation",
}
"""The pages by name, which is their address below `/auth/`, and what stands above them."""

_OF_ACCOUNT: Final = frozenset({"account", "confirm", "totp"})
"""Those that are about somebody who is signed in."""


class Pages(Part):
    """Plain pages by which people sign in: `Auth(pages=Pages(...))`.

    A subclass can have any of them otherwise: each is a method (`sign_in_page`, `second_factor_page`) that takes a
    `View` and gives what is below the heading. `layout` is what is around all of them.

    Args:
        name: of the app, above each page; that of `Auth(name=...)`, without one.
        logo: the address of a picture, above each page.
        accent: the colour of buttons and links, as `#4338ca`.
        home: where those go who have signed in and come from nowhere in particular.
        urls: the app's own pages instead of some of these, by name: `{"sign-in": "https://app.example.com/welcome"}`.

    Raises:
        ValueError: the colour is none, or there is no page of that name.
    """

    name = "pages"
    is_way = False

    def __init__(
        self,
        *,
        name: str | None = None,
        logo: str | None = None,
        accent: str = "#4338ca",
        home: str = "/",
        urls: Mapping[str, str] | None = None,
    ) -> None:
        self.site = name
        self.logo = logo
        self.accent = layout.checked_colour(accent)
        self.home = home
        self.urls = dict(urls or {})
        for page in self.urls:
            if page not in TITLES:
                raise ValueError(f"Pages: there is no page {page!r}; there are {', '.join(TITLES)}.")

    @property
    def module(self) -> Any:
        return sys.modules[__name__]  # also of subclasses, whose modules are the app's

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            *(Endpoint("GET", f"/{page}", partial(self._get, page)) for page in TITLES),
            Endpoint("GET", f"/{layout.STYLE}", self._style),
            Endpoint("GET", f"/{layout.SCRIPT}", _script),
            *(
                Endpoint("POST", path, partial(account.called, call))
                for path, call in account.CALLS.items()
                if self.auth.part(call.part) is not None
            ),
        )

    def address(self, request: AuthRequest, page: str, **query: str | None) -> str:
        """The address of a page, ours or the app's own.

        Args:
            request: the request that it is for.
            page: its name.
            query: what goes with it.
        """
        return with_query(self.urls.get(page) or f"{base_of(request)}/{page}", query)

    # The pages ------------------------------------------------------------------------------------------------------

    async def sign_in_page(self, view: View) -> Content:
        """Where people sign in."""
        return await entry.sign_in(view)

    async def sign_up_page(self, view: View) -> Content:
        """Where they make an account."""
        return await entry.sign_up(view)

    async def forgot_page(self, view: View) -> Content:
        """Where they ask for mail that lets them choose another password."""
        return await entry.forgot(view)

    async def reset_page(self, view: View) -> Content:
        """Where the link in that mail leads."""
        return await entry.reset(view)

    async def verify_page(self, view: View) -> Content:
        """Where they wait for the mail that shows that an address is theirs, and where the link in it leads."""
        return await entry.verify(view)

    async def link_page(self, view: View) -> Content:
        """Where they ask for a link to sign in, and where it leads."""
        return await entry.link(view)

    async def code_page(self, view: View) -> Content:
        """Where they ask for a code to sign in, and type it."""
        return await entry.code_by_mail(view)

    async def second_factor_page(self, view: View) -> Content:
        """Where they show a second factor."""
        return await entry.second_factor(view)

    async def confirm_page(self, view: View) -> Content:
        """Where they show once more who they are, before something that matters."""
        return await entry.confirm(view)

    async def account_page(self, view: View) -> Content:
        """Where they look after their account."""
        return await account.account(view)

    async def totp_page(self, view: View) -> Content:
        """Where they set up a phone as a second factor."""
        return await account.totp(view)

    async def invitation_page(self, view: View) -> Content:
        """Where the link in an invitation to an organisation leads."""
        return await entry.invitation(view)

    def layout(self, view: View, title: str, content: Content) -> Html:
        """A whole page around what is on it."""
        return layout.document(
            title=title,
            site=self.site or self.auth.name,
            logo=self.logo,
            base=base_of(view.request),
            content=content,
        )

    # What is asked for ----------------------------------------------------------------------------------------------

    async def _get(self, page: str, request: AuthRequest) -> Response:
        if page in self.urls:
            return _see_other(with_query(self.urls[page], {name: str(text) for name, text in request.fields.items()}))
        linked = {name: str(request.fields[name]) for name in LINKED if request.fields.get(name)}
        if linked:
            remember(request, page, **{"redirect": recalled(request, page).get("redirect"), **linked})
            kept = {name: str(text) for name, text in request.fields.items() if name not in LINKED}
            return _see_other(self.address(request, page, **kept))
        if page in _OF_ACCOUNT and await request.user() is None:
            return _see_other(self.address(request, "sign-in", redirect=self.address(request, "account")))
        response = await self._shown(View(self, request, page))
        memory = recalled(request, page)
        if memory.pop("notice", None) is not None:
            remember(request, page, **memory)
        return response

    def done(self, request: AuthRequest, path: str, given: Mapping[str, Any]) -> Response:
        """Where somebody comes to whose form was taken.

        Args:
            request: the request.
            path: the endpoint that it went to.
            given: what that has answered.
        """
        redirect = checked_redirect(request, request.fields.get("redirect"))
        if "secondFactor" in given:
            return _see_other(self.address(request, "second-factor", redirect=redirect))
        if "session" in given and "user" in given:
            remember(request, "")
            return _see_other(redirect or self.home)
        view = View(self, request, "totp" if path == "/totp/enable" else "account")
        shown = account.shown_once(view, path, given)
        if shown is not None:
            return self._page(view, *shown)
        page, notice, kept = entry.AFTER.get(path) or account.AFTER.get(path) or ("account", "Done.", ())
        fields = {name: value for name in kept if isinstance(value := given.get(name, request.fields.get(name)), str)}
        remember(request, page, notice=notice, **fields)
        return _see_other(self.address(request, page, redirect=redirect))

    async def failed(self, request: AuthRequest, path: str, error: AuthError) -> Response:
        """What somebody sees whose form was not taken, or who has come to an address that is none.

        Args:
            request: the request.
            path: where it went to.
            error: what is wrong.
        """
        page = request.fields.get("page")
        if not isinstance(page, str) or page not in TITLES or page in self.urls:
            page = ""
        if error.code == "NotFresh" and page:
            remember(request, "confirm", notice="Before this, show that it is still you. Then do it once more.")
            return _see_other(self.address(request, "confirm", redirect=self.address(request, page)))
        if error.code == "NotSignedIn" and page in _OF_ACCOUNT:
            return _see_other(self.address(request, "sign-in", redirect=self.address(request, "account")))
        status = int(error.data["status"])
        if not page:
            view = View(self, request, "sign-in")
            content = [alert(str(error)), element("p", view.link("sign-in", "To the page where you sign in"))]
            return self._page(view, "That did not work", content, status)
        sent = {name: text for name, text in request.fields.items() if isinstance(text, str)}
        field = error.data.get("field")
        problem = Problem(path, str(error), field if isinstance(field, str) else None, sent)
        return await self._shown(View(self, request, page, problem), status)

    async def _shown(self, view: View, status: int = 200) -> Response:
        content = await getattr(self, f"{view.name.replace('-', '_')}_page")(view)
        return self._page(view, TITLES[view.name], [view.notice(), content], status)

    def _page(self, view: View, title: str, content: Content, status: int = 200) -> Response:
        from starlette.responses import HTMLResponse  # noqa: PLC0415 -- of those who have pages

        page = self.layout(view, title, join(content))
        return HTMLResponse(page, status, headers=self._headers(view.request))

    def _headers(self, request: AuthRequest) -> dict[str, str]:
        images = _origins([self.logo or ""])
        forms = [*request.auth.origins, *_origins([self.home, *self.urls.values()])]
        develops = request.ctx.env["YUGEN_ENVIRONMENT"] != "prod"
        if any(part.describe().get("kind") == "oauth" for part in request.auth.parts):
            # Browsers look at each address that a provider leads on through, which nobody can list.
            forms += ["https:", *(["http:"] if develops else [])]
        elif develops:
            forms += ["http://localhost:*", "http://127.0.0.1:*"]
        return layout.headers(images=images, forms=forms)

    async def _style(self, request: AuthRequest) -> Response:
        return _file(layout.stylesheet(self.accent), "text/css")


def _origins(addresses: Iterable[str]) -> list[str]:
    """The origins of addresses that are not on our own."""
    return [str(origin) for origin in map(origin_of, addresses) if origin is not None]


async def _script(request: AuthRequest) -> Response:
    return _file(_SCRIPT.read_text(), "text/javascript")


_SCRIPT: Final = Path(__file__).with_name("pages.js")


def _file(text: str, kind: str) -> Response:
    from starlette.responses import Response  # noqa: PLC0415 -- of those who have pages

    return Response(text, media_type=kind, headers={"Cache-Control": "public, max-age=300"})


def _see_other(address: str) -> Response:
    from starlette.responses import RedirectResponse  # noqa: PLC0415 -- of those who have pages

    return RedirectResponse(address, 303)
