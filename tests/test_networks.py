from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.networks import UNKNOWN, address_key, canonical_address, is_public


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::FFFF:cb00:7109", "203.0.113.9"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:0db8:0001:0002:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:0:0:0:9", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::203.0.113.9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_clients_are_told_apart_by_address_and_network(host: str, key: str) -> None:
    assert address_key(host) == key


@pytest.mark.parametrize(
    "host",
    ["", "unknown", "testclient", "203.0.113", "203.0.113.09", "0xcb.0.113.9", "3405803785", " 203.0.113.9", "::g"],
)
def test_all_that_is_no_address_is_one(host: str) -> None:
    assert address_key(host) == canonical_address(host) == UNKNOWN


def spellings(address: ipaddress.IPv6Address) -> list[str]:
    """Ways to write an address (RFC 4291, 2.2)."""
    groups = address.exploded.split(":")
    tail = str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [
        str(address),
        address.exploded,
        address.exploded.upper(),
        ":".join(group.lstrip("0") or "0" for group in groups),
        f"{':'.join(groups[:6])}:{tail}",
        f"{address}%1",
    ]


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_an_address_is_one_in_any_spelling_and_so_is_its_network(address: ipaddress.IPv6Address, other: int) -> None:
    assert {canonical_address(text) for text in spellings(address)} == {canonical_address(str(address))}
    assert len({address_key(text) for text in spellings(address)}) == 1
    neighbour = ipaddress.IPv6Address(int(address) >> 64 << 64 | other)
    if address.ipv4_mapped is None and neighbour.ipv4_mapped is None:
        assert address_key(str(neighbour)) == address_key(str(address))


@given(st.ip_addresses(v=4))
def test_ipv4_within_ipv6_is_ipv4(address: ipaddress.IPv4Address) -> None:
    assert address_key(f"::ffff:{address}") == address_key(str(address)) == str(address)


@given(st.text())
def test_any_text_has_a_key(text: str) -> None:
    assert address_key(text) == UNKNOWN or "/64" in address_key(text) or address_key(text).count(".") == 3


@pytest.mark.parametrize("host", ["9.9.9.9", "2620:fe::9", "::ffff:9.9.9.9", "", "nonsense"])
def test_the_internet_is_public_and_so_is_what_nobody_knows(host: str) -> None:
    assert is_public(host)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "10.1.2.3", "172.17.0.1", "192.168.0.9", "fd00::1", "::ffff:10.0.0.1"]
)
def test_networks_of_ones_own_are_not(host: str) -> None:
    assert not is_public(host)
