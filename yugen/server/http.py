"""The HTTP API: one function call a request (protocol.md 3)."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from yugen import __version__, values
from yugen.functions.info import Kind
from yugen.functions.names import FunctionNotFound, canonical_path
from yugen.runtime.outcome import Answer
from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Runtime
from yugen.server.caller import ANYONE, Caller, Callers, ProviderUnavailable, TokenRejected
from yugen.server.yugen import Backend, NotServing
from yugen.storage.interface import StorageError

BODY_SIZE_MAX = 16 * 1024 * 1024 + 64 * 1024
"""Bytes of a request: arguments of 16 MiB and what goes around them."""

BODY_SECONDS_MAX = 60.0
"""How long a request may take to arrive."""

Format = Literal["encoded", "clean"]
_FORMATS: dict[str, Format] = {
    "convex_encoded_json": "encoded",
    "convex_json": "encoded",
    "json": "clean",
    "convex_clean_json": "clean",
}

logger = logging.getLogger(__name__)


class HttpError(Exception):
    """A request that fails outside of any function, with its status and the body clients look for."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class HttpApi:
    """The routes of the HTTP API.

    Args:
        backend: gives what serves now, or raises NotServing.
    """

    def __init__(self, backend: Callable[[], Awaitable[Backend]]) -> None:
        self._backend = backend

    def routes(self) -> list[Route]:
        """What to mount at the root of an origin."""
        return [
            Route("/api/query", self._endpoint("query", methods=("GET", "POST"))),
            Route("/api/mutation", self._endpoint("mutation")),
            Route("/api/action", self._endpoint("action")),
            Route("/api/function", self._endpoint(None, admin_only=True)),
            Route("/api/run/{name:path}", self._endpoint(None)),
            Route("/api/{path:path}", _Endpoint(_not_here)),
            Route("/version", self._version, methods=["GET"]),
        ]

    async def _version(self, request: Request) -> Response:
        try:
            await self._backend()
        except NotServing as error:
            return PlainTextResponse(f"{error}\n", 503)
        return PlainTextResponse(__version__)

    def _endpoint(
        self, kind: Kind | None, *, methods: Sequence[str] = ("POST",), admin_only: bool = False
    ) -> _Endpoint:
        """The endpoint for functions of one kind, or of any."""

        async def answer(request: Request) -> Response:
            if request.method not in methods:
                raise HttpError(405, "MethodNotAllowed", f"Use {' or '.join(methods)}, not {request.method}.")
            backend = await self._backend()
            caller = await _caller(request, backend.callers)
            if admin_only and not caller.admin:
                raise HttpError(403, "BadDeployKey", "This takes the admin key: `Authorization: Convex <key>`.")
            path, args, form = await (_from_url(request) if request.method == "GET" else _from_body(request))
            answer = await _call(backend.runtime, kind or backend.runtime.kind_of(path), path, args, caller)
            return Response(_body(answer, form), media_type="application/json")

        return _Endpoint(answer)


