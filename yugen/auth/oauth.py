"""Signing in at another provider: OAuth 2.0 and OpenID Connect, as a part of `Auth`.

Somebody is sent away with what only their browser and this deployment know, and comes back with a code that is changed
for tokens (RFC 6749, 4.1; RFC 9700). Always with PKCE; by OpenID Connect also with a nonce. Authlib makes the requests.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from typing_extensions import TypedDict  # of pydantic, which takes that of typing from Python 3.12 on

from yugen import values
from yugen.auth import crypto, provider_accounts, users
from yugen.auth.errors import AuthError
from yugen.auth.origins import destination
from yugen.auth.parts import Endpoint, Part
from yugen.auth.provider_accounts import AWAY, Person
from yugen.auth.provider_tokens import sealed_tokens
from yugen.auth.requests import AuthRequest
from yugen.auth.sessions import milliseconds
from yugen.functions.context import ActionCtx
from yugen.functions.providers import full_issuer, is_safe_url

if TYPE_CHECKING:
    from starlette.responses import Response

    from yugen.auth.openid import Documents, Endpoints

POSTED_SECONDS: Final = 60
"""How long what a provider has posted is good, on its way from one address of ours to the other."""

BROWSER_COOKIE: Final = "yugen-oauth"
"""The name of the cookie that ties those who come back to the browser that was sent away."""

ASKING_SECONDS: Final = 15.0
"""How long a provider may take for all that is asked of it when somebody comes back."""

CODE_LENGTH_MAX: Final = 8192
IMAGE_LENGTH_MAX: Final = 2048

_SHOWN: Final = ("client_secret_basic", "client_secret_post")

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_SECONDS: Final = re.compile(r"[0-9]{1,15}")
_ERROR: Final = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]{1,64}")  # RFC 6749, 4.1.2.1
_TAKEN: Final = frozenset({"core", "email", "pages", "passkey", "passkeys", "password"})
_BACK: Final = ("state", "code", "iss", "error", "error_description", "user")

logger = logging.getLogger("yugen.auth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a provider says of somebody.

    Attributes:
        subject: what it calls them, for ever and nobody else.
        email: their address.
        email_verified: whether it says that the address is theirs.
        name: what they are called.
        image: the address of a picture.
    """

    subject: str
    email: str | None = None
    email_verified: bool = False
    name: str | None = None
    image: str | None = None


class Journey(TypedDict):
    """What is to be known again when somebody comes back.

    Attributes:
        browser: the digest of what their browser was given.
        verifier: of PKCE (RFC 7636).
        nonce: what the ID token must have.
        redirect: where they go then, if they have said so.
        errors: where they go if it does not work, likewise.
        user: to whose account the one at the provider is added; None for those who sign in.
    """

    browser: str
    verifier: str
    nonce: str
    redirect: str | None
    errors: str | None
    user: str | None


class Visit:
    """Somebody who has come back and whose code was changed for tokens.

    Attributes:
        claims: what the verified ID token says; empty if the provider gives none.
        posted: what came with the code itself. It has gone through the hands of the browser.
        userinfo: the address that tells who they are, if the provider has one.
    """

    def __init__(
        self, claims: Mapping[str, Any], posted: Mapping[str, str], endpoints: Endpoints, access_token: str
    ) -> None:
        self.claims = claims
        self.posted = posted
        self.userinfo = endpoints.userinfo
        self._access_token = access_token

    async def get(self, url: str, *, configured: str | None = None) -> Any:
        """Asks the provider for a JSON document, in their name.

        Args:
            url: where it is.
            configured: the address that the author of the app has written, if `url` is not that itself.

        Raises:
            FetchFailed: it cannot be had.
        """
        from yugen.fetch import Fetcher, FetchFailed  # noqa: PLC0415 -- takes 200 ms

        headers = {"Authorization": f"Bearer {self._access_token}"}
        fetched = await Fetcher()(url, configured=configured or url, headers=headers)
        try:
            return values.parse_json(fetched.body)  # which takes no half characters, as json does
        except values.InvalidValue:
            raise FetchFailed(f"{url[:200]!r} is no JSON") from None


