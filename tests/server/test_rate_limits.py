"""Limits of what one address may ask for, against those who would have more."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import websockets
from starlette.types import ASGIApp

from tests.apps import write_app
from tests.server.peers import SECONDS_MAX
from yugen.rates import Rate
from yugen.server.limits import ServerLimits
from yugen.server.listen import Server
from yugen.server.proxies import BehindProxies, Proxies
from yugen.server.rate_limits import AddressLimits, Buckets, LimitedByAddress
from yugen.server.yugen import Yugen

ATTACKER = "9.9.9.9"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def scope(
    host: str | None, kind: str = "http", path: str = "/", headers: dict[str, str] | None = None
) -> dict[str, Any]:
    client = None if host is None else (host, 4711)
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return {"type": kind, "scheme": "http", "path": path, "method": "GET", "client": client, "headers": raw}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> AddressLimits:
    return AddressLimits(ServerLimits(address_requests=6, address_connections=2), clock=clock)


def test_requests_and_sockets_are_counted_apart(limits: AddressLimits, clock: Clock) -> None:
    assert [limits.wait_ms(scope(ATTACKER)) for _ in range(7)] == [0] * 6 + [10_000]
    assert [limits.wait_ms(scope(ATTACKER, "websocket")) for _ in range(3)] == [0, 0, 30_000]
    assert limits.wait_ms(scope("1.1.1.1")) == 0
    clock.now += 9.999
    assert limits.wait_ms(scope(ATTACKER)) == 1
    clock.now += 0.001
    assert [limits.wait_ms(scope(ATTACKER)) for _ in range(2)] == [0, 10_000]


def test_addresses_of_one_network_count_as_one(limits: AddressLimits) -> None:
    hosts = [f"2620:fe:1:2:{number:x}::{number:x}" for number in range(1, 8)]
    assert [limits.wait_ms(scope(host)) > 0 for host in hosts] == [False] * 6 + [True]
    assert limits.wait_ms(scope("2620:fe:1:3::1")) == 0


def test_spellings_of_one_address_count_as_one(limits: AddressLimits) -> None:
    hosts = ["2620:fe::9", "2620:00fe::9", "2620:FE::9", "2620:fe:0:0:0:0:0:9", "2620:fe::0.0.0.9", "2620:fe::9%1"]
    assert [limits.wait_ms(scope(host)) for host in hosts] == [0] * 6
    assert limits.wait_ms(scope("2620:fe:0::9"))
    assert [limits.wait_ms(scope(host)) for host in [ATTACKER, f"::ffff:{ATTACKER}", "::ffff:909:909"] * 2] == [0] * 6
    assert limits.wait_ms(scope(f"::FFFF:{ATTACKER}"))


def test_what_is_no_address_is_one(limits: AddressLimits) -> None:
    assert [limits.wait_ms(scope(f"made up {number}")) > 0 for number in range(7)] == [False] * 6 + [True]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.0.0.5", "192.168.1.9", "fd00::9", None])
def test_networks_of_ones_own_are_not_counted(limits: AddressLimits, host: str | None) -> None:
    assert [limits.wait_ms(scope(host)) for _ in range(20)] == [0] * 20


def forging(number: int) -> dict[str, str]:
    other = f"8.8.{number}.8"
    return {"x-forwarded-for": other, "x-real-ip": other, "forwarded": f"for={other}", "cf-connecting-ip": other}


async def statuses(app: ASGIApp, scopes: list[dict[str, Any]]) -> list[int]:
    found = []

    async def receive() -> Any:
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])

    for each in scopes:
        await app(each, receive, send)
    return found


async def ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def test_headers_that_a_client_makes_up_give_it_nothing(limits: AddressLimits) -> None:
    app = BehindProxies(Proxies("10.0.0.0/8"), LimitedByAddress(limits, ok))
    asked = [scope(ATTACKER, headers=forging(number)) for number in range(7)]
    assert await statuses(app, asked) == [200] * 6 + [429]
    # Neither do they behind a proxy, which appends who has come to it.
    behind = [
        scope("10.0.0.5", headers={**forging(number), "x-forwarded-for": f"8.8.{number}.8, 1.1.1.1"})
        for number in range(7)
    ]
    assert await statuses(app, behind) == [200] * 6 + [429]
    claimed = [scope("10.0.0.5", headers={"x-forwarded-for": f"127.0.0.1, {ATTACKER}"})]
    assert await statuses(app, claimed) == [429]


async def test_no_path_is_a_way_past_it(limits: AddressLimits) -> None:
    app = LimitedByAddress(limits, ok)
    paths = ["/api/query", "//api/query", "/API/query", "/api//query", "/api/query/", "/http/x", "/anything"]
    assert await statuses(app, [scope(ATTACKER, path=path) for path in paths]) == [200] * 6 + [429]


def test_no_more_addresses_are_known_than_there_is_room_for() -> None:
    buckets = Buckets(Rate("token bucket", 2, 60_000, 2), keys_max=100)
    for number in range(1000):
        assert buckets.take(str(number), 0) == 0
        buckets.take("regular", 0)
    assert len(buckets) == 100
    assert buckets.take("regular", 0) > 0, "whoever comes again and again is not forgotten"
    assert buckets.take("0", 0) == 0


def test_the_log_says_so_once_a_minute(limits: AddressLimits, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for number in range(40):
            limits.wait_ms(scope(f"9.9.9.{number % 4}"))
        assert len(caplog.messages) == 1
        assert "9.9.9.0 has made too many requests" in caplog.text
        clock.now += 61
        for _ in range(20):
            limits.wait_ms(scope(ATTACKER, "websocket"))
        assert len(caplog.messages) == 2
        assert "FORWARDED_ALLOW_IPS" in caplog.messages[1]


APP = """
    from yugen import ActionCtx, HttpRouter, QueryCtx, RateLimit, internal_mutation, query
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response

    http = HttpRouter()
    hooks = RateLimit("hooks", rate=1, per=60)

    @query
    async def one(ctx: QueryCtx) -> int:
        return 1

    @http.route("/client")
    async def client(ctx: ActionCtx, request: Request) -> Response:
        return JSONResponse(request.client.host)

    @http.route("/hook", methods=["POST"])
    async def hook(ctx: ActionCtx, request: Request) -> Response:
        await hooks.take(ctx)
        return Response()
