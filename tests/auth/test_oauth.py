"""Signing in at another provider: the way there and back, and everything that can be on it."""

from __future__ import annotations

import gzip
import hmac
import html
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import httpx2 as httpx
import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from joserfc.util import urlsafe_b64encode
from starlette.responses import JSONResponse, Response

from tests.auth.browser import Browser
from tests.auth.providers import APPLE_KEY, BASE, World, consent, leave, query_of, travel, user_of, world
from tests.issuer import Algorithm, encoded, sign, signing_key
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET
from yugen.auth import Auth, OAuth, google
from yugen.auth.documents import Verification


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def test_somebody_goes_there_and_comes_back_signed_in(here: World) -> None:
    browser = here.browser()
    url = await leave(browser)
    asked = query_of(url)
    assert url.startswith(f"{here.provider.url}/authorize?")
    assert asked["client_id"] == CLIENT_ID
    assert asked["redirect_uri"] == f"{BASE}/auth/callback/acme"
    assert asked["scope"] == "openid email profile"
    assert asked["code_challenge_method"] == "S256"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    response = await browser.ask(await consent(url))
    assert (response.status_code, response.headers["location"]) == (303, "/")
    user = await user_of(browser)
    assert user is not None
    assert (user["name"], user["email"], user["emailVerified"]) == ("Ada Lovelace", "ada@example.com", True)
    accounts = await here.accounts()
    assert [(each.provider, each.subject, each.user) for each in accounts] == [("acme", "ada-1", user["id"])]


async def test_who_comes_again_is_the_same_user(here: World) -> None:
    await travel(here.browser())
    here.provider.user |= {"email": "new@example.com", "name": "Countess"}
    browser = here.browser()
    await travel(browser)
    user = await user_of(browser)
    assert user is not None
    assert (len(await here.users()), user["email"], user["name"]) == (1, "ada@example.com", "Ada Lovelace")


async def test_coming_back_makes_a_new_session_and_ends_the_one_before(here: World) -> None:
    browser = here.browser()
    await browser.post("/sign-in/name", name="bob")
    before = browser.jar["yugen-session"]
    await travel(browser)
    assert browser.jar["yugen-session"] != before
    fixed = here.browser()
    fixed.jar["yugen-session"] = before
    assert await user_of(fixed) is None


async def test_a_second_factor_is_asked_of_those_who_come_by_a_provider_too(here: World) -> None:
    here.provider.user["name"] = "careful"
    browser = here.browser()
    await travel(browser)
    assert (await browser.ask("/session")).json()["secondFactor"] == ["by-name"]
    assert await user_of(browser) is None


async def test_one_may_not_come_who_is_banned(here: World) -> None:
    await travel(here.browser())

    async def ban(ctx: Any) -> None:
        await ctx.db.patch((await ctx.db.query(here.auth.user).collect())[0].id, banned=None)

    await here.app.run(ban)
    browser = here.browser()
    response = await travel(browser)
    assert (response.status_code, response.json()["code"]) == (403, "Banned")
    assert await user_of(browser) is None


async def test_a_provider_of_plain_oauth_tells_by_its_api_who_somebody_is(here: World) -> None:
    browser = here.browser()
    url = await leave(browser, "plain")
    assert "nonce" not in query_of(url)
    assert query_of(url)["scope"] == "profile email"
    await browser.ask(await consent(url))
    user = await user_of(browser)
    assert user is not None
    assert user["email"] == "ada@example.com"


async def test_what_the_id_token_leaves_out_is_asked_for(here: World) -> None:
    here.provider.in_token = ("sub",)
    browser = here.browser()
    await travel(browser)
    user = await user_of(browser)
    assert user is not None
    assert user["email"] == "ada@example.com"