class OAuth(Part):
    """A provider where people can sign in: `OAuth("acme", issuer="https://id.acme.example")`, or a preset.

    It has either an issuer, which publishes all else (OpenID Connect Discovery 1.0), or the addresses of its own.
    Its address for the provider to send people back to is `/auth/callback/<name>` below that of the deployment.

    Args:
        name: what it is called here: in addresses, and for each account.
        title: what people call it.
        issuer: the address of an OpenID Connect provider.
        authorize_url: where people are sent, of one that is none.
        token_url: where codes are changed for tokens.
        userinfo_url: what tells who somebody is.
        client_id: the environment variable that holds what the app is called there; `NAME_CLIENT_ID` by default.
        client_secret: the one with the secret; `NAME_CLIENT_SECRET` by default, None for an app that has none there.
        scopes: what the app asks to know.
        parameters: more to be sent along.
        token_auth: how the app shows its secret: `client_secret_basic` or `client_secret_post`. By default as the
            provider publishes.
        trust_email: whether an address counts of which the provider says that it is verified. Whoever can make it
            say so of an address gets into the account of that address.
        sign_up: whether people come to an account by it, and not only into one they have.
        keep_tokens: whether the tokens of the provider are kept, sealed, for `auth.provider_token`.

    Raises:
        ValueError: one of these is not so.
    """

    response_mode: str | None = None
    """How the provider sends people back, if not in the address: `form_post`."""

    needs = ("authlib",)

    def __init__(
        self,
        name: str,
        *,
        title: str | None = None,
        issuer: str | None = None,
        authorize_url: str | None = None,
        token_url: str | None = None,
        userinfo_url: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = "",
        scopes: Sequence[str] | None = None,
        parameters: Mapping[str, str] | None = None,
        token_auth: str | None = None,
        trust_email: bool = False,
        sign_up: bool = True,
        keep_tokens: bool = False,
    ) -> None:
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise ValueError(f"OAuth: {name!r} is no name for a provider; write small letters, as in `acme-id`.")
        if (issuer is None) == (authorize_url is None or token_url is None):
            raise ValueError(
                f"OAuth {name}: give either `issuer`, or `authorize_url`, `token_url` and `userinfo_url` of a provider "
                "that does not speak OpenID Connect."
            )
        for url in (None if issuer is None else full_issuer(issuer), authorize_url, token_url, userinfo_url):
            if url is not None and not is_safe_url(url, url):
                raise ValueError(f"OAuth {name}: {url!r} is no address to send secrets to; write one with https://.")
        prefix = name.upper().replace("-", "_")
        self.name = name
        self.title = title or name
        self.issuer = issuer
        self.authorize_url = authorize_url
        self.token_url = token_url
        self.userinfo_url = userinfo_url
        self.client_id = client_id or f"{prefix}_CLIENT_ID"
        self.client_secret = f"{prefix}_CLIENT_SECRET" if client_secret == "" else client_secret
        for argument, variable in (("client_id", self.client_id), ("client_secret", self.client_secret)):
            if variable is not None and not _VARIABLE.fullmatch(variable):
                raise ValueError(
                    f"OAuth {name}: `{argument}` names an environment variable, such as {prefix}_{argument.upper()}; "
                    "set the value itself with `yugen env set`."
                )
        self.scopes = tuple(scopes if scopes is not None else (("openid", "email", "profile") if issuer else ()))
        self.parameters = dict(parameters or {})
        self.token_auth = token_auth
        self.trust_email = trust_email
        self.sign_up = sign_up
        self.keep_tokens = keep_tokens
        self._documents: Documents | None = None

    def endpoints(self) -> tuple[Endpoint, ...]:
        found = (
            Endpoint("POST", f"/sign-in/oauth/{self.name}", self._start),
            Endpoint("GET", f"/sign-in/oauth/{self.name}", self._start_by_link),
            Endpoint("POST", f"/link/oauth/{self.name}", self._link),
            Endpoint("POST", f"/unlink/oauth/{self.name}", self._unlink),
            Endpoint("GET", f"/callback/{self.name}", self._callback),
        )
        if self.response_mode == "form_post":
            return (*found, Endpoint("POST", f"/callback/{self.name}", self._posted, cross_site=True))
        return found

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "oauth", "title": self.title}

    @property
    def module(self) -> Any:
        return provider_accounts  # of the presets too, which have no functions of their own

    # What a provider may do in its own way --------------------------------------------------------------------------

    def is_issuer(self, published: str, issuer: str) -> bool:
        """Whether an issuer that a token or an answer names is this provider.

        Args:
            published: how the provider spells itself.
            issuer: what is named.
        """
        from yugen.auth import openid  # noqa: PLC0415 -- takes 200 ms

        return openid.is_issuer(published, issuer)

    def secret_of(self, ctx: ActionCtx) -> str | None:
        """What the app shows at the provider; None if it has no secret there."""
        return None if self.client_secret is None else self.variable(ctx, self.client_secret)

    async def look_up(self, visit: Visit) -> Profile:
        """Finds out who has come back.

        Raises:
            FetchFailed: the provider does not tell.
            Untrusted: it tells of somebody else.
        """
        from yugen.auth.openid import Untrusted  # noqa: PLC0415 -- takes 200 ms

        claims = visit.claims
        complete = "email" in claims or "email" not in self.scopes
        if visit.userinfo is not None and not (claims and complete):
            told = await visit.get(visit.userinfo, configured=self.issuer)
            if not isinstance(told, dict):
                raise Untrusted("what it tells of somebody is no JSON object")
            if claims and told.get("sub") != claims["sub"]:
                # OpenID Connect Core 1.0, 5.3.2: it may be about somebody else.
                raise Untrusted("what it tells is about somebody else than the ID token")
            claims = {**told, **claims}
        return self.profile(claims)

    def profile(self, claims: Mapping[str, Any]) -> Profile:
        """What the claims say (OpenID Connect Core 1.0, 5.1)."""
        return Profile(
            subject=text_of(claims, "sub") or "",
            email=text_of(claims, "email"),
            email_verified=says_yes(claims.get("email_verified")),
            name=text_of(claims, "name") or text_of(claims, "preferred_username"),
            image=text_of(claims, "picture"),
        )

    def variable(self, ctx: ActionCtx, name: str) -> str:
        """An environment variable of the deployment.

        Raises:
            AuthError: it is not set.
        """
        value = ctx.env.get(name)
        if not value:
            logger.warning("nobody can sign in with %s: set %s with `yugen env set %s`", self.title, name, name)
            message = f"Signing in with {self.title} is not set up here."
            if ctx.env["YUGEN_ENVIRONMENT"] != "prod":
                message = f"Signing in with {self.title} is not set up here: set {name} with `yugen env set {name}`."
            raise AuthError("NotSetUp", message, 503)
        return value

    # On the way there -----------------------------------------------------------------------------------------------

    async def _start(self, request: AuthRequest) -> Mapping[str, Any] | Response:
        return await self._leave(request, None)

    async def _start_by_link(self, request: AuthRequest) -> Mapping[str, Any] | Response:
        # A page of somebody else could sign in whoever sits before it without their having asked for it.
        if request.http.headers.get("sec-fetch-site") not in ("same-origin", "none"):
            raise AuthError(
                "UntrustedOrigin", "Start from a page of this site; pages of other origins send a form (POST).", 403
            )
        return await self._leave(request, None)

    async def _link(self, request: AuthRequest) -> Mapping[str, Any] | Response:
        user, _ = await request.signed_in(freshly=True)
        return await self._leave(request, user.id)

    async def _unlink(self, request: AuthRequest) -> Mapping[str, Any]:
        user, session = await request.signed_in(freshly=True)
        await request.ctx.run_mutation(
            provider_accounts.unlink,
            user=user.id,
            session=session.id,
            provider=self.name,
            address=request.address,
            agent=request.agent,
        )
        return {}

    async def _leave(self, request: AuthRequest, user: str | None) -> Mapping[str, Any] | Response:
        """Sends somebody to the provider."""
        ctx = request.ctx
        redirect, errors = destination(request, "redirect"), destination(request, "errorRedirect")
        state, nonce, verifier = crypto.new_token(), crypto.new_token(), crypto.new_token()
        # Those who sign in by two pages at once come back to both.
        browser = request.cookie(BROWSER_COOKIE) or crypto.new_token()
        async with asking(self):
            endpoints = await self.find_endpoints()
            async with self.client(ctx, endpoints, request) as client:
                url, _ = client.create_authorization_url(
                    endpoints.authorize,
                    state=state,
                    code_verifier=verifier,
                    scope=" ".join(self.scopes) or None,
                    nonce=nonce if endpoints.issuer is not None else None,
                    response_mode=self.response_mode,
                    **self.parameters,
                )
        journey = Journey(
            browser=crypto.digest(browser), verifier=verifier, nonce=nonce, redirect=redirect, errors=errors, user=user
        )
        await ctx.run_mutation(
            provider_accounts.leave,
            provider=self.name,
            state=crypto.digest(state),
            journey=crypto.seal(request.secret, "oauth journey", journey),
            address=request.address,
        )
        request.set_cookie(BROWSER_COOKIE, browser, ctx.now + milliseconds(AWAY))
        if request.is_form or request.http.method != "POST":
            return _see_other(url)
        return {"url": url}

    # On the way back ------------------------------------------------------------------------------------------------

    async def _posted(self, request: AuthRequest) -> Response:
        """Takes what the provider's page has posted, and has the browser bring it by itself.

        No cookie comes along with what another site's page posts, so nobody knows here whose browser that is.
        It comes along with the `GET` that follows.
        """
        fields = {name: value for name, value in request.fields.items() if name in _BACK}
        if sum(len(str(value)) for value in fields.values()) > CODE_LENGTH_MAX:
            raise _stale(self)
        sealed = crypto.seal(request.secret, f"oauth posted {self.name}", fields)
        return _see_other(f"{self._callback_url(request)}?{urlencode({'posted': sealed})}")

    async def _callback(self, request: AuthRequest) -> Response:
        # Only browsers come here, and they want a page.
        request.is_form = "text/html" in request.http.headers.get("accept", "")
        fields = request.fields
        if self.response_mode == "form_post":
            posted = str(fields.get("posted", ""))
            opened = crypto.unseal(request.secret, f"oauth posted {self.name}", posted, seconds_max=POSTED_SECONDS)
            fields = opened or {}
        given = {name: value for name in _BACK if isinstance(value := fields.get(name), str)}
        journey = await self._came_back(request, given)
        try:
            return await self._arrive(request, given, journey)
        except AuthError as error:
            if journey["errors"] is None:
                raise
            target, hash_, fragment = journey["errors"].partition("#")
            separator = "&" if "?" in target else "?"
            return _see_other(f"{target}{separator}{urlencode({'error': error.code})}{hash_}{fragment}")

    async def _came_back(self, request: AuthRequest, given: Mapping[str, str]) -> Journey:
        """What this browser was sent away with.

        Raises:
            AuthError: it was not, or has come back before.
        """
        state, browser = given.get("state"), request.cookie(BROWSER_COOKIE)
        if not state:
            raise _stale(self)
        sealed = await request.ctx.run_mutation(
            provider_accounts.come_back, provider=self.name, state=crypto.digest(state)
        )
        opened = None if sealed is None else crypto.unseal(request.secret, "oauth journey", sealed)
        if opened is None or browser is None or opened["browser"] != crypto.digest(browser):
            raise _stale(self)
        journey: Journey = opened
        return journey

    async def _arrive(self, request: AuthRequest, given: Mapping[str, str], journey: Journey) -> Response:
        """Signs somebody in who has come back, or adds the account that they have there to theirs."""
        ctx = request.ctx
        async with asking(self):
            endpoints = await self.find_endpoints()
            self._check_sender(given, endpoints)
            if "error" in given or not given.get("code"):
                raise self._refused(given)
            tokens = await self._change(request, endpoints, given["code"], journey)
            claims = await self._claims(ctx, endpoints, tokens, journey)
            person = self._person(await self.look_up(Visit(claims, given, endpoints, tokens["access_token"])))
        sealed = None
        if self.keep_tokens:
            sealed = sealed_tokens(self, request.secret, ctx.now, person["subject"], tokens)
        if journey["user"] is not None:
            user, session = await request.signed_in()
            if user.id != journey["user"]:
                raise AuthError("OtherUser", "Somebody else is signed in now; start again.", 403)
            await ctx.run_mutation(
                provider_accounts.link,
                user=user.id,
                session=session.id,
                provider=self.name,
                person=person,
                tokens=sealed,
                address=request.address,
                agent=request.agent,
            )
            answer: dict[str, Any] = {}
        else:
            token = crypto.new_token()
            signed_in = await ctx.run_mutation(
                provider_accounts.sign_in,
                provider=self.name,
                person=person,
                tokens=sealed,
                device=request.device(token),
            )
            answer = request.has_signed_in(token, signed_in)
        redirect = journey["redirect"]
        if request.auth.pages is None or (redirect is not None and "secondFactor" not in answer):
            return _see_other(redirect or "/")
        request.fields = {} if redirect is None else {"redirect": redirect}
        return request.auth.pages.done(request, f"/callback/{self.name}", answer)

    def _check_sender(self, given: Mapping[str, str], endpoints: Endpoints) -> None:
        """Refuses what another provider has sent (RFC 9207, 2.4), which would get the code of this one (mix-up)."""
        from yugen.auth.openid import Untrusted  # noqa: PLC0415 -- takes 200 ms

        if endpoints.issuer is None:
            return  # The address that each provider sends people to is its own (RFC 9700, 4.4.2.2).
        sender = given.get("iss")
        if sender is None and endpoints.names_itself:
            raise Untrusted("it does not say from whom it is (`iss`), which it always does")
        if sender is not None and not self.is_issuer(endpoints.issuer, sender):
            raise Untrusted(f"it is from another issuer, {sender[:200]!r}")

    def _refused(self, given: Mapping[str, str]) -> AuthError:
        """What to say to those who come back without a code. What the provider says is for the log."""
        error = given.get("error", "no code")
        if error in ("access_denied", "user_cancelled_login", "user_cancelled_authorize"):
            return AuthError("Cancelled", f"Signing in with {self.title} was cancelled; try again, or another way.")
        shown = error if _ERROR.fullmatch(error) else "an error"
        logger.warning("%s: %.64r: %.200r", self.title, shown, given.get("error_description", ""))
        return AuthError("ProviderRefused", f"{self.title} has not let you sign in; try again, or another way.")

    async def _change(self, request: AuthRequest, endpoints: Endpoints, code: str, journey: Journey) -> dict[str, Any]:
        """Changes a code for tokens."""
        from yugen.fetch import failing  # noqa: PLC0415 -- takes 200 ms

        if len(code) > CODE_LENGTH_MAX:
            raise _stale(self)
        async with failing(endpoints.token), self.client(request.ctx, endpoints, request) as client:
            tokens = await client.fetch_token(
                endpoints.token, grant_type="authorization_code", code=code, code_verifier=journey["verifier"]
            )
        return read_tokens(tokens)

    async def _claims(
        self, ctx: ActionCtx, endpoints: Endpoints, tokens: Mapping[str, Any], journey: Journey
    ) -> dict[str, Any]:
        """What the ID token says, if the provider is one that gives some."""
        from yugen.auth import openid  # noqa: PLC0415 -- takes 200 ms

        published = endpoints.issuer
        if published is None or self.issuer is None:
            return {}
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise openid.Untrusted("there is no ID token; ask for the scope `openid`")
        return await openid.verified(
            token,
            self._published,
            endpoints,
            configured=self.issuer,
            accepts=lambda issuer: self.is_issuer(published, issuer),
            client_id=self.variable(ctx, self.client_id),
            nonce=journey["nonce"],
            access_token=tokens["access_token"],
            now=ctx.now / 1000,
        )

    def _person(self, profile: Profile) -> Person:
        """A profile, with what cannot be used left out.

        Raises:
            Untrusted: it does not say whom it is about.
        """
        from yugen.auth.openid import SUBJECT_LENGTH_MAX, Untrusted  # noqa: PLC0415 -- takes 200 ms

        if not 0 < len(profile.subject) <= SUBJECT_LENGTH_MAX:
            raise Untrusted("it does not say who this is")
        try:
            email = None if profile.email is None else users.checked_email(profile.email)
        except AuthError:
            email = None
        name = "".join(each for each in profile.name or "" if each.isprintable())[: users.NAME_LENGTH_MAX]
        return Person(
            subject=profile.subject,
            email=email,
            owned=email is not None and profile.email_verified and self.trust_email,
            name=users.checked_name(name),
            image=profile.image if _is_image(profile.image) else None,
        )

    # Asking the provider --------------------------------------------------------------------------------------------

    @property
    def _published(self) -> Documents:
        from yugen.auth.openid import Documents  # noqa: PLC0415 -- takes 200 ms

        if self._documents is None:
            self._documents = Documents()
        return self._documents

    async def find_endpoints(self) -> Endpoints:
        """Where the provider is asked.

        Raises:
            FetchFailed: it does not say.
        """
        from yugen.auth import openid  # noqa: PLC0415 -- takes 200 ms

        if self.issuer is not None:
            return await openid.discover(self._published, self.issuer)
        assert self.authorize_url is not None
        assert self.token_url is not None
        return openid.Endpoints(authorize=self.authorize_url, token=self.token_url, userinfo=self.userinfo_url)

    def client(self, ctx: ActionCtx, endpoints: Endpoints, request: AuthRequest | None = None) -> Any:
        """Authlib's client for the provider."""
        from authlib.integrations.httpx_client import AsyncOAuth2Client  # noqa: PLC0415 -- takes 200 ms

        from yugen.fetch import Outward, client_options  # noqa: PLC0415 -- as above

        secret = self.secret_of(ctx)
        preferred = next((each for each in endpoints.token_auth if each in _SHOWN), "client_secret_basic")
        client = AsyncOAuth2Client(
            client_id=self.variable(ctx, self.client_id),
            client_secret=secret,
            token_endpoint_auth_method="none" if secret is None else self.token_auth or preferred,
            code_challenge_method="S256",
            redirect_uri=None if request is None else self._callback_url(request),
            **client_options(Outward(self.issuer or endpoints.token)),
        )
        for answer in ("access_token_response", "refresh_token_response"):
            client.register_compliance_hook(answer, _readable)
        return client

    def _callback_url(self, request: AuthRequest) -> str:
        return f"{request.base}/auth/callback/{self.name}"


