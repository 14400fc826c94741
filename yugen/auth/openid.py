"""What OpenID Connect providers publish of themselves, and what their ID tokens say once they are verified.

The library that takes tokens apart and verifies them is joserfc, and the claims are Authlib's to check. Which keys and
which algorithms count is decided here, by what the provider publishes and never by the token.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from yugen import values
from yugen.fetch import Fetcher, FetchFailed
from yugen.functions.providers import full_issuer, is_safe_url
from yugen.signatures import Malformed, UnverifiedToken, read_keys, read_token

LEEWAY_SECONDS: Final = 60
"""How far the clocks of a provider and of this machine may be apart."""

KEPT_SECONDS: Final = 600.0
"""How long what a provider publishes is taken for true, unless it says a shorter time."""

ALGORITHMS: Final = frozenset({"RS256", "ES256", "EdDSA"})
"""By which ID tokens may be signed. Those with a secret that is shared are not among them, nor `none`."""

SUBJECT_LENGTH_MAX: Final = 255
"""OpenID Connect Core 1.0, 2."""

_TENANT: Final = "{tenantid}"
_TENANT_ID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class Untrusted(Exception):
    """What came from a provider and does not hold; the text says why, for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where a provider is asked.

    Attributes:
        authorize: where people are sent.
        token: where codes are changed for tokens.
        userinfo: what tells who somebody is, if anything does.
        issuer: what the provider calls itself; `{tenantid}` in it stands for any of its tenants.
        jwks: where its keys are.
        algorithms: by which it signs.
        token_auth: how an app may show there that it is the app.
        names_itself: whether each of its answers says from whom it is (RFC 9207, 3).
    """

    authorize: str
    token: str
    userinfo: str | None = None
    issuer: str | None = None
    jwks: str | None = None
    algorithms: frozenset[str] = frozenset()
    token_auth: tuple[str, ...] = ("client_secret_basic",)
    names_itself: bool = False


class Documents:
    """What providers publish, kept for a while.

    Args:
        fetch: fetches a document.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, fetch: Fetcher | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch or Fetcher()
        self._now = now
        self._kept: dict[str, tuple[dict[str, Any], float]] = {}

    async def get(self, url: str, *, configured: str, anew: bool = False) -> dict[str, Any]:
        """A document, which is a JSON object.

        Args:
            url: where it is.
            configured: the address that the author of the app has written, which led to `url` or is the same.
            anew: whether one that was kept will not do.

        Raises:
            FetchFailed: it cannot be had.
        """
        kept = self._kept.get(url)
        if kept is not None and not anew and self._now() < kept[1]:
            return kept[0]
        fetched = await self._fetch(url, configured=configured)
        document = json_object(fetched.body)
        if document is None:
            raise FetchFailed(f"{url[:200]!r} is no JSON object")
        seconds = KEPT_SECONDS if fetched.max_age is None else min(fetched.max_age, KEPT_SECONDS)
        self._kept[url] = document, self._now() + seconds
        return document


def json_object(text: bytes) -> dict[str, Any] | None:
    """The JSON object that a text holds; None if it holds none."""
    try:
        value = values.parse_json(text)
    except values.InvalidValue:
        return None
    return value if isinstance(value, dict) else None