async def test_pages_that_send_a_form_and_links_of_our_own_pages_go_there_at_once(here: World) -> None:
    browser = here.browser()
    response = await browser.ask("/sign-in/oauth/acme", "POST", data={"redirect": "/notes"})
    assert response.status_code == 303
    response = await browser.ask(await consent(response.headers["location"]))
    assert response.headers["location"] == "/notes"
    browser = here.browser()
    response = await browser.ask("/sign-in/oauth/acme?redirect=/a", headers={"Sec-Fetch-Site": "same-origin"})
    response = await browser.ask(await consent(response.headers["location"]))
    assert response.headers["location"] == "/a"


async def test_clients_are_told_which_providers_there_are(here: World) -> None:
    methods = (await here.browser().ask("/methods")).json()["methods"]
    assert methods["acme"] == {"kind": "oauth", "title": "Acme <b>"}


async def test_keys_may_change_between_two_who_come(here: World) -> None:
    await travel(here.browser())
    here.provider.key = signing_key(number=7)
    browser = here.browser()
    await travel(browser)
    assert await user_of(browser) is not None


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_id_tokens_are_taken_by_each_algorithm_that_is_published(here: World, algorithm: Algorithm) -> None:
    here.provider.key = signing_key(algorithm)
    browser = here.browser()
    await travel(browser)
    assert await user_of(browser) is not None


@pytest.mark.parametrize(
    ("published", "basic"),
    [(None, True), (["client_secret_post", "client_secret_basic"], False), (["private_key_jwt"], True)],
)
async def test_the_secret_is_shown_as_the_provider_wants_it(
    here: World, published: list[str] | None, basic: bool
) -> None:
    here.provider.discovery["token_endpoint_auth_methods_supported"] = published
    browser = here.browser()
    await travel(browser)
    assert await user_of(browser) is not None
    assert ("client_secret" in here.provider.asked("/token")[0]) != basic


# The state: whose journey it is ---------------------------------------------------------------------------------------


async def refused(here: World, browser: Browser, path: str, code: str, status: int = 400) -> httpx.Response:
    """Comes back in vain: nobody is signed in by it, and no account is made."""
    before = (len(await here.users()), len(await here.accounts()), await user_of(browser))
    response = await browser.ask(path)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert (len(await here.users()), len(await here.accounts()), await user_of(browser)) == before
    return response


def with_query(path: str, **fields: str | None) -> str:
    """An address with some of its fields otherwise, or without them."""
    changed = {name: value for name, value in {**query_of(path), **fields}.items() if value is not None}
    return f"{path.partition('?')[0]}?{urlencode(changed)}"


@pytest.mark.parametrize("state", [None, "", "x", "\0", "a" * 10_000, "é"])
async def test_attack_a_state_that_is_missing_or_made_up(here: World, state: str | None) -> None:
    browser = here.browser()
    back = await consent(await leave(browser))
    await refused(here, browser, with_query(back, state=state), "InvalidState")
    assert here.provider.asked("/token") == []


async def test_attack_a_state_that_was_used(here: World) -> None:
    browser = here.browser()
    url = await leave(browser)
    await browser.ask(await consent(url))
    again = here.browser()
    again.jar = {"yugen-oauth": browser.jar["yugen-oauth"]}
    await refused(here, again, await consent(url), "InvalidState")


async def test_attack_a_state_that_was_used_in_vain_is_used(here: World) -> None:
    browser = here.browser()
    back = await consent(await leave(browser))
    await refused(here, browser, with_query(back, code=None, error="server_error"), "ProviderRefused")
    await refused(here, browser, back, "InvalidState")


async def test_attack_the_state_of_another_browser_signs_nobody_in(here: World) -> None:
    """Login forgery: the attacker has begun, and has somebody else end it, who then is the attacker's account."""
    attacker, victim = here.browser(), here.browser()
    back = await consent(await leave(attacker))
    await leave(victim)  # so that there is a cookie, of another journey
    await refused(here, victim, back, "InvalidState")
    bare = here.browser()
    await refused(here, bare, await consent(await leave(attacker)), "InvalidState")


