"""Organisations: who belongs to one, in which role, and how more come to it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.auth.browser import APP, Browser
from yugen.auth import Auth
from yugen.errors import YugenError
from yugen.testing import Caller, TestApp


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(APP) as made:
        _outbox(made).clear()
        yield made


def _outbox(app: TestApp) -> list[Any]:
    auth = app._loaded.extensions[Auth]
    assert isinstance(auth, Auth)
    return auth.sender.sent  # type: ignore[union-attr, no-any-return]


async def person(app: TestApp, name: str) -> Caller:
    browser = Browser(app)
    await browser.sign_in(name)
    return await browser.caller()


async def joined(app: TestApp, inviter: Caller, organization: str, name: str, role: str = "member") -> Caller:
    """Somebody who was invited and has accepted."""
    await inviter.action("auth/organizations:invite", organization=organization, email=f"{name}@example.com", role=role)
    await app.advance()
    invited = await person(app, name)
    assert await invited.mutation("auth/organizations:answer_invitation", token=token(app)) == organization
    return invited


def token(app: TestApp) -> str:
    found = re.search(r"token=(\S+)", _outbox(app)[-1].text)
    assert found
    return found[1]


async def code_of(refused: Any) -> str:
    with pytest.raises(YugenError) as caught:
        await refused
    code: str = caught.value.data["code"]
    return code


async def member(caller: Caller, organization: str, name: str) -> str:
    found = await caller.query("auth/organizations:members", organization=organization)
    membership: str = next(each["id"] for each in found if each["name"] == name)
    return membership


async def test_who_makes_one_owns_it(app: TestApp) -> None:
    ada = await person(app, "ada")
    made = await ada.mutation("auth/organizations:create", name="Engines", slug="engines")
    assert await ada.query("auth/organizations:list") == [
        {"id": made, "name": "Engines", "slug": "engines", "image": None, "role": "owner", "active": True}
    ]
    for slug in ("engines", "Engines", "a b", "-a", "", "a" * 64):
        with pytest.raises(YugenError):
            await ada.mutation("auth/organizations:create", name="Others", slug=slug)
    await ada.mutation("auth/organizations:activate", organization=None)
    assert [each["active"] for each in await ada.query("auth/organizations:list")] == [False]


async def test_an_invitation_is_good_once_for_whom_it_was_sent_to(app: TestApp) -> None:
    ada = await person(app, "ada")
    made = await ada.mutation("auth/organizations:create", name="Engines", slug="engines")
    await ada.action("auth/organizations:invite", organization=made, email="Bob@Example.com", role="member")
    await app.advance()
    link = token(app)
    eve = await person(app, "eve")
    assert await code_of(eve.mutation("auth/organizations:answer_invitation", token=link)) == "NoSuchInvitation"
    bob = await person(app, "bob")
    assert await code_of(bob.mutation("auth/organizations:answer_invitation", token="guess")) == "NoSuchInvitation"
    assert await bob.mutation("auth/organizations:answer_invitation", token=link) == made
    assert await code_of(bob.mutation("auth/organizations:answer_invitation", token=link)) == "NoSuchInvitation"
    names = [each["name"] for each in await bob.query("auth/organizations:members", organization=made)]
    assert sorted(names) == ["ada", "bob"]


async def test_an_invitation_ends_and_a_second_one_replaces_the_first(app: TestApp) -> None:
    ada = await person(app, "ada")
    made = await ada.mutation("auth/organizations:create", name="Engines", slug="engines")
    links = []
    for _ in range(2):
        await ada.action("auth/organizations:invite", organization=made, email="bob@example.com")
        await app.advance()
        links.append(token(app))
    assert len(await ada.query("auth/organizations:invitations", organization=made)) == 1
    bob = await person(app, "bob")
    assert await code_of(bob.mutation("auth/organizations:answer_invitation", token=links[0])) == "NoSuchInvitation"
    await app.advance(days=2, seconds=1)
    assert await code_of(bob.mutation("auth/organizations:answer_invitation", token=links[1])) == "NoSuchInvitation"


async def test_others_do_not_learn_that_there_is_one(app: TestApp) -> None:
    ada, eve = await person(app, "ada"), await person(app, "eve")
    made = await ada.mutation("auth/organizations:create", name="Engines", slug="engines")
    adas = await member(ada, made, "ada")
    for organization in (made, "nonsense", adas):
        assert await code_of(eve.query("auth/organizations:members", organization=organization)) == "NoSuchOrganization"
        refused = eve.action("auth/organizations:invite", organization=organization, email="eve@example.com")
        assert await code_of(refused) == "NoSuchOrganization"
    for other in (adas, "nonsense", made):
        assert await code_of(eve.mutation("auth/organizations:remove", member=other)) == "NoSuchMember"
    assert await code_of(app.query("auth/organizations:members", organization=made)) == "NotSignedIn"


async def test_roles_say_who_may_do_what(app: TestApp) -> None:
    ada = await person(app, "ada")
    made = await ada.mutation("auth/organizations:create", name="Engines", slug="engines")
    bob = await joined(app, ada, made, "bob", "admin")
    cleo = await joined(app, bob, made, "cleo")
    assert (
        await code_of(cleo.action("auth/organizations:invite", organization=made, email="x@example.com")) == "Forbidden"
    )
    assert await code_of(cleo.mutation("auth/organizations:update", organization=made, name="Mine")) == "Forbidden"
    # Nobody reaches above themselves, neither for others nor for themselves.
    own = await member(bob, made, "bob")
    assert await code_of(bob.mutation("auth/organizations:set_role", member=own, role="owner")) == "Forbidden"
    adas = await member(bob, made, "ada")
    assert await code_of(bob.mutation("auth/organizations:set_role", member=adas, role="member")) == "Forbidden"
    assert await code_of(bob.mutation("auth/organizations:remove", member=adas)) == "Forbidden"
    refused = bob.action("auth/organizations:invite", organization=made, email="x@example.com", role="owner")
    assert await code_of(refused) == "Forbidden"
    assert await code_of(bob.mutation("auth/organizations:delete", organization=made)) == "Forbidden"
    await bob.mutation("auth/organizations:set_role", member=await member(bob, made, "cleo"), role="admin")
    await bob.mutation("auth/organizations:update", organization=made, name="Better engines")


async def test_there_is_always_an_owner(app: TestApp) -> None:
    ada = await person(app, "ada")
    made = await ada.mutation("auth/organizations:create", name="Engines", slug="engines")
    bob = await joined(app, ada, made, "bob")
    assert await code_of(ada.mutation("auth/organizations:leave", organization=made)) == "LastOwner"
    adas = await member(ada, made, "ada")
    assert await code_of(ada.mutation("auth/organizations:set_role", member=adas, role="member")) == "LastOwner"
    await ada.mutation("auth/organizations:set_role", member=await member(ada, made, "bob"), role="owner")
    await ada.mutation("auth/organizations:leave", organization=made)
    assert await ada.query("auth/organizations:list") == []
    await bob.mutation("auth/organizations:delete", organization=made)
    assert await bob.query("auth/organizations:list") == []


async def test_who_is_removed_loses_the_page_by_push(app: TestApp) -> None:
    ada = await person(app, "ada")
    made = await ada.mutation("auth/organizations:create", name="Engines", slug="engines")
    bob = await joined(app, ada, made, "bob")
    watch = await bob.watch("auth/organizations:members", organization=made)
    assert len(await watch.value()) == 2
    await ada.mutation("auth/organizations:remove", member=await member(ada, made, "bob"))
    await app.settle()
    assert await code_of(watch.value()) == "NoSuchOrganization"
