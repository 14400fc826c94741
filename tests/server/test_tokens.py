"""Whose tokens are good, and for whom; and attacks with those that are not (faults 27 and 28)."""

from __future__ import annotations

import base64
import hmac
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64encode

from tests.issuer import AUDIENCE, SECONDS, Algorithm, Issuer, Page, encoded, issuing, sign, signing_key, web
from yugen.errors import TokenRejected
from yugen.fetch import Fetched, Fetcher
from yugen.functions.providers import JwtProvider, OidcProvider, OutsideProvider
from yugen.identity import Identity
from yugen.server.caller import NoAuthProvider, ProviderUnavailable
from yugen.server.tokens import LEEWAY_SECONDS, PASSING_CLAIMS, TokenVerifier

KINDS = ("oidc", "jwt")


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as made:
        yield made


@pytest.fixture(params=KINDS)
def provider(request: pytest.FixtureRequest, issuer: Issuer) -> OutsideProvider:
    """One issuer, in either way to trust it."""
    return issuer.oidc() if request.param == "oidc" else issuer.jwt()


@pytest.fixture
def verifier(provider: OutsideProvider) -> TokenVerifier:
    return TokenVerifier([provider])


async def refusal(verifier: TokenVerifier, token: str) -> str:
    with pytest.raises(TokenRejected) as caught:
        await verifier.verify(token)
    text = str(caught.value)
    assert caught.value.code in ("InvalidAuthHeader", "NoAuthProvider")
    assert len(text) < 200
    assert not any(part in text for part in token.split(".") if len(part) > 3)
    return text


@pytest.mark.parametrize(
    ("algorithm", "kind"), [("RS256", "oidc"), ("EdDSA", "oidc"), ("RS256", "jwt"), ("ES256", "jwt")]
)
async def test_a_token_tells_who_its_user_is(algorithm: Algorithm, kind: str) -> None:
    async with issuing(algorithm) as issuer:
        verifier = TokenVerifier([issuer.oidc() if kind == "oidc" else issuer.jwt()])
        claims = issuer.claims(email="ada@id.example", roles=["admin"], address={"country": "UK"})
        verified = await verifier.verify(sign(claims, issuer.key))
        assert verified.expires_at == claims["exp"]
        identity = verified.identity
        assert (identity.issuer, identity.subject) == (issuer.url, "ada")
        assert identity.token_identifier == f"{issuer.url}|ada"
        assert identity.email == "ada@id.example"
        assert identity.claims == {
            "iss": issuer.url,
            "aud": AUDIENCE,
            "sub": "ada",
            "email": "ada@id.example",
            "roles": ["admin"],
            "address": {"country": "UK"},
        }


@pytest.mark.parametrize("algorithm", ["ES256"])
async def test_an_openid_provider_signs_with_rs256_or_eddsa(algorithm: Algorithm) -> None:
    async with issuing(algorithm) as issuer:
        text = await refusal(TokenVerifier([issuer.oidc()]), issuer.token())
        assert text == "The token is not signed by the algorithm of its provider, RS256 or EdDSA."
        assert issuer.web.requests == []


async def test_a_new_token_of_the_same_user_is_the_same_caller(issuer: Issuer, verifier: TokenVerifier) -> None:
    assert {"iat", "exp", "nbf", "jti", "fva"} < PASSING_CLAIMS
    lasting: dict[str, Any] = {"sid": "session", "auth_time": 1, "email": "a@b"}
    passing: list[dict[str, Any]] = [dict.fromkeys(PASSING_CLAIMS - {"iat", "exp"}, number) for number in (0, 1)]
    one, two = [(await verifier.verify(issuer.token(**lasting, **each))).identity for each in passing]
    assert one == two == Identity.of(issuer.url, "ada", {"iss": issuer.url, "sub": "ada", "aud": AUDIENCE, **lasting})


# Times


