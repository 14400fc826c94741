from __future__ import annotations

import hashlib
import hmac
import json
import time

import board
from board import hooks, projects, tasks
from board.schema import Project

from yugen import Id
from yugen.testing import Caller, TestApp

SECRET = "of the tracker and us"


async def test_a_route_answers() -> None:
    async with TestApp(board) as t:
        response = await t.fetch("/health")
        assert (response.status_code, response.text) == (200, "fine")


async def project_of(t: TestApp) -> tuple[Caller, Id[Project]]:
    ada = t.as_user(subject="ada", name="Ada")
    await ada.mutation("people:join", name="Ada")
    return ada, await ada.mutation(projects.create, name="Engine")


async def test_pages_of_other_origins_may_read_tasks() -> None:
    async with TestApp(board) as t:
        _, project = await project_of(t)
        await t.mutation(tasks.add, project=project, title="oil")
        response = await t.fetch(f"/tasks/{project}")
        assert response.json() == [{"title": "oil", "status": "open"}]
        assert response.headers["access-control-allow-origin"] == "*"
        asked = await t.fetch(f"/tasks/{project}", method="OPTIONS")
        assert (asked.status_code, asked.headers["access-control-allow-headers"]) == (204, "authorization")


async def test_a_table_streams() -> None:
    async with TestApp(board) as t:
        _, project = await project_of(t)
        for number in range(205):
            await t.mutation(tasks.add, project=project, title=f'a "task" {number}', points=number % 7)
        lines = (await t.fetch(f"/csv/{project}")).text.splitlines()
        assert len(lines) == 205
        assert lines[3] == '"a ""task"" 3",3'


async def test_who_asks() -> None:
    async with TestApp(board) as t:
        ada, _ = await project_of(t)
        assert (await t.fetch("/me")).text == "nobody"
        assert (await ada.fetch("/me")).text == "Ada"


def signed(body: bytes, at: float, secret: str = SECRET) -> dict[str, str]:
    stamp = str(int(at))
    signature = hmac.digest(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hex()
    return {"x-time": stamp, "x-signature": signature}


async def test_a_delivery_counts_once() -> None:
    async with TestApp(board, environment={"HOOK_SECRET": SECRET}) as t:
        _, project = await project_of(t)
        body = json.dumps({"number": "7", "project": project, "title": "from outside"}).encode()
        for _ in range(2):
            response = await t.fetch("/hook", method="POST", content=body, headers=signed(body, time.time()))
            assert response.status_code == 204
        assert [task.title for task in await t.query(tasks.list_tasks, project=project)] == ["from outside"]


async def test_case_37_what_is_not_signed_is_refused() -> None:
    async with TestApp(board, environment={"HOOK_SECRET": SECRET}) as t:
        _, project = await project_of(t)
        body = json.dumps({"number": "7", "project": project, "title": "from outside"}).encode()
        now = time.time()
        good = signed(body, now)
        for headers, sent in (
            ({}, body),
            ({**good, "x-signature": ""}, body),
            ({**good, "x-signature": good["x-signature"][:-1]}, body),
            ({**good, "x-time": "soon"}, body),
            ({**good, "x-time": str(int(now) + 1)}, body),
            (good, json.dumps(json.loads(body), indent=1).encode()),
            (signed(body, now - 301), body),
            (signed(body, now, "guessed"), body),
        ):
            response = await t.fetch("/hook", method="POST", content=sent, headers=headers)
            assert response.status_code == 401, headers
        assert await t.query(tasks.list_tasks, project=project) == []
    async with TestApp(board, environment={"HOOK_SECRET": ""}) as t:
        response = await t.fetch("/hook", method="POST", content=b"{}", headers=signed(b"{}", time.time(), ""))
        assert response.status_code == 401
    assert callable(hooks.hook)
