"""All that is answered over HTTP, in one process: what may come back, whatever was sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from reliability.fuzzing import requests
from reliability.fuzzing.surface import TAKEN, Attempt, Finding, Surface
from reliability.fuzzing.world import SECRET, Reply, World, filled, in_process

CODES: Final = frozenset(
    (
        *("AdministratorsOnly", "BadArgs", "BadAuthorizationHeader", "BadContentType", "BadConvexFunctionIdentifier"),
        *(
            "BadCursor",
            "BadDeployKey",
            "BadFormat",
            "BadJsonBody",
            "BadLimit",
            "BadPath",
            "BadQueryArgs",
            "BadTimestamp",
        ),
        *("BatchTooLarge", "ComponentNotFound", "ExportNotFound", "FileNotFound", "FileTooLarge", "FunctionNotFound"),
        *("ImportNotPossible", "ImportTooLarge", "InvalidAuthHeader", "InvalidEnvironmentVariable", "InvalidFile"),
        *("InvalidStoragePath", "MethodNotAllowed", "NoAuthProvider", "NotFound", "NotInDevelopment", "NotSupported"),
        *("RequestTimeout", "RequestTooLarge", "Sha256Mismatch", "StorageTokenExpired", "StorageTokenInvalid"),
        *("StorageTokenUsed", "TimestampOutOfReach", "UploadBroken", "UploadNotFound", "WrongKind", "ExportInProgress"),
        *("ArgumentValidationError", "InvalidId"),
    )
)
"""By which a request of the API may be refused."""


def outcome(reply: Reply, target: str) -> str:
    """What has become of a request, in a word.

    Raises:
        Finding: the response is none that there may be.
    """
    if not reply.statuses:
        return "nothing"
    status, head = reply.statuses[0], reply.heads[0] if reply.heads else {}
    body = reply.bodies[0] if reply.bodies else b""
    if status >= 500:
        raise Finding(f"{status}: {body[:300]!r}")
    is_json = status not in (206, 304) and head.get("content-type", "").startswith("application/json")
    said = _said(body) if is_json else None
    if status < 400:
        if isinstance(said, dict) and said.get("status") == "error":
            return "function failed"
        return TAKEN if status < 300 else f"{TAKEN}, {status}"
    if target.startswith("/api/") and reply.paths and "content-type" in head and status not in (304, 416):
        _check_refusal(said, status, body)
    return f"{status} {said['code']}" if isinstance(said, dict) and "code" in said else str(status)


def _said(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        raise Finding(f"it says that it is JSON: {body[:300]!r}") from None


def _check_refusal(said: Any, status: int, body: bytes) -> None:
    if not isinstance(said, dict) or said.get("code") not in CODES or not said.get("message"):
        raise Finding(f"{status} with an error that is not declared: {body[:300]!r}")


def check(reply: Reply, given: Any) -> None:
    """Whether what came back gives away what it may not.

    Raises:
        Finding: it does.
    """
    if SECRET.encode() in reply.raw:
        raise Finding(f"a secret comes back: {reply.raw[:500]!r}")
    if b"Traceback (most recent" in reply.raw or b'File "/' in reply.raw:
        raise Finding(f"a traceback comes back: {reply.raw[:500]!r}")
    if len(reply.statuses) > 1 and isinstance(given, dict) and "\n" not in str(given.get("headers")):
        raise Finding(f"one request has had several responses: {reply.statuses}")


async def attempt(world: World, given: Any) -> str:
    """Sends a request, and judges what came back and what has changed."""
    before = await world.digest()
    texts = {name: await _filled(world, given[name]) for name in given}
    reply = await world.send(requests.rendered(texts))
    if complaints := world.complaints():
        raise Finding("it is logged: " + "\n".join(complaints))
    check(reply, given)
    result = outcome(reply, str(texts.get("target", "")))
    if not result.startswith(TAKEN) and (after := await world.digest()) != before:
        raise Finding(f"it is refused ({result}), and has changed what is stored: {before} {after}")
    return result


async def _filled(world: World, part: Any) -> Any:
    if isinstance(part, list):
        return [await _filled(world, each) for each in part]
    return await filled(world, part) if isinstance(part, str) else part


@asynccontextmanager
async def _opened() -> AsyncIterator[Attempt]:
    async with in_process() as world:
        yield partial(attempt, world)


SURFACES: Final = (
    Surface(
        "http",
        requests.request,
        _opened,
        "Requests: refused as declared, with nothing changed, nothing logged, no secret told.",
        60,
    ),
)
