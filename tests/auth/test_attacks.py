"""Attacks on the core of sign-in, each a test named after it; docs/security.md has the table of all of them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import pytest

import yugen.auth
from tests.auth.browser import APP, ISSUER, Browser
from yugen.auth import Auth, User, crypto, sessions, tokens, verifications
from yugen.auth.api_keys import ApiKey
from yugen.auth.documents import AuditEvent, Session, SigningKey, Verification
from yugen.auth.organizations import Invitation, Member
from yugen.auth.passkeys import Passkey
from yugen.auth.totp import TrustedDevice
from yugen.errors import YugenError
from yugen.functions.context import MutationCtx
from yugen.functions.extensions import functions_in
from yugen.testing import Caller, TestApp, explore

FACTORS = APP.parent / "factors"
PAGE = {"numItems": 10, "cursor": None}
ORDERS = range(1, 21)
"""Seeds: in how many orders those who act at the same time take their turns."""


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(APP) as made:
        yield made


def auth_of(app: TestApp) -> Auth:
    auth = app._loaded.extensions[Auth]
    assert isinstance(auth, Auth)
    return auth


async def person(app: TestApp, name: str) -> tuple[Browser, Caller, str]:
    """Somebody who has signed in: their browser, who calls with its token, and their id."""
    browser = Browser(app)
    user = (await browser.sign_in(name))["user"]
    return browser, await browser.caller(), user


async def make_admin(app: TestApp, name: str) -> Caller:
    _, caller, _ = await person(app, name)
    await app.mutation("auth/admin:make_admin", email=f"{name}@example.com")
    return caller


async def code_of(call: Awaitable[Any]) -> str | None:
    """The code of the error of a call, or None if it was none."""
    try:
        await call
    except YugenError as error:
        return str(error.data["code"])
    return None


async def all_of(app: TestApp, kind: type[Any]) -> list[Any]:
    return await app.run(lambda ctx: ctx.db.query(kind).collect())


def link_of(app: TestApp) -> str:
    """The token in the link of the last mail."""
    found = re.search(r"token=(\S+)", auth_of(app).sender.sent[-1].text)  # type: ignore[union-attr]
    assert found
    return found[1]


# Two at once ---------------------------------------------------------------------------------------------------------


async def test_one_link_used_twice_at_once() -> None:
    async def scenario(app: TestApp) -> None:
        link = {"purpose": "link", "digest": crypto.digest("token")}
        await app.mutation("auth:issue", **link)
        used = await asyncio.gather(*(app.mutation("auth:use", **link) for _ in range(4)))
        assert sorted(used) == [False, False, False, True]

    await explore(APP, scenario, seeds=ORDERS)


async def test_a_link_for_one_thing_used_for_another(app: TestApp) -> None:
    await app.mutation("auth:issue", purpose="magic link", digest="digest")
    assert not await app.mutation("auth:use", purpose="reset", digest="digest")
    assert await app.mutation("auth:use", purpose="magic link", digest="digest")


async def test_a_code_guessed_by_many_at_once() -> None:
    async def scenario(app: TestApp) -> None:
        await app.mutation("auth:issue", purpose="code", digest="right")
        wrong = {"purpose": "code", "digest": "wrong"}
        await asyncio.gather(*(app.mutation("auth:guess", **wrong) for _ in range(verifications.ATTEMPTS_MAX)))
        assert not await app.mutation("auth:guess", purpose="code", digest="right")
        assert await all_of(app, Verification) == []

    await explore(APP, scenario, seeds=ORDERS)


async def test_two_sign_ups_with_one_address_at_once() -> None:
    async def scenario(app: TestApp) -> None:
        answers = await asyncio.gather(*(Browser(app).sign_in("ada") for _ in range(3)))
        assert len({answer["user"] for answer in answers}) == 1
        assert len(await all_of(app, auth_of(app).user)) == 1
        assert len(await all_of(app, Session)) == 3

    await explore(APP, scenario, seeds=ORDERS)


async def test_signing_in_while_one_is_banned() -> None:
    async def scenario(app: TestApp) -> None:
        root = await make_admin(app, "root")
        _, _, user = await person(app, "ada")
        browsers = [Browser(app) for _ in range(3)]
        await asyncio.gather(
            *(browser.post("/sign-in/name", name="ada") for browser in browsers),
            root.mutation("auth/admin:ban", user=user),
        )
        assert [each for each in await all_of(app, Session) if each.user == user] == []
        for browser in browsers:
            assert (await browser.ask("/session")).json()["user"] is None

    await explore(APP, scenario, seeds=ORDERS)


async def test_an_invitation_accepted_twice_at_once() -> None:
    async def scenario(app: TestApp) -> None:
        _, ada, _ = await person(app, "ada")
        made = await ada.mutation("auth/organizations:create", name="Engines", slug="engines")
        await ada.action("auth/organizations:invite", organization=made, email="bob@example.com")
        await app.advance()
        _, bob, user = await person(app, "bob")
        answer = {"token": link_of(app)}
        codes = await asyncio.gather(
            *(code_of(bob.mutation("auth/organizations:answer_invitation", **answer)) for _ in range(3))
        )
        assert sorted(code or "" for code in codes) == ["", "NoSuchInvitation", "NoSuchInvitation"]
        assert len([each for each in await all_of(app, Member) if each.user == user]) == 1

    await explore(APP, scenario, seeds=ORDERS)


async def test_a_mutation_in_flight_while_its_session_is_revoked() -> None:
    async def scenario(app: TestApp) -> None:
        phone, laptop = Browser(app), Browser(app)
        await phone.sign_in("ada")
        await laptop.sign_in("ada")
        ada = await phone.caller()
        other = await laptop.caller()
        codes = await asyncio.gather(
            code_of(ada.mutation("auth:write", text="in time or not at all")),
            code_of(other.mutation("auth/sessions:revoke_others")),
            code_of(ada.mutation("auth:write", text="in time or not at all")),
        )
        assert codes[1] is None
        written = (await other.query("auth:notes"))[1:]
        assert len(written) == [codes[0], codes[2]].count(None)
        assert await code_of(ada.mutation("auth:write", text="late")) == "NotSignedIn"
        assert await ada.query("auth:notes") is None

    await explore(APP, scenario, seeds=ORDERS)


async def test_a_session_that_is_renewed_while_it_ends_stays_ended() -> None:
    async def scenario(app: TestApp) -> None:
        browser, _, _ = await person(app, "ada")
        copy = Browser(app)
        copy.jar = dict(browser.jar)
        await app.advance(days=2)
        await asyncio.gather(browser.post("/token"), copy.post("/sign-out"), browser.post("/token"))
        assert await all_of(app, Session) == []
        assert (await browser.post("/token")).status_code == 401

    await explore(APP, scenario, seeds=range(1, 6))  # two days have 48 hours, in each of which something is swept


async def test_two_devices_that_end_one_another() -> None:
    async def scenario(app: TestApp) -> None:
        (_, phone, _), (_, laptop, _) = await person(app, "ada"), await person(app, "ada")
        codes = await asyncio.gather(
            *(code_of(each.mutation("auth/sessions:revoke_others")) for each in (phone, laptop))
        )
        assert sorted(code or "" for code in codes) == ["", "NotSignedIn"]
        assert len(await all_of(app, Session)) == 1

    await explore(APP, scenario, seeds=ORDERS)


async def test_the_last_owners_leave_at_once() -> None:
    async def scenario(app: TestApp) -> None:
        (_, ada, _), (_, bob, user) = await person(app, "ada"), await person(app, "bob")
        made = await ada.mutation("auth/organizations:create", name="Engines", slug="engines")
        await app.run(lambda ctx: ctx.db.insert(Member(organization=made, user=user, role="owner")))
        codes = await asyncio.gather(
            *(code_of(each.mutation("auth/organizations:leave", organization=made)) for each in (ada, bob))
        )
        assert sorted(code or "" for code in codes) == ["", "LastOwner"]

    await explore(APP, scenario, seeds=ORDERS)


async def test_two_administrators_depose_one_another() -> None:
    async def scenario(app: TestApp) -> None:
        one, two = await make_admin(app, "one"), await make_admin(app, "two")
        users = {each.name: each.id for each in await all_of(app, auth_of(app).user)}
        await asyncio.gather(
            code_of(one.mutation("auth/admin:set_roles", user=users["two"], roles=[])),
            code_of(two.mutation("auth/admin:set_roles", user=users["one"], roles=[])),
        )
        assert [each.roles for each in await all_of(app, auth_of(app).user)].count(["admin"]) == 1

    await explore(APP, scenario, seeds=ORDERS)


async def test_there_is_one_signing_key_however_many_ask_first(app: TestApp) -> None:
    browsers = [(await person(app, name))[0] for name in ("ada", "bob", "cleo")]
    answers = await asyncio.gather(*(browser.post("/token") for browser in browsers))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len(await all_of(app, SigningKey)) == 1


# Whose it is ---------------------------------------------------------------------------------------------------------


async def test_every_function_of_sign_in_called_by_nobody_and_with_what_is_anothers(app: TestApp) -> None:
    _, ada, adas = await person(app, "ada")
    _, eve, _ = await person(app, "eve")
    root = await make_admin(app, "root")
    made = await ada.mutation("auth/organizations:create", name="Engines", slug="engines")
    await ada.action("auth/organizations:invite", organization=made, email="bob@example.com")
    await app.advance()
    (membership,) = await ada.query("auth/organizations:members", organization=made)
    (invitation,) = await ada.query("auth/organizations:invitations", organization=made)
    (session,) = await ada.query("auth/sessions:list")
    # What each is asked by somebody else, and the code of the refusal; None where there is nothing of anybody in it.
    organization = {"organization": made}
    calls: dict[str, tuple[dict[str, Any], str | None]] = {
        "auth/users:me": ({}, None),
        "auth/sessions:list": ({}, None),
        "auth/sessions:revoke": ({"session": session["id"]}, "NoSuchSession"),
        "auth/sessions:revoke_others": ({}, None),
        "auth/sessions:revoke_all": ({}, None),
        "auth/organizations:list": ({}, None),
        "auth/organizations:members": (organization, "NoSuchOrganization"),
        "auth/organizations:invitations": (organization, "NoSuchOrganization"),
        "auth/organizations:create": ({"name": "Engines", "slug": "engines"}, "SlugTaken"),
        "auth/organizations:update": ({**organization, "name": "Mine"}, "NoSuchOrganization"),
        "auth/organizations:delete": (organization, "NoSuchOrganization"),
        "auth/organizations:activate": (organization, "NoSuchOrganization"),
        "auth/organizations:set_role": ({"member": membership["id"], "role": "member"}, "NoSuchMember"),
        "auth/organizations:remove": ({"member": membership["id"]}, "NoSuchMember"),
        "auth/organizations:leave": (organization, "NoSuchOrganization"),
        "auth/organizations:invite": ({**organization, "email": "eve@example.com"}, "NoSuchOrganization"),
        "auth/organizations:cancel_invitation": ({"invitation": invitation["id"]}, "NoSuchInvitation"),
        "auth/organizations:answer_invitation": ({"token": link_of(app)}, "NoSuchInvitation"),
        "auth/organizations:invited": ({"token": link_of(app)}, None),
        "auth/admin:list_users": ({"page": PAGE}, "Forbidden"),
        "auth/admin:get_user": ({"user": adas}, "Forbidden"),
        "auth/admin:events": ({"page": PAGE}, "Forbidden"),
        "auth/admin:ban": ({"user": adas}, "Forbidden"),
        "auth/admin:unban": ({"user": adas}, "Forbidden"),
        "auth/admin:end_sessions": ({"user": adas}, "Forbidden"),
        "auth/admin:set_roles": ({"user": adas, "roles": ["admin"]}, "Forbidden"),
        "auth/admin:delete_user": ({"user": adas}, "Forbidden"),
    }
    public = public_functions(app, "admin", "organizations", "sessions", "users")
    assert set(public) == set(calls)
    answers_nobody: dict[str, Any] = {
        "auth/users:me": None,
        "auth/organizations:list": [],
        "auth/organizations:invited": None,
    }
    before = [await all_of(app, kind) for kind in (Session, Member, Invitation, auth_of(app).user)]
    for path, (args, refusal) in calls.items():
        for who, code in (
            (app, "NotSignedIn"),
            (app.as_user(issuer=ISSUER, subject=adas, sid="made up"), "NotSignedIn"),
        ):
            call = {"query": who.query, "mutation": who.mutation, "action": who.action}[public[path].kind]
            if path in answers_nobody:
                assert await call(path, **args) == answers_nobody[path], path
            else:
                assert await code_of(call(path, **args)) == code, path
        if refusal is not None:
            call = {"query": eve.query, "mutation": eve.mutation, "action": eve.action}[public[path].kind]
            assert await code_of(call(path, **args)) == refusal, path
    assert [await all_of(app, kind) for kind in (Session, Member, Invitation, auth_of(app).user)] == before
    assert (await root.query("auth/admin:get_user", user=adas))["user"]["name"] == "ada"


def public_functions(app: TestApp, *modules: str) -> dict[str, Any]:
    """The functions of modules of sign-in that clients may call, by path."""
    loaded = app._loaded.functions.items()
    return {
        path: each
        for path, each in loaded
        if path.startswith("auth/") and each.function.public and module_of(path) in modules
    }


def module_of(path: str) -> str:
    return path.removeprefix("auth/").partition(":")[0]


async def test_every_function_of_factors_and_keys_called_by_nobody_and_with_what_is_anothers() -> None:
    async with TestApp(FACTORS) as app:
        _, _, adas = await person(app, "ada")
        _, eve, _ = await person(app, "eve")

        async def prepare(ctx: MutationCtx) -> tuple[str, str, str]:
            passkey = Passkey(
                user=adas,
                handle="h",
                credential="c",
                public_key="k",
                count=0,
                backed_up=False,
                aaguid="a",
                transports=[],
                name="phone",
            )
            key = ApiKey(user=adas, digest="d", name="robot", start="yk_1", scopes=[])
            device = TrustedDevice(user=adas, token="t", expires=ctx.now + 1e9)
            return await ctx.db.insert(passkey), await ctx.db.insert(key), await ctx.db.insert(device)

        passkey, key, device = await app.run(prepare)
        calls: dict[str, tuple[dict[str, Any], str | None]] = {
            "auth/account:ways": ({}, None),
            "auth/passkeys:list": ({}, None),
            "auth/passkeys:rename": ({"passkey": passkey, "name": "mine"}, "NoSuchPasskey"),
            "auth/passkeys:remove": ({"passkey": passkey}, "NoSuchPasskey"),
            "auth/totp:status": ({}, None),
            "auth/totp:devices": ({}, None),
            "auth/totp:revoke_device": ({"device": device}, "NoSuchDevice"),
            "auth/totp:revoke_devices": ({}, None),
            "auth/api_keys:list": ({}, None),
            "auth/api_keys:rename": ({"key": key, "name": "mine"}, "NoSuchKey"),
            "auth/api_keys:revoke": ({"key": key}, "NoSuchKey"),
        }
        public = public_functions(app, "account", "passkeys", "totp", "api_keys")
        assert set(public) == set(calls)
        before = [await all_of(app, kind) for kind in (Passkey, ApiKey, TrustedDevice)]
        for path, (args, refusal) in calls.items():
            for who in (app, app.as_user(issuer=ISSUER, subject=adas, sid="made up")):
                call = who.query if public[path].kind == "query" else who.mutation
                assert await code_of(call(path, **args)) == "NotSignedIn", path
            call = eve.query if public[path].kind == "query" else eve.mutation
            if refusal is None:
                assert passkey not in (shown := str(await call(path, **args))), path
                assert key not in shown, path
                assert device not in shown, path
            else:
                assert await code_of(call(path, **args)) == refusal, path
        assert [await all_of(app, kind) for kind in (Passkey, ApiKey, TrustedDevice)] == before


def test_no_function_of_sign_in_is_left_out_of_these() -> None:
    tried = {"account", "admin", "api_keys", "organizations", "passkeys", "sessions", "totp", "users"}
    modules = [import_module(each.name) for each in walk_packages(yugen.auth.__path__, "yugen.auth.")]
    public = {each.__name__ for each in modules for function in functions_in(each) if function.public}
    assert {name.rpartition(".")[2] for name in public} == tried


async def test_ids_of_another_table_are_no_ids(app: TestApp) -> None:
    _, ada, adas = await person(app, "ada")
    root = await make_admin(app, "root")
    (session,) = await ada.query("auth/sessions:list")
    for wrong in (session["id"], "", "nonsense", "../users", "\0", "a" * 3000):
        assert await code_of(root.query("auth/admin:get_user", user=wrong)) == "NoSuchUser"
        assert await code_of(root.mutation("auth/admin:delete_user", user=wrong)) == "NoSuchUser"
    for wrong in (adas, "", "nonsense", "\0", "a" * 3000):
        assert await code_of(ada.mutation("auth/sessions:revoke", session=wrong)) == "NoSuchSession"


async def test_a_token_that_names_the_session_of_another(app: TestApp) -> None:
    browser, _, adas = await person(app, "ada")
    _, _, eves = await person(app, "eve")
    session = (await browser.ask("/session")).json()["session"]["id"]
    posing = app.as_user(issuer=ISSUER, subject=eves, sid=session)
    assert await posing.query("auth:notes") is None
    assert await posing.query("auth/users:me") is None
    assert not await app.query("auth/sessions:standing", session=session, user=eves)
    assert await app.query("auth/sessions:standing", session=session, user=adas)


async def test_another_issuer_that_calls_somebody_the_same(app: TestApp) -> None:
    browser, _, adas = await person(app, "ada")
    session = (await browser.ask("/session")).json()["session"]["id"]
    for issuer in ("https://evil.example", f"{ISSUER}/", ISSUER.upper()):
        posing = app.as_user(issuer=issuer, subject=adas, sid=session)
        assert await posing.query("auth:notes") is None
        assert await code_of(posing.mutation("auth:write", text="x")) == "NotSignedIn"


async def test_an_invitation_of_somebody_who_was_removed(app: TestApp) -> None:
    _, ada, _ = await person(app, "ada")
    made = await ada.mutation("auth/organizations:create", name="Engines", slug="engines")
    _, mallory, user = await person(app, "mallory")
    membership = await app.run(lambda ctx: ctx.db.insert(Member(organization=made, user=user, role="admin")))
    await mallory.action("auth/organizations:invite", organization=made, email="bob@example.com", role="admin")
    await app.advance()
    _, bob, _ = await person(app, "bob")
    for less in ("member", None):
        if less is None:
            await ada.mutation("auth/organizations:remove", member=membership)
        else:
            await ada.mutation("auth/organizations:set_role", member=membership, role=less)
        answer = bob.mutation("auth/organizations:answer_invitation", token=link_of(app))
        assert await code_of(answer) == "NoSuchInvitation"
    assert len(await all_of(app, Member)) == 1


async def test_mail_to_anybody_by_invitations(app: TestApp) -> None:
    _, ada, _ = await person(app, "ada")
    made = await ada.mutation("auth/organizations:create", name="Engines", slug="engines")

    def invite(name: str) -> Awaitable[Any]:
        return ada.action("auth/organizations:invite", organization=made, email=f"{name}@example.com")

    codes = [await code_of(invite("bob")) for _ in range(4)]
    assert codes == [None, None, None, "RateLimited"]
    codes = [await code_of(invite(f"user{number}")) for number in range(60)]
    assert codes.count(None) == 47
    assert len(await all_of(app, Invitation)) == 48


async def test_an_impersonation_of_which_the_administrators_own_session_has_ended(app: TestApp) -> None:
    browser, _, user = await person(app, "root")
    await app.mutation("auth/admin:make_admin", email="root@example.com")
    _, _, adas = await person(app, "ada")
    own = dict(browser.jar)
    assert (await browser.post("/admin/impersonate", user=adas)).status_code == 200
    copy = Browser(app)
    copy.jar = own
    await copy.post("/sign-out")
    assert (await browser.post("/admin/stop-impersonating")).json() == {"user": None}
    assert (await browser.ask("/session")).json()["user"] is None
    assert [each.user for each in await all_of(app, Session)] == [adas]
    assert {event.actor for event in await all_of(app, AuditEvent) if event.event == "impersonated"} == {user}


async def test_an_administrator_comes_back_to_no_session_that_is_over(app: TestApp) -> None:
    browser, _, user = await person(app, "root")
    digest = crypto.digest(browser.jar["yugen-session"].rpartition(".")[0])
    assert (await app.query("auth/admin:own_session", token=digest))["user"] == user
    (session,) = await all_of(app, Session)
    await app.run(lambda ctx: ctx.db.patch(session.id, expires=ctx.now - 1))
    assert await app.query("auth/admin:own_session", token=digest) is None


async def test_an_impersonators_cookie_that_was_planted(app: TestApp) -> None:
    root, _, _ = await person(app, "root")
    await app.mutation("auth/admin:make_admin", email="root@example.com")
    bob, _, _ = await person(app, "bob")
    _, _, adas = await person(app, "ada")
    assert (await root.post("/admin/impersonate", user=adas)).status_code == 200
    # Of one's own cookie for another purpose, signed here.
    root.jar["yugen-impersonator"] = bob.jar["yugen-session"]
    assert (await root.post("/admin/stop-impersonating")).json() == {"user": None}
    assert (await bob.post("/admin/stop-impersonating")).json()["code"] == "NotImpersonating"


# Cookies -------------------------------------------------------------------------------------------------------------


async def test_a_cookie_of_another_purpose(app: TestApp) -> None:
    browser, _, _ = await person(app, "ada")
    value = browser.jar["yugen-session"]
    token = value.rpartition(".")[0]
    secret = await app.run(_secret)
    thief = Browser(app)
    for name, cookie in (
        ("yugen-session", crypto.sign(secret, "cookie yugen-device", token)),
        ("yugen-session", crypto.sign(secret, "cookie __Host-yugen-session", token)),
        ("yugen-session", token),
        ("yugen-session", value[:-2]),
        ("yugen-session", f"{value}, {value}"),
        ("YUGEN-SESSION", value),
        ("__Host-yugen-session", value),
        ("yugen-device", value),
    ):
        thief.jar = {name: cookie}
        assert (await thief.ask("/session")).json()["user"] is None, (name, cookie)
    thief.jar = {"yugen-session": value}
    assert (await thief.ask("/session")).json()["user"]["name"] == "ada"


async def _secret(ctx: MutationCtx) -> str:
    return ctx.env[crypto.SECRET_VARIABLE]


async def test_a_session_of_another_deployment_with_the_same_secret() -> None:
    environment = {crypto.SECRET_VARIABLE: crypto.new_token()}
    async with TestApp(APP, environment=environment) as one, TestApp(APP, environment=environment, seed=7) as other:
        browser, _, _ = await person(one, "ada")
        await person(other, "ada")
        moved = Browser(other)
        moved.jar = browser.jar
        assert (await moved.ask("/session")).json()["user"] is None


async def test_data_of_another_deployment_opens_nothing_and_breaks_nothing() -> None:
    async with TestApp(APP) as one, TestApp(APP, seed=7) as other:
        browser, _, _ = await person(one, "ada")
        assert (await browser.post("/token")).status_code == 200
        kinds = (auth_of(one).user, Session, SigningKey)
        rows = [(kind, row) for kind in kinds for row in await all_of(one, kind)]

        async def take_over(ctx: MutationCtx) -> None:
            users: dict[str, str] = {}
            for kind, row in rows:
                fields = row.model_dump(exclude={"id", "creation_time"}, exclude_unset=True)
                if kind is Session:
                    fields["user"] = users[row.user]
                made = await ctx.db.insert(kind(**fields))
                if issubclass(kind, User):
                    users[row.id] = made

        await other.run(take_over)
        moved = Browser(other)
        moved.jar = dict(browser.jar)
        assert (await moved.ask("/session")).json()["user"] is None
        assert (await moved.post("/token")).status_code == 401
        await moved.sign_in("ada")
        assert (await moved.post("/token")).status_code == 200
        kids = [key.kid for key in await all_of(other, SigningKey)]
        assert len(kids) == 2
        await person(other, "bob")
        assert len(await all_of(other, auth_of(other).user)) == 2


async def test_a_planted_session_of_one_who_waits_for_a_second_factor(app: TestApp) -> None:
    """Fixation: whoever has planted a session, even a real one of theirs, is not who signs in with it."""
    mallory, victim = Browser(app), Browser(app)
    await mallory.sign_in("careful")
    victim.jar = dict(mallory.jar)
    await victim.sign_in("ada")
    assert victim.jar != mallory.jar
    assert (await mallory.ask("/session")).json() == {"user": None, "session": None}
    assert (await victim.ask("/session")).json()["user"]["name"] == "ada"


# What is sent --------------------------------------------------------------------------------------------------------

DEEP = "[" * 60_000
ODD: dict[str, tuple[dict[str, str], bytes, int]] = {
    "deep": ({"Content-Type": "application/json"}, f'{{"name": {DEEP}'.encode(), 400),
    "deep and whole": ({"Content-Type": "application/json"}, f'{{"name": {"[" * 20_000}{"]" * 20_000}}}'.encode(), 400),
    "a list": ({"Content-Type": "application/json"}, b"[]", 400),
    "a number": ({"Content-Type": "application/json"}, b"1", 400),
    "many digits": ({"Content-Type": "application/json"}, b'{"name": ' + b"1" * 50_000 + b"}", 400),
    "not a number": ({"Content-Type": "application/json"}, b'{"name": NaN}', 400),
    "an object for a text": ({"Content-Type": "application/json"}, b'{"name": {"$ne": ""}}', 400),
    "nothing": ({"Content-Type": "application/json"}, b"", 400),
    "NUL": ({"Content-Type": "application/json"}, b'{"name": "a\\u0000da"}', 400),
    "half a character": ({"Content-Type": "application/json"}, b'{"name": "\\ud800"}', 400),
    "no UTF-8": ({"Content-Type": "application/json"}, b'{"name": "\xff"}', 400),
    "UTF-16": ({"Content-Type": "application/json"}, '{"name": "\ud83d\ude00"}'.encode("utf-16", "surrogatepass"), 400),
    "too long": ({"Content-Type": "application/json"}, b'{"name": "' + b"a" * 5000 + b'"}', 400),
    "too large": ({"Content-Type": "application/json"}, b'{"name": "' + b"a" * 70_000 + b'"}', 413),
    "a form of no UTF-8": ({"Content-Type": "application/x-www-form-urlencoded"}, b"name=\xff", 400),
    "a form of half a character": ({"Content-Type": "application/x-www-form-urlencoded"}, b"name=%ED%A0%80%00", 400),
    "a form of many fields": ({"Content-Type": "application/x-www-form-urlencoded"}, b"a=1&" * 10_000, 400),
    "parts": ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 415),
    "plain text": ({"Content-Type": "text/plain"}, b'{"name": "ada"}', 415),
    "XML": ({"Content-Type": "application/xml"}, b"<name/>", 415),
    "no type": ({"Content-Type": ""}, b'{"name": "ada"}', 415),
    "a type of nonsense": ({"Content-Type": "application/json\x7f"}, b"{}", 415),
}


@pytest.mark.parametrize("what", ODD)
async def test_what_cannot_be_read(app: TestApp, what: str) -> None:
    headers, content, status = ODD[what]
    response = await Browser(app).ask("/sign-in/name", "POST", headers=headers, content=content)
    assert response.status_code == status, response.text
    assert "Traceback" not in response.text
    assert await all_of(app, auth_of(app).user) == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
async def test_methods_that_nothing_answers(app: TestApp, method: str) -> None:
    browser, _, _ = await person(app, "ada")
    response = await browser.ask("/sign-out", method, headers={"X-Secret": "shown"})
    assert response.status_code in (404, 405)
    assert "shown" not in response.text
    assert (await browser.ask("/session")).json()["user"]["name"] == "ada"


async def test_looking_at_an_address_changes_nothing(app: TestApp) -> None:
    """`GET` and `HEAD` are what links, images and whoever looks ahead send, from any page."""
    browser, _, _ = await person(app, "ada")
    for endpoint in (path for method, path in auth_of(app)._endpoints if method == "POST"):
        for method in ("GET", "HEAD", "OPTIONS"):
            await browser.ask(endpoint, method, headers={"Origin": "https://evil.example"})
    assert len(await all_of(app, Session)) == 1
    assert (await browser.ask("/session", "HEAD")).status_code in (200, 404, 405)
    assert (await browser.ask("/session")).json()["user"]["name"] == "ada"


@pytest.mark.parametrize(
    "path", ["//sign-out", "/./sign-out/", "/sign-out/", "/SIGN-OUT", "/%2e%2e/sign-out", "/sign%2Dout/x"]
)
async def test_another_spelling_of_a_path_is_no_way_round_the_origin(app: TestApp, path: str) -> None:
    browser, _, _ = await person(app, "ada")
    browser.headers["Origin"] = "https://evil.example"
    assert (await browser.ask(path, "POST", json={})).status_code in (400, 403, 404)
    browser.headers["Origin"] = "http://test"
    assert (await browser.ask("/session")).json()["user"]["name"] == "ada"


PUBLIC_FILES = ("/pages.css", "/pages.js")


async def test_every_answer_says_what_browsers_must_not_do(app: TestApp) -> None:
    browser, _, _ = await person(app, "ada")
    for method, path in [*auth_of(app)._endpoints, ("GET", "/nothing"), ("POST", "/nothing")]:
        for origin in ("http://test", "https://evil.example"):
            asking = Browser(app, origin)
            asking.jar = dict(browser.jar) if path not in ("/sign-out",) else {}
            response = await asking.ask(path, method, json={} if method == "POST" else None)
            assert response.status_code < 500, (method, path)
            headers = response.headers
            assert "no-store" in headers["cache-control"] or path in PUBLIC_FILES, (method, path)
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] in ("same-origin", "no-referrer")
            assert "Origin" in headers["vary"]
            if origin == "https://evil.example":
                assert "access-control-allow-origin" not in headers
                assert "access-control-allow-credentials" not in headers
            for cookie in headers.get_list("set-cookie"):
                assert "httponly" in cookie.lower()
                assert "samesite=lax" in cookie.lower() or "samesite=strict" in cookie.lower()
                assert "domain=" not in cookie.lower()


# Tokens --------------------------------------------------------------------------------------------------------------


async def test_the_signing_key_is_sealed(app: TestApp) -> None:
    browser, _, _ = await person(app, "ada")
    await browser.post("/token")
    (key,) = await all_of(app, SigningKey)
    assert set(json.loads(key.public)) == {"kty", "n", "e", "kid", "use", "alg"}
    assert '"d"' not in key.private
    published = await app.fetch("/.well-known/jwks.json")
    assert set(published.json()["keys"][0]) == {"kty", "n", "e", "kid", "use", "alg"}


async def test_keys_that_may_be_in_the_wrong_hands_are_good_no_more(app: TestApp) -> None:
    browser, _, user = await person(app, "ada")
    session = (await browser.ask("/session")).json()["session"]["id"]
    await browser.post("/token")
    (key,) = await all_of(app, SigningKey)
    said = {"session": session, "user": user, "kid": key.kid}
    assert await app.query(sessions.standing, **said)
    watch = await app.watch(sessions.standing, **said)
    assert await app.mutation(tokens.rotate_keys) == 1
    await app.settle()
    assert await watch.value() is False
    assert (await app.fetch("/.well-known/jwks.json")).json() == {"keys": []}
    assert (await browser.post("/token")).status_code == 200
    (other,) = await all_of(app, SigningKey)
    assert other.kid != key.kid


async def test_keys_change_by_themselves_and_old_ones_are_forgotten(
    app: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "KEY_LIFETIME", timedelta(hours=3))
    monkeypatch.setattr(tokens, "KEY_OVERLAP", timedelta(hours=1))
    browser, _, _ = await person(app, "ada")
    kids = []
    for hours in (0, 2, 1.5, 3.5):
        await app.advance(hours=hours)
        await browser.post("/token")
        kids.append([key.kid for key in await all_of(app, SigningKey)])
    first, second, third = kids[0][0], kids[2][1], kids[3][1]
    # What a key has signed last is good still when the next one signs.
    assert kids == [[first], [first], [first, second], [second, third]]
