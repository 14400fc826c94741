"""Providers that many apps want, with what is peculiar to each: `Auth(google(), github())`.

What they are called at each and its secret are environment variables; see docs/oauth.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from typing_extensions import TypedDict, Unpack

from yugen.auth.errors import AuthError
from yugen.auth.oauth import OAuth, Profile, Visit, logger, says_yes, text_of
from yugen.functions.context import ActionCtx


class Options(TypedDict, total=False):
    """What can be said of any of them; see `OAuth`."""

    title: str
    client_id: str
    client_secret: str | None
    scopes: Sequence[str]
    parameters: Mapping[str, str]
    trust_email: bool
    sign_up: bool
    keep_tokens: bool


def oidc(name: str, *, issuer: str, **options: Unpack[Options]) -> OAuth:
    """Any OpenID Connect provider: `oidc("acme", issuer="https://id.acme.example")`.

    With `trust_email=True` whoever runs it can get into any account here whose address is verified.
    """
    return OAuth(name, issuer=issuer, **options)


# Google ---------------------------------------------------------------------------------------------------------------


class Google(OAuth):
    """Google, as https://developers.google.com/identity/openid-connect/openid-connect describes it."""

    def is_issuer(self, published: str, issuer: str) -> bool:
        return super().is_issuer(published, issuer) or f"https://{issuer}" == published  # either is documented


def google(**options: Unpack[Options]) -> OAuth:
    """Google: `GOOGLE_CLIENT_ID` and `GOOGLE_CLIENT_SECRET`."""
    return Google("google", issuer="https://accounts.google.com", **_with(options, title="Google", trust_email=True))


# GitHub ---------------------------------------------------------------------------------------------------------------


class GitHub(OAuth):
    """GitHub, as https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps describes it."""

    async def look_up(self, visit: Visit) -> Profile:
        assert self.userinfo_url is not None
        user = await visit.get(self.userinfo_url)
        # The address of a profile is what somebody shows the public: it may be none, and is not verified.
        emails = await visit.get(f"{self.userinfo_url}/emails") if "user:email" in self.scopes else []
        return self.profile({"user": user, "emails": emails})

    def profile(self, claims: Mapping[str, Any]) -> Profile:
        user = claims["user"] if isinstance(claims["user"], dict) else {}
        emails = claims["emails"] if isinstance(claims["emails"], list) else []
        primary = next((each for each in emails if isinstance(each, dict) and each.get("primary") is True), {})
        return Profile(
            subject=_number(user, "id"),  # and not the login, which may become somebody else's
            email=text_of(primary, "email"),
            email_verified=primary.get("verified") is True,
            name=text_of(user, "name") or text_of(user, "login"),
            image=text_of(user, "avatar_url"),
        )


def github(**options: Unpack[Options]) -> OAuth:
    """GitHub: `GITHUB_CLIENT_ID` and `GITHUB_CLIENT_SECRET`."""
    return GitHub(
        "github",
        authorize_url="https://github.com/login/oauth/authorize",
        token_url="https://github.com/login/oauth/access_token",
        userinfo_url="https://api.github.com/user",
        token_auth="client_secret_post",
        **_with(options, title="GitHub", trust_email=True, scopes=("read:user", "user:email")),
    )


# Microsoft ------------------------------------------------------------------------------------------------------------

_PERSONAL: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant of all personal accounts."""

_TENANT: Final = re.compile(r"common|organizations|consumers|[0-9a-z](?:[0-9a-z.-]*[0-9a-z])?")


class Microsoft(OAuth):
    """Microsoft, as in https://learn.microsoft.com/en-us/entra/identity-platform/id-token-claims-reference."""

    tenant: str

    def is_issuer(self, published: str, issuer: str) -> bool:
        if not super().is_issuer(published, issuer):
            return False
        # Tokens for several tenants come from each of them (`{tenantid}`), also of those this app is not for.
        personal = f"/{_PERSONAL}/" in issuer
        return {"organizations": not personal, "consumers": personal}.get(self.tenant, True)

    def profile(self, claims: Mapping[str, Any]) -> Profile:
        return Profile(
            subject=text_of(claims, "sub") or "",
            email=text_of(claims, "email"),
            # An administrator of any tenant writes into `email` what they like ("nOAuth"); this one says that the
            # domain is verified to be the tenant's, where the app is registered to get it.
            email_verified=says_yes(claims.get("xms_edov")) or claims.get("xms_edov") in (1, "1"),
            name=text_of(claims, "name"),
        )


