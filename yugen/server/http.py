"""The HTTP API: one function call a request (protocol.md 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from yugen import __version__, values
from yugen.functions.info import Kind
from yugen.runtime.outcome import Answer
from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Runtime
from yugen.server.caller import ADMIN, ANYONE, AdminKey, Caller
from yugen.storage.interface import StorageError

BODY_SIZE_MAX = 16 * 1024 * 1024 + 64 * 1024
"""Bytes of a request: arguments of 16 MiB and what goes around them."""

Format = Literal["encoded", "clean"]
_FORMATS: dict[object, Format] = {
    "convex_encoded_json": "encoded",
    "convex_json": "encoded",
    "json": "clean",
    "convex_clean_json": "clean",
    None: "clean",
}


class HttpError(Exception):
    """A request that fails outside of any function, with its status and the body clients look for."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class HttpApi:
    """The routes of the HTTP API.

    Args:
        runtime: gives the running runtime.
        admin_key: tells administrators.
    """

    def __init__(self, runtime: Callable[[], Runtime], admin_key: Callable[[], AdminKey]) -> None:
        self._runtime = runtime
        self._admin_key = admin_key

    def routes(self) -> list[Route]:
        """What to mount at the root of an origin."""
        return [
            Route("/api/query", self._endpoint("query"), methods=["POST", "GET"]),
            Route("/api/mutation", self._endpoint("mutation"), methods=["POST"]),
            Route("/api/action", self._endpoint("action"), methods=["POST"]),
            Route("/api/function", self._endpoint(None, admin_only=True), methods=["POST"]),
            Route("/api/run/{name:path}", self._endpoint(None), methods=["POST"]),
            Route("/version", self._version, methods=["GET"]),
        ]

    async def _version(self, request: Request) -> Response:
        return PlainTextResponse(__version__)

    def _endpoint(self, kind: Kind | None, *, admin_only: bool = False) -> Callable[[Request], Any]:
        """The endpoint for functions of one kind, or of any."""

        async def endpoint(request: Request) -> Response:
            try:
                caller = self._caller(request)
                if admin_only and not caller.admin:
                    raise HttpError(403, "BadDeployKey", "This takes the admin key: `Authorization: Convex <key>`.")
                return await self._call(request, kind, caller)
            except HttpError as error:
                body = values.dumps({"code": error.code, "message": str(error)})
                return Response(body, error.status, media_type="application/json")

        return endpoint

    async def _call(self, request: Request, kind: Kind | None, caller: Caller) -> Response:
        path, args, form = self._from_url(request) if request.method == "GET" else await self._from_body(request)
        runtime = self._runtime()
        public = not caller.admin
        try:
            match kind or runtime.kind_of(path):
                case "query":
                    answer = await runtime.query(path, args, caller.identity, public=public)
                case "mutation":
                    answer = (await runtime.mutate(path, args, caller.identity, public=public)).answer
                case "action":
                    answer = await runtime.act(path, args, caller.identity, public=public)
        except Overloaded as error:
            raise HttpError(503, "TooManyConcurrentRequests", str(error)) from None
        except StorageError as error:
            raise HttpError(503, "StorageUnavailable", f"Nothing was changed: {error}") from None
        return Response(_body(answer, form), media_type="application/json")

    def _caller(self, request: Request) -> Caller:
        header = request.headers.get("authorization")
        if header is None:
            return ANYONE
        scheme, _, credentials = header.partition(" ")
        match scheme.lower():
            case "convex" if self._admin_key().opens(credentials):
                return ADMIN
            case "convex":
                raise HttpError(401, "BadDeployKey", "The admin key is not the one of this deployment.")
            case "bearer":
                raise HttpError(401, "NoAuthProvider", "This deployment has no auth providers; declare them in auth.py.")
            case _:
                raise HttpError(400, "BadAuthorizationHeader", "Authorization is `Bearer <token>` or `Convex <key>`.")

    def _from_url(self, request: Request) -> tuple[str, bytes, Format]:
        query = request.query_params
        if "path" not in query:
            raise HttpError(400, "BadQueryArgs", "Give the function as `?path=module:name`.")
        args = _parse(query.get("args", "{}"), "args")
        return query["path"], _arguments(query["path"], args), _format(query.get("format"))

    async def _from_body(self, request: Request) -> tuple[str, bytes, Format]:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip()
        if not (media_type.startswith("application/") and media_type.endswith("json")):
            raise HttpError(400, "BadContentType", "Send the request as `Content-Type: application/json`.")
        body = _parse(await _read(request), "the request")
        if isinstance(body, dict) and "name" in request.path_params:
            # /api/run/dir/module/name
            body["path"] = ":".join(request.path_params["name"].rsplit("/", 1))
        if not isinstance(body, dict) or not isinstance(body.get("path"), str):
            raise HttpError(400, "BadJsonBody", 'The request is an object: {"path": "module:name", "args": {}}.')
        path: str = body["path"]
        return path, _arguments(path, body.get("args", {})), _format(body.get("format"))


async def _read(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_SIZE_MAX:
                raise HttpError(413, "RequestTooLarge", f"A request has at most {BODY_SIZE_MAX} bytes.")
    except ClientDisconnect:
        raise HttpError(400, "BadJsonBody", "The request ended before its body was complete.") from None
    return bytes(body)


def _parse(text: str | bytes, what: str) -> Any:
    try:
        return values.parse_json(text)
    except values.InvalidValue as error:
        raise HttpError(400, "BadJsonBody", f"Reading {what}: {error}") from None


def _arguments(path: str, args: Any) -> bytes:
    """Arguments as canonical JSON; JavaScript sends them in an array of one, Python as they are."""
    if isinstance(args, list) and len(args) == 1:
        args = args[0]
    if not isinstance(args, dict):
        raise HttpError(400, "BadArgs", f"The arguments of {path} are one object, by name.")
    try:
        return values.canonical(values.decode(args))
    except values.InvalidValue as error:
        raise HttpError(400, "BadArgs", f"An argument of {path}: {error}") from None


def _format(name: object) -> Format:
    if name not in _FORMATS:
        raise HttpError(400, "BadFormat", 'The format is "convex_encoded_json" or "json".')
    return _FORMATS[name]


def _body(answer: Answer, form: Format) -> bytes:
    if answer.failure is None:
        assert answer.value is not None
        parts = [b'{"status":"success","value":', _formed(answer.value, form)]
    else:
        parts = [b'{"status":"error","errorMessage":', values.dumps(answer.failure.message)]
        if answer.failure.data is not None:
            parts += [b',"errorData":', _formed(answer.failure.data, form)]
    if answer.log_lines:
        parts += [b',"logLines":', values.dumps(list(answer.log_lines))]
    return b"".join([*parts, b"}"])


def _formed(text: bytes, form: Format) -> bytes:
    return text if form == "encoded" else values.dumps(values.to_clean(values.loads(text)))
