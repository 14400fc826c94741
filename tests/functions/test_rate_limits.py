"""Rate limits in the functions of an app, with a clock that the test moves."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.apps import write_app
from tests.engine import ask, encoded, engine
from yugen import RateLimit, RateLimited, YugenError
from yugen.catalog import RATE_LIMITS
from yugen.errors import FunctionFailed
from yugen.functions.rate_limits import InvalidRateLimit
from yugen.identity import Identity
from yugen.storage.memory import MemoryStore
from yugen.testing import TestApp

APP = """
    from datetime import timedelta
    from typing import Any

    from yugen import (
        ActionCtx, Document, MutationCtx, QueryCtx, RateLimit, RateLimited, YugenError, action, mutation, query,
    )

    LIMITS = {
        "bucket": RateLimit("sends", rate=10, per=timedelta(minutes=1), burst=20),
        "window": RateLimit.fixed("sends", rate=20, per=60),
        "sharded": RateLimit("spread", rate=10, per=60, burst=20, shards=4),
    }
    Key = str | list[str] | None


    def key_of(key: Key) -> Any:
        return tuple(key) if isinstance(key, list) else key


    @mutation
    async def send(
        ctx: MutationCtx, limit: str = "bucket", key: Key = None, count: int = 1, fail: bool = False
    ) -> None:
        await LIMITS[limit].take(ctx, key_of(key), count=count)
        await ctx.db.insert("sent", {})
        if fail:
            raise YugenError("failed")


    @mutation
    async def send_inside(ctx: MutationCtx) -> bool:
        try:
            await ctx.run_mutation(send, fail=True)
        except YugenError:
            return False
        return True


    @mutation
    async def send_mine(ctx: MutationCtx) -> None:
        await LIMITS["bucket"].take(ctx, await ctx.auth.get_user_identity())


    @mutation
    async def try_send(ctx: MutationCtx, key: Key = None, count: int = 1) -> list[Any]:
        allowance = await LIMITS["bucket"].try_take(ctx, key_of(key), count=count)
        assert bool(allowance) == allowance.ok
        return [allowance.ok, allowance.retry_after, allowance.remaining, ctx.now]


    @mutation
    async def reset(ctx: MutationCtx, limit: str = "bucket", key: Key = None) -> None:
        await LIMITS[limit].reset(ctx, key_of(key))


    @query
    async def left(ctx: QueryCtx, limit: str = "bucket", key: Key = None, count: int = 1) -> list[Any]:
        allowance = await LIMITS[limit].check(ctx, key_of(key), count=count)
        return [allowance.ok, allowance.retry_after, allowance.remaining, allowance.retry_at - ctx.now]


    @query
    async def take_in_a_query(ctx: QueryCtx) -> None:
        await LIMITS["bucket"].take(ctx)


    @query
    async def sent(ctx: QueryCtx) -> int:
        return await ctx.db.query("sent").count()


    @action
    async def act(ctx: ActionCtx, limit: str = "bucket", key: Key = None, count: int = 1) -> list[Any]:
        await LIMITS[limit].take(ctx, key_of(key), count=count)
        allowance = await LIMITS[limit].check(ctx, key_of(key))
        return [allowance.ok, allowance.remaining]


    @action
    async def act_and_reset(ctx: ActionCtx) -> None:
        await LIMITS["bucket"].take(ctx, count=20)
        await LIMITS["bucket"].reset(ctx)


    @action
    async def send_from_action(ctx: ActionCtx) -> Any:
        try:
            await ctx.run_mutation(send)
        except YugenError as error:
            return error.data


    @action
    async def caught_in_action(ctx: ActionCtx) -> Any:
        try:
            await LIMITS["bucket"].take(ctx)
        except RateLimited as error:
            return [error.name, error.retry_after]
