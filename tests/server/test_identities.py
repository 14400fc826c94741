"""Whoever a connection belongs to at a moment sees their own data and nobody else's (faults 26, traps 20 to 23)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine import ask, change, interleaving
from tests.server.peers import SECONDS_MAX, Bench, Client, LoopTime, bench
from yugen.errors import TokenRejected
from yugen.identity import Identity
from yugen.server.caller import ProviderUnavailable, Verified
from yugen.sync.session import EXPIRY_GRACE_SECONDS

USERS = ("ada", "bob")
MINE: tuple[int, str, dict[str, Any]] = (0, "notes:mine", {})
SHARED: tuple[int, str, dict[str, Any]] = (1, "notes:texts", {"book": "all"})


class Names:
    """Takes a name for the token of that user, `name!seconds` for one that ends; each takes its time to check."""

    def __init__(self) -> None:
        self.checked = 0
        self.pause = interleaving(0)

    async def verify(self, token: str) -> Verified:
        self.checked += 1
        await self.pause()
        name, _, seconds = token.partition("!")
        if name == "unreachable":
            raise ProviderUnavailable
        if name not in USERS:
            raise TokenRejected("The token is not good.")
        return Verified(Identity.of("https://id", name), time.time() + float(seconds or 3600))

    async def close(self) -> None:
        pass


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path, verifier=Names()) as made:
        yield made


def sign_in(client: Client, name: str | None, base: int) -> None:
    if name is None:
        client.authenticate(base=base, tokenType="None")
    else:
        client.authenticate(base=base, tokenType="User", value=name)


async def test_a_query_that_looks_at_who_asks_runs_for_each_and_one_that_does_not_for_all(notes: Bench) -> None:
    clients = [notes.client() for _ in range(3)]
    for client, name in zip(clients, (*USERS, "ada"), strict=True):
        sign_in(client, name, 0)
        client.subscribe(MINE, SHARED)
        if not (values := await client.values()):  # a Transition for the token alone
            values = await client.values()
        assert values == {0: {"name": name, "texts": []}, 1: []}
    assert notes.probe.runs["notes:mine"] == 2
    assert notes.probe.runs["notes:texts"] == 1


async def test_a_write_of_one_user_reaches_no_other(notes: Bench) -> None:
    ada, bob = notes.client(MINE), notes.client(MINE)
    for client, name in ((ada, "ada"), (bob, "bob")):
        await client.values()
        sign_in(client, name, 0)
        await client.values()
    ada.mutate("notes:add_mine", text="hers")
    assert (await ada.response())["result"] == "ada"
    assert await ada.values() == {0: {"name": "ada", "texts": ["hers"]}}
    assert bob.unheard == 0


async def test_the_same_request_from_another_user_gets_nothing_of_the_first(notes: Bench) -> None:
    """Fault 25: a session id and a request id are no credentials."""
    session = "3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11"
    for name in USERS:
        client = notes.client(connect=False)
        client.connect(sessionId=session)
        sign_in(client, name, 0)
        await client.values()
        client.mutate("notes:add_mine", text="secret")
        response = await client.response()
        assert response["success"] == (name == "ada")
        assert "ada" not in response["result"] or name == "ada"
    assert await ask(notes.runtime, "notes:texts", book="bob") == []


@pytest.mark.parametrize("token", ["mallory", ""])
async def test_trap_21_a_bad_token_ends_the_connection_and_names_the_identity(notes: Bench, token: str) -> None:
    client = notes.client(MINE)
    await client.values()
    sign_in(client, token, 0)
    client.subscribe(SHARED, base=1)
    error = await client.hear("AuthError")
    assert error == {
        "type": "AuthError",
        "error": "The token is not good.",
        "baseVersion": 0,
        "authUpdateAttempted": True,
    }
    assert (await client.is_closed())[0] == 1000


async def test_a_provider_that_cannot_be_reached_logs_nobody_out(notes: Bench) -> None:
    client = notes.client()
    sign_in(client, "unreachable", 0)
    assert await client.is_closed() == (1011, "InternalServerError")


async def test_trap_20_a_new_token_that_says_the_same_is_confirmed_and_runs_nothing(notes: Bench) -> None:
    client = notes.client(MINE)
    await client.values()
    for base, token in enumerate(("ada", "ada!7200", "ada")):
        sign_in(client, token, base)
        transition = await client.hear("Transition")
        assert transition["endVersion"]["identity"] == base + 1
        assert bool(transition["modifications"]) == (base == 0)
    assert notes.probe.runs["notes:mine"] == 2


async def test_an_expired_token_ends_the_connection_before_anything_else_is_sent(notes: Bench) -> None:
    loop_time = LoopTime()
    client = notes.client(MINE)
    await client.values()
    sign_in(client, "ada!100", 0)
    await client.values()
    loop_time.forward(100 + EXPIRY_GRACE_SECONDS + 1)
    # Waking the loop up is enough: the timer comes before what is done next.
    await change(notes.runtime, "notes:add", book="ada", text="late")
    kinds = []
    while not client.closed.done() or client.unheard:
        kinds.append((await client.hear("AuthError", "Ping"))["type"])
        await asyncio.sleep(0)
    assert kinds[-1] == "AuthError"
    assert await client.is_closed() == (1000, "")


@pytest.mark.parametrize("seed", range(6))
async def test_swapped_and_cleared_tokens_never_show_one_user_to_another(tmp_path: Path, seed: int) -> None:
    """Two connections change who they are at random moments, amid writes; every Transition is held against a model."""
    dice = random.Random(seed)
    async with bench(tmp_path, interleaving(seed), verifier=Names()) as notes:
        people: list[str | None] = [None, *USERS]
        clients = [notes.client(MINE, SHARED) for _ in range(2)]
        who: list[list[str | None]] = [[None], [None]]
        done = asyncio.Event()

        async def watch(number: int) -> int:
            held: dict[int, Any] = {}
            checked = 0
            while True:
                message = await clients[number].hear("Transition", "MutationResponse")
                if message["type"] == "MutationResponse":
                    continue
                for change in message["modifications"]:
                    held[change["queryId"]] = change["value"]
                name = who[number][message["endVersion"]["identity"]] or "nobody"
                if 0 in held:
                    assert held[0]["name"] == name
                    assert all(text.startswith(name) for text in held[0]["texts"])
                    checked += 1
                if (
                    done.is_set()
                    and held[0]["name"] == name
                    and message["endVersion"]["identity"] == len(who[number]) - 1
                ):
                    return checked

        watching = [asyncio.create_task(watch(number)) for number in range(2)]
        for step in range(120):
            number = dice.randrange(2)
            match dice.randrange(3):
                case 0:
                    name = dice.choice(people)
                    sign_in(clients[number], name, len(who[number]) - 1)
                    who[number].append(name)
                case 1:
                    book = dice.choice([*USERS, "nobody", "all"])
                    await change(notes.runtime, "notes:add", book=book, text=f"{book} {step}")
                case 2:
                    clients[number].mutate("notes:add_mine", text=f"{who[number][-1] or 'nobody'} {step}")
            for _ in range(dice.randrange(8)):
                await asyncio.sleep(0)
        done.set()
        for number in range(2):
            sign_in(clients[number], "ada", len(who[number]) - 1)
            who[number].append("ada")
        async with asyncio.timeout(SECONDS_MAX):
            assert all(count > 5 for count in await asyncio.gather(*watching))
