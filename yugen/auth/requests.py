"""A request to an endpoint of sign-in: what it says, who makes it, and the cookies that go with the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from yugen.auth import crypto
from yugen.auth.documents import Session
from yugen.auth.errors import AuthError, not_fresh, not_signed_in
from yugen.auth.sessions import Device, SignedIn, of_token
from yugen.auth.users import User
from yugen.functions.context import ActionCtx

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from yugen.auth.component import Auth

BODY_BYTES_MAX: Final = 64 * 1024
TEXT_LENGTH_MAX: Final = 4096

TRUSTED_COOKIE: Final = "yugen-device"
"""The name of the cookie that tells a device where a second factor was shown before."""

_SESSION_COOKIE: Final = "yugen-session"
_UNSET: Final = object()


class AuthRequest:
    """A request as endpoints see it.

    Args:
        auth: the app's.
        ctx: the context of the HTTP action.
        http: the request.
        fields: what it says: a JSON object, a form, or of a `GET` the query.
        is_form: whether a page has sent it, which wants a page back.

    Attributes:
        auth, ctx, http, fields, is_form: as given.
        title: what a page calls what is done.
    """

    def __init__(self, auth: Auth, ctx: ActionCtx, http: Request, fields: Mapping[str, Any], *, is_form: bool) -> None:
        self.auth = auth
        self.ctx = ctx
        self.http = http
        self.fields = fields
        self.is_form = is_form
        self._cookies: list[tuple[str, str | None, float | None]] = []
        self._session: Any = _UNSET

    # What it says -------------------------------------------------------------------------------------------------

    def text(self, name: str, *, length_max: int = TEXT_LENGTH_MAX) -> str:
        """A field that is text.

        Raises:
            AuthError: it is missing, empty, or something else.
        """
        value = self.optional(name, length_max=length_max)
        if not value:
            raise AuthError("MissingField", f"The field `{name}` is missing.", field=name)
        return value

    def optional(self, name: str, *, length_max: int = TEXT_LENGTH_MAX) -> str | None:
        """A field that is text, or None if it is not there.

        Raises:
            AuthError: it is something else, or too long.
        """
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > length_max or "\0" in value:
            raise AuthError(
                "InvalidField", f"The field `{name}` is text of {length_max} characters at most.", field=name
            )
        return value

    @property
    def wants_page(self) -> bool:
        """Whether somebody looks at the answer: their browser has sent a form, or goes to an address."""
        return self.is_form or "text/html" in self.http.headers.get("accept", "")

    def flag(self, name: str) -> bool:
        """A field that says yes or no; no if it is not there. A box that is ticked in a form is `on`."""
        return self.fields.get(name) in (True, "on", "true", "1")

    # Who makes it -------------------------------------------------------------------------------------------------

    @property
    def secret(self) -> str:
        """The secret of the deployment, which all others are derived from."""
        return self.ctx.env[crypto.SECRET_VARIABLE]

    @property
    def base(self) -> str:
        """The address of the API, as the deployment was told; never what a request claims that it is."""
        return self.ctx.env["CONVEX_CLOUD_URL"].rstrip("/")

    @property
    def address(self) -> str | None:
        """From where it comes."""
        return None if self.http.client is None else self.http.client.host

    @property
    def agent(self) -> str | None:
        """What the browser calls itself."""
        return self.http.headers.get("user-agent")

    def digest(self, *parts: str) -> str:
        """What is stored of something that could be guessed."""
        return crypto.keyed_digest(self.secret, *parts)

    async def session(self) -> Session | None:
        """The session that it comes with, if that counts."""
        found = await self._found()
        return found[1] if found is not None and found[1].stands else None

    async def pending(self) -> tuple[User, Session] | None:
        """Who has signed in but for a second factor, and their session."""
        found = await self._found()
        return None if found is None or found[1].stands else found

    async def user(self) -> User | None:
        """Who is signed in."""
        found = await self._found()
        return found[0] if found is not None and found[1].stands else None

    async def signed_in(self, *, freshly: bool = False) -> tuple[User, Session]:
        """Who is signed in, and their session.

        Args:
            freshly: whether they must have shown a short while ago who they are.

        Raises:
            AuthError: nobody is, or not freshly.
        """
        found = await self._found()
        if found is None or not found[1].stands:
            raise not_signed_in()
        if freshly and not self.auth.lifetimes.is_fresh(found[1], self.ctx.now):
            raise not_fresh()
        return found

    async def query(self, function: str, **args: Any) -> Any:
        """The result of one of the app's queries as who is signed in sees it.

        Raises:
            AuthError: nobody is.
        """
        from yugen.auth.acting import query_as  # noqa: PLC0415 -- for forms

        user, session = await self.signed_in()
        return await self.ctx.run_query(query_as, user=user.id, session=session.id, function=function, args=args)

    async def mutation(self, function: str, **args: Any) -> Any:
        """Runs one of the app's mutations as if who is signed in had called it.

        Raises:
            AuthError: nobody is.
        """
        from yugen.auth.acting import mutation_as  # noqa: PLC0415 -- as above

        user, session = await self.signed_in()
        return await self.ctx.run_mutation(mutation_as, user=user.id, session=session.id, function=function, args=args)

    @property
    def token(self) -> str | None:
        """The token of a session that it comes with, in a cookie or as `Authorization: Bearer`."""
        scheme, _, credentials = self.http.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return credentials.strip() or None
        return self.cookie(_SESSION_COOKIE)

    @property
    def has_cookies(self) -> bool:
        """Whether a browser has added who it is by itself, as it does for pages of anybody."""
        return "cookie" in self.http.headers

    @property
    def wants_tokens(self) -> bool:
        """Whether it comes from a client that keeps what it is given itself, since it has no cookies."""
        return self.http.headers.get("yugen-client") == "token" and not self.has_cookies

    async def _found(self) -> tuple[User, Session] | None:
        if self._session is _UNSET:
            token = self.token
            self._session = None
            if token is not None:
                found = await self.ctx.run_query(of_token, token=crypto.digest(token))
                if found is not None:
                    # The query cannot say of which class users are, and gives documents as they are stored.
                    user = self.auth.user.model_validate(found["user"])
                    session = Session.model_validate(found["session"])
                    if session.expires > self.ctx.now and not user.is_banned(self.ctx.now):
                        self._session = user, session
        return self._session  # type: ignore[no-any-return]

    # Signing in and out -------------------------------------------------------------------------------------------

    def device(self, token: str) -> Device:
        """What the session of somebody who signs in is to know, with a new token."""
        replaces, trusted = self.token, self.cookie(TRUSTED_COOKIE)
        return Device(
            token=crypto.digest(token),
            replaces=None if replaces is None else crypto.digest(replaces),
            trusted=None if trusted is None else crypto.digest(trusted),
            address=self.address,
            agent=None if self.agent is None else self.agent[:300],
        )

    def has_signed_in(self, token: str, signed_in: SignedIn) -> dict[str, Any]:
        """What to answer somebody who has signed in with a new token; the cookie goes with it.

        Clients that are no browsers ask for the token itself, by the header `Yugen-Client: token`: no page of another
        site can send one that is not allowed to.
        """
        self.set_cookie(_SESSION_COOKIE, token, signed_in["expires"])
        self._session = _UNSET
        answer: dict[str, Any] = {"user": signed_in["user"], "session": signed_in["session"]}
        if signed_in["pending"]:
            answer["secondFactor"] = self.auth.second_factors
        if self.wants_tokens:
            answer["token"] = token
        return answer

    def keep_signed_in(self, token: str, expires: float) -> None:
        """Has the cookie last as long as the session does now, for those who have shown one."""
        if "authorization" not in self.http.headers:
            self.set_cookie(_SESSION_COOKIE, token, expires)

    def has_signed_out(self) -> None:
        """Takes the cookie away."""
        self.set_cookie(_SESSION_COOKIE, None)
        self._session = None

    # Cookies ------------------------------------------------------------------------------------------------------

    def cookie(self, name: str) -> str | None:
        """What a cookie of ours holds, if it was signed here."""
        signed = self.http.cookies.get(self._cookie_name(name))
        return None if signed is None else crypto.unsign(self.secret, f"cookie {name}", signed)

    def set_cookie(self, name: str, value: str | None, expires: float | None = None) -> None:
        """Has a cookie go with the answer.

        Args:
            name: its name.
            value: what it holds; None takes it away.
            expires: when it ends, in milliseconds since the epoch; without that, when the browser is closed.
        """
        self._cookies.append((name, value, expires))

    def finish(self, response: Response) -> Response:
        """The response with the cookies that go with it."""
        for name, value, expires in self._cookies:
            seconds = None if expires is None else max(0, int((expires - self.ctx.now) / 1000))
            response.set_cookie(
                self._cookie_name(name),
                "" if value is None else crypto.sign(self.secret, f"cookie {name}", value),
                max_age=0 if value is None else seconds,
                path="/",
                secure=self._is_secure,
                httponly=True,
                samesite="lax",
            )
        return response

    @property
    def _is_secure(self) -> bool:
        return self.base.startswith("https:")

    def _cookie_name(self, name: str) -> str:
        # With this prefix, browsers take one only over TLS and for this host alone: no neighbour can plant another.
        return f"__Host-{name}" if self._is_secure else name


async def fields_of(http: Request) -> tuple[Mapping[str, Any], bool]:
    """What a request says, and whether a page has sent it.

    Raises:
        AuthError: it is too large, or neither JSON nor a form.
    """
    if http.method == "GET":
        return dict(http.query_params), False
    kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = bytearray()
    async for part in http.stream():
        body += part
        if len(body) > BODY_BYTES_MAX:
            raise AuthError("TooLarge", f"The request has at most {BODY_BYTES_MAX} bytes.", 413)
    if kind == "application/json" or (not body and not kind):
        try:
            fields = orjson.loads(bytes(body) or b"{}")  # which takes no half characters, as json does
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            raise AuthError("BadRequest", "Send one JSON object.")
        return fields, False
    if kind == "application/x-www-form-urlencoded":
        from urllib.parse import parse_qsl  # noqa: PLC0415 -- for pages

        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100)), True
        except ValueError:
            raise AuthError("BadRequest", "Send the form as application/x-www-form-urlencoded.") from None
    raise AuthError("BadContentType", "Send the request as `Content-Type: application/json`.", 415)
