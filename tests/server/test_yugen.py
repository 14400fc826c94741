from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.apps import write_app
from tests.engine import ask, change
from tests.server.peers import NOTES, SECONDS_MAX, Client
from yugen.errors import Refused
from yugen.server.backend import NotServing
from yugen.server.connection import Connection
from yugen.server.yugen import Yugen
from yugen.storage.interface import StorageError

BROKEN = "def"
OTHER = NOTES.replace("return len(", "return 100 + len(")
UNIQUE = NOTES.replace('Index("book")', 'Index("book", unique=True)')

COUNT = {"path": "notes:count", "args": {"book": "a"}}


@pytest.fixture
async def yugen(tmp_path: Path) -> AsyncIterator[Yugen]:
    """A backend with its processes, closed at the end."""
    made = Yugen(write_app(tmp_path, notes=NOTES), development=True)
    yield made
    await made.close()


async def connected(yugen: Yugen) -> tuple[Client, asyncio.Task[None]]:
    client = Client()
    serving = asyncio.create_task(yugen.serve_socket(client))
    client.connect()
    client.subscribe((0, "notes:count", {"book": "a"}))
    await client.hear("Transition")
    return client, serving


async def test_data_outlives_the_backend(yugen: Yugen, tmp_path: Path) -> None:
    async with yugen:
        await change((await yugen.backend()).runtime, "notes:add", book="a", text="x")
    assert yugen.data == tmp_path / ".yugen"
    async with Yugen(yugen.app) as again:
        assert await ask((await again.backend()).runtime, "notes:count", book="a") == 1


async def test_starting_again_changes_nothing(yugen: Yugen) -> None:
    await yugen.start()
    backend = await yugen.backend()
    await yugen.start()
    assert await yugen.backend() is backend


async def test_it_starts_for_the_first_who_asks(yugen: Yugen) -> None:
    first, second = await asyncio.gather(yugen.backend(), yugen.backend())
    assert first is second


async def test_closing_says_goodbye_and_stays_closed(yugen: Yugen) -> None:
    await yugen.start()
    client, serving = await connected(yugen)
    await yugen.close()
    assert await client.is_closed() == (1001, "ServerShuttingDown")
    await serving
    with pytest.raises(NotServing):
        await yugen.backend()
    await yugen.start()
    await yugen.backend()


async def test_a_reload_that_waits_while_it_is_closed_opens_nothing(yugen: Yugen) -> None:
    await yugen.start()
    closing = asyncio.create_task(yugen.close())
    while not yugen.has_closed:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert not closing.done()
    with pytest.raises(NotServing, match="shutting down"):
        await yugen.reload()
    await closing
    assert not yugen.is_serving


async def test_closing_cuts_off_what_still_runs(yugen: Yugen, tmp_path: Path) -> None:
    endless = NOTES + (
        "\n\n    @action\n    async def wait(ctx: ActionCtx) -> None:\n"
        "        import asyncio\n        print('here')\n        await asyncio.Event().wait()\n"
    )
    app = write_app(tmp_path / "endless", notes=endless)
    async with Yugen(app, limits={"shutdown_seconds": 0.05}) as waiting:
        client, serving = await connected(waiting)
        client.act("notes:wait")
        client.mutate("notes:add", book="a", text="after it")
        await client.response()
    assert await client.is_closed() == (1001, "ServerShuttingDown")
    await serving


@pytest.mark.parametrize("production", [True, False])
async def test_an_app_that_does_not_load(tmp_path: Path, caplog: pytest.LogCaptureFixture, production: bool) -> None:
    broken = Yugen(write_app(tmp_path, notes=BROKEN), development=not production)
    with pytest.raises(Refused, match=r"notes\.py"):
        await broken.start()
    lazy = Yugen(broken.app, development=not production)
    for _ in range(2):
        with pytest.raises(NotServing) as refusal:
            await lazy.backend()
        assert ("notes.py" in str(refusal.value)) != production
    assert caplog.text.count("cannot start") == 1
    write_app(tmp_path, notes=NOTES)
    await lazy.start()
    await lazy.close()


async def test_data_in_use_elsewhere(yugen: Yugen) -> None:
    await yugen.start()
    second = Yugen(yugen.app)
    with pytest.raises(StorageError, match=str(yugen.data)):
        await second.start()
    assert await ask((await yugen.backend()).runtime, "notes:count", book="a") == 0


async def test_reloading_takes_up_new_code(yugen: Yugen, tmp_path: Path) -> None:
    await yugen.start()
    client, serving = await connected(yugen)
    write_app(tmp_path, notes=OTHER)
    await yugen.reload()
    assert await client.values() == {0: 100}
    assert await ask((await yugen.backend()).runtime, "notes:count", book="a") == 100
    client.leave()
    await serving


