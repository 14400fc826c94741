"""Both ends of sync connections in memory: a client that knows what it may expect, and a runner that can be held up."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests.apps import write_app
from tests.engine import SECRET, VAULT, VAULT_KEY, engine
from yugen.catalog import Catalog
from yugen.functions.info import AppInfo
from yugen.functions.storage import FilePlace
from yugen.runtime.environment import Variables
from yugen.runtime.founding import Founding
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack, Runner
from yugen.runtime.runtime import Runtime
from yugen.runtime.setup import LOCAL_URL
from yugen.server.backend import Backend
from yugen.server.caller import AdminKey, Callers, Verifier
from yugen.server.connection import Connection, Disconnected
from yugen.server.encryption_keys import EncryptionKeys
from yugen.server.exports import Exports
from yugen.server.files import FileService
from yugen.server.imports import Imports
from yugen.server.newcomers import Newcomers
from yugen.server.rounds import Rounds
from yugen.server.sessions import Sessions
from yugen.server.variables import EnvironmentVariables, Sealed
from yugen.storage.memory import MemoryStore, Pause
from yugen.sync.session import SessionLimits
from yugen.system.deployment import Deployment

SECONDS_MAX = 60.0
"""How long a test waits for anything. What is right comes within milliseconds."""

NOTES = """
    from typing import Any

    from yugen import (
        ActionCtx, Document, Index, Int64, MutationCtx, PaginationOptions, PaginationResult, QueryCtx, YugenError,
        action, internal_query, mutation, query,
    )


    class Note(Document, table="notes"):
        book: str
        text: str

        by_book = Index("book")


    @query
    async def texts(ctx: QueryCtx, book: str) -> list[str]:
        return [note.text for note in await ctx.db.query(Note).with_index(Note.by_book, book=book).collect()]


    @query
    async def count(ctx: QueryCtx, book: str) -> int:
        return len(await ctx.db.query(Note).with_index(Note.by_book, book=book).collect())


    @query
    async def pages(ctx: QueryCtx, book: str, opts: PaginationOptions) -> PaginationResult[Note]:
        return await ctx.db.query(Note).with_index(Note.by_book, book=book).paginate(opts)


    @query
    async def mine(ctx: QueryCtx) -> dict[str, object]:
        identity = await ctx.auth.get_user_identity()
        name = identity.subject if identity else "nobody"
        return {"name": name, "texts": await texts(ctx, book=name)}


    @mutation
    async def add_mine(ctx: MutationCtx, text: str) -> str:
        identity = await ctx.auth.get_user_identity()
        name = identity.subject if identity else "nobody"
        await ctx.db.insert(Note(book=name, text=text))
        return name


    @internal_query
    async def secret(ctx: QueryCtx) -> str:
        return "rosebud"


    @mutation
    async def add(ctx: MutationCtx, book: str, text: str) -> None:
        await ctx.db.insert(Note(book=book, text=text))


    @mutation
    async def drop(ctx: MutationCtx, book: str, text: str) -> None:
        for note in await ctx.db.query(Note).with_index(Note.by_book, book=book).collect():
            if note.text == text:
                await ctx.db.delete(note.id)


    @mutation
    async def rest(ctx: MutationCtx) -> None:
        pass


    @mutation
    async def refuse(ctx: MutationCtx, book: str) -> None:
        raise YugenError({"code": "full", "book": book})


    @mutation
    async def crash(ctx: MutationCtx) -> None:
        print("about to")
        raise ValueError("the tea is cold")


    @query
    async def odd(ctx: QueryCtx) -> dict[str, object]:
        return {"big": Int64(42), "raw": b"\\x00\\x01", "not": float("nan"), "whole": 3}


    @query
    async def echo(ctx: QueryCtx, value: Any) -> Any:
        return value


    @action
    async def post(ctx: ActionCtx, book: str, text: str) -> int:
        await ctx.run_mutation(add, book=book, text=text)
        return await ctx.run_query(count, book=book)
