"""Whose account it is by which somebody comes: linking, and how nobody gets into another's account by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.auth.browser import Browser
from tests.auth.providers import World, consent, leave, travel, user_of, world
from yugen.auth.documents import Account, AuditEvent, Session


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def signed_in(here: World, name: str) -> tuple[Browser, str]:
    """Somebody who is here by their name, `name@example.com`, and has a password."""
    browser = here.browser()
    return browser, (await browser.post("/sign-in/name", name=name)).json()["user"]


async def events(here: World) -> list[str]:
    return [each.event for each in await here.app.run(lambda ctx: ctx.db.query(AuditEvent).collect())]


# Who comes and is not known by this way -------------------------------------------------------------------------------


async def test_mail_that_is_verified_on_both_sides_leads_to_the_account_that_is_there(here: World) -> None:
    _, ada = await signed_in(here, "ada")
    browser = here.browser()
    await travel(browser)
    user = await user_of(browser)
    assert user is not None
    assert user["id"] == ada
    assert [each.user for each in await here.accounts()] == [ada]
    assert "account-linked" in await events(here)


@pytest.mark.parametrize("verified", [False, None, "yes", 1, "false"])
async def test_attack_mail_that_the_provider_has_not_verified_never_links(here: World, verified: Any) -> None:
    await signed_in(here, "ada")
    here.provider.user["email_verified"] = verified
    browser = here.browser()
    response = await travel(browser)
    assert (response.status_code, response.json()["code"]) == (409, "AccountExists")
    assert await user_of(browser) is None
    assert await here.accounts() == []


@pytest.mark.parametrize("email", ["ADA@example.com", " ada@EXAMPLE.com "])
async def test_addresses_are_compared_as_they_are_stored(here: World, email: str) -> None:
    _, ada = await signed_in(here, "ada")
    here.provider.user["email"] = email
    browser = here.browser()
    await travel(browser)
    user = await user_of(browser)
    assert user is not None
    assert user["id"] == ada


async def test_attack_mail_of_a_provider_that_is_not_trusted_for_it_never_links(here: World) -> None:
    await signed_in(here, "ada")
    browser = here.browser()
    response = await travel(browser, "other")
    assert response.json() == {
        "code": "AccountExists",
        "message": "There is an account with this address. Sign in to it as you did before, then add other to it.",
    }
    assert await user_of(browser) is None


@pytest.mark.parametrize(("name", "verified"), [("acme", False), ("other", True), ("other", False)])
async def test_an_address_that_nobody_vouches_for_is_not_written_down(here: World, name: str, verified: bool) -> None:
    """Else it would wait for its owner, or keep them from signing up."""
    here.provider.user["email_verified"] = verified
    browser = here.browser()
    await travel(browser, name)
    user = await user_of(browser)
    assert user is not None
    assert (user["email"], user["emailVerified"], user["name"]) == (None, False, "Ada Lovelace")
    _, owner = await signed_in(here, "ada")
    assert owner != user["id"]


async def test_attack_an_account_that_waits_for_its_victim_is_taken_from_who_has_made_it(here: World) -> None:
    """Account pre-hijacking (CVE-2026-44166 of PocketBase): the password of the attacker must not survive."""
    attacker, made = await signed_in(here, "unada")
    victim = here.browser()
    await travel(victim)
    user = await user_of(victim)
    assert user is not None
    assert (user["id"], user["emailVerified"], user["name"]) == (made, True, "Ada Lovelace")
    assert await user_of(attacker) is None
    everything = await here.app.run(lambda ctx: ctx.db.query(Account).collect())
    assert [(each.provider, each.user) for each in everything] == [("acme", made)]
    assert len(await here.app.run(lambda ctx: ctx.db.query(Session).collect())) == 1
    assert (await events(here))[-3:] == ["forgotten", "email-claimed", "sign-in"]  # second factors and keys go too


async def test_attack_who_has_not_verified_an_address_does_not_get_at_one_that_waits(here: World) -> None:
    _, made = await signed_in(here, "unada")
    here.provider.user["email_verified"] = False
    browser = here.browser()
    await travel(browser)
    user = await user_of(browser)
    assert user is not None
    assert user["id"] != made
    assert len(await here.app.run(lambda ctx: ctx.db.query(Account).collect())) == 2


async def test_attack_an_address_that_has_gone_to_somebody_else_at_the_provider_leads_nowhere(here: World) -> None:
    await travel(here.browser())
    here.provider.user["sub"] = "ada-2"
    browser = here.browser()
    response = await travel(browser)
    assert (response.status_code, response.json()["code"]) == (409, "AccountExists")
    assert await user_of(browser) is None


async def test_the_same_name_at_another_provider_is_somebody_else(here: World) -> None:
    here.provider.user["email"] = None
    first, second = here.browser(), here.browser()
    await travel(first, "acme")
    await travel(second, "other")
    assert await user_of(first) != await user_of(second)


async def test_who_comes_by_two_pages_at_once_for_the_first_time_is_one_user(here: World) -> None:
    browsers = [here.browser() for _ in range(4)]
    backs = [await consent(await leave(browser)) for browser in browsers]
    await asyncio.gather(*(browser.ask(back) for browser, back in zip(browsers, backs, strict=True)))
    assert len(await here.users()) == len(await here.accounts()) == 1
    assert len({str(await user_of(browser)) for browser in browsers}) == 1


async def test_a_state_that_comes_twice_at_once_is_good_once(here: World) -> None:
    browser = here.browser()
    back = await consent(await leave(browser))
    responses = await asyncio.gather(*(browser.ask(back) for _ in range(4)))
    assert sorted(each.status_code for each in responses) == [303, 400, 400, 400]


async def test_where_nobody_can_sign_up_only_those_get_in_who_are_known(here: World) -> None:
    browser = here.browser()
    response = await travel(browser, "closed")
    assert (response.status_code, response.json()["code"]) == (403, "NoSuchAccount")
    assert await here.users() == []
    await signed_in(here, "ada")
    await travel(browser, "closed")
    assert await user_of(browser) is not None


async def test_who_was_deleted_by_the_app_itself_comes_as_somebody_new(here: World) -> None:
    await travel(here.browser())

    async def delete(ctx: Any) -> None:
        await ctx.db.delete((await ctx.db.query(here.auth.user).collect())[0].id)

    await here.app.run(delete)
    browser = here.browser()
    await travel(browser)
    user = await user_of(browser)
    assert user is not None
    assert [each.user for each in await here.accounts()] == [user["id"]]


@pytest.mark.parametrize(
    ("told", "name", "image"),
    [
        ({"name": " Ada  King ", "picture": "https://img.example/a.png"}, "Ada King", "https://img.example/a.png"),
        ({"name": "x" * 500, "picture": "javascript:alert(1)"}, "x" * 100, None),
        ({"name": "\x00\u202e", "picture": "http://img.example/a.png"}, None, None),
        ({"name": 7, "picture": ["x"]}, None, None),
        ({"name": None, "preferred_username": "ada", "picture": "https://" + "x" * 3000}, "ada", None),
    ],
)
async def test_what_cannot_be_shown_of_somebody_is_left_out(
    here: World, told: dict[str, Any], name: str | None, image: str | None
) -> None:
    here.provider.user |= told
    browser = here.browser()
    await travel(browser)
    user = await user_of(browser)
    assert user is not None
    assert (user["name"], user["image"]) == (name, image)


@pytest.mark.parametrize(
    "email", ["nonsense", "a@b", "x" * 300 + "@example.com", "a@example.com\r\nBcc: b", 7, "", None]
)
async def test_what_is_no_address_is_none(here: World, email: Any) -> None:
    here.provider.user["email"] = email
    browser = here.browser()
    await travel(browser)
    user = await user_of(browser)
    assert user is not None
    assert (user["email"], user["emailVerified"]) == (None, False)


# Adding one and taking it away ----------------------------------------------------------------------------------------


async def test_who_is_signed_in_adds_an_account_and_comes_by_it_then(here: World) -> None:
    browser, bob = await signed_in(here, "bob")
    response = await travel(browser, way="link", redirect="/settings")
    assert response.headers["location"] == "/settings"
    user = await user_of(browser)
    assert user is not None
    assert (user["id"], user["email"]) == (bob, "bob@example.com")
    other = here.browser()
    await travel(other)
    user = await user_of(other)
    assert user is not None
    assert user["id"] == bob
    assert len(await here.users()) == 1


async def test_to_add_one_somebody_must_be_signed_in_freshly(here: World) -> None:
    stranger = here.browser()
    response = await stranger.post("/link/oauth/acme")
    assert (response.status_code, response.json()["code"]) == (401, "NotSignedIn")
    browser, _ = await signed_in(here, "bob")
    await here.app.advance(minutes=16)
    response = await browser.post("/link/oauth/acme")
    assert (response.status_code, response.json()["code"]) == (403, "NotFresh")
    assert here.provider.requests == []


async def test_a_session_that_waits_for_a_second_factor_adds_nothing(here: World) -> None:
    browser, _ = await signed_in(here, "careful")
    assert (await browser.post("/link/oauth/acme")).status_code == 401


async def test_attack_nobody_adds_the_attackers_account_to_the_victims(here: World) -> None:
    """The attacker begins to add their account at the provider, and has the victim's browser end it."""
    attacker, _ = await signed_in(here, "mallory")
    victim, _ = await signed_in(here, "bob")
    back = await consent(await leave(attacker, way="link"))
    response = await victim.ask(back)
    assert (response.status_code, response.json()["code"]) == (400, "InvalidState")
    assert await here.accounts() == []
    # Also where they share a browser, and its cookies.
    back = await consent(await leave(attacker, way="link"))
    victim.jar["yugen-oauth"] = attacker.jar["yugen-oauth"]
    response = await victim.ask(back)
    assert (response.status_code, response.json()["code"]) == (403, "OtherUser")
    assert await here.accounts() == []


