"""What administrators may do, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.auth.browser import APP, Browser
from yugen.auth.documents import AuditEvent
from yugen.errors import YugenError
from yugen.testing import TestApp

PAGE = {"numItems": 10, "cursor": None}


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(APP) as made:
        yield made


async def person(app: TestApp, name: str) -> tuple[Browser, str]:
    browser = Browser(app)
    return browser, (await browser.sign_in(name))["user"]


async def admin(app: TestApp, name: str = "root") -> Browser:
    browser, _ = await person(app, name)
    await app.mutation("auth/admin:make_admin", email=f"{name}@example.com")
    return browser


async def code_of(refused: Any) -> str:
    with pytest.raises(YugenError) as caught:
        await refused
    code: str = caught.value.data["code"]
    return code


async def test_nobody_else_may_do_any_of_it(app: TestApp) -> None:
    root = await admin(app)
    ada, user = await person(app, "ada")
    caller = await ada.caller()
    calls: dict[str, dict[str, Any]] = {
        "list_users": {"page": PAGE},
        "get_user": {"user": user},
        "events": {"page": PAGE},
        "ban": {"user": user},
        "unban": {"user": user},
        "end_sessions": {"user": user},
        "set_roles": {"user": user, "roles": ["admin"]},
        "delete_user": {"user": user},
    }
    functions = {
        path.partition(":")[2]: each
        for path, each in app._loaded.functions.items()
        if path.startswith("auth/admin:") and each.function.public
    }
    assert set(functions) == set(calls)
    for name, args in calls.items():
        for who, code in ((caller, "Forbidden"), (app.as_user(subject=user, issuer="x"), "NotSignedIn")):
            call = who.query if functions[name].kind == "query" else who.mutation
            assert await code_of(call(f"auth/admin:{name}", **args)) == code, name
    assert (await ada.post("/admin/impersonate", user=user)).status_code == 403
    assert (await root.ask("/session")).json()["user"]["name"] == "root"


async def test_users_are_listed_and_looked_at(app: TestApp) -> None:
    root = await (await admin(app)).caller()
    _, user = await person(app, "ada")
    page = await root.query("auth/admin:list_users", page=PAGE)
    assert [each["name"] for each in page.page] == ["ada", "root"]
    page = await root.query("auth/admin:list_users", page=PAGE, email="ADA@example.com ")
    assert [each["_id"] for each in page.page] == [user]
    found = await root.query("auth/admin:get_user", user=user)
    assert (found["user"]["name"], len(found["sessions"])) == ("ada", 1)
    assert "token" not in str(found)


async def test_who_is_banned_is_out_at_once_and_cannot_come_back(app: TestApp) -> None:
    root = await (await admin(app)).caller()
    ada, user = await person(app, "ada")
    watch = await (await ada.caller()).watch("auth:notes")
    await root.mutation("auth/admin:ban", user=user, reason="spam", until=app.now.timestamp() * 1000 + 3_600_000)
    await app.settle()
    assert await watch.value() is None
    assert (await ada.ask("/session")).json()["user"] is None
    refused = await ada.post("/sign-in/name", name="ada")
    assert (refused.status_code, refused.json()["code"]) == (403, "Banned")
    assert "spam" not in refused.text
    await app.advance(hours=1, seconds=1)
    await ada.sign_in("ada")
    await root.mutation("auth/admin:unban", user=user)


async def test_administrators_do_nothing_to_one_another_or_to_themselves(app: TestApp) -> None:
    root, other = await admin(app), await admin(app, "other")
    caller = await root.caller()
    for browser in (root, other):
        user = (await browser.ask("/session")).json()["user"]["id"]
        assert await code_of(caller.mutation("auth/admin:ban", user=user)) == "Forbidden"
        assert await code_of(caller.mutation("auth/admin:delete_user", user=user)) == "Forbidden"
        assert (await root.post("/admin/impersonate", user=user)).status_code == 403
    own = (await root.ask("/session")).json()["user"]["id"]
    assert await code_of(caller.mutation("auth/admin:set_roles", user=own, roles=[])) == "Forbidden"


async def test_an_administrator_sees_what_a_user_sees_with_a_trace_and_no_more(app: TestApp) -> None:
    root = await admin(app)
    ada, user = await person(app, "ada")
    await (await ada.caller()).mutation("auth:write", text="mine")
    assert (await root.post("/admin/impersonate", user=user)).status_code == 200
    shown = (await root.ask("/session")).json()
    assert (shown["user"]["name"], shown["session"]["impersonated"], shown["session"]["fresh"]) == ("ada", True, False)
    posing = await root.caller()
    assert await posing.query("auth:notes") == ["welcome", "mine"]
    assert await code_of(posing.mutation("auth:burn")) == "NotFresh"
    assert await code_of(posing.query("auth/admin:list_users", page=PAGE)) == "Forbidden"
    assert (await root.post("/admin/impersonate", user=user)).status_code == 403
    sessions = await (await ada.caller()).query("auth/sessions:list")
    assert [each["impersonated"] for each in sessions] == [True, False]
    events = await app.run(lambda ctx: ctx.db.query(AuditEvent).with_index(AuditEvent.by_user, user=user).collect())
    (event,) = [each for each in events if each.event == "impersonated"]
    assert event.actor
    await root.post("/admin/stop-impersonating")
    assert (await root.ask("/session")).json()["user"]["name"] == "root"
    assert len(await (await ada.caller()).query("auth/sessions:list")) == 1


async def test_impersonation_ends_by_itself_and_wants_a_fresh_session(app: TestApp) -> None:
    root = await admin(app)
    _, user = await person(app, "ada")
    await root.post("/admin/impersonate", user=user)
    await app.advance(hours=1, seconds=1)
    assert (await root.ask("/session")).json()["user"] is None
    root = await admin(app)
    await app.advance(minutes=16)
    assert (await root.post("/admin/impersonate", user=user)).json()["code"] == "NotFresh"


async def test_a_user_is_deleted_with_all_they_sign_in_by(app: TestApp) -> None:
    root = await (await admin(app)).caller()
    ada, user = await person(app, "ada")
    await root.mutation("auth/admin:delete_user", user=user)
    assert (await ada.ask("/session")).json()["user"] is None
    assert await code_of(root.query("auth/admin:get_user", user=user)) == "NoSuchUser"