async def test_attack_a_cookie_that_was_planted_binds_nothing(here: World) -> None:
    attacker, victim = here.browser(), here.browser()
    back = await consent(await leave(attacker))
    for planted in ("x", attacker.jar["yugen-oauth"].rpartition(".")[0], attacker.jar["yugen-oauth"][:-2] + "xx"):
        victim.jar["yugen-oauth"] = planted
        await refused(here, victim, back, "InvalidState")


async def test_the_way_back_is_open_for_ten_minutes(here: World) -> None:
    browser = here.browser()
    late, early = await consent(await leave(browser)), await consent(await leave(browser))
    await here.app.advance(minutes=9)
    assert (await browser.ask(early)).status_code == 303
    await here.app.advance(minutes=2)
    await refused(here, browser, late, "InvalidState")


async def test_two_pages_of_one_browser_may_go_at_the_same_time(here: World) -> None:
    browser = here.browser()
    first, second = await leave(browser, redirect="/1"), await leave(browser, redirect="/2")
    assert (await browser.ask(await consent(second))).headers["location"] == "/2"
    assert (await browser.ask(await consent(first))).headers["location"] == "/1"


async def test_attack_a_page_of_another_site_cannot_begin_it(here: World) -> None:
    browser = here.browser()
    browser.headers["Origin"] = "https://evil.example"
    response = await browser.post("/sign-in/oauth/acme")
    assert (response.status_code, response.json()["code"]) == (403, "UntrustedOrigin")
    browser.headers = {}
    for site in ("cross-site", "same-site", "", None):
        headers = {} if site is None else {"Sec-Fetch-Site": site}
        response = await browser.ask("/sign-in/oauth/acme", headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "UntrustedOrigin")
    assert here.provider.requests == []


async def test_one_address_cannot_fill_the_database_by_starting(here: World) -> None:
    for _ in range(60):
        await leave(here.browser())
    response = await here.browser().post("/sign-in/oauth/acme")
    assert (response.status_code, response.json()["code"]) == (429, "RateLimited")
    assert response.headers["retry-after"] == "1"
    await here.app.advance(seconds=1)
    await leave(here.browser())
    await here.app.advance(hours=2)
    assert await here.app.run(lambda ctx: ctx.db.query(Verification).collect()) == []


