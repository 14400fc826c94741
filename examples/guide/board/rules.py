from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import wraps
from typing import Any

from yugen import Document, MutationCtx, QueryCtx, YugenError

from .access import Ctx, Function, P, R, current_person
from .schema import Project, Task


@dataclass
class Rule:
    """Who may see a document, and who may write it; the latter holds before and after the change."""

    read: Callable[[Any], bool]
    write: Callable[[Any], bool]


Rules = Mapping[type[Document], Rule]


async def rules_of(ctx: QueryCtx) -> Rules:
    me = (await current_person(ctx)).id
    owned = await ctx.db.query(Project).with_index(Project.by_owner, owner=me).collect()
    mine = {project.id for project in owned}
    return {
        Project: Rule(
            read=lambda project: project.public or project.owner == me,
            write=lambda project: project.owner == me,
        ),
        Task: Rule(
            read=lambda task: task.project in mine or task.assignee == me,
            write=lambda task: task.project in mine,
        ),
    }


class RuledReader:
    """As much of `ctx.db` as the rules allow. A table without a rule is an error."""

    def __init__(self, db: Any, rules: Rules) -> None:
        self._db = db
        self._rules = rules

    async def get(self, key: str) -> Any:
        found = await self._db.get(key)
        return found if found and self._rules[type(found)].read(found) else None

    def query(self, table: type[Document]) -> Any:
        return self._db.query(table).filter(self._rules[table].read)


class RuledWriter(RuledReader):
    async def insert(self, document: Document) -> Any:
        key = await self._db.insert(document)
        await self._check(key)
        return key

    async def patch(self, key: str, **fields: Any) -> None:
        await self._check(key)
        await self._db.patch(key, **fields)
        await self._check(key)

    async def delete(self, key: str) -> None:
        await self._check(key)
        await self._db.delete(key)

    async def _check(self, key: str) -> None:
        found = await self._db.get(key)
        if found is None or not self._rules[type(found)].write(found):
            raise YugenError({"code": "forbidden"})


def ruled(function: Function[Ctx, P, R]) -> Function[Ctx, P, R]:
    """Gives a function a `ctx` whose `db` keeps to the rules of the caller."""

    @wraps(function)
    async def wrapped(ctx: Ctx, /, *args: P.args, **kwargs: P.kwargs) -> R:
        inner: Any = copy(ctx)
        kind = RuledWriter if isinstance(ctx, MutationCtx) else RuledReader
        inner.db = kind(ctx.db, await rules_of(ctx))
        return await function(inner, *args, **kwargs)

    return wrapped
