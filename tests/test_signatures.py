"""What is read out of tokens and key sets, and which of them belong together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64encode

from tests.issuer import Algorithm, sign, signing_key
from yugen.signatures import TOKEN_SIZE_MAX, Malformed, PublicKey, read_keys, read_token

ALGORITHMS: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")


def keys(*fields: object) -> tuple[PublicKey, ...]:
    return read_keys(json.dumps({"keys": fields}).encode())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_belongs_to_its_key_and_to_no_other(algorithm: Algorithm) -> None:
    token = read_token(sign({"a": [1, "ä"]}, signing_key(algorithm)))
    assert (token.algorithm, token.kid, token.claims) == (algorithm, f"{algorithm}-0", {"a": [1, "ä"]})
    everyone = [signing_key(other, number) for other in ALGORITHMS for number in (0, 1)]
    fits = [token.is_signed_with(key) for key in keys(*(each.public for each in everyone))]
    assert fits == [each == signing_key(algorithm) for each in everyone]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_token_changed_anywhere_is_not_signed(algorithm: Algorithm, part: int) -> None:
    (key,) = keys(signing_key(algorithm).public)
    parts = sign({"sub": "ada"}, signing_key(algorithm)).split(".")
    other = sign({"sub": "bob"}, signing_key(algorithm), {"x": 1}).split(".")
    parts[part] = other[part]
    assert not read_token(".".join(parts)).is_signed_with(key)
    for signature in ("", f"{parts[2]}=", "!"):
        parts[2] = signature
        assert not read_token(".".join(parts)).is_signed_with(key)


RS256 = b'{"alg": "RS256"}'


def raw(header: bytes, claims: bytes = b"{}") -> str:
    return b".".join([urlsafe_b64encode(header), urlsafe_b64encode(claims), b"AAAA"]).decode()


def header(**fields: Any) -> str:
    return raw(json.dumps({"alg": "RS256", **fields}).encode())


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "a.b.c.d.e",
        "ключ",
        "\ud800",
        "\x00",
        " " + header(),
        header().replace(".", ".="),
        raw(b"[]"),
        raw(b'"alg"'),
        raw(b"7"),
        raw(b"null"),
        raw(b"{}"),
        raw(RS256, b"[]"),
        raw(RS256, b"null"),
        raw(RS256, b'{"exp": NaN}'),
        raw(RS256, b'{"sub": "\\ud800"}'),
        raw(RS256, b"\xff"),
        raw(RS256, b"[" * 40_000),
        raw(b'{"alg":' + b"[" * 40_000),
        raw(b'{"alg":' + b"9" * 40_000 + b"}"),
        header(kid=7),
        header(kid=["RS256-0"]),
        header(crit=["exp"], exp=1),
        header(crit=[]),
        header(crit=None),
        header(crit="b64"),
        header(crit=["b64"], b64=True),
        header(crit=["b64"], b64=False),
        header(b64=False),
        header(b64=True),
    ],
)
def test_what_is_no_token_is_refused_in_a_few_words(token: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_token(token)
    assert len(str(caught.value)) < 100


def test_a_token_that_is_too_long_is_not_looked_at() -> None:
    with pytest.raises(Malformed, match="is longer than 65536 characters"):
        read_token("x" * (TOKEN_SIZE_MAX + 1))
    token = sign({"pad": "x" * 45_000}, signing_key("ES256"), {"cat": "y" * 3000})
    assert read_token(token).is_signed_with(*keys(signing_key("ES256").public))


@pytest.mark.parametrize("algorithm", ["none", "None", "", "HS256", "RS512", "PS256", "ES256K", None, 7, ["RS256"], {}])
def test_other_algorithms_are_nobodys(algorithm: Any) -> None:
    token = read_token(header(alg=algorithm))
    assert not any(token.is_signed_with(key) for key in keys(*(signing_key(each).public for each in ALGORITHMS)))


def test_of_a_key_set_those_keys_count_that_fit_here() -> None:
    rsa, other = signing_key("RS256").public, signing_key("RS256", 1).public
    found = keys(
        rsa,
        {**other, "use": "enc"},
        {**other, "alg": "PS256"},
        {**other, "key_ops": ["encrypt"]},
        {**other, "kid": 7},
        {**other, "e": "Ag"},
        {**other, "n": 7},
        {**other, "n": "not base 64"},
        {**other, "n": None},
        {name: value for name, value in other.items() if name != "n"},
        {**signing_key("ES256").public, "x": "AAAA"},
        {**signing_key("EdDSA").public, "x": "AAAA"},
        ECKey.generate_key("P-384").as_dict(),
        ECKey.generate_key("secp256k1").as_dict(),
        OKPKey.generate_key("X25519").as_dict(),
        OctKey.generate_key(256).as_dict(private=True),
        {"kty": "AKP", "pub": "AAAA"},
        {"kty": []},
        {},
        None,
        "key",
        {"kty": "RSA", "n": other["n"], "e": other["e"]},
    )
    assert [(key.algorithm, key.kid) for key in found] == [("RS256", "RS256-0"), ("RS256", None)]


@pytest.mark.filterwarnings("ignore:Key size")
def test_short_keys_do_not_count() -> None:
    assert keys(RSAKey.generate_key(1024).as_dict(private=False)) == ()


def test_the_newer_name_of_ed25519_is_one_of_eddsa() -> None:
    assert [key.algorithm for key in keys({**signing_key("EdDSA").public, "alg": "Ed25519"})] == ["EdDSA"]


def test_addresses_and_private_parts_in_a_key_set_are_not_read() -> None:
    private = dict(signing_key("RS256").key.as_dict(private=True))
    (key,) = keys({**private, "x5u": "http://127.0.0.1/trap", "x5c": ["?"], "oth": 1})
    assert not key.key.is_private


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{}", b'{"keys": {}}', b'{"keys": null}', b"\xff", b"[" * 9999])
def test_what_is_no_key_set_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed, match="is no JSON Web Key Set"):
        read_keys(text)
