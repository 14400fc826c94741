"""`yugen run`: one call, or a query kept live. Results are printed in the form in which arguments are given."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any, NoReturn
from urllib.parse import urlsplit

import httpx2 as httpx

from yugen.functions.names import FunctionNotFound, canonical_path
from yugen_client import AsyncClient, ClientError, FunctionError
from yugen_client.values import encode

CALL_SECONDS_MAX = 660.0
"""A little more than an action may run."""

_INTERRUPTED = 130
_EXACT_MAX = 2**53


def run_function(function: str, args: str, *, watch: bool, url: str) -> None:
    """Calls the function and prints its result. Exits with status 1 when it fails, with 130 when interrupted."""
    try:
        given = json.loads(args)
    except (ValueError, RecursionError) as error:
        _fail(f"""The arguments are not JSON: {error}. Write them like '{{"channel": "general"}}'.""")
    if not isinstance(given, dict):
        _fail(f"""The arguments are one JSON object, not {args[:100]}. Write them like '{{"channel": "general"}}'.""")
    if not _is_address(url):
        _fail(f"{url} is not an address of a server; write --url like http://127.0.0.1:3210.")
    try:
        function = canonical_path(function)
        asyncio.run(_watch(url, function, given) if watch else _call(url, function, given))
    except httpx.ConnectError:
        _fail(f"There is no server at {url}; start one with `yugen dev`, or name another with --url.")
    except httpx.TransportError as error:
        _fail(f"{url} does not answer ({type(error).__name__} {error}); name another server with --url.")
    except (ClientError, FunctionNotFound) as error:
        _fail(str(error))
    except BrokenPipeError:
        # Whoever read the output has had enough. Python would complain once more when it flushes on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


async def _call(url: str, function: str, args: dict[str, Any]) -> None:
    async with httpx.AsyncClient(timeout=CALL_SECONDS_MAX) as client:
        request = {"args": args, "format": "convex_encoded_json"}
        response = await client.post(f"{url.rstrip('/')}/api/run/{function.replace(':', '/')}", json=request)
    match _parsed(response.text):
        case {"status": "success", "value": value, **rest}:
            _show_lines(rest)
            _show(value)
        case {"status": "error", "errorMessage": str(message), **rest}:
            _show_lines(rest)
            data = f"\n{_pretty(rest['errorData'])}" if "errorData" in rest else ""
            _fail(f"{message}{data}")
        case {"code": str(), "message": str(message)}:
            _fail(message)
        case _:
            _fail(f"{url} is not a Yugen server: it answered with {response.status_code} {response.text[:100]!r}.")


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


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


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


def _fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(1)
