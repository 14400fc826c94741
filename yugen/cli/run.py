"""`yugen run`: one call, or a query kept live. Results are printed in the form in which arguments are given."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx2 as httpx

from yugen.cli.remote import fail, not_yugen, parsed, talking_to
from yugen.functions.names import canonical_path
from yugen_client import AsyncClient, FunctionError
from yugen_client.values import encode

CALL_SECONDS_MAX = 660.0
"""A little more than an action may run."""

_EXACT_MAX = 2**53


def run_function(function: str, args: str, *, watch: bool, url: str) -> None:
    """Calls the function and prints its result. Exits with status 1 when it fails, with 130 when interrupted."""
    try:
        given = json.loads(args)
    except (ValueError, RecursionError) as error:
        fail(f"""The arguments are not JSON: {error}. Write them like '{{"channel": "general"}}'.""")
    if not isinstance(given, dict):
        fail(f"""The arguments are one JSON object, not {args[:100]}. Write them like '{{"channel": "general"}}'.""")
    with talking_to(url):
        function = canonical_path(function)
        asyncio.run(_watch(url, function, given) if watch else _call(url, function, given))


async def _call(url: str, function: str, args: dict[str, Any]) -> None:
    async with httpx.AsyncClient(timeout=CALL_SECONDS_MAX) as client:
        request = {"args": args, "format": "convex_encoded_json"}
        response = await client.post(f"{url.rstrip('/')}/api/run/{function.replace(':', '/')}", json=request)
    match parsed(response, url):
        case {"status": "success", "value": value, **rest}:
            _show_lines(rest)
            _show(value)
        case {"status": "error", "errorMessage": str(message), **rest}:
            _show_lines(rest)
            data = f"\n{_pretty(rest['errorData'])}" if "errorData" in rest else ""
            fail(f"{message}{data}")
        case _:
            not_yugen(response, url)


async def _watch(url: str, function: str, args: dict[str, Any]) -> None:
    async with httpx.AsyncClient() as client:
        # A server that is not there is a mistake now, and a reason to wait later.
        await client.get(f"{url.rstrip('/')}/version")
    async with AsyncClient(url) as client:
        updates = client.subscribe(function, args)
        while True:
            try:
                async for value in updates:
                    _show(encode(value))
            except FunctionError as error:
                print(error, file=sys.stderr, flush=True)


def _show_lines(answer: dict[Any, Any]) -> None:
    for line in answer.get("logLines", []):
        print(line, file=sys.stderr)


def _show(value: Any) -> None:
    print(_pretty(value), flush=True)


def _pretty(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, indent=2)


def _plain(value: Any) -> Any:
    """Whole numbers without a fraction, as people write them."""
    match value:
        case float() if value.is_integer() and abs(value) < _EXACT_MAX:
            return int(value)
        case list():
            return [_plain(part) for part in value]
        case dict():
            return {key: _plain(part) for key, part in value.items()}
        case _:
            return value