async def test_the_cookie_is_for_this_host_alone_and_out_of_reach_of_scripts(here: World) -> None:
    response = await here.browser().post("/sign-in/oauth/acme")
    cookie = next(each for each in response.headers.get_list("set-cookie") if each.startswith("yugen-oauth="))
    assert {"HttpOnly", "Path=/", "SameSite=lax", "Max-Age=600"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie


async def test_what_is_stored_of_a_journey_is_of_no_use_to_who_reads_it(here: World) -> None:
    url = await leave(here.browser())
    rows = str(await here.app.run(lambda ctx: ctx.db.query(Verification).collect()))
    for secret in (query_of(url)["state"], query_of(url)["nonce"], "verifier"):
        assert secret not in rows


# The code -------------------------------------------------------------------------------------------------------------


async def test_attack_a_code_of_another_session_is_of_no_use(here: World) -> None:
    """Code injection: the attacker has the code of a victim, and puts it into a journey of their own."""
    victim, attacker = here.browser(), here.browser()
    code = query_of(await consent(await leave(victim)))["code"]
    back = with_query(await consent(await leave(attacker)), code=code)
    await refused(here, attacker, back, "ProviderRefused")


async def test_attack_the_nonce_tells_an_injected_code_where_the_provider_has_no_pkce(here: World) -> None:
    here.provider.checks_pkce = False
    victim, attacker = here.browser(), here.browser()
    code = query_of(await consent(await leave(victim)))["code"]
    back = with_query(await consent(await leave(attacker)), code=code)
    await refused(here, attacker, back, "ProviderRefused")
    assert len(here.provider.tokens) == 1  # so it was the nonce


async def test_pkce_goes_with_every_journey(here: World) -> None:
    here.provider.discovery["code_challenge_methods_supported"] = None
    for name in ("acme", "plain"):
        browser = here.browser()
        await travel(browser, name)
        asked = here.provider.asked("/authorize")[-1]
        verifier = here.provider.asked("/token")[-1]["code_verifier"]
        assert asked["code_challenge_method"] == "S256"
        assert asked["code_challenge"] == create_s256_code_challenge(verifier) != verifier
        assert len(verifier) >= 43


async def test_attack_a_code_that_was_used(here: World) -> None:
    browser = here.browser()
    back = await consent(await leave(browser))
    code = query_of(back)["code"]
    await browser.ask(back)
    other = here.browser()
    await refused(here, other, with_query(await consent(await leave(other)), code=code), "ProviderRefused")


async def test_attack_the_answer_of_another_provider_is_not_taken(here: World) -> None:
    """Mix-up: a provider of the attacker's has the browser bring its answer to where another one's is expected."""
    browser = here.browser()
    back = await consent(await leave(browser))
    await refused(here, browser, with_query(back, iss="https://evil.example"), "ProviderRefused")
    assert here.provider.asked("/token") == []  # which would have been given the code of the honest one


async def test_attack_an_answer_that_does_not_say_from_whom_it_is_where_all_do(here: World) -> None:
    browser = here.browser()
    back = await consent(await leave(browser))
    await refused(here, browser, with_query(back, iss=None), "ProviderRefused")
    assert here.provider.asked("/token") == []


async def test_attack_the_state_of_one_provider_is_none_at_another(here: World) -> None:
    browser = here.browser()
    back = await consent(await leave(browser, "acme"))
    await refused(here, browser, back.replace("/callback/acme", "/callback/other"), "InvalidState")


async def test_an_answer_need_not_say_from_whom_it_is_where_none_does(here: World) -> None:
    here.provider.names_itself = False
    browser = here.browser()
    await travel(browser)
    assert await user_of(browser) is not None


# The ID token ---------------------------------------------------------------------------------------------------------


def changed(**claims: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda given: {name: value for name, value in {**given, **claims}.items() if value is not None}


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"nonce": ""},
        {"nonce": ["x"]},
        {"aud": "another-app"},
        {"aud": ["another-app"]},
        {"aud": None},
        {"aud": [CLIENT_ID, "another-app"]},  # and no `azp`
        {"aud": [CLIENT_ID, "another-app"], "azp": "another-app"},
        {"azp": "another-app"},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"iss": 7},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": 2**40},
        {"iat": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"at_hash": "another"},
        {"at_hash": ["x"]},
    ],
    ids=str,
)
async def test_attack_an_id_token_that_is_not_for_this_sign_in(here: World, claims: dict[str, Any]) -> None:
    here.provider.change = changed(**claims)
    browser = here.browser()
    await refused(here, browser, await consent(await leave(browser)), "ProviderRefused")


async def test_attack_an_id_token_of_no_algorithm(here: World) -> None:
    algorithms: list[Any] = ["none", "None", "", None, ["RS256"], {}]
    for alg in algorithms:
        here.provider.forge = lambda claims, alg=alg: b".".join([encoded({"alg": alg}), encoded(claims), b""]).decode()
        browser = here.browser()
        await refused(here, browser, await consent(await leave(browser)), "ProviderRefused")


async def test_attack_an_id_token_that_is_signed_with_the_public_key_as_a_secret(here: World) -> None:
    key = here.provider.key
    assert isinstance(key.key, RSAKey)
    texts = [key.key.as_pem(private=False), json.dumps(key.public).encode(), CLIENT_SECRET.encode()]
    for discovery in (["RS256"], ["HS256", "RS256"], ["HS256"], ["none"]):
        here.provider.discovery["id_token_signing_alg_values_supported"] = discovery
        for text in texts:

            def forge(claims: dict[str, Any], text: bytes = text) -> str:
                signed = b".".join([encoded({"alg": "HS256", "kid": key.kid}), encoded(claims)])
                mac = hmac.digest(text, signed, "sha256")
                return b".".join([signed, urlsafe_b64encode(mac)]).decode()

            here.provider.forge = forge
            browser = here.browser()
            await refused(here, browser, await consent(await leave(browser)), "ProviderRefused")