"""


class Probe:
    """A runner that counts what runs, and runs it only while `gate` is set; `error` is raised instead."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.runs: Counter[str] = Counter()
        self.waiting = 0
        self.waiting_max = 0
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    @property
    def info(self) -> AppInfo:
        return self._runner.info

    async def start(self, catalog: Catalog) -> None:
        await self._runner.start(catalog)

    async def transact(self, run: Run) -> Outcome:
        with self._entering(run):
            await self.gate.wait()
            return await self._runner.transact(run)

    async def act(self, run: Run, call: CallBack) -> Answer:
        with self._entering(run):
            await self.gate.wait()
            return await self._runner.act(run, call)

    async def finish(self) -> None:
        await self._runner.finish()

    async def drain(self) -> None:
        await self._runner.drain()

    async def close(self) -> None:
        await self._runner.close()

    @contextmanager
    def _entering(self, run: Run) -> Iterator[None]:
        self.runs[run.path] += 1
        self.entered.set()
        if self.error is not None:
            raise self.error
        self.waiting += 1
        self.waiting_max = max(self.waiting, self.waiting_max)
        try:
            yield
        finally:
            self.waiting -= 1


class Client:
    """The client's end of a connection, which is the `Socket` of the other end.

    Attributes:
        reads: while it is not set, sending to this client waits.
        sending: messages the server has begun to send.
        closed: the code and reason the server closed with.
    """

    def __init__(self) -> None:
        self._to_server: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._heard: deque[dict[str, Any]] = deque()
        self._hearing = asyncio.Event()
        self._version: dict[str, Any] = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
        self._request_ids = itertools.count()
        self.reads = asyncio.Event()
        self.reads.set()
        self.sending = 0
        self.closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    # The socket

    async def receive(self) -> str | bytes:
        message = await self._to_server.get()
        if message is None:
            raise Disconnected
        return message

    async def send(self, text: bytes) -> None:
        self.sending += 1
        await self.reads.wait()
        self._heard.append(json.loads(text))
        self._hearing.set()

    async def close(self, code: int, reason: str) -> None:
        await self.reads.wait()
        self.closed.set_result((code, reason))

    # What a client does

    def say(self, message: dict[str, Any]) -> None:
        self.say_raw(json.dumps(message))

    def say_raw(self, frame: str | bytes) -> None:
        self._to_server.put_nowait(frame)

    def leave(self) -> None:
        self._to_server.put_nowait(None)

    @property
    def unread(self) -> int:
        """Messages of this client that the server has not taken yet."""
        return self._to_server.qsize()

    def connect(self, **more: Any) -> None:
        connect = {"type": "Connect", "sessionId": str(uuid.uuid4()), "connectionCount": 0, "lastCloseReason": None}
        self.say(connect | more)

    def subscribe(
        self, *queries: tuple[int, str, dict[str, Any]], base: int = 0, journals: Mapping[int, str] | None = None
    ) -> None:
        adds = [
            {"type": "Add", "queryId": number, "udfPath": path, "args": [args], "journal": (journals or {}).get(number)}
            for number, path, args in queries
        ]
        self.say({"type": "ModifyQuerySet", "baseVersion": base, "newVersion": base + 1, "modifications": adds})

    def unsubscribe(self, query_id: int, base: int) -> None:
        removes = [{"type": "Remove", "queryId": query_id}]
        self.say({"type": "ModifyQuerySet", "baseVersion": base, "newVersion": base + 1, "modifications": removes})

    def mutate(self, path: str, **args: Any) -> int:
        return self._request("Mutation", path, args)

    def act(self, path: str, **args: Any) -> int:
        return self._request("Action", path, args)

    def authenticate(self, base: int = 0, **token: Any) -> None:
        self.say({"type": "Authenticate", "baseVersion": base, **token})

    async def next_kind(self) -> str:
        """The type of the next message."""
        async with asyncio.timeout(SECONDS_MAX):
            while not self._heard:
                self._hearing.clear()
                await self._hearing.wait()
        kind: str = self._heard[0]["type"]
        return kind

    async def hear(self, *kinds: str) -> dict[str, Any]:
        """The next message, which must be of one of these kinds. A Transition must start where the last one ended."""
        kind = await self.next_kind()
        message = self._heard.popleft()
        assert kind in kinds, message
        if kind == "Transition":
            assert message["startVersion"] == self._version
            self._version = message["endVersion"]
        return message

    @property
    def unheard(self) -> int:
        """Messages that have come and were not asked for."""
        return len(self._heard)

    async def values(self) -> dict[int, Any]:
        """What the next message, a Transition, says of which queries."""
        message = await self.hear("Transition")
        return {each["queryId"]: each.get("value", each.get("errorMessage")) for each in message["modifications"]}

    async def response(self, kind: str = "Mutation") -> dict[str, Any]:
        return await self.hear(f"{kind}Response")

    async def is_closed(self) -> tuple[int, str]:
        async with asyncio.timeout(SECONDS_MAX):
            return await self.closed

    def _request(self, kind: str, path: str, args: dict[str, Any]) -> int:
        number = next(self._request_ids)
        self.say({"type": kind, "requestId": number, "udfPath": path, "args": [args]})
        return number


