"""Functions that misbehave, in real worker processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.apps import write_app
from tests.engine import SECRET, act, ask, change, encoded, value_of, worker_engine
from yugen.catalog import TABLES
from yugen.keys import table_of
from yugen.runtime import processes
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer
from yugen.runtime.pool import AppFailed, WorkerPool
from yugen.runtime.run import Run
from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Runtime
from yugen.runtime.setup import Setup
from yugen.storage.sqlite import SqliteStore

pytestmark = pytest.mark.usefixtures("started_as_people_do")

LIMITS = RunLimits(transaction_seconds=0.5, grace_seconds=0.2, action_seconds=0.5, cleanup_seconds=0.2)

APP = """
    import asyncio, ctypes, os, re, sys, threading, time
    from pathlib import Path
    from typing import Any
    from yugen import ActionCtx, MutationCtx, QueryCtx, action, mutation, query

    print("loading")

    @mutation
    async def count(ctx: MutationCtx, name: str = "n") -> float:
        found = [row for row in await ctx.db.query("counters").collect() if row["name"] == name]
        if not found:
            await ctx.db.insert("counters", {"name": name, "value": 1.0})
            return 1.0
        await ctx.db.patch(found[0]["_id"], {"value": found[0]["value"] + 1.0})
        return found[0]["value"] + 1.0

    @query
    async def counted(ctx: QueryCtx, name: str = "n") -> float:
        return sum(row["value"] for row in await ctx.db.query("counters").collect() if row["name"] == name)

    @mutation
    async def reset(ctx: MutationCtx, name: str) -> None:
        for row in await ctx.db.query("counters").collect():
            if row["name"] == name:
                await ctx.db.delete(row["_id"])

    @query
    async def echo(ctx: QueryCtx, what: Any) -> Any:
        return what

    @query
    async def spin(ctx: QueryCtx, unique: int = 0) -> None:
        while True:
            pass

    @query
    async def stubborn(ctx: QueryCtx) -> None:
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass

    @query
    async def sleep(ctx: QueryCtx) -> None:
        time.sleep(30)

    @query
    async def regex(ctx: QueryCtx) -> bool:
        return bool(re.match(r"(a+)+$", "a" * 40 + "b"))

    @query
    async def compute(ctx: QueryCtx) -> int:
        return sum(range(10**13))

    @query
    async def leave(ctx: QueryCtx) -> None:
        os._exit(3)

    @query
    async def segfault(ctx: QueryCtx) -> None:
        ctypes.string_at(0)

    @query
    async def cancelled(ctx: QueryCtx) -> None:
        raise asyncio.CancelledError

    @query
    async def awaits_sleep(ctx: QueryCtx) -> None:
        await asyncio.sleep(1)

    @query
    async def awaits_nothing(ctx: QueryCtx) -> None:
        await asyncio.sleep(0)

    @query
    async def awaits_many(ctx: QueryCtx) -> None:
        await asyncio.gather(asyncio.Event().wait())

    @query
    async def lists(ctx: QueryCtx) -> int:
        return len([0] * 2**27)

    @query
    async def spins_while_counted(ctx: QueryCtx, name: str) -> str:
        while any(row["name"] == name for row in await ctx.db.query("counters").collect()):
            while True:
                pass
        return "fine"

    @query
    async def computes_while_counted(ctx: QueryCtx, name: str) -> str:
        if any(row["name"] == name for row in await ctx.db.query("counters").collect()):
            sum(range(10**13))
        return "fine"

    @action
    async def blocks(ctx: ActionCtx, file: str) -> str:
        return Path(file).read_text()

    @action
    async def counts(ctx: ActionCtx, name: str) -> float:
        return await ctx.run_mutation(count, name)

    @action
    async def counts_and_leaves(ctx: ActionCtx, name: str) -> None:
        await ctx.run_mutation(count, name)
        os._exit(3)

    @action
    async def waits(ctx: ActionCtx) -> None:
        await ctx.run_mutation(count, "waits")
        await asyncio.Event().wait()

    @action
    async def ends_itself(ctx: ActionCtx) -> None:
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    @action
    async def loses_interest(ctx: ActionCtx) -> float:
        try:
            await asyncio.wait_for(ctx.run_query(spin, 1), 0.01)
        except TimeoutError:
            return 1.0

    @action
    async def prints(ctx: ActionCtx) -> None:
        thread = threading.Thread(target=print, args=["from a thread"])
        thread.start()
        thread.join()
        os.write(1, b"by its number\\n")