@asynccontextmanager
async def asking(part: OAuth) -> AsyncIterator[None]:
    """Tells people in a few words what goes wrong while a provider is asked, and the log why."""
    from authlib.integrations.base_client import OAuthError  # noqa: PLC0415 -- takes 200 ms

    from yugen.auth.openid import Untrusted  # noqa: PLC0415 -- as above
    from yugen.fetch import FetchFailed  # noqa: PLC0415 -- as above

    try:
        async with asyncio.timeout(ASKING_SECONDS):
            yield
    except (FetchFailed, TimeoutError) as error:
        logger.warning("%s: %s", part.title, error)
        raise AuthError("ProviderUnavailable", f"{part.title} cannot be reached; try again in a moment.", 502) from None
    except (Untrusted, OAuthError) as error:
        logger.warning("%s: %.300r", part.title, str(error))
        raise AuthError(
            "ProviderRefused", f"{part.title} has not let you sign in; try again, or another way."
        ) from None


# Small things ---------------------------------------------------------------------------------------------------------


def _see_other(url: str) -> Response:
    """Has the browser go elsewhere, by `GET` whatever it has sent."""
    from starlette.responses import Response  # noqa: PLC0415 -- of those who have routes

    return Response(status_code=303, headers={"Location": url})


def _stale(part: OAuth) -> AuthError:
    return AuthError("InvalidState", f"This way back from {part.title} is good no more; start again.")


