"""The best-case loop: what Python, SQLite and a WebSocket allow with none of a product's duties.

One process: picows, orjson, SQLite with `synchronous=FULL` on the event loop, one SQL table with a native index for
each table. It speaks as much of the sync protocol as the load client does, and has functions of `benchmarks/app` under
the same names. Whatever has come by the time it turns to it is one transaction; a query runs once for all who listen,
and is encoded once. There is no validation, no error, no deduplication, no log, no identity, no process of its own for
functions; what a function reads is noted as a place (a key of a table, or a document), not as a range.

Run as `python -m benchmarks.loop PORT FOLDER`. It prints a line when it serves.
"""

import asyncio
import sys
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import orjson
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

Place: TypeAlias = tuple[str, Any]
"""A document, or the documents of a table that have a key."""

TABLES = ("notes", "accounts", "presence")


class Database:
    """Documents as JSON; those with a key are found by it. What is read and written is noted."""

    def __init__(self, path: Path) -> None:
        self.connection = apsw.Connection(str(path))
        for name, value in (("journal_mode", "wal"), ("synchronous", 2), ("wal_autocheckpoint", 10_000)):
            self.connection.pragma(name, value)
        for table in TABLES:
            self.connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, key TEXT, document BLOB)")
            self.connection.execute(f"CREATE INDEX {table}_by_key ON {table} (key) WHERE key IS NOT NULL")
        self.execute = self.connection.execute
        self.ids = {table: count() for table in TABLES}
        self.read: set[Place] = set()
        self.written: set[Place] = set()

    async def insert(self, table: str, key: str | None, document: dict[str, Any]) -> str:
        number = next(self.ids[table])
        document = {"_id": str(number), "_creationTime": time.time() * 1000, **document}
        self.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", (number, key, orjson.dumps(document)))
        self.written |= {(table, key), (table, number)}
        return str(number)

    async def get(self, table: str, name: str) -> dict[str, Any]:
        self.read.add((table, int(name)))
        found = self.execute(f"SELECT document FROM {table} WHERE id = ?", (int(name),)).get
        return orjson.loads(found)  # type: ignore[no-any-return]

    async def replace(self, table: str, key: str | None, document: dict[str, Any]) -> None:
        number = int(document["_id"])
        self.execute(f"UPDATE {table} SET document = ? WHERE id = ?", (orjson.dumps(document), number))
        self.written |= {(table, key), (table, number)}

    async def find(self, table: str, key: str, limit: int = 1000) -> bytes:
        """The newest documents with a key, as a JSON array."""
        self.read.add((table, key))
        statement = f"SELECT document FROM {table} WHERE key = ? ORDER BY id DESC LIMIT ?"
        return b"[%b]" % b",".join([document for (document,) in self.execute(statement, (key, limit))])


Handler: TypeAlias = Callable[[Database, dict[str, Any]], Awaitable[Any]]


async def nothing(db: Database, args: dict[str, Any]) -> None: ...


async def add(db: Database, args: dict[str, Any]) -> str:
    return await db.insert("notes", args["topic"], args)


async def transfer(db: Database, args: dict[str, Any]) -> None:
    source, target = await db.get("accounts", args["source"]), await db.get("accounts", args["target"])
    source["balance"] -= args["amount"]
    target["balance"] += args["amount"]
    await db.replace("accounts", None, source)
    await db.replace("accounts", None, target)


async def open_accounts(db: Database, args: dict[str, Any]) -> None:
    for _ in range(int(args["count"])):
        await db.insert("accounts", None, {"balance": float(args["balance"])})


people: dict[int, str] = {}
"""In place of an index."""


async def beat(db: Database, args: dict[str, Any]) -> None:
    room = f"room {args['room']}"
    if args["person"] in people:
        person = await db.get("presence", people[args["person"]])
        await db.replace("presence", room, {**person, "seen": args["seen"]})
    else:
        people[args["person"]] = await db.insert("presence", room, args)


async def room(db: Database, args: dict[str, Any]) -> bytes:
    return await db.find("presence", f"room {args['room']}")


async def newest(db: Database, args: dict[str, Any]) -> bytes:
    return await db.find("notes", args["topic"], 1)


async def topic(db: Database, args: dict[str, Any]) -> bytes:
    return await db.find("notes", args["topic"], int(args["count"]))


HANDLERS: dict[str, Handler] = {
    "calls:nothing": nothing,
    "notes:add": add,
    "notes:newest": newest,
    "notes:topic": topic,
    "accounts:open": open_accounts,
    "accounts:transfer": transfer,
    "presence:beat": beat,
    "presence:room": room,
}


def finished(handler: Awaitable[Any]) -> Any:
    """What a handler that never has to wait returns."""
    try:
        handler.send(None)  # type: ignore[attr-defined]
    except StopIteration as done:
        return done.value
    raise RuntimeError("a handler waits")


class Query:
    """One question, however many ask it."""

    def __init__(self, handler: Handler, args: dict[str, Any]) -> None:
        self.handler = handler
        self.args = args
        self.places: set[Place] = set()
        self.listeners: dict[tuple[Session, int], None] = {}
        self.value = b""


