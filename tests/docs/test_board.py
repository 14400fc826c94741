"""Tests as the author of an app writes them; docs/testing.md shows parts of this file."""

import asyncio
from collections.abc import AsyncIterator

import board
import pytest
import pytest_asyncio
from board import claims, people, projects, tasks
from board.schema import Person, Project

from yugen import Id, MutationCtx, YugenError
from yugen.testing import FunctionFailed, TestApp, explore


@pytest_asyncio.fixture
async def t() -> AsyncIterator[TestApp]:
    async with TestApp(board) as t:
        yield t


async def test_a_task_is_added(t: TestApp) -> None:
    ada = t.as_user(subject="ada", name="Ada")
    await ada.mutation(people.join, name="Ada")
    project = await ada.mutation(projects.create, name="Engine")
    await t.mutation(tasks.add, project=project, title="cut gears")
    [task] = await t.query(tasks.list_tasks, project=project)
    assert task.title == "cut gears"
    assert await t.query("tasks:list", project=project) == [task]


async def test_nobody_creates_no_project(t: TestApp) -> None:
    with pytest.raises(YugenError, match="Sign in first"):
        await t.mutation(projects.create, name="Engine")


async def engine(ctx: MutationCtx) -> Id[Project]:
    ada = await ctx.db.insert(Person(token="https://test|ada", name="Ada"))
    return await ctx.db.insert(Project(name="Engine", owner=ada))


async def test_who_owns_a_project_stays(t: TestApp) -> None:
    await t.run(engine)
    with pytest.raises(FunctionFailed, match="BrokenReference"):
        await t.run(delete_everyone)


async def delete_everyone(ctx: MutationCtx) -> None:
    async for person in ctx.db.query(Person):
        await ctx.db.delete(person.id)


async def test_what_is_new_since_yesterday(t: TestApp) -> None:
    project = await t.run(engine)
    await t.mutation(tasks.add, project=project, title="old")
    await t.advance(days=1)
    yesterday = t.now.timestamp() * 1000 - 1000
    await t.mutation(tasks.add, project=project, title="new")
    assert [task.title for task in await t.query(tasks.recent, since=yesterday)] == ["new"]


async def test_light_tasks_are_nothing_to_those_who_watch_heavy_ones(t: TestApp) -> None:
    project = await t.run(engine)
    async with t.assert_reruns(tasks.heavy, project=project, least=5, exactly=0):
        await t.mutation(tasks.add, project=project, title="light", points=1)
    async with t.assert_reruns(tasks.heavy, project=project, least=5, exactly=1):
        await t.mutation(tasks.add, project=project, title="heavy", points=8)


async def test_a_watched_list_follows(t: TestApp) -> None:
    project = await t.run(engine)
    watch = await t.watch(tasks.list_tasks, project=project)
    assert await watch.value() == []
    await t.mutation(tasks.add, project=project, title="cut gears")
    assert [task.title for task in await watch.value()] == ["cut gears"]
    assert watch.runs == 2


async def two_claim(t: TestApp) -> None:
    project = await t.run(engine)
    bob, eve = [await t.as_user(subject=name).mutation(people.join, name=name) for name in ("bob", "eve")]
    for title in ("cut gears", "oil"):
        await t.mutation(tasks.add, project=project, title=title)
    one, other = await asyncio.gather(
        t.action(claims.claim, project=project, person=bob),
        t.action(claims.claim, project=project, person=eve),
    )
    assert one != other, "both have the same task"


async def test_an_action_may_claim_what_another_one_has_claimed_meanwhile() -> None:
    with pytest.raises(AssertionError) as caught:
        await explore(board, two_claim)
    assert caught.value.__notes__ == ["The order of seed 1: play it again with TestApp(..., seed=1)."]


async def two_claim_at_once(t: TestApp) -> None:
    project = await t.run(engine)
    person = await t.as_user(subject="eve").mutation(people.join, name="Eve")
    for title in ("cut gears", "oil"):
        await t.mutation(tasks.add, project=project, title=title)
    claim = claims.claim_at_once
    one, other = await asyncio.gather(*(t.mutation(claim, project=project, person=person) for _ in range(2)))
    assert one != other


async def test_a_mutation_does_not() -> None:
    await explore(board, two_claim_at_once, seeds=range(1, 11))
