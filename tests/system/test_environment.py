"""Environment variables: set by administrators, seen by functions, and followed by queries that read them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.apps import write_app
from tests.engine import SECRET, act, ask, change, encoded, engine, value_of
from yugen.runtime.pool import WorkerPool
from yugen.runtime.runtime import Runtime
from yugen.runtime.setup import Setup
from yugen.storage.memory import MemoryStore
from yugen.storage.sqlite import SqliteStore
from yugen.system.environment import NAME_SIZE_MAX, VALUE_SIZE_MAX, VARIABLES_MAX

APP = """
    from yugen import ActionCtx, MutationCtx, QueryCtx, action, mutation, query


    @query
    async def model(ctx: QueryCtx) -> str | None:
        return ctx.env.get("MODEL")


    @query
    async def nothing(ctx: QueryCtx) -> None:
        pass


    @mutation
    async def names(ctx: MutationCtx) -> list[str]:
        return sorted(ctx.env)


    @action
    async def in_action(ctx: ActionCtx) -> str:
        return ctx.env["MODEL"]
"""


@pytest_asyncio.fixture(params=["inline", "workers"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    app = write_app(tmp_path, f=APP)
    if request.param == "inline":
        async with engine(MemoryStore(), app) as runtime:
            yield runtime
        return
    database = tmp_path / "app.db"
    runtime = Runtime(SqliteStore(database), await WorkerPool.launch(Setup(app, database, SECRET, development=True)))
    try:
        await runtime.start()
        yield runtime
    finally:
        await runtime.close()


async def update(runtime: Runtime, **variables: str | None) -> None:
    changes = [{"name": name, "value": value} for name, value in variables.items()]
    answer = await runtime.mutate("_system/environment:update", encoded(changes=changes), public=False)
    value_of(answer.answer)


async def refusal(runtime: Runtime, *changes: tuple[str, Any]) -> str:
    args = encoded(changes=[{"name": name, "value": value} for name, value in changes])
    answer = (await runtime.mutate("_system/environment:update", args, public=False)).answer
    assert answer.failure is not None
    return answer.failure.message


async def listed(runtime: Runtime) -> Any:
    path = "_system/cli/queryEnvironmentVariables"
    return value_of(await runtime.query(path, encoded(), public=False))


async def test_functions_of_all_kinds_see_what_is_set(runtime: Runtime) -> None:
    assert await ask(runtime, "f:model") is None
    await update(runtime, MODEL="small", KEY="k")
    assert await ask(runtime, "f:model") == "small"
    assert await change(runtime, "f:names") == ["KEY", "MODEL"]
    assert await act(runtime, "f:in_action") == "small"
    await update(runtime, MODEL="large", KEY=None)
    assert await act(runtime, "f:in_action") == "large"
    assert await listed(runtime) == [{"name": "MODEL", "value": "large"}]


async def test_queries_that_read_a_variable_run_again_and_no_others(runtime: Runtime) -> None:
    told: list[str] = []
    for name in ("model", "nothing"):
        key = runtime.query_key(f"f:{name}", encoded())
        runtime.queries.subscribe(key, None, lambda name=name: told.append(name))  # type: ignore[misc]
        await runtime.queries.at(key, None, runtime.ts)
    await update(runtime, MODEL="small")
    assert told == ["model"]
    assert await ask(runtime, "f:model") == "small"


async def test_variables_survive_a_restart(tmp_path: Path) -> None:
    app = write_app(tmp_path, f=APP)
    async with engine(SqliteStore(tmp_path / "app.db"), app) as runtime:
        await update(runtime, MODEL="small")
    async with engine(SqliteStore(tmp_path / "app.db"), app) as runtime:
        assert await ask(runtime, "f:model") == "small"


async def test_changes_take_place_together_or_not_at_all(runtime: Runtime) -> None:
    await update(runtime, A="1")
    assert "'1B' cannot name" in await refusal(runtime, ("A", "2"), ("1B", "x"))
    assert await listed(runtime) == [{"name": "A", "value": "1"}]
    await update(runtime, NOTHING=None)


@pytest.mark.parametrize("name", ["", "A B", "É", "A" * (NAME_SIZE_MAX + 1), "A\n"])
async def test_names_have_a_form(tmp_path: Path, name: str) -> None:
    async with engine(MemoryStore(), write_app(tmp_path, f=APP)) as runtime:
        assert "cannot name an environment variable" in await refusal(runtime, (name, "x"))
        await update(runtime, **{"A" * NAME_SIZE_MAX: "x"})


async def test_there_is_a_limit_to_everything(tmp_path: Path) -> None:
    async with engine(MemoryStore(), write_app(tmp_path, f=APP)) as runtime:
        await update(runtime, A="é" * (VALUE_SIZE_MAX // 2))
        assert f"longer than {VALUE_SIZE_MAX} bytes" in await refusal(runtime, ("A", "é" * (VALUE_SIZE_MAX // 2) + "x"))
        many = {f"V{n}": "" for n in range(VARIABLES_MAX - 1)}
        await update(runtime, **many)
        assert f"at most {VARIABLES_MAX}" in await refusal(runtime, ("ONE_MORE", ""))
        too_much = await refusal(runtime, *((name, "x" * VALUE_SIZE_MAX) for name in list(many)[:70]))
        assert "together" in too_much
        assert len(await listed(runtime)) == VARIABLES_MAX


async def test_clients_can_neither_see_nor_set_them(runtime: Runtime) -> None:
    for path in ("_system/cli/queryEnvironmentVariables", "_system/environment:update", "_system/none"):
        answers = await asyncio.gather(runtime.query(path, encoded()), runtime.act(path, encoded()))
        mutation = await runtime.mutate(path, encoded(changes=[]))
        for answer in (*answers, mutation.answer):
            assert answer.failure is not None
            assert "You do not have permission to perform this operation" in answer.failure.message
