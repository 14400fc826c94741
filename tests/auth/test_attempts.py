"""How often something may be tried, and how often mail is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.auth.browser import Browser
from tests.auth.postbox import ACCOUNTS, OTHER, PASSWORD, postbox, signed_up
from yugen.testing import TestApp


@pytest.fixture
async def app() -> AsyncIterator[TestApp]:
    async with TestApp(ACCOUNTS) as made:
        postbox().clear()
        yield made


async def test_guessing_from_many_addresses_is_stopped_and_says_for_how_long(app: TestApp) -> None:
    await signed_up(app, Browser(app))
    answers = []
    for number in range(12):
        stranger = Browser(app, address=f"9.9.9.{number}")
        answers.append(await stranger.post("/sign-in/password", email="ada@example.com", password=f"{OTHER} {number}"))
    assert [each.status_code for each in answers] == [401] * 10 + [429] * 2
    response = answers[-1]
    assert response.json()["code"] == "TooManyAttempts"
    assert 0 < int(response.headers["retry-after"]) <= 90
    right = await Browser(app, address="9.9.9.99").post("/sign-in/password", email="ada@example.com", password=PASSWORD)
    assert right.status_code == 429
    await app.advance(minutes=2)
    assert (await Browser(app).post("/sign-in/password", email="ada@example.com", password=PASSWORD)).is_success


async def test_many_guesses_at_once_count_as_many(app: TestApp) -> None:
    await signed_up(app, Browser(app))
    guesses = [
        Browser(app).post("/sign-in/password", email="ada@example.com", password=f"{OTHER} {number}")
        for number in range(30)
    ]
    statuses = [response.status_code for response in await asyncio.gather(*guesses)]
    assert (statuses.count(401), statuses.count(429)) == (10, 20)


async def test_others_who_guess_do_not_keep_anybody_out_where_they_have_signed_in_before(app: TestApp) -> None:
    own = Browser(app)
    await signed_up(app, own)
    await own.post("/sign-out")
    for number in range(11):
        await Browser(app).post("/sign-in/password", email="ada@example.com", password=f"{OTHER} {number}")
    assert (await Browser(app).post("/sign-in/password", email="ada@example.com", password=PASSWORD)).status_code == 429
    # Whoever has such a cookie has no more tries by it than others, and none at other accounts.
    thief = Browser(app)
    thief.jar = dict(own.jar)
    assert (await own.post("/sign-in/password", email="ada@example.com", password=PASSWORD)).is_success
    statuses = [
        (await thief.post("/sign-in/password", email="ada@example.com", password=f"{OTHER} {number}")).status_code
        for number in range(11)
    ]
    assert statuses == [401] * 10 + [429]


async def test_trying_many_accounts_from_one_network_is_stopped(app: TestApp) -> None:
    statuses = []
    for number in range(101):
        stranger = Browser(app, address=f"2a01:4f8::{number:x}")
        response = await stranger.post("/sign-in/password", email=f"user{number}@example.com", password=OTHER)
        statuses.append(response.status_code)
    assert statuses == [401] * 100 + [429]
    elsewhere = await Browser(app, address="2a01:4f9::1").post(
        "/sign-in/password", email="user1@example.com", password=OTHER
    )
    assert elsewhere.status_code == 401


@pytest.mark.parametrize("path", ["/sign-up/password", "/forgot-password", "/sign-in/magic-link", "/sign-in/code"])
async def test_nobody_is_buried_in_mail(app: TestApp, path: str) -> None:
    statuses = [
        (await Browser(app).post(path, email="ada@example.com", password=PASSWORD)).status_code for _ in range(4)
    ]
    assert statuses == [200] * 3 + [429]
    statuses = [
        (await Browser(app, address="9.9.9.9").post(path, email=f"{n}@example.com", password=PASSWORD)).status_code
        for n in range(21)
    ]
    assert statuses == [200] * 20 + [429]
    await app.advance(minutes=15)
    assert (await Browser(app).post(path, email="ada@example.com", password=PASSWORD)).status_code == 200


async def test_others_who_have_mail_sent_do_not_keep_the_owner_from_it(app: TestApp) -> None:
    own = Browser(app)
    await signed_up(app, own)
    for _ in range(4):
        await Browser(app).post("/forgot-password", email="ada@example.com")
    assert (await Browser(app).post("/forgot-password", email="ada@example.com")).status_code == 429
    assert (await own.post("/forgot-password", email="ada@example.com")).is_success
