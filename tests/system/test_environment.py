"""Environment variables: set by administrators, seen by functions, and followed by queries that read them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.apps import write_app
from tests.engine import SECRET, VAULT, act, ask, change, encoded, engine, sealed, set_variables, value_of
from yugen.runtime.environment import Variables
from yugen.runtime.pool import WorkerPool
from yugen.runtime.runtime import Runtime
from yugen.runtime.setup import Setup
from yugen.storage.memory import MemoryStore
from yugen.storage.sqlite import SqliteStore
from yugen.variables import (
    BUILT_IN,
    NAME_SIZE_MAX,
    VALUE_SIZE_MAX,
    VARIABLES_MAX,
    InvalidVariable,
    check_variable,
)

APP = """
    from yugen import ActionCtx, MutationCtx, QueryCtx, action, mutation, query


    @query
    async def model(ctx: QueryCtx) -> str | None:
        return ctx.env.get("MODEL")


    @query
    async def nothing(ctx: QueryCtx) -> None:
        pass


    @query
    async def all_names(ctx: QueryCtx) -> list[str]:
        return sorted(ctx.env)


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
    pool = await WorkerPool.launch(Setup(app, database, SECRET, development=True))
    runtime = Runtime(SqliteStore(database), pool, variables=Variables(VAULT))
    try:
        await runtime.start()
        yield runtime
    finally:
        await runtime.close()


async def refusal(runtime: Runtime, **variables: str | None) -> str:
    answer = (await runtime.mutate("_system/environment:update", sealed(variables), public=False)).answer
    assert answer.failure is not None
    return answer.failure.message


async def listed(runtime: Runtime) -> Any:
    path = "_system/cli/queryEnvironmentVariables"
    return value_of(await runtime.query(path, encoded(), public=False))


async def test_functions_of_all_kinds_see_what_is_set(runtime: Runtime) -> None:
    assert await ask(runtime, "f:model") is None
    await set_variables(runtime, MODEL="small", KEY="k")
    assert await ask(runtime, "f:model") == "small"
    assert await change(runtime, "f:names") == ["KEY", "MODEL"]
    assert await act(runtime, "f:in_action") == "small"
    await set_variables(runtime, MODEL="large", KEY=None)
    assert await act(runtime, "f:in_action") == "large"
    assert await listed(runtime) == [{"name": "MODEL", "value": "large"}]


async def test_queries_that_read_a_variable_run_again_and_no_others(runtime: Runtime) -> None:
    told: list[str] = []
    for name in ("model", "nothing"):
        key = runtime.query_key(f"f:{name}", encoded())
        runtime.queries.subscribe(key, None, lambda name=name: told.append(name))  # type: ignore[misc]
        await runtime.queries.at(key, None, runtime.ts)
    await set_variables(runtime, MODEL="small")
    assert told == ["model"]
    assert await ask(runtime, "f:model") == "small"


async def test_variables_survive_a_restart(tmp_path: Path) -> None:
    app = write_app(tmp_path, f=APP)
    async with engine(SqliteStore(tmp_path / "app.db"), app) as runtime:
        await set_variables(runtime, MODEL="small")
    async with engine(SqliteStore(tmp_path / "app.db"), app) as runtime:
        assert await ask(runtime, "f:model") == "small"


async def test_a_query_depends_on_the_variables_that_it_reads(runtime: Runtime) -> None:
    await set_variables(runtime, MODEL="small", KEY="k")
    told: list[str] = []
    for name in ("model", "all_names"):
        key = runtime.query_key(f"f:{name}", encoded())
        runtime.queries.subscribe(key, None, lambda name=name: told.append(name))  # type: ignore[misc]
        await runtime.queries.at(key, None, runtime.ts)
    await set_variables(runtime, KEY="another")
    assert told == ["all_names"]
    await set_variables(runtime, MODEL=None)
    assert told == ["all_names", "model"]
    assert await ask(runtime, "f:model") is None


async def test_a_variable_that_is_not_there_is_told(runtime: Runtime) -> None:
    answer = await runtime.act("f:in_action", encoded())
    assert answer.failure is not None
    assert "there is no environment variable 'MODEL'; set it with `yugen env set MODEL`." in answer.failure.message


async def test_what_is_not_there_may_be_taken_away(runtime: Runtime) -> None:
    await set_variables(runtime, NOTHING=None)
    assert await listed(runtime) == []


async def test_names_and_values(runtime: Runtime) -> None:
    await set_variables(runtime, B="2", A="1")
    assert value_of(await runtime.query("_system/environment:names", encoded(), public=False)) == ["A", "B"]
    for name, value in (("A", {"name": "A", "value": "1"}), ("C", None)):
        path = "_system/cli/queryEnvironmentVariables:get"
        assert value_of(await runtime.query(path, encoded(name=name), public=False)) == value


@pytest.mark.parametrize("name", ["", "A B", "É", "A" * (NAME_SIZE_MAX + 1), "A\n"])
def test_names_have_a_form(name: str) -> None:
    with pytest.raises(InvalidVariable, match="cannot name an environment variable"):
        check_variable(name, "x")
    check_variable("A" * NAME_SIZE_MAX, "x")


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_built_in_cannot_be_set(name: str) -> None:
    with pytest.raises(InvalidVariable, match=f"{name} is set by Yugen itself"):
        check_variable(name, "x")
    check_variable(name, None)  # as an earlier version may have had it


def test_values_have_a_limit_and_are_not_shown() -> None:
    check_variable("A", "é" * (VALUE_SIZE_MAX // 2))
    with pytest.raises(
        InvalidVariable, match=f"^The value of A is longer than {VALUE_SIZE_MAX} bytes; make it shorter.$"
    ):
        check_variable("A", "é" * (VALUE_SIZE_MAX // 2) + "x")
    with pytest.raises(InvalidVariable, match="half of a character in it"):
        check_variable("A", "a secret \ud800")


async def test_there_is_a_limit_to_everything(tmp_path: Path) -> None:
    async with engine(MemoryStore(), write_app(tmp_path, f=APP)) as runtime:
        many = {f"V{n}": "" for n in range(VARIABLES_MAX)}
        await set_variables(runtime, **many)
        assert f"at most {VARIABLES_MAX}" in await refusal(runtime, ONE_MORE="")
        await set_variables(runtime, ONE_MORE="", V0=None)
        too_much = await refusal(runtime, **dict.fromkeys(list(many)[1:70], "x" * VALUE_SIZE_MAX))
        assert "together" in too_much
        assert {variable["value"] for variable in await listed(runtime)} == {""}


async def test_clients_can_neither_see_nor_set_them(runtime: Runtime) -> None:
    for path in ("_system/cli/queryEnvironmentVariables", "_system/environment:update", "_system/none"):
        answers = await asyncio.gather(runtime.query(path, encoded()), runtime.act(path, encoded()))
        mutation = await runtime.mutate(path, encoded(changes=[]))
        for answer in (*answers, mutation.answer):
            assert answer.failure is not None
            assert "You do not have permission to perform this operation" in answer.failure.message
