"""What may be written into an `auth.py`."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.issuer import signing_key
from yugen import JwtProvider, OidcProvider
from yugen.functions.providers import ProviderError, full_issuer, inline_keys, is_loopback

KEYS = json.dumps({"keys": [signing_key("ES256").public]}).encode()
ID = "https://id.example"


@pytest.mark.parametrize(
    "issuer",
    [
        ID,
        f"{ID}/",
        f"{ID}:8443/realms/app",
        "id.example",
        "http://localhost:8080",
        "http://auth.localhost",
        "http://127.0.0.1:1",
        "http://[::1]:1",
        "https://10.0.0.1",
    ],
)
def test_an_openid_provider_is_an_address(issuer: str) -> None:
    assert OidcProvider(issuer=issuer, audience="app").issuer == issuer
    if "://" in issuer:
        assert JwtProvider(issuer="me", jwks=issuer).jwks == issuer


@pytest.mark.parametrize(
    "issuer",
    [
        "http://id.example",
        "http://10.0.0.1",
        "http://2130706433",
        "http://localhost.example",
        "ftp://id.example",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://me@id.example",
        "https://id.example#x",
        "https://id.example:99999",
        "https://[::1",
        "",
        " https://id.example",
        None,
        7,
    ],
)
def test_what_is_no_safe_address_is_refused(issuer: Any) -> None:
    with pytest.raises(ProviderError, match=r"^OidcProvider: the issuer is "):
        OidcProvider(issuer=issuer, audience="app")
    with pytest.raises(ProviderError, match=r"^JwtProvider: jwks is "):
        JwtProvider(issuer="me", jwks=issuer)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"jwks": ID, "algorithm": "HS256"}, r'the algorithm is "RS256" or "ES256", not \'HS256\'\.'),
        ({"jwks": ID, "algorithm": "EdDSA"}, r"not 'EdDSA'"),
        ({"jwks": ID, "algorithm": "none"}, r"not 'none'"),
        ({"jwks": ID, "algorithm": []}, r"not \[\]"),
        ({"jwks": ID, "issuer": ""}, "the issuer is text"),
        ({"jwks": ID, "audience": ""}, "the audience, if there is one, is text"),
        ({"jwks": ID, "audience": ["a"]}, "the audience, if there is one, is text"),
        ({"jwks": "data:,{}"}, r'encode \{"keys": \[\.\.\.\]\} as "data:application/json;base64,\.\.\."\.'),
        ({"jwks": "data:;base64,####"}, "holds no key set"),
        ({"jwks": "data:," + "[" * 100_000}, "holds no key set"),
    ],
)
def test_other_mistakes_are_named(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ProviderError, match=words):
        JwtProvider(**{"issuer": "me", **fields})


@pytest.mark.parametrize("audience", ["", " ", None, ["app"]])
def test_an_openid_provider_needs_an_audience(audience: Any) -> None:
    with pytest.raises(ProviderError, match="the audience is text without spaces around it"):
        OidcProvider(issuer=ID, audience=audience)


def test_an_openid_issuer_has_no_query() -> None:
    with pytest.raises(ProviderError, match=r"ends before the `\?`"):
        OidcProvider(issuer=f"{ID}?tenant=1", audience="app")
    assert JwtProvider(issuer="me", jwks=f"{ID}/keys?tenant=1").jwks.endswith("?tenant=1")


@pytest.mark.parametrize(
    "uri",
    [
        "data:application/json;base64," + base64.b64encode(KEYS).decode(),
        "data:text/plain;charset=utf-8;base64," + base64.b64encode(KEYS).decode(),
        "data:application/json," + "".join(f"%{byte:02x}" for byte in KEYS),
        "data:application/json," + KEYS.decode(),
    ],
)
def test_a_key_set_may_be_written_out(uri: str) -> None:
    assert inline_keys(JwtProvider(issuer="me", jwks=uri).jwks) == KEYS


def test_issuers_compare_whatever_their_ends() -> None:
    assert len({full_issuer(issuer) for issuer in (ID, f"{ID}/", "id.example", "id.example/")}) == 1
    assert len({full_issuer(issuer) for issuer in (ID, "http://id.example", f"{ID}/a", f"{ID}//")}) == 4


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "localhost.", "0.0.0.0", "127.0.0.1.nip.io"])
def test_only_plain_names_of_this_machine_are_taken_for_it(host: str) -> None:
    assert not is_loopback(host)
    assert is_loopback("127.9.9.9")
    assert is_loopback("LOCALHOST")
