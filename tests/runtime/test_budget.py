"""Each limit of a function: so much passes, one more is refused, and the error says which limit it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.apps import write_app
from tests.engine import ask, change, encoded, engine, value_of
from yugen import values
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer
from yugen.runtime.runtime import Runtime
from yugen.storage.memory import MemoryStore

APP = """
    from typing import Any

    from yugen import ActionCtx, MutationCtx, QueryCtx, YugenError, action, mutation, query


    @mutation
    async def write(ctx: MutationCtx, count: int, text: str = "") -> list[str]:
        return [await ctx.db.insert("notes", {"text": text}) for _ in range(count)]


    @mutation
    async def create(ctx: MutationCtx, tables: list[str]) -> None:
        for table in tables:
            await ctx.db.insert(table, {})


    @mutation
    async def write_again(ctx: MutationCtx, id: str, times: int) -> None:
        for n in range(times):
            await ctx.db.patch(id, n=n)


    @query
    async def collect(ctx: QueryCtx) -> int:
        return len(await ctx.db.query("notes").collect())


    @query
    async def take(ctx: QueryCtx, count: int) -> int:
        return len(await ctx.db.query("notes").take(count))


    @query
    async def get(ctx: QueryCtx, id: str, times: int) -> None:
        for _ in range(times):
            await ctx.db.get(id)


    @query
    async def ranges(ctx: QueryCtx, times: int) -> None:
        for _ in range(times):
            await ctx.db.query("notes").first()


    @mutation
    async def drop(ctx: MutationCtx, id: str) -> None:
        await ctx.db.delete(id)


    @query
    async def echo(ctx: QueryCtx, value: Any) -> Any:
        return value


    @query
    async def gives(ctx: QueryCtx, size: int) -> str:
        return "x" * (size - 2)


    @action
    async def acts(ctx: ActionCtx, size: int) -> str:
        return "x" * (size - 2)


    @query
    async def logs(ctx: QueryCtx, lines: int) -> None:
        for n in range(lines):
            print(n)
