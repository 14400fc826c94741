"""Talking to a deployment from the command line: its address, its administrator's key, and what is said when it fails.

Commands ask an `Api`, and need not know whether a server is behind it or data that this process has opened itself.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn
from urllib.parse import urlsplit

import httpx2 as httpx

from yugen.cli.status import FAILED, UNREACHABLE, USAGE, fail

CALL_SECONDS_MAX: Final = 660.0
"""A little more than an action may run."""

LOCAL_URL: Final = "http://127.0.0.1:3210"

BAD_KEYS: Final = ("BadDeployKey", "InvalidAuthHeader")
"""Codes with which a deployment refuses the admin key, or who is to be acted as."""

Needs = Literal["app", "columns", "data", "server"]
"""What a command needs where no server runs: the app and its data, or the data and what the app says of its columns if
there is an app, or only the data. Some need a server."""


class Refusal(Exception):
    """A deployment refuses what it was asked.

    Attributes:
        code: the name of its error.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Unreachable(Exception):
    """Nobody answers at the address of a deployment.

    Attributes:
        url: the address.
        why: what came of it.
    """

    def __init__(self, url: str, why: httpx.TransportError) -> None:
        super().__init__(url)
        self.url = url
        self.why = why


@dataclass(frozen=True, slots=True)
class Where:
    """Where a deployment is, as the options say it.

    Attributes:
        url: the address of its server; None if nobody has said so.
        key: its administrator's key; None if nobody has said so.
        data: the folder of its data; None if nobody has said so.
        app: the folder of its app package.
    """

    url: str | None = None
    key: str | None = None
    data: Path | None = None
    app: Path = Path("app")

    @property
    def folder(self) -> Path:
        """The folder of its data: if nobody has said so, the one in which a server of the app keeps it."""
        if self.data is not None:
            return self.data
        folder, here = self.app.resolve().parent / ".yugen", Path.cwd()
        return folder.relative_to(here) if folder.is_relative_to(here) else folder


