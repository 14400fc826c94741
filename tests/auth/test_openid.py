"""What providers publish: kept for a while, and believed as far as it goes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.issuer import Page, Web, web
from yugen.auth.openid import ALGORITHMS, KEPT_SECONDS, Documents, discover, is_issuer
from yugen.fetch import FetchFailed
from yugen.functions.providers import is_safe_url


class Clock:
    """Time that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def publish(site: Web, **fields: Any) -> None:
    document = {
        "issuer": site.url,
        "authorization_endpoint": f"{site.url}/authorize",
        "token_endpoint": f"{site.url}/token",
        "jwks_uri": f"{site.url}/jwks",
        **fields,
    }
    site.pages["/.well-known/openid-configuration"] = Page(json.dumps(document).encode())


async def test_a_document_is_kept_for_ten_minutes_or_as_long_as_it_says() -> None:
    clock = Clock()
    async with web() as site:
        documents = Documents(now=clock)
        page = site.pages["/d"] = Page(b"{}")

        async def asked(after: float, *, anew: bool = False) -> int:
            clock.seconds += after
            await documents.get(f"{site.url}/d", configured=site.url, anew=anew)
            return len(site.requests)

        assert await asked(0) == 1
        assert await asked(KEPT_SECONDS - 1) == 1
        assert await asked(1) == 2
        assert await asked(0, anew=True) == 3
        page.headers["Cache-Control"] = "max-age=60"
        assert await asked(KEPT_SECONDS) == 4
        assert await asked(59) == 4
        page.headers["Cache-Control"] = "max-age=99999999"
        assert await asked(1) == 5
        assert await asked(KEPT_SECONDS) == 6


@pytest.mark.parametrize("body", [b"[]", b"{", b"", b"7", b'{"a": ' * 5000, b"\xff"])
async def test_what_is_no_object_is_no_document(body: bytes) -> None:
    async with web() as site:
        site.pages["/d"] = Page(body)
        with pytest.raises(FetchFailed, match="is no JSON object"):
            await Documents().get(f"{site.url}/d", configured=site.url)


async def test_what_is_not_published_is_as_the_specification_says() -> None:
    async with web() as site:
        publish(site)
        found = await discover(Documents(), site.url)
        assert found.algorithms == {"RS256"}
        assert found.token_auth == ("client_secret_basic",)
        assert (found.userinfo, found.names_itself) == (None, False)


@pytest.mark.parametrize(
    ("published", "taken"),
    [
        (["RS256", "HS256", "none"], {"RS256"}),
        (["ES256", "EdDSA", "PS256", 7], {"ES256", "EdDSA"}),
        (["HS256"], set()),
        (["none"], set()),
        ("RS256", {"RS256"}),
    ],
)
async def test_of_what_is_published_the_safe_algorithms_count(published: Any, taken: set[str]) -> None:
    async with web() as site:
        publish(site, id_token_signing_alg_values_supported=published)
        assert (await discover(Documents(), site.url)).algorithms == taken
    assert not any(each.startswith("HS") or each.lower() == "none" for each in ALGORITHMS)


async def test_a_slash_at_the_end_of_an_issuer_makes_no_difference_to_where_it_is() -> None:
    async with web() as site:
        publish(site, issuer=f"{site.url}/")
        assert (await discover(Documents(), site.url)).issuer == f"{site.url}/"
        assert (await discover(Documents(), f"{site.url}/")).issuer == f"{site.url}/"


@pytest.mark.parametrize("issuer", ["https://evil.example", "https://evil.example/{tenantid}", "", "{tenantid}"])
async def test_a_document_about_somebody_else_is_refused(issuer: str) -> None:
    async with web() as site:
        publish(site, issuer=issuer)
        with pytest.raises(FetchFailed, match="is about another issuer"):
            await discover(Documents(), site.url)


def test_an_issuer_is_compared_to_the_letter() -> None:
    published = "https://id.example"
    assert is_issuer(published, published)
    for other in ("https://id.example/", "https://ID.example", "http://id.example", "https://id.example.evil", ""):
        assert not is_issuer(published, other)


@pytest.mark.parametrize(
    ("url", "configured", "safe"),
    [
        ("https://id.example/authorize?x=1", "https://id.example", True),
        ("https://other.example", "https://id.example", True),
        ("http://id.example", "http://id.example", False),
        ("http://127.0.0.1:8080/a", "http://localhost:8080", True),
        ("http://127.0.0.1:8080/a", "https://id.example", False),
        ("javascript:alert(1)", "https://id.example", False),
        ("//id.example", "https://id.example", False),
        ("https:id.example", "https://id.example", False),
        ("https://", "https://id.example", False),
        ("https://a@id.example", "https://id.example", False),
        ("https://id.example\\@evil.example", "https://id.example", False),
        ("https://id.example/\n", "https://id.example", False),
        ("https://id.example/ x", "https://id.example", False),
        ("https://é.example", "https://id.example", False),
        ("https://[::1", "https://id.example", False),
        ("https://id.example:99999", "https://id.example", False),
    ],
)
def test_people_and_secrets_go_over_tls_or_stay_on_this_machine(url: str, configured: str, safe: bool) -> None:
    assert is_safe_url(url, configured) == safe
