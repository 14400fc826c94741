"""Workflows and the outbox, in the engine, with a clock that the test moves."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from yugen.errors import FunctionFailed, YugenError
from yugen.testing import TestApp

APP = """
    import asyncio
    from datetime import timedelta
    from typing import Any

    from yugen import (
        ActionCtx,
        Document,
        Id,
        MutationCtx,
        QueryCtx,
        Retry,
        WorkflowCtx,
        YugenError,
        action,
        internal_mutation,
        mutation,
        query,
        workflow,
    )


    class Entry(Document, table="entries"):
        text: str


    SENT: list[tuple[str | None, str]] = []
    FAILURES: dict[str, int] = {}


    @query
    async def texts(ctx: QueryCtx) -> list[str]:
        return [entry.text for entry in await ctx.db.query(Entry).collect()]


    @internal_mutation
    async def add(ctx: MutationCtx, text: str) -> Id[Entry]:
        return await ctx.db.insert(Entry(text=text))


    @query
    async def get(ctx: QueryCtx, entry: Id[Entry]) -> Entry | None:
        return await ctx.db.get(entry)


    @mutation
    async def refuse(ctx: MutationCtx) -> None:
        await ctx.db.insert(Entry(text="never"))
        raise YugenError({"code": "refused"})


    @action
    async def send(ctx: ActionCtx, text: str) -> int:
        SENT.append((ctx.idempotency_key, text))
        if FAILURES.get(text, 0) > 0:
            FAILURES[text] -= 1
            raise ConnectionError("no connection")
        if text == "refused":
            raise YugenError("the mailbox is full")
        return len(text)


    @mutation
    async def large(ctx: MutationCtx) -> str:
        await ctx.db.insert(Entry(text="never"))
        return "x" * 1_100_000


    @action
    async def send_large(ctx: ActionCtx) -> str:
        SENT.append((ctx.idempotency_key, "large"))
        return "x" * 1_100_000


    @workflow
    async def plain(ctx: WorkflowCtx, name: str) -> str:
        ctx.log.info("beginning")
        entry = await ctx.step(add, f"hello {name}")
        found = await ctx.step(get, entry)
        assert isinstance(found, Entry)
        ctx.log.info("found %s", found.text)
        length = await ctx.step(send, text=found.text)
        await ctx.sleep(timedelta(days=3))
        await ctx.step("f:add", text=f"bye {name} {length}")
        return found.text


    @workflow
    async def sending(ctx: WorkflowCtx, text: str, attempts: int = 0) -> str:
        try:
            if attempts:
                await ctx.with_retry(Retry(attempts=attempts, first=10, factor=3)).step(send, text)
            else:
                await ctx.step(send, text)
        except Exception as error:
            await ctx.step(add, f"{type(error).__name__}: {str(error).splitlines()[0]}")
            return "failed"
        return "sent"


    @workflow
    async def parallel(ctx: WorkflowCtx) -> list[Any]:
        async def one(number: int) -> int:
            await ctx.sleep(10 * (3 - number))
            return await ctx.step(send, text="x" * number)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(3)]
        return [task.result() for task in tasks] + await asyncio.gather(ctx.step(send, "a"), ctx.step(send, "bb"))


    @workflow
    async def approval(ctx: WorkflowCtx, timeout: float) -> Any:
        try:
            return await ctx.wait_for_event("approved", timeout)
        except TimeoutError as error:
            return str(error)


    @workflow
    async def race(ctx: WorkflowCtx) -> str:
        async def after(seconds: float, text: str) -> str:
            await ctx.sleep(seconds)
            await ctx.step(add, text)
            return text

        tasks = [asyncio.create_task(after(seconds, f"after {seconds}")) for seconds in (20, 10, 30)]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await ctx.sleep(100)
        return done.pop().result()


    @workflow
    async def group_that_fails(ctx: WorkflowCtx) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.sleep(1000))
                group.create_task(ctx.step(refuse))
        except* YugenError as errors:
            caught = str(errors.exceptions[0])
        else:
            caught = "nothing"
        await ctx.sleep(1)
        return caught


    @workflow
    async def stubborn(ctx: WorkflowCtx) -> int:
        times = 0
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.step(add, "one"))
                await ctx.sleep(5)
        except Exception:
            times += 1
        finally:
            await ctx.step(add, "two")
        return times


    @workflow
    async def dice(ctx: WorkflowCtx) -> list[float]:
        found = [ctx.now, ctx.random.random()]
        await ctx.sleep(60)
        found += [ctx.now, ctx.random.random()]
        await ctx.sleep(60)
        return [*found, ctx.now, ctx.random.random()]


    @workflow
    async def fails(ctx: WorkflowCtx, how: str) -> Any:
        await ctx.step(add, "before")
        match how:
            case "on purpose":
                raise YugenError({"code": "on purpose"})
            case "by accident":
                raise LookupError("by accident")
            case "by awaiting":
                await asyncio.sleep(5)
            case "by hanging":
                await asyncio.Event().wait()
            case "by a step":
                await ctx.step(refuse)
            case "by arguments":
                await ctx.step("f:add", text=5)
            case "by a workflow":
                await ctx.step("f:plain", name="x")
            case "by canceling":
                asyncio.current_task().cancel()
                await ctx.sleep(1)
            case "by too many steps":
                while True:
                    await ctx.step(add, "more")
            case "by its result":
                return "x" * 1_100_000
            case "by exiting":
                raise SystemExit
            case "by sleeping backwards":
                await ctx.sleep(-1)
            case "by sleeping for ever":
                await ctx.sleep(timedelta(days=365 * 6))
            case "by waiting for no time":
                await ctx.wait_for_event("word", timeout=float("nan"))
            case "by waiting for nothing":
                await ctx.wait_for_event("")


    @workflow
    async def too_large(ctx: WorkflowCtx) -> list[str]:
        found = []
        for step in (large, send_large):
            try:
                await ctx.step(step)
            except Exception as error:
                found.append(str(error))
        return found


    @mutation
    async def start(ctx: MutationCtx, name: str, args: dict[str, Any]) -> Id["_workflows"]:
        return await ctx.workflows.start(name, **args)


    @mutation
    async def start_typed(ctx: MutationCtx) -> Id["_workflows"]:
        return await ctx.workflows.start(plain, "ada")


    @action
    async def start_by_action(ctx: ActionCtx) -> Id["_workflows"]:
        assert ctx.idempotency_key is None
        return await ctx.workflows.start(plain, name="bob")


    @mutation
    async def undone(ctx: MutationCtx) -> None:
        await ctx.workflows.start(plain, "ada")
        await ctx.outbox.send("key", send, "undone")
        raise YugenError("undone")


    @mutation
    async def event(ctx: MutationCtx, id: str, name: str, value: Any = None) -> bool:
        return await ctx.workflows.send_event(id, name, value)


    @action
    async def event_by_action(ctx: ActionCtx, id: str, name: str, value: Any = None) -> bool:
        return await ctx.workflows.send_event(id, name, value)


    @mutation
    async def cancel(ctx: MutationCtx, id: str) -> None:
        await ctx.workflows.cancel(id)


    @mutation
    async def post(ctx: MutationCtx, key: Any, text: str, attempts: int = 0) -> Any:
        outbox = ctx.outbox.with_retry(Retry(attempts=attempts)) if attempts else ctx.outbox
        return await outbox.send(key, send, text)