async def test_attack_who_has_signed_out_meanwhile_adds_nothing(here: World) -> None:
    browser, _ = await signed_in(here, "bob")
    back = await consent(await leave(browser, way="link"))
    await browser.post("/sign-out")
    response = await browser.ask(back)
    assert (response.status_code, response.json()["code"]) == (401, "NotSignedIn")
    assert await here.accounts() == []


async def test_attack_an_administrator_who_looks_at_things_as_a_user_leaves_no_way_in_behind(here: World) -> None:
    browser, _ = await signed_in(here, "bob")
    back = await consent(await leave(browser, way="link"))

    async def impersonated(ctx: Any) -> None:
        session = (await ctx.db.query(Session).collect())[0]
        await ctx.db.patch(session.id, impersonator=session.user)

    await here.app.run(impersonated)
    for response in (await browser.ask(back), await browser.post("/unlink/oauth/acme")):
        assert (response.status_code, response.json()["code"]) == (401, "NotSignedIn")
    assert await here.accounts() == []


async def test_who_was_anonymous_is_somebody_once_they_have_an_account_elsewhere(here: World) -> None:
    browser, bob = await signed_in(here, "bob")
    await here.app.run(lambda ctx: ctx.db.patch(bob, anonymous=True))
    await travel(browser, way="link")
    user = await user_of(browser)
    assert user is not None
    assert (user["id"], user["anonymous"]) == (bob, False)