"""

NONE = RunLimits()


@asynccontextmanager
async def running(folder: Path, **limits: int) -> AsyncIterator[Runtime]:
    async with engine(MemoryStore(), write_app(folder, f=APP), limits=replace(NONE, **limits)) as runtime:
        yield runtime


def refused(answer: Answer, limit: str, *texts: str) -> None:
    assert answer.failure is not None
    for text in ("LimitExceeded: This function", f"or raise the limit `{limit}`.", *texts):
        assert text in answer.failure.message, answer.failure.message


async def mutated(runtime: Runtime, name: str, **args: Any) -> Answer:
    return (await runtime.mutate(f"f:{name}", encoded(**args))).answer


async def queried(runtime: Runtime, name: str, **args: Any) -> Answer:
    return await runtime.query(f"f:{name}", encoded(**args))


async def test_documents_written(tmp_path: Path) -> None:
    async with running(tmp_path, documents_written=5) as runtime:
        (first, *_) = await change(runtime, "f:write", count=4)  # and the table itself
        refused(await mutated(runtime, "write", count=6), "documents_written", "wrote more than 5 documents")
        assert len(await change(runtime, "f:write", count=5)) == 5
        assert await ask(runtime, "f:collect") == 9
        await change(runtime, "f:write_again", id=first, times=20)


async def test_bytes_written(tmp_path: Path) -> None:
    async with running(tmp_path, bytes_written=1000) as runtime:
        await change(runtime, "f:write", count=1, text="x" * 500)
        refused(await mutated(runtime, "write", count=2, text="x" * 500), "bytes_written", "more than 1,000 bytes")


async def test_documents_read(tmp_path: Path) -> None:
    async with running(tmp_path, documents_read=10) as runtime:
        ids = await change(runtime, "f:write", count=10)
        assert await ask(runtime, "f:collect") == 10
        ids += await change(runtime, "f:write", count=1)
        told: list[str] = []
        key = runtime.query_key("f:collect", encoded())
        runtime.queries.subscribe(key, None, lambda: told.append("collect"))
        answer = await runtime.queries.at(key, None, runtime.ts)
        refused(answer, "documents_read", "read more than 10 documents", "take or paginate")
        assert await ask(runtime, "f:take", count=10) == 10
        # The subscription recovers when the data shrinks.
        await change(runtime, "f:drop", id=ids[5])
        assert told == ["collect"]
        assert value_of(await runtime.queries.at(key, None, runtime.ts)) == 10


async def test_bytes_read(tmp_path: Path) -> None:
    async with running(tmp_path, bytes_read=1000) as runtime:
        await change(runtime, "f:write", count=2, text="x" * 300)
        assert await ask(runtime, "f:collect") == 2
        await change(runtime, "f:write", count=1, text="x" * 300)
        refused(await queried(runtime, "collect"), "bytes_read", "more than 1,000 bytes")


async def test_ranges_read(tmp_path: Path) -> None:
    async with running(tmp_path, ranges_read=4) as runtime:
        (first,) = await change(runtime, "f:write", count=1)
        for name, args in (("get", {"id": first}), ("ranges", {})):
            assert (await queried(runtime, name, times=4, **args)).failure is None
            refused(
                await queried(runtime, name, times=5, **args), "ranges_read", "more than 4 ranges and single documents"
            )


async def test_tables(tmp_path: Path) -> None:
    async with running(tmp_path, tables=3) as runtime:
        await change(runtime, "f:create", tables=["a", "b"])
        answer = (await runtime.mutate("f:create", encoded(tables=["c", "c", "d"]))).answer
        refused(answer, "tables", "would create a table beyond the 3 that a deployment may have")
        await change(runtime, "f:create", tables=["a", "b", "c", "c"])
        answer = (await runtime.mutate("f:create", encoded(tables=["d"]))).answer
        refused(answer, "tables", "keep what is alike in one table")


async def test_arguments_bytes(tmp_path: Path) -> None:
    async with running(tmp_path, arguments_bytes=1000) as runtime:
        fits = {"value": "x" * (1000 - 2 - len("value") - 1 - 2)}
        assert values.size(fits) == 1000
        assert (await queried(runtime, "echo", **fits)).failure is None
        refused(await queried(runtime, "echo", value=fits["value"] + "x"), "arguments_bytes", "more than 1,000 bytes")


async def test_result_bytes(tmp_path: Path) -> None:
    async with running(tmp_path, result_bytes=1000) as runtime:
        assert (await queried(runtime, "gives", size=1000)).failure is None
        refused(await queried(runtime, "gives", size=1001), "result_bytes", "gives a result of more than 1,000 bytes")
        assert (await runtime.act("f:acts", encoded(size=1000))).failure is None
        refused(await runtime.act("f:acts", encoded(size=1001)), "result_bytes")


async def test_log_lines(tmp_path: Path) -> None:
    async with running(tmp_path, log_lines=3) as runtime:
        assert len((await queried(runtime, "logs", lines=3)).log_lines) == 3
        lines = (await queried(runtime, "logs", lines=9)).log_lines
        assert lines[3:] == ("[WARN] 'More than 3 lines were logged; the rest is left out.'",)


async def test_the_figures_are_those_of_convex() -> None:
    assert (
        RunLimits(
            transaction_seconds=1.0,
            action_seconds=600.0,
            ranges_read=4096,
            documents_read=32_000,
            bytes_read=16 << 20,
            documents_written=16_000,
            bytes_written=16 << 20,
            tables=10_000,
            arguments_bytes=16 << 20,
            result_bytes=16 << 20,
            log_lines=256,
            log_line_size=4096,
        )
        == NONE
    )


async def test_functions_of_yugens_own_know_what_they_do(tmp_path: Path) -> None:
    async with running(tmp_path, documents_read=1, documents_written=1) as runtime:
        changes = [{"name": letter, "sealed": "x"} for letter in "ABC"]
        path = "_system/environment:update"
        assert (await runtime.mutate(path, encoded(changes=changes), public=False)).answer.failure is None
