"""The HTTP API for administrators: what the convex command line asks of a deployment beside its functions."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from yugen.errors import Refused
from yugen.runtime.masking import Mask
from yugen.runtime.runner import Overloaded
from yugen.server.backend import Backend, NotServing
from yugen.server.everywhere import Everywhere
from yugen.server.http import Endpoint, Endpoints, HttpError, admin_of, check_method, read_body, read_json
from yugen.server.runs import Runs

POLL_SECONDS_MAX = 60.0
"""How long whoever asks for runs may wait for one."""

POLLS_MAX = 64
"""Requests that may wait for runs at once."""

OCCURRENCES_MAX = 1000
"""Reruns, conflicts and slow functions in one answer."""

_NUMBER: Final = re.compile("[0-9]{1,20}")
"""Of what clients write as a number: Python reads none of more than 4,300 digits."""


class DeploymentApi:
    """The routes of the HTTP API for administrators.

    Args:
        endpoints: makes the endpoints.
        runs: the last runs of functions.
        reload: takes up the code of the app as it is now, where that may be asked for.
    """

    def __init__(
        self, endpoints: Endpoints, runs: Runs | Everywhere, reload: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._endpoints = endpoints
        self._reload = reload
        self._runs = runs
        self._polls = 0

    def routes(self) -> list[Route]:
        """What to mount at the root of an origin, before the routes of `HttpApi`."""
        return [
            Route("/api/update_environment_variables", self._endpoints.make(_update_environment)),
            Route("/api/rotate_encryption_key", self._endpoints.make(_rotate_key)),
            Route("/api/reload", self._endpoints.make(self._take_up_code)),
            Route("/api/why", self._endpoints.make(_why, "GET")),
            Route("/api/export/request/zip", self._endpoints.make(_request_export)),
            Route("/api/export/zip/{ts}", self._endpoints.make(_send_export, "GET")),
            Route("/api/import/start_upload", self._endpoints.make(_start_upload)),
            Route("/api/import/upload_part", self._endpoints.make(_upload_part)),
            Route("/api/import/finish_upload", self._endpoints.make(_finish_upload)),
            Route("/api/perform_import", self._endpoints.make(_perform_import)),
            Route("/api/cancel_import", self._endpoints.make(_cancel_import)),
            # Not among the requests under way, of which there may be only so many: these wait.
            Route("/api/stream_function_logs", Endpoint(self._stream_runs)),
        ]

    async def _take_up_code(self, request: Request, backend: Backend) -> Response:
        """Takes up the code of the app. When this is answered, functions run in their present form."""
        await admin_of(request, backend.callers)
        if self._reload is None:
            raise HttpError(
                400, "NotInDevelopment", "A server that runs in production keeps its code: restart it with the new one."
            )
        try:
            await self._reload()
        except Refused as error:
            raise HttpError(400, error.code, f"The app's code was not taken up: {error}") from None
        return _json({})

    async def _stream_runs(self, request: Request) -> Response:
        """The runs after a cursor. When there are none it waits for them, or answers that nothing has run."""
        check_method(request, ["GET"])
        await admin_of(request, (await self._endpoints.backend()).callers)
        # A cursor from the future is one of a clock that has been set back.
        cursor = min(_cursor(request), self._runs.newest)
        if self._polls >= POLLS_MAX:
            raise Overloaded(f"{self._polls} requests wait for runs already; try again in a moment.")
        self._polls += 1
        try:
            await _until_gone(request, self._runs.wait_after(cursor))
        finally:
            self._polls -= 1
        if self._runs.closed:
            raise NotServing("This deployment is shutting down; try again in a moment.")
        structured = request.headers.get("convex-client", "").startswith(("npm-cli-", "dashboard-"))
        runs, newest = await self._runs.read(cursor)
        entries = [ran.to_json(structured=structured) for ran in runs]
        # Not orjson, for a function may log half of a surrogate pair.
        return Response(json.dumps({"entries": entries, "newCursor": newest}), media_type="application/json")


async def _update_environment(request: Request, backend: Backend) -> Response:
    await admin_of(request, backend.callers)
    changes: dict[str, str | None] = {}
    for each in _list((await read_json(request)).get("changes")):
        match each:
            case {"name": str(name)} if isinstance(value := each.get("value"), str | None):
                changes[name] = value
            case _:  # whose error does not show it, since there may be a secret in it
                raise HttpError(400, "BadJsonBody", _CHANGES)
    try:
        await backend.variables.change(changes)
    except Refused as error:
        raise HttpError(400, error.code, str(error)) from None
    return _json({})


async def _rotate_key(request: Request, backend: Backend) -> Response:
    """Seals the environment variables with another key. Functions notice nothing of it."""
    await admin_of(request, backend.callers)
    try:
        rotated = await backend.variables.rotate()
    except Refused as error:
        raise HttpError(400, error.code, str(error)) from None
    return _json(rotated._asdict())


_CHANGES: Final = 'Say what changes as {"changes": [{"name": "...", "value": "..."}]}; a null removes the variable.'


def _list(found: object) -> list[Any]:
    if not isinstance(found, list):
        raise HttpError(400, "BadJsonBody", _CHANGES)
    return found


async def _why(request: Request, backend: Backend) -> Response:
    """What ran again, lost a race or took long, the newest first."""
    await admin_of(request, backend.callers)
    function, limit = request.query_params.get("function"), request.query_params.get("limit", "100")
    if not _NUMBER.fullmatch(limit) or not 0 < int(limit) <= OCCURRENCES_MAX:
        raise HttpError(400, "BadLimit", f"`limit` is a number from 1 to {OCCURRENCES_MAX}, not {limit[:100]!r}.")
    runtime = backend.runtime
    occurrences = runtime.queries.causes.to_json(runtime.catalog, function=function, limit=int(limit))
    if backend.everywhere is not None:
        occurrences = await backend.everywhere.why(occurrences, function=function, limit=int(limit))
    mask = Mask()  # an app may have given a secret to another function, whose arguments are shown
    mask.add(runtime.catalog.environment)
    return Response(mask(orjson.dumps({"occurrences": occurrences}).decode()), media_type="application/json")


async def _request_export(request: Request, backend: Backend) -> Response:
    await admin_of(request, backend.callers)
    await backend.exports.request(include_storage=request.query_params.get("includeStorage") == "true")
    return _json({})


async def _send_export(request: Request, backend: Backend) -> Response:
    await admin_of(request, backend.callers)
    ts = request.path_params["ts"]
    archive = backend.exports.find(int(ts)) if _NUMBER.fullmatch(ts) else None
    if archive is None:
        # Not 404, upon which the convex command line asks again for half a minute.
        raise HttpError(
            400, "ExportNotFound", f"There is no export of {ts[:100]!r}; it may have been replaced by newer ones."
        )
    # Not the `filename` of FileResponse, for the command line takes quotes for a part of the name.
    headers = {"Content-Disposition": f"attachment; filename=snapshot_{ts}.zip"}
    return FileResponse(archive, media_type="application/zip", headers=headers)


async def _start_upload(request: Request, backend: Backend) -> Response:
    await admin_of(request, backend.callers)
    return _json({"uploadToken": await backend.imports.start_upload()})


async def _upload_part(request: Request, backend: Backend) -> Response:
    await admin_of(request, backend.callers)
    token = request.query_params.get("uploadToken", "")
    return _json(await backend.imports.add_part(token, await read_body(request)))


async def _finish_upload(request: Request, backend: Backend) -> Response:
    await admin_of(request, backend.callers)
    match await read_json(request):
        case {
            "uploadToken": str(token),
            "partTokens": list(parts),
            "import": {"format": str(form), "mode": str(mode)} as wanted,
        } if all(isinstance(part, str) for part in parts):
            pass
        case _:
            raise HttpError(
                400, "BadJsonBody", 'Say what to import as {"import": {"format", "mode"}, "uploadToken", "partTokens"}.'
            )
    if wanted.get("componentPath"):
        raise HttpError(400, "ComponentNotFound", "An app has no components; leave the component out.")
    import_id = await backend.imports.finish_upload(token, parts, form=form, mode=mode, table=wanted.get("tableName"))
    return _json({"importId": import_id})


async def _perform_import(request: Request, backend: Backend) -> Response:
    await admin_of(request, backend.callers)
    await backend.imports.perform(await _import_id(request))
    return _json({})


async def _cancel_import(request: Request, backend: Backend) -> Response:
    await admin_of(request, backend.callers)
    await backend.imports.cancel(await _import_id(request))
    return _json({})


async def _import_id(request: Request) -> str:
    import_id = (await read_json(request)).get("importId")
    if not isinstance(import_id, str):
        raise HttpError(400, "BadJsonBody", 'Name the import as {"importId": "..."}.')
    return import_id


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def _cursor(request: Request) -> float:
    try:
        cursor = float(request.query_params.get("cursor", "0"))
    except ValueError:
        cursor = math.nan
    if math.isnan(cursor):
        raise HttpError(400, "BadCursor", "`cursor` is 0, or the newCursor of the answer before.")
    return cursor


async def _until_gone(request: Request, waiting: Any) -> None:
    """Waits, but not for ever, and not when nobody is there any more to be answered."""
    tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(_gone(request))]
    try:
        await asyncio.wait(tasks, timeout=POLL_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