class _Endpoint:
    """An ASGI app for requests of any method, whose every failure is one that clients can read."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._response(Request(scope, receive))
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except HttpError as error:
            return _error(error.status, error.code, str(error))
        except NotServing as error:
            return _error(503, "NotServing", str(error))
        except Overloaded as error:
            return _error(503, "TooManyConcurrentRequests", str(error))
        except StorageError as error:
            logger.error("the store failed: %s", error)
            return _error(503, "StorageUnavailable", "The store has failed; try again in a moment.")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Not this request was cancelled but what it waits for, because its runtime closes.
            return _error(503, "NotServing", "The server restarts; the call may have been carried out.")
        except Exception:
            logger.exception("a request failed")
            return _error(500, "InternalServerError", "The server could not do this; its log says why.")


def _error(status: int, code: str, message: str) -> Response:
    """The form in which clients expect any error outside of a function (protocol.md 3.4)."""
    return Response(orjson.dumps({"code": code, "message": message}), status, media_type="application/json")


async def _not_here(request: Request) -> Response:
    raise HttpError(404, "NotFound", "This API has /api/query, /api/mutation, /api/action, /api/run and /api/function.")


async def _call(runtime: Runtime, kind: Kind, path: str, args: bytes, caller: Caller) -> Answer:
    public = not caller.admin
    match kind:
        case "query":
            return await runtime.query(path, args, caller.identity, public=public)
        case "mutation":
            return (await runtime.mutate(path, args, caller.identity, public=public)).answer
        case "action":
            return await runtime.act(path, args, caller.identity, public=public)


async def _caller(request: Request, callers: Callers) -> Caller:
    header = request.headers.get("authorization")
    if header is None:
        return ANYONE
    scheme, _, credentials = header.partition(" ")
    try:
        match scheme.lower():
            case "convex":
                return callers.admin(*_key_and_user(credentials.strip())).caller
            case "bearer":
                return (await callers.user(credentials.strip())).caller
            case _:
                raise HttpError(400, "BadAuthorizationHeader", "Authorization is `Bearer <token>` or `Convex <key>`.")
    except TokenRejected as error:
        raise HttpError(401, error.code, str(error)) from None
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


async def _from_url(request: Request) -> tuple[str, bytes, Format]:
    query = request.query_params
    if "path" not in query:
        raise HttpError(400, "BadQueryArgs", "Give the function as `?path=module:name`.")
    return _checked(query["path"], _parse(query.get("args", "{}"), "args"), query.get("format"))


async def _from_body(request: Request) -> tuple[str, bytes, Format]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (media_type.startswith("application/") and media_type.endswith("json")):
        raise HttpError(400, "BadContentType", "Send the request as `Content-Type: application/json`.")
    body = _parse(await _read(request), "the request")
    if not isinstance(body, dict):
        raise HttpError(400, "BadJsonBody", 'The request is an object: {"path": "module:name", "args": {}}.')
    path = body.get("path")
    if "name" in request.path_params:
        # /api/run/dir/module/name
        path = ":".join(request.path_params["name"].rsplit("/", 1))
    if not isinstance(path, str):
        raise HttpError(400, "BadJsonBody", 'Name the function as {"path": "module:name"}.')
    return _checked(path, body.get("args", {}), body.get("format"))


async def _read(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_SIZE_MAX:
                    raise HttpError(413, "RequestTooLarge", f"A request has at most {BODY_SIZE_MAX} bytes.")
    except TimeoutError:
        raise HttpError(408, "RequestTimeout", f"The request took more than {BODY_SECONDS_MAX:g} s to come.") from None
    except ClientDisconnect:
        raise HttpError(400, "BadJsonBody", "The request ended before its body was complete.") from None
    return bytes(body)


def _parse(text: str | bytes, what: str) -> Any:
    try:
        return values.parse_json(text)
    except values.InvalidValue as error:
        raise HttpError(400, "BadJsonBody", f"Reading {what}: {error}") from None


def _checked(path: str, args: Any, form: object) -> tuple[str, bytes, Format]:
    """A call in the form the runtime takes. JavaScript sends arguments in an array of one, Python as they are."""
    try:
        path = canonical_path(path)
    except FunctionNotFound as error:
        raise HttpError(400, "BadConvexFunctionIdentifier", str(error)) from None
    if isinstance(args, list) and len(args) == 1:
        args = args[0]
    if not isinstance(args, dict):
        raise HttpError(400, "BadArgs", f"The arguments of {path} are one object, by name.")
    try:
        encoded = values.canonical(values.decode(args))
    except values.InvalidValue as error:
        raise HttpError(400, "BadArgs", f"An argument of {path}: {error}") from None
    return path, encoded, _format(form)


def _format(name: object) -> Format:
    if name is None:
        return "clean"
    if not isinstance(name, str) or name not in _FORMATS:
        raise HttpError(400, "BadFormat", 'The format is "convex_encoded_json" or "json".')
    return _FORMATS[name]


def _body(answer: Answer, form: Format) -> bytes:
    if answer.failure is None:
        assert answer.value is not None
        parts = [b'{"status":"success","value":', _formed(answer.value, form)]
    else:
        parts = [b'{"status":"error","errorMessage":', _text(answer.failure.message)]
        if answer.failure.data is not None:
            parts += [b',"errorData":', _formed(answer.failure.data, form)]
    if answer.log_lines:
        parts += [b',"logLines":', b"[%b]" % b",".join(map(_text, answer.log_lines))]
    return b"".join([*parts, b"}"])


def _formed(text: bytes, form: Format) -> bytes:
    return text if form == "encoded" else orjson.dumps(values.to_clean(values.loads(text)))


def _text(text: str) -> bytes:
    # A function may print half of a surrogate pair, or raise it.
    return orjson.dumps(text.encode("utf-8", "replace").decode())