NO_TIMES: tuple[object, ...] = ("2000000000", "never", "", True, [2000000000], {})


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"exp": 0}, "has expired"),
        ({"exp": -1e18}, "has expired"),
        ({"exp": None}, "has no time as `exp`"),
        ({"nbf": 10**10}, "is not good yet"),
        *(({name: value}, f"has no time as `{name}`") for name in ("exp", "nbf", "iat") for value in NO_TIMES),
    ],
)
async def test_case_27_times_are_numbers_and_now_is_between_them(
    issuer: Issuer, verifier: TokenVerifier, claims: dict[str, Any], words: str
) -> None:
    assert words in await refusal(verifier, issuer.token(**claims))


@pytest.mark.parametrize("value", ["null", "NaN", "Infinity", "1e999", "-1e999", "9" * 400])
@pytest.mark.parametrize("name", ["exp", "nbf"])
async def test_case_27_no_number_is_for_ever(
    issuer: Issuer, provider: OutsideProvider, verifier: TokenVerifier, name: str, value: str
) -> None:
    claims = json.dumps(issuer.claims() | {name: "here"}).replace('"here"', value).encode()
    signed = encoded({"alg": "RS256", "kid": issuer.key.kid}) + b"." + urlsafe_b64encode(claims)
    signature = urlsafe_b64encode(JWSRegistry.algorithms["RS256"].sign(signed, issuer.key.key))
    assert await refusal(verifier, f"{signed.decode()}.{signature.decode()}")


async def test_clocks_may_be_a_little_apart(issuer: Issuer, provider: OutsideProvider) -> None:
    now = 0.0
    verifier = TokenVerifier([provider], now=lambda: now)
    start = int(time.time())
    token = sign(issuer.claims(nbf=start, iat=start, exp=start + 100.5), issuer.key)
    for good in (start - LEEWAY_SECONDS, start, start + 100.5, start + 100.4 + LEEWAY_SECONDS):
        now = good
        assert (await verifier.verify(token)).expires_at == start + 100.5
    for bad in (start - LEEWAY_SECONDS - 1, start + 100.5 + LEEWAY_SECONDS):
        now = bad
        await refusal(verifier, token)


async def test_when_a_token_was_issued_matters_to_openid_only(issuer: Issuer) -> None:
    assert "`iat`" in await refusal(TokenVerifier([issuer.oidc()]), issuer.token(iat=None))
    await TokenVerifier([issuer.jwt()]).verify(issuer.token(iat=None))
    await TokenVerifier([issuer.oidc()]).verify(issuer.token(iat=int(time.time()) + 60))  # their clock is ahead


# Issuers, audiences and subjects


@pytest.mark.parametrize(
    ("audience", "oidc", "jwt"),
    [
        (AUDIENCE, True, True),
        ([AUDIENCE], True, True),
        ([AUDIENCE, "other"], False, True),
        (["other", AUDIENCE], False, True),
        ([AUDIENCE, 7], False, True),
        ([AUDIENCE, AUDIENCE], False, True),
        ("other", False, False),
        (["other"], False, False),
        (AUDIENCE.upper(), False, False),
        (f"{AUDIENCE} other", False, False),
        ([], False, False),
        ("", False, False),
        ({AUDIENCE: AUDIENCE}, False, False),
        ([[AUDIENCE]], False, False),
        (7, False, False),
        (None, False, False),
    ],
)
async def test_case_27_a_token_is_for_this_app(issuer: Issuer, audience: object, oidc: bool, jwt: bool) -> None:
    token = issuer.token(aud=audience)
    for provider, good in ((issuer.oidc(), oidc), (issuer.jwt(), jwt), (issuer.jwt(audience=None), True)):
        verifier = TokenVerifier([provider])
        if good:
            assert (await verifier.verify(token)).identity.subject == "ada"
        else:
            assert "audience" in await refusal(verifier, token)


