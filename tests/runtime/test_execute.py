from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from tests.engine import SECRET, encoded, value_of
from yugen import values
from yugen.catalog import Catalog
from yugen.functions.info import Kind
from yugen.functions.registry import load
from yugen.identity import Identity
from yugen.runtime.execute import CALL_DEPTH_MAX, Executor
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run
from yugen.storage.memory import MemoryStore
from yugen.system.deployment import Deployment

APP = {
    "things": """
        import sys
        import asyncio

        from yugen import (
            ActionCtx, MutationCtx, QueryCtx, YugenError, action, internal_query, mutation, query,
        )

        @query
        async def count(ctx: QueryCtx) -> int:
            return await ctx.db.query("things").count()

        @internal_query
        async def secret(ctx: QueryCtx) -> str:
            return "s"

        @mutation
        async def add(ctx: MutationCtx, name: str) -> None:
            await ctx.db.insert("things", {"name": name})

        @mutation
        async def add_and_count(ctx: MutationCtx) -> int:
            await ctx.run_mutation(add, "one")
            await ctx.db.insert("things", {"name": "two"})
            return await ctx.run_query(count)

        @mutation
        async def add_then_raise(ctx: MutationCtx) -> None:
            await ctx.db.insert("things", {"name": "lost"})
            raise YugenError("no")

        @mutation
        async def side_by_side(ctx: MutationCtx) -> int:
            await asyncio.gather(
                ctx.run_mutation(add, name="a"),
                ctx.run_mutation(add_then_raise),
                ctx.run_mutation(add, name="b"),
                ctx.db.insert("loose", {}),
                return_exceptions=True,
            )
            return await ctx.run_query(count)

        @mutation
        async def recover(ctx: MutationCtx) -> int:
            await ctx.db.insert("things", {"name": "kept"})
            try:
                await ctx.run_mutation(add_then_raise)
            except YugenError:
                pass
            return await ctx.run_query(count)

        @query
        async def raises(ctx: QueryCtx) -> None:
            await ctx.db.query("things").collect()
            print("so far")
            raise LookupError("a secret of the app")

        @query
        async def raises_data(ctx: QueryCtx) -> None:
            raise YugenError({"code": 7})

        @query
        async def raises_none(ctx: QueryCtx) -> None:
            raise YugenError(None)

        @query
        async def raises_nonsense(ctx: QueryCtx) -> None:
            raise YugenError(object())

        @query
        async def exits(ctx: QueryCtx) -> None:
            sys.exit(3)

        class Mute(Exception):
            def __str__(self) -> str:
                raise ValueError

        @query
        async def raises_mute(ctx: QueryCtx) -> None:
            raise Mute

        @query
        async def wrong(ctx: QueryCtx) -> int:
            return "five"

        @query
        async def deep(ctx: QueryCtx, n: int) -> int:
            return 1 if n == 1 else 1 + await ctx.run_query("things:deep", n=n - 1)

        @query
        async def tells(ctx: QueryCtx) -> list[float]:
            return [ctx.now, ctx.random.random()]

        @query
        async def who(ctx: QueryCtx) -> str | None:
            identity = await ctx.auth.get_user_identity()
            return identity.subject if identity else None

        @query
        async def calls_wrong_kind(ctx: QueryCtx) -> None:
            await ctx.run_query("things:add", name="x")

        @action
        async def acts(ctx: ActionCtx) -> str:
            return "acted"
    """
}


class Bench:
    def __init__(self, app: Path, *, development: bool = True) -> None:
        self.store = MemoryStore()
        self.executor = Executor(
            load(app),
            Catalog(),
            secret=SECRET,
            development=development,
            deployment=Deployment("http://yugen", app.parent),
        )

    def run(
        self, kind: Kind, name: str, /, *, public: bool = True, identity: Identity | None = None, **args: Any
    ) -> Run:
        return Run(kind, f"things:{name}", encoded(**args), public, 0, 5.0, b"seed", "0123456789abcdef", identity)

    async def transact(self, kind: Kind, name: str, /, **options: Any) -> Outcome:
        snapshot = await self.store.snapshot(0)
        return await self.executor.transact(self.run(kind, name, **options), snapshot)

    async def failure(self, kind: Kind, name: str, /, **options: Any) -> str:
        outcome = await self.transact(kind, name, **options)
        assert outcome.changes == ()
        assert outcome.answer.value is None
        assert outcome.answer.failure is not None
        return outcome.answer.failure.message


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path, **APP)


@pytest.fixture
async def bench(app: Path) -> Bench:
    bench = Bench(app)
    await bench.store.open()
    return bench


PREFIX = "[Request ID: 0123456789abcdef] Server Error"


async def test_a_mutation_gives_its_value_its_reads_and_its_changes(bench: Bench) -> None:
    outcome = await bench.transact("mutation", "add_and_count")
    assert value_of(outcome.answer) == 2.0
    names = [values.loads(change.after or b"null") for change in outcome.changes]
    assert [each.get("name") for each in names if isinstance(each, dict)] == ["things", "one", "two"]
    assert outcome.reads == tuple(sorted(outcome.reads))
    assert outcome.reads


