from __future__ import annotations

from collections.abc import Callable

import pytest
from board import people, projects, tasks
from board.schema import Estimate, Person, Project, Task

from yugen import UNSET, Id, MutationCtx, PaginationOptions, lt
from yugen.functions.predicates import condition, shape_of
from yugen.testing import FunctionFailed, TestApp


@pytest.fixture
async def project(t: TestApp) -> Id[Project]:
    ada = t.as_user(subject="ada")
    await ada.mutation(people.join, name="Ada")
    return await ada.mutation(projects.create, name="Engine")


async def some(t: TestApp, project: Id[Project], *titles: str) -> list[Id[Task]]:
    return [await t.mutation(tasks.add, project=project, title=title) for title in titles]


def titles(found: list[Task]) -> list[str]:
    return [task.title for task in found]


async def test_a_document_is_read_by_its_id(t: TestApp, project: Id[Project]) -> None:
    [task] = await some(t, project, "cut gears")
    assert await t.query(tasks.title, task=task) == "cut gears"
    other = await t.mutation(tasks.add, project=project, title="other")
    await t.mutation(tasks.finish, task=other)
    await t.mutation(tasks.clear, project=project)
    assert await t.query(tasks.title, task=other) is None


async def test_a_range_of_an_index(t: TestApp, project: Id[Project]) -> None:
    first, *_ = await some(t, project, "a", "b", "c")
    await t.mutation(tasks.finish, task=first)
    assert titles(await t.query(tasks.list_tasks, project=project)) == ["c", "b"]
    assert titles(await t.query(tasks.list_tasks, project=project, status="done")) == ["a"]


async def test_absent_and_null_come_before_numbers(t: TestApp, project: Id[Project]) -> None:
    async def prepare(ctx: MutationCtx) -> list[str]:
        for title, due in (("late", 9), ("soon", 5), ("null", None)):
            await ctx.db.insert(Task(project=project, title=title, due=due))
        await ctx.db.insert(Task(project=project, title="absent"))
        everything = ctx.db.query(Task).with_index(Task.by_project, project=project, status="open", due=lt(9))
        return titles(await everything.collect())

    assert await t.run(prepare) == ["absent", "null", "soon"]
    assert titles(await t.query(tasks.due, project=project, before=9)) == ["soon"]


async def test_absent_can_be_asked_for(t: TestApp, project: Id[Project]) -> None:
    await some(t, project, "no date")

    async def undated(ctx: MutationCtx) -> int:
        return await ctx.db.query(Task).with_index(Task.by_project, project=project, status="open", due=UNSET).count()

    assert await t.run(undated) == 1


async def test_nested_fields_and_times(t: TestApp, project: Id[Project]) -> None:
    async def prepare(ctx: MutationCtx) -> None:
        for hours in (2, 30, 4):
            await ctx.db.insert(Task(project=project, title=f"{hours} h", estimate=Estimate(hours=hours)))

    await t.run(prepare)
    longest = await t.query(tasks.longest)
    assert longest is not None
    assert longest.title == "30 h"
    noon = t.now.timestamp() * 1000
    await t.advance(hours=1)
    await some(t, project, "later")
    assert titles(await t.query(tasks.recent, since=noon + 1000)) == ["later"]


async def test_a_loop_reads_as_far_as_it_goes(t: TestApp, project: Id[Project]) -> None:
    await some(t, project, "a", "b", "c", "d")
    assert titles(await t.query(tasks.fitting, project=project, hours=2)) == ["a", "b"]
    async with t.assert_reruns(tasks.fitting, project=project, hours=2, exactly=0):
        await some(t, project, "e")
    async with t.assert_reruns(tasks.fitting, project=project, hours=10, exactly=1):
        await some(t, project, "f")


