"""The HTTP API: functions called by requests (protocol.md 3)."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from yugen import __version__, values
from yugen.functions.info import Kind
from yugen.functions.names import FunctionNotFound, canonical_path
from yugen.runtime.causes import Why
from yugen.runtime.outcome import Answer
from yugen.runtime.queries import QueryKey
from yugen.runtime.runtime import Runtime, TimestampOutOfReach
from yugen.server.access import visit_of
from yugen.server.backend import Backend, NotServing
from yugen.server.caller import Caller
from yugen.server.http import (
    Endpoint,
    Endpoints,
    HttpError,
    JsonResponse,
    admin_of,
    caller_of,
    json_object,
    parse,
    read_body,
    read_json,
    read_json_text,
)
from yugen.server.unsupported import advice
from yugen.storage.interface import Timestamp

BATCH_MAX = 1000
"""Queries in one batch."""

QUERIES_AT_ONCE_MAX = 32
"""Queries of one batch that are run at once, so that other clients need not wait for all of it."""

REMEMBERED_MAX = 1024
"""Queries of which is remembered what they ask, and values of which is remembered how they read."""

REMEMBERED_SIZE_MAX = 4096
"""Bytes of the request or the value that is remembered."""

INSTANCE = "yugen"
"""The name that a deployment goes by."""

Format = Literal["encoded", "clean"]
_FORMATS: dict[str, Format] = {
    "convex_encoded_json": "encoded",
    "convex_json": "encoded",
    "json": "clean",
    "convex_clean_json": "clean",
}


@dataclass(frozen=True, slots=True)
class _Call:
    """A function call that a request asks for: the canonical path, the arguments' canonical JSON, the answer's form.

    `key` is what it is cached under if it is the query of somebody who is no administrator.
    """

    path: str
    args: bytes
    form: Format
    key: QueryKey


class HttpApi:
    """The routes of the HTTP API for functions.

    Attributes:
        calls: the endpoints that clients call functions by, under their paths, for a server to find before all others.
    """

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self.calls = {
            "/api/query": endpoints.make(self._query, "GET", "POST"),
            "/api/mutation": endpoints.make(self._mutation),
            "/api/action": endpoints.make(self._action),
        }

    def routes(self) -> list[Route]:
        """What to mount at the root of an origin."""
        endpoint = self._endpoints.make
        return [
            *(Route(path, called) for path, called in self.calls.items()),
            Route("/api/function", endpoint(self._function)),
            Route("/api/run/{name:path}", endpoint(self._run)),
            Route("/api/query_ts", endpoint(self._query_ts)),
            Route("/api/query_at_ts", endpoint(self._query_at_ts)),
            Route("/api/query_batch", endpoint(self._query_batch)),
            Route("/api/debug_event", endpoint(_debug_event)),
            Route("/echo", endpoint(_echo)),
            Route("/api/{path:path}", Endpoint(_not_here)),
            Route("/version", self._version, methods=["GET"]),
            Route("/instance_version", self._version, methods=["GET"]),
            Route("/instance_name", _instance_name, methods=["GET"]),
        ]

    async def _query(self, request: Request, backend: Backend) -> Response:
        caller = await caller_of(request, backend.callers)
        call = _from_url(request) if request.method == "GET" else _from_text(await read_json_text(request))
        runtime = backend.runtime
        if not caller.admin and runtime.acknowledged <= runtime.ts:
            answer = runtime.queries.kept(call.key, caller.identity, runtime.ts)
            if answer is not None:
                return _response(answer, call)
        return _response(await _answer(backend.runtime, "query", call, caller, request), call)

    async def _mutation(self, request: Request, backend: Backend) -> Response:
        caller = await caller_of(request, backend.callers)
        call = _from_json(await read_json(request))
        return _response(await _answer(backend.runtime, "mutation", call, caller, request), call)

    async def _action(self, request: Request, backend: Backend) -> Response:
        caller = await caller_of(request, backend.callers)
        call = _from_json(await read_json(request))
        return _response(await _answer(backend.runtime, "action", call, caller, request), call)

    async def _function(self, request: Request, backend: Backend) -> Response:
        caller = await admin_of(request, backend.callers)
        call = _from_json(await read_json(request))
        kind = backend.runtime.kind_of(call.path)
        return _response(await _answer(backend.runtime, kind, call, caller, request), call)

    async def _run(self, request: Request, backend: Backend) -> Response:
        caller = await caller_of(request, backend.callers)
        # /api/run/dir/module/name
        path = ":".join(request.path_params["name"].rsplit("/", 1))
        call = _from_json(await read_json(request) | {"path": path})
        kind = backend.runtime.kind_of(call.path)
        return _response(await _answer(backend.runtime, kind, call, caller, request), call)

    async def _query_ts(self, request: Request, backend: Backend) -> Response:
        ts = await backend.runtime.latest()
        return _json({"ts": b64encode(ts.to_bytes(8, "little")).decode()})

    async def _query_at_ts(self, request: Request, backend: Backend) -> Response:
        caller = await caller_of(request, backend.callers)
        body = await read_json(request)
        call = _from_json(body)
        ts = _timestamp(body.get("ts"))
        try:
            answer = await backend.runtime.query_at(
                call.path, call.args, caller.identity, ts, public=not caller.admin, any_age=caller.admin
            )
        except TimestampOutOfReach as error:
            raise HttpError(400, error.code, str(error)) from None
        return _response(answer, call)

    async def _query_batch(self, request: Request, backend: Backend) -> Response:
        caller = await caller_of(request, backend.callers)
        queries = (await read_json(request)).get("queries")
        if not isinstance(queries, list) or not all(isinstance(query, dict) for query in queries):
            raise HttpError(400, "BadJsonBody", 'A batch is {"queries": [{"path": "module:name", "args": {}}]}.')
        if len(queries) > BATCH_MAX:
            raise HttpError(
                400, "BatchTooLarge", f"A batch has at most {BATCH_MAX} queries; this one has {len(queries)}."
            )
        calls = [_from_json(query) for query in queries]
        runtime, slots = backend.runtime, asyncio.Semaphore(QUERIES_AT_ONCE_MAX)
        ts = await runtime.latest()
        why = Why(request_id=visit_of(request.scope).id)

        async def one(call: _Call) -> bytes:
            async with slots:
                key = runtime.query_key(call.path, call.args, public=not caller.admin)
                return _body(await runtime.queries.at(key, caller.identity, ts, why), call.form)

        with runtime.queries.holding(ts):
            async with asyncio.TaskGroup() as tasks:
                results = [tasks.create_task(one(call)) for call in calls]
        return _json(b'{"results":[%b]}' % b",".join(result.result() for result in results))

    async def _version(self, request: Request) -> Response:
        try:
            await self._endpoints.backend()
        except NotServing as error:
            return PlainTextResponse(f"{error}\n", 503)
        return PlainTextResponse(__version__)


async def _instance_name(request: Request) -> Response:
    return PlainTextResponse(INSTANCE)


async def _debug_event(request: Request, backend: Backend) -> Response:
    return _json({})


async def _echo(request: Request, backend: Backend) -> Response:
    """The body as it came, for `convex network-test`. No browser is to take it for a page."""
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(await read_body(request), media_type="application/octet-stream", headers=headers)


async def _not_here(request: Request) -> Response:
    if request.headers.get("authorization", "").lower().startswith("convex "):
        # The convex command line, which asks again and again after a 404, and shows the text of a 403.
        raise HttpError(403, "NotSupported", advice(request.url.path))
    raise HttpError(404, "NotFound", "This API has /api/query, /api/mutation, /api/action, /api/run and /api/function.")


async def _answer(runtime: Runtime, kind: Kind, call: _Call, caller: Caller, request: Request) -> Answer:
    public, request_id = not caller.admin, visit_of(request.scope).id
    match kind:
        case "query":
            why = Why(request_id=request_id)
            return await runtime.query(call.path, call.args, caller.identity, public=public, why=why)
        case "mutation":
            mutation = await runtime.mutate(call.path, call.args, caller.identity, public=public, request_id=request_id)
            return mutation.answer
        case "action":
            return await runtime.act(call.path, call.args, caller.identity, public=public, request_id=request_id)


def _from_url(request: Request) -> _Call:
    query = request.query_params
    if "path" not in query:
        raise HttpError(400, "BadQueryArgs", "Give the function as `?path=module:name`.")
    return _checked(query["path"], parse(query.get("args", "{}"), "args"), query.get("format"))


def _from_text(text: bytes) -> _Call:
    return _remembered_call(text) if len(text) <= REMEMBERED_SIZE_MAX else _from_json(json_object(text))


@lru_cache(REMEMBERED_MAX)
def _remembered_call(text: bytes) -> _Call:
    """What a query asks for. The same queries come again and again; what else is called is seldom the same."""
    return _from_json(json_object(text))


def _from_json(body: dict[str, Any]) -> _Call:
    path = body.get("path")
    if not isinstance(path, str):
        raise HttpError(400, "BadJsonBody", 'Name the function as {"path": "module:name"}.')
    if body.get("componentPath"):
        raise HttpError(400, "ComponentNotFound", "An app has no components; leave componentPath out.")
    return _checked(path, body.get("args", {}), body.get("format"))


def _timestamp(text: object) -> Timestamp:
    try:
        raw = b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != 8:
        raise HttpError(400, "BadTimestamp", "`ts` is what /api/query_ts gave, unchanged.")
    return int.from_bytes(raw, "little")


def _checked(path: str, args: Any, form: object) -> _Call:
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
    return _Call(path, encoded, _format(form), QueryKey(path, encoded))


def _format(name: object) -> Format:
    if name is None:
        return "clean"
    if not isinstance(name, str) or name not in _FORMATS:
        raise HttpError(400, "BadFormat", 'The format is "convex_encoded_json" or "json".')
    return _FORMATS[name]


def _json(body: object) -> Response:
    return JsonResponse(body if isinstance(body, bytes) else orjson.dumps(body))


def _response(answer: Answer, call: _Call) -> Response:
    return _json(_body(answer, call.form))


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
    if form == "encoded" or (b'"$' not in text and b"\\u" not in text):
        return text  # nothing in it reads otherwise in the clean form
    return _remembered_clean(text) if len(text) <= REMEMBERED_SIZE_MAX else _clean(text)


def _clean(text: bytes) -> bytes:
    return orjson.dumps(values.to_clean(values.loads(text)))


_remembered_clean = lru_cache(REMEMBERED_MAX)(_clean)


def _text(text: str) -> bytes:
    # A function may print half of a surrogate pair, or raise it.
    return orjson.dumps(text.encode("utf-8", "replace").decode())
