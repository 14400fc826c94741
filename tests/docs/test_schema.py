from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from board.schema import Estimate, Person, Project, Task

from tests.apps import write_app
from tests.engine import ask, change, engine, new_store
from yugen import UNSET, BrokenReference, DocumentInvalid, Id, MutationCtx, UniqueError
from yugen.runtime.deploy import DeployError
from yugen.testing import TestApp

APP = """
    from typing import Any

    from yugen import Document, Index, MutationCtx, QueryCtx, mutation, query


    {schema}


    @mutation
    async def add(ctx: MutationCtx, /, **fields: Any) -> None:
        await ctx.db.insert("tasks", fields)


    @query
    async def done(ctx: QueryCtx) -> list[bool]:
        return [task.done for task in await ctx.db.query(Task).collect()]


    @query
    async def by_done(ctx: QueryCtx, done: bool = False) -> int:
        return await ctx.db.query("tasks").with_index("by_done", done=done).count()
"""


async def deploy(folder: Path, fields: str, *documents: dict[str, Any], **asked: Any) -> Any:
    """Serves an app whose tasks have these fields, writes documents, and asks queries for their results."""
    schema = f'class Task(Document, table="tasks"):\n        {fields}' if fields else "strict = False"
    app = write_app(folder, main=APP.format(schema=schema))
    async with engine(new_store("sqlite", folder), app) as runtime:
        for document in documents:
            await change(runtime, "main:add", **document)
        return {path: await ask(runtime, f"main:{path}") for path in asked}


async def test_what_is_stored_of_each_kind_of_field(t: TestApp) -> None:
    async def stored(ctx: MutationCtx) -> tuple[Any, ...]:
        person = await ctx.db.get(await ctx.db.insert(Person(token="a", name="Ada")))
        assert person is not None
        assert person.email is UNSET
        project = await ctx.db.insert(Project(name="P", owner=person.id))
        task = Task(project=project, title="a", due=None)
        return person.to_fields(), task.to_fields()

    person, task = await t.run(stored)
    assert person.keys() == {"_id", "_creationTime", "token", "name", "role"}
    assert task.keys() == {"project", "title", "status", "points", "due"}
    assert task["due"] is None


@pytest.mark.parametrize("wrong", [{"points": "3"}, {"points": True}, {"points": 101}, {"colour": "red"}])
async def test_a_document_is_held_against_its_class(t: TestApp, wrong: dict[str, Any]) -> None:
    async def write(ctx: MutationCtx) -> None:
        person = await ctx.db.insert(Person(token="a", name="Ada"))
        project = await ctx.db.insert(Project(name="P", owner=person))
        await ctx.db.insert("tasks", {"project": project, "title": "a", "estimate": {"hours": 1}})
        with pytest.raises(DocumentInvalid):
            await ctx.db.insert("tasks", {"project": project, "title": "a", **wrong})

    await t.run(write)


async def test_absent_values_are_never_the_same_and_nulls_are(t: TestApp, tmp_path: Path) -> None:
    async def several(ctx: MutationCtx) -> None:
        for token in "abc":
            await ctx.db.insert(Person(token=token, name=token))
        with pytest.raises(UniqueError) as caught:
            await ctx.db.insert(Person(token="a", name="another"))
        assert (caught.value.table, caught.value.index, caught.value.fields) == ("people", "by_token", {"token": '"a"'})

    await t.run(several)
    fields = 'code: str | None = None; by_code = Index("code", unique=True)'
    await deploy(tmp_path, fields, {}, {}, {"code": None})
    with pytest.raises(AssertionError, match="UniqueError"):
        await deploy(tmp_path, fields, {"code": None})


async def test_references(t: TestApp) -> None:
    async def refer(ctx: MutationCtx) -> None:
        ada, bob = [await ctx.db.insert(Person(token=name, name=name)) for name in ("ada", "bob")]
        project = await ctx.db.insert(Project(name="P", owner=ada))
        task = await ctx.db.insert(Task(project=project, title="a", assignee=bob, estimate=Estimate(hours=2)))
        with pytest.raises(BrokenReference, match=r"by projects\.owner"):
            await ctx.db.delete(ada)
        await ctx.db.delete(bob)
        assert await assignee(ctx, task) is None
        with pytest.raises(BrokenReference, match="not there; insert it first"):
            await ctx.db.patch(task, assignee=bob)
        await ctx.db.delete(project)
        assert await ctx.db.get(task) is None
        await ctx.db.delete(ada)

    async def assignee(ctx: MutationCtx, task: Id[Task]) -> Id[Person] | None:
        found = await ctx.db.get(task)
        assert found is not None
        return found.assignee

    await t.run(refer)


@pytest.mark.parametrize(
    ("before", "after", "fits"),
    [
        ("title: str", "title: str; done: bool = False", True),
        ("title: str", "title: str; done: bool | None = None", True),
        ("title: str", "title: str; done: bool", False),
        ("title: str; done: bool = False", "title: str", False),
        ("title: str", "title: int", False),
        ("title: str", "title: str | int", True),
        ("title: str", "", True),
    ],
)
async def test_changes_of_a_class(tmp_path: Path, before: str, after: str, fits: bool) -> None:
    await deploy(tmp_path, before, {"title": "a"})
    if fits:
        await deploy(tmp_path, after)
    else:
        with pytest.raises(DeployError):
            await deploy(tmp_path, after)
        await deploy(tmp_path, before)


async def test_a_default_is_read_and_not_found(tmp_path: Path) -> None:
    await deploy(tmp_path, "title: str", {"title": "a"})
    after = 'title: str; done: bool = False; by_done = Index("done")'
    assert await deploy(tmp_path, after, done=(), by_done=()) == {"done": [False], "by_done": 0}
    assert await deploy(tmp_path, after, {"title": "b"}, by_done=()) == {"by_done": 1}


async def test_an_index_of_a_small_table_is_there_at_once_and_one_of_a_large_table_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await deploy(tmp_path, "done: bool", {"done": False})
    monkeypatch.setattr("yugen.runtime.deploy.SMALL_MAX", 0)
    app = write_app(
        tmp_path,
        main=APP.format(schema='class Task(Document, table="tasks"):\n        done: bool; by_done = Index("done")'),
    )
    with caplog.at_level(logging.INFO):
        async with engine(new_store("sqlite", tmp_path), app) as runtime:
            with pytest.raises(AssertionError, match="IndexNotFound"):
                await ask(runtime, "main:by_done", done=True)
            assert runtime._reindexer is not None
            assert runtime._reindexer.going is not None
            await runtime._reindexer.going
            assert "indexes of tasks: ready" in caplog.text
            assert await ask(runtime, "main:by_done") == 1
