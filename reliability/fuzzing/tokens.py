"""Tokens of users: headers, claims and signatures as they may be, and as somebody may make them up."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from reliability.fuzzing import spoil
from reliability.fuzzing.surface import TAKEN, Attempt, Finding, Surface
from yugen.errors import TokenRejected
from yugen.fetch import Fetched
from yugen.functions.providers import JwtProvider, OidcProvider, OutsideProvider
from yugen.server.caller import ProviderUnavailable
from yugen.server.tokens import TokenVerifier

NOW: Final = 2_000_000_000
"""What time it is, in seconds since the epoch."""

_ISSUER: Final = "https://issuer.example"
_OPEN_ID: Final = "https://openid.example"
_AUDIENCE: Final = "the-app"
_SIGNATURES: Final = ("RS256", "EdDSA", "ES256", "other key", "none", "empty", "hmac of the key", "hmac of nothing")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(number: int, size: int) -> str:
    return _text(number.to_bytes(size, "big"))


class Issuers:
    """Three keys of providers that are trusted, and one that is not.

    Attributes:
        key_set: the public keys.
        numbers: what makes them up, as in `rsa n` and `ec x`.
        fetched: the addresses that the verifier has asked.
        verifier: the one that tokens are shown to.
    """

    def __init__(self) -> None:
        self._rsa, self._other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
        self._ec, self._ed = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
        public, point = self._rsa.public_key().public_numbers(), self._ec.public_key().public_numbers()
        self._public = self._rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        ed_bytes = self._ed.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        rsa_key = {"kty": "RSA", "n": _number(public.n, 256), "e": "AQAB", "kid": "rsa", "alg": "RS256", "use": "sig"}
        ec_key = {"kty": "EC", "crv": "P-256", "x": _number(point.x, 32), "y": _number(point.y, 32), "kid": "ec"}
        ed_key = {"kty": "OKP", "crv": "Ed25519", "x": _text(ed_bytes), "kid": "ed"}
        self.key_set = {"keys": [rsa_key, ec_key, ed_key]}
        keys = json.dumps(self.key_set).encode()
        inline = "data:application/json;base64," + base64.b64encode(keys).decode()
        self._pages = {
            f"{_OPEN_ID}/.well-known/openid-configuration": json.dumps(
                {"issuer": _OPEN_ID, "jwks_uri": f"{_OPEN_ID}/keys"}
            ).encode(),
            f"{_OPEN_ID}/keys": keys,
        }
        self.numbers = {
            f"{key['kid']} {part}": key[part] for key in self.key_set["keys"] for part in "nxy" if part in key
        }
        self.fetched: list[str] = []
        providers: list[OutsideProvider] = [
            JwtProvider(issuer=_ISSUER, audience=_AUDIENCE, jwks=inline),
            OidcProvider(issuer=_OPEN_ID, audience=_AUDIENCE),
        ]
        self.verifier = TokenVerifier(providers, fetch=self.fetch, now=lambda: NOW, monotonic=lambda: 0.0)

    async def fetch(self, url: str, *, configured: str) -> Fetched:
        """What the providers publish, and a finding at any other address."""
        self.fetched.append(url)
        if url not in self._pages:
            raise Finding(f"it asks {url}")
        return Fetched(self._pages[url], None)

    def token(self, header: str, claims: str, how: str) -> str:
        """A token of these texts, with a signature of that kind."""
        signed = ".".join(_text(text.encode("utf-8", "surrogatepass")) for text in (header, claims))
        return f"{signed}.{_text(self.sign(signed.encode(), how))}"

    def sign(self, signed: bytes, how: str) -> bytes:
        """A signature of that kind."""
        match how:
            case "RS256" | "other key":
                key = self._rsa if how == "RS256" else self._other
                return key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
            case "ES256":
                r, s = utils.decode_dss_signature(self._ec.sign(signed, ec.ECDSA(hashes.SHA256())))
                return r.to_bytes(32, "big") + s.to_bytes(32, "big")
            case "EdDSA":
                return self._ed.sign(signed)
            case "hmac of the key" | "hmac of nothing":
                return hmac.new(self._public if how.endswith("key") else b"", signed, hashlib.sha256).digest()
            case "empty":
                return bytes(256)
            case _:
                return b""


async def attempt(issuers: Issuers, given: Any) -> str:
    """Shows a token to the verifier. Of what it takes, all must be as the provider has it."""
    header, claims, how = given.get("header"), given.get("claims"), str(given.get("sign"))
    texts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    made = token = issuers.token(texts[0], texts[1], how)
    spoiled = given.get("spoil")
    if spoiled is not None:
        token = spoil.corrupt(random.Random(str(spoiled)), token, among=0x7F)
    before = len(issuers.fetched)
    try:
        verified = await issuers.verifier.verify(token)
    except TokenRejected as error:
        if len(issuers.fetched) > before + 2:
            raise Finding(f"it asks for keys again and again: {issuers.fetched[before:]}") from None
        return str(error).partition(":")[0].partition(";")[0].partition("(")[0].strip()
    except ProviderUnavailable as error:
        raise Finding(f"a token has its provider fail: {error}") from None
    header, claims = (json.loads(text) for text in texts)
    _check(header, claims, how, is_changed=token != made)
    if verified.identity.subject != claims["sub"] or verified.identity.issuer != claims["iss"]:
        raise Finding(f"{verified.identity} is not who the token says")
    return TAKEN


def _check(header: Any, claims: Any, how: str, *, is_changed: bool) -> None:
    """Whether a token that was taken is one, read anew from what it was made of."""
    openid = claims.get("iss", "").rstrip("/") == _OPEN_ID
    algorithms = ("RS256", "EdDSA") if openid else ("RS256",)
    wrong = (
        *(["it was changed"] if is_changed else ()),
        *(["the algorithm"] if header.get("alg") not in algorithms or header["alg"] != how else ()),
        *(["crit"] if "crit" in header or "b64" in header else ()),
        *(["the audience"] if _AUDIENCE not in (aud if isinstance(aud := claims.get("aud"), list) else [aud]) else ()),
        *(["the issuer"] if claims.get("iss", "").rstrip("/") not in (_ISSUER, _OPEN_ID) else ()),
        *(["its end"] if not _is_time(claims.get("exp")) or claims["exp"] + 5 <= NOW else ()),
        *(["its beginning"] if "nbf" in claims and claims["nbf"] - 5 > NOW else ()),
        *(["the subject"] if not isinstance(claims.get("sub"), str) or not claims["sub"] else ()),
    )
    if wrong:
        raise Finding(f"a token is taken in spite of {', '.join(wrong)}")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _made(dice: random.Random) -> Any:
    openid = dice.random() < 0.3
    how = spoil.mostly(dice, "EdDSA" if openid and dice.random() < 0.5 else "RS256", _SIGNATURES, 0.8)
    named = how if how in ("RS256", "EdDSA", "ES256") else dice.choice(("RS256", "none", "None", "HS256", "", None))
    header: Any = {"typ": "JWT", "alg": named, "kid": {"RS256": "rsa", "EdDSA": "ed", "ES256": "ec"}.get(how, "rsa")}
    claims: Any = {"iss": _OPEN_ID if openid else _ISSUER, "aud": _AUDIENCE, "sub": "u", "exp": NOW + 60, "iat": NOW}
    name: str
    value: Any
    while dice.random() < 0.4:
        name, value = dice.choice(
            (
                *(("kid", "../../keys"), ("kid", "x' OR 1=1"), ("kid", "https://evil"), ("kid", None), ("kid", "no")),
                *(("jku", "https://evil"), ("x5u", "https://evil"), ("jwk", {"kty": "oct", "k": ""}), ("crit", ["x"])),
                *(("b64", False), ("crit", []), ("zip", "DEF"), ("cty", "JWT"), ("alg", "rs256"), ("alg", ["RS256"])),
            )
        )
        header[name] = value
    while dice.random() < 0.4:
        name, value = dice.choice(
            (
                *(("exp", "1"), ("exp", True), ("exp", 1e400), ("exp", NOW - 60), ("exp", -1), ("exp", None)),
                *(("nbf", NOW + 60), ("nbf", "x"), ("iat", "x"), ("aud", [_AUDIENCE, "y"]), ("aud", "y"), ("aud", [])),
                *(("iss", f"{_ISSUER}/"), ("iss", "https://evil"), ("iss", _OPEN_ID), ("iss", 7), ("iss", [_ISSUER])),
                *(("sub", ""), ("sub", 1), ("sub", None), ("sub", "x" * 9000), ("sub", "é"), ("email", "\ud800")),
                *(("name", {"a": [1]}), ("exp", 10**400), ("x", "y" * 70_000)),
            )
        )
        claims[name] = value
    if dice.random() < 0.15:
        header = spoil.hostile(dice, header)
    if dice.random() < 0.15:
        claims = spoil.hostile(dice, claims)
    return {
        "header": header,
        "claims": claims,
        "sign": how,
        "spoil": dice.randrange(99) if dice.random() < 0.2 else None,
    }


@asynccontextmanager
async def _opened() -> AsyncIterator[Attempt]:
    issuers = Issuers()
    yield partial(attempt, issuers)
    await issuers.verifier.close()


SURFACES: Final = (
    Surface("tokens", _made, _opened, "Tokens: what is taken is signed, in time, and for this app.", 80),
)
