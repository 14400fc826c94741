"""`yugen run`: one call, or a query kept live."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, NoReturn

import httpx2 as httpx
from yugen_client import AsyncClient, FunctionError

from yugen import values

CALL_SECONDS_MAX = 660.0
"""A little more than an action may run."""


def run_function(function: str, args: str, *, watch: bool, url: str) -> None:
    """Calls the function and prints its result; exits with status 1 when it fails."""
    try:
        given = json.loads(args)
    except json.JSONDecodeError as error:
        _fail(f"The arguments are not JSON: {error}. Write them as '{{\"channel\": \"general\"}}'.")
    if not isinstance(given, dict):
        _fail(f"The arguments are one JSON object, by name, not {args}.")
    try:
        asyncio.run(_watch(url, function, given) if watch else _call(url, function, given))
    except httpx.ConnectError:
        _fail(f"There is no server at {url}; start one with `yugen dev`, or name another with --url.")
    except KeyboardInterrupt:
        pass


async def _call(url: str, function: str, args: dict[str, Any]) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=CALL_SECONDS_MAX) as client:
        module, _, export = function.rpartition(":")
        response = await client.post(f"/api/run/{module}/{export}", json={"args": args})
    body = response.json()
    for line in body.get("logLines", []):
        print(line, file=sys.stderr)
    if response.status_code != httpx.codes.OK:
        _fail(body["message"])
    if body["status"] == "error":
        _fail(body["errorMessage"])
    _show(body["value"])


async def _watch(url: str, function: str, args: dict[str, Any]) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        await client.get("/version")  # a server that is not there is an error now, and a reason to wait later
    async with AsyncClient(url) as subscriber:
        updates = subscriber.subscribe(function, args)
        while True:
            try:
                async for value in updates:
                    _show(values.to_clean(value))
            except FunctionError as error:
                print(error, file=sys.stderr, flush=True)


def _show(value: Any) -> None:
    print(json.dumps(_plain(value), ensure_ascii=False, indent=2), flush=True)


def _plain(value: Any) -> Any:
    """Whole numbers without a fraction, as people write them."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_plain(part) for part in value]
        case dict():
            return {key: _plain(part) for key, part in value.items()}
        case _:
            return value


def _fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(1)