async def test_attack_an_account_of_somebody_else_is_not_added(here: World) -> None:
    await travel(here.browser())
    browser, _ = await signed_in(here, "bob")
    response = await travel(browser, way="link")
    assert (response.status_code, response.json()["code"]) == (409, "AccountTaken")
    assert len(await here.accounts()) == 1


async def test_one_has_one_account_at_a_provider_and_may_add_it_twice(here: World) -> None:
    browser, _ = await signed_in(here, "bob")
    for _ in range(2):
        assert (await travel(browser, way="link")).status_code == 303
    here.provider.user["sub"] = "ada-2"
    response = await travel(browser, way="link")
    assert (response.status_code, response.json()["code"]) == (409, "AlreadyLinked")
    assert len(await here.accounts()) == 1


async def test_one_may_be_taken_away_but_the_last_way_to_sign_in(here: World) -> None:
    browser = here.browser()
    await travel(browser)
    response = await browser.post("/unlink/oauth/acme")
    assert (response.status_code, response.json()["code"]) == (409, "LastWay")
    await travel(browser, "other", way="link")
    assert (await browser.post("/unlink/oauth/acme")).status_code == 200
    assert [each.provider for each in await here.accounts()] == ["other"]
    response = await browser.post("/unlink/oauth/other")
    assert (response.status_code, response.json()["code"]) == (409, "LastWay")
    response = await browser.post("/unlink/oauth/acme")
    assert (response.status_code, response.json()["code"]) == (404, "NotLinked")
    assert (await events(here))[-2:] == ["account-linked", "account-unlinked"]


async def test_to_take_one_away_somebody_must_be_signed_in_freshly(here: World) -> None:
    browser, _ = await signed_in(here, "bob")
    await travel(browser, way="link")
    assert (await here.browser().post("/unlink/oauth/acme")).status_code == 401
    await here.app.advance(minutes=16)
    assert (await browser.post("/unlink/oauth/acme")).status_code == 403
    assert len(await here.accounts()) == 1