def _readable(response: Any) -> Any:
    """What a provider answers who is asked for tokens, unless there are none that Authlib can read.

    It takes whatever says when one ends for a number, and tokens also where the status says that there are none.

    Raises:
        FetchFailed: there are none in it, and no error.
        Untrusted: one ends at no time.
    """
    from yugen.auth.openid import Untrusted, json_object  # noqa: PLC0415 -- takes 200 ms
    from yugen.fetch import FetchFailed  # noqa: PLC0415 -- as above

    given = json_object(response.content)
    if given is None or not (response.is_success or "error" in given):
        raise FetchFailed(f"answers {response.status_code}, and neither tokens nor an error")
    for name in ("expires_in", "expires_at"):
        value = given.get(name)
        if value is not None and not (isinstance(value, int | float) or _SECONDS.fullmatch(str(value))):
            raise Untrusted(f"it has given a token that ends at no time, {str(value)[:40]!r}")
    return response


def read_tokens(given: Any) -> dict[str, Any]:
    """What a provider has given for a code.

    Raises:
        Untrusted: there is nothing to ask with among it.
    """
    from yugen.auth.openid import Untrusted  # noqa: PLC0415 -- takes 200 ms

    access_token = given.get("access_token")
    is_text = isinstance(access_token, str) and access_token.isascii() and access_token.isprintable()
    if not is_text or not access_token:
        raise Untrusted("it has given no access token")
    if str(given.get("token_type", "bearer")).lower() != "bearer":
        raise Untrusted("it has given a token of another kind than `bearer`")
    return dict(given)


def _is_image(url: str | None) -> bool:
    return url is not None and len(url) <= IMAGE_LENGTH_MAX and url.startswith("https://") and url.isprintable()


def text_of(claims: Mapping[str, Any], name: str) -> str | None:
    """A claim that is text; None for anything else."""
    value = claims.get(name)
    return value if isinstance(value, str) and value else None


def says_yes(claim: object) -> bool:
    """Whether a claim is true; some providers write it as text."""
    return claim is True or claim == "true"
