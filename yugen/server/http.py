"""What all endpoints over HTTP have in common: credentials, bodies, and failures that clients can read."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from yugen import values
from yugen.errors import TokenRejected
from yugen.runtime.disk_failures import known_failure
from yugen.runtime.own import CallRefused
from yugen.runtime.runner import Overloaded
from yugen.server.backend import Backend, NotServing
from yugen.server.caller import ANYONE, Caller, Callers, ProviderUnavailable
from yugen.server.limits import Requests
from yugen.server.stepping import Done, step
from yugen.storage.interface import StorageError

BODY_SIZE_MAX = 16 * 1024 * 1024 + 64 * 1024
"""Bytes of a request: arguments of 16 MiB and what goes around them."""

BODY_SECONDS_MAX = 60.0
"""How long a request may take to arrive."""

logger = logging.getLogger(__name__)


class HttpError(Exception):
    """A request that fails outside of any function, with its status and the body clients look for."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Endpoint:
    """An ASGI app for requests of any method, whose every failure is one that clients can read."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, whatever its method; of its scope it needs what every server gives."""
        response = await self.respond(Request(scope, receive))
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """The response to a request."""
        try:
            return await self._answer(request)
        except HttpError as error:
            return error_response(error.status, error.code, str(error))
        except CallRefused as error:
            return error_response(400, error.code, str(error))
        except NotServing as error:
            return error_response(503, "NotServing", str(error))
        except Overloaded as error:
            return error_response(503, "TooManyConcurrentRequests", str(error))
        except StorageError as error:
            logger.error("the store failed: %s", error)
            failure = known_failure(error)
            if failure is not None:
                return error_response(507 if error.full else 500, failure.code, str(failure))
            return error_response(503, "StorageUnavailable", "The store has failed; try again in a moment.")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not this request was cancelled but what it waits for, because its runtime closes.
            return error_response(503, "NotServing", "The server restarts; the call may have been carried out.")
        except Exception:
            logger.exception("a request failed")
            return error_response(500, "InternalServerError", "The server could not do this; its log says why.")


class Endpoints:
    """Makes endpoints that ask what serves now, and of whose requests so many may be under way at once.

    Args:
        backend: gives what serves now, or raises NotServing.
        requests_max: requests that may be under way at once.
        requests: counts those that are; by default by itself.
    """

    def __init__(
        self, backend: Callable[[], Awaitable[Backend]], *, requests_max: int, requests: Requests | None = None
    ) -> None:
        self.backend = backend
        self._requests_max = requests_max
        self._requests = requests or Requests()

    def make(self, answer: Callable[[Request, Backend], Awaitable[Response]], *methods: str) -> Endpoint:
        """An endpoint for these methods, `POST` if none is given."""

        async def limited(request: Request) -> Response:
            check_method(request, methods or ("POST",))
            requests = self._requests
            if requests.under_way >= self._requests_max:
                requests.refused += 1
                raise Overloaded(f"{requests.under_way} requests are under way already; try again in a moment.")
            requests.under_way += 1
            try:
                return await answer(request, await self.backend())
            finally:
                requests.under_way -= 1

        return Endpoint(limited)


class JsonResponse(Response):
    """JSON that is text already. Starlette's own response asks of each what its headers may be."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]


def check_method(request: Request, methods: Sequence[str]) -> None:
    """Refuses a request with another method than these."""
    if request.method not in methods:
        raise HttpError(405, "MethodNotAllowed", f"Use {' or '.join(methods)}, not {request.method}.")


def error_response(status: int, code: str, message: str) -> Response:
    """The form in which clients expect any error outside of a function (protocol.md 3.4)."""
    return JsonResponse(orjson.dumps({"code": code, "message": message}), status)


def header(request: Request, name: bytes) -> str | None:
    """The first header of a name in small letters. Starlette's own lookup takes ten times as long."""
    for each, value in request.scope["headers"]:
        if each == name:
            return value.decode("latin-1")  # type: ignore[no-any-return]
    return None


