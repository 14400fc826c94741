from __future__ import annotations

import inspect
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from board import people, projects, tasks
from board.schema import Person

from reliability.serving import ROOT
from yugen import MutationCtx, YugenError, values, variables
from yugen.functions.pagination import PAGE_ROWS_MAX
from yugen.functions.scheduling import ARGUMENTS_SIZE_MAX, YEARS_MAX
from yugen.runtime.execute import CALL_DEPTH_MAX
from yugen.runtime.mutations import ATTEMPTS_MAX, LOSSES_MAX
from yugen.server.limits import Limits
from yugen.testing import Caller, FunctionFailed, TestApp

GUIDE = (ROOT / "docs/functions.md").read_text()
PROSE = " ".join(GUIDE.split())

FORBIDDEN = re.escape('{"code": "forbidden"}')


async def person(t: TestApp, name: str) -> Caller:
    caller = t.as_user(subject=name)
    await caller.mutation(people.join, name=name)
    return caller


async def test_the_person_who_calls_is_no_argument(t: TestApp) -> None:
    with pytest.raises(YugenError, match="Sign in first"):
        await t.query(people.me)
    with pytest.raises(YugenError, match="Join first"):
        await t.as_user(subject="ada").query(people.me)
    ada = await person(t, "ada")
    me = await ada.query(people.me)
    assert me.name == "ada"
    with pytest.raises(FunctionFailed, match=r"`person` .* is not expected here; it takes name, public"):
        await ada.mutation("projects:create", name="P", person=me.id)
    with pytest.raises(FunctionFailed, match="`name` of projects:create is missing"):
        await ada.mutation("projects:create")
    assert list(inspect.signature(projects.create.handler).parameters) == ["ctx", "name", "public"]


async def test_a_role_is_asked_for(t: TestApp) -> None:
    ada = await person(t, "ada")
    project = await ada.mutation(projects.create, name="P")
    with pytest.raises(YugenError, match='"needs": "admin"'):
        await ada.mutation(projects.remove, project=project)
    with pytest.raises(FunctionFailed, match="must be an id of table projects"):
        await ada.mutation("projects:remove", project="x")

    async def promote(ctx: MutationCtx) -> None:
        async for each in ctx.db.query(Person):
            await ctx.db.patch(each.id, role="admin")

    await t.run(promote)
    await ada.mutation(projects.remove, project=project)
    assert await ada.query(projects.list_projects) == []


async def test_rules_filter_reads(t: TestApp) -> None:
    ada, eve = await person(t, "ada"), await person(t, "eve")
    secret = await ada.mutation(projects.create, name="secret")
    await ada.mutation(projects.create, name="open", public=True)
    mine, theirs = [await t.mutation(tasks.add, project=secret, title=title) for title in ("a", "b")]
    await t.mutation(tasks.assign, task=theirs, person=(await eve.query(people.me)).id)

    assert {project.name for project in await ada.query(projects.list_projects)} == {"secret", "open"}
    assert {project.name for project in await eve.query(projects.list_projects)} == {"open"}
    assert {task.id for task in await ada.query(projects.tasks, project=secret)} == {mine, theirs}
    assert {task.id for task in await eve.query(projects.tasks, project=secret)} == {theirs}
    async with eve.assert_reruns(projects.tasks, project=secret, exactly=0):
        await ada.mutation(projects.rename, task=mine, title="c")


async def test_rules_refuse_writes(t: TestApp) -> None:
    ada, eve = await person(t, "ada"), await person(t, "eve")
    secret = await ada.mutation(projects.create, name="secret")
    other = await eve.mutation(projects.create, name="other")
    task = await t.mutation(tasks.add, project=secret, title="a")
    with pytest.raises(YugenError, match=FORBIDDEN):
        await eve.mutation(projects.rename, task=task, title="b")
    with pytest.raises(YugenError, match=FORBIDDEN):
        await ada.mutation(projects.move, task=task, project=other)
    assert [each.title for each in await t.query(tasks.list_tasks, project=secret)] == ["a"]
    await ada.mutation(projects.rename, task=task, title="b")
    copied = await ada.mutation(projects.copy, task=task)
    assert copied is not None
    await ada.mutation(projects.drop, task=task)
    [left] = await t.query(tasks.list_tasks, project=secret)
    assert (left.id, left.title) == (copied, "b")
    with pytest.raises(YugenError, match=FORBIDDEN):
        await eve.mutation(projects.drop, task=copied)


async def test_what_is_taken_is_told(t: TestApp) -> None:
    ada = await person(t, "ada")
    with pytest.raises(YugenError) as caught:
        await ada.mutation(people.join, name="again")
    assert caught.value.data == {"code": "taken", "fields": ["token"]}


def test_the_limits_are_those_of_the_code() -> None:
    shown = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", GUIDE, re.MULTILINE))
    limits = {name: figure for part in asdict(Limits()).values() for name, figure in part.items()}
    assert limits.keys() - shown.keys() == {"grace_seconds", "slow_seconds", "depth"}
    for name, figure in shown.items():
        assert limits[name] == int(figure.replace(",", "")), name


def test_so_are_those_that_are_fixed() -> None:
    rows = dict(re.findall(r"^\| ([a-z][\w ,]+) \| ([^|]+) \|$", GUIDE, re.MULTILINE))
    mib, kib = 1 << 20, 1 << 10
    assert rows == {
        "a document": f"{values.DOCUMENT_SIZE_MAX // mib} MiB, {values.DOCUMENT_NESTING_MAX} levels of nesting",
        "an object, a list": f"{values.FIELDS_MAX:,} fields, {values.ELEMENTS_MAX:,} elements",
        "any value": f"{values.SIZE_MAX // mib} MiB, {values.NESTING_MAX} levels of nesting",
        "functions that call one another": f"{CALL_DEPTH_MAX} deep",
        "runs of a mutation that conflicts": f"{ATTEMPTS_MAX}",
        "arguments of what is scheduled": f"{ARGUMENTS_SIZE_MAX // kib} KiB",
        "a delay of what is scheduled": f"{YEARS_MAX} years",
        "documents on a page": f"{PAGE_ROWS_MAX:,}",
        "environment variables": f"{variables.VARIABLES_MAX}, each with {variables.VALUE_SIZE_MAX // kib} KiB, "
        f"together {variables.TOTAL_SIZE_MAX // kib} KiB",
    }
    assert LOSSES_MAX == 3


def test_limits_are_given_where_the_server_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    import serve  # noqa: PLC0415 -- it makes a server for the folder it is in

    assert callable(serve.app)