class Loop:
    """All sessions, and what waits for the next transaction."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.ts = time.time_ns()
        self.waiting: list[tuple[Session, dict[str, Any]]] = []
        self.queries: dict[tuple[str, bytes], Query] = {}
        self.readers: defaultdict[Place, dict[Query, None]] = defaultdict(dict)

    def add(self, session: "Session", message: dict[str, Any]) -> None:
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self.turn)
        self.waiting.append((session, message))

    def turn(self) -> None:
        """One transaction of all that waits, durable before anybody hears of it."""
        messages, self.waiting = self.waiting, []
        due: dict[Session, list[bytes]] = {}
        values = []
        self.db.written.clear()
        with self.db.connection:
            for session, message in messages:
                due[session] = []
                if message["type"] == "Mutation":
                    handler = HANDLERS[message["udfPath"]]
                    value = finished(handler(self.db, message["args"][0]))
                    values.append((session, message["requestId"], value))
        self.ts = max(self.ts + 1, time.time_ns())
        ts = b64encode(self.ts.to_bytes(8, "little"))
        for session, request, value in values:
            session.out += frame(
                b'{"type":"MutationResponse","requestId":%d,"success":true,"result":%b,"logLines":[],"ts":"%b"}'
                % (request, orjson.dumps(value), ts)
            )
        stale = dict.fromkeys(query for place in self.db.written for query in self.readers.get(place, ()))
        for query in stale:
            before = query.value
            self.answer(query)
            if query.value != before:
                for session, number in query.listeners:
                    due.setdefault(session, []).append(updated(number, query.value))
        for session, message in messages:
            if message["type"] == "ModifyQuerySet":
                session.query_set = message["newVersion"]
                for each in message["modifications"]:
                    due[session].append(updated(each["queryId"], self.subscribe(session, each).value))
        self.send(due, ts)

    def subscribe(self, session: "Session", addition: dict[str, Any]) -> Query:
        args = addition["args"][0]
        key = addition["udfPath"], orjson.dumps(args)
        query = self.queries.get(key)
        if query is None:
            query = self.queries[key] = Query(HANDLERS[key[0]], args)
            self.answer(query)
        query.listeners[session, addition["queryId"]] = None
        session.queries.append((query, addition["queryId"]))
        return query

    def answer(self, query: Query) -> None:
        self.db.read.clear()
        query.value = finished(query.handler(self.db, query.args))
        for place in query.places - self.db.read:
            del self.readers[place][query]
        for place in self.db.read - query.places:
            self.readers[place][query] = None
        query.places = set(self.db.read)

    def send(self, due: dict["Session", list[bytes]], ts: bytes) -> None:
        """A Transition for each session, put together once for all that are alike."""
        made: dict[tuple[bytes, tuple[int, ...]], tuple[bytes, bytes]] = {}
        for session, modifications in due.items():
            key = session.version, tuple(map(id, modifications))
            alike = made.get(key)
            if alike is None:
                version = b'{"querySet":%d,"identity":0,"ts":"%b"}' % (session.query_set, ts)
                text = b'{"type":"Transition","startVersion":%b,"endVersion":%b,"modifications":[%b]}'
                alike = made[key] = version, frame(text % (session.version, version, b",".join(modifications)))
            session.version, transition = alike
            session.write(b"%b%b" % (session.out, transition) if session.out else transition)
            session.out = b""


_updates: dict[tuple[int, bytes], bytes] = {}


def updated(number: int, value: bytes) -> bytes:
    """A modification; the same object for all who get the same, so that it is known to be."""
    made = _updates.get((number, value))
    if made is None:
        if len(_updates) > 10_000:
            _updates.clear()
        text = b'{"type":"QueryUpdated","queryId":%d,"value":%b,"logLines":[],"journal":null}'
        made = _updates[number, value] = text % (number, value)
    return made


def frame(text: bytes) -> bytes:
    """A text message as a server sends it."""
    size = len(text)
    if size < 126:
        return b"\x81%c%b" % (size, text)
    if size < 65536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), text)


class Session(WSListener):
    """One connection."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self.loop = loop
        self.query_set = 0
        self.version = b'{"querySet":0,"identity":0,"ts":"AAAAAAAAAAA="}'
        self.queries: list[tuple[Query, int]] = []
        self.out = b""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.write = transport.underlying_transport.write

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
            return
        message = orjson.loads(frame.get_payload_as_memoryview())
        if message["type"] != "Connect":
            self.loop.add(self, message)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        for query, number in self.queries:
            del query.listeners[self, number]


async def serve(port: int, folder: Path) -> None:
    loop = Loop(Database(folder / "loop.sqlite3"))

    def accept(_: WSUpgradeRequest) -> Session:
        return Session(loop)

    server = await ws_create_server(accept, "127.0.0.1", port, enable_auto_ping=False, backlog=2048)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    main: Coroutine[Any, Any, None] = serve(int(sys.argv[1]), Path(sys.argv[2]))
    uvloop.run(main)
