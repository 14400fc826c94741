"""A worker process as its server sees it: messages in, messages out."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import apsw
import pytest

from tests.apps import write_app
from tests.engine import SECRET, encoded, value_of
from tests.runtime.nurseries import fork, nursery
from yugen.catalog import TableSpec
from yugen.functions.info import Kind
from yugen.functions.registry import load
from yugen.keys import table_of
from yugen.runtime.channel import (
    BlockingChannel,
    Message,
    answer_from_data,
    answer_to_data,
    outcome_from_data,
    pack,
    run_to_data,
    table_to_data,
)
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.processes import Role
from yugen.runtime.run import Run
from yugen.runtime.setup import Setup
from yugen.runtime.worker import _Actions
from yugen.storage.sqlite import SqliteStore

APP = """
    import asyncio, resource, time
    from contextvars import ContextVar
    from typing import Any
    from yugen import ActionCtx, MutationCtx, QueryCtx, action, mutation, query

    @query
    async def echo(ctx: QueryCtx, what: Any) -> Any:
        return what

    @mutation
    async def add(ctx: MutationCtx) -> None:
        await ctx.db.insert("notes", {"text": "hi"})

    @mutation
    async def add_and_count(ctx: MutationCtx) -> int:
        await ctx.db.insert("notes", {"text": "hi"})
        return await ctx.db.query("notes").count()

    @query
    async def memory(ctx: QueryCtx, size: int = 0) -> bool:
        kept.append(bytearray(size))
        return resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY

    @query
    async def sleep(ctx: QueryCtx) -> None:
        await ctx.db.query("notes").collect()
        time.sleep(60)

    @query
    async def swallows(ctx: QueryCtx) -> str:
        try:
            time.sleep(60)
        except BaseException:
            pass
        return "done"

    @query
    async def catches(ctx: QueryCtx) -> str:
        caught = []
        for wait in (asyncio.sleep(0), asyncio.sleep(1)):
            try:
                await wait
            except Exception as error:
                caught.append(type(error).__name__)
        return " ".join(caught)

    @query
    async def almost(ctx: QueryCtx) -> str:
        time.sleep(0.12)
        return "in time"

    variable = ContextVar("variable", default="nothing")
    kept = []

    @query
    async def remembers(ctx: QueryCtx) -> str:
        before = variable.get()
        variable.set("something")
        return before

    @action
    async def calls(ctx: ActionCtx) -> Any:
        return [await ctx.run_query(echo, 1), await ctx.run_query("f:echo", what=2)]