async def discover(documents: Documents, issuer: str) -> Endpoints:
    """What a provider says of itself (OpenID Connect Discovery 1.0, 4).

    Raises:
        FetchFailed: it does not, or it cannot be reached.
    """
    url = f"{full_issuer(issuer)}/.well-known/openid-configuration"
    document = await documents.get(url, configured=url)
    match document:
        case {
            "issuer": str(named),
            "authorization_endpoint": str(authorize),
            "token_endpoint": str(token),
            "jwks_uri": str(jwks),
        }:
            pass
        case _:
            raise FetchFailed(f"{url!r} is no discovery document of a provider that people can sign in at")
    if not _is_about(named, full_issuer(issuer)):
        raise FetchFailed(f"{url!r} is about another issuer, {named[:200]!r}")
    if not is_safe_url(authorize, full_issuer(issuer)):
        raise FetchFailed(f"{url!r} would send people to {authorize[:200]!r}, which is not over https")
    userinfo = document.get("userinfo_endpoint")
    return Endpoints(
        authorize=authorize,
        token=token,
        userinfo=userinfo if isinstance(userinfo, str) else None,
        issuer=named,
        jwks=jwks,
        algorithms=ALGORITHMS & {*_texts(document, "id_token_signing_alg_values_supported", ("RS256",))},
        token_auth=_texts(document, "token_endpoint_auth_methods_supported", ("client_secret_basic",)),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _is_about(named: str, issuer: str) -> bool:
    """Whether a document that calls its issuer so is about this one."""
    if _TENANT in named:  # as Microsoft Entra does it where several tenants are meant
        return urlsplit(named).hostname == urlsplit(issuer).hostname
    return full_issuer(named) == issuer


def is_issuer(published: str, issuer: str) -> bool:
    """Whether an issuer is the one that a provider says it is, or one of its tenants."""
    if _TENANT not in published:
        return published == issuer
    pattern = re.escape(published).replace(re.escape(_TENANT), _TENANT_ID)
    return re.fullmatch(pattern, issuer) is not None


async def verified(
    token: str,
    documents: Documents,
    endpoints: Endpoints,
    *,
    configured: str,
    accepts: Callable[[str], bool],
    client_id: str,
    nonce: str,
    access_token: str,
    now: float,
) -> dict[str, Any]:
    """What an ID token says, once it is known to be one of the provider, for this app and for this sign-in.

    Args:
        token: the token.
        documents: has the keys.
        endpoints: of the provider.
        configured: the address that the author of the app has written.
        accepts: whether an issuer is the provider.
        client_id: what the app is called there.
        nonce: what this sign-in was begun with.
        access_token: what it came with.
        now: what time it is, in seconds since the epoch.

    Raises:
        Untrusted: it is none, or another.
        FetchFailed: the keys cannot be had.
    """
    try:
        unverified = read_token(token)
    except Malformed as error:
        raise Untrusted(f"the ID token {error}") from None
    if not isinstance(unverified.algorithm, str) or unverified.algorithm not in endpoints.algorithms:
        raise Untrusted(f"the ID token is signed by {str(unverified.algorithm)[:40]!r}")
    issuer = unverified.claims.get("iss")
    if not isinstance(issuer, str) or not accepts(issuer):
        raise Untrusted(f"the ID token is of another issuer, {str(issuer)[:200]!r}")
    assert endpoints.jwks is not None
    for anew in (False, True):
        key_set = await documents.get(endpoints.jwks, configured=configured, anew=anew)
        if _is_signed(unverified, key_set, issuer):
            break
    else:
        raise Untrusted("the ID token is not signed with a key of its issuer")
    return _checked(unverified, issuer, client_id, nonce, access_token, now)


def _is_signed(token: UnverifiedToken, key_set: Mapping[str, Any], issuer: str) -> bool:
    """Whether a token is signed with one of the keys that have its name, and are good for its issuer."""
    given = key_set.get("keys")
    fitting = [key for key in given if _is_of(key, issuer)] if isinstance(given, list) else []
    try:
        keys = read_keys(json.dumps({"keys": fitting}).encode())
    except Malformed:
        return False
    return any(token.is_signed_with(key) for key in keys if token.kid in (None, key.kid))


def _is_of(key: Any, issuer: str) -> bool:
    """Whether a key is one of an issuer, which Microsoft Entra says of each: tenants have keys of their own there."""
    named = key.get("issuer") if isinstance(key, dict) else None
    return not isinstance(named, str) or is_issuer(named, issuer)


def _checked(
    token: UnverifiedToken, issuer: str, client_id: str, nonce: str, access_token: str, now: float
) -> dict[str, Any]:
    """The claims of a token that is signed as it should be (OpenID Connect Core 1.0, 3.1.3.7).

    Raises:
        Untrusted: they are for somebody else, for another sign-in, or for another time.
    """
    from authlib.oidc.core import CodeIDToken  # noqa: PLC0415 -- of the extra `auth`
    from joserfc.errors import JoseError  # noqa: PLC0415 -- as above

    claims = CodeIDToken(
        token.claims,
        {"alg": token.algorithm},
        {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}},
        {"nonce": nonce, "client_id": client_id, "access_token": access_token},
    )
    try:
        claims.validate(now=int(now), leeway=LEEWAY_SECONDS)
    except (JoseError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Untrusted(f"the ID token does not hold: {error}") from None
    subject = token.claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_LENGTH_MAX:
        raise Untrusted("the ID token does not say whose it is")
    return token.claims


def _texts(document: Mapping[str, Any], name: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    given = document.get(name)
    return tuple(each for each in given if isinstance(each, str)) if isinstance(given, list) else otherwise
