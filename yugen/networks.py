"""Addresses of clients, as what is counted for each of them.

A client on IPv6 has at least a network of 64 bits and may change its address within it at any time, so all of that is
one (RFC 6177). IPv6 has many ways to write an address; here each has one.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

UNKNOWN: Final = "unknown"
"""The key of all whose address is none: a Unix socket, or what a proxy has written."""

NETWORK_BITS: Final = 64


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that a text is, without its zone; IPv4 within IPv6 is IPv4. None if it is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


@lru_cache(maxsize=4096)
def canonical_address(host: str) -> str:
    """The one spelling of an address (RFC 5952), such as `request.client.host` has it; `unknown` if it is none."""
    address = parse_address(host)
    return UNKNOWN if address is None else str(address)


@lru_cache(maxsize=4096)
def address_key(host: str) -> str:
    """What tells clients apart by their address: of IPv4 the address, of IPv6 its network of 64 bits.

    Args:
        host: the address, such as `request.client.host` in an HTTP action.

    Returns:
        A text such as `203.0.113.9` or `2001:db8:1:2::/64`. It is `unknown` for all that is no address, which count as
        one: what a client makes up gives it nothing.
    """
    address = parse_address(host)
    if address is None:
        return UNKNOWN
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address) >> NETWORK_BITS << NETWORK_BITS, NETWORK_BITS)))


@lru_cache(maxsize=4096)
def is_public(host: str) -> bool:
    """Whether it is an address of the internet, not of this machine or of a network of one's own; also if unknown."""
    address = parse_address(host)
    return address is None or address.is_global
