from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from board import people, projects, tasks, totals
from board.schema import Project, Task

from yugen import Id, MutationCtx
from yugen.testing import TestApp


@pytest.fixture
async def project(t: TestApp) -> Id[Project]:
    ada = t.as_user(subject="ada")
    await ada.mutation(people.join, name="Ada")
    return await ada.mutation(projects.create, name="Engine")


async def test_totals_of_a_project(t: TestApp, project: Id[Project]) -> None:
    nothing = await t.query(totals.of_project, project=project)
    assert nothing == totals.Totals(open=0, done=0, points=0, largest=None)
    given = [await t.mutation(tasks.add, project=project, title="a", points=points) for points in (3, 8, 1)]
    await t.mutation(tasks.finish, task=given[0])
    found = await t.query(totals.of_project, project=project)
    assert found == totals.Totals(open=2, done=1, points=12, largest=8)
    assert [await t.query(totals.place, task=task) for task in given] == [None, 0, 1]


async def test_totals_of_a_time(t: TestApp, project: Id[Project]) -> None:
    start = t.now.timestamp() * 1000
    for _ in range(3):
        await t.mutation(tasks.add, project=project, title="a")
        await t.advance(days=1)
    day = 24 * 3600 * 1000
    window = {"project": project, "status": "open"}
    assert await t.query("totals:added", **window, start=start, end=start + 1.5 * day) == 2
    assert await t.query("totals:added", **window, start=start, end=start + 9 * day) == 3


def fields_of(**fields: object) -> Callable[[TestApp, Id[Task]], Awaitable[None]]:
    async def change(t: TestApp, task: Id[Task]) -> None:
        async def patch(ctx: MutationCtx) -> None:
            await ctx.db.patch(task, fields)

        await t.run(patch)

    return change


@pytest.mark.parametrize(
    ("change", "counts", "sums"),
    [(fields_of(title="b"), 0, 0), (fields_of(points=2), 0, 1), (fields_of(status="done"), 1, 1)],
    ids=["another field", "the number", "the range"],
)
async def test_what_runs_again(
    t: TestApp,
    project: Id[Project],
    change: Callable[[TestApp, Id[Task]], Awaitable[None]],
    counts: int,
    sums: int,
) -> None:
    task = await t.mutation(tasks.add, project=project, title="a")
    now = t.now.timestamp() * 1000
    counted: dict[str, Any] = {"project": project, "status": "open", "start": 0, "end": 2 * now}
    async with (
        t.assert_reruns("totals:added", **counted, exactly=counts),
        t.assert_reruns(totals.of_project, project=project, exactly=sums),
    ):
        await change(t, task)