"""


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[TestApp]:
    async with TestApp(write_app(tmp_path / "app", f=APP)) as made:
        yield made


async def rows(t: TestApp) -> list[dict[str, Any]]:
    options = {"numItems": 1000, "cursor": None}
    found = await t.query("_system/cli/tableData:default", table="_rate_limits", paginationOpts=options)
    page: list[dict[str, Any]] = found.page
    return page


@pytest.mark.parametrize(("limit", "wait"), [("bucket", 6000), ("window", 60_000), ("sharded", 6000)])
async def test_a_mutation_is_refused_until_it_may_go_on(t: TestApp, limit: str, wait: int) -> None:
    for _ in range(20):
        await t.mutation("f:send", limit=limit)
    with pytest.raises(YugenError) as refused:
        await t.mutation("f:send", limit=limit)
    retry_after = refused.value.data["retryAfter"]
    name = "spread" if limit == "sharded" else "sends"
    assert refused.value.data == {"code": "RateLimited", "name": name, "retryAfter": retry_after}
    assert wait * 0.9 < retry_after <= wait * (4 if limit == "sharded" else 1)  # the clock of the test moves a little
    await t.advance(milliseconds=retry_after - 5)
    with pytest.raises(YugenError):
        await t.mutation("f:send", limit=limit)
    await t.advance(milliseconds=5)
    await t.mutation("f:send", limit=limit)
    assert await t.query("f:sent") == 21


async def test_a_bucket_fills_up_to_its_burst_and_no_further(t: TestApp) -> None:
    await t.mutation("f:send", count=20)
    await t.advance(days=3)
    await t.mutation("f:send", count=20)
    with pytest.raises(YugenError):
        await t.mutation("f:send")


async def test_what_fails_takes_nothing(t: TestApp) -> None:
    for _ in range(30):
        with pytest.raises(YugenError, match="failed"):
            await t.mutation("f:send", fail=True)
    assert await t.mutation("f:send_inside") is False
    assert len(await rows(t)) == 0
    assert (await t.query("f:left"))[2] == 20


async def test_what_is_refused_changes_nothing(t: TestApp) -> None:
    await t.mutation("f:send", count=20)
    before = await rows(t)
    ok, wait, left, _ = await t.mutation("f:try_send")
    assert (ok, left) == (False, 0)
    assert 0 < wait <= 6000
    assert await rows(t) == before


async def test_a_function_may_go_on_either_way(t: TestApp) -> None:
    assert (await t.mutation("f:try_send", count=15))[:3] == [True, 0, 5]


async def test_every_key_and_every_kind_has_its_own(t: TestApp) -> None:
    keys = [None, "", "a", "b", ["a", "b"], ["ab"], ["", "ab"], ["a", "b", ""], "ü", "\0", "x" * 5000]
    for key in keys:
        await t.mutation("f:send", key=key, count=20)
    await t.mutation("f:send", limit="window", count=20)
    assert len(await rows(t)) == len(keys) + 1
    for key in keys:
        assert not (await t.query("f:left", key=key))[0]
    assert not (await t.query("f:left", key=["a"]))[0], "a text alone is a tuple of one"


async def test_a_caller_is_a_key(t: TestApp) -> None:
    ada, bob = t.as_user(subject="ada"), t.as_user(subject="bob")
    for _ in range(20):
        await ada.mutation("f:send_mine")
    with pytest.raises(YugenError):
        await ada.mutation("f:send_mine")
    await bob.mutation("f:send_mine")
    assert RateLimit("a", rate=1, per=1)._bucket(Identity("i|s", "s", "i")) == RateLimit("a", rate=1, per=1)._bucket(
        "i|s"
    )


async def test_whoever_asks_hears_of_what_is_taken(t: TestApp) -> None:
    watch = await t.watch("f:left", key="a")
    assert (await watch.value())[2] == 20
    await t.mutation("f:send", key="b")
    await t.mutation("f:send", limit="window", key="a")
    assert (await watch.value())[2] == 20
    assert watch.runs == 1
    await t.mutation("f:send", key="a", count=19)
    assert (await watch.value())[2] == 1
    await t.mutation("f:send", key="a")
    ok, wait, left, at = await watch.value()
    assert (ok, left) == (False, 0)
    assert wait == at > 0
    await t.mutation("f:reset", key="a")
    assert await watch.value() == [True, 0, 20, 0]
    assert watch.runs == 4


async def test_all_shards_are_one_limit(t: TestApp) -> None:
    assert (await t.query("f:left", limit="sharded"))[2] == 20
    await t.mutation("f:send", limit="sharded", count=5)
    assert (await t.query("f:left", limit="sharded"))[2] == 15
    for _ in range(3):
        await t.mutation("f:send", limit="sharded", count=5)
    assert len(await rows(t)) == 4
    assert (await t.query("f:left", limit="sharded"))[0] is False
    await t.mutation("f:reset", limit="sharded")
    assert len(await rows(t)) == 0


async def test_an_action_takes_at_once(t: TestApp) -> None:
    assert await t.action("f:act", count=15) == [True, 5]
    assert (await t.query("f:left"))[2] == 5
    with pytest.raises(YugenError) as refused:
        await t.action("f:act", count=6)
    assert refused.value.data["code"] == "RateLimited"
    await t.action("f:act", count=5)
    name, wait = await t.action("f:caught_in_action")
    assert name == "sends"
    assert 0 < wait <= 6000
    data = await t.action("f:send_from_action")
    assert (data["code"], data["name"]) == ("RateLimited", "sends")
    await t.mutation("f:reset")
    await t.action("f:act_and_reset")
    assert (await t.query("f:left"))[2] == 20


async def test_buckets_that_are_full_are_swept(t: TestApp) -> None:
    for number in range(300):
        await t.mutation("f:send", key=str(number))
    await t.mutation("f:send", key="much", count=20)
    await t.advance(seconds=6)
    assert await t.mutation("_system/scheduler:sweep") == 0, "not all clocks have come so far"
    await t.advance(minutes=1, seconds=1)
    assert await t.mutation("_system/scheduler:sweep") == 256
    assert await t.mutation("_system/scheduler:sweep") == 44
    assert len(await rows(t)) == 1
    await t.advance(minutes=2)
    assert await t.mutation("_system/scheduler:sweep") == 1


async def test_a_query_changes_nothing(t: TestApp) -> None:
    with pytest.raises(FunctionFailed, match="InvalidRateLimit: take changes what is counted"):
        await t.query("f:take_in_a_query")


@pytest.mark.parametrize("count", [0, -1, 21])
async def test_what_could_never_be_taken_is_an_error(t: TestApp, count: int) -> None:
    with pytest.raises(FunctionFailed, match=f"one call may take from 1 to 20, not {count}"):
        await t.mutation("f:send", count=count)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 5), st.booleans()), max_size=25))
async def test_in_the_database_as_on_paper(t: TestApp, history: list[tuple[int, int, bool]]) -> None:
    key = str(uuid4())  # of its own for each example, all of which share the app
    tokens, last = Fraction(20), None
    for wait, count, fails in history:
        await t.advance(milliseconds=wait)
        if fails:
            with pytest.raises(YugenError):
                await t.mutation("f:send", key=key, count=count, fail=True)
        ok, _, left, now = await t.mutation("f:try_send", key=key, count=count)
        passed = 0 if last is None else math.floor(now) - last
        tokens, last = min(Fraction(20), tokens + Fraction(passed * 10, 60_000)), math.floor(now)
        assert ok == (tokens >= count)
        tokens -= count * ok
        assert left == int(tokens)


@pytest.mark.parametrize("limit", ["bucket", "sharded", "window"])
async def test_of_fifty_at_once_exactly_those_succeed_that_may(tmp_path: Path, limit: str) -> None:
    app = write_app(tmp_path / "app", f=APP)
    async with engine(MemoryStore(), app, clock=lambda: 1_700_000_000 * 10**9) as runtime:

        async def client() -> list[str]:
            mutated = [await runtime.mutate("f:send", encoded(limit=limit)) for _ in range(3)]
            return ["ok" if each.answer.failure is None else each.answer.failure.message for each in mutated]

        done = await asyncio.gather(*(client() for _ in range(50)))
        assert [each for client in done for each in client].count("ok") == 20
        assert all(each == "ok" or '"code": "RateLimited"' in each for client in done for each in client)
        assert await ask(runtime, "f:sent") == 20


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"name": ""}, "The name of a rate limit is a text, not ''."),
        ({"rate": 0}, "RateLimit sends: rate is a whole number from 1 up, not 0; for one in two minutes"),
        ({"rate": 0.5}, "rate is a whole number from 1 up, not 0.5"),
        ({"rate": True}, "rate is a whole number from 1 up, not True"),
        ({"burst": -1}, "burst is a whole number from 1 up, not -1."),
        ({"per": 0}, "per is a time such as timedelta(minutes=1), not 0."),
        ({"per": "60"}, "per is a time such as timedelta(minutes=1), not '60'."),
        ({"per": float("inf")}, "per is a time such as timedelta"),
        ({"per": timedelta(microseconds=1)}, "per is a time such as timedelta"),
        ({"shards": 3}, "10 cannot be divided evenly among 3 shards; give up to 64, and a multiple of them."),
        ({"rate": 100, "shards": 100}, "100 cannot be divided evenly among 100 shards"),
        ({"per": timedelta(days=3650), "burst": 10**6}, "1000000 in 3650 days, 0:00:00 cannot be counted exactly"),
    ],
)
def test_a_limit_that_cannot_be_says_why(arguments: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidRateLimit) as refused:
        RateLimit(**{"name": "sends", "rate": 10, "per": 60, **arguments})
    assert fault in str(refused.value)


def test_a_window_is_divided_evenly() -> None:
    with pytest.raises(InvalidRateLimit, match="10 cannot be divided evenly among 4 shards"):
        RateLimit.fixed("sends", rate=10, per=60, shards=4)


@pytest.mark.parametrize("key", [3, b"a", ["a"], ("a", 3), ("a", None)])
def test_a_key_that_is_none_says_so(key: Any) -> None:
    with pytest.raises(InvalidRateLimit, match="a key is a text, an id, an Identity, a tuple of texts, or None"):
        RateLimit("sends", rate=1, per=1)._bucket(key)


def test_a_limit_shows_what_it_is() -> None:
    assert repr(RateLimit("sends", rate=10, per=60)) == "<rate limit sends: token bucket, 10 per 0:01:00>"
    assert repr(RateLimit.fixed("a", rate=1, per=1)) == "<rate limit a: fixed window, 1 per 0:00:01>"


def test_it_is_an_error_of_the_app_with_data() -> None:
    error = RateLimited("sends", 1500)
    assert isinstance(error, YugenError)
    assert error.data == {"code": "RateLimited", "name": "sends", "retryAfter": 1500.0}
    assert (error.name, error.retry_after) == ("sends", 1500.0)
    assert RATE_LIMITS.number == 17
