"""Keys for programs: who makes them, what they are good for, and when they end."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.auth.browser import ISSUER, Browser
from yugen.auth import ApiKeys, Auth, api_keys, crypto, users
from yugen.auth.api_keys import ApiKey, ApiKeyUse, is_key, new_key
from yugen.auth.documents import AuditEvent
from yugen.errors import YugenError
from yugen.functions.extensions import extension_of
from yugen.testing import Caller, TestApp

APP = Path(__file__).parent / "factors"


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(APP) as made:
        yield made


async def signed_in(app: TestApp, name: str = "ada") -> Browser:
    browser = Browser(app)
    await browser.sign_in(name)
    return browser


async def make(browser: Browser, *scopes: str, **more: Any) -> dict[str, Any]:
    response = await browser.post("/api-keys", name="Backups", scopes=scopes, **more)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


async def caller(app: TestApp, key: str) -> Caller:
    """Who calls with a key, as the server finds out."""
    found = await app.query("auth/api_keys:standing", hash=crypto.digest(key))
    return app.as_user(issuer=ISSUER, subject=found["subject"], **found["claims"])


def test_a_key_is_known_by_its_looks() -> None:
    key = new_key()
    assert re.fullmatch(r"yk_[0-9A-Za-z]{49}", key)
    assert is_key(key)
    assert len({new_key() for _ in range(100)}) == 100
    assert api_keys.checksum("yk_" + "0" * 43) == "1ehk4U"


@given(st.integers(3, 51), st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_ "))
def test_what_is_off_by_a_letter_is_no_key(place: int, letter: str) -> None:
    key = new_key()
    changed = key[:place] + letter + key[place + 1 :]
    assert is_key(changed) == (changed == key)
    assert not is_key(key[:place])
    assert not is_key(key + letter)


async def test_a_key_is_shown_once_and_stored_as_a_digest(app: TestApp) -> None:
    browser = await signed_in(app)
    made = await make(browser, "tasks:read")
    assert is_key(made["key"])
    stored = await app.run(lambda ctx: ctx.db.query(ApiKey).collect())
    assert [each.digest for each in stored] == [crypto.digest(made["key"])]
    events = await app.run(lambda ctx: ctx.db.query(AuditEvent).collect())
    assert events[-1].event == "api-key-made"
    listed = await (await browser.caller()).query("auth/api_keys:list")
    assert made["key"] not in str((stored, events, listed))
    (shown,) = listed
    assert shown["start"] == made["key"][:8]
    assert {**shown, "created": 0} == {
        "id": made["id"],
        "name": "Backups",
        "start": made["start"],
        "scopes": ["tasks:read"],
        "created": 0,
        "expires": None,
        "lastUsed": None,
    }


async def test_a_key_does_what_it_was_made_for(app: TestApp) -> None:
    browser = await signed_in(app)
    ada = await browser.caller()
    await ada.mutation("tasks:add", title="mine")
    reader = await caller(app, (await make(browser, "tasks:read"))["key"])
    writer = await caller(app, (await make(browser, "tasks:write", "tasks:read"))["key"])
    nothing = await caller(app, (await make(browser))["key"])
    assert await reader.query("tasks:list") == ["mine"]
    assert await nothing.query("tasks:list") is None
    assert (await reader.query("auth/users:me"))["name"] == "ada"
    with pytest.raises(YugenError, match=r"not made for tasks:write"):
        await reader.mutation("tasks:add", title="no")
    await writer.mutation("tasks:add", title="yes")
    assert await ada.query("tasks:list") == ["mine", "yes"]
    assert await app.query("tasks:list") is None
    with pytest.raises(YugenError, match="Sign in first"):
        await app.mutation("tasks:add", title="nobody")


async def test_permissions_are_limited_by_what_a_key_was_made_for(app: TestApp) -> None:
    browser = await signed_in(app)
    ada = await browser.caller()
    assert await ada.query("tasks:count") == 0
    reader = await caller(app, (await make(browser, "tasks:read"))["key"])
    manager = await caller(app, (await make(browser, "organization:update"))["key"])
    assert await reader.query("tasks:count") == 0
    with pytest.raises(YugenError, match="takes the permission tasks:read"):
        await manager.query("tasks:count")
    club = await ada.mutation("auth/organizations:create", name="Club", slug="club")
    with pytest.raises(YugenError, match="not made for organization:update"):
        await reader.mutation("auth/organizations:update", organization=club, name="Taken")
    await manager.mutation("auth/organizations:update", organization=club, name="Chess club")
    for program in (reader, manager):
        for path, args in (
            ("auth/organizations:leave", {"organization": club}),
            ("auth/organizations:delete", {"organization": club}),
            ("auth/organizations:activate", {"organization": None}),
        ):
            with pytest.raises(YugenError, match="Sign in first"):
                await program.mutation(path, **args)
    (shown,) = await ada.query("auth/organizations:list")
    assert shown["name"] == "Chess club"


async def test_a_key_does_not_manage_the_account(app: TestApp) -> None:
    browser = await signed_in(app)
    made = await make(browser, "tasks:write", "tasks:read")
    program = await caller(app, made["key"])
    for path in ("auth/api_keys:list", "auth/sessions:list", "auth/passkeys:list", "auth/totp:status"):
        with pytest.raises(YugenError, match="Sign in first"):
            await program.query(path)
    for path, args in (
        ("auth/api_keys:revoke", {"key": made["id"]}),
        ("auth/api_keys:rename", {"key": made["id"], "name": "x"}),
        ("auth/sessions:revoke_all", {}),
        ("tasks:clear", {}),
    ):
        with pytest.raises(YugenError, match="Sign in first"):
            await program.mutation(path, **args)
    http = Browser(app, origin=None)
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert (await http.ask("/session", headers=headers)).json() == {"user": None, "session": None}
    for path in ("/token", "/api-keys", "/passkeys/options", "/totp/enable"):
        response = await http.ask(path, "POST", json={"name": "x", "scopes": []}, headers=headers)
        assert response.status_code == 401, path


async def test_the_session_alone_says_whose_a_key_is(app: TestApp) -> None:
    """A user's id in the body made keys of that user: CVE-2025-61928."""
    bob = await signed_in(app, "bob")
    victim = (await bob.ask("/session")).json()["user"]["id"]
    named = {"user": victim, "userId": victim, "subject": victim, "session": "x", "key": "yk_mine", "digest": "0"}
    response = await Browser(app).post("/api-keys", name="x", scopes=[], **named)
    assert response.status_code == 401
    ada = await signed_in(app)
    made = await make(ada, **named)
    assert made["key"] != "yk_mine"
    (stored,) = await app.run(lambda ctx: ctx.db.query(ApiKey).collect())
    assert stored.user == (await ada.ask("/session")).json()["user"]["id"] != victim
    assert stored.digest == crypto.digest(made["key"])


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": ""}, "MissingField"),
        ({"name": " "}, "InvalidName"),
        ({"name": "x" * 101}, "InvalidName"),
        ({"name": "a\x1bb"}, "InvalidName"),
        ({"scopes": ["tasks:delete"]}, "ScopeMissing"),
        ({"scopes": ["*"]}, "ScopeMissing"),
        ({"scopes": ["admin"]}, "ScopeMissing"),
        ({"scopes": {"tasks:read": True}}, "InvalidField"),
        ({"scopes": [1]}, "InvalidField"),
        ({"scopes": ["x"] * 101}, "InvalidField"),
        ({"expiresIn": -1}, "InvalidField"),
        ({"expiresIn": 0}, "InvalidField"),
        ({"expiresIn": "soon"}, "InvalidField"),
        ({"expiresIn": True}, "InvalidField"),
        ({"expiresIn": "nan"}, "InvalidField"),
        ({"expiresIn": "inf"}, "InvalidField"),
        ({"expiresIn": [1]}, "InvalidField"),
    ],
)
async def test_what_cannot_be_a_key_is_refused(app: TestApp, fields: dict[str, Any], code: str) -> None:
    browser = await signed_in(app)
    response = await browser.post("/api-keys", **{"name": "Backups", "scopes": [], **fields})
    assert response.json()["code"] == code
    assert await app.run(lambda ctx: ctx.db.query(ApiKey).collect()) == []