"""


@asynccontextmanager
async def running(
    folder: Path, limits: RunLimits = LIMITS, text: str = APP
) -> AsyncIterator[tuple[Runtime, WorkerPool]]:
    async with worker_engine(folder, write_app(folder, f=text), limits) as running:
        yield running


async def failure_of(runtime: Runtime, function: str, /, **args: Any) -> str:
    return failure_in(await runtime.query(f"f:{function}", encoded(**args)))


def failure_in(answer: Answer) -> str:
    assert answer.failure is not None
    return answer.failure.message.split("Uncaught ")[1]


def children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def nurseries() -> list[int]:
    return [
        pid for pid in children(os.getpid()) if b"yugen.runtime.nursery" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def nursery() -> int:
    [pid] = nurseries()
    return pid


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: Callable[[], object]) -> None:
    """Waits for what no event tells of: the state of processes."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def until_counted(runtime: Runtime, name: str) -> None:
    told = asyncio.Event()
    stop = runtime.queries.subscribe(runtime.query_key("f:counted", encoded(name=name)), None, told.set)
    while await ask(runtime, "f:counted", name=name) == 0:
        await told.wait()
        told.clear()
    stop()


LIMIT = "ran for more than 0.5 s and was stopped"
STOPPED = {
    "spin": f"TimeLimitExceeded: f:spin {LIMIT} in f.py:",
    "stubborn": f"TimeLimitExceeded: f:stubborn {LIMIT}",
    "sleep": f"TimeLimitExceeded: f:sleep {LIMIT} in f.py:",
    "regex": f"TimeLimitExceeded: f:regex {LIMIT} in f.py:",
    "compute": f"TimeLimitExceeded: f:compute {LIMIT}",
    "leave": "WorkerDied: f:leave ended the process it ran in",
    "segfault": "WorkerDied: f:segfault ended the process it ran in",
}


@pytest.mark.parametrize("name", STOPPED)
async def test_a_function_that_gives_no_answer_fails_by_name_while_others_run(name: str, tmp_path: Path) -> None:
    # What can be stopped has time for that, also on a machine that stands still for a moment.
    limits = replace(LIMITS, grace_seconds=10.0) if STOPPED[name].endswith("in f.py:") else LIMITS
    async with running(tmp_path, limits) as (runtime, pool):
        stopped = asyncio.create_task(failure_of(runtime, name))
        trips = 0
        while not stopped.done():
            trips += 1
            assert await change(runtime, "f:count") == trips
        assert (await stopped).startswith(STOPPED[name])
        if "TimeLimit" in STOPPED[name]:
            assert trips > 1
        await until(lambda: pool.statistics()["running"] == 0 and pool.statistics()["transaction_workers"] == 1)


@pytest.mark.parametrize("name", ["awaits_sleep", "awaits_nothing", "awaits_many"])
@pytest.mark.filterwarnings("ignore:coroutine")
async def test_awaiting_anything_but_the_context_fails_with_its_place(name: str, tmp_path: Path) -> None:
    async with running(tmp_path) as (runtime, _):
        line = next(number for number, text in enumerate(_lines(), 1) if f"def {name}(" in text) + 1
        text = await failure_of(runtime, name)
        assert text.startswith(f"ForeignAwait: f:{name} awaited something other than its `ctx` in f.py:{line};")
        assert await change(runtime, "f:count") == 1


def _lines() -> list[str]:
    return APP.lstrip().splitlines()