@pytest.mark.parametrize("kid", ["RS256-0", None, "", "../../dev/null", "' OR 1=1 --", "http://evil.example/jwks", 7])
async def test_attack_an_id_token_that_is_signed_with_another_key(here: World, kid: Any) -> None:
    evil = signing_key(number=666)
    extra = {"kid": kid, "jwk": evil.public, "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x5u"}
    here.provider.forge = lambda claims: sign(claims, evil, extra)
    browser = here.browser()
    await refused(here, browser, await consent(await leave(browser)), "ProviderRefused")
    assert await user_of(browser) is None


async def test_attack_an_id_token_by_an_algorithm_that_is_not_published(here: World) -> None:
    here.provider.discovery["id_token_signing_alg_values_supported"] = ["RS256"]
    here.provider.key = signing_key("ES256")
    browser = here.browser()
    await refused(here, browser, await consent(await leave(browser)), "ProviderRefused")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "a.b.c.d.e", "é", None, 7, "." * 100_000])
async def test_an_id_token_that_is_none(here: World, token: Any) -> None:
    here.provider.forge = lambda claims: token
    browser = here.browser()
    await refused(here, browser, await consent(await leave(browser)), "ProviderRefused")


async def test_attack_what_the_api_tells_is_about_somebody_else(here: World) -> None:
    here.provider.in_token = ("sub",)
    for told in ({"sub": "bob-1"}, {"sub": None}):
        here.provider.userinfo = told
        browser = here.browser()
        await refused(here, browser, await consent(await leave(browser)), "ProviderRefused")


@pytest.mark.parametrize("name", ["sub", "name", "picture"])
async def test_what_the_api_tells_has_whole_characters(here: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JSONResponse, "render", lambda _, content: json.dumps(content).encode())
    here.provider.userinfo = {name: "\ud800"}
    browser = here.browser()
    await refused(here, browser, await consent(await leave(browser, "plain")), "ProviderUnavailable", 502)


# What a provider may do to us -----------------------------------------------------------------------------------------


async def test_attack_what_a_provider_says_of_an_error_reaches_no_page(here: World, caplog: Any) -> None:
    script = "<script>alert(1)</script>"
    here.provider.answer = {"code": None, "error": script, "error_description": script, "error_uri": script}
    browser = here.browser()
    back = await consent(await leave(browser))
    response = await browser.ask(back, headers={"Accept": "text/html"})
    assert response.status_code == 400
    assert "has not let you sign in" in response.text
    assert "alert(1)" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "alert" in caplog.text


async def test_attack_no_line_of_the_log_is_a_providers(here: World, caplog: Any) -> None:
    here.provider.answer = {"code": None, "error": "x", "error_description": "a\n2026 CRITICAL root gone"}
    browser = here.browser()
    await refused(here, browser, await consent(await leave(browser)), "ProviderRefused")
    assert "\\n2026 CRITICAL" in caplog.text


async def test_who_does_not_agree_at_the_provider_is_told_so(here: World) -> None:
    here.provider.answer = {"code": None, "error": "access_denied"}
    browser = here.browser()
    response = await refused(here, browser, await consent(await leave(browser)), "Cancelled")
    assert response.json()["message"] == "Signing in with Acme <b> was cancelled; try again, or another way."
    response = await browser.ask(await consent(await leave(browser, errorRedirect="/in?x=1#top")))
    assert response.headers["location"] == "/in?x=1&error=Cancelled#top"


