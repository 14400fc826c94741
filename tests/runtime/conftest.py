from __future__ import annotations

from pathlib import Path

import pytest

from tests.apps import write_app

COUNTERS = {
    "schema": """
        from yugen import Document, Index

        class Counter(Document, table="counters"):
            name: str
            value: int = 0

            by_name = Index("name", unique=True)
    """,
    "counters": """
        from yugen import ActionCtx, MutationCtx, QueryCtx, YugenError, action, internal_mutation, mutation, query
        from .schema import Counter

        async def find(ctx: QueryCtx, name: str) -> Counter | None:
            return await ctx.db.query(Counter).with_index(Counter.by_name, name=name).unique()

        @query
        async def value(ctx: QueryCtx, name: str) -> int | None:
            found = await find(ctx, name)
            return found and found.value

        @query
        async def who(ctx: QueryCtx) -> str | None:
            identity = await ctx.auth.get_user_identity()
            return identity and identity.subject

        @mutation
        async def add(ctx: MutationCtx, name: str, amount: int = 1) -> int:
            print("adding", amount)
            found = await find(ctx, name)
            if found is None:
                await ctx.db.insert(Counter(name=name, value=amount))
                return amount
            await ctx.db.patch(found.id, value=found.value + amount)
            return found.value + amount

        @mutation
        async def look(ctx: MutationCtx, name: str) -> int | None:
            return await value(ctx, name)

        @mutation
        async def fail(ctx: MutationCtx, name: str) -> None:
            await ctx.run_mutation(add, name, 100)
            raise YugenError({"code": "NO"})

        @mutation
        async def claim(ctx: MutationCtx, name: str) -> None:
            if await find(ctx, name) is not None:
                raise YugenError("taken")
            await ctx.db.insert(Counter(name=name))

        @mutation
        async def note(ctx: MutationCtx, text: str) -> None:
            await ctx.db.insert("notes", {"text": text})

        @query
        async def notes(ctx: QueryCtx) -> int:
            return await ctx.db.query("notes").count()

        @internal_mutation
        async def reset(ctx: MutationCtx, name: str) -> None:
            found = await find(ctx, name)
            if found is not None:
                await ctx.db.delete(found.id)

        @action
        async def twice(ctx: ActionCtx, name: str) -> list[int | None]:
            before = await ctx.run_query(value, name)
            await ctx.run_mutation(add, name, 2)
            await ctx.run_mutation("counters:add", name=name, amount=3)
            return [before, await ctx.run_query(value, name=name)]

        @action
        async def clear(ctx: ActionCtx, name: str) -> int | None:
            await ctx.run_mutation(reset, name)
            return await ctx.run_query(value, name)

        @action
        async def outer(ctx: ActionCtx, name: str) -> list[int | None]:
            print("outer")
            return await ctx.run_action(twice, name)

        @action
        async def careful(ctx: ActionCtx) -> str:
            try:
                await ctx.run_mutation(fail, "x")
            except YugenError as error:
                return error.data["code"]
            return "nothing"

        @action
        async def endless(ctx: ActionCtx) -> None:
            await ctx.run_action("counters:endless")
    """,
}


@pytest.fixture
def counters(tmp_path: Path) -> Path:
    """An app of named counters."""
    return write_app(tmp_path, **COUNTERS)