def microsoft(*, tenant: str = "common", **options: Unpack[Options]) -> OAuth:
    """Microsoft Entra: `MICROSOFT_CLIENT_ID` and `MICROSOFT_CLIENT_SECRET`.

    Args:
        tenant: whose accounts: the id or a domain of one tenant, `organizations`, `consumers` for personal ones, or
            `common` for all.
        options: as of any provider.

    Raises:
        ValueError: the tenant is none.
    """
    if not _TENANT.fullmatch(tenant):
        raise ValueError(f"microsoft: {tenant!r} is no tenant; give its id, or `common`.")
    made = Microsoft(
        "microsoft",
        issuer=f"https://login.microsoftonline.com/{tenant}/v2.0",
        token_auth="client_secret_post",
        **_with(options, title="Microsoft", trust_email=True),
    )
    made.tenant = tenant
    return made


# Apple ----------------------------------------------------------------------------------------------------------------

_SECRET_SECONDS: Final = 300
"""How long a secret for Apple is good. It is made each time, and may be good for half a year."""


class Apple(OAuth):
    """Apple, as https://developer.apple.com/documentation/signinwithapplerestapi describes it."""

    response_mode = "form_post"

    def secret_of(self, ctx: ActionCtx) -> str | None:
        from joserfc import jwt  # noqa: PLC0415 -- takes 100 ms
        from joserfc.errors import JoseError  # noqa: PLC0415 -- as above
        from joserfc.jwk import ECKey  # noqa: PLC0415 -- as above

        team, kid = self.variable(ctx, "APPLE_TEAM_ID"), self.variable(ctx, "APPLE_KEY_ID")
        text = self.variable(ctx, "APPLE_PRIVATE_KEY").replace("\\n", "\n")  # as some write lines into a variable
        now = int(ctx.now / 1000)
        claims = {
            "iss": team,
            "iat": now,
            "exp": now + _SECRET_SECONDS,
            "aud": "https://appleid.apple.com",
            "sub": self.variable(ctx, self.client_id),
        }
        try:
            return jwt.encode({"alg": "ES256", "kid": kid}, claims, ECKey.import_key(text))
        except (JoseError, ValueError, TypeError) as error:
            logger.warning("APPLE_PRIVATE_KEY is no key as Apple gives them out, a .p8 file: %s", type(error).__name__)
            raise AuthError("NotSetUp", f"Signing in with {self.title} is not set up here.", 503) from None

    async def look_up(self, visit: Visit) -> Profile:
        # Apple tells the name once, the first time, and by the browser: it is what somebody wants to be called and
        # nothing else of it is to be believed.
        return self.profile({**visit.claims, "user": visit.posted.get("user")})

    def profile(self, claims: Mapping[str, Any]) -> Profile:
        from yugen.auth.openid import json_object  # noqa: PLC0415 -- takes 200 ms

        user = json_object((text_of(claims, "user") or "").encode(errors="replace")) or {}
        name = user.get("name") if isinstance(user.get("name"), dict) else {}
        assert isinstance(name, dict)
        parts = (text_of(name, "firstName"), text_of(name, "lastName"))
        return Profile(
            subject=text_of(claims, "sub") or "",
            email=text_of(claims, "email"),
            email_verified=says_yes(claims.get("email_verified")),
            name=" ".join(filter(None, parts)) or None,
        )


def apple(**options: Unpack[Options]) -> OAuth:
    """Apple: `APPLE_CLIENT_ID`, `APPLE_TEAM_ID`, `APPLE_KEY_ID` and `APPLE_PRIVATE_KEY`, the text of the .p8 file."""
    return Apple(
        "apple",
        issuer="https://appleid.apple.com",
        token_auth="client_secret_post",
        **_with(options, title="Apple", trust_email=True, scopes=("openid", "name", "email")),
    )


# Discord --------------------------------------------------------------------------------------------------------------


class Discord(OAuth):
    """Discord, as https://discord.com/developers/docs/topics/oauth2 describes it."""

    def profile(self, claims: Mapping[str, Any]) -> Profile:
        subject, avatar = text_of(claims, "id") or "", text_of(claims, "avatar")
        image = (
            f"https://cdn.discordapp.com/avatars/{quote(subject, safe='')}/{quote(avatar, safe='')}.png"
            if avatar
            else None
        )
        return Profile(
            subject=subject,
            email=text_of(claims, "email"),
            email_verified=claims.get("verified") is True,
            name=text_of(claims, "global_name") or text_of(claims, "username"),
            image=image,
        )


def discord(**options: Unpack[Options]) -> OAuth:
    """Discord: `DISCORD_CLIENT_ID` and `DISCORD_CLIENT_SECRET`."""
    return Discord(
        "discord",
        authorize_url="https://discord.com/oauth2/authorize",
        token_url="https://discord.com/api/oauth2/token",
        userinfo_url="https://discord.com/api/users/@me",
        **_with(options, title="Discord", trust_email=True, scopes=("identify", "email")),
    )


def _with(options: Options, **defaults: Any) -> Any:
    """The options of a preset where the author has given no others."""
    return {**defaults, **options}


def _number(claims: Mapping[str, Any], name: str) -> str:
    """A claim that is a whole number, as text; empty for anything else."""
    value = claims.get(name)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