"""


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[TestApp]:
    async with TestApp(write_app(tmp_path, f=APP), limits={"workflow_steps": 30}) as made:
        module(made).SENT.clear()
        module(made).FAILURES.clear()
        yield made


def module(t: TestApp) -> Any:
    """The module of the app."""
    return sys.modules[t._loaded.functions["f:plain"].function.__module__]


async def rows(t: TestApp, table: str = "_workflows") -> list[dict[str, Any]]:
    """The documents of a table, the oldest first."""
    options = {"num_items": 2000, "cursor": None}
    page = await t.query("_system/cli/tableData:default", table=table, opts=options)
    return list(reversed(page.page))


async def start(t: TestApp, name: str, /, **args: Any) -> str:
    flow = await t.mutation("f:start", name=f"f:{name}", args=args)
    assert isinstance(flow, str)
    return flow


async def state(t: TestApp, flow: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in await rows(t) if each["_id"] == flow)["state"]
    return found


async def steps(t: TestApp, flow: str) -> list[dict[str, Any]]:
    """The steps of a workflow by their numbers."""
    found = [each for each in await rows(t, "_workflow_steps") if each["workflow"] == flow]
    return sorted(found, key=lambda step: step["number"])


async def test_steps_are_taken_one_after_the_other(t: TestApp) -> None:
    flow = await t.mutation("f:start_typed")
    assert await state(t, flow) == {"kind": "running"}
    await t.advance()
    assert await t.query("f:texts") == ["hello ada"]
    kinds = [(step["kind"], step["name"], step["state"]["kind"]) for step in await steps(t, flow)]
    assert kinds == [
        ("mutation", "f:add", "success"),
        ("query", "f:get", "success"),
        ("action", "f:send", "success"),
        ("sleep", "", "pending"),
    ]
    await t.advance(days=2.9)
    assert await t.query("f:texts") == ["hello ada"]
    await t.advance(days=0.2)
    assert await t.query("f:texts") == ["hello ada", "bye ada 9"]
    assert await state(t, flow) == {"kind": "success", "result": "hello ada"}
    [(key, text)] = module(t).SENT
    assert text == "hello ada"
    assert key == (await steps(t, flow))[2]["_id"]


async def test_an_action_starts_a_workflow_too(t: TestApp) -> None:
    flow = await t.action("f:start_by_action")
    await t.advance(days=4)
    assert await state(t, flow) == {"kind": "success", "result": "hello bob"}


async def test_what_is_undone_starts_nothing(t: TestApp) -> None:
    with pytest.raises(YugenError):
        await t.mutation("f:undone")
    await t.advance(days=4)
    assert await rows(t) == await rows(t, "_outbox") == module(t).SENT == []


async def test_a_failing_action_is_tried_again_with_the_same_key(t: TestApp) -> None:
    module(t).FAILURES["hi"] = 3
    flow = await start(t, "sending", text="hi")
    await t.advance(seconds=6.9)  # 1 + 2 + 4 seconds are waited
    [step] = await steps(t, flow)
    assert (step["state"]["kind"], step["attempts"]) == ("pending", 3)
    assert "no connection" in step["state"]["error"]
    await t.advance(seconds=0.2)
    assert await state(t, flow) == {"kind": "success", "result": "sent"}
    sent = module(t).SENT
    assert sent == [(step["_id"], "hi")] * 4
    assert (await steps(t, flow))[0]["attempts"] == 4


async def test_a_step_fails_when_all_attempts_have(t: TestApp) -> None:
    module(t).FAILURES["hi"] = 99
    flow = await start(t, "sending", text="hi")
    await t.advance(minutes=1)
    assert await state(t, flow) == {"kind": "success", "result": "failed"}
    assert await t.query("f:texts") == ["FunctionFailed: f:send: ConnectionError: no connection"]
    assert len(module(t).SENT) == 4


async def test_a_step_may_be_tried_again_in_its_own_way(t: TestApp) -> None:
    module(t).FAILURES["hi"] = 99
    flow = await start(t, "sending", text="hi", attempts=3)
    await t.advance(seconds=39)
    assert (await state(t, flow))["kind"] == "running"
    await t.advance(seconds=2)
    assert await state(t, flow) == {"kind": "success", "result": "failed"}
    assert len(module(t).SENT) == 3


async def test_an_error_on_purpose_ends_a_step_at_once(t: TestApp) -> None:
    await start(t, "sending", text="refused")
    await t.advance()
    assert await t.query("f:texts") == ["YugenError: the mailbox is full"]
    assert len(module(t).SENT) == 1


async def test_steps_at_the_same_time(t: TestApp) -> None:
    flow = await start(t, "parallel")
    await t.advance(seconds=11)
    assert [text for _, text in module(t).SENT] == ["xx"]
    await t.advance(seconds=20)
    assert await state(t, flow) == {"kind": "success", "result": [0, 1, 2, 1, 2]}
    assert len(await steps(t, flow)) == 8


async def test_the_first_of_several_wins_and_the_others_are_given_up(t: TestApp) -> None:
    flow = await start(t, "race")
    await t.advance(seconds=50)
    kinds = [step["state"]["kind"] for step in await steps(t, flow)]
    assert kinds == ["canceled", "success", "canceled", "success", "pending"]
    await t.advance(seconds=100)
    assert await state(t, flow) == {"kind": "success", "result": "after 10"}
    assert await t.query("f:texts") == ["after 10"]


async def test_a_group_that_fails(t: TestApp) -> None:
    flow = await start(t, "group_that_fails")
    await t.advance(seconds=2)
    assert await state(t, flow) == {"kind": "success", "result": '{"code": "refused"}'}
    assert [step["state"]["kind"] for step in await steps(t, flow)] == ["canceled", "failed", "success"]
    assert await t.query("f:texts") == []


async def test_code_that_cleans_up_does_so_once(t: TestApp) -> None:
    flow = await start(t, "stubborn")
    await t.advance(seconds=4)
    assert await t.query("f:texts") == ["one"]
    await t.advance(seconds=2)
    assert await state(t, flow) == {"kind": "success", "result": 0}
    assert await t.query("f:texts") == ["one", "two"]


async def test_the_clock_and_the_dice_repeat_themselves(t: TestApp) -> None:
    first = await start(t, "dice")
    second = await start(t, "dice")
    await t.advance(minutes=3)
    begun, one, later, two, end, three = (await state(t, first))["result"]
    assert begun == (await rows(t))[0]["_creationTime"]
    assert [round(later - begun), round(end - begun)] == [60_000, 120_000]
    assert len({one, two, three}) == 3
    assert (await state(t, second))["result"][1] != one


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("on purpose", 'YugenError: {"code": "on purpose"}'),
        ("by accident", "LookupError: by accident"),
        ("by awaiting", r"f:fails awaited something other than its `ctx` in f.py:\d+; workflows .* `ctx.sleep`"),
        ("by hanging", "f:fails awaited something other than its `ctx`"),
        ("by a step", 'YugenError: {"code": "refused"}'),
        ("by arguments", "`text` of f:add must be a string"),
        ("by a workflow", "f:plain is a workflow; have a mutation start it"),
        ("by canceling", "f:fails has canceled itself"),
        ("by too many steps", "takes more than 30 steps; have a step start .* the limit `workflow_steps`"),
        ("by its result", "The result of f:fails cannot be kept: .* 1048576 are allowed"),
        ("by exiting", "SystemExit"),
        ("by sleeping backwards", "InvalidWorkflow: A workflow cannot sleep for -1; give seconds or a timedelta"),
        ("by sleeping for ever", "InvalidWorkflow: A workflow cannot sleep for .*2190.*, from 0 up to 5 years"),
        ("by waiting for no time", "InvalidWorkflow: A workflow cannot wait for nan"),
        ("by waiting for nothing", "InvalidWorkflow: An event cannot be called ''"),
    ],
)
async def test_a_workflow_fails(t: TestApp, how: str, error: str, caplog: pytest.LogCaptureFixture) -> None:
    flow = await start(t, "fails", how=how)
    await t.advance(minutes=1)
    found = await state(t, flow)
    assert found["kind"] == "failed"
    assert re.search(error, found["error"])
    assert ("data" in found) == (how in ("on purpose", "by a step"))
    assert (await t.query("f:texts"))[0] == "before"
    assert f"the workflow {flow} has failed: f:fails: " in caplog.text


async def test_what_stands_in_the_way_for_a_while_is_waited_out(t: TestApp) -> None:
    error = "TimeLimitExceeded: f:plain ran for more than 1 s"
    flow = await start(t, "plain", name="ada")
    for times in (1, 3):  # what it comes to in between counts
        for _ in range(times):
            assert await t.mutation("_system/scheduler:end", id=flow, error=error) is None
        await t.advance(seconds=0.9)
        assert await state(t, flow) == {"kind": "running"}
        await t.advance(seconds=100)
    assert len(await steps(t, flow)) == 4
    for _ in range(3):
        await t.mutation("_system/scheduler:end", id=flow, error=error)
    assert "has failed: f:plain: TimeLimitExceeded" in await t.mutation("_system/scheduler:end", id=flow, error=error)
    assert await state(t, flow) == {"kind": "failed", "error": error}


async def test_results_that_cannot_be_kept(t: TestApp) -> None:
    flow = await start(t, "too_large")
    await t.advance(minutes=1)
    found = (await state(t, flow))["result"]
    assert [each.split(":")[0] for each in found] == ["f", "f"]
    assert all("cannot be kept" in each and "return an id" in each for each in found)
    assert await t.query("f:texts") == []
    assert len(module(t).SENT) == 1


async def test_an_event_is_waited_for(t: TestApp) -> None:
    flow = await start(t, "approval", timeout=60)
    await t.advance(seconds=59)
    assert await t.mutation("f:event", id=flow, name="other", value=1)
    assert await t.mutation("f:event", id=flow, name="approved", value={"by": "ada"})
    await t.advance()
    assert await state(t, flow) == {"kind": "success", "result": {"by": "ada"}}
    assert not await t.mutation("f:event", id=flow, name="approved")


async def test_an_event_comes_before_it_is_waited_for(t: TestApp) -> None:
    flow = await start(t, "approval", timeout=60)
    for value in range(2):
        assert await t.action("f:event_by_action", id=flow, name="approved", value=value)
    await t.advance()
    assert await state(t, flow) == {"kind": "success", "result": 0}


async def test_an_event_does_not_come(t: TestApp) -> None:
    flow = await start(t, "approval", timeout=60)
    await t.advance(minutes=2)
    assert (await state(t, flow))["result"] == "The event 'approved' was not sent within 60 s."


async def test_events_that_are_refused(t: TestApp) -> None:
    flow = await start(t, "approval", timeout=60)
    entry = await t.mutation("f:add", text="x")
    with pytest.raises(FunctionFailed, match="not the id of a workflow"):
        await t.mutation("f:event", id=entry, name="x")
    with pytest.raises(FunctionFailed, match="cannot be called ''"):
        await t.mutation("f:event", id=flow, name="")
    with pytest.raises(FunctionFailed, match="The event 'x' cannot be kept"):
        await t.mutation("f:event", id=flow, name="x", value="x" * 1_100_000)
    for number in range(256):
        await t.mutation("f:event", id=flow, name="x", value=number)
    with pytest.raises(FunctionFailed, match="256 events wait"):
        await t.mutation("f:event", id=flow, name="x")


async def test_a_canceled_workflow_takes_no_more_steps(t: TestApp) -> None:
    flow = await start(t, "plain", name="ada")
    await t.advance()
    await t.mutation("f:cancel", id=flow)
    await t.advance(days=5)
    assert await state(t, flow) == {"kind": "canceled"}
    assert [step["state"]["kind"] for step in await steps(t, flow)] == ["success"] * 3 + ["canceled"]
    assert await t.query("f:texts") == ["hello ada"]
    await t.mutation("f:cancel", id=flow)
    assert not await t.mutation("f:event", id=flow, name="x")


async def test_a_workflow_can_be_canceled_before_it_begins(t: TestApp) -> None:
    flow = await start(t, "plain", name="ada")
    await t.mutation("f:cancel", id=flow)
    await t.advance(days=5)
    assert await steps(t, flow) == []
    with pytest.raises(FunctionFailed, match="'nothing' is not an id"):
        await t.mutation("f:cancel", id="nothing")


@pytest.mark.parametrize(
    ("call", "args", "error"),
    [
        ("f:start", {"name": "f:add", "args": {"text": "x"}}, "f:add is no workflow; declare it with @workflow"),
        ("f:start", {"name": "f:plain", "args": {}}, "`name` of f:plain is missing"),
        ("f:start", {"name": "f:missing", "args": {}}, "Could not find function"),
        ("f:plain", {"name": "x"}, "f:plain is a workflow, and is not called"),
    ],
)
async def test_what_cannot_be_started(t: TestApp, call: str, args: dict[str, Any], error: str) -> None:
    with pytest.raises(FunctionFailed, match=error):
        await t.mutation(call, **args)


async def test_what_has_been_done_is_kept_for_a_week(t: TestApp) -> None:
    old = await start(t, "plain", name="old")
    await t.mutation("f:post", key="old", text="old")
    await t.advance(days=4)
    new = await start(t, "plain", name="new")
    await t.advance(days=6.5)
    assert await t.mutation("_system/scheduler:sweep") == 7
    assert [each["_id"] for each in await rows(t)] == [new]
    assert await steps(t, old) == await rows(t, "_outbox") == []
    assert len(await steps(t, new)) == 5


async def test_a_message_is_sent_once_by_its_key(t: TestApp) -> None:
    module(t).FAILURES["hi"] = 2
    flow = await t.mutation("f:post", key="welcome", text="hi")
    assert await t.mutation("f:post", key="welcome", text="other") == flow
    await t.advance(minutes=1)
    assert await t.mutation("f:post", key="welcome", text="hi") == flow
    await t.advance(minutes=1)
    assert module(t).SENT == [("welcome", "hi")] * 3
    [message] = await rows(t, "_outbox")
    assert message["state"] == {"kind": "success", "result": 2}
    assert (message["key"], message["attempts"]) == ("welcome", 3)


async def test_a_message_that_cannot_be_sent_is_reported(t: TestApp, caplog: pytest.LogCaptureFixture) -> None:
    module(t).FAILURES["hi"] = 99
    await t.mutation("f:post", key="one", text="hi")
    await t.mutation("f:post", key="two", text="refused", attempts=9)
    await t.advance(minutes=1)
    one, two = [each["state"] for each in await rows(t, "_outbox")]
    assert one["kind"] == two["kind"] == "failed"
    assert "no connection" in one["error"]
    assert two["data"] == "the mailbox is full"
    assert "the message 'one' was given up after 4 attempts: f:send: ConnectionError: no connection" in caplog.text
    assert "the message 'two' was given up after one attempt: f:send: YugenError: the mailbox is full" in caplog.text


@pytest.mark.parametrize("key", ["", 5, "x" * 1025])
async def test_a_message_needs_a_key(t: TestApp, key: Any) -> None:
    with pytest.raises(FunctionFailed, match="A message cannot have the key"):
        await t.mutation("f:post", key=key, text="hi")


async def test_lines_are_logged_once(t: TestApp) -> None:
    lines: list[str] = []
    ended = t.runtime._ended

    def watch(run: Any, outcome: Any, *rest: Any) -> Any:
        lines.extend(outcome.answer.log_lines)
        return ended(run, outcome, *rest)

    t.runtime._ended = watch
    await start(t, "plain", name="ada")
    await t.advance(days=4)
    assert lines == ["[INFO] 'beginning'", "[INFO] 'found hello ada'"]
