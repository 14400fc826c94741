"""Fetching what an identity provider publishes, and from nowhere else.

What `auth.py` says is the author's word, but an address in a discovery document is anyone's who can write there, and a
name may resolve to anything at any time. So the addresses that a name resolves to are looked at, and then connected to
as they are. They must be open to all the internet, unless it is a host of this machine or network that `auth.py` names
itself. Redirects are not followed, and proxies that the environment names not used: where those lead cannot be seen.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import httpx2 as httpx

from yugen.functions.providers import is_loopback

SECONDS_MAX = 5.0
"""How long one document may take, from the name to the last byte."""

CONNECT_SECONDS_MAX = 2.0
"""How long one of the addresses of a host may take to answer before the next one is tried."""

SIZE_MAX = 1024 * 1024
"""Bytes of one document."""

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

_IPV6_INTERNET = ipaddress.IPv6Network("2000::/3")
_IPV6_TO_IPV4 = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")


class FetchFailed(Exception):
    """A document that cannot be had; the text says why, for the log."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document, and how long it may be kept.

    Attributes:
        body: as it came.
        max_age: seconds it says it is good for; None if it does not say.
    """

    body: bytes
    max_age: float | None


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, best first.

    Raises:
        OSError: it has none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class Outward(httpx.AsyncBaseTransport):
    """Where requests to a provider may go, for any client of httpx: to the internet, or where `auth.py` itself says.

    What comes back is neither larger than `SIZE_MAX` nor packed, so that nobody can fill the memory with it.

    Args:
        configured: the address the author of the app has written, which has led to those that are asked.
        resolve: finds the addresses of a host.
        ssl_context: decides which certificates are good; by default as the machine does.
    """

    def __init__(
        self, configured: str, *, resolve: Resolve = resolve, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._configured_host = httpx.URL(configured).host
        self._resolve = resolve
        self._inner = httpx.AsyncHTTPTransport(verify=ssl_context or default_ssl_context(), trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request, to the first of the addresses of its host that can be reached.

        Raises:
            FetchFailed: its host is nowhere to go, or what comes back is too large or packed.
            httpx.HTTPError: it cannot be reached.
        """
        last: httpx.HTTPError | None = None
        for address in await self._addresses(request.url):
            # The certificate is still to be the one of the host; the header Host is that of the request.
            there = httpx.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": request.url.raw_host.decode()},
            )
            try:
                response = await self._inner.handle_async_request(there)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                last = error
                continue
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _Bounded(response.stream, response.headers)
            return response
        assert last is not None
        raise last

    async def aclose(self) -> None:
        """Closes its connections."""
        await self._inner.aclose()

    async def _addresses(self, url: httpx.URL) -> Iterable[Address]:
        on_this_machine = is_loopback(url.host) and is_loopback(self._configured_host)
        if url.scheme != "https" and not (url.scheme == "http" and on_this_machine):
            raise FetchFailed("is not an https:// address")
        host, port = url.raw_host.decode(), url.port or (443 if url.scheme == "https" else 80)
        addresses = {
            address: None
            for address in map(ipaddress.ip_address, await self._resolve(host, port))
            if _is_allowed(address, host, self._configured_host)
        }
        if not addresses:
            raise FetchFailed("is on no public address, nor on one that auth.py itself names by its number")
        return addresses


