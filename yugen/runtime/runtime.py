"""The reactive engine of one node: functions over a store, without sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final, cast

from yugen.catalog import Catalog
from yugen.errors import Refused
from yugen.functions.info import AppInfo, Kind, RunKind
from yugen.functions.names import FunctionNotFound, canonical_path
from yugen.functions.providers import Provider
from yugen.functions.routing import Routes
from yugen.identity import Identity
from yugen.runtime.causes import CALLED, Why
from yugen.runtime.commit import Committer, Proposal
from yugen.runtime.deploy import (
    Reindexing,
    check,
    deploy,
    is_due,
    stored_catalog,
    unfinished,
)
from yugen.runtime.disk_failures import StorageDamaged
from yugen.runtime.environment import Variables
from yugen.runtime.exchange import Head, What, Wire
from yugen.runtime.founding import Founding
from yugen.runtime.meters import Histogram
from yugen.runtime.mutations import Answered, Call, Committed, InvalidRequest, Mutations, Request
from yugen.runtime.outcome import Answer, MutationAnswer, Outcome, refused
from yugen.runtime.own_runs import OwnRuns
from yugen.runtime.own_tables import take_in
from yugen.runtime.past import Past
from yugen.runtime.pressure import Pressure
from yugen.runtime.queries import LIVE_BYTES_MAX, Queries, QueryKey
from yugen.runtime.reindex import Reindexer
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack, Closing, Runner
from yugen.runtime.times import Times
from yugen.runtime.versions import Versions
from yugen.runtime.writes import Written
from yugen.storage.interface import Commit, Logged, Peers, SnapshotTooOld, StorageError, Store, Timestamp

_MILLISECOND_NS = 1_000_000

_EVERYTHING: Final = (bytes(4), b"\xff" * 5)
"""The interval of all keys."""

logger = logging.getLogger(__name__)

ACTION_DEPTH_MAX = 8
"""How deep actions may call one another (protocol.md 10)."""


class TimestampOutOfReach(Refused):
    """A timestamp that cannot be read at."""

    code = "TimestampOutOfReach"


class Runtime:
    """Runs functions, commits what mutations write, and keeps the answers of queries up to date.

    Args:
        store: the database; the runtime opens and closes it.
        runner: where functions run; the runtime starts and closes it.
        variables: opens the environment variables; without it there are none.
        founding: sees that the database is the one of this deployment.
        clock: nanoseconds since the epoch.
        random_bytes: gives that many random bytes; runs and ids are made from them.
        ended: told of each run of a function that has ended, what came of it, how many seconds after it was asked for,
            and why it ran; gives what its caller gets to see of the answer.
        committed: told of each commit of a mutation by its run, with how many seconds it took, if anyone wants to know.
        kept: told of each query that is asked for the first time and answered without a run, if anyone wants to know;
            and whether whoever asks subscribes to it.
        peers: the other nodes over the same store, if there may be any.
        live_bytes_max: as for `Queries`.

    Attributes:
        ts: the newest timestamp at which everything can be answered.
        catalog: the tables of the deployment.
        queries: the query cache and the subscriptions.
        is_draining: whether no more actions are begun, for the server stops.
        file_deleted: told of each file that is deleted, by the key of its bytes.
    """

    queries: Queries

    def __init__(
        self,
        store: Store,
        runner: Runner,
        *,
        variables: Variables | None = None,
        founding: Founding | None = None,
        clock: Callable[[], int] = time.time_ns,
        random_bytes: Callable[[int], bytes] = os.urandom,
        ended: Callable[[Run, Outcome, float, Why], Answer] = lambda run, outcome, seconds, why: outcome.answer,
        committed: Committed | None = None,
        kept: Callable[[QueryKey, bool], None] | None = None,
        peers: Peers | None = None,
        live_bytes_max: int = LIVE_BYTES_MAX,
    ) -> None:
        self._live_bytes_max = live_bytes_max
        self._variables = variables
        self._founding = founding
        self._peers = peers
        self._ended = ended
        self._committed = committed
        self._kept = kept
        self.ts: Timestamp = 0
        self.catalog = Catalog()
        self._store = store
        self._runner = Versions(runner)
        self._clock = clock
        self._random_bytes = random_bytes
        self._committer: Committer | None = None
        self._reindexer: Reindexer | None = None
        self.file_deleted: Callable[[str], None] = lambda key: None
        # The timestamp at which another version of the app takes over, once that is durable and until it is published.
        self._taking_over: Timestamp | None = None
        self.is_draining = False
        self._damaged = False  # whether something was met that is not what was stored
        self._routes: tuple[AppInfo, Routes] | None = None
        self._anywhere: tuple[AppInfo, Routes] | None = None
        self._past = Past(clock, 0)  # to which `query_at` reaches back

    async def start(self, *, deployed: bool = False, reindexes: bool = True) -> None:
        """Opens the store, brings it to what the app declares, and gets ready to run. `close` also when this fails.

        Args:
            deployed: another node has brought the store to what the app declares, and perhaps serves it.
            reindexes: whether this is the node that finishes the indexes of large tables.

        Raises:
            Refused: the app and the stored documents do not go together.
            StorageError: the store cannot be used.
        """
        newest = await self._store.open()
        if self._founding is not None:
            if deployed and self._peers is not None:
                await self._founding.look(self._store, newest)
            else:
                newest = await self._founding.settle(
                    self._store, newest, clock=self._clock, random_bytes=self._random_bytes
                )
        self.catalog = await self._stored_catalog(newest)
        await self._runner.start(self.catalog)
        self._times = Times(self._clock, newest + _MILLISECOND_NS)
        if deployed:
            self.ts, reindexing = newest, unfinished(self.catalog)
        else:
            self.ts, reindexing = await deploy(
                self._store,
                newest,
                self._runner.info,
                self.catalog,
                OwnRuns(self._runner, self._times, self._random_bytes),
                clock=self._clock,
                random_bytes=self._random_bytes,
            )
        self._past = Past(self._clock, self.ts)
        self._times = Times(self._clock, self.ts + _MILLISECOND_NS)
        self.queries = Queries(self._execute, self.ts, live_bytes_max=self._live_bytes_max)
        self.queries.kept_told = self._kept
        self._committer = Committer(
            self._store, self.ts, clock=self._clock, published=self._published, peers=self._peers
        )
        self._mutations = Mutations(
            self._store,
            self._runner,
            self._committer,
            self.queries.causes,
            pressure=Pressure(self._clock),
            prepare=self._run_of,
            ended=self._ran,
            failed=self._note_damage,
            committed=self._committed,
            peers=self._peers,
        )
        if self._peers is not None:
            self._peers.listen(self._committer.look)
        self._reindexer = Reindexer(self._store, self._committer, lambda: self.ts, random_bytes=self._random_bytes)
        if reindexes:
            self._reindexer.begin(reindexing)

    async def take_up(self, runner: Runner) -> None:
        """Runs another version of the app from here on, at a timestamp of its own, from which no earlier answer holds.

        What runs by then comes to its end in the version in which it began. Where the new version declares other tables
        or indexes or has migrations to do, mutations wait until that is done, and queries go on as before.

        Args:
            runner: of the other version, not started. It is closed when the version is refused.

        Raises:
            Refused: it cannot be served from the documents that there are. All is as before, but for what migrations
                have done by then.
            StorageError: the store failed. The same holds.
        """
        assert self._committer is not None, "start() before take_up()"
        assert self._peers is None, "several nodes take up new code by being started anew"
        try:
            functions = await self._tried_out(runner)
            if await is_due(self._store, self.ts, runner.info, self.catalog, functions):
                async with self._mutations.held():
                    await self._deploy_while_serving(runner, functions)
            else:
                await self._take_over(runner, self.catalog)
        except BaseException:
            if self._runner.newest is not runner:
                await runner.close()
            raise

    async def try_out(self, runner: Runner) -> None:
        """Checks whether another version of the app could be served from the documents that there are now.

        Args:
            runner: of the other version; this starts it.

        Raises:
            Refused: it could not.
            StorageError: the store could not be read.
        """
        await self._tried_out(runner)

    async def _tried_out(self, runner: Runner) -> OwnRuns:
        await runner.start(self.catalog)
        functions = OwnRuns(runner, self._times, self._random_bytes)
        await check(self._store, self.ts, runner.info, functions)
        return functions

    async def _deploy_while_serving(self, runner: Runner, functions: OwnRuns) -> None:
        """Brings the store to what another version declares, which takes over then. Nothing else may be written."""
        assert self._reindexer is not None
        try:
            await self._reindexer.stop()
            newest = await self._stored()
            catalog = await self._stored_catalog(newest)
            await runner.start(catalog)
            _, reindexing = await deploy(
                self._store,
                newest,
                runner.info,
                catalog,
                functions,
                clock=self._clock,
                random_bytes=self._random_bytes,
            )
            await self._take_over(runner, catalog, reindexing)
        except BaseException:
            if self._runner.newest is not runner:
                # What was done up to there has not been published: the version from before goes on with that, also
                # where whoever asked for the new one has given up.
                catalog = await self._stored_catalog(await self._stored())
                await self._runner.start(catalog)
                await self._take_over(None, catalog, unfinished(catalog))
            raise

    async def _stored_catalog(self, ts: Timestamp) -> Catalog:
        """What the store has at a timestamp."""
        catalog = await stored_catalog(self._store, ts)
        if self._variables is not None:
            catalog.environment = await self._variables.read(self._store, ts)
        return catalog

    async def _stored(self) -> Timestamp:
        """The newest timestamp of the store, which may not have been published."""
        found: list[Timestamp] = []

        def look(news: Sequence[Commit], newest: Timestamp) -> list[Commit]:
            found.append(newest)
            return []

        await self._store.append(look)
        return found[-1]

    async def _take_over(self, runner: Runner | None, catalog: Catalog, reindexing: Sequence[Reindexing] = ()) -> None:
        """Ends all answers by a commit, with which a version takes over, or the same one finds other data.

        It is carried to its end also when it is called off: half of it would be worse than either.
        """
        assert self._committer is not None
        assert self._reindexer is not None
        reindexer = self._reindexer
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settled(result: Timestamp | Exception) -> None:
            if isinstance(result, Exception):
                done.set_exception(result)
                return
            # What comes next, without a pause, is that the commit is published.
            done.set_result(None)
            self._taking_over = result
            self.catalog = catalog
            self._times.reach(result + _MILLISECOND_NS)
            if runner is not None:
                self._runner.take_up(runner, result, self.queries.released_before(result))
            reindexer.begin(reindexing)

        self._committer.propose(Proposal(self.ts, (), (), is_mark=True), settled)
        called_off: asyncio.CancelledError | None = None
        while not done.done():
            try:
                await asyncio.wait([done])
            except asyncio.CancelledError as error:
                called_off = error
        done.result()
        if called_off is not None:
            raise called_off

    async def drain(self) -> None:
        """Begins no more actions, waits for those that run, and cancels those that take too long. Once is enough.

        Queries and mutations go on, for actions call them, also to clean up.
        """
        if not self.is_draining:
            self.is_draining = True
            await self._runner.drain()

    async def close(self) -> None:
        """Finishes the commits under way and lets go of everything."""
        if self._reindexer is not None:
            await self._reindexer.stop()
        if self._committer is not None:
            await self._committer.close()
            await self.queries.close()
        await self._runner.close()
        await self._store.close()

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Whose tokens the app trusts."""
        return self._runner.info.providers

    @property
    def routes(self) -> Routes:
        """The requests that HTTP actions of the app answer."""
        info = self._runner.info
        if self._routes is None or self._routes[0] is not info:
            self._routes = info, Routes(info.routes)
        return self._routes[1]

    @property
    def anywhere(self) -> Routes:
        """Those of them that are answered on the origin of the API without `/http` before them too."""
        info = self._runner.info
        if self._anywhere is None or self._anywhere[0] is not info:
            self._anywhere = info, Routes(info.anywhere)
        return self._anywhere[1]

    @property
    def now(self) -> float:
        """What time it is in milliseconds since the epoch, for functions that begin now."""
        return self._times.now

    @property
    def acknowledged(self) -> Timestamp:
        """The newest timestamp that a node over the same store has acknowledged by now; it may be later than `ts`."""
        return self.ts if self._peers is None else self._peers.newest

    async def latest(self) -> Timestamp:
        """The newest timestamp, not before any that a node over the same store has acknowledged by now.

        Raises:
            StorageError: the store could not be read.
        """
        if self._peers is not None:
            assert self._committer is not None, "start() before latest()"
            await self._committer.catch_up(self.acknowledged)
        return self.ts

    async def rewrite(self, start: bytes, end: bytes, to: Callable[[bytes], bytes]) -> int:
        """As `Store.rewrite`: nothing that functions see changes, so nothing runs again."""
        return await self._store.rewrite(start, end, to)

    async def trim_log(self, through: Timestamp) -> Logged:
        """As `Store.trim`. Nothing must run at an earlier timestamp any more."""
        return await self._store.trim(through)

    async def forget_requests(self, through: Timestamp) -> None:
        """As `Store.forget_requests`."""
        await self._store.forget_requests(through)

    @property
    def runner(self) -> Runner:
        """What runs the functions of the newest version."""
        return self._runner.newest

    def measure(self) -> dict[str, float | Histogram | dict[str, int]]:
        """What there is, by the names of `yugen.server.metrics`."""
        assert self._committer is not None, "it has started"
        return {
            "yugen_mutation_conflicts_total": self._mutations.conflicts,
            "yugen_mutations_under_way": self._mutations.under_way,
            "yugen_mutations_refused_total": self._mutations.refused,
            "yugen_overloaded": int(self.refusing),
            "yugen_commit_seconds": self._committer.append_seconds,
            "yugen_publish_seconds": self._committer.publish_seconds,
            "yugen_commits_total": self._committer.commits,
            "yugen_commit_queue": self._committer.queue_length,
            "yugen_newest_commit_timestamp_seconds": self.ts / 1e9,
            "yugen_storage_damaged": int(self._damaged),
            "yugen_sessions_remembered": self._mutations.sessions,
            "yugen_kept_entries": {"causes": self.queries.causes.kept, "versions": len(self._runner)},
            **self.queries.measure(),
        }

    @property
    def has_failed(self) -> bool:
        """Whether this node cannot commit any more, while others over the same store may."""
        return self._store.stopped or (self._committer is not None and self._committer.has_failed)

    async def settled(self, session: str) -> None:
        """Waits until no mutation runs that a client has sent under this session, which goes on at another node."""
        await self._mutations.settled(session)

    def query_key(self, path: str, args: bytes, *, public: bool = True, journal: str | None = None) -> QueryKey:
        """What a query is cached and subscribed to under. `args` is canonical JSON in the encoded form."""
        try:
            path = canonical_path(path)
        except FunctionNotFound:
            path = path[:1024]
        return QueryKey(path, args, public, journal)

    async def query(
        self,
        path: str,
        args: bytes,
        identity: Identity | None = None,
        *,
        public: bool = True,
        why: Why = CALLED,
    ) -> Answer:
        """The answer of a query at the newest timestamp. `why` is why it runs, if it does.

        Raises:
            Overloaded: too much is waiting already.
            StorageError: the store could not be read.
        """
        ts = await self.latest()
        return await self.queries.at(self.query_key(path, args, public=public), identity, ts, why)

    async def query_at(
        self,
        path: str,
        args: bytes,
        identity: Identity | None,
        ts: Timestamp,
        *,
        public: bool = True,
        any_age: bool = False,
    ) -> Answer:
        """The answer of a query at an earlier timestamp.

        Args:
            path: the function.
            args: its arguments' canonical JSON.
            identity: who calls.
            ts: the timestamp, which needs not be that of a commit.
            public: whether internal functions look missing.
            any_age: whether it may be as old as the log, and not only what was the newest a moment ago: the further
                back, the more there is to undo.

        Raises:
            TimestampOutOfReach: it is too old, or has not been yet.
            Overloaded: too much is waiting already.
            StorageError: the store could not be read.
        """
        if ts > self.ts:
            await self.latest()
        if ts == self.ts:  # but not the newest that other nodes have by now
            return await self.queries.at(self.query_key(path, args, public=public), identity, ts)
        earliest = self._past.earliest
        if ts > self.ts or (ts < earliest and not any_age):
            raise TimestampOutOfReach(
                f"The timestamp {ts} is not between {earliest} and {self.ts}, which can be read now; "
                "ask /api/query_ts for a new one."
            )
        try:
            return (await self._execute(self.query_key(path, args, public=public), identity, ts)).answer
        except SnapshotTooOld as error:
            raise TimestampOutOfReach(f"The timestamp {ts} is older than the log, which is kept for a time.") from error

    async def query_once(self, path: str, args: bytes, ts: Timestamp | None = None) -> Answer:
        """The answer of a query of Yugen's own that nobody will ask again. It is not kept, whatever it has read.

        Args:
            path: the function.
            args: its arguments' canonical JSON.
            ts: the timestamp to read at, the newest by default; the further back, the more there is to undo.

        Raises:
            Overloaded: too much is waiting already.
            StorageError: the store could not be read.
        """
        key = self.query_key(path, args, public=False)
        return (await self._execute(key, None, self.ts if ts is None else ts)).answer

    async def mutate(
        self,
        path: str,
        args: bytes,
        identity: Identity | None = None,
        *,
        public: bool = True,
        request: Request | None = None,
        request_id: str | None = None,
        answered: Callable[[MutationAnswer], None] = lambda answer: None,
        job: str | None = None,
        why: Why = CALLED,
    ) -> MutationAnswer:
        """Runs a mutation until it commits or fails by itself. Returns once the commit is durable and published.

        A request that was carried out before is answered as it was then. `answered` gets the answer too, but before
        any subscriber hears of what the mutation changed, and before `ts` says that it has happened. `request_id` is
        what stands before the text of an error. Whoever stops waiting takes back what has not run by then.
        `job` is as in `Run`, `why` is why it runs.

        Raises:
            Overloaded: it kept losing against other mutations, or too much is waiting.
            StorageError: the store failed and nothing was written.
        """
        done: asyncio.Future[MutationAnswer] = asyncio.get_running_loop().create_future()

        def tell(answer: MutationAnswer | BaseException) -> None:
            if not isinstance(answer, BaseException):
                answered(answer)
            if done.done():
                return
            if isinstance(answer, BaseException):
                done.set_exception(answer)
            else:
                done.set_result(answer)

        call = self.call(
            path, args, identity, tell, public=public, request=request, request_id=request_id, job=job, why=why
        )
        self.begin(call)
        try:
            return await done
        except asyncio.CancelledError:
            self.abandon(call)
            raise

    def call(
        self,
        path: str,
        args: bytes,
        identity: Identity | None,
        answered: Answered,
        *,
        public: bool = True,
        request: Request | None = None,
        request_id: str | None = None,
        job: str | None = None,
        why: Why = CALLED,
    ) -> Call:
        """A mutation to `begin`, for those who have no task to wait for it in; see `mutate`.

        `answered` will be called once, with the answer or the exception, perhaps before `begin` returns.
        """
        request_id = request_id or (request.id if request else secrets.token_hex(8))
        return Call(path, args, identity, public, request, request_id, answered, job, why)

    @property
    def refusing(self) -> bool:
        """Whether mutations that have waited are refused, since there is more to do than can be done."""
        return self._mutations.refusing

    def refusal(self, path: str, request_id: str, received_ns: int | None) -> MutationAnswer | None:
        """The answer of a mutation that was received then, in nanoseconds since the epoch, if it comes too late to run.

        Asking costs much less than beginning it: with too much to do, there are many to ask about.
        """
        return self._mutations.refusal(path, request_id, received_ns)

    def begin(self, call: Call) -> None:
        """Runs a mutation until it commits or fails by itself."""
        self._mutations.begin(call)

    def abandon(self, call: Call) -> None:
        """Takes back a mutation that nobody waits for any more, unless it has run."""
        self._mutations.abandon(call)

    async def act(
        self,
        path: str,
        args: bytes,
        identity: Identity | None = None,
        *,
        public: bool = True,
        request_id: str | None = None,
        why: Why = CALLED,
        key: str | None = None,
    ) -> Answer:
        """Runs an action once. `why` is why it runs, and `key` as in `Run`.

        Raises:
            Overloaded: too much is waiting already, or the server stops.
        """
        self._check_draining()
        return await self._act(path, args, identity, public, 1, request_id, why, key)

    async def respond(
        self, request: Head, identity: Identity | None, wire: Wire, *, request_id: str | None = None
    ) -> Answer:
        """Runs an HTTP action once.

        Args:
            request: what it answers; its route is of `routes` as they are now.
            identity: who calls.
            wire: the rest of the request, and the way for the response. What is left of that is the answer's value.
            request_id: what stands before the text of an error.

        Raises:
            Overloaded: too much is waiting already, or the server stops.
        """
        self._check_draining()
        run = self._run("http", str(request.route), b"{}", identity, False, self.ts, request_id)
        assert isinstance(run, Run)
        call = self._calls_of(run, 1)

        async def asked(kind: RunKind, target: str, given: bytes) -> Answer:
            if kind != "http":
                return await call(kind, target, given)
            return Answer(await wire(cast("What", target), given))

        return await self._acted(run._replace(request=request), asked)

    def _check_draining(self) -> None:
        if self.is_draining:
            raise Closing

    def kind_of(self, path: str) -> Kind:
        """What a function is called as. What does not exist, or is not called, counts as a query, which says so."""
        try:
            info = self._runner.info.functions.get(canonical_path(path))
        except FunctionNotFound:
            return "query"
        return "query" if info is None or info.kind == "workflow" else info.kind

    def is_public(self, path: str) -> bool:
        """Whether clients may call what is at a canonical path."""
        info = self._runner.info.functions.get(path)
        return info is not None and info.public

    async def _act(
        self,
        path: str,
        args: bytes,
        identity: Identity | None,
        public: bool,
        depth: int,
        request_id: str | None = None,
        why: Why = CALLED,
        key: str | None = None,
    ) -> Answer:
        if depth > ACTION_DEPTH_MAX:
            error = InvalidRequest(f"actions call one another more than {ACTION_DEPTH_MAX} deep at {path[:1024]}.")
            return refused(error, secrets.token_hex(8))
        run = self._run("action", path, args, identity, public, self.ts, request_id, key=key)
        if isinstance(run, Answer):
            return run
        return await self._acted(run, self._calls_of(run, depth), why)

    async def _acted(self, run: Run, call: CallBack, why: Why = CALLED) -> Answer:
        began = time.perf_counter()
        answer = await self._runner.act(run, call)
        return self._ran(run, Outcome(answer), time.perf_counter() - began, why)

    def _calls_of(self, run: Run, depth: int) -> CallBack:
        """How an action calls functions that is so deep itself: for the same caller, and under the same request id."""
        identity, request_id = run.identity, run.request_id
        why = Why(request_id=request_id, caller=run)

        async def call(kind: RunKind, target: str, given: bytes) -> Answer:
            match kind:
                case "query":
                    return await self.query(target, given, identity, public=False, why=why)
                case "mutation":
                    return (
                        await self.mutate(target, given, identity, public=False, request_id=request_id, why=why)
                    ).answer
                case "action":
                    return await self._act(target, given, identity, False, depth + 1, request_id, why)
                case "http":
                    raise InvalidRequest("an action that answers no request asks about one")

        return call

    def _note_damage(self, error: StorageError) -> None:
        if error.damaged:
            logger.critical("what is stored is damaged: %s", error)
            self._damaged = True

    async def _execute(self, key: QueryKey, caller: Identity | None, ts: Timestamp, why: Why = CALLED) -> Outcome:
        run = self._run("query", key.path, key.args, caller, key.public, ts, why.request_id, key.journal)
        if isinstance(run, Answer):
            outcome = Outcome(run)
        else:
            began = time.perf_counter()
            try:
                outcome = await self._runner.transact(run)
            except StorageError as error:
                if not error.damaged:
                    raise
                # The call fails, and not the connection with all that is well. Any commit has it asked again.
                self._note_damage(error)
                outcome = Outcome(refused(StorageDamaged(), run.request_id), reads=(_EVERYTHING,))
            answer = self._ran(run, outcome, time.perf_counter() - began, why)
            if answer is not outcome.answer:
                outcome = outcome._replace(answer=answer)
        if outcome.answer.failure is not None and outcome.answer.journal is None:
            # What failed before it came to its page has the same page to come to.
            outcome = outcome._replace(answer=outcome.answer._replace(journal=key.journal))
        return outcome

    def _run(
        self,
        kind: RunKind,
        path: str,
        args: bytes,
        identity: Identity | None,
        public: bool,
        ts: Timestamp,
        request_id: str | None = None,
        journal: str | None = None,
        job: str | None = None,
        key: str | None = None,
    ) -> Run | Answer:
        request_id = request_id or secrets.token_hex(8)
        info = self._runner.info.functions.get(path)
        if info is None and kind != "http":
            try:
                path = canonical_path(path, public=public)
            except FunctionNotFound as error:
                return refused(error, request_id)
            info = self._runner.info.functions.get(path)
        long = info is not None and info.long
        now, seed = self._times.next(), self._random_bytes(16)
        return Run(kind, path, args, public, ts, now, seed, request_id, identity, journal, long, job, key=key)

    def _run_of(self, call: Call) -> Run | Answer:
        return self._run(
            "mutation", call.path, call.args, call.identity, call.public, self.ts, call.request_id, job=call.job
        )

    def _ran(self, run: Run, outcome: Outcome, seconds: float, why: Why = CALLED) -> Answer:
        """Takes note of a run that has ended, so many seconds after it was asked for; gives its caller's answer."""
        self.queries.causes.add_if_slow(run, outcome, seconds)
        self._times.used(run.now, len(outcome.changes))
        return self._ended(run, outcome, seconds, why)

    def _published(self, commits: Sequence[Written]) -> None:
        changes = (change for written in commits for change in written.commit.changes)
        take_in(changes, self.catalog, self._variables, self.file_deleted)
        self._past.remember(self.ts)
        self.ts = commits[-1].ts
        if self._peers is not None:
            self._times.reach(self.ts)  # the documents of others have their times too
        for written in commits:
            if written.ts == self._taking_over:
                self._taking_over = None
                self.queries.renew(written.commit)
                # What was before it needs the code of then, which ends when nobody holds a timestamp of its time.
                self._past = Past(self._clock, self.ts)
            else:
                self.queries.publish(written)
