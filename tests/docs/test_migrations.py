from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import board
import pytest
from board.schema import Task

from tests.apps import write_app
from tests.engine import ask, change, engine, new_store
from yugen import MutationCtx
from yugen.testing import TestApp

BOARD = Path(next(iter(board.__path__)))

BEFORE = """
    from typing import Any

    from yugen import MutationCtx, QueryCtx, mutation, query

    @mutation
    async def people(ctx: MutationCtx) -> None:
        await ctx.db.insert("people", {"token": "t", "name": "Ada"})
        await ctx.db.insert("people", {"token": "u", "name": "Eve", "role": "admin"})

    @mutation
    async def add(ctx: MutationCtx, /, **task: Any) -> None:
        [ada] = await ctx.db.query("people").take(1)
        project = await ctx.db.insert("projects", {"name": "P", "owner": ada["_id"]})
        for n in range(int(task.pop("times", 1))):
            await ctx.db.insert("tasks", {"project": project, **task})

    @query
    async def everything(ctx: QueryCtx) -> dict[str, Any]:
        return {table: await ctx.db.query(table).collect() for table in ("people", "tasks")}
"""

AFTER = """
    from typing import Any

    from yugen import Document, QueryCtx, query

    from .schema import Person, Task

    @query
    async def everything(ctx: QueryCtx) -> dict[str, Any]:
        return {table.__table__: await ctx.db.query(table).collect() for table in (Person, Task)}
"""


async def test_they_bring_stored_documents_into_their_new_form(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine(new_store("sqlite", tmp_path), write_app(tmp_path, main=BEFORE)) as runtime:
        await change(runtime, "main:people")
        for task in (
            {"text": " "},
            {"text": " cut gears ", "done": True, "assignee": "Ada"},
            {"text": "oil", "assignee": "Nobody"},
            {"text": "more", "times": 618},
        ):
            await change(runtime, "main:add", **task)

    shutil.copytree(BOARD, tmp_path / "app", dirs_exist_ok=True)
    with caplog.at_level(logging.INFO):
        async with engine(new_store("sqlite", tmp_path), write_app(tmp_path, main=AFTER)) as runtime:
            found = await ask(runtime, "main:everything")
    roles = {person["name"]: (person["_id"], person["role"]) for person in found["people"]}
    assert (roles["Ada"][1], roles["Eve"][1]) == ("member", "admin")
    shown: list[dict[str, Any]] = [
        {name: task.get(name) for name in ("title", "status", "assignee")} for task in found["tasks"]
    ]
    assert shown[:2] == [
        {"title": "cut gears", "status": "done", "assignee": roles["Ada"][0]},
        {"title": "oil", "status": "open", "assignee": None},
    ]
    assert len(shown) == 620
    assert "migration text_becomes_title: 500 documents\n" in caplog.text
    assert "migration text_becomes_title: 620 documents, done\n" in caplog.text


async def test_a_new_deployment_has_nothing_to_migrate(t: TestApp) -> None:
    assert await t.query("_system/migrations:pending") == []


async def before(ctx: MutationCtx) -> None:
    ada = await ctx.db.insert("people", {"token": "t", "name": "Ada"})
    project = await ctx.db.insert("projects", {"name": "P", "owner": ada, "public": True})
    await ctx.db.insert("tasks", {"project": project, "text": " oil ", "done": True, "assignee": "Ada"})


async def test_old_tasks_are_tasks() -> None:
    async with TestApp(board, before=before) as t:
        [task] = await t.run(lambda ctx: ctx.db.query(Task).collect())
        assert (task.title, task.status) == ("oil", "done")
