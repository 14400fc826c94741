"""The texts that the guides show are the texts that one gets."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import board
import pytest
from board import people, projects, tasks
from board.schema import Person, Project, Task

from reliability.serving import ROOT
from tests.apps import write_app
from tests.docs.test_board import two_claim
from tests.engine import change, engine, new_store
from yugen import Id, MutationCtx, Yugen
from yugen.testing import TestApp, explore

TEXT = re.compile(r"^```text\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def texts(guide: str) -> list[str]:
    return TEXT.findall((ROOT / "docs" / f"{guide}.md").read_text())


async def told(call: Awaitable[object]) -> str:
    with pytest.raises(Exception, match=r".") as caught:
        await call
    return str(caught.value).removeprefix("Uncaught ")


async def a_project(t: TestApp) -> Id[Project]:
    ada = t.as_user(subject="ada")
    await ada.mutation(people.join, name="Ada")
    return await ada.mutation(projects.create, name="Engine")


async def told_by_database(t: TestApp, _: Path) -> list[str]:
    project = await a_project(t)
    task = await t.mutation(tasks.add, project=project, title="a")

    async def skips_a_field(ctx: MutationCtx) -> Any:
        return await ctx.db.query(Task).with_index(Task.by_project, project=project, due=3).collect()

    async def does_not_fit(ctx: MutationCtx) -> None:
        await ctx.db.patch(task, title="")

    return [await told(t.run(skips_a_field)), await told(t.run(does_not_fit))]


async def told_by_schema(t: TestApp, folder: Path) -> list[str]:
    await a_project(t)

    async def same_email(ctx: MutationCtx) -> None:
        for name in ("ada", "bob"):
            await ctx.db.insert(Person(token=name, name=name, email="ada@example.org"))

    async def still_needed(ctx: MutationCtx) -> None:
        async for person in ctx.db.query(Person):
            await ctx.db.delete(person.id)

    async def deploy(fields: str) -> None:
        text = f'from yugen import Document, Index\nclass Task(Document, table="tasks"):\n    title: str\n    {fields}'
        add = "from yugen import mutation\n@mutation\nasync def add(ctx): await ctx.db.insert('tasks', {'title': 'a'})"
        async with engine(new_store("sqlite", folder), write_app(folder, schema=text, main=add)) as runtime:
            await change(runtime, "main:add")

    await deploy("")
    missing = await told(deploy("priority: int"))
    await deploy("")
    return [
        await told(t.run(same_email)),
        await told(t.run(still_needed)),
        missing,
        await told(deploy('by_title = Index("title", unique=True)')),
    ]


async def told_by_aggregates(t: TestApp, _: Path) -> list[str]:
    async def sum_of_some(ctx: MutationCtx) -> float:
        return await ctx.db.query(Task).with_index(Task.points_by).filter(lambda task: task.points > 1).sum()

    async def sum_of_a_count(ctx: MutationCtx) -> float:
        return await ctx.db.query(Task).with_index(Task.per_project).sum()

    return [await told(t.run(sum_of_some)), await told(t.run(sum_of_a_count))]


async def told_by_testing(t: TestApp, _: Path) -> list[str]:
    project = await a_project(t)
    task = await t.mutation(tasks.add, project=project, title="a")
    with pytest.raises(AssertionError) as reran:
        async with t.assert_reruns(tasks.list_tasks, project=project, at_most=0):
            await t.mutation(tasks.finish, task=task)
    with pytest.raises(AssertionError) as raced:
        await explore(board, two_claim)
    return [str(reran.value), *raced.value.__notes__]


async def told_by_functions(t: TestApp, folder: Path) -> list[str]:
    project = await a_project(t)
    app = write_app(folder, tasks=SLEEPS)
    async with Yugen(app, database=folder / "data") as yugen:
        backend = await yugen.backend()
        answer = await backend.runtime.query("tasks:sleeps", b"{}")
    assert answer.failure is not None
    return [
        await told(t.mutation("tasks:add", project=project, title="")),
        answer.failure.detail,
        await told(t.mutation("projects:create", name="P", person="p")),
    ]


SLEEPS = """
    import asyncio
    from yugen import QueryCtx, query

    @query
    async def sleeps(ctx: QueryCtx) -> None:
        await asyncio.sleep(1)
"""


GUIDES = {
    "database": told_by_database,
    "schema": told_by_schema,
    "aggregates": told_by_aggregates,
    "testing": told_by_testing,
    "functions": told_by_functions,
}


@pytest.mark.parametrize("guide", GUIDES)
async def test_a_guide_shows_what_one_is_told(t: TestApp, tmp_path: Path, guide: str) -> None:
    shown, given = texts(guide), await GUIDES[guide](t, tmp_path)
    assert len(shown) == len(given)
    for pattern, text in zip(shown, given, strict=True):
        assert re.fullmatch(re.escape(pattern).replace("…", ".+"), text), text