class Api:
    """The HTTP API of a deployment.

    Args:
        client: sends requests.
        url: the address of the deployment, for errors.
        key: its administrator's key, if there is one at hand.
        exports: where its finished exports are, if that is in reach.

    Attributes:
        url: as given.
        key: as given.
        exports: as given.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, key: str | None, exports: Path | None = None) -> None:
        self.url = url
        self.key = key
        self.exports = exports
        self._client = client

    async def get(self, place: str, **params: str) -> dict[str, Any]:
        """The answer to a question.

        Raises:
            Refusal: there is none.
        """
        return parsed(await self._client.get(f"{self.url}{place}", params=params, headers=self._headers()), self.url)

    async def post(self, place: str, body: object = None, *, user: str | None = None) -> dict[str, Any]:
        """The answer to a request with a body of JSON.

        Args:
            place: the path.
            body: what to send.
            user: the user to be, as base 64 of JSON.

        Raises:
            Refusal: it is not done.
        """
        response = await self._client.post(f"{self.url}{place}", json=body, headers=self._headers(user))
        return parsed(response, self.url)

    async def post_part(self, place: str, content: bytes, **params: str) -> str:
        """The answer to a request with a body of bytes, which is one string."""
        response = await self._client.post(
            f"{self.url}{place}", content=content, params=params, headers=self._headers()
        )
        answer = _json(response)
        if not isinstance(answer, str):
            parsed(response, self.url)
            not_yugen(response, self.url)
        return answer

    async def call(self, path: str, **args: Any) -> Any:
        """What a function gives, one of Yugen's own among others, in the encoded form.

        Raises:
            Refusal: it fails.
        """
        request = {"path": path, "args": args, "format": "convex_encoded_json"}
        match await self.post("/api/function", request):
            case {"status": "success", "value": value}:
                return value
            case {"status": "error", "errorMessage": str(message)}:
                raise Refusal("FunctionFailed", message.partition("Uncaught ")[2].partition(": ")[2] or message)
            case answer:
                return not_yugen_answer(answer, self.url)

    async def version(self) -> str:
        """The version of what is there."""
        response = await self._client.get(f"{self.url}/version")
        if response.status_code != 200:
            not_yugen(response, self.url)
        return response.text

    def without_key(self) -> Api:
        """The same for anybody."""
        return Api(self._client, self.url, None, self.exports)

    @asynccontextmanager
    async def download(self, place: str) -> AsyncIterator[httpx.Response]:
        """A file, whose bytes come as they are asked for."""
        async with self._client.stream("GET", f"{self.url}{place}", headers=self._headers()) as response:
            if response.status_code != 200:
                await response.aread()
                parsed(response, self.url)
                not_yugen(response, self.url)
            yield response

    def _headers(self, user: str | None = None) -> dict[str, str]:
        if self.key is None:
            return {}
        return {"Authorization": f"Convex {self.key}:{user}" if user else f"Convex {self.key}"}


def run_command(url: str | None, command: Coroutine[Any, Any, None]) -> None:
    """Runs a command, and ends the process with a sentence and a status when it fails.

    Args:
        url: the address that the options name.
        command: what to do.
    """
    try:
        asyncio.run(command)
    except Unreachable as error:
        if isinstance(error.why, httpx.ConnectError) and "CERTIFICATE" not in str(error.why):
            fail(f"There is no server at {error.url}; start one with `yugen dev`, {_elsewhere(url)}.", UNREACHABLE)
        why = f"{type(error.why).__name__} {error.why}".strip()
        fail(f"{error.url} does not answer ({why}); name another server with --url.", UNREACHABLE)
    except Refusal as error:
        fail(str(error), UNREACHABLE if error.code in BAD_KEYS else FAILED)


@asynccontextmanager
async def deployment(where: Where, needs: Needs, *, keyless: bool = False) -> AsyncIterator[Api]:
    """The deployment that the options name: a running server, or data that this process opens itself.

    Args:
        where: what the options say.
        needs: what it takes to do this without a server.
        keyless: whether it can be done without the administrator's key too.
    """
    if where.url is not None and not _is_address(where.url):
        fail(f"{where.url} is not an address of a server; write --url like {LOCAL_URL}.", USAGE)
    if is_without_server(where):
        assert where.data is not None
        if needs == "server":
            fail(
                f"No server runs over {where.data}, and this is in the memory of one; start it with `yugen dev`.",
                UNREACHABLE,
            )
        from yugen.cli.local import opened

        async with opened(where.data, where.app, needs) as api:
            yield api
        return
    held_by = holder(where.folder)
    noted = None if held_by is None else noted_address(where.folder)
    url = (where.url or noted or LOCAL_URL).rstrip("/")
    key = key_for(where, url)
    if key is None and not keyless:
        what = (
            f"There is no admin key in {where.folder}; name the folder with --data"
            if _is_here(url)
            else f"No admin key goes to {url} unasked; name it with --url and the folder of its data with --data"
        )
        fail(f"{what}, or give the key with --admin-key.", UNREACHABLE)
    async with httpx.AsyncClient(timeout=CALL_SECONDS_MAX) as client:
        api = Api(client, url, key)
        try:
            if where.data is not None and held_by is not None and not where.url:
                await _confirm(api, where, held_by)
            yield api
        except httpx.TransportError as error:
            raise Unreachable(url, error) from error


async def _confirm(api: Api, where: Where, held_by: str) -> None:
    """Makes sure that a server is the one that has the data open; what it has noted may be of one that is gone."""
    if api.key is None and noted_address(where.folder):
        return  # nobody here can tell
    try:
        await api.call("_system/cli/convexUrl:cloudUrl")
    except httpx.TimeoutException:
        raise
    except (httpx.TransportError, Refusal, SystemExit) as error:
        if where.key and isinstance(error, Refusal) and error.code in BAD_KEYS:
            raise
        fail(
            f"{where.data} is in use by a server (process {held_by}), which is not at {api.url}; say where it is with "
            "--url, or stop it.",
            UNREACHABLE,
        )


def is_without_server(where: Where) -> bool:
    """Whether a command is to open the data itself, rather than to ask a server."""
    return where.url is None and where.data is not None and holder(where.data) is None


def key_for(where: Where, url: str) -> str | None:
    """The key that was given, or the one in the folder of the data.

    That one is for servers on this machine, and for one elsewhere that is named together with the folder. That an
    address is noted beside the data is not enough: its server may be gone, and another machine have the number by now.
    """
    if where.key:
        return where.key
    both_named = where.url is not None and where.data is not None
    return _line(where.folder / "admin_key") if both_named or _is_here(url) else None


def holder(data: Path) -> str | None:
    """The process that has the data in a folder open; None if none has."""
    import fcntl

    try:
        lock = os.open(data / "data.sqlite3.lock", os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared, so that those who only look see nobody but a holder
    except BlockingIOError:
        return os.read(lock, 20).decode(errors="replace") or "unknown"
    finally:
        os.close(lock)
    return None


def noted_address(data: Path) -> str | None:
    """Where the server is that has the data in a folder open, as it has noted there."""
    noted = _line(data / "address")
    return noted if noted is not None and _is_address(noted) else None


def parsed(response: httpx.Response, url: str) -> dict[str, Any]:
    """The JSON object of an answer. Ends the process when it is none.

    Raises:
        Refusal: it tells of an error.
    """
    answer = _json(response)
    if not isinstance(answer, dict):
        not_yugen(response, url)
    match answer:
        case {"code": str(code), "message": str(message)}:
            raise Refusal(code, message)
    return answer


def not_yugen(response: httpx.Response, url: str) -> NoReturn:
    """Ends the process, since nothing of ours can have answered so."""
    fail(f"{url} is not a Yugen server: it answered with {response.status_code} {response.text[:100]!r}.", UNREACHABLE)


def not_yugen_answer(answer: object, url: str) -> NoReturn:
    """The same of an answer that is read already."""
    fail(f"{url} is not a Yugen server: it answered {str(answer)[:100]}.", UNREACHABLE)


def _json(response: httpx.Response) -> Any:
    try:
        return json.loads(response.text)
    except (ValueError, RecursionError):
        return None


def _elsewhere(url: str | None) -> str:
    return "or name another with --url" if url else "name another with --url, or open data without a server with --data"


def _line(file: Path) -> str | None:
    """What a file of one line says, if it is there and says anything."""
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _is_here(url: str) -> bool:
    """Whether only this machine can be at an address."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
