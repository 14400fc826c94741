"""Running workflows from their beginning again and again: it must come to the same as running them through."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from itertools import count
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yugen.errors import FunctionFailed, YugenError
from yugen.functions.retry import Retry
from yugen.functions.workflows import WorkflowCtx
from yugen.runtime.replay import Called, Replay, WorkflowChanged
from yugen.system.workflows import History, Recorded, Replayed

Code = Callable[[WorkflowCtx], Coroutine[Any, Any, Any]]
WORKFLOW = {"_id": "w", "_creationTime": 0.0, "name": "f:flow", "args": [{}], "events": [], "ends": 0.0}


class Idle(Exception):
    pass


def refuse(frames: Iterator[FrameType]) -> BaseException:
    return Idle("nothing to wait for")


def find(reference: Any, given: Mapping[str, Any]) -> Called:
    return Called("mutation", reference, dict(given), lambda result: result)


class Story:
    """A workflow that is resumed by a test.

    Attributes:
        steps: the rows of its steps.
        replayed: what came of its last run.
    """

    def __init__(self, code: Code, **fields: Any) -> None:
        self.row = WORKFLOW | fields
        self.steps: list[dict[str, Any]] = []
        self.ends = 0
        self.fresh = 0
        self.run(code)

    def run(self, code: Code) -> Replayed:
        """Runs the workflow from its beginning, and notes what is new."""
        history = History(self.row, tuple(map(Recorded, self.steps)))

        def fresh() -> None:
            self.fresh += 1

        self.replayed = Replay(history, find=find, check_steps=lambda count: None, refuse=refuse, fresh=fresh).run(code)
        for number in self.replayed.dropped:
            if number < len(self.steps) and self.steps[number]["state"]["kind"] == "pending":
                self.steps[number]["state"] = {"kind": "canceled"}
        for asked in self.replayed.asked:
            number = len(self.steps)
            kind = "canceled" if number in self.replayed.dropped else "pending"
            row = {"number": float(number), "kind": asked.kind, "name": asked.name, "args": [asked.args]}
            self.steps.append(row | {"state": {"kind": kind}})
        self.row["seen"] = float(self.replayed.given)
        return self.replayed

    def end(self, number: int, **state: Any) -> None:
        """Ends a step."""
        assert self.steps[number]["state"]["kind"] == "pending"
        state = state or {"kind": "success", "result": float(number)}
        self.steps[number] |= {"state": state, "finished": float(self.ends), "completedTime": 10.0 * (self.ends + 1)}
        self.ends += 1

    @property
    def pending(self) -> list[int]:
        return [int(step["number"]) for step in self.steps if step["state"]["kind"] == "pending"]

    @property
    def asked(self) -> list[tuple[str, Any]]:
        return [(step["name"], step["args"][0]) for step in self.steps]


async def two(ctx: WorkflowCtx) -> Any:
    first = await ctx.step("f:one", n=1)
    return [first, await ctx.step("f:two", n=first)]


def test_a_workflow_comes_to_where_it_was_and_goes_on() -> None:
    story = Story(two)
    assert story.asked == [("f:one", {"n": 1})]
    story.end(0, kind="success", result="x")
    story.run(two)
    assert story.asked[1:] == [("f:two", {"n": "x"})]
    assert not story.run(two).asked
    story.end(1, kind="success", result="y")
    assert story.run(two) == Replayed((), frozenset(), 2, True, ["x", "y"])
    assert story.fresh == 3  # in the first run everything is new


def test_errors_of_steps_are_raised() -> None:
    async def code(ctx: WorkflowCtx) -> list[Any]:
        found: list[Any] = []
        for number in range(3):
            try:
                await (ctx.wait_for_event("late", 5) if number == 2 else ctx.step("f:one", n=number))
            except (YugenError, FunctionFailed, TimeoutError) as error:
                found.append([type(error).__name__, str(error)])
        return found

    story = Story(code)
    story.end(0, kind="failed", error="YugenError: ...", data={"code": 1})
    story.run(code)
    story.end(1, kind="failed", error="KeyError: 'x'")
    story.run(code)
    story.end(2, kind="failed", error="too late")
    errors = [["YugenError", '{"code": 1}'], ["FunctionFailed", "f:one: KeyError: 'x'"], ["TimeoutError", "too late"]]
    assert story.run(code).result == errors


def test_time_is_that_of_the_last_end() -> None:
    async def code(ctx: WorkflowCtx) -> list[float]:
        times = [ctx.now]
        for _ in range(2):
            await ctx.sleep(7)
            times.append(ctx.now)
        return times

    story = Story(code)
    assert story.replayed.asked[0].until == 7000.0
    story.end(0)
    assert story.run(code).asked[0].until == 7010.0
    story.end(1)
    assert story.run(code).result == [0.0, 10.0, 20.0]


@pytest.mark.parametrize(
    ("ended", "changed", "error"),
    [
        (1, lambda ctx: ctx.step("f:other", n=1), "asked for f:one in step 0, and asks for f:other now"),
        (1, lambda ctx: ctx.step("f:one", n=2), "asked for f:one in step 0, and asks for f:one with other arguments"),
        (0, lambda ctx: ctx.sleep(1), "asked for f:one in step 0, and asks for a sleep now"),
        (1, lambda ctx: ctx.wait_for_event("e"), "asked for f:one in step 0, and asks for the event 'e' now"),
        (1, lambda ctx: ctx.step("f:one", n=1), "has taken 2 steps and would take 1 now"),
        (1, lambda ctx: asyncio.sleep(0, "nothing"), "has taken 2 steps and would take 0 now"),
    ],
)
def test_changed_code_is_noticed(ended: int, changed: Callable[[WorkflowCtx], Awaitable[Any]], error: str) -> None:
    async def code(ctx: WorkflowCtx) -> Any:
        try:
            return await changed(ctx)
        except Exception:
            return "caught"

    story = Story(two)
    if ended:
        story.end(0)
        story.run(two)
    with pytest.raises(WorkflowChanged, match=rf"The code of f:flow has changed while this ran: it {error}") as raised:
        story.run(code)
    assert "another name" in str(raised.value)


def test_an_end_that_nobody_waits_for_any_more_is_noticed() -> None:
    async def both(ctx: WorkflowCtx) -> None:
        await asyncio.gather(ctx.step("f:one"), ctx.step("f:two"))

    async def one(ctx: WorkflowCtx) -> None:
        await ctx.step("f:one")
        await ctx.step("f:two")

    story = Story(both)
    story.end(1)
    with pytest.raises(WorkflowChanged, match="waited for step 1, f:two, and does not now"):
        story.run(one)


def test_a_step_that_was_given_up_and_is_waited_for_is_noticed() -> None:
    def code(*, gives_up: bool) -> Code:
        async def code(ctx: WorkflowCtx) -> None:
            task = asyncio.ensure_future(ctx.step("f:one"))
            await ctx.sleep(1)
            if gives_up:
                task.cancel()
            await ctx.sleep(2)
            await task

        return code

    story = Story(code(gives_up=True))
    story.end(0)
    assert story.run(code(gives_up=True)).dropped == {1}
    story.end(2)
    with pytest.raises(WorkflowChanged, match="gave up step 1, f:one, and waits for it now"):
        story.run(code(gives_up=False))


def test_nothing_stops_a_workflow_from_being_put_aside(caplog: pytest.LogCaptureFixture) -> None:
    async def clings(ctx: WorkflowCtx) -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()
        workers = [asyncio.create_task(queue.get()) for _ in range(2)]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.step("f:one"))
                await ctx.step("f:two")
        except BaseException:
            await asyncio.gather(*workers)
        finally:
            await ctx.step("f:never")

    story = Story(clings)
    assert [name for name, _ in story.asked] == ["f:two", "f:one"]
    assert not story.run(clings).ended
    assert caplog.records == []


def test_what_nobody_will_ever_end_is_refused() -> None:
    async def code(ctx: WorkflowCtx) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Idle):
        Story(code)


def test_groups_end_their_tasks_in_the_same_order_each_time() -> None:
    async def code(ctx: WorkflowCtx) -> None:
        async def part(number: int) -> None:
            try:
                await ctx.step("f:wait", n=number)
            finally:
                await ctx.step("f:clean", n=number)

        try:
            async with asyncio.TaskGroup() as group:
                for number in range(9):
                    group.create_task(part(number))
                await ctx.step("f:fail")
        except* YugenError:
            pass

    story = Story(code)
    story.end(0, kind="failed", error="", data=None)
    first = [(asked.name, asked.args) for asked in story.run(code).asked]
    assert len(first) == 9
    ballast = []
    for _ in range(20):
        ballast.append([object() for _ in range(random.randrange(100))])  # so that objects lie elsewhere
        assert story.run(code).asked == ()


# Random workflows ----------------------------------------------------------------------------------------------------

Program = tuple[Any, ...]

leaves = st.one_of(
    st.tuples(st.just("step"), st.integers(0, 9)),
    st.tuples(st.just("sleep"), st.integers(0, 9)),
)
programs = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.tuples(st.sampled_from(["all", "first", "each", "group"]), st.lists(parts, min_size=1, max_size=4)),
        st.tuples(st.just("try"), parts),
        st.tuples(st.just("finally"), parts, leaves),
    ),
    max_leaves=14,
)


async def perform(ctx: WorkflowCtx, program: Program) -> Any:
    match program:
        case ("step", number):
            return await ctx.step("f:step", n=number)
        case ("sleep", seconds):
            await ctx.sleep(seconds)
            return ["slept until", ctx.now, ctx.random.random()]
        case ("each", parts):
            return [await perform(ctx, part) for part in parts]
        case ("all", parts):
            return await asyncio.gather(*(perform(ctx, part) for part in parts))
        case ("first", parts):
            tasks = [asyncio.ensure_future(perform(ctx, part)) for part in parts]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            return [[tasks.index(task), task.result()] for task in sorted(done, key=tasks.index)]
        case ("group", parts):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(perform(ctx, part)) for part in parts]
            return [task.result() for task in tasks]
        case ("try", part):
            try:
                return await perform(ctx, part)
            except* YugenError as errors:
                caught = len(errors.exceptions)
            return ["caught", caught]
        case ("finally", part, last):
            try:
                return await perform(ctx, part)
            finally:
                await perform(ctx, last)
        case _:
            raise AssertionError(program)


class Plain:
    """The same, run through once on an event loop of asyncio, with steps that end when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[tuple[str, Any]] = []
        self.futures: list[asyncio.Future[Any]] = []

    async def call(self, reference: Any, given: Mapping[str, Any], retry: Retry | None) -> Any:
        return await self._ask(reference, dict(given))

    async def sleep(self, seconds: float) -> None:
        await self._ask("", {"seconds": seconds})

    async def event(self, name: str, timeout: float | None) -> Any:
        raise AssertionError

    async def _ask(self, name: str, args: dict[str, Any]) -> Any:
        self.asked.append((name, args))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        return await future

    @property
    def pending(self) -> list[int]:
        return [number for number, future in enumerate(self.futures) if not future.done()]


