"""The central promise: whatever clients do at once, each of them always sees the database as it was at one moment.

Three clients change and watch the same documents over connections that break. Every Transition is noted as it came.
Afterwards a plain model carries out the committed mutations again, in the order of their timestamps, and every result
of every Transition must be what the model shows at that Transition's timestamp.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.apps import write_app
from tests.engine import ask, engine, new_store
from yugen.runtime.runtime import Runtime
from yugen.server.caller import AdminKey, Callers
from yugen.server.connection import Connection, Disconnected
from yugen.storage.memory import Pause
from yugen_client.messages import (
    AddQuery,
    ClientMessage,
    ModifyQuerySet,
    MutationResponse,
    QueryRemoved,
    QueryUpdated,
    Transition,
    decode_server,
    encode_client,
)
from yugen_client.outcome import Success
from yugen_client.session import RequestResolved, Session

SHELVES: Final = ("a", "b")
COUNTERS: Final = ("x", "y")
IN_FLIGHT_MAX: Final = 4
SUBSCRIPTIONS_MAX: Final = 8

APP = """
    from typing import Any

    from yugen import Document, Id, Index, MutationCtx, QueryCtx, YugenError, between, mutation, query


    class Note(Document, table="notes"):
        shelf: str
        rank: float

        by_shelf = Index("shelf", "rank")


    class Counter(Document, table="counters"):
        name: str
        value: float

        by_name = Index("name", unique=True)


    def shown(note: Note) -> list[Any]:
        return [note.id, note.shelf, note.rank]


    @query(name="range")
    async def range_(ctx: QueryCtx, shelf: str, low: float, high: float) -> list[Any]:
        notes = ctx.db.query(Note).with_index(Note.by_shelf, shelf=shelf, rank=between(low, high))
        return [shown(note) for note in await notes.collect()]


    @query
    async def first(ctx: QueryCtx, shelf: str, count: int, order: str) -> list[Any]:
        notes = ctx.db.query(Note).with_index(Note.by_shelf, shelf=shelf).order(order)
        return [shown(note) for note in await notes.take(count)]


    @query
    async def filtered(ctx: QueryCtx, rank: float) -> list[Any]:
        return [shown(note) for note in await ctx.db.query(Note).filter(lambda note: note.rank == rank).collect()]


    @query
    async def get(ctx: QueryCtx, id: Id[Note]) -> Any:
        note = await ctx.db.get(id)
        return note and shown(note)


    @query
    async def later(ctx: QueryCtx) -> list[float]:
        return [document["n"] for document in await ctx.db.query("later").collect()]


    @query
    async def counter(ctx: QueryCtx, name: str) -> float | None:
        found = await ctx.db.query(Counter).with_index(Counter.by_name, name=name).unique()
        return found and found.value


    @mutation
    async def insert(ctx: MutationCtx, shelf: str, rank: float) -> list[Any]:
        id = await ctx.db.insert(Note(shelf=shelf, rank=rank))
        note = await ctx.db.get(id)
        return [id, note.creation_time]


    @mutation
    async def move(ctx: MutationCtx, id: Id[Note], shelf: str, rank: float) -> bool:
        if await ctx.db.get(id) is None:
            return False
        await ctx.db.patch(id, shelf=shelf, rank=rank)
        return True


    @mutation
    async def delete(ctx: MutationCtx, id: Id[Note]) -> bool:
        if await ctx.db.get(id) is None:
            return False
        await ctx.db.delete(id)
        return True


    @mutation
    async def pop(ctx: MutationCtx, shelf: str) -> str | None:
        note = await ctx.db.query(Note).with_index(Note.by_shelf, shelf=shelf).first()
        if note is None:
            return None
        await ctx.db.delete(note.id)
        return note.id


    @mutation
    async def bump(ctx: MutationCtx, name: str) -> float:
        found = await ctx.db.query(Counter).with_index(Counter.by_name, name=name).unique()
        if found is None:
            await ctx.db.insert(Counter(name=name, value=1.0))
            return 1.0
        await ctx.db.patch(found.id, value=found.value + 1)
        return found.value + 1


    @mutation
    async def append(ctx: MutationCtx) -> float:
        n = float(len(await ctx.db.query("later").collect()))
        await ctx.db.insert("later", {"n": n})
        return n


    @mutation
    async def refuse(ctx: MutationCtx, shelf: str) -> None:
        await ctx.db.insert(Note(shelf=shelf, rank=0.0))
        raise YugenError("refused")