@pytest.mark.usefixtures("started_as_people_do")
async def test_reloading_again_and_again_leaves_nothing_behind(yugen: Yugen, tmp_path: Path) -> None:
    await yugen.start()
    client, serving = await connected(yugen)
    counts = []
    for number in range(1, 10):
        write_app(tmp_path, notes=NOTES.replace("return len(", f"return {number * 100} + len("))
        await yugen.reload()
        assert await client.values() == {0: number * 100}
        versions = (await yugen.backend()).runtime._runner
        async with asyncio.timeout(SECONDS_MAX):
            while len(versions) > 1:
                await asyncio.wait(versions._leaving)
        gc.collect()
        counts.append(len(gc.get_objects()))
    assert len(children(os.getpid())) == 1, "a process of an earlier version is left"
    assert counts[8] - counts[4] < 200, counts
    client.leave()
    await serving


def children(pid: int) -> list[int]:
    """Processes that another has started and that still run."""
    found = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [each for each in found if "nursery" in Path(f"/proc/{each}/cmdline").read_text()]


async def test_other_providers_ask_those_who_are_signed_in_for_another_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = 'JwtProvider(issuer="https://{}.example", audience="notes", jwks="https://{}.example/keys")'
    auth = "from yugen import JwtProvider\n\nproviders = [" + issuer + "]\n"
    async with Yugen(write_app(tmp_path, notes=NOTES, auth=auth.format("a", "a")), development=True) as yugen:
        expired: list[str] = []
        monkeypatch.setattr(Connection, "expire_token", lambda self, error: expired.append(error))
        client, serving = await connected(yugen)
        callers = (await yugen.backend()).callers
        write_app(tmp_path, notes=OTHER)
        await yugen.reload()
        assert await client.values() == {0: 100}
        assert expired == []
        for providers, count in (("b", 1), ("b", 1), ("c", 2)):
            write_app(tmp_path, auth=auth.format(providers, providers))
            await yugen.reload()
            assert len(expired) == count
        assert (await yugen.backend()).callers is callers
        client.leave()
        await serving


async def test_a_reload_that_does_not_load_changes_nothing(yugen: Yugen, tmp_path: Path) -> None:
    await yugen.start()
    backend = await yugen.backend()
    client, serving = await connected(yugen)
    write_app(tmp_path, notes=BROKEN)
    with pytest.raises(Refused, match=r"notes\.py.*1"):
        await yugen.reload()
    assert await yugen.backend() is backend
    await change(backend.runtime, "notes:add", book="a", text="x")
    assert await client.values() == {0: 1}
    client.leave()
    await serving


async def test_a_reload_that_does_not_fit_the_data_leaves_all_as_it_was(yugen: Yugen, tmp_path: Path) -> None:
    await yugen.start()
    backend = await yugen.backend()
    for _ in range(2):
        await change(backend.runtime, "notes:add", book="a", text="x")
    write_app(tmp_path, notes=UNIQUE)
    with pytest.raises(Refused, match="unique"):
        await yugen.reload()
    assert await yugen.backend() is backend
    assert await ask(backend.runtime, "notes:count", book="a") == 2
    write_app(tmp_path, notes=NOTES)
    await yugen.reload()
    assert await ask((await yugen.backend()).runtime, "notes:count", book="a") == 2


async def test_starting_can_be_cancelled(yugen: Yugen) -> None:
    starting = asyncio.create_task(yugen.start())
    await asyncio.sleep(0)
    starting.cancel()
    async with asyncio.timeout(SECONDS_MAX):
        with pytest.raises(asyncio.CancelledError):
            await starting
        await yugen.start()


async def test_mounted_without_a_lifespan_it_starts_by_itself(yugen: Yugen, caplog: pytest.LogCaptureFixture) -> None:
    app = Starlette(routes=[Mount("/backend", yugen.asgi())])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://yugen") as client:
        assert (await client.post("/backend/api/query", json=COUNT)).json()["value"] == 0
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_with_a_lifespan_it_starts_and_closes_with_it(yugen: Yugen) -> None:
    app = yugen.asgi()
    sent: asyncio.Queue[str] = asyncio.Queue()
    told: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.put_nowait(message["type"])

    async def live() -> None:
        await app({"type": "lifespan", "asgi": {"version": "3.0"}}, told.get, send)

    living = asyncio.create_task(live())
    told.put_nowait({"type": "lifespan.startup"})
    assert await sent.get() == "lifespan.startup.complete"
    await yugen.backend()
    told.put_nowait({"type": "lifespan.shutdown"})
    assert await sent.get() == "lifespan.shutdown.complete"
    await living
    with pytest.raises(NotServing):
        await yugen.backend()


async def test_the_lifespan_of_an_outer_app_starts_and_closes_it(yugen: Yugen) -> None:
    app = FastAPI(lifespan=yugen.lifespan)
    app.mount("/backend", yugen.asgi())
    for _ in range(2):
        async with app.router.lifespan_context(app):
            assert yugen.loop is asyncio.get_running_loop()
            assert not yugen.has_closed
        assert yugen.has_closed


def test_limits_are_settings(tmp_path: Path) -> None:
    limits = Yugen(tmp_path, limits={"transaction_seconds": 3, "subscriptions": 5, "connections": 7}).limits
    assert (limits.run.transaction_seconds, limits.session.subscriptions, limits.server.connections) == (3.0, 5, 7)