async def test_making_one_wants_a_fresh_session(app: TestApp) -> None:
    browser = await signed_in(app)
    await app.advance(minutes=16)
    assert (await browser.post("/api-keys", name="x")).json()["code"] == "NotFresh"


async def test_a_key_that_is_revoked_is_nobodys_from_then_on(app: TestApp) -> None:
    browser = await signed_in(app)
    made = await make(browser, "tasks:read", "tasks:write")
    program = await caller(app, made["key"])
    watch = await program.watch("tasks:list")
    standing = await app.watch("auth/api_keys:standing", hash=crypto.digest(made["key"]))
    assert await watch.value() == []
    bob = await (await signed_in(app, "bob")).caller()
    for key in (made["id"], "nonsense"):
        with pytest.raises(YugenError, match="no such key"):
            await bob.mutation("auth/api_keys:revoke", key=key)
    assert await standing.value() is not None
    await (await browser.caller()).mutation("auth/api_keys:revoke", key=made["id"])
    await app.settle()
    assert await standing.value() is None
    assert await watch.value() is None
    with pytest.raises(YugenError, match="Sign in first"):
        await program.mutation("tasks:add", title="late")


async def test_a_key_of_somebody_who_is_banned_does_not_stand(app: TestApp) -> None:
    browser = await signed_in(app)
    made = await make(browser, "tasks:read")
    standing = await app.watch("auth/api_keys:standing", hash=crypto.digest(made["key"]))
    before = await standing.value()
    until = app.now.timestamp() * 1000 + 60_000
    await _patch_user(app, banned=until)
    await app.settle()
    assert await standing.value() == {**before, "since": until}
    assert await (await caller(app, made["key"])).query("tasks:list") is None
    await _patch_user(app, banned=None)
    await app.settle()
    assert await standing.value() is None


