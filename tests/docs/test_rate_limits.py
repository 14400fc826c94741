from __future__ import annotations

import board
import pytest
from board import limits

from yugen import MutationCtx, YugenError
from yugen.testing import TestApp


async def test_nobody_suggests_too_much() -> None:
    async with TestApp(board) as t:
        ada = t.as_user(subject="ada")
        for _ in range(20):
            await ada.mutation(limits.suggest, text="more tea")
        with pytest.raises(YugenError) as refused:
            await ada.mutation(limits.suggest, text="more tea")
        assert refused.value.data["code"] == "RateLimited"
        await t.as_user(subject="bob").mutation(limits.suggest, text="less")

        await t.advance(seconds=6)
        await ada.mutation(limits.suggest, text="more tea")


async def test_a_page_knows_when_it_may_go_on(t: TestApp) -> None:
    ada = t.as_user(subject="ada")
    watch = await ada.watch(limits.may_suggest)
    assert (await watch.value())["left"] == 20
    for number in range(20):
        await ada.mutation(limits.suggest, text="more tea")
        assert (await watch.value())["left"] == 19 - number
    wait = (await watch.value())["next_at"] - t.now.timestamp() * 1000
    assert 5000 < wait < 7000
    with pytest.raises(YugenError, match="SignIn"):
        await t.mutation(limits.suggest, text="more tea")


async def test_visits_are_counted_up_to_a_thousand_a_second(t: TestApp) -> None:
    assert [await t.mutation(limits.visit) for _ in range(5)] == [True] * 5


async def test_a_day_has_a_hundred_exports(t: TestApp) -> None:
    assert await t.action(limits.export, team="red", rows=60) == "60 rows of red"
    with pytest.raises(YugenError):
        await t.action(limits.export, team="red", rows=60)
    await t.action(limits.export, team="red", rows=40)
    await t.action(limits.export, team="blue", rows=100)
    await t.advance(days=1)
    await t.action(limits.export, team="red", rows=100)


async def test_codes_are_not_guessed(t: TestApp) -> None:
    async def add(ctx: MutationCtx) -> None:
        await ctx.db.insert("codes", {"account": "ada", "code": "1234"})

    await t.run(add)

    async def redeem(code: str, account: str = "ada") -> int:
        response = await t.fetch("/redeem", method="POST", json={"account": account, "code": code})
        if response.status_code == 429:
            assert int(response.headers["Retry-After"]) > 0
        return int(response.status_code)

    assert [await redeem(f"000{number}") for number in range(5)] == [403] * 5
    assert await redeem("1234") == 429, "also what would have been right"
    await t.advance(minutes=15)
    assert await redeem("1234") == 200
    assert [await redeem("0000") for _ in range(5)] == [403] * 5, "it has five again"
    await t.advance(minutes=15)
    guesses = [await redeem("0000", account=f"account {number}") for number in range(51)]
    assert guesses.count(403) == 50, "however many accounts are tried"