class Bench:
    """An engine with clients, each on a connection that a task of `serving` serves."""

    def __init__(
        self, runtime: Runtime, probe: Probe, folder: Path, admin_key: AdminKey, verifier: Verifier | None = None
    ) -> None:
        self.runtime = runtime
        self.probe = probe
        self.admin_key = admin_key
        self.callers = Callers(admin_key, verifier)
        self.deployment = Deployment(LOCAL_URL, folder / ".yugen")
        self.files = FileService(runtime, FilePlace(SECRET, LOCAL_URL, "", self.deployment.folder))
        exports, imports = Exports(runtime, self.deployment), Imports(runtime, self.deployment)
        sealed = Sealed(EncryptionKeys(folder, VAULT_KEY), Variables(VAULT), Founding(VAULT, None, lambda: None))
        variables = EnvironmentVariables(runtime, sealed)
        self.backend = Backend(runtime, self.callers, exports, imports, self.files, variables)
        self.connections: list[Connection] = []
        self.sessions = Sessions()
        self.newcomers = Newcomers()
        self.rounds = Rounds()
        self.serving: list[asyncio.Task[None]] = []

    def client(
        self,
        *queries: tuple[int, str, dict[str, Any]],
        connect: bool = True,
        limits: SessionLimits | None = None,
    ) -> Client:
        """A client that has connected, and subscribed."""
        client = Client()
        connection = Connection(
            client,
            self.runtime,
            self.callers,
            limits=limits,
            sessions=self.sessions,
            newcomers=self.newcomers,
            rounds=self.rounds,
        )
        self.connections.append(connection)
        self.serving.append(asyncio.create_task(connection.serve()))
        if connect:
            client.connect()
        if queries:
            client.subscribe(*queries)
        return client

    async def gone(self, number: int = 0) -> None:
        """Waits until a connection has ended, with all it started."""
        async with asyncio.timeout(SECONDS_MAX):
            await self.serving[number]
        assert self.connections[number].gone.done()

    async def finish(self) -> None:
        for connection in self.connections:
            connection.abort()
        async with asyncio.timeout(SECONDS_MAX):
            await asyncio.gather(*self.serving, return_exceptions=True)
        assert self.runtime.queries.statistics()["subscribed"] == 0
        assert self.runtime.queries.live_bytes == 0
        assert not self.newcomers._admitted
        assert not self.newcomers.waiting


@asynccontextmanager
async def bench(folder: Path, pause: Pause | None = None, *, verifier: Verifier | None = None) -> AsyncIterator[Bench]:
    """An engine over a store in memory, that runs the notes; checks that nothing of any connection is left behind."""
    probes: list[Probe] = []

    def wrap(runner: Runner) -> Runner:
        probes.append(Probe(runner))
        return probes[0]

    store = MemoryStore(pause) if pause else MemoryStore()
    before = asyncio.all_tasks()
    async with engine(store, write_app(folder, notes=NOTES), wrap=wrap) as runtime:
        probes[0].entered.clear()  # what has run to get ready is nobody's business
        probes[0].runs.clear()
        made = Bench(runtime, probes[0], folder, AdminKey(folder / "admin_key"), verifier)
        try:
            yield made
        finally:
            await made.finish()
            await made.callers.close()
            await made.backend.exports.close()
            await made.backend.imports.close()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, left


class LoopTime:
    """The clock of the running event loop, to be put forward. It stays so, for the loop is the test's own."""

    def __init__(self) -> None:
        self._seconds = 0.0
        loop = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + self._seconds  # type: ignore[method-assign]

    def forward(self, seconds: float) -> None:
        self._seconds += seconds


def ts(text: str) -> int:
    """A timestamp of the wire."""
    return int.from_bytes(base64.b64decode(text), "little")


async def until_blocked() -> None:
    """Lets everything go on that can, where nothing waits for a thread or a socket."""
    for _ in range(200):
        await asyncio.sleep(0)