async def _patch_user(app: TestApp, **changes: Any) -> None:
    async def patch(ctx: Any) -> None:
        user = await users.by_email(ctx, extension_of(ctx, Auth), "ada@example.com")
        assert user is not None
        await ctx.db.patch(user.id, **changes)

    await app.run(patch)


async def test_when_a_key_was_used_is_noted_once_a_minute_and_nothing_else_runs_for_it(app: TestApp) -> None:
    browser = await signed_in(app)
    made = await make(browser, "tasks:read")
    program, hashed = await caller(app, made["key"]), crypto.digest(made["key"])
    listed = await (await browser.caller()).watch("auth/api_keys:list")
    async with program.assert_reruns("tasks:list", exactly=0):
        await app.mutation("auth/api_keys:used", hash=hashed)
        await app.settle()
    first = (await listed.value())[0]["lastUsed"]
    assert first is not None
    await app.advance(seconds=50)
    await app.mutation("auth/api_keys:used", hash=hashed)
    await app.settle()
    assert (await listed.value())[0]["lastUsed"] == first
    await app.advance(seconds=11)
    await app.mutation("auth/api_keys:used", hash=hashed)
    await app.settle()
    assert (await listed.value())[0]["lastUsed"] - first >= 60_000
    await app.mutation("auth/api_keys:used", hash="of none")
    await (await browser.caller()).mutation("auth/api_keys:revoke", key=made["id"])
    assert await app.run(lambda ctx: ctx.db.query(ApiKeyUse).collect()) == []


async def test_keys_end_and_have_names(app: TestApp) -> None:
    browser = await signed_in(app)
    made = await make(browser, expiresIn=60_000)
    assert 0 < made["expires"] - app.now.timestamp() * 1000 - 60_000 < 1000
    ada = await browser.caller()
    await ada.mutation("auth/api_keys:rename", key=made["id"], name=" Nightly  backups ")
    assert [each["name"] for each in await ada.query("auth/api_keys:list")] == ["Nightly backups"]
    with pytest.raises(YugenError, match="no such key"):
        await ada.mutation("auth/api_keys:rename", key="nonsense", name="x")


async def test_nobody_has_very_many(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "KEYS_MAX", 2)
    browser = await signed_in(app)
    await make(browser)
    await make(browser)
    assert (await browser.post("/api-keys", name="x")).json()["code"] == "TooManyKeys"


async def test_keys_go_with_their_user(app: TestApp) -> None:
    browser = await signed_in(app)
    made = await make(browser)
    await app.mutation("auth/api_keys:used", hash=crypto.digest(made["key"]))

    async def delete(ctx: Any) -> None:
        auth = extension_of(ctx, Auth)
        user = await users.by_email(ctx, auth, "ada@example.com")
        assert user is not None
        await users.delete(ctx, auth, user)

    await app.run(delete)
    for kind in (ApiKey, ApiKeyUse):
        assert await app.run(lambda ctx, kind=kind: ctx.db.query(kind).collect()) == []  # type: ignore[misc]


@pytest.mark.parametrize("scopes", ["tasks:read", ["tasks read"], [""], [1]])
def test_scopes_are_names(scopes: Any) -> None:
    with pytest.raises(ValueError, match="ApiKeys: scopes are names"):
        ApiKeys(scopes=scopes)
