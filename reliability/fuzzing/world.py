"""The backend that requests are sent to: in this process, or a real server over sockets.

In this process it is the whole of it: uvicorn's protocol as Yugen runs it, the app in ASGI, and functions in workers.
Only the sockets are missing, so that thousands of requests a second can be tried.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import orjson
from starlette.types import Message, Receive, Scope, Send
from uvicorn.server import ServerState

from reliability.fuzzing import spoil
from reliability.fuzzing.surface import Finding
from yugen.functions.addresses import Upload
from yugen.server.listen import config
from yugen.server.yugen import Yugen

SECRET: Final = "fuzz-canary-Qx7fQx"
"""The value of an environment variable that nobody may ever see."""

SECONDS_MAX: Final = 10.0
"""How long a request may take."""

STARVED_SECONDS: Final = 0.02
"""How long a request whose end has not come may wait for it, before its client leaves."""

_HERE: Final = Path(__file__).parent
_PLACEHOLDER: Final = re.compile("⟨([a-z]+)(?:~([0-9]+))?⟩")


def assemble(folder: Path) -> Path:
    """Writes the app into a folder, with what the canary needs and a page beside it; returns its path."""
    app = folder / "app"
    shutil.copytree(_HERE / "app", app, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(_HERE.parent / "loads/app/canary.py", app)
    public = folder / "public"
    public.mkdir()
    (public / "index.html").write_text("<title>Notes</title>")
    (folder / "beside.txt").write_text(SECRET)  # which is not in `public`
    return app


@dataclass(slots=True)
class Reply:
    """What came back for what was sent over one connection.

    Attributes:
        raw: all bytes.
        statuses: of the responses, in order.
        heads: the headers of each, by their names in small letters.
        bodies: of each.
        paths: that the app was asked for, as it saw them; empty where that cannot be known.
        has_closed: whether the server has closed the connection by itself.
    """

    raw: bytes = b""
    statuses: list[int] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    has_closed: bool = False


class Answer(NamedTuple):
    """The status and the JSON of a response."""

    status: int
    said: Any


class World(Protocol):
    """Where requests are sent."""

    async def send(self, data: bytes) -> Reply:
        """Sends bytes over a connection of their own; returns what came back until nothing more does."""

    async def known(self, name: str) -> str:
        """What stands for a placeholder: the `admin` key, the id or address of a `file`, and so on."""

    async def digest(self) -> object:
        """What is stored that belongs to somebody."""

    def complaints(self) -> list[str]:
        """Faults that were logged since this was asked last."""


async def filled(world: World, text: str) -> str:
    """A text with what stands for its placeholders: `⟨admin⟩` for the key, `⟨admin~7⟩` for one spoiled by seed 7."""
    parts, end = [], 0
    for found in _PLACEHOLDER.finditer(text):
        value = await world.known(found[1])
        if found[2] is not None:
            value = spoil.corrupt(random.Random(found[2]), value, among=0x7F)
        parts += [text[end : found.start()], value]
        end = found.end()
    return "".join([*parts, text[end:]])


class InProcess:
    """The backend in this process.

    Args:
        yugen: the backend, started.
    """

    def __init__(self, yugen: Yugen) -> None:
        self._yugen = yugen
        self._asgi = yugen.asgi()
        self._config = config(self._record)
        self._config.load()
        self._make_protocol: Any = self._config.http_protocol_class
        self._state = ServerState()
        self._reply = Reply()
        self._log = Complaints()
        self._clients = 0
        self._known: dict[str, str] = {}
        self.admin_key = (yugen.data / "admin_key").read_text().strip()

    async def prepare(self) -> None:
        """Stores what requests ask for: a variable, notes, a file, somebody who is signed in."""
        key = f"Convex {self.admin_key}"
        await self._post("/api/update_environment_variables", {"changes": [{"name": "SECRET", "value": SECRET}]}, key)
        for number in range(3):
            await self._post(
                "/api/mutation", {"path": "notes:add", "args": {"topic": "t", "text": "x", "number": number}}
            )
        upload = (await self._post("/api/mutation", {"path": "notes:upload_url", "args": {}}))["value"]
        file = await self._post(upload[upload.index("/api/") :], {"a": "file of some bytes"})
        for name, private in (("file", False), ("private", True)):
            args = {"file": file["storageId"], "private": private}
            url = (await self._post("/api/query", {"path": "notes:file_url", "args": args}))["value"]
            self._known[name] = url[url.index("/api/") :]
        signed_in = await self._post("/auth/sign-in/anonymous", {})
        self._known["session"] = signed_in["token"]
        named = {"name": "k", "scopes": []}
        self._known["apikey"] = (await self._post("/auth/api-keys", named, f"Bearer {signed_in['token']}"))["key"]
        self._known["user"] = (await self._post("/auth/token", {}, f"Bearer {signed_in['token']}"))["token"]
        page = {"path": "notes:pages", "args": {"topic": "t", "opts": {"numItems": 1, "cursor": None}}}
        self._known["cursor"] = (await self._post("/api/query", page))["value"]["continueCursor"]
        self._known["note"] = (await self._post("/api/query", {"path": "notes:list", "args": {"topic": "t"}}))["value"][
            0
        ]["_id"]
        self._known |= {"admin": self.admin_key, "ts": (await self._post("/api/query_ts", {}))["ts"]}

    async def _post(self, target: str, body: Any, authorization: str = "") -> Any:
        answer = await self.post(target, body, authorization)
        assert answer.status == 200, answer
        return answer.said

    async def post(self, target: str, body: Any, authorization: str | None = None) -> Answer:
        """Sends what is right, by default as the administrator: bytes as they are, all else as JSON."""
        text = body if isinstance(body, bytes) else orjson.dumps(body)
        authorization = f"Convex {self.admin_key}" if authorization is None else authorization
        head = [f"POST {target} HTTP/1.1", "Host: a", "Content-Type: application/json", "Yugen-Client: token"]
        head += [f"Content-Length: {len(text)}", *([f"Authorization: {authorization}"] if authorization else ())]
        reply = await self.send("\r\n".join([*head, "", ""]).encode() + text)
        return Answer(reply.statuses[0], orjson.loads(reply.bodies[0]))

    async def known(self, name: str) -> str:
        """As of `World`."""
        if name == "upload":
            backend = await self._yugen.backend()
            self._clients += 1
            address = backend.files.addresses.upload(Upload(str(self._clients), 1 << 16), 4e12)
            return address[address.index("/api/") :]
        if name == "import":
            return str((await self._post("/api/import/start_upload", {}, f"Convex {self.admin_key}"))["uploadToken"])
        return self._known.get(name, "")

    async def digest(self) -> object:
        """As of `World`."""
        runtime = (await self._yugen.backend()).runtime
        answer = await runtime.query("notes:digest", b"{}", public=False)
        assert answer.failure is None, answer.failure
        variables = repr(sorted(runtime.catalog.environment.items())).encode()
        return answer.value, hashlib.sha256(variables).hexdigest()

    def complaints(self) -> list[str]:
        """As of `World`."""
        return self._log.take()

    async def send(self, data: bytes) -> Reply:
        """As of `World`."""
        reply = self._reply = Reply()
        self._clients += 1
        transport = _Transport(f"8.{self._clients >> 16 & 255}.{self._clients >> 8 & 255}.{self._clients & 255}")
        protocol = self._make_protocol(config=self._config, server_state=self._state, app_state={})
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        try:
            async with asyncio.timeout(SECONDS_MAX):
                for at in range(0, len(data), _PIECE):
                    if transport.is_closing() or not await transport.reads():
                        break
                    transport.protocol.data_received(data[at : at + _PIECE])
                await self._answered()
        except TimeoutError:
            raise Finding(f"it has taken more than {SECONDS_MAX:g} s") from None
        finally:
            reply.has_closed = transport.is_closing()
            transport.lose()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=SECONDS_MAX)
        if self._state.tasks:
            raise Finding("it goes on when its client has left")
        reply.raw = bytes(transport.written)
        if not reply.statuses and (refused := re.match(rb"HTTP/1\.1 (\d+)", reply.raw)):
            reply.statuses.append(int(refused[1]))
        return reply

    async def _answered(self) -> None:
        """Waits until all is answered, or what is under way waits for more to come."""
        while self._state.tasks:
            cycles = [getattr(each, "cycle", None) for each in self._state.connections]
            starved = any(cycle is None or cycle.more_body for cycle in cycles) or not cycles
            done, _ = await asyncio.wait(
                self._state.tasks, timeout=STARVED_SECONDS if starved else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                return

    async def _record(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = self._reply
        reply.paths.append(scope["path"])

        async def sent(message: Message) -> None:
            match message["type"]:
                case "http.response.start":
                    reply.statuses.append(message["status"])
                    head = {
                        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]
                    }
                    reply.heads.append(head)
                    reply.bodies.append(b"")
                case "http.response.body" if reply.bodies:
                    reply.bodies[-1] += message.get("body", b"")
            await send(message)

        await self._asgi(scope, receive, sent)


_PIECE: Final = 1 << 16


@asynccontextmanager
async def in_process() -> AsyncIterator[InProcess]:
    """A backend in this process, with all that requests ask for."""
    with tempfile.TemporaryDirectory() as folder, Complaints.heard() as log:
        yugen = Yugen(assemble(Path(folder)), limits={"address_requests": 1_000_000})
        async with yugen:
            world = InProcess(yugen)
            world._log = log
            await world.prepare()
            log.take()
            yield world


class Complaints(logging.Handler):
    """Keeps what is logged as a fault, and what has a secret in it."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.ERROR or record.exc_info or SECRET in text:
            self._lines.append(f"{record.name}: {self.format(record)}")

    def take(self) -> list[str]:
        """What was kept, which is kept no more."""
        lines, self._lines = self._lines, []
        return lines

    @staticmethod
    @contextmanager
    def heard() -> Iterator[Complaints]:
        """Listens to all loggers."""
        log, root = Complaints(), logging.getLogger()
        root.addHandler(log)
        try:
            yield log
        finally:
            root.removeHandler(log)


class _Transport(asyncio.Transport):
    """A socket that takes everything at once."""

    def __init__(self, host: str) -> None:
        super().__init__({"peername": (host, 1234), "sockname": ("127.0.0.1", 3210)})
        self.written = bytearray()
        self.protocol: Any = None
        self._closing = self._lost = False
        self._reads = asyncio.Event()
        self._reads.set()

    async def reads(self) -> bool:
        """Waits, though not for long, until the protocol takes more; returns whether it does."""
        if not self._reads.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(STARVED_SECONDS):
                    await self._reads.wait()
        return self._reads.is_set()

    def lose(self) -> None:
        """Has the protocol hear that its client is gone. What is written from here on is a fault, as with uvloop."""
        self._closing = self._lost = True
        self._reads.set()
        self.protocol.connection_lost(None)

    def write(self, data: Any) -> None:
        if self._lost:
            raise RuntimeError("the handler is closed")
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def pause_reading(self) -> None:
        self._reads.clear()

    def resume_reading(self) -> None:
        self._reads.set()

    def is_reading(self) -> bool:
        return self._reads.is_set()

    def close(self) -> None:
        self._closing = True
        self._reads.set()

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass
