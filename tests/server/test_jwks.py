"""When keys of providers are fetched, when they are not, and what holds while they cannot be."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator

import pytest

from tests.issuer import SigningKey, signing_key
from tests.server.peers import until_blocked
from yugen.fetch import Fetched, FetchFailed
from yugen.functions.providers import JwtProvider, OidcProvider
from yugen.runtime.meters import Outcomes
from yugen.server import jwks
from yugen.server.caller import ProviderUnavailable
from yugen.server.jwks import ProviderKeys

ID = "https://id.example"
DISCOVERY = f"{ID}/.well-known/openid-configuration"
JWKS = "https://keys.example/jwks"
OIDC = OidcProvider(issuer=ID, audience="app")
JWT = JwtProvider(issuer="me", jwks=JWKS, algorithm="ES256")

OLD, NEW = signing_key("ES256", 0), signing_key("ES256", 1)


class Site:
    """What a provider publishes, by address, and a clock that only tests move.

    Attributes:
        fetched: the addresses that were fetched.
        gate: while it is not set, fetching waits.
        reachable: while it is not, fetching fails.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.max_age: float | None = None
        self.fetched: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reachable = True
        self.counts = Outcomes()
        self.documents = {DISCOVERY: json.dumps({"issuer": ID, "jwks_uri": JWKS}).encode()}
        self.publish(OLD)

    def publish(self, *keys: SigningKey) -> None:
        self.documents[JWKS] = json.dumps({"keys": [key.public for key in keys]}).encode()

    async def __call__(self, url: str, *, configured: str) -> Fetched:
        self.fetched.append(url)
        await self.gate.wait()
        if not self.reachable or url not in self.documents:
            raise FetchFailed(f"{url} is not there")
        return Fetched(self.documents[url], self.max_age)

    def keys(self, provider: JwtProvider | OidcProvider = JWT) -> ProviderKeys:
        return ProviderKeys(provider, self, lambda: self.now, self.counts)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    yield Site()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def has(keys: ProviderKeys, kid: str | None) -> bool:
    return bool((await keys.find(kid)).named(kid))


async def test_keys_are_fetched_when_they_are_needed_and_kept(site: Site) -> None:
    keys = site.keys()
    assert site.fetched == []
    for _ in range(3):
        assert await has(keys, OLD.kid)
        assert await has(keys, None)
    assert site.fetched == [JWKS]


async def test_an_openid_provider_says_where_its_keys_are(site: Site) -> None:
    for issuer in (ID, f"{ID}/", "id.example"):
        site.fetched.clear()
        keys = site.keys(OidcProvider(issuer=issuer, audience="app"))
        assert (await keys.find(OLD.kid)).issuer == ID
        assert site.fetched == [DISCOVERY, JWKS]


async def test_an_address_in_a_document_is_fetched_for_the_one_in_auth_py(site: Site) -> None:
    seen: list[tuple[str, str]] = []

    async def fetch(url: str, *, configured: str) -> Fetched:
        seen.append((url, configured))
        return await site(url, configured=configured)

    await ProviderKeys(OIDC, fetch, lambda: 0.0).find(None)
    await ProviderKeys(JWT, fetch, lambda: 0.0).find(None)
    assert seen == [(DISCOVERY, DISCOVERY), (JWKS, ID), (JWKS, JWKS)]


@pytest.mark.parametrize(
    ("max_age", "seconds"),
    [
        (None, jwks.FRESH_SECONDS),
        (300, 300),
        (0, jwks.FRESH_SECONDS_MIN),
        (10**9, jwks.FRESH_SECONDS_MAX),
    ],
)
async def test_keys_are_fetched_again_when_they_have_been_kept_long_enough(
    site: Site, max_age: float | None, seconds: float
) -> None:
    site.max_age = max_age
    keys = site.keys(OIDC)
    await keys.find(OLD.kid)
    site.now += seconds - 1
    await keys.find(OLD.kid)
    assert site.fetched == [DISCOVERY, JWKS]
    site.now += 1
    site.publish(NEW)
    assert not await has(keys, OLD.kid)
    assert site.fetched == [DISCOVERY, JWKS] * 2


async def test_a_new_key_is_looked_for_at_once(site: Site) -> None:
    keys = site.keys(OIDC)
    await keys.find(OLD.kid)
    site.publish(NEW)
    assert await has(keys, NEW.kid)
    assert site.fetched == [DISCOVERY, JWKS, JWKS]


@pytest.mark.parametrize("warm", [True, False])
async def test_case_28_made_up_kids_cost_one_fetch_a_minute_and_no_key(site: Site, warm: bool) -> None:
    keys = site.keys()
    if warm:
        await keys.find(OLD.kid)
        site.fetched.clear()
    for minute in range(3):
        for number in range(1000):
            assert not await has(keys, f"made up {number}")
            site.now += jwks.SEARCH_SECONDS / 1000
        assert site.fetched == [JWKS] * (minute + 1)
        assert await has(keys, OLD.kid)


async def test_case_28_at_once_they_cost_one_fetch_too(site: Site) -> None:
    keys = site.keys()
    found = await asyncio.gather(*(has(keys, f"made up {number}") for number in range(1000)))
    assert not any(found)
    assert site.fetched == [JWKS]


async def test_who_comes_while_keys_are_fetched_waits_for_them(site: Site) -> None:
    keys = site.keys(OIDC)
    site.gate.clear()
    waiting = [asyncio.create_task(has(keys, OLD.kid)) for _ in range(10)]
    await until_blocked()
    assert site.fetched == [DISCOVERY]
    site.gate.set()
    assert all(await asyncio.gather(*waiting))
    assert site.fetched == [DISCOVERY, JWKS]

    site.publish(OLD, NEW)
    site.gate.clear()
    waiting = [asyncio.create_task(has(keys, kid)) for kid in ("made up", NEW.kid, NEW.kid)]
    await until_blocked()
    assert await has(keys, OLD.kid)
    site.gate.set()
    assert await asyncio.gather(*waiting) == [False, True, True]
    assert site.fetched == [DISCOVERY, JWKS, JWKS]


async def test_who_gives_up_takes_nothing_from_others(site: Site) -> None:
    keys = site.keys()
    site.gate.clear()
    first, second = (asyncio.create_task(has(keys, OLD.kid)) for _ in range(2))
    await until_blocked()
    first.cancel()
    await until_blocked()
    assert first.cancelled()
    site.gate.set()
    assert await second
    assert site.fetched == [JWKS]


async def test_closing_gives_up_a_fetch(site: Site) -> None:
    keys = site.keys()
    await keys.close()
    site.gate.clear()
    waiting = asyncio.create_task(keys.find(OLD.kid))
    await until_blocked()
    await keys.close()
    await until_blocked()
    assert waiting.cancelled()


async def test_keys_are_used_on_while_newer_ones_cannot_be_had(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    keys = site.keys()
    await keys.find(OLD.kid)
    site.reachable = False
    site.now += jwks.FRESH_SECONDS
    for _ in range(10):
        assert await has(keys, OLD.kid)
    assert site.fetched == [JWKS] * 2
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"the keys of me cannot be had: {JWKS} is not there")
    ]
    site.now += jwks.RETRY_SECONDS
    assert await has(keys, OLD.kid)
    assert site.fetched == [JWKS] * 3

    site.now += jwks.STALE_SECONDS_MAX
    with pytest.raises(ProviderUnavailable):
        await keys.find(OLD.kid)
    site.reachable = True
    site.now += jwks.RETRY_SECONDS
    assert await has(keys, OLD.kid)


async def test_whether_a_key_is_new_or_made_up_cannot_be_told_then(site: Site) -> None:
    keys = site.keys()
    await keys.find(OLD.kid)
    site.reachable = False
    for _ in range(10):
        with pytest.raises(ProviderUnavailable, match=r"The keys of me cannot be had now; try again in a moment\."):
            await keys.find(NEW.kid)
    assert site.fetched == [JWKS] * 2
    site.reachable = True
    site.publish(NEW)
    site.now += jwks.SEARCH_SECONDS
    assert await has(keys, NEW.kid)


async def test_a_provider_that_was_never_reached_is_left_alone_for_a_while(site: Site) -> None:
    site.reachable = False
    keys = site.keys(OIDC)
    for _ in range(10):
        with pytest.raises(ProviderUnavailable):
            await keys.find(OLD.kid)
    assert site.fetched == [DISCOVERY]
    site.reachable = True
    site.now += jwks.RETRY_SECONDS
    assert await has(keys, OLD.kid)


@pytest.mark.parametrize(
    ("url", "document", "why"),
    [
        (DISCOVERY, b"", "is no OpenID Connect discovery document"),
        (DISCOVERY, b"[]", "is no OpenID Connect discovery document"),
        (DISCOVERY, b'{"issuer": "https://id.example"}', "is no OpenID Connect discovery document"),
        (DISCOVERY, b'{"issuer": 7, "jwks_uri": "https://x"}', "is no OpenID Connect discovery document"),
        (DISCOVERY, b'{"issuer": "https://id.example", "jwks_uri": 7}', "is no OpenID Connect discovery document"),
        (DISCOVERY, b'{"issuer": "https://evil", "jwks_uri": "https://x"}', "is about another issuer, 'https://evil'"),
        (JWKS, b"<html>", "is no JSON Web Key Set"),
    ],
)
async def test_documents_that_are_none_are_as_good_as_not_there(
    site: Site, caplog: pytest.LogCaptureFixture, url: str, document: bytes, why: str
) -> None:
    site.documents[url] = document
    keys = site.keys(OIDC)
    with pytest.raises(ProviderUnavailable):
        await keys.find(OLD.kid)
    assert f"'{url}' {why}" in caplog.text


async def test_keys_that_are_written_out_are_never_fetched(site: Site) -> None:
    text = base64.b64encode(json.dumps({"keys": [OLD.public]}).encode()).decode()
    keys = site.keys(JwtProvider(issuer="me", jwks=f"data:application/json;base64,{text}", algorithm="ES256"))
    for _ in range(3):
        assert await has(keys, OLD.kid)
        assert not await has(keys, NEW.kid)
        site.now += 10**9
    assert site.fetched == []


async def test_those_who_watch_hear_how_often_keys_could_not_be_had(site: Site) -> None:
    keys = site.keys()
    assert await has(keys, OLD.kid)
    site.reachable = False
    site.now += jwks.STALE_SECONDS_MAX
    for _ in range(3):
        site.now += jwks.RETRY_SECONDS + 1
        with pytest.raises(ProviderUnavailable):
            await keys.find(OLD.kid)
    assert (site.counts.ok, site.counts.failed) == (1, 3)