@pytest.mark.parametrize("subject", [None, "", 7, True, ["ada"], {}])
async def test_case_27_a_token_is_of_somebody(issuer: Issuer, verifier: TokenVerifier, subject: object) -> None:
    assert "`sub`" in await refusal(verifier, issuer.token(sub=subject))


@pytest.mark.parametrize(
    "name",
    [None, "", 7, ["{url}"], "{url}.evil", "{url}/x", "{url}//", "{url}?", " {url}", "http://127.0.0.1:1", "evil"],
)
async def test_case_28_an_issuer_of_the_tokens_choice_is_not_asked(
    issuer: Issuer, verifier: TokenVerifier, name: Any
) -> None:
    async with web() as trap:
        for url in (issuer.url, trap.url):
            filled = json.loads(json.dumps(name).replace("{url}", url))
            with pytest.raises(NoAuthProvider):
                await verifier.verify(issuer.token(iss=filled))
        with pytest.raises(NoAuthProvider):
            await verifier.verify(issuer.token(iss=trap.url))
        assert trap.requests == issuer.web.requests == []


async def test_the_ends_of_an_issuer_do_not_matter_but_stay_in_the_identity(issuer: Issuer) -> None:
    keys = f"{issuer.url}/jwks"
    for configured in ("https://t.example", "https://t.example/", "t.example", "t.example/"):
        verifier = TokenVerifier([JwtProvider(issuer=configured, jwks=keys)])
        for spelled in ("https://t.example", "https://t.example/", "t.example"):
            identity = (await verifier.verify(issuer.token(iss=spelled))).identity
            assert identity.token_identifier == f"{spelled}|ada"
        await refusal(verifier, issuer.token(iss="http://t.example"))


async def test_an_openid_issuer_is_spelled_as_it_spells_itself(issuer: Issuer) -> None:
    verifier = TokenVerifier([OidcProvider(issuer=f"{issuer.url}/", audience=AUDIENCE)])
    await verifier.verify(issuer.token())
    assert "does not spell its issuer" in await refusal(verifier, issuer.token(iss=f"{issuer.url}/"))


async def test_the_first_provider_that_fits_is_the_one(issuer: Issuer) -> None:
    async with issuing("ES256") as other:
        mine = [
            JwtProvider(issuer=issuer.url, audience=audience, jwks=f"{issuer.url}/jwks") for audience in ("one", "two")
        ]
        verifier = TokenVerifier([*mine, other.jwt(), other.jwt(audience=None)])
        assert (await verifier.verify(issuer.token(aud="two"))).identity.issuer == issuer.url
        assert (await verifier.verify(other.token())).identity.issuer == other.url
        assert (await verifier.verify(other.token(aud=None))).identity.issuer == other.url
        with pytest.raises(NoAuthProvider):
            await verifier.verify(issuer.token(aud="three"))
        # Keys are no better with the tokens of others.
        assert "not signed" in await refusal(verifier, sign(other.claims(), signing_key("ES256", 7)))
        assert "not signed" in await refusal(verifier, sign(other.claims(), issuer.key))
        await verifier.close()


# Signatures


def forged(issuer: Issuer, header: dict[str, Any], signature: Callable[[bytes], bytes]) -> str:
    """A good token but for its header and signature."""
    signed = encoded(header) + b"." + encoded(issuer.claims())
    return (signed + b"." + urlsafe_b64encode(signature(signed))).decode()


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, 0, [], {}, "HS256", "HS384", "HS512"])
async def test_case_27_unsigned_tokens_are_refused(issuer: Issuer, verifier: TokenVerifier, algorithm: Any) -> None:
    token = forged(issuer, {"alg": algorithm, "kid": issuer.key.kid}, lambda _: b"")
    assert "algorithm" in await refusal(verifier, token)
    assert "algorithm" in await refusal(verifier, token + "AAAA")
    assert issuer.web.requests == []