async def test_what_a_function_raises_never_ends_its_process(tmp_path: Path) -> None:
    async with running(tmp_path) as (runtime, _):
        [worker] = children(nursery())
        assert (await failure_of(runtime, "cancelled")).startswith("CancelledError")
        assert children(nursery()) == [worker]


async def test_a_function_that_fills_the_memory_does_not_stop_others(tmp_path: Path) -> None:
    limits = replace(LIMITS, transaction_seconds=20, memory_bytes=2**31)
    async with running(tmp_path, limits) as (runtime, _):
        filling = asyncio.create_task(ask(runtime, "f:lists"))
        trips = 0
        while not filling.done():
            trips += 1
            assert await change(runtime, "f:count") == trips
        assert await filling == 2**27


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel limits the memory of a process on Linux only")
async def test_a_function_that_needs_too_much_memory_fails_alone(tmp_path: Path) -> None:
    async with running(tmp_path, replace(LIMITS, transaction_seconds=5, memory_bytes=2**28)) as (runtime, _):
        [worker] = children(nursery())
        text = await failure_of(runtime, "lists")
        assert text.startswith("MemoryLimitExceeded: f:lists needs more than the 268,435,456 bytes of memory")
        assert await change(runtime, "f:count") == 1
        assert children(nursery()) == [worker]


@pytest.mark.parametrize("name", ["spins_while_counted", "computes_while_counted"])
async def test_a_query_that_was_stopped_is_answered_when_its_data_has_changed(name: str, tmp_path: Path) -> None:
    async with running(tmp_path) as (runtime, _):
        await change(runtime, "f:count", name="bad")
        told = asyncio.Event()
        stop = runtime.queries.subscribe(runtime.query_key(f"f:{name}", encoded(name="bad")), None, told.set)
        assert (await failure_of(runtime, name, name="bad")).startswith("TimeLimitExceeded")
        await change(runtime, "f:reset", name="bad")
        await told.wait()
        assert await ask(runtime, f"f:{name}", name="bad") == "fine"
        stop()


async def test_more_that_never_ends_than_processes_delays_the_rest_and_loses_none(tmp_path: Path) -> None:
    limits = replace(LIMITS, transaction_seconds=0.2, workers_max=2)
    async with running(tmp_path, limits) as (runtime, pool):
        stopped = [asyncio.create_task(failure_of(runtime, "spin", unique=number)) for number in range(5)]
        answered = [asyncio.create_task(ask(runtime, "f:echo", what=number)) for number in range(100)]
        await asyncio.wait([*stopped, *answered])
        assert [task.result() for task in answered] == list(range(100))
        assert all(task.result().startswith("TimeLimitExceeded: f:spin ran") for task in stopped)
        await until(lambda: pool.statistics()["transaction_workers"] == 1)


async def test_too_many_that_wait_are_refused_and_whoever_leaves_makes_room(tmp_path: Path) -> None:
    limits = replace(LIMITS, workers_max=1, waiting_max=3)
    async with running(tmp_path, limits) as (runtime, pool):
        spinning = asyncio.create_task(failure_of(runtime, "spin"))
        await until(lambda: pool.statistics()["running"] == 1)
        await until(lambda: next(iter(pool._transactions.all)).slow)
        waiting = [asyncio.create_task(change(runtime, "f:count")) for _ in range(3)]
        await until(lambda: pool.statistics()["waiting"] == 3)
        with pytest.raises(Overloaded, match="3 functions wait to run already"):
            await change(runtime, "f:count")
        waiting[1].cancel()
        await until(lambda: pool.statistics()["waiting"] == 2)
        late = asyncio.create_task(change(runtime, "f:count"))
        assert sorted([await waiting[0], await waiting[2], await late]) == [1, 2, 3]
        assert (await spinning).startswith("TimeLimitExceeded")