class _Bounded(httpx.AsyncByteStream):
    """What comes back, until it is too much."""

    def __init__(self, stream: httpx.AsyncByteStream, headers: httpx.Headers) -> None:
        self._stream = stream
        self._packed = headers.get("content-encoding", "identity").strip().lower() != "identity"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._packed:
            raise FetchFailed("is compressed, which was not asked for")
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > SIZE_MAX:
                raise FetchFailed(f"is larger than {SIZE_MAX} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


@lru_cache(maxsize=1)
def default_ssl_context() -> ssl.SSLContext:
    """The certificates that this machine takes for good. Reading them takes some 20 ms."""
    return httpx.create_ssl_context()


def client_options(transport: Outward) -> dict[str, Any]:
    """How a client of httpx, and such a client of Authlib's, asks providers."""
    return {
        "transport": transport,
        "timeout": httpx.Timeout(SECONDS_MAX, connect=CONNECT_SECONDS_MAX),
        "headers": {"Accept": "application/json", "Accept-Encoding": "identity"},
        "trust_env": False,
        "follow_redirects": False,
    }


class Fetcher:
    """Fetches JSON documents.

    Args:
        resolve: finds the addresses of a host.
        ssl_context: decides which certificates are good; by default as the machine does.
    """

    def __init__(self, resolve: Resolve = resolve, ssl_context: ssl.SSLContext | None = None) -> None:
        self._resolve = resolve
        self._ssl_context = ssl_context or default_ssl_context()

    async def __call__(self, url: str, *, configured: str, headers: Mapping[str, str] | None = None) -> Fetched:
        """Fetches one document.

        Args:
            url: where it is.
            configured: the address the author of the app has written, which led to `url` or is the same.
            headers: more to ask with, such as a token.

        Raises:
            FetchFailed: it cannot be had, is no JSON by its type, or is nowhere to fetch from.
        """
        async with failing(url):
            transport = Outward(configured, resolve=self._resolve, ssl_context=self._ssl_context)
            async with httpx.AsyncClient(**client_options(transport)) as client:
                return _read(await client.get(url, headers=headers))


@asynccontextmanager
async def failing(url: str) -> AsyncIterator[None]:
    """Has what goes wrong when `url` is asked end in `FetchFailed`, also that it takes more than `SECONDS_MAX`."""
    try:
        async with asyncio.timeout(SECONDS_MAX):
            yield
    except TimeoutError:
        raise FetchFailed(f"{url[:200]!r} has taken more than {SECONDS_MAX:g} s") from None
    except FetchFailed as error:
        raise FetchFailed(f"{url[:200]!r} {error}") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RecursionError) as error:
        raise FetchFailed(f"{url[:200]!r}: {type(error).__name__}: {error}") from None


def _is_allowed(address: Address, host: str, configured_host: str) -> bool:
    """Whether to connect to an address that `host` has resolved to."""
    if is_loopback(host):
        return address.is_loopback and is_loopback(configured_host)
    if host == configured_host and address.is_private and address == _number(host):
        # Link-local addresses are of no use as providers, but give away the secrets of machines in a cloud.
        return not (address.is_link_local or address.is_loopback or address.is_unspecified or address.is_reserved)
    return _is_public(address)


def _number(host: str) -> Address | None:
    """The address that a host is written as."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_public(address: Address) -> bool:
    """Whether an address is one on the internet, also after a translation on the way there."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and address not in _IPV4_PROTOCOLS
    if address.ipv4_mapped is not None:
        return _is_public(address.ipv4_mapped)
    if address in _IPV6_TO_IPV4:
        return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address.is_global and address in _IPV6_INTERNET and address.sixtofour is None


def _read(response: httpx.Response) -> Fetched:
    if response.status_code != 200:
        raise FetchFailed(f"answers {response.status_code}")
    media_type = response.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if not media_type.endswith("json"):
        raise FetchFailed(f"is {media_type[:100]}, not JSON")
    return Fetched(response.content, _max_age(response.headers))


def _max_age(headers: httpx.Headers) -> float | None:
    """Seconds that are left of what Cache-Control allows."""
    control = headers.get("cache-control", "").lower()
    if re.search(r"\bno-(store|cache)\b", control):
        return 0
    found = re.search(r"\bmax-age=\"?(\d{1,9})\b", control)
    if not found:
        return None
    age = headers.get("age", "0").strip()
    return max(0, int(found[1]) - (int(age) if re.fullmatch(r"\d{1,9}", age) else 0))