@pytest.mark.parametrize(
    "answer",
    [
        lambda: Response("<p>Too many</p>", 429),
        lambda: Response("<p>Oh no</p>", 500),
        lambda: Response("", 302, {"Location": "/trap"}),
        lambda: Response(b"x" * 2_000_000),
        lambda: Response(gzip.compress(b'{"access_token": "x"}'), headers={"Content-Encoding": "gzip"}),
        lambda: Response("[]"),
        lambda: Response('{"access_token": ' + "[" * 980 + "]" * 980 + "}"),
        lambda: JSONResponse({"access_token": "x"}, 404),
    ],
)
async def test_a_provider_that_answers_with_anything_else(here: World, answer: Callable[[], Response]) -> None:
    here.provider.token_answer = answer
    browser = here.browser()
    await refused(here, browser, await consent(await leave(browser)), "ProviderUnavailable", 502)
    assert here.provider.asked("/trap") == []


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"access_token": ""},
        {"access_token": 7},
        {"access_token": "a\r\nX: y"},
        {"access_token": "x", "token_type": "mac"},
        {"access_token": "x"},
        {"access_token": "x", "id_token": {}},
        {"access_token": "x", "expires_in": [1]},
        {"access_token": "x", "expires_in": "soon"},
        {"access_token": "x", "expires_at": {}},
        {"error": "<b>", "error_description": ["x"]},
    ],
    ids=str,
)
async def test_a_provider_that_gives_no_tokens(here: World, answer: dict[str, Any]) -> None:
    here.provider.token_answer = lambda: JSONResponse(answer)
    browser = here.browser()
    await refused(here, browser, await consent(await leave(browser)), "ProviderRefused")


async def test_an_access_token_of_nothing_is_none(here: World) -> None:
    here.provider.token_answer = lambda: JSONResponse({"access_token": ""})
    browser = here.browser()
    await refused(here, browser, await consent(await leave(browser, "plain")), "ProviderRefused")
    assert here.provider.asked("/userinfo") == []


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": None},
        {"jwks_uri": 7},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://id.example/authorize"},
        {"authorization_endpoint": "https://a@id.example/authorize"},
        {"authorization_endpoint": "https://id.example/\r\nSet-Cookie: x"},
        {"authorization_endpoint": "//id.example/authorize"},
    ],
    ids=str,
)
async def test_attack_a_discovery_document_that_leads_astray(here: World, discovery: dict[str, Any]) -> None:
    here.provider.discovery = discovery
    response = await here.browser().post("/sign-in/oauth/acme")
    assert (response.status_code, response.json()["code"]) == (502, "ProviderUnavailable")


@pytest.mark.parametrize("field", ["token_endpoint", "jwks_uri", "userinfo_endpoint"])
async def test_attack_a_provider_does_not_make_us_ask_inside_our_network(here: World, field: str) -> None:
    here.provider.in_token = ("sub",)
    here.provider.discovery[field] = "http://169.254.169.254/latest"
    browser = here.browser()
    await refused(here, browser, await consent(await leave(browser)), "ProviderUnavailable", 502)


async def test_a_provider_that_is_not_there(here: World) -> None:
    here.part("acme").issuer = "http://127.0.0.1:1"
    response = await here.browser().post("/sign-in/oauth/acme")
    assert (response.status_code, response.json()["code"]) == (502, "ProviderUnavailable")
    assert response.json()["message"] == "Acme <b> cannot be reached; try again in a moment."


async def test_a_provider_that_is_not_set_up(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here.part("acme"), "client_secret", "MISSING_SECRET")
    response = await here.browser().post("/sign-in/oauth/acme")
    assert (response.status_code, response.json()["code"]) == (503, "NotSetUp")
    assert "yugen env set MISSING_SECRET" in response.json()["message"]