async def test_a_worker_that_is_killed_from_outside_costs_nobody_an_answer(tmp_path: Path) -> None:
    async with running(tmp_path) as (runtime, _):
        answered = 0

        async def client(name: str) -> None:
            nonlocal answered
            for expected in range(1, 31):
                assert await change(runtime, "f:count", name=name) == expected
                answered += 1

        def enough(count: int) -> bool:
            return answered >= count

        clients = asyncio.gather(*(client(f"c{number}") for number in range(8)))
        for deaths in range(1, 6):
            await until(partial(enough, deaths * 30))
            for worker in children(nursery()):
                os.kill(worker, signal.SIGKILL)
        await clients
        assert answered == 240


async def test_a_nursery_that_is_killed_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path) as (runtime, pool):
        first = nursery()
        os.kill(first, signal.SIGKILL)
        await until(lambda: pool.statistics()["transaction_workers"] == 0)
        assert await change(runtime, "f:count") == 1
        assert nursery() != first
        assert f"ended with status {-signal.SIGKILL}" in caplog.text


async def test_calls_fail_clearly_while_the_app_cannot_be_loaded_again(tmp_path: Path) -> None:
    async with running(tmp_path) as (runtime, pool):
        module = tmp_path / "app" / "f.py"
        text = module.read_text()
        module.write_text("import nothing_of_this_name\n")
        os.kill(nursery(), signal.SIGKILL)
        await until(lambda: pool.statistics()["transaction_workers"] == 0)
        with pytest.raises(Overloaded, match=r"f\.py:1: ModuleNotFoundError"):
            await change(runtime, "f:count")
        with pytest.raises(Overloaded, match=r"f\.py:1: ModuleNotFoundError"):
            await act(runtime, "f:counts", name="x")
        module.write_text(f"{text}\n@query\nasync def more(ctx: QueryCtx) -> None: ...\n")
        with pytest.raises(Overloaded, match="restart the server"):
            await change(runtime, "f:count")
        module.write_text(text)
        assert await change(runtime, "f:count", name="y") == 1


