"""Tokens of providers: kept sealed, and renewed by one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from starlette.responses import JSONResponse, Response

from tests.auth.providers import World, travel, user_of, world
from yugen import MutationCtx
from yugen.auth.documents import Account
from yugen.auth.provider_accounts import take_turn
from yugen.errors import YugenError
from yugen.schema import UNSET


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def comes(here: World, name: str = "acme") -> str:
    browser = here.browser()
    await travel(browser, name)
    user = await user_of(browser)
    assert user is not None
    return str(user["id"])


async def test_an_action_is_given_the_token_that_the_provider_has_given(here: World) -> None:
    ada = await comes(here)
    assert await here.app.action("auth:token_of", user=ada) == next(iter(here.provider.tokens))
    assert len(here.provider.asked("/token")) == 1


async def test_nobody_who_reads_the_database_has_the_tokens(here: World) -> None:
    await comes(here)
    account = (await here.accounts())[0]
    assert account.secret is not UNSET
    for token in (*here.provider.tokens, *here.provider.refresh_tokens):
        assert token not in account.secret


async def test_attack_tokens_are_of_no_use_in_the_row_of_somebody_else(here: World) -> None:
    await comes(here)
    here.provider.user |= {"sub": "bob-1", "email": "bob@example.com"}
    bob = await comes(here)

    async def swap(ctx: MutationCtx) -> None:
        first, second = await ctx.db.query(Account).collect()
        await ctx.db.patch(second.id, secret=first.secret)

    await here.app.run(swap)
    with pytest.raises(YugenError, match="no access to Acme"):
        await here.app.action("auth:token_of", user=bob)


async def test_tokens_are_kept_only_where_the_app_says_so(here: World) -> None:
    ada = await comes(here, "other")
    assert [each.secret for each in await here.accounts()] == [UNSET]
    with pytest.raises(Exception, match="keep_tokens=True"):
        await here.app.action("auth:token_elsewhere", user=ada, provider="other")
    with pytest.raises(Exception, match="no provider 'nobody'"):
        await here.app.action("auth:token_elsewhere", user=ada, provider="nobody")
    with pytest.raises(YugenError, match="no access to Acme"):
        await here.app.action("auth:token_of", user=ada)


async def test_a_token_that_ends_is_renewed_and_the_new_one_kept(here: World) -> None:
    ada = await comes(here)
    first = await here.app.action("auth:token_of", user=ada)
    await here.app.advance(minutes=59, seconds=1)
    second = await here.app.action("auth:token_of", user=ada)
    assert second != first
    assert await here.app.action("auth:token_of", user=ada) == second
    await here.app.advance(hours=1)
    assert await here.app.action("auth:token_of", user=ada) not in (first, second)
    assert [each["grant_type"] for each in here.provider.asked("/token")][1:] == ["refresh_token"] * 2


async def test_a_token_of_which_no_end_is_known_is_not_renewed(here: World) -> None:
    here.provider.lasts = None
    ada = await comes(here)
    first = await here.app.action("auth:token_of", user=ada)
    await here.app.advance(days=3)
    assert await here.app.action("auth:token_of", user=ada) == first


async def test_many_at_once_renew_a_token_once(here: World) -> None:
    """The provider takes each refresh token once, and ends everything when one comes twice (RFC 9700, 4.14.2)."""
    ada = await comes(here)
    await here.app.advance(hours=1)
    here.provider.gate.clear()
    asking = [asyncio.create_task(here.app.action("auth:token_of", user=ada)) for _ in range(8)]
    while len(here.provider.asked("/token")) < 2:
        await asyncio.wait(asking, timeout=0.01)
    here.provider.gate.set()
    given = await asyncio.gather(*asking)
    assert len(set(given)) == 1
    assert len(here.provider.asked("/token")) == 2
    assert len(here.provider.refresh_tokens) == 1


async def test_a_provider_that_gives_no_other_refresh_token_goes_on_with_the_one_there_is(here: World) -> None:
    ada = await comes(here)
    kept = next(iter(here.provider.refresh_tokens))
    for number in range(2):
        await here.app.advance(hours=1)
        answer = {"access_token": f"a{number}", "expires_in": "60"}
        here.provider.token_answer = partial(JSONResponse, answer)
        assert await here.app.action("auth:token_of", user=ada) == f"a{number}"
    assert [each["refresh_token"] for each in here.provider.asked("/token")[1:]] == [kept, kept]


async def test_what_was_taken_back_at_the_provider_is_forgotten(here: World) -> None:
    ada = await comes(here)
    here.provider.refresh_tokens.clear()
    await here.app.advance(hours=1)
    for _ in range(2):
        with pytest.raises(YugenError, match="no access to Acme <b> any more; sign in with Acme <b> again"):
            await here.app.action("auth:token_of", user=ada)
    assert len(here.provider.asked("/token")) == 2
    assert [each.secret for each in await here.accounts()] == [UNSET]
    await comes(here)
    assert await here.app.action("auth:token_of", user=ada) in here.provider.tokens


@pytest.mark.parametrize("status", [500, 503])
async def test_a_provider_that_is_down_for_a_while_costs_nobody_their_tokens(here: World, status: int) -> None:
    ada = await comes(here)
    await here.app.advance(hours=1)
    here.provider.token_answer = lambda: Response("<p>Oh no</p>", status)
    with pytest.raises(YugenError, match="cannot be reached"):
        await here.app.action("auth:token_of", user=ada)
    here.provider.token_answer = None
    assert await here.app.action("auth:token_of", user=ada) in here.provider.tokens


async def test_who_has_a_turn_and_is_never_heard_of_again_holds_nobody_up_for_long(here: World) -> None:
    ada = await comes(here)
    await here.app.advance(hours=1)
    account = (await here.accounts())[0]
    assert account.secret is not UNSET
    assert await here.app.mutation(take_turn, account=account.id, turn="lost", sealed=account.secret)
    assert not await here.app.mutation(take_turn, account=account.id, turn="mine", sealed=account.secret)
    await here.app.advance(seconds=31)
    assert await here.app.action("auth:token_of", user=ada) in here.provider.tokens


async def test_nobody_renews_what_somebody_else_has_renewed(here: World) -> None:
    await comes(here)
    account = (await here.accounts())[0]
    assert not await here.app.mutation(take_turn, account=account.id, turn="mine", sealed="what was there before")