"""


@asynccontextmanager
async def serving(folder: Path, **limits: float) -> AsyncIterator[tuple[str, str]]:
    """A server on real sockets, which believes this machine about the addresses of clients; and its site."""
    app = write_app(folder / "app", http=APP)
    async with Yugen(app, database=folder / "data", limits=limits) as yugen:
        api, site = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        ready = asyncio.Event()
        server = Server(yugen, ready.set, site_port=site.getsockname()[1])
        task = asyncio.create_task(server.serve(sockets=[api, site]))
        await ready.wait()
        yield f"127.0.0.1:{api.getsockname()[1]}", f"127.0.0.1:{site.getsockname()[1]}"
        server.should_exit = True
        async with asyncio.timeout(SECONDS_MAX):
            await task


async def test_clients_are_told_when_to_come_back(tmp_path: Path) -> None:
    by = {"X-Forwarded-For": ATTACKER}
    async with serving(tmp_path, address_requests=6) as (api, site), httpx.AsyncClient() as client:
        for number in range(6):
            url = f"http://{site}/client" if number % 2 else f"http://{api}//api/query"
            body = {"path": "http:one", "args": {}}
            response = await (client.get(url, headers=by) if number % 2 else client.post(url, json=body, headers=by))
            assert response.status_code == 200
        for url in (f"http://{api}/api/query", f"http://{site}/client", f"http://{api}/http/client", f"http://{api}/"):
            response = await client.post(url, json={}, headers={**by, "Origin": "https://app.example"})
            assert response.status_code == 429
            assert 0 < int(response.headers["Retry-After"]) <= 10
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert response.headers["Access-Control-Expose-Headers"] == "Retry-After"
            error = response.json()
            assert error["code"] == "RateLimited"
            assert error["message"].startswith("This address has made too many requests; try again in ")
        assert (await client.get(f"http://{site}/client", headers={"X-Forwarded-For": "1.1.1.1"})).json() == "1.1.1.1"
        assert (await client.get(f"http://{site}/client")).json() == "127.0.0.1"


async def test_sockets_are_closed_for_a_reason_that_clients_know(tmp_path: Path) -> None:
    by = {"X-Forwarded-For": f"127.0.0.1, {ATTACKER}"}
    async with serving(tmp_path, address_connections=2) as (api, _):
        for _ in range(2):
            async with websockets.connect(f"ws://{api}/api/1.0.0/sync", additional_headers=by) as ws:
                await (await ws.ping())
        async with websockets.connect(f"ws://{api}//api/1.0.0/sync", additional_headers=by) as ws:
            with pytest.raises(websockets.ConnectionClosed):
                await ws.recv()
            assert (ws.close_code, ws.close_reason) == (1013, "TooManyConcurrentRequests:address")
        async with websockets.connect(f"ws://{api}/api/1.0.0/sync") as ws:
            await (await ws.ping())


async def test_a_route_that_lets_a_limit_through_is_answered_429(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, site), httpx.AsyncClient() as client:
        assert (await client.post(f"http://{site}/hook")).status_code == 200
        response = await client.post(f"http://{site}/hook")
        assert response.status_code == 429
        assert 50 < int(response.headers["Retry-After"]) <= 60
        error = response.json()
        assert error["code"] == error["data"]["code"] == "RateLimited"
        assert error["message"].startswith("hooks is limited; try again in ")
        assert error["data"]["name"] == "hooks"
