"""ConvexProviderWithAuth and Yugen's own, in a real Chromium: signing in, becoming somebody else, and leaving."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from reliability.relay import Relay, relaying
from reliability.serving import Server, serving
from tests.chromium import Window, empty_window
from tests.conformance.site import Wire, write_site
from tests.issuer import Issuer, issuing, sign, signing_key
from yugen_client import AsyncClient

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

LEEWAY_SECONDS = 10
"""How long before the end of a token the client fetches another."""

Fetch = Callable[[str, bool], str | None]
"""Gives a token for a user; whether it must be a new one."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def issuers() -> AsyncIterator[list[Issuer]]:
    """Three, since what a server knows of one's keys it keeps."""
    async with issuing() as one, issuing("ES256") as two, issuing("EdDSA") as three:
        yield [one, two, three]


@pytest.fixture(scope="module")
def issuer(issuers: list[Issuer]) -> Issuer:
    return issuers[0]


@pytest.fixture(scope="module")
def slow(issuers: list[Issuer]) -> Issuer:
    return issuers[1]


@pytest.fixture(scope="module")
def away(issuers: list[Issuer]) -> Issuer:
    return issuers[2]


@pytest.fixture(scope="module", params=["official", "own"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(kind: str, issuers: list[Issuer], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("site")
    one, two, three = issuers
    auth = f"from yugen import JwtProvider, OidcProvider\n\nproviders = {[one.oidc(), two.jwt(), three.oidc()]}\n"
    app = write_site(folder, "notes_app", "notes.jsx", client=kind, auth=auth)
    async with serving(app, folder / "data") as server:
        yield server


class NotesPage:
    """A window whose identity provider is the test.

    Attributes:
        asked: for whom tokens were fetched, and whether they had to be new.
    """

    def __init__(self, opened: Window, fetch: Fetch) -> None:
        self.page: Page = opened.page
        self.complaints = opened.complaints
        self.wire = Wire(opened.page)
        self.gate = self.page.locator("#gate")
        self.asked: list[tuple[str, bool]] = []
        self.fetch = fetch

    async def open(self, url: str) -> None:
        await self.page.expose_function("issueToken", self._issue)
        await self.page.goto(url)

    def _issue(self, user: str, forced: bool) -> str | None:
        self.asked.append((user, forced))
        return self.fetch(user, forced)

    async def shows(self, user: str | None, *texts: str) -> None:
        """Waits until the personal query is of this user, who has these notes."""
        await expect(self.page.locator("#mine")).to_have_text(
            json.dumps({"user": user, "texts": texts}, separators=(",", ":"))
        )
        await expect(self.gate).to_have_text("out" if user is None else "in")

    @property
    def confirmed(self) -> int:
        """The version of the identity that the server has confirmed last."""
        transitions = self.wire.of_type("Transition")
        return transitions[-1]["endVersion"]["identity"] if transitions else 0

    async def right_states(self) -> list[dict[str, Any]]:
        """Every state that was on the screen, where none showed to one user what is another's.

        A change of the user reaches Convex's client when React has rendered it once.
        """
        states: list[dict[str, Any]] = await self.page.evaluate("rendered")
        signed_in = None
        for state in states:
            if not state["inside"]:
                gates = {(True, False): "loading", (False, True): "in", (False, False): "out"}
                assert state["gate"] == gates[state["isLoading"], state["isAuthenticated"]]
                if state["gate"] != "in":
                    signed_in = None
            if state["inside"] or state["gate"] == "in":
                signed_in = signed_in or state["user"]
                assert state["mine"] is None or state["mine"]["user"] == signed_in
                assert state.get("secret") in (None, f"for {signed_in}")
        return states

    async def users(self) -> list[str | None]:
        """Whose data the query showed that is always there, one after the other."""
        states = await self.right_states()
        return [
            user
            for user, _ in itertools.groupby(
                state["mine"]["user"] for state in states if not state["inside"] and state["mine"]
            )
        ]

    async def gates(self) -> list[str]:
        """Which of `AuthLoading`, `Authenticated` and `Unauthenticated` had its turn, one after the other."""
        states = await self.right_states()
        return [gate for gate, _ in itertools.groupby(state["gate"] for state in states if not state["inside"])]


def good(issuer: Issuer, **claims: Any) -> Fetch:
    """Tokens that are new each time."""
    return lambda user, forced: issuer.token(sub=user, jti=str(uuid.uuid4()), **claims)


def bad(issuer: Issuer, user: str) -> str:
    """A token that is signed by somebody else."""
    claims = issuer.claims(sub=user, jti=str(uuid.uuid4()))
    return sign(claims, signing_key("RS256", 9), {"kid": issuer.key.kid})


def ends_soon(issuer: Issuer) -> Callable[[str], str]:
    """One token for each user, which the server takes for good for two more seconds."""

    @cache
    def token(user: str) -> str:
        now = time.time()
        return issuer.token(sub=user, iat=now - 3600, exp=now - 3)

    return token


async def visit(
    browser: Browser, server: Server | Relay, fetch: Fetch, user: str | None = None, page: str = ""
) -> NotesPage:
    opened = NotesPage(await empty_window(browser), fetch)
    await opened.open(f"{server.url}/{page}" + (f"?user={user}" if user else ""))
    return opened


async def runs(server: Server, function: str, since: int) -> int:
    """How often a query has run since the log had so many lines."""
    marked = len(server.lines)
    async with AsyncClient(server.url) as client:
        await client.query("notes:mark", {"number": time.time()})
    await server.printed("query notes:mark ran", since=marked)
    return sum(f"query {function} ran" in line for line in server.lines[since:])


async def test_signing_in_and_out(browser: Browser, server: Server, issuer: Issuer) -> None:
    opened = await visit(browser, server, good(issuer), page="development.html")
    await opened.shows(None)
    await opened.page.evaluate("signIn('ada')")
    await opened.shows("ada")
    await opened.page.evaluate("write('of ada')")
    await opened.shows("ada", "of ada")
    await opened.page.evaluate("signOut()")
    await opened.shows(None)
    assert await opened.users() == [None, "ada", None]
    assert await opened.gates() == ["out", "in", "out"]
    assert opened.complaints == []


async def test_a_library_that_has_to_find_out_who_is_there(browser: Browser, server: Server, issuer: Issuer) -> None:
    opened = await visit(browser, server, good(issuer), page="development.html?loading")
    await expect(opened.gate).to_have_text("loading")
    await opened.page.evaluate("signIn('eva')")
    await opened.shows("eva")
    assert await opened.gates() == ["loading", "in"]
    await opened.page.evaluate("signOut()")
    await opened.shows(None)
    await opened.page.evaluate("load()")
    await expect(opened.gate).to_have_text("loading")
    await opened.page.evaluate("signIn('eva')")
    await opened.shows("eva")
    assert await opened.gates() == ["loading", "in", "out", "loading", "in"]
    assert opened.complaints == []


async def test_a_library_that_finds_nobody(browser: Browser, server: Server, issuer: Issuer) -> None:
    opened = await visit(browser, server, good(issuer), page="?loading")
    await expect(opened.gate).to_have_text("loading")
    await opened.page.evaluate("signOut()")
    await opened.shows(None)
    assert await opened.gates() == ["loading", "out"]


async def test_becoming_somebody_else(browser: Browser, server: Server, issuer: Issuer) -> None:
    opened = await visit(browser, server, good(issuer), "bea", page="development.html")
    await opened.shows("bea")
    await opened.page.evaluate("write('of bea')")
    await opened.shows("bea", "of bea")
    await opened.page.evaluate("signIn('bob')")
    await opened.shows("bob")
    await opened.page.evaluate("write('of bob')")
    await opened.shows("bob", "of bob")
    # In between it is nobody's, unless the next token is there so soon that nothing is sent for nobody.
    assert await opened.users() in (["bea", None, "bob"], ["bea", "bob"])
    assert await opened.gates() == ["loading", "in", "loading", "in"]
    # Faster than the client and the server can follow.
    await opened.page.evaluate("""async () => {
        for (const next of ["bea", "bob", null, "bea", null, "bob", "bea"]) {
            signIn(next);
            await new Promise((done) => setTimeout(done));
        }
    }""")
    await opened.shows("bea", "of bea")
    await opened.right_states()
    assert opened.complaints == []


async def test_a_new_token_for_the_same_user_runs_nothing_again(
    browser: Browser, server: Server, issuer: Issuer, kind: str
) -> None:
    since = len(server.lines)
    # The own client replaces a token that lasts for less than twice the leeway when half its time is over.
    lasts = LEEWAY_SECONDS if kind == "official" else 3

    def short(user: str, forced: bool) -> str:
        now = time.time()
        return issuer.token(sub=user, iat=now - 1, exp=now + lasts, jti=str(uuid.uuid4()))

    opened = await visit(browser, server, short, "cleo")
    # The first token, by the official client a fresh one at once, and then one before the end of the one before, again
    # and again.
    await opened.wire.until(lambda wire: opened.confirmed >= 4)
    await opened.page.evaluate("write('of cleo')")
    await opened.shows("cleo", "of cleo")
    assert opened.asked[:4] == [("cleo", False), *[("cleo", True)] * 3]
    assert await runs(server, "notes:mine", since) == 2
    assert await runs(server, "notes:secret", since) == 1
    states = await opened.right_states()
    assert await opened.gates() == ["loading", "in"]
    assert not any(state["isRefreshing"] for state in states if not state["inside"])


async def test_a_token_that_ends_early_is_replaced(browser: Browser, server: Server, issuer: Issuer) -> None:
    """The provider gives the token it has until it is told that it is no good any more."""
    ending, fetched = ends_soon(issuer), itertools.count()
    opened = await visit(
        browser, server, lambda user, forced: ending(user) if next(fetched) < 2 else issuer.token(sub=user), "dan"
    )
    await opened.shows("dan")
    await opened.wire.until(lambda wire: bool(wire.of_type("AuthError")))
    await opened.wire.until(lambda wire: len(wire.of_type("Connect")) == 2 and opened.confirmed > 0)
    await opened.page.evaluate("write('of dan')")
    await opened.shows("dan", "of dan")
    (error,) = opened.wire.of_type("AuthError")
    assert error["authUpdateAttempted"] is False

    # Nobody was signed out, and nothing that was shown went away meanwhile.
    states = [state for state in await opened.right_states() if not state["inside"]]
    assert [key for key, _ in itertools.groupby(state["isRefreshing"] for state in states)] == [False, True, False]
    assert await opened.gates() == ["loading", "in"]
    assert all(state["mine"] and state["shared"] is not None for state in states if state["gate"] == "in")


async def test_a_token_that_cannot_be_replaced_signs_out(browser: Browser, server: Server, issuer: Issuer) -> None:
    ending = ends_soon(issuer)
    opened = await visit(browser, server, lambda user, forced: ending(user), "fay")
    await opened.shows(None)
    assert opened.asked == [("fay", False), ("fay", True), ("fay", True)]
    assert await opened.users() == ["fay", None]
    assert await opened.gates() == ["loading", "in", "out"]


async def test_a_rejected_token_is_replaced(browser: Browser, server: Server, issuer: Issuer) -> None:
    opened = await visit(
        browser, server, lambda user, forced: good(issuer)(user, forced) if forced else bad(issuer, user), "gus"
    )
    await opened.shows("gus")
    (error,) = opened.wire.of_type("AuthError")
    assert error["authUpdateAttempted"] is True
    assert await opened.users() == ["gus"]
    assert await opened.gates() == ["loading", "in"]


async def test_a_token_rejected_right_after_another_user_is_replaced(
    browser: Browser, server: Server, issuer: Issuer
) -> None:
    opened = await visit(browser, server, good(issuer), "kim")
    await opened.shows("kim")
    # The client signs out and sends the next token in one go, and hears of neither before the token is rejected.
    await opened.page.evaluate("(token) => { atHand.lou = token; signIn('lou'); }", bad(issuer, "lou"))
    await opened.shows("lou")
    assert len(opened.wire.of_type("AuthError")) == 1
    await opened.right_states()


async def test_who_has_only_bad_tokens_is_nobody(browser: Browser, server: Server, issuer: Issuer, kind: str) -> None:
    opened = await visit(browser, server, lambda user, forced: bad(issuer, user), "mallory")
    await opened.shows(None)
    assert [forced for _, forced in opened.asked] == [False, True, True, True][: 4 if kind == "official" else 2]
    assert await opened.users() == [None]
    assert await opened.gates() == ["loading", "out"]
    # The connection is good for more.
    opened.fetch = good(issuer)
    await opened.page.evaluate("signIn('hal')")
    await opened.shows("hal")
    await opened.page.evaluate("write('of hal')")
    await opened.shows("hal", "of hal")


async def test_a_provider_that_takes_its_time_is_waited_for(browser: Browser, server: Server, slow: Issuer) -> None:
    slow.web.gate.clear()
    opened = await visit(browser, server, good(slow), "mia")
    await opened.wire.until(lambda wire: bool(wire.of_type("ModifyQuerySet")))
    await expect(opened.gate).to_have_text("loading")
    slow.web.gate.set()
    await opened.shows("mia")
    assert await opened.gates() == ["loading", "in"]
    assert len(opened.wire.of_type("Connect")) == 1


async def test_a_provider_out_of_reach_signs_nobody_out(browser: Browser, server: Server, away: Issuer) -> None:
    away.web.reachable = False
    opened = await visit(browser, server, good(away), "ned")
    await opened.wire.until(lambda wire: len(wire.of_type("Connect")) == 2)
    assert opened.wire.of_type("AuthError") == []
    assert await opened.gates() == ["loading"]
    assert opened.asked == [("ned", False)]


async def test_lost_connections_show_nothing_else(browser: Browser, server: Server, issuer: Issuer) -> None:
    async with relaying(server.port) as relay, AsyncClient(server.url) as client:
        opened = await visit(browser, relay, good(issuer), "oda")
        await opened.shows("oda")
        for text in ("one cut", "another cut"):
            relay.cut()
            await client.mutation("notes:write", {"text": text})
            await opened.page.evaluate("window.dispatchEvent(new Event('online'))")
            await expect(opened.page.locator("#shared")).to_contain_text(f'"{text}"')
        await opened.page.evaluate("write('of oda')")
        await opened.shows("oda", "of oda")
    assert await opened.users() == ["oda"]
    assert await opened.gates() == ["loading", "in"]
    states = await opened.right_states()
    shown = [state for state in states if not state["inside"] and state["gate"] == "in"]
    # A client says who it is before it says what it wants to see: at first the one may be answered without the other.
    whole = [state["mine"] is not None and state["shared"] is not None for state in shown]
    assert whole[-1]
    assert whole == sorted(whole)
    secrets = [bool(state["secret"]) for state in states if state["inside"]]
    assert secrets == sorted(secrets)


async def test_two_users_share_what_is_not_theirs(browser: Browser, server: Server, issuer: Issuer) -> None:
    async with AsyncClient(server.url) as client:
        # From here on nobody knows the answers.
        await client.mutation("notes:write", {"text": "of nobody"})
    since = len(server.lines)
    one, two = [await visit(browser, server, good(issuer), user) for user in ("ivy", "jon")]
    await one.shows("ivy")
    await two.shows("jon")
    await one.page.evaluate("write('of ivy')")
    await two.page.evaluate("write('of jon')")
    await one.shows("ivy", "of ivy")
    await two.shows("jon", "of jon")
    for opened in (one, two):
        await expect(opened.page.locator("#shared")).to_contain_text('"of ivy","of jon"')
    # Each once when first asked, and once for each of the two notes that it could show.
    assert await runs(server, "notes:shared", since) == 3
    assert await runs(server, "notes:mine", since) == 4
    assert await one.users() == ["ivy"]
    assert await two.users() == ["jon"]