"""

Args = dict[str, Any]


class Model:
    """What the app does, in plain Python."""

    def __init__(self) -> None:
        self.notes: dict[str, tuple[str, float, float]] = {}  # by id: shelf, rank, creation time
        self.counters: dict[str, float] = {}
        self.later: list[float] = []

    def carry_out(self, path: str, args: Args, result: Any) -> None:
        """Does what a mutation did, and checks that its result is what it had to be here."""
        match path:
            case "f:insert":
                note, created = result
                assert note not in self.notes
                self.notes[note] = (args["shelf"], args["rank"], created)
            case "f:move":
                known = self.notes.get(args["id"])
                assert result is (known is not None)
                if known is not None:
                    self.notes[args["id"]] = (args["shelf"], args["rank"], known[2])
            case "f:delete":
                assert result is (self.notes.pop(args["id"], None) is not None)
            case "f:pop":
                assert result == next(iter(self._shelf(args["shelf"])), None)
                self.notes.pop(result, None)
            case "f:bump":
                self.counters[args["name"]] = self.counters.get(args["name"], 0.0) + 1
                assert result == self.counters[args["name"]]
            case "f:append":
                assert result == len(self.later)
                self.later.append(result)
            case _:
                raise AssertionError(path)

    def answer(self, path: str, args: Args) -> Any:
        """What a query returns."""
        match path:
            case "f:range":
                return [
                    self._shown(note)
                    for note in self._shelf(args["shelf"])
                    if args["low"] <= self.notes[note][1] <= args["high"]
                ]
            case "f:first":
                notes = self._shelf(args["shelf"])
                notes = notes[::-1] if args["order"] == "desc" else notes
                return [self._shown(note) for note in notes[: int(args["count"])]]
            case "f:filtered":
                by_creation = sorted(self.notes, key=lambda note: (self.notes[note][2], note))
                return [self._shown(note) for note in by_creation if self.notes[note][1] == args["rank"]]
            case "f:get":
                return self._shown(args["id"]) if args["id"] in self.notes else None
            case "f:later":
                return self.later[:]
            case "f:counter":
                return self.counters.get(args["name"])
            case _:
                raise AssertionError(path)

    def _shelf(self, shelf: str) -> list[str]:
        inside = [note for note, (on, _, _) in self.notes.items() if on == shelf]
        return sorted(inside, key=lambda note: (*self.notes[note][1:], note))

    def _shown(self, note: str) -> list[Any]:
        shelf, rank, _ = self.notes[note]
        return [note, shelf, rank]


class Wire:
    """A connection in memory, both ways. Once cut, what was under way is lost."""

    def __init__(self) -> None:
        self._to_server: asyncio.Queue[str | None] = asyncio.Queue()
        self._to_client: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._is_cut = False
        self._closed = ""  # by the server, and how

    def cut(self) -> None:
        self._is_cut = True
        self._to_server.put_nowait(None)
        self._to_client.put_nowait(None)

    def say(self, text: str) -> None:
        """The client sends."""
        self._to_server.put_nowait(text)

    async def hear(self) -> bytes | None:
        """What the client receives next; None when the connection is gone."""
        text = await self._to_client.get()
        assert self._is_cut or text is not None, f"the server closed a connection: {self._closed}"
        return None if self._is_cut else text

    async def receive(self) -> str | bytes:
        text = await self._to_server.get()
        if self._is_cut or text is None:
            raise Disconnected
        return text

    async def send(self, text: bytes) -> None:
        if self._is_cut:
            raise Disconnected
        self._to_client.put_nowait(text)

    async def close(self, code: int, reason: str) -> None:
        self._closed = f"{code} {reason}"
        self._to_client.put_nowait(None)


@dataclass
class History:
    """What happened, as far as clients could see.

    Attributes:
        commits: timestamp, path, arguments and result of every mutation that was answered.
        seen: what a client held after a Transition: the timestamp, and for each query its path, arguments and value.
        ids: of notes that exist or have existed.
    """

    commits: list[tuple[int, str, Args, Any]] = field(default_factory=list)
    seen: list[tuple[int, list[tuple[str, Args, Any]]]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def check(self) -> Model:
        """Carries out everything again, and compares."""
        assert len({ts for ts, *_ in self.commits}) == len(self.commits)
        model, commits = Model(), sorted(self.commits, key=lambda commit: commit[0])
        done = 0
        for ts, results in sorted(self.seen, key=lambda seen: seen[0]):
            while done < len(commits) and commits[done][0] <= ts:
                model.carry_out(*commits[done][1:])
                done += 1
            for path, args, value in results:
                assert value == model.answer(path, args), f"{path} {args} at {ts}, after {done} commits"
        for commit in commits[done:]:
            model.carry_out(*commit[1:])
        return model


class View:
    """What one connection has been told, by the strictest reading of the protocol (2.5)."""

    def __init__(self, observed: int) -> None:
        self.held: dict[int, tuple[str, Args, Any]] = {}
        self._observed = observed  # on earlier connections
        self._version = (0, 0, 0)
        self._asked: dict[int, tuple[str, Args]] = {}
        self._sets: dict[int, set[int]] = {0: set()}

    @property
    def ts(self) -> int:
        """The moment that everything held is of."""
        return self._version[2]

    def sent(self, message: ClientMessage) -> None:
        if isinstance(message, ModifyQuerySet):
            queries = set(self._sets[message.base_version])
            for modification in message.modifications:
                if isinstance(modification, AddQuery):
                    queries.add(modification.query_id)
                    self._asked[modification.query_id] = (modification.udf_path, modification.args[0])
                else:
                    queries.remove(modification.query_id)
            self._sets[message.new_version] = queries

    def take(self, transition: Transition) -> int:
        """Takes in a Transition; returns the timestamp of everything held then."""
        start, end = transition.start_version, transition.end_version
        assert (start.query_set, start.identity, start.ts) == self._version
        assert end.ts >= max(start.ts, self._observed)
        self._version = (end.query_set, end.identity, end.ts)
        for modification in transition.modifications:
            match modification:
                case QueryUpdated(query_id=query_id, value=value):
                    self.held[query_id] = (*self._asked[query_id], value)
                case QueryRemoved(query_id=query_id):
                    self.held.pop(query_id, None)
                case _:
                    raise AssertionError(modification)
        assert set(self.held) == self._sets[end.query_set]
        return end.ts


class Client:
    """One user: a real client session over wires that are cut, and a view that believes nothing."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        runtime: Runtime,
        callers: Callers,
        history: History,
        dice: random.Random,
    ) -> None:
        self._tasks = tasks
        self._runtime = runtime
        self._callers = callers
        self._history = history
        self._dice = dice
        self._session = Session(str(uuid.UUID(int=dice.getrandbits(128))))
        self._mutations: dict[int, tuple[str, Args]] = {}
        self._answers: dict[int, tuple[int, Any]] = {}
        self._resolved: dict[int, asyncio.Future[None]] = {}
        self._subscriptions: list[int] = []
        self._observed = 0
        self._connect()

    def _connect(self) -> None:
        self._wire = Wire()
        self._view = View(self._observed)
        connection = Connection(self._wire, self._runtime, self._callers)
        self._talking = (self._tasks.create_task(connection.serve()), self._tasks.create_task(self._listen()))
        self._say(self._session.open(now_ms=0))

    async def _hang_up(self) -> None:
        self._wire.cut()
        await asyncio.wait(self._talking)
        self._session.closed("cut")

    def _say(self, messages: list[ClientMessage]) -> None:
        for message in messages:
            self._view.sent(message)
            self._wire.say(encode_client(message))

    async def _listen(self) -> None:
        while (text := await self._wire.hear()) is not None:
            message = decode_server(text)
            assert message is not None
            if isinstance(message, Transition):
                self._observed = self._view.take(message)
                self._history.seen.append((self._observed, list(self._view.held.values())))
            if isinstance(message, MutationResponse) and message.ts is not None:
                self._answered(message.request_id, message.ts, message.result)
                self._observed = max(self._observed, message.ts)
            for event in self._session.receive(message):
                if isinstance(event, RequestResolved):
                    self._settle(event)

    def _answered(self, request: int, ts: int, result: Any) -> None:
        path, args = self._mutations[request]
        if request in self._answers:
            assert self._answers[request] == (ts, result), "the same request was answered in two ways"
            return
        self._answers[request] = (ts, result)
        self._history.commits.append((ts, path, args, result))
        if path == "f:insert":
            self._history.ids.append(result[0])

    def _settle(self, event: RequestResolved) -> None:
        path, _ = self._mutations[event.request_id]
        assert isinstance(event.outcome, Success) is (path != "f:refuse"), event.outcome
        if path != "f:refuse":
            ts, _ = self._answers[event.request_id]
            assert self._view.ts >= ts, "a mutation resolved before its own write was shown"
        self._resolved.pop(event.request_id).set_result(None)

    async def work(self, mutations: int) -> None:
        """Changes, watches, and loses the connection, in an order that the dice give."""
        while mutations:
            step = self._dice.random()
            if step < 0.5:
                mutations -= 1
                await self._mutate(*self._some_mutation())
            elif step < 0.7:
                if len(self._subscriptions) < SUBSCRIPTIONS_MAX:
                    self._subscribe(*self._some_query())
            elif step < 0.8:
                if self._subscriptions:
                    self._unsubscribe(self._dice.choice(self._subscriptions))
            elif step < 0.82:
                await self._hang_up()
                self._connect()
            else:
                for _ in range(self._dice.randrange(20)):
                    await asyncio.sleep(0)
        await asyncio.gather(*self._resolved.values())

    async def finish(self) -> None:
        """Sees everything there is to see in the end, and leaves."""
        for shelf in SHELVES:
            self._subscribe("f:range", {"shelf": shelf, "low": 0.0, "high": 9.0})
        await self._mutate("f:bump", {"name": "last"})
        await asyncio.gather(*self._resolved.values())
        await self._hang_up()

    def _subscribe(self, path: str, args: Args) -> None:
        self._subscriptions.append(self._session.subscribe(path, args))
        self._say(self._session.messages_to_send())

    def _unsubscribe(self, query_id: int) -> None:
        self._subscriptions.remove(query_id)
        self._session.unsubscribe(query_id)
        self._say(self._session.messages_to_send())

    async def _mutate(self, path: str, args: Args) -> None:
        if len(self._resolved) >= IN_FLIGHT_MAX:
            await asyncio.wait(self._resolved.values(), return_when=asyncio.FIRST_COMPLETED)
        request = self._session.mutation(path, args)
        self._mutations[request] = (path, args)
        self._resolved[request] = asyncio.get_running_loop().create_future()
        self._say(self._session.messages_to_send())

    def _some_mutation(self) -> tuple[str, Args]:
        place = {"shelf": self._dice.choice(SHELVES), "rank": float(self._dice.randrange(10))}
        note = self._dice.choice(self._history.ids[-20:]) if self._history.ids else None
        step = self._dice.random()
        if step < 0.3 or note is None:
            return "f:insert", place
        if step < 0.55:
            return "f:move", {"id": note, **place}
        if step < 0.65:
            return "f:delete", {"id": note}
        if step < 0.75:
            return "f:pop", {"shelf": place["shelf"]}
        if step < 0.92:
            return "f:bump", {"name": self._dice.choice(COUNTERS)}
        if step < 0.95 and len(self._history.commits) > 50:
            return "f:append", {}
        return "f:refuse", {"shelf": place["shelf"]}

    def _some_query(self) -> tuple[str, Args]:
        shelf = self._dice.choice(SHELVES)
        low, high = self._dice.choice([(0.0, 4.0), (3.0, 6.0), (5.0, 9.0)])
        order = self._dice.choice(["asc", "desc"])
        queries: list[tuple[str, Args]] = [
            ("f:range", {"shelf": shelf, "low": low, "high": high}),
            ("f:first", {"shelf": shelf, "count": self._dice.choice([0.0, 1.0, 3.0]), "order": order}),
            ("f:filtered", {"rank": low}),
            ("f:later", {}),
            ("f:counter", {"name": self._dice.choice(COUNTERS)}),
        ]
        if self._history.ids:
            queries.append(("f:get", {"id": self._dice.choice(self._history.ids[-20:])}))
        return self._dice.choice(queries)


