"""The edge as its settings have it: who may ask at all, before anything looks at what is asked.

By default any page may ask, for what a client may do depends on the token it sends and no cookie is ever read. Origins
that are named shut others out; hosts that are named shut out names that somebody else has let point at this machine.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from yugen.errors import Refused
from yugen.origins import Origin, Origins, origin_of, parse_origin

if TYPE_CHECKING:
    from starlette.types import Scope

LOCAL_HOSTS: Final = ("localhost", "*.localhost", "0.0.0.0/0", "::/0")
"""Hosts that nobody else can have point here: names of the machine itself, and addresses, which are no names."""


class BadHost(Refused):
    """What is to be allowed as a host, and is none."""

    code = "BadHost"


class Hosts:
    """The hosts under which a server may be asked.

    Args:
        allowed: names, `*.example.com` for all below a domain, addresses, networks as `10.0.0.0/8`; `*` for any.

    Raises:
        BadHost: one of them is none.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._below: list[str] = []
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self.any = True
        for text in allowed:
            if text == "*":
                self.any = True
                return
            self.any = False
            self._add(text)

    def _add(self, text: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(text.strip("[]")))
        except ValueError:
            pass
        else:
            return
        name = text.lower()
        origin = parse_origin(f"http://{name.removeprefix('*.')}")
        if origin is None or "/" in name or ":" in name:
            raise BadHost(
                f"{text!r} is not a host; write a name without scheme and port as api.example.com, *.example.com for "
                "all below it, an address, or a network as 10.0.0.0/8."
            )
        if name.startswith("*."):
            self._below.append(name[1:])
        else:
            self._names.add(name)

    def allow(self, host: str) -> bool:
        """Whether a header `Host` names one of them, whatever the port."""
        if self.any:
            return True
        origin = parse_origin(f"http://{host}")
        if origin is None:
            return False
        name = origin.host
        if name in self._names or any(name.endswith(each) and len(name) > len(each) for each in self._below):
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return any(address in network for network in self._networks)


@dataclass(frozen=True, slots=True)
class Edge:
    """What is asked of every request.

    Attributes:
        origins: whose pages may use the API; empty for all.
        own: origins of ours, beside the one that a request came to.
        hosts: the names under which it may come.
        hsts_seconds: how long browsers are told to come over HTTPS only, when they have; 0 to tell them nothing.
    """

    origins: Origins
    own: frozenset[Origin]
    hosts: Hosts
    hsts_seconds: int

    @classmethod
    def of(cls, origins: Sequence[str], allowed_hosts: Sequence[str], hsts_seconds: int, *own: str) -> Self:
        """What settings say.

        Raises:
            BadOrigin: an origin is none.
            BadHost: a host is none.
        """
        ours = frozenset(filter(None, map(origin_of, own)))
        return cls(Origins(origins), ours, Hosts(allowed_hosts), hsts_seconds)

    def trusts(self, scope: Scope) -> bool:
        """Whether a request comes from no page, or from one that may ask."""
        given = [value for name, value in scope["headers"] if name == b"origin"]
        if not given:
            return True
        origin = parse_origin(given[0].decode("latin-1"))
        if origin is None or len(given) > 1:
            return False
        return self.origins.trusts(origin) or origin in self.own or origin == _asked(scope)


def _asked(scope: Scope) -> Origin | None:
    """The origin that a request came to."""
    scheme = "https" if scope.get("scheme") in ("https", "wss") else "http"
    return parse_origin(f"{scheme}://{host_of(scope)}")


def host_of(scope: Scope) -> str:
    """The header `Host` of a request; empty if there is none."""
    for name, value in scope["headers"]:
        if name == b"host":
            return bytes(value).decode("latin-1")
    return ""
