"""Providers that many apps want: what is peculiar to each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.responses import JSONResponse

from tests.auth.providers import World, consent, leave, query_of, user_of, world
from yugen.auth import OAuth, Profile, apple, discord, github, google, microsoft, oidc

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
PERSONAL = "9188040d-6c67-4c5b-b112-36a304b66dad"


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.mark.parametrize("make", [google, github, microsoft, apple, discord])
def test_each_has_a_name_a_title_and_variables_of_its_own(make: Callable[..., OAuth]) -> None:
    part = make()
    assert part.name == make.__name__
    assert part.client_id == f"{part.name.upper()}_CLIENT_ID"
    assert part.client_secret == f"{part.name.upper()}_CLIENT_SECRET"
    assert part.trust_email
    other = make(client_id="MY_ID", scopes=["openid"], trust_email=False, keep_tokens=True, title="Mine")
    assert (other.client_id, other.scopes, other.title) == ("MY_ID", ("openid",), "Mine")
    assert (other.trust_email, other.keep_tokens) == (False, True)


def test_any_other_is_trusted_for_mail_only_if_the_app_says_so() -> None:
    assert not oidc("acme", issuer="https://id.acme.example").trust_email


# Google ---


def test_google_spells_its_issuer_in_two_ways() -> None:
    published = "https://accounts.google.com"
    assert google().is_issuer(published, published)
    assert google().is_issuer(published, "accounts.google.com")
    for other in ("http://accounts.google.com", "https://accounts.google.com/", "google.com", ""):
        assert not google().is_issuer(published, other)


def test_google_says_which_mail_is_verified() -> None:
    claims = {"sub": "1", "email": "ada@example.com", "name": "Ada", "picture": "https://lh3.example/a"}
    assert google().profile({**claims, "email_verified": True}) == Profile(
        subject="1", email="ada@example.com", email_verified=True, name="Ada", image="https://lh3.example/a"
    )
    assert not google().profile(claims).email_verified


# GitHub ---


def mail(email: str, *, primary: bool = False, verified: bool = True) -> dict[str, Any]:
    return {"email": email, "primary": primary, "verified": verified, "visibility": None}


@pytest.mark.parametrize(
    ("emails", "email", "verified"),
    [
        ([mail("b@example.com"), mail("a@example.com", primary=True)], "a@example.com", True),
        ([mail("a@example.com", primary=True, verified=False), mail("b@example.com")], "a@example.com", False),
        ([mail("b@example.com")], None, False),
        ([], None, False),
        ({"message": "Not Found"}, None, False),
        (["a@example.com", None, {"primary": True}], None, False),
    ],
)
def test_of_github_the_primary_address_counts_if_it_is_verified(emails: Any, email: str | None, verified: bool) -> None:
    user = {"id": 7, "login": "ada", "name": None, "email": "public@example.com", "avatar_url": "https://a.example/7"}
    profile = github().profile({"user": user, "emails": emails})
    assert profile == Profile(
        subject="7", email=email, email_verified=verified, name="ada", image="https://a.example/7"
    )


@pytest.mark.parametrize("user", [{}, {"id": "7"}, {"id": True}, {"login": "ada"}, [], None])
def test_attack_who_github_does_not_number_is_nobody(user: Any) -> None:
    assert github().profile({"user": user, "emails": []}).subject == ""


async def test_github_is_asked_for_the_addresses_by_themselves(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    part, url = here.part("plain"), here.provider.url
    preset = github(client_id="PLAIN_CLIENT_ID", client_secret="PLAIN_CLIENT_SECRET")
    preset.authorize_url, preset.token_url, preset.userinfo_url = f"{url}/authorize", f"{url}/token", f"{url}/user"
    for name in ("look_up", "profile", "scopes", "userinfo_url", "token_auth"):
        monkeypatch.setattr(part, name, getattr(preset, name))
    here.provider.api = {
        "/user": {"id": 7, "login": "ada", "email": "public@example.com"},
        "/user/emails": [mail("ada@example.com", primary=True)],
    }
    browser = here.browser()
    url = await leave(browser, "plain")
    assert query_of(url)["scope"] == "read:user user:email"
    assert (await browser.ask(await consent(url))).status_code == 303
    user = await user_of(browser)
    assert user is not None
    assert (user["name"], user["email"], user["emailVerified"]) == ("ada", "ada@example.com", True)
    assert [each.subject for each in await here.accounts()] == ["7"]
    assert "client_secret" in here.provider.asked("/token")[0]


async def test_github_says_that_a_code_is_bad_as_if_all_were_well(here: World) -> None:
    here.provider.token_answer = lambda: JSONResponse({"error": "bad_verification_code", "error_uri": "https://x"})
    browser = here.browser()
    response = await browser.ask(await consent(await leave(browser, "plain")))
    assert (response.status_code, response.json()["code"]) == (400, "ProviderRefused")


# Microsoft ---


def of_tenant(tenant: str) -> str:
    return f"https://login.microsoftonline.com/{tenant}/v2.0"


@pytest.mark.parametrize(
    ("tenant", "issuers", "good"),
    [
        ("common", [of_tenant(TENANT), of_tenant(PERSONAL)], True),
        ("organizations", [of_tenant(TENANT)], True),
        ("organizations", [of_tenant(PERSONAL)], False),
        ("consumers", [of_tenant(PERSONAL)], True),
        ("consumers", [of_tenant(TENANT)], False),
        (
            "common",
            [
                of_tenant("{tenantid}"),
                of_tenant("common"),
                of_tenant(""),
                of_tenant(f"{TENANT}/x"),
                of_tenant(f"evil/{TENANT}"),
                of_tenant(TENANT).replace("microsoftonline.com", "microsoftonline.com.evil.example"),
                of_tenant(TENANT).replace("login.", "loginx"),
                of_tenant(TENANT) + "\n",
            ],
            False,
        ),
    ],
)
def test_of_microsoft_each_tenant_is_an_issuer(tenant: str, issuers: list[str], good: bool) -> None:
    part = microsoft(tenant=tenant)
    assert part.issuer == of_tenant(tenant)
    for issuer in issuers:
        assert part.is_issuer(of_tenant("{tenantid}"), issuer) == good


def test_of_microsoft_one_tenant_is_that_one_alone() -> None:
    part = microsoft(tenant=TENANT)
    assert part.is_issuer(of_tenant(TENANT), of_tenant(TENANT))
    assert not part.is_issuer(of_tenant(TENANT), of_tenant(PERSONAL))
    with pytest.raises(ValueError, match="is no tenant"):
        microsoft(tenant="../evil")


@pytest.mark.parametrize(
    ("claims", "verified"),
    [
        ({}, False),
        ({"email_verified": True}, False),
        ({"verified_primary_email": ["ada@example.com"]}, False),
        ({"xms_edov": False}, False),
        ({"xms_edov": "0"}, False),
        ({"xms_edov": True}, True),
        ({"xms_edov": "true"}, True),
        ({"xms_edov": 1}, True),
        ({"xms_edov": "1"}, True),
    ],
)
def test_attack_mail_of_microsoft_is_anybodys_unless_its_domain_is_verified(
    claims: dict[str, Any], verified: bool
) -> None:
    """nOAuth: an administrator of any tenant gives a user of theirs the address of the victim."""
    profile = microsoft().profile({"sub": "x", "email": "ada@example.com", "preferred_username": "ada", **claims})
    assert profile.email_verified == verified


@pytest.mark.parametrize(
    ("key_issuer", "good"),
    [(None, True), ("/{tenantid}/v2.0", True), (f"/{TENANT}/v2.0", True), ("/other/v2.0", False)],
)
async def test_of_microsoft_a_key_of_one_tenant_signs_for_no_other(
    here: World, monkeypatch: pytest.MonkeyPatch, key_issuer: str | None, good: bool
) -> None:
    url = here.provider.url
    part = here.part("acme")
    monkeypatch.setattr(part, "is_issuer", microsoft().is_issuer)
    here.provider.names_itself = False
    here.provider.discovery["issuer"] = f"{url}/{{tenantid}}/v2.0"
    here.provider.change = lambda claims: {**claims, "iss": f"{url}/{TENANT}/v2.0"}
    here.provider.keys = [here.provider.key.public | ({} if key_issuer is None else {"issuer": url + key_issuer})]
    browser = here.browser()
    response = await browser.ask(await consent(await leave(browser)))
    assert response.status_code == (303 if good else 400)
    assert (await user_of(browser) is not None) == good


# Apple ---


@pytest.mark.parametrize(
    ("user", "name"),
    [
        (json.dumps({"name": {"firstName": "Ada", "lastName": "King"}}), "Ada King"),
        (json.dumps({"name": {"firstName": "Ada"}}), "Ada"),
        (json.dumps({"name": "Ada"}), None),
        (json.dumps({"name": {"firstName": 7}}), None),
        ("[]", None),
        ("{", None),
        ("\ud800", None),
        ("[" * 5000, None),
        (None, None),
    ],
)
def test_apple_tells_a_name_by_the_browser_and_nothing_else_is_believed_of_it(user: Any, name: str | None) -> None:
    claims = {"sub": "001.x", "email": "x@privaterelay.appleid.com", "email_verified": "true", "user": user}
    assert apple().profile(claims) == Profile(
        subject="001.x", email="x@privaterelay.appleid.com", email_verified=True, name=name
    )


@pytest.mark.parametrize("key", ["nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "{}"])
async def test_a_key_that_is_none_is_told_in_the_log_without_it(
    here: World, monkeypatch: pytest.MonkeyPatch, caplog: Any, key: str
) -> None:
    part = here.part("apple")
    known = part.variable

    def variable(ctx: Any, name: str) -> str:
        return key if name == "APPLE_PRIVATE_KEY" else known(ctx, name)

    monkeypatch.setattr(part, "variable", variable)
    response = await here.browser().post("/sign-in/oauth/apple")
    assert (response.status_code, response.json()["code"]) == (503, "NotSetUp")
    assert "APPLE_PRIVATE_KEY is no key" in caplog.text
    assert key not in caplog.text


# Discord ---


@pytest.mark.parametrize(
    ("claims", "profile"),
    [
        (
            {
                "id": "80",
                "username": "ada",
                "global_name": "Ada",
                "avatar": "f/0",
                "email": "a@b.example",
                "verified": True,
            },
            Profile(
                subject="80",
                email="a@b.example",
                email_verified=True,
                name="Ada",
                image="https://cdn.discordapp.com/avatars/80/f%2F0.png",
            ),
        ),
        (
            {
                "id": "80",
                "username": "ada",
                "global_name": None,
                "avatar": None,
                "email": "a@b.example",
                "verified": False,
            },
            Profile(subject="80", email="a@b.example", name="ada"),
        ),
        ({"id": 80, "username": "ada", "email": None}, Profile(subject="", name="ada")),
    ],
)
def test_discord_has_names_of_its_own_for_what_it_tells(claims: dict[str, Any], profile: Profile) -> None:
    assert discord().profile(claims) == profile