def stragglers(seed: int) -> Pause:
    """Pauses after which most reads go on soon, and some when many commits have passed them."""
    dice = random.Random(seed)

    async def pause() -> None:
        for _ in range(dice.choice((0, 1, 2, 50))):
            await asyncio.sleep(0)

    return pause


async def run(folder: Path, store: str, seed: int, mutations: int) -> None:
    history = History()
    async with engine(new_store(store, folder, stragglers(seed)), write_app(folder, f=APP)) as runtime:
        callers = Callers(AdminKey(folder / "admin_key"))
        together = asyncio.Barrier(3)

        async def use(client: Client, share: int) -> None:
            await client.work(share)
            await together.wait()
            await client.finish()

        async with asyncio.TaskGroup() as tasks:
            for number, name in enumerate(("one", "two", "page")):
                client = Client(tasks, runtime, callers, history, random.Random(f"{seed} {name}"))
                tasks.create_task(use(client, mutations // 3 + (number < mutations % 3)))
        model = history.check()
        # What no client watched in the end is there once, too.
        for shelf in SHELVES:
            assert await ask(runtime, "f:first", shelf=shelf, count=8000, order="asc") == model.answer(
                "f:first", {"shelf": shelf, "count": 8000, "order": "asc"}
            )
        for name in (*COUNTERS, "last"):
            assert await ask(runtime, "f:counter", name=name) == model.answer("f:counter", {"name": name})
        assert await ask(runtime, "f:later") == model.later
    answered = sum(1 for _, path, args, _ in history.commits if args.get("name") != "last")
    assert answered > mutations * 0.8


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_every_transition_shows_one_moment_of_a_thousand_mutations(store: str, tmp_path: Path) -> None:
    await run(tmp_path, store, seed=1, mutations=1000)


@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_every_transition_shows_one_moment(store: str, seed: int, tmp_path: Path) -> None:
    await run(tmp_path, store, seed, mutations=120)