@pytest.mark.parametrize("secret", ["pem", "der", "jwk", "n", "kid", "empty"])
@pytest.mark.parametrize("algorithm", ["HS256", "RS256"])
async def test_case_27_a_public_key_is_not_a_secret(
    issuer: Issuer, verifier: TokenVerifier, secret: str, algorithm: str
) -> None:
    key = issuer.key.key
    secrets = {
        "pem": key.as_pem(private=False),  # type: ignore[union-attr]
        "der": key.as_der(private=False),  # type: ignore[union-attr]
        "jwk": json.dumps(issuer.key.public).encode(),
        "n": issuer.key.public["n"].encode(),
        "kid": issuer.key.kid.encode(),
        "empty": b"",
    }
    header = {"alg": algorithm, "kid": issuer.key.kid}
    token = forged(issuer, header, lambda signed: hmac.digest(secrets[secret], signed, "sha256"))
    assert await refusal(verifier, token)


@pytest.mark.parametrize("crit", [["exp"], ["x"], ["b64"], [], "x", None, {}, [None]])
async def test_case_27_what_must_be_understood_is_not(issuer: Issuer, verifier: TokenVerifier, crit: Any) -> None:
    token = sign(issuer.claims(), issuer.key, {"crit": crit, "x": 1, "b64": True if crit == ["b64"] else None})
    if crit is None:
        await verifier.verify(token)  # which `sign` leaves out
    else:
        await refusal(verifier, token)


@pytest.mark.parametrize("own", ["RS256", "ES256"])
async def test_case_27_a_provider_signs_with_its_own_algorithm(own: Algorithm) -> None:
    other: Algorithm = "ES256" if own == "RS256" else "RS256"
    async with issuing(own) as issuer:
        issuer.publish(signing_key(own), signing_key(other))
        verifier = TokenVerifier([issuer.jwt()])
        await verifier.verify(issuer.token())
        assert "algorithm" in await refusal(verifier, sign(issuer.claims(), signing_key(other)))
        lie = {"alg": own, "kid": f"{other}-0"}
        assert "not signed" in await refusal(verifier, sign(issuer.claims(), signing_key(other), lie))


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "..\\..\\windows\\win.ini",
        "/etc/passwd",
        "RS256-0' OR '1'='1",
        "' UNION SELECT 'AA==' --",
        "{trap}/keys",
        "file:///dev/null",
        "|sleep 5",
        "RS256-0\x00",
        "ключ",
        "x" * 10_000,
    ],
)
async def test_case_28_a_kid_is_a_name_and_nothing_else(issuer: Issuer, verifier: TokenVerifier, kid: str) -> None:
    async with web() as trap:
        evil = signing_key("RS256", 9)
        trap.pages["/keys"] = Page(json.dumps({"keys": [evil.public]}).encode())
        header = {"kid": kid.format(trap=trap.url) if "{trap}" in kid else kid}
        assert "not signed" in await refusal(verifier, sign(issuer.claims(), evil, header))
        assert trap.requests == []
        assert issuer.web.requests.count("/jwks") == 1


@pytest.mark.parametrize("field", ["jku", "x5u", "jwk", "x5c", "iss"])
async def test_case_28_keys_of_the_tokens_choice_are_not_used_nor_fetched(
    issuer: Issuer, verifier: TokenVerifier, field: str
) -> None:
    async with web() as trap:
        evil = signing_key("RS256", 9)
        trap.pages["/keys"] = Page(json.dumps({"keys": [evil.public]}).encode())
        values: dict[str, Any] = {
            "jku": f"{trap.url}/keys",
            "x5u": f"{trap.url}/keys",
            "jwk": evil.public,
            "x5c": [base64.b64encode(evil.key.as_der(private=False)).decode()],  # type: ignore[union-attr]
            "iss": trap.url,
        }
        for kid in (issuer.key.kid, evil.kid):
            token = sign(issuer.claims(), evil, {field: values[field], "kid": kid})
            assert "not signed" in await refusal(verifier, token)
        # With the right signature they are passed over.
        await verifier.verify(sign(issuer.claims(), issuer.key, {field: values[field]}))
        assert trap.requests == []


