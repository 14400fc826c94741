"""Origins of the web: which pages are ours, which are trusted, and where a browser may be sent from here.

An origin is a scheme, a host and a port (RFC 6454), compared as a whole. Everything here is strict: what is not plainly
an origin, or plainly an address of one that is trusted, is neither, so that no reading of it by a browser matters.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from yugen.errors import Refused

TARGET_SIZE_MAX: Final = 2048
"""Characters of an address that a browser is sent to."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::([0-9]{1,5}))?")
_BELOW: Final = "*."
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")

# Of RFC 3986: no space, no control character, no backslash, and nothing that is not ASCII.
_TARGET: Final = re.compile(r"(?i:(https?://[a-z0-9_.:\[\]-]+))?([/?#][A-Za-z0-9\-._~!$&'()*+,;=:@%/?#\[\]]*)?")
# What others may take for a slash or for the end of the path once they have decoded it.
_HIDDEN: Final = re.compile(r"//|%(?:[01][0-9a-f]|2f|5c|7f)", re.IGNORECASE)


class BadOrigin(Refused):
    """What is to be trusted, and is no origin."""

    code = "BadOrigin"


class Origin(NamedTuple):
    """An origin.

    Attributes:
        scheme: in small letters.
        host: in small letters, as browsers write it; IPv6 in brackets.
        port: also where it is the scheme's own.
    """

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        port = "" if self.port in (None, _DEFAULT_PORTS.get(self.scheme)) else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


def parse_origin(text: str) -> Origin | None:
    """The origin that a text is: of a header `Origin`, or as people write it. None for `null` and all that is none."""
    found = _ORIGIN.fullmatch(text.lower()) if text.isascii() else None
    if found is None:
        return None
    scheme, host, port = found.groups()
    number = _DEFAULT_PORTS.get(scheme) if port is None else int(port)
    host = _canonical(host)
    if host is None or (number is not None and number > 65535):
        return None
    return Origin(scheme, host, number)


def origin_of(url: str) -> Origin | None:
    """The origin of an address, as one of our own; None if it has none."""
    return parse_origin("/".join(url.split("/", 3)[:3]))


def _canonical(host: str) -> str | None:
    """A host as browsers write it; None if they would read it otherwise than it looks."""
    try:
        if host.startswith("["):
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            # Browsers take 127.1, 0x7f.1 and 2130706433 for addresses.
            return str(ipaddress.IPv4Address(host))
    except ValueError:
        return None
    return host


class Origins:
    """The origins that somebody trusts.

    Args:
        trusted: `https://app.example.com`, or `https://*.example.com` for all below `example.com`, which it is not
            itself.

    Raises:
        BadOrigin: one of them is none.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._exact: set[Origin] = set()
        self._below: set[Origin] = set()
        for text in trusted:
            scheme, separator, rest = text.partition("://")
            below = rest.startswith(_BELOW)
            origin = parse_origin(f"{scheme}{separator}{rest.removeprefix(_BELOW)}")
            if origin is None:
                raise BadOrigin(
                    f"{text!r} is not an origin; write scheme and host as https://app.example.com, without a path, or "
                    "https://*.example.com for all below it."
                )
            if below and not _may_have_below(origin.host):
                raise BadOrigin(f"{text!r} is too wide, or has no hosts below it; name a domain of yours after `*.`.")
            (self._below if below else self._exact).add(origin)

    def __bool__(self) -> bool:
        return bool(self._exact or self._below)

    def trusts(self, origin: Origin | None) -> bool:
        """Whether an origin is one of them."""
        if origin is None:
            return False
        if origin in self._exact:
            return True
        host = origin.host
        while self._below and "." in host:
            host = host.partition(".")[2]
            if origin._replace(host=host) in self._below:
                return True
        return False


def _may_have_below(host: str) -> bool:
    """Whether hosts below this one are likely to be of one owner."""
    if host.startswith("["):
        return False
    labels = host.split(".")
    return host == "localhost" or (len(labels) > 1 and not _NUMBER.fullmatch(labels[-1]))


@lru_cache(maxsize=64)
def _origins(trusted: tuple[str, ...]) -> Origins:
    return Origins(trusted)


def is_trusted(origin: str | None, own: str, trusted: Sequence[str] = ()) -> bool:
    """Whether a page of an origin may ask in the name of whoever sits before it.

    Args:
        origin: the header `Origin` of a request, or what else names one.
        own: the origin that the request came to, or an address there.
        trusted: others, as `Origins` takes them.

    Raises:
        BadOrigin: one of `trusted` is none.
    """
    parsed = None if origin is None else parse_origin(origin)
    return parsed is not None and (parsed == origin_of(own) or _origins(tuple(trusted)).trusts(parsed))


def cross_site(headers: Mapping[str, str], own: str, trusted: Sequence[str] = ()) -> bool:
    """Whether a request may come from a page that is not to be trusted, so that its cookies must not count.

    `Origin` decides, which browsers send with all that can change anything and no page can set; where it is missing,
    `Sec-Fetch-Site`; where both are, a request with cookies is refused and one without is nobody's in any case.

    Args:
        headers: of the request, looked up in small letters.
        own: the origin that the request came to, or an address there.
        trusted: others, as `Origins` takes them.

    Raises:
        BadOrigin: one of `trusted` is none.
    """
    origin = headers.get("origin")
    if origin is not None:
        return not is_trusted(origin, own, trusted)
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    return "cookie" in headers


def safe_redirect(target: str, own: str, trusted: Sequence[str] = ()) -> str | None:
    """An address that came with a request, if a browser can be sent there and stays with us or whom we trust.

    Args:
        target: `/path?query#part` on our own origin, or a whole address over HTTP.
        own: our origin, or an address there.
        trusted: others, as `Origins` takes them.

    Returns:
        The target as it is, or None.

    Raises:
        BadOrigin: one of `trusted` is none.
    """
    found = _TARGET.fullmatch(target) if len(target) <= TARGET_SIZE_MAX else None
    if found is None:
        return None
    origin, rest = found[1], found[2] or ""
    if _HIDDEN.search(re.split("[?#]", rest, maxsplit=1)[0]):
        return None
    if origin is None:
        return target if rest.startswith("/") else None
    return target if is_trusted(origin, own, trusted) else None