async def test_an_action_that_blocks_does_not_stop_others_and_none_runs_twice(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with running(tmp_path, replace(LIMITS, action_seconds=60)) as (runtime, pool):
        blocked = asyncio.create_task(act(runtime, "f:blocks", file=str(pipe)))
        names = [f"a{number}" for number in range(20)]
        counting = asyncio.gather(*(act(runtime, "f:counts", name=name) for name in names))
        await until(lambda: pool.statistics()["action_workers"] == 2)  # until all is counted: then it may be gone
        assert await counting == [1] * 20
        assert not blocked.done()
        await asyncio.to_thread(pipe.write_text, "let go")
        assert await blocked == "let go"
        # By now the first worker has asked for all that it was given, and was told that they run elsewhere.
        assert await act(runtime, "f:counts", name="last") == 1
        assert [await ask(runtime, "f:counted", name=name) for name in names] == [1] * 20
        await until(lambda: pool.statistics()["action_workers"] == 1)


async def test_an_action_whose_process_dies_is_not_run_again(tmp_path: Path) -> None:
    async with running(tmp_path, replace(LIMITS, action_seconds=60)) as (runtime, _):
        waiting = asyncio.create_task(runtime.act("f:waits", encoded()))
        await until_counted(runtime, "waits")
        lost = failure_in(await runtime.act("f:counts_and_leaves", encoded(name="x")))
        assert lost.startswith("ActionLost: f:counts_and_leaves was stopped with the process it ran in")
        assert failure_in(await waiting).startswith("ActionLost: f:waits was stopped with the process it ran in")
        assert await ask(runtime, "f:counted", name="x") == 1
        assert await act(runtime, "f:counts", name="x") == 2


async def test_actions_end_at_their_limit_by_name(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with running(tmp_path) as (runtime, _):
        waits, blocks = await asyncio.gather(
            runtime.act("f:waits", encoded()), runtime.act("f:blocks", encoded(file=str(pipe)))
        )
        for name, answer in (("waits", waits), ("blocks", blocks)):
            assert failure_in(answer).startswith(f"TimeLimitExceeded: f:{name} {LIMIT}")
        assert await act(runtime, "f:counts", name="x") == 1


async def test_an_action_that_cancels_itself_or_stops_waiting_leaves_its_process_well(tmp_path: Path) -> None:
    async with running(tmp_path) as (runtime, pool):
        ended = failure_in(await runtime.act("f:ends_itself", encoded()))
        assert ended.startswith("CancelledError")
        assert await act(runtime, "f:loses_interest") == 1
        await until(lambda: not runtime.queries.statistics()["running"])
        assert await act(runtime, "f:counts", name="x") == 1
        assert pool.statistics()["actions"] == 0


async def test_a_table_that_a_mutation_creates_is_known_to_workers(tmp_path: Path) -> None:
    async with running(tmp_path) as (runtime, pool):
        await change(runtime, "f:count")
        run = Run("query", "f:counted", encoded(), True, runtime.ts, 0.0, b"", "0" * 16)
        outcome = await pool.transact(run)
        assert value_of(outcome.answer) == 1
        assert outcome.reads
        assert all(table_of(start) != TABLES.number for start, _ in outcome.reads)


async def test_closing_leaves_no_process_no_file_and_nobody_waiting(tmp_path: Path) -> None:
    files = open_files()
    async with running(tmp_path, replace(LIMITS, workers_max=1)) as (runtime, pool):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        processes = [nursery(), *children(nursery())]
        run = Run("query", "f:stubborn", encoded(), True, runtime.ts, 0.0, b"", "0" * 16)
        tasks = [asyncio.ensure_future(pool.transact(run)) for _ in range(40)]
        acting = [asyncio.create_task(runtime.act("f:waits", encoded())) for _ in range(3)]
        await until(lambda: len(children(nursery())) == 2)
        processes += children(nursery())
        await pool.close()
        for task in tasks:
            with pytest.raises(Overloaded, match="closing"):
                await task
        with pytest.raises(Overloaded, match="closing"):
            await pool.transact(run)
        for action in acting:
            assert action.exception() is not None or failure_in(action.result())
        # Those whose parent has gone before them are taken off the list by the system, in its own time.
        await until(lambda: not any(is_there(process) for process in processes))
    assert open_files() == files


async def test_an_app_that_does_not_load_says_where(tmp_path: Path) -> None:
    with pytest.raises(AppFailed, match=r"f\.py:1: ZeroDivisionError"):
        async with running(tmp_path, text="1 / 0"):
            pass
    with pytest.raises(AppFailed, match="ended with status 3"):
        async with running(tmp_path, text="import os; os._exit(3)"):
            pass


async def test_an_app_that_never_finishes_loading_can_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GOODBYE_SECONDS_MAX", 0.01)
    app = write_app(tmp_path, f="import threading\nthreading.Event().wait()")
    launching = asyncio.create_task(WorkerPool.launch(Setup(app, tmp_path / "app.db", SECRET)))
    await until(nurseries)  # a process that has just been forked is not one yet
    process = nursery()
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching
    assert not is_there(process)


async def test_a_worker_that_cannot_read_the_database_says_so_at_the_start(tmp_path: Path) -> None:
    pool = await WorkerPool.launch(Setup(write_app(tmp_path, f=APP), tmp_path / "none.db", SECRET))
    try:
        with pytest.raises(Overloaded, match=r"none\.db"):
            await pool.start(Runtime(SqliteStore(tmp_path / "app.db"), pool).catalog)
    finally:
        await pool.close()


async def test_standard_output_is_left_to_the_server(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path) as (runtime, _):
        await act(runtime, "f:prints")
    out, err = capfd.readouterr()
    assert out == ""
    assert "loading\n" in err
    assert "from a thread\n" in err
    assert "by its number\n" in err


def test_processes_run_under_uvloop_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, replace(LIMITS, action_seconds=60)) as (runtime, _):
            stopped = asyncio.create_task(failure_of(runtime, "compute"))
            assert await act(runtime, "f:counts", name="x") == 1
            assert (await stopped).startswith("TimeLimitExceeded")

    uvloop.run(main())
