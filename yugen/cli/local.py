"""A deployment without a server: its data opened in this process, behind the same HTTP API."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2 as httpx
from starlette.applications import Starlette

from yugen.cli.remote import Api, Needs
from yugen.cli.status import fail
from yugen.errors import Refused
from yugen.functions.registry import App, load
from yugen.functions.storage import FilePlace
from yugen.runtime.inline import InlineRunner
from yugen.runtime.runtime import Runtime
from yugen.runtime.setup import LOCAL_URL, site_below
from yugen.server.api import HttpApi
from yugen.server.backend import Backend
from yugen.server.caller import AdminKey, Callers
from yugen.server.deployment import DeploymentApi
from yugen.server.exports import Exports
from yugen.server.files import FileService
from yugen.server.http import Endpoints
from yugen.server.imports import Imports
from yugen.server.limits import Limits
from yugen.server.runs import Runs
from yugen.server.variables import EnvironmentVariables, Sealed
from yugen.storage.interface import StorageError
from yugen.storage.sqlite import SqliteStore
from yugen.system.deployment import Deployment


@asynccontextmanager
async def opened(data: Path, app: Path, needs: Needs) -> AsyncIterator[Api]:
    """The deployment in a folder, which no other process can open meanwhile. It ends the process if it cannot be had.

    Args:
        data: the folder of the data. With an app it is made if there is none.
        app: the folder of the app.
        needs: `app` to bring the data to what the app declares, as a server does when it starts; else the data is taken
            as it is.
    """
    data = data.resolve()
    file = data / "data.sqlite3"
    if needs != "app" and not file.is_file():
        fail(f"There is no data in {data}; name the folder with --data, or the address of a server with --url.")
    loaded = _loaded(app, needs) or App.empty(data)
    try:
        backend, key = await _open(data, loaded, deployed=needs != "app")
    except (Refused, StorageError, OSError) as error:
        fail(str(error))

    async def serving() -> Backend:
        return backend

    endpoints = Endpoints(serving, requests_max=64)
    asgi = Starlette(routes=[*DeploymentApi(endpoints, Runs()).routes(), *HttpApi(endpoints).routes()])
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=asgi), timeout=None) as client:
            yield Api(client, LOCAL_URL, key, exports=data / "exports")
    finally:
        await backend.close()


async def _open(data: Path, app: App, *, deployed: bool) -> tuple[Backend, str]:
    admin_key = AdminKey(data / "admin_key")
    sealed = Sealed.of(data, url=LOCAL_URL, site_url=site_below(LOCAL_URL))
    store = SqliteStore(data / "data.sqlite3")
    at = Deployment(LOCAL_URL, data, os.environ.get("YUGEN_FILES", ""))
    runner = InlineRunner(
        app, store, secret=admin_key.derive("cursors"), deployment=at, limits=Limits().run, isolated=True
    )
    runtime = Runtime(store, runner, variables=sealed.variables, founding=sealed.founding)
    try:
        await runtime.start(deployed=deployed, reindexes=not deployed)
        exports, imports = Exports(runtime, at), Imports(runtime, at)
        await exports.start()
        await imports.start()
        files = FileService(runtime, FilePlace(admin_key.derive("cursors"), LOCAL_URL, at.files, data))
    except BaseException:
        await runtime.close()
        raise
    variables = EnvironmentVariables(runtime, sealed)
    return Backend(runtime, Callers(admin_key), exports, imports, files, variables), admin_key.file.read_text().strip()


def app_in(folder: Path) -> App:
    """The app in a folder. It ends the process, and says why, if there is none that can be loaded."""
    if not folder.is_dir():
        fail(f"There is no folder {folder}; name the folder of your app package with --app.")
    try:
        return load(folder.resolve())
    except (Refused, OSError) as error:
        fail(str(error))


def _loaded(folder: Path, needs: Needs) -> App | None:
    """The app, if it is needed, or helps and is there."""
    if needs == "app":
        return app_in(folder)
    if needs == "columns" and folder.is_dir():
        with suppress(Refused):
            return load(folder.resolve())
    return None