async def test_sub_mutations_side_by_side_do_not_undo_one_another(bench: Bench) -> None:
    outcome = await bench.transact("mutation", "side_by_side")
    assert value_of(outcome.answer) == 2.0
    assert len(outcome.changes) == 5  # two tables and three documents


async def test_a_sub_mutation_that_fails_is_undone_alone(bench: Bench) -> None:
    outcome = await bench.transact("mutation", "recover")
    assert value_of(outcome.answer) == 1.0
    assert len(outcome.changes) == 2  # the table and one document


async def test_what_fails_writes_nothing_and_has_read_what_it_read(bench: Bench) -> None:
    outcome = await bench.transact("mutation", "add_then_raise")
    assert outcome.changes == ()
    outcome = await bench.transact("query", "raises")
    assert outcome.reads
    assert outcome.answer.log_lines == ("[LOG] 'so far'",)


async def test_in_development_an_error_comes_with_its_place(bench: Bench) -> None:
    message = await bench.failure("query", "raises")
    first, second, third = message.split("\n")
    assert first == PREFIX
    assert second == "Uncaught LookupError: a secret of the app"
    assert third.startswith("    at raises (things.py:")


async def test_in_production_only_the_request_id_goes_out_and_the_rest_to_the_log(
    app: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(app, development=False)
    assert await bench.failure("query", "raises") == PREFIX
    assert "things:raises failed [Request ID: 0123456789abcdef]" in caplog.text
    assert "a secret of the app" in caplog.text
    failure = (await bench.transact("query", "raises")).answer.failure
    assert failure is not None
    assert failure.detail.startswith("LookupError: a secret of the app\n    at raises (things.py:")
    assert await bench.failure("query", "nope") == (
        f"{PREFIX}\nUncaught FunctionNotFound: Could not find public function for `things:nope`; "
        "check its name and its module."
    )


@pytest.mark.parametrize("development", [True, False])
async def test_the_data_of_an_error_always_goes_out(app: Path, development: bool) -> None:
    bench = Bench(app, development=development)
    for name, data in (("raises_data", b'{"code":7.0}'), ("raises_none", b"null")):
        failure = (await bench.transact("query", name)).answer.failure
        assert failure is not None
        assert failure.data == data
        assert (failure.message == PREFIX) is not development


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("raises_nonsense", "TypeError: the data of a YugenError must be a value of the wire: "),
        ("exits", "SystemExit: 3"),
        ("raises_mute", "Mute: its text could not be made"),
        ("wrong", "ReturnsValidationError: "),
        ("calls_wrong_kind", "WrongKind: things:add is a mutation; call it as a mutation, not as a query."),
    ],
)
async def test_every_way_to_fail_is_an_answer(bench: Bench, name: str, error: str) -> None:
    assert f"\nUncaught {error}" in await bench.failure("query", name)


async def test_functions_are_called_as_what_they_are(bench: Bench) -> None:
    assert "things:add is a mutation; call it as a mutation, not as a query." in await bench.failure(
        "query", "add", name="x"
    )
    assert "things:acts is an action; call it as an action, not as a mutation." in await bench.failure(
        "mutation", "acts"
    )


async def test_internal_functions_look_missing_to_clients_only(bench: Bench) -> None:
    missing, internal = await bench.failure("query", "gone00"), await bench.failure("query", "secret")
    assert missing == internal.replace("secret", "gone00")
    assert value_of((await bench.transact("query", "secret", public=False)).answer) == "s"


async def test_bad_arguments_name_the_argument(bench: Bench) -> None:
    message = await bench.failure("mutation", "add", name=1.0)
    assert "ArgumentValidationError" in message
    assert "`name`" in message


async def test_functions_call_one_another_so_deep_and_no_deeper(bench: Bench) -> None:
    assert value_of((await bench.transact("query", "deep", n=float(CALL_DEPTH_MAX))).answer) == CALL_DEPTH_MAX
    assert f"more than {CALL_DEPTH_MAX} deep" in await bench.failure("query", "deep", n=CALL_DEPTH_MAX + 1.0)


async def test_the_clock_and_the_dice_are_those_of_the_run(bench: Bench) -> None:
    one, other = [(await bench.transact("query", "tells")).answer for _ in range(2)]
    assert one == other
    assert value_of(one)[0] == 5.0


async def test_reading_the_identity_is_noted(bench: Bench) -> None:
    ada = Identity("issuer|ada", "ada", "issuer")
    outcome = await bench.transact("query", "who", identity=ada)
    assert (value_of(outcome.answer), outcome.reads_identity) == ("ada", True)
    assert not (await bench.transact("query", "count", identity=ada)).reads_identity


async def test_an_action_runs_without_a_transaction(bench: Bench) -> None:
    async def call(*_: Any) -> Any:
        raise AssertionError(os.strerror(1))

    assert value_of(await bench.executor.act(bench.run("action", "acts"), call)) == "acted"
    answer = await bench.executor.act(bench.run("action", "count"), call)
    assert answer.failure is not None
    assert "things:count is a query; call it as a query, not as an action." in answer.failure.message
    assert isinstance(answer, Answer)