class Numbered(asyncio.Task[Any]):
    """A task whose place in a set, such as that of a `TaskGroup`, follows from when it was made, as in a workflow."""

    def __init__(self, number: int, coroutine: Any, **options: Any) -> None:
        self.number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self.number


async def run_through(program: Program, dice: random.Random) -> tuple[Plain, list[tuple[int, bool]], Any]:
    """Runs a program; what it asked for, what ended in which order and whether well, and what came of it."""
    plain, order = Plain(), []
    numbers = count()

    def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Numbered:
        return Numbered(next(numbers), coroutine, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(make_task)

    async def settle() -> None:
        for _ in range(200):
            await asyncio.sleep(0)

    main = asyncio.ensure_future(perform(WorkflowCtx("w", plain), program))  # type: ignore[arg-type]
    await settle()
    while not main.done():
        number, well = dice.choice(plain.pending), dice.random() < 0.8 or plain.asked[-1][0] == ""
        well = well or plain.asked[number][0] == ""
        order.append((number, well))
        plain.now = 10.0 * len(order)
        if well:
            plain.futures[number].set_result(float(number))
        else:
            plain.futures[number].set_exception(YugenError(number))
        await settle()
    try:
        outcome = await main
    except BaseException as error:
        outcome = described(error)
    # In the order in which they were made, which a set of them does not have: what they then ask for follows from it.
    # Each `finally` within another takes to be cancelled once more.
    while left := sorted(asyncio.all_tasks() - {asyncio.current_task()}, key=hash):
        for task in left:
            task.cancel()
        await settle()
    return plain, order, outcome


def described(error: BaseException) -> Any:
    if isinstance(error, BaseExceptionGroup):
        return sorted(map(str, map(described, error.exceptions)))
    return f"{type(error).__name__}: {error}"


CLEANS_UP_THRICE: Program = ("finally", ("finally", ("finally", ("step", 2), ("step", 3)), ("step", 4)), ("step", 5))


@settings(max_examples=150)
@given(program=programs, seed=st.integers(0, 10**6))
@example(program=("first", [("step", 1), CLEANS_UP_THRICE]), seed=1)
def test_replaying_comes_to_the_same_as_running_through(program: Program, seed: int) -> None:
    plain, order, expected = asyncio.run(run_through(program, random.Random(seed)))

    async def code(ctx: WorkflowCtx) -> Any:
        return await perform(ctx, program)

    story = Story(code)
    dice = random.Random(seed)
    outcome: Any = None
    for place, (number, well) in enumerate(order):
        assert number in story.pending
        if well:
            story.end(number)
        else:
            story.end(number, kind="failed", error="", data=number)
        last = place == len(order) - 1
        if not last and order[place + 1][0] in story.pending and dice.random() < 0.3:
            continue  # several have ended when it is resumed
        try:
            replayed = story.run(code)
        except BaseException as error:
            assert last
            outcome = described(error)
        else:
            assert replayed.ended == last
            outcome = replayed.result
    assert outcome == expected
    assert story.asked == plain.asked[: len(story.asked)]