async def test_pages(t: TestApp, project: Id[Project]) -> None:
    await some(t, project, "a", "b", "c")
    page = await t.query(tasks.pages, project=project, page=PaginationOptions(num_items=2))
    assert (titles(page.page), page.is_done) == (["a", "b"], False)
    page = await t.query(tasks.pages, project=project, page=PaginationOptions(num_items=2, cursor=page.continue_cursor))
    assert (titles(page.page), page.is_done) == (["c"], True)


async def test_a_filter_that_can_be_read_narrows(t: TestApp, project: Id[Project]) -> None:
    async with t.assert_reruns(tasks.heavy, project=project, least=5, exactly=0):
        await t.mutation(tasks.add, project=project, title="light", points=1)
    async with t.assert_reruns(tasks.heavy, project=project, least=5, exactly=1):
        await t.mutation(tasks.add, project=project, title="heavy", points=8)


async def test_select_narrows_to_its_fields(t: TestApp, project: Id[Project]) -> None:
    [task] = await some(t, project, "a")
    ada = t.as_user(subject="ada")
    person = (await ada.query(people.me)).id
    async with t.assert_reruns(tasks.lines, project=project, exactly=0):
        await t.mutation(tasks.assign, task=task, person=person)
    async with t.assert_reruns(tasks.lines, project=project, exactly=1):
        await t.mutation(tasks.finish, task=task)
    [line] = await t.query(tasks.lines, project=project)
    assert (line.title, line.status) == ("a", "done")


async def test_patch_replace_and_delete(t: TestApp, project: Id[Project]) -> None:
    done, kept = await some(t, project, "done", "kept")
    await t.mutation(tasks.finish, task=done)
    assert await t.mutation(tasks.clear, project=project) == 1
    assert titles(await t.query(tasks.list_tasks, project=project)) == ["kept"]
    await t.mutation(tasks.restart, task=kept)
    [task] = await t.query(tasks.list_tasks, project=project)
    assert (task.id, task.title, task.points) == (kept, "kept", 1)


async def test_a_sub_transaction_is_undone_alone(t: TestApp, project: Id[Project]) -> None:
    async def person(name: str) -> Id[Person]:
        return await t.as_user(subject=name).mutation(people.join, name=name)

    bob, eve = await person("bob"), await person("eve")
    given = await some(t, project, "a", "b", "c", "d", "e")
    for task in given[:3]:
        assert await t.mutation(tasks.hand_out, task=task, people=[bob, eve]) == bob
    assert await t.mutation(tasks.hand_out, task=given[3], people=[bob, eve]) == eve
    assert await t.mutation(tasks.hand_out, task=given[4], people=[bob]) is None
    left = await t.query(tasks.list_tasks, project=project)
    assert [task.assignee for task in left] == [None, eve, bob, bob, bob]


async def test_tables_without_a_class(t: TestApp) -> None:
    await t.mutation(tasks.note, text="hi")
    assert [note["text"] for note in await t.query(tasks.notes)] == ["hi"]


async def test_writing_to_nothing(t: TestApp, project: Id[Project]) -> None:
    [task] = await some(t, project, "a")
    await t.mutation(tasks.finish, task=task)
    await t.mutation(tasks.clear, project=project)
    with pytest.raises(FunctionFailed, match="DocumentNotFound"):
        await t.mutation(tasks.finish, task=task)


EMAIL = "ada@example.org"


@pytest.mark.parametrize(
    ("predicate", "readable"),
    [
        (lambda person: person.name.lower().startswith("a") and person.role in ("member", "admin"), True),
        (lambda person: person.email is UNSET, True),
        (lambda person: person.name == EMAIL or len(person.name) > 3, True),
        (lambda person: person.email == EMAIL, False),
        (lambda person: (person.name if person.role else "") == "a", False),
        (lambda person: f"{person.name}" == "a", False),
        (lambda person: person.name[0] == "a", False),
        (lambda person: any(letter == "a" for letter in person.name), False),
    ],
)
def test_which_predicates_can_be_read(predicate: Callable[[Person], object], readable: bool) -> None:
    assert (condition(predicate, shape_of(Person)) is not None) == readable