"""

LIMITS = RunLimits(transaction_seconds=0.2, action_seconds=1.0, memory_bytes=2**26)


class Worker:
    """A worker process, and what it has said so far."""

    def __init__(self, channel: BlockingChannel) -> None:
        self.channel = channel
        self._said: list[Message] = []

    def tell(self, *messages: Message) -> None:
        """Sends messages so that they arrive together."""
        self.channel.socket.sendall(b"".join(map(pack, messages)))

    def says(self) -> Message:
        """Its next message; empty when it has ended."""
        if not self._said:
            self._said = self.channel.receive()
        return self._said.pop(0) if self._said else ()

    def outcome(self, number: int) -> Outcome:
        what, of, data = self.says()
        assert (what, of) == ("outcome", number)
        return outcome_from_data(data)

    def failure(self, number: int) -> str:
        failure = self.outcome(number).answer.failure
        assert failure is not None
        return failure.message.split("Uncaught ")[1]


Start = Callable[[Role], Worker]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    store = SqliteStore(tmp_path / "app.db")
    await store.open()
    await store.close()
    with ExitStack() as open_until_the_end:
        channel, _ = open_until_the_end.enter_context(nursery(write_app(tmp_path, f=APP), LIMITS))
        channel.receive()

        def start(role: Role) -> Worker:
            worker = Worker(fork(channel, role)[1])
            open_until_the_end.enter_context(worker.channel.socket)
            assert worker.says() == ("ready",)
            return worker

        yield start


def a_run(path: str, kind: Kind = "query", **args: object) -> Message:
    return run_to_data(Run(kind, path, encoded(**args), True, 0, 0.0, b"", "0" * 16))


async def test_runs_are_answered_in_order_and_skipped_where_they_have_not_begun(start: Start) -> None:
    worker = start("transactions")
    runs = [("run", number, a_run("f:echo", what=number)) for number in range(1, 5)]
    worker.tell(*runs, ("skip", (2, 4, 9)))
    assert worker.says() == ("skipped", (2, 4))
    assert [value_of(worker.outcome(number).answer) for number in (1, 3)] == [1, 3]
    worker.tell(("skip", (1,)), runs[1])
    assert worker.says() == ("skipped", ())
    assert value_of(worker.outcome(2).answer) == 2


async def test_what_a_mutation_wants_to_write_comes_with_its_answer(start: Start) -> None:
    worker = start("transactions")
    worker.tell(("run", 1, a_run("f:add", "mutation")))
    outcome = worker.outcome(1)
    assert outcome.answer == Answer(b"null")
    assert len(outcome.changes) == 2
    assert outcome.reads
    # A table that it is told of it neither looks for nor creates.
    worker.tell(("table", table_to_data(TableSpec("notes", 10_001))), ("run", 2, a_run("f:add", "mutation")))
    assert len(worker.outcome(2).changes) == 1


async def test_it_hears_of_what_was_revoked_also_by_a_mutation_that_it_skips(start: Start) -> None:
    worker = start("transactions")
    worker.tell(("table", table_to_data(TableSpec("notes", 10_001))))

    def mutate(number: int, *revoked: int) -> Message:
        run = Run("mutation", "f:add_and_count", encoded(), True, 0, 0.0, bytes([number]), "0" * 16)
        return ("mutate", number, run_to_data(run), number, 0, 0, revoked)

    worker.tell(mutate(1), mutate(2))
    assert [value_of(worker.outcome(number).answer) for number in (1, 2)] == [1, 2]
    worker.tell(mutate(3, 1), ("skip", (3,)), mutate(4))
    assert worker.says() == ("skipped", (3,))
    assert value_of(worker.outcome(4).answer) == 2
    worker.tell(mutate(5, 2, 4))
    assert value_of(worker.outcome(5).answer) == 1


async def test_one_that_is_interrupted_is_named_and_the_process_ends(start: Start) -> None:
    worker = start("transactions")
    worker.tell(
        ("table", table_to_data(TableSpec("notes", 10_001))),
        ("run", 1, a_run("f:sleep")),
        ("run", 2, a_run("f:echo", what=2)),
    )
    assert worker.says() == ("leaving",)
    line = next(number for number, text in enumerate(APP.lstrip().splitlines(), 1) if "time.sleep" in text)
    outcome = worker.outcome(1)
    assert outcome.answer.failure is not None
    assert f"f:sleep ran for more than 0.2 s and was stopped in f.py:{line};" in outcome.answer.failure.message
    # What it had read by then, so that it runs again when that changes.
    assert [table_of(start) for start, _ in outcome.reads] == [10_001]
    assert worker.says() == ()


async def test_an_interruption_that_is_swallowed_still_ends_the_process(start: Start) -> None:
    worker = start("transactions")
    worker.tell(("run", 1, a_run("f:swallows")))
    assert worker.says() == ("leaving",)
    assert worker.says()[0] == "outcome"
    assert worker.says() == ()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel limits the memory of a process on Linux only")
async def test_what_may_take_long_may_take_much_memory_and_the_process_gives_it_back(start: Start) -> None:
    worker = start("transactions")
    short = Run("query", "f:memory", encoded(), True, 0, 0.0, b"", "0" * 16)
    long = short._replace(long=True)
    much = long._replace(args=encoded(size=LIMITS.memory_bytes * 2))
    worker.tell(*(("run", number, run_to_data(run)) for number, run in enumerate((short, long, short, much, short))))
    assert [value_of(worker.outcome(number).answer) for number in range(3)] == [False, True, False]
    assert worker.says() == ("leaving",)
    assert value_of(worker.outcome(3).answer) is True
    assert worker.says() == ()


async def test_arguments_whose_parsing_takes_too_much_memory_say_so(start: Start) -> None:
    worker = start("transactions")
    worker.tell(("run", 1, a_run("f:echo", what="x" * 10 * 2**20)), ("run", 2, a_run("f:echo", what=1)))
    assert worker.failure(1).startswith("MemoryLimitExceeded: f:echo needs more than the 67,108,864 bytes")
    assert value_of(worker.outcome(2).answer) == 1


async def test_an_answer_that_comes_in_time_is_not_interrupted_later(start: Start) -> None:
    worker = start("transactions")
    for number in range(1, 6):
        worker.tell(("run", number, a_run("f:almost")))
        assert value_of(worker.outcome(number).answer) == "in time"


async def test_a_foreign_await_can_be_caught_and_is_an_error_again(start: Start) -> None:
    worker = start("transactions")
    worker.tell(("run", 1, a_run("f:catches")))
    assert value_of(worker.outcome(1).answer) == "ForeignAwait ForeignAwait"


async def test_context_variables_end_with_their_run(start: Start) -> None:
    worker = start("transactions")
    worker.tell(("run", 1, a_run("f:remembers")), ("run", 2, a_run("f:remembers")))
    assert [value_of(worker.outcome(number).answer) for number in (1, 2)] == ["nothing", "nothing"]


async def test_what_the_store_cannot_show_is_not_the_functions_failure(start: Start, tmp_path: Path) -> None:
    worker = start("transactions")
    with apsw.Connection(str(tmp_path / "app.db")) as connection:
        connection.execute("UPDATE horizon SET ts = 5")
    worker.tell(("run", 1, a_run("f:echo", what=1)))
    what, number, text, why = worker.says()
    assert (what, number, why) == ("unreadable", 1, "too old")
    assert "the log reaches back to 5 only" in text


async def test_an_action_waits_for_the_word_and_calls_back(start: Start) -> None:
    worker = start("actions")
    worker.tell(("act", 1, a_run("f:calls", "action")), ("act", 2, a_run("f:calls", "action")))
    assert worker.says() == ("free", 1)
    worker.tell(("start", 1))
    asked = [worker.says(), worker.says()]
    assert ("free", 2) in asked
    what, call, number, kind, path, args = next(message for message in asked if message[0] == "call")
    assert (what, number, kind, path, args) == ("call", 1, "query", "f:echo", b'{"what":1.0}')
    worker.tell(("withdraw", 2), ("answer", call, answer_to_data(Answer(b'"a"'))))
    what, call, *_ = worker.says()
    assert what == "call"
    worker.tell(("answer", call, answer_to_data(Answer(b'"b"'))))
    what, number, answer = worker.says()
    assert (what, number) == ("acted", 1)
    assert value_of(answer_from_data(answer)) == ["a", "b"]


async def test_an_answer_that_comes_after_its_action_has_ended_hurts_nobody(start: Start) -> None:
    worker = start("actions")
    worker.tell(("act", 1, a_run("f:calls", "action")))
    assert worker.says() == ("free", 1)
    worker.tell(("start", 1))
    what, call, *_ = worker.says()
    assert what == "call"
    what, _, answer = worker.says()
    failure = answer_from_data(answer).failure
    assert failure is not None
    assert "f:calls ran for more than 1 s" in failure.message
    worker.tell(("answer", call, answer_to_data(Answer(b"1.0"))), ("act", 2, a_run("f:calls", "action")))
    assert worker.says() == ("free", 2)


async def test_an_answer_for_whoever_has_just_stopped_waiting_is_no_fault(tmp_path: Path) -> None:
    app = load(write_app(tmp_path, f="from yugen import action\n"))
    actions = _Actions(app, Setup(app.folder, tmp_path / "app.db", SECRET))
    given_up: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    given_up.cancel()
    waits: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    actions._calls = {1: given_up, 2: waits}
    answer = Answer(b"1.0")
    actions.data_received(pack(("answer", 1, answer_to_data(answer))) + pack(("answer", 2, answer_to_data(answer))))
    assert await waits == answer
