"""The reactive engine of one node: functions over a store, without sockets."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from yugen import values
from yugen.catalog import TABLES, Catalog, TableSpec
from yugen.errors import Refused
from yugen.functions.info import Kind
from yugen.functions.names import FunctionNotFound, canonical_path
from yugen.identity import Identity
from yugen.keys import table_of
from yugen.runtime.commit import Committer, Conflict, Proposal
from yugen.runtime.deploy import deploy
from yugen.runtime.outcome import Answer, Failure, MutationAnswer, Outcome
from yugen.runtime.queries import Queries, QueryKey
from yugen.runtime.run import Run
from yugen.runtime.runner import Overloaded, Runner
from yugen.storage.interface import Commit, RequestRecord, Store, Timestamp

ATTEMPTS_MAX = 16
"""How often a mutation runs before its conflicts are reported."""


@dataclass(frozen=True, slots=True)
class Request:
    """A client's mutation by the names that stay the same when it is sent again."""

    session: str
    number: int


class InvalidRequest(Refused):
    """A request that was used before for something else."""

    code = "InvalidRequest"


class Runtime:
    """Runs functions, commits what mutations write, and keeps the answers of queries up to date.

    Args:
        store: the database; the runtime opens and closes it.
        runner: where functions run; the runtime starts and closes it.
        clock: nanoseconds since the epoch.

    Attributes:
        ts: the newest timestamp at which everything can be answered.
        catalog: the tables of the deployment.
    """

    def __init__(self, store: Store, runner: Runner, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.ts: Timestamp = 0
        self.catalog = Catalog()
        self._store = store
        self._runner = runner
        self._clock = clock
        self._mutating: dict[object, Timestamp] = {}
        self._requests: dict[Request, asyncio.Task[MutationAnswer]] = {}
        # Mutations that have lost a race take turns, so that each of them loses at most to newcomers.
        self._contended = asyncio.Lock()

    async def start(self) -> None:
        """Opens the store, brings it to what the app declares, and gets ready to run.

        Raises:
            Refused: the app and the stored documents do not go together.
        """
        newest = await self._store.open()
        self.catalog, self.ts = await deploy(
            self._store, newest, self._runner.info, clock=self._clock, random_bytes=os.urandom
        )
        await self._runner.start(self.catalog)
        self.queries = Queries(self._execute, self.ts)
        self._committer = Committer(
            self._store,
            self.ts,
            clock=self._clock,
            published=self._published,
            oldest_reader=lambda: min(self._mutating.values(), default=self.ts),
        )

    async def close(self) -> None:
        """Finishes the commits under way and lets go of everything."""
        await self._committer.close()
        await self._runner.close()
        await self._store.close()

    def query_key(self, path: str, args: bytes, identity: Identity | None, *, public: bool = True) -> QueryKey:
        """What a query is cached and subscribed to under. `args` is canonical JSON in the encoded form."""
        try:
            path = canonical_path(path)
        except FunctionNotFound:
            path = path[:1024]
        return QueryKey(path, args, identity, public)

    async def query(
        self, path: str, args: bytes, identity: Identity | None = None, *, public: bool = True
    ) -> Answer:
        """The answer of a query at the newest timestamp."""
        return await self.queries.at(self.query_key(path, args, identity, public=public), self.ts)

    async def mutate(
        self,
        path: str,
        args: bytes,
        identity: Identity | None = None,
        *,
        public: bool = True,
        request: Request | None = None,
    ) -> MutationAnswer:
        """Runs a mutation until it commits or fails by itself. Returns once the commit is durable and published.

        A request that was carried out before is answered as it was then.

        Raises:
            Overloaded: it kept losing against other mutations, or too much is waiting.
            StorageError: the store failed and nothing was written.
        """
        if request is None:
            return await self._mutate(path, args, identity, public, None)
        running = self._requests.get(request)
        if running is None:
            running = asyncio.get_running_loop().create_task(self._mutate_once(path, args, identity, public, request))
            self._requests[request] = running
            running.add_done_callback(lambda task: self._forget(request, task))
        return await asyncio.shield(running)

    async def act(
        self, path: str, args: bytes, identity: Identity | None = None, *, public: bool = True
    ) -> Answer:
        """Runs an action once."""

        async def call(kind: Kind, target: str, given: bytes) -> Answer:
            match kind:
                case "query":
                    return await self.query(target, given, identity, public=False)
                case "mutation":
                    return (await self.mutate(target, given, identity, public=False)).answer
                case "action":
                    return await self.act(target, given, identity, public=False)

        run = self._run("action", path, args, identity, public, self.ts)
        return run if isinstance(run, Answer) else await self._runner.act(run, call)

    def kind_of(self, path: str) -> Literal["query", "mutation", "action"]:
        """What a function is. A function that does not exist is a query, which will say so."""
        try:
            info = self._runner.info.functions.get(canonical_path(path))
        except FunctionNotFound:
            return "query"
        return info.kind if info else "query"

    async def _execute(self, key: QueryKey, ts: Timestamp) -> Outcome:
        run = self._run("query", key.path, key.args, key.identity, key.public, ts)
        return Outcome(run) if isinstance(run, Answer) else await self._runner.transact(run)

    def _run(
        self, kind: Kind, path: str, args: bytes, identity: Identity | None, public: bool, ts: Timestamp
    ) -> Run | Answer:
        request_id = secrets.token_hex(8)
        try:
            path = canonical_path(path)
        except FunctionNotFound as error:
            return Answer(failure=Failure(f"[Request ID: {request_id}] Server Error\nUncaught {error.code}: {error}"))
        now = self._clock() / 1_000_000
        return Run(kind, path, args, public, ts, now, os.urandom(16), request_id, identity)

    async def _mutate(
        self, path: str, args: bytes, identity: Identity | None, public: bool, record: Callable[[Answer], RequestRecord] | None
    ) -> MutationAnswer:
        answer = await self._attempt(path, args, identity, public, record)
        if answer is not None:
            return answer
        async with self._contended:
            for _ in range(ATTEMPTS_MAX - 1):
                answer = await self._attempt(path, args, identity, public, record)
                if answer is not None:
                    return answer
        raise Overloaded(f"{path} kept conflicting with other mutations; try again in a moment.")

    async def _attempt(
        self, path: str, args: bytes, identity: Identity | None, public: bool, record: Callable[[Answer], RequestRecord] | None
    ) -> MutationAnswer | None:
        """One run and its commit; None when it conflicts."""
        run = self._run("mutation", path, args, identity, public, self.ts)
        if isinstance(run, Answer):
            return MutationAnswer(run, None)
        with self._reading(run.ts):
            outcome = await self._runner.transact(run)
            answer = outcome.answer
            if answer.failure is not None:
                return MutationAnswer(answer, None)
            if not outcome.changes and record is None:
                return MutationAnswer(answer, run.ts)
            proposal = Proposal(run.ts, outcome.reads, outcome.changes, record(answer) if record else None)
            try:
                return MutationAnswer(answer, await self._committer.commit(proposal))
            except Conflict:
                return None

    async def _mutate_once(
        self, path: str, args: bytes, identity: Identity | None, public: bool, request: Request
    ) -> MutationAnswer:
        digest = hashlib.sha256(repr((path, identity)).encode() + b"\0" + args).digest()
        found = await self._store.find_request(request.session, request.number)
        if found is not None:
            record, ts = found
            if record.digest != digest:
                error = InvalidRequest(
                    f"request {request.number} of this session was another call before; use a new request id."
                )
                return MutationAnswer(Answer(failure=Failure(f"{error.code}: {error}")), None)
            return MutationAnswer(Answer(record.value, log_lines=record.log_lines), ts)

        def record_of(answer: Answer) -> RequestRecord:
            assert answer.value is not None
            return RequestRecord(request.session, request.number, digest, answer.value, answer.log_lines)

        return await self._mutate(path, args, identity, public, record_of)

    def _forget(self, request: Request, task: asyncio.Task[MutationAnswer]) -> None:
        del self._requests[request]
        if not task.cancelled():
            task.exception()  # whoever asked may be gone; those who are not are told by their own wait

    @contextmanager
    def _reading(self, ts: Timestamp) -> Any:
        token = object()
        self._mutating[token] = ts
        try:
            yield
        finally:
            del self._mutating[token]

    def _published(self, commits: Sequence[Commit]) -> None:
        for commit in commits:
            for change in commit.changes:
                if table_of(change.key) == TABLES.number and change.after is not None:
                    document = values.loads(change.after)
                    assert isinstance(document, dict)
                    if self.catalog.named(str(document["name"])) is None:
                        self.catalog.add(TableSpec(str(document["name"]), int(document["number"])))
            self.ts = commit.ts
        for commit in commits:
            self.queries.publish(commit)