async def caller_of(request: Request, callers: Callers) -> Caller:
    """Who makes a request, by its Authorization header."""
    try:
        return await _caller_of(request, callers)
    except TokenRejected as error:
        raise HttpError(401, error.code, str(error)) from None


async def admin_of(request: Request, callers: Callers) -> Caller:
    """The administrator who makes a request.

    Raises:
        HttpError: it is nobody, or somebody else. The status is 403 also where the key is wrong: on 401, the convex
            command line tries again for ever.
    """
    try:
        caller = await _caller_of(request, callers)
    except TokenRejected as error:
        raise HttpError(403, error.code, str(error)) from None
    if not caller.admin:
        raise HttpError(403, "BadDeployKey", "This takes the admin key: `Authorization: Convex <key>`.")
    return caller


async def _caller_of(request: Request, callers: Callers) -> Caller:
    authorization = header(request, b"authorization")
    if authorization is None:
        return ANYONE
    scheme, _, credentials = authorization.partition(" ")
    try:
        match scheme.lower():
            case "convex":
                return callers.admin(*_key_and_user(credentials.strip())).caller
            case "bearer":
                return (await callers.user(credentials.strip())).caller
            case _:
                raise HttpError(400, "BadAuthorizationHeader", "Authorization is `Bearer <token>` or `Convex <key>`.")
    except ProviderUnavailable as error:
        raise HttpError(503, "AuthProviderUnavailable", str(error)) from None


def _key_and_user(credentials: str) -> tuple[str, dict[str, Any] | None]:
    """The admin key and the user to act as, of `<key>:<B64(JSON user)>`. A `:` before the `|` is one of the key."""
    name, bar, rest = credentials.partition("|")
    secret, colon, user = rest.partition(":")
    if not colon:
        return credentials, None
    try:
        attributes = values.parse_json(base64.b64decode(user, validate=True))
    except (ValueError, values.InvalidValue):
        attributes = None
    if not isinstance(attributes, dict):
        raise HttpError(400, "BadAuthorizationHeader", "After the admin key and `:` comes a user as JSON in base 64.")
    return f"{name}{bar}{secret}", attributes


async def read_json(request: Request) -> dict[str, Any]:
    """The body of a request, which is one JSON object."""
    return json_object(await read_json_text(request))


async def read_json_text(request: Request) -> bytes:
    """The body of a request, which says that it is JSON."""
    media_type = header(request, b"content-type") or ""
    if media_type != "application/json":
        media_type = media_type.partition(";")[0].strip().lower()
        if not (media_type.startswith("application/") and media_type.endswith("json")):
            raise HttpError(400, "BadContentType", "Send the request as `Content-Type: application/json`.")
    return await read_body(request)


def json_object(text: bytes) -> dict[str, Any]:
    """The one JSON object that is the body of a request."""
    body = parse(text, "the request")
    if not isinstance(body, dict):
        raise HttpError(400, "BadJsonBody", "The request is a JSON object.")
    return body


async def read_body(request: Request) -> bytes:
    """The body of a request, if it comes in time and is not too large."""
    reading = step(_body(request))
    if isinstance(reading, Done):
        # Nearly always all of it has come already, and setting a deadline would have taken longer than reading it.
        return reading.result
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            return await reading
    except TimeoutError:
        raise HttpError(408, "RequestTimeout", f"The request took more than {BODY_SECONDS_MAX:g} s to come.") from None


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise HttpError(400, "BadJsonBody", "The request ended before its body was complete.")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > BODY_SIZE_MAX:
            raise HttpError(413, "RequestTooLarge", f"A request has at most {BODY_SIZE_MAX} bytes.")
        if not message.get("more_body", False):
            return b"".join(chunks)


def parse(text: str | bytes, what: str) -> Any:
    """Parsed JSON; `what` is named in the error."""
    try:
        return values.parse_json(text)
    except values.InvalidValue as error:
        raise HttpError(400, "BadJsonBody", f"Reading {what}: {error}") from None