# Where people go then -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "///evil.example",
        "https:evil.example",
        "https:/evil.example",
        "https:///evil.example",
        "https://evil.example",
        "\\evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "https://127.0.0.1:3210@evil.example",
        "http://127.0.0.1:3210@evil.example/",
        "https://app.example.com.evil.example",
        "https://app.example.com@evil.example",
        "https://user:password@app.example.com",
        "https://app.example.com:444",
        "http://app.example.com",
        "http://127.0.0.1:3210.evil.example",
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "evil.example",
        "/%2f/evil.example",
        "/%5cevil.example",
        "",
        "http://[::1",
        "http://evil.example#@127.0.0.1:3210",
        7,
    ],
)
@pytest.mark.parametrize("field", ["redirect", "errorRedirect"])
async def test_attack_nobody_is_led_elsewhere(here: World, target: Any, field: str) -> None:
    response = await here.browser().post("/sign-in/oauth/acme", **{field: target})
    assert response.status_code == 400
    assert response.json()["code"] in ("BadRedirect", "InvalidField")
    assert here.provider.requests == []


@pytest.mark.parametrize("target", ["/", "/a?b=c#d", "https://app.example.com/x", f"{BASE}/x"])
async def test_people_go_back_to_us_or_whom_we_trust(here: World, target: str) -> None:
    response = await travel(here.browser(), redirect=target)
    assert response.headers["location"] == target


async def test_the_page_of_who_works_on_the_app_may_have_people_come_back(here: World) -> None:
    browser = here.browser()
    response = await travel(browser, redirect="http://localhost:5173/")  # as the ready-made page sends it
    assert response.headers["location"] == "http://localhost:5173/"
    browser.headers["Origin"] = "http://localhost:5173"
    response = await travel(browser, redirect="http://localhost:5173/")
    assert response.headers["location"] == "http://localhost:5173/"


async def test_attack_the_host_that_a_request_names_changes_nothing(here: World) -> None:
    browser = here.browser()
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    response = await browser.ask("/sign-in/oauth/acme", "POST", json={}, headers=headers)
    url = response.json()["url"]
    assert query_of(url)["redirect_uri"] == f"{BASE}/auth/callback/acme"
    response = await browser.ask(await consent(url), headers=headers)
    assert response.headers["location"] == "/"
    assert here.provider.asked("/token")[0]["redirect_uri"] == f"{BASE}/auth/callback/acme"


async def test_attack_the_way_back_cannot_be_told_to_go_elsewhere(here: World) -> None:
    browser = here.browser()
    back = await consent(await leave(browser, redirect="/own"))
    response = await browser.ask(with_query(back, redirect="https://evil.example", posted="x"))
    assert response.headers["location"] == "/own"


# Answers by a form ----------------------------------------------------------------------------------------------------


def is_apple_secret(secret: str) -> bool:
    """Whether it is signed with the key that Apple has given out."""
    return bool(jwt.decode(secret, ECKey.import_key(APPLE_KEY), algorithms=["ES256"]).claims)