async def test_case_28_a_thousand_kids_cost_one_fetch(issuer: Issuer, verifier: TokenVerifier) -> None:
    await verifier.verify(issuer.token())
    before = issuer.web.requests.count("/jwks")
    for number in range(1000):
        await refusal(verifier, sign(issuer.claims(), issuer.key, {"kid": f"made up {number}"}))
    assert issuer.web.requests.count("/jwks") <= before + 1
    await verifier.verify(issuer.token())


async def test_a_token_without_a_kid_is_for_openid_only(issuer: Issuer) -> None:
    issuer.publish(signing_key("RS256", 1), signing_key("EdDSA"), issuer.key)
    token = issuer.token(header={"kid": None})
    assert (await TokenVerifier([issuer.oidc()]).verify(token)).identity.subject == "ada"
    for kid in (None, ""):
        assert "`kid`" in await refusal(TokenVerifier([issuer.jwt()]), issuer.token(header={"kid": kid}))


async def test_new_keys_are_taken_up_and_old_ones_left(issuer: Issuer, verifier: TokenVerifier) -> None:
    old = issuer.token()
    await verifier.verify(old)
    issuer.rotate()
    await verifier.verify(issuer.token())
    assert "not signed" in await refusal(verifier, old)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "x" * 100_000, "ключ", "\ud800", "Bearer x"])
async def test_what_is_no_token_is_refused(issuer: Issuer, verifier: TokenVerifier, token: str) -> None:
    text = await refusal(verifier, token)
    assert text.startswith("The token is ")
    assert text.endswith("; get one from your auth provider.")
    assert issuer.web.requests == []


# Providers that are not there


async def test_nobody_is_rejected_while_the_keys_cannot_be_had(issuer: Issuer, verifier: TokenVerifier) -> None:
    issuer.web.reachable = False
    with pytest.raises(ProviderUnavailable):
        await verifier.verify(issuer.token())
    await refusal(verifier, issuer.token(exp=0))


async def test_who_was_good_stays_so_while_the_keys_cannot_be_had(issuer: Issuer, provider: OutsideProvider) -> None:
    seconds = 0.0
    verifier = TokenVerifier([provider], monotonic=lambda: seconds)
    await verifier.verify(issuer.token())
    issuer.web.reachable = False
    seconds += SECONDS
    await verifier.verify(issuer.token())
    assert "not signed" in await refusal(verifier, sign(issuer.claims(), signing_key("RS256", 9), {"kid": "RS256-0"}))
    with pytest.raises(ProviderUnavailable):
        await verifier.verify(sign(issuer.claims(), signing_key("RS256", 1)))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "169.254.169.254"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_case_29_a_document_of_the_internet_does_not_lead_inside(issuer: Issuer, scheme: str, host: str) -> None:
    async with web() as trap:
        trap.pages["/jwks"] = issuer.web.pages["/jwks"]
        fetcher = Fetcher()

        async def fetch(url: str, *, configured: str) -> Fetched:
            if "/.well-known/" not in url:
                return await fetcher(url, configured=configured)
            inside = f"{scheme}://{host}:{trap.port}/jwks"
            return Fetched(json.dumps({"issuer": "https://id.example", "jwks_uri": inside}).encode(), None)

        verifier = TokenVerifier([OidcProvider(issuer="https://id.example", audience=AUDIENCE)], fetch=fetch)
        with pytest.raises(ProviderUnavailable):
            await verifier.verify(issuer.token(iss="https://id.example"))
        assert trap.requests == []


def test_servers_without_providers_do_not_load_what_verifies_tokens() -> None:
    program = (
        "import sys, yugen.server.yugen, yugen.server.asgi\n"
        "sys.exit(', '.join({'joserfc', 'cryptography', 'httpx2', 'pydantic'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
