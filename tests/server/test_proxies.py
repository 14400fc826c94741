"""Whom a server believes about the address of a client, against those who make headers up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from yugen.server.listen import config
from yugen.server.proxies import BadProxies, BehindProxies, Proxies, client_address

PROXY = "10.0.0.5"
Headers = list[tuple[str, str]]


def seen(
    headers: Headers, *, peer: str | None = PROXY, trusted: str = "10.0.0.0/8, 192.0.2.1", kind: str = "http"
) -> Any:
    """The scope that an app sees."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    scope = {
        "type": kind,
        "scheme": "http" if kind == "http" else "ws",
        "client": None if peer is None else (peer, 1234),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }
    asyncio.run(_call(BehindProxies(Proxies(trusted), app), scope))
    return scopes[0]


async def _call(app: Any, scope: Any) -> None:
    await app(scope, None, None)


def address(forwarded: str, **options: Any) -> str:
    return client_address(seen([("X-Forwarded-For", forwarded)], **options))


FORGED = [
    [("X-Forwarded-For", "198.51.100.7")],
    [("X-Forwarded-For", "127.0.0.1")],
    [("X-Forwarded-For", "198.51.100.7, 10.0.0.5")],
    [("X-Real-IP", "198.51.100.7")],
    [("Forwarded", "for=198.51.100.7;proto=https")],
    [("CF-Connecting-IP", "198.51.100.7"), ("True-Client-IP", "198.51.100.7"), ("X-Client-IP", "198.51.100.7")],
    [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example")],
]


@pytest.mark.parametrize("headers", FORGED)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_nobody_else_is_believed(headers: Headers, kind: str) -> None:
    scope = seen(headers, peer="9.9.9.9", kind=kind)
    assert scope["client"] == ("9.9.9.9", 1234)
    assert scope["scheme"] in ("http", "ws")


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("9.9.9.9", "9.9.9.9"),
        ("1.1.1.1, 9.9.9.9", "9.9.9.9"),  # the left is what the client has sent along
        ("127.0.0.1, 9.9.9.9", "9.9.9.9"),
        ("9.9.9.9, 10.1.2.3, 192.0.2.1", "9.9.9.9"),
        ("1.1.1.1, 9.9.9.9, 10.1.2.3", "9.9.9.9"),
        ("10.1.2.3, 10.9.9.9", "10.1.2.3"),
        ("9.9.9.9:4711", "9.9.9.9"),
        ("[2620:fe::9]:4711", "2620:fe::9"),
        ("[2620:FE:0:0::9]", "2620:fe::9"),
        ("2620:fe:0:0:0:0:0:9", "2620:fe::9"),
        ("::ffff:9.9.9.9", "9.9.9.9"),
        ("nonsense", PROXY),
        ("", PROXY),
        (",,,", PROXY),
        ("9.9.9.9, unknown", PROXY),
        ("9.9.9.9, unknown, 10.1.2.3", "10.1.2.3"),
        ("[2620:fe::9, 9.9.9.9:x", "9.9.9.9"),
    ],
)
def test_of_what_a_proxy_says_the_rightmost_counts_that_is_none(forwarded: str, client: str) -> None:
    assert address(forwarded) == client


def test_a_header_sent_twice_is_one_list() -> None:
    assert client_address(seen([("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "9.9.9.9, 10.1.2.3")])) == "9.9.9.9"


def test_whoever_connects_is_believed_about_one_hop() -> None:
    assert address("1.1.1.1, 9.9.9.9", peer="172.19.3.4", trusted="*") == "9.9.9.9"
    assert address("9.9.9.9", peer=None, trusted="*") == "9.9.9.9"
    assert address("nonsense", peer="172.19.3.4", trusted="*") == "172.19.3.4"


def test_a_unix_socket_has_no_address() -> None:
    assert seen([("X-Forwarded-For", "9.9.9.9")], peer=None)["client"] is None
    assert address("9.9.9.9", peer=None) == "unknown"


def test_a_proxy_is_known_in_any_spelling() -> None:
    assert address("9.9.9.9", peer="::ffff:10.0.0.5") == "9.9.9.9"
    assert address("9.9.9.9", peer="0:0:0:0:0:0:0:1", trusted="::1") == "9.9.9.9"
    assert address("9.9.9.9", peer="11.0.0.5") == "11.0.0.5"


@pytest.mark.parametrize(
    ("kind", "said", "scheme"),
    [
        ("http", "https", "https"),
        ("websocket", "https", "wss"),
        ("websocket", "wss", "wss"),
        ("http", "http", "http"),
        ("http", " HTTPS ", "https"),
        ("http", "javascript", "http"),
        ("http", "https, http", "http"),
    ],
)
def test_a_proxy_says_whether_it_was_encrypted(kind: str, said: str, scheme: str) -> None:
    assert seen([("X-Forwarded-Proto", said)], kind=kind)["scheme"] == scheme


@pytest.mark.parametrize("setting", ["proxy.example", "10.0.0.1/8", "10.0.0.0/33", "*, 10.0.0.1"])
def test_a_setting_that_names_no_proxy_says_so(setting: str) -> None:
    with pytest.raises(BadProxies, match=r"FORWARDED_ALLOW_IPS: '.*' is no address and no network of proxies"):
        Proxies(setting)


def test_proxies_are_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # monkeypatch: what the environment of a server names
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "nonsense")
    with pytest.raises(BadProxies):
        config(app)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    assert not config(app).proxy_headers