async def post_back(here: World, browser: Browser) -> dict[str, str]:
    """Agrees at a provider that answers by a form, and gives what is in the form."""
    here.provider.is_secret = is_apple_secret
    async with httpx.AsyncClient() as client:
        page = (await client.get(await leave(browser, "apple"))).text
    return {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', page)}


async def test_a_form_of_the_providers_page_is_taken_without_a_cookie_and_brought_by_the_browser(here: World) -> None:
    browser, nobody = here.browser(), here.browser()
    fields = await post_back(here, browser)
    assert here.provider.asked("/authorize")[0]["response_mode"] == "form_post"
    user = {"name": {"firstName": "Augusta", "lastName": "King"}, "email": "evil@example.com"}
    nobody.headers["Origin"] = here.provider.url  # of another site, from where no cookie comes along
    response = await nobody.ask("/callback/apple", "POST", data={**fields, "user": json.dumps(user)})
    assert response.status_code == 303
    assert nobody.jar == {}
    target = response.headers["location"]
    assert target.startswith(f"{BASE}/auth/callback/apple?posted=")
    assert fields["code"] not in target
    response = await browser.ask(target.removeprefix(f"{BASE}/auth"))
    assert response.headers["location"] == "/"
    found = await user_of(browser)
    assert found is not None
    assert (found["name"], found["email"]) == ("Augusta King", "ada@example.com")


async def test_apple_is_shown_a_secret_that_is_made_for_it(here: World) -> None:
    browser = here.browser()
    here.provider.token_answer = lambda: JSONResponse({"error": "invalid_client"}, 400)
    fields = await post_back(here, browser)
    target = (await browser.ask("/callback/apple", "POST", data=fields)).headers["location"]
    await refused(here, browser, target.removeprefix(f"{BASE}/auth"), "ProviderRefused")
    secret = here.provider.asked("/token")[0]["client_secret"]
    token = jwt.decode(secret, ECKey.import_key(APPLE_KEY), algorithms=["ES256"])
    assert token.header == {"typ": "JWT", "alg": "ES256", "kid": "KEY"}
    now = int(here.app._now_ns / 1e9)
    assert token.claims == {
        "iss": "TEAM",
        "sub": CLIENT_ID,
        "aud": "https://appleid.apple.com",
        "iat": now,
        "exp": now + 300,
    }


async def test_attack_another_browser_cannot_bring_what_was_posted(here: World) -> None:
    attacker, victim = here.browser(), here.browser()
    fields = await post_back(here, attacker)
    target = (await victim.ask("/callback/apple", "POST", data=fields)).headers["location"]
    await refused(here, victim, target.removeprefix(f"{BASE}/auth"), "InvalidState")


async def test_attack_what_was_posted_cannot_be_made_up(here: World) -> None:
    browser = here.browser()
    fields = await post_back(here, browser)
    for path in (f"/callback/apple?{urlencode(fields)}", "/callback/apple?posted=x", "/callback/apple"):
        await refused(here, browser, path, "InvalidState")
    big = {**fields, "user": "x" * 10_000}
    assert (await browser.ask("/callback/apple", "POST", data=big)).status_code == 400


async def test_pages_of_others_may_post_only_where_a_provider_does(here: World) -> None:
    browser = here.browser()
    browser.headers["Origin"] = "https://evil.example"
    assert (await browser.ask("/callback/acme", "POST", data={})).status_code == 404
    for path in ("/sign-in/oauth/apple", "/link/oauth/apple", "/unlink/oauth/apple"):
        assert (await browser.ask(path, "POST", data={})).status_code == 403


# Parts as they are written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Acme", "issuer": "https://id.example"}, "'Acme' is no name for a provider"),
        ({"name": "password", "issuer": "https://id.example"}, "is no name for a provider"),
        ({"name": "a/b", "issuer": "https://id.example"}, "is no name for a provider"),
        ({"name": "acme"}, "give either `issuer`"),
        ({"name": "acme", "authorize_url": "https://id.example/a"}, "give either `issuer`"),
        (
            {"name": "a", "issuer": "https://i", "authorize_url": "https://a", "token_url": "https://t"},
            "give either `issuer`",
        ),
        (
            {"name": "acme", "issuer": "https://id.example", "client_id": "0oa1b2c3"},
            "`client_id` names an environment variable, such as ACME_CLIENT_ID",
        ),
        (
            {"name": "acme-id", "issuer": "https://id.example", "client_secret": "hunter2"},
            "`client_secret` names an environment variable, such as ACME_ID_CLIENT_SECRET",
        ),
        ({"name": "acme", "issuer": "http://id.example"}, "https"),
        ({"name": "acme", "authorize_url": "javascript:x", "token_url": "https://t"}, "https"),
    ],
)
def test_a_provider_that_cannot_be_one_is_refused_when_it_is_written(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        OAuth(**options)


def test_two_providers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="google is there twice"):
        Auth(google(), google())
