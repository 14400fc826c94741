"""Whose tokens an app trusts: what its `auth.py` lists as `providers`."""

from __future__ import annotations

import base64
import ipaddress
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit

from yugen.errors import Refused

__all__ = ["JwtProvider", "OidcProvider", "OutsideProvider", "OwnProvider", "Provider", "ProviderError"]


class ProviderError(Refused):
    """A provider that cannot be one as it is written."""

    code = "ProviderError"


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcProvider:
    """An OpenID Connect provider, which publishes where its keys are. It signs with RS256 or EdDSA.

    Args:
        issuer: its address, `https://id.example`; below it is `.well-known/openid-configuration`.
        audience: the client id of the app there, which tokens must be meant for.

    Raises:
        ProviderError: the issuer is no address to fetch keys from, or the audience is empty.
    """

    issuer: str
    audience: str

    def __post_init__(self) -> None:
        _check_text("OidcProvider: the issuer", self.issuer)
        _check_url("OidcProvider: the issuer", full_issuer(self.issuer))
        if "?" in self.issuer:
            raise ProviderError(f"OidcProvider: the issuer ends before the `?` of {self.issuer!r}.")
        _check_text("OidcProvider: the audience", self.audience)


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtProvider:
    """Anyone who signs JSON Web Tokens and says with which keys.

    Args:
        issuer: what tokens hold as `iss`.
        audience: what tokens must be meant for; with None anything will do.
        jwks: where the set of its public keys is: an `https:` address, or a `data:` URI that holds it.
        algorithm: the only one that tokens may be signed with.

    Raises:
        ProviderError: one of these is not so.
    """

    issuer: str
    audience: str | None = None
    jwks: str
    algorithm: Literal["RS256", "ES256"] = "RS256"

    def __post_init__(self) -> None:
        _check_text("JwtProvider: the issuer", self.issuer)
        if self.audience is not None:
            _check_text("JwtProvider: the audience, if there is one,", self.audience)
        _check_text("JwtProvider: jwks", self.jwks)
        if self.jwks.startswith("data:"):
            inline_keys(self.jwks)
        else:
            _check_url("JwtProvider: jwks", self.jwks)
        if self.algorithm not in ("RS256", "ES256"):
            raise ProviderError(f'JwtProvider: the algorithm is "RS256" or "ES256", not {self.algorithm!r}.')


@dataclass(frozen=True, slots=True)
class KeyKind:
    """Something that callers show instead of a token, and that the app knows by its hash: SHA-256 in hexadecimal.

    Attributes:
        prefix: what it begins with.
        standing: the internal query that takes the `hash` and gives None, or whose it is:
            `{subject, claims, since, expires}`, from when and until when in milliseconds since the epoch, or null.
            What time it is, is not for it to say: its answer is kept.
        noted: the internal mutation that takes the `hash` and writes down that one is in use, now and then.
    """

    prefix: str
    standing: str
    noted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnProvider:
    """The app itself, which signs tokens for those who have signed in to it; see `yugen.auth`.

    Its issuer is the address of its HTTP actions. All of its queries are internal.

    Args:
        audience: what its tokens are meant for.
        key_set: the query that gives its public keys, as JSON text.
        standing: the query that tells whether what a token's claim `sid` names still stands.
        keys: what else than tokens callers may show.
    """

    audience: str
    key_set: str
    standing: str
    keys: tuple[KeyKind, ...] = ()

    @property
    def issuer(self) -> str:
        """What errors call it."""
        return "this deployment"


OutsideProvider: TypeAlias = OidcProvider | JwtProvider
"""One that has keys of its own, which are to be fetched."""

Provider: TypeAlias = OutsideProvider | OwnProvider


def provider_to_data(provider: Provider) -> tuple[str, dict[str, Any]]:
    """The same as plain data, to be sent between processes."""
    return type(provider).__name__, asdict(provider)


def provider_from_data(data: tuple[str, dict[str, Any]]) -> Provider:
    """What `provider_to_data` was given."""
    name, fields = data
    if name == OwnProvider.__name__:
        fields = {**fields, "keys": tuple(KeyKind(**kind) for kind in fields["keys"])}
    kinds: dict[str, type[Provider]] = {kind.__name__: kind for kind in (OidcProvider, JwtProvider, OwnProvider)}
    return kinds[name](**fields)


def full_issuer(issuer: str) -> str:
    """An issuer as issuers are compared: with its `https://`, and without a `/` at its end."""
    return (issuer if "://" in issuer else f"https://{issuer}").removesuffix("/")


def inline_keys(uri: str) -> bytes:
    """The JSON text of the key set that a `data:` URI holds.

    Raises:
        ProviderError: it holds none.
    """
    head, _, body = uri.removeprefix("data:").partition(",")
    text = unquote_to_bytes(body)
    try:
        if head.endswith(";base64"):
            text = base64.b64decode(text, validate=True)
        keys = json.loads(text)
    except (ValueError, RecursionError):
        keys = None
    if not (isinstance(keys, dict) and isinstance(keys.get("keys"), list)):
        raise ProviderError(
            'JwtProvider: the data: URI of jwks holds no key set; encode {"keys": [...]} as '
            '"data:application/json;base64,...".'
        )
    return text


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name or number."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def is_safe_url(url: str, configured: str) -> bool:
    """Whether people and secrets may be sent to an address: over TLS, or on this machine where the author names that.

    Args:
        url: the address.
        configured: the one that the author of the app has written, which led to `url` or is the same.
    """
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return False
    try:
        parts, own = urlsplit(url), urlsplit(configured).hostname or ""
        host = parts.hostname
        if not host or parts.username is not None or parts.port == 0:
            return False
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host) and is_loopback(own))


def _check_text(what: str, text: object) -> None:
    if not isinstance(text, str) or not text or text != text.strip():
        raise ProviderError(f"{what} is text without spaces around it, not {text!r}.")


def _check_url(what: str, url: str) -> None:
    """Refuses addresses from where anybody on the way could hand us keys of their own."""
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        plain = parts.hostname and parts.port != 0 and "@" not in parts.netloc and not parts.fragment
    except ValueError:  # a port or an IPv6 address that is none
        safe = plain = False
    if not (safe and plain):
        raise ProviderError(f"{what} is an https:// address (http:// on this machine only), not {url!r}.")
