"""One sync connection: a session, the socket it talks through, and the runtime that does its work.

The session decides, this carries out. Three tasks share a connection: one reads messages, one prepares transitions, one
writes and starts the functions that are due. Whatever happens wakes the writer, and the other two wait until it has
written everything: a client that does not read is not listened to, and misses transitions instead of piling them up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Protocol, assert_never

from yugen import values
from yugen.runtime.mutations import Request
from yugen.runtime.outcome import Answer, Failure, MutationAnswer
from yugen.runtime.queries import QueryKey
from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Runtime
from yugen.server.caller import ANYONE, Admitted, Caller, Callers, ProviderUnavailable, TokenRejected
from yugen.server.sessions import Sessions
from yugen.storage.interface import StorageError, Timestamp
from yugen.sync import messages
from yugen.sync.client import ClientInfo
from yugen.sync.messages import AddQuery, NoToken, QueryId, UserToken
from yugen.sync.session import (
    CheckTimestamp,
    CheckToken,
    RunAction,
    RunMutation,
    ServerSession,
    SessionLimits,
    Update,
    Work,
)

SEND_SECONDS_MAX = 60.0
"""How long a client may take to read one message before it counts as gone."""

CATCH_UP_SECONDS_MAX = 10.0
"""How far this node may be behind what a client has seen elsewhere and still be expected to get there."""

RESEND_SECONDS = 0.05
"""How long a client that comes back has for sending again what it has no answer to, before its first results."""

QUERIES_AT_ONCE_MAX = 32
"""Queries of one connection that are run at once; the others of its update wait, so that other clients need not."""

_SHOWN_MAX = 100
"""Characters of a client's text in an error."""

logger = logging.getLogger(__name__)


class Disconnected(Exception):
    """The client is gone."""


class Socket(Protocol):
    """The transport of one connection."""

    async def receive(self) -> str | bytes:
        """The next message; bytes if it was binary.

        Raises:
            Disconnected: there will be none.
        """

    async def send(self, text: bytes) -> None:
        """Sends a text message; waits while the client does not read.

        Raises:
            Disconnected: nobody is there to read it.
        """

    async def close(self, code: int, reason: str) -> None:
        """Ends the connection, after what was sent before.

        Raises:
            Disconnected: it has ended already.
        """


@dataclass(frozen=True, slots=True)
class _Subscription:
    """What one query of the client is subscribed to, and for whom."""

    key: QueryKey
    caller: Caller
    end: Callable[[], None]


class Connection:
    """Serves one client until it leaves or breaks the rules.

    Args:
        socket: the accepted transport.
        runtime: does the work.
        callers: checks who the client says it is.
        client: what kind of client it is.
        limits: what the client may ask for at once.
        sessions: knows on which other connections the client was or is.

    Attributes:
        gone: done when the connection has ended, and all it has started.
    """

    def __init__(
        self,
        socket: Socket,
        runtime: Runtime,
        callers: Callers,
        *,
        client: ClientInfo | None = None,
        limits: SessionLimits | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self._socket = socket
        self._sessions = sessions
        self._runtime = runtime
        self._callers = callers
        self._loop = asyncio.get_running_loop()
        self._session = ServerSession(now=self._loop.time(), caller=ANYONE, client=client, limits=limits)
        self._subscriptions: dict[QueryId, _Subscription] = {}

        # `_wake` is set when the session may have something to say or to do, `_caught_up` when it has not, and
        # `_has_room` when it may be given more.
        self._wake = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._has_room = asyncio.Event()
        self._update_due = asyncio.Event()
        self._query_slots = asyncio.Semaphore(QUERIES_AT_ONCE_MAX)
        self._timer: asyncio.TimerHandle | None = None

        self._conversation: tuple[asyncio.Task[None], ...] = ()
        self._work: set[asyncio.Task[None]] = set()
        self.gone: asyncio.Future[None] = self._loop.create_future()

    async def serve(self) -> None:
        """Runs the connection to its end: the client is gone, or has been sent everything up to the close.

        Mutations and actions that run by then are waited for: a client that leaves does not take back what it asked.
        """
        self._arm()
        writing = self._start(self._write())
        self._conversation = (writing, self._start(self._read()), self._start(self._update()))
        try:
            try:
                await asyncio.wait([writing])
            finally:
                self.hang_up()
            while self._work:
                await asyncio.wait(self._work)
        finally:
            for task in self._work:
                task.cancel()
            if self._sessions is not None and self._session.connect is not None:
                self._sessions.leave(self._session.connect.session_id, self)
            self.gone.set_result(None)

    def shut_down(self, code: int, reason: str) -> None:
        """Ends the connection from the server's side; what its functions have not committed is lost."""
        self._session.close(code, reason)
        self._turn()
        for task in self._work:
            task.cancel()

    def abort(self) -> None:
        """Ends the connection without a word to its client."""
        for task in (*self._conversation, *self._work):
            task.cancel()

    def hang_up(self) -> None:
        """Ends the connection without a word to its client, but lets what runs for it come to its end."""
        self._session.close(1001, "ClientGone")
        for task in self._conversation:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        for subscription in self._subscriptions.values():
            subscription.end()
        self._subscriptions.clear()
        if self._session.unknown_messages:
            logger.info("passed over %d messages of unknown types from one client", self._session.unknown_messages)

    def _turn(self) -> None:
        """Has the other tasks look, after anything has happened to the session."""
        self._caught_up.clear()
        self._wake.set()
        self._update_due.set()

    async def _read(self) -> None:
        while True:
            connected = self._session.connect is not None
            self._session.receive(await self._socket.receive(), wall_ns=time.time_ns())
            connect = self._session.connect
            if self._sessions is not None and connect is not None and not connected:
                self._sessions.enter(connect.session_id, connect.connection_count, self)
            self._turn()
            await self._caught_up.wait()
            await self._has_room.wait()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            while outgoing := self._session.messages_to_send(now=self._loop.time()):
                for message in outgoing:
                    await self._in_time(self._socket.send(message))
            close = self._session.close_requested()
            if close is not None:
                await self._in_time(self._socket.close(close.code, close.reason))
                return
            self._wake.clear()
            self._caught_up.set()
            if self._session.is_full:
                self._has_room.clear()
            else:
                self._has_room.set()
            for work in self._session.take_work():
                self._work.add(self._start(self._do(work)))

    async def _in_time(self, writing: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS_MAX):
                await writing
        except TimeoutError:
            logger.info("a client has read nothing for %g s and is cut off", SEND_SECONDS_MAX)
            raise Disconnected from None

    async def _do(self, work: Work) -> None:
        match work:
            case RunMutation():
                await self._mutate(work)
            case RunAction():
                await self._act(work)
            case CheckToken():
                await self._check_token(work)
            case CheckTimestamp():
                self._check_timestamp(work.ts)
            case _:
                assert_never(work)
        self._turn()

    async def _mutate(self, work: RunMutation) -> None:
        def answered(answer: MutationAnswer) -> None:
            self._session.mutation_finished(work.request_id, answer)
            self._turn()

        try:
            args = values.canonical(values.decode(work.args))
        except values.InvalidValue as error:
            answered(MutationAnswer(_invalid(work.path, error), None))
            return
        connect = self._session.connect
        request = Request(connect.session_id, work.request_id) if connect else None
        caller: Caller = work.caller
        await self._runtime.mutate(
            work.path, args, caller.identity, public=not caller.admin, request=request, answered=answered
        )

    async def _act(self, work: RunAction) -> None:
        caller: Caller = work.caller
        try:
            args = values.canonical(values.decode(work.args))
        except values.InvalidValue as error:
            answer = _invalid(work.path, error)
        else:
            answer = await self._runtime.act(work.path, args, caller.identity, public=not caller.admin)
        self._session.action_finished(work.request_id, answer)

    async def _check_token(self, work: CheckToken) -> None:
        try:
            match work.token:
                case NoToken():
                    admitted = Admitted(ANYONE)
                case messages.AdminKey(key, acting_as):
                    admitted = self._callers.admin(key, acting_as)
                case UserToken(token):
                    admitted = await self._callers.user(token)
                case _:
                    assert_never(work.token)
        except TokenRejected as error:
            self._session.token_rejected(str(error))
            return
        seconds = None if admitted.expires_at is None else admitted.expires_at - time.time()
        self._session.token_accepted(admitted.caller, expires=None if seconds is None else self._loop.time() + seconds)
        self._arm()

    def _check_timestamp(self, ts: Timestamp) -> None:
        """Sends a client away that has seen more than this node has, as long as the node may be about to see it too.

        What is longer ago will not come any more: the data is not what it was, and the client begins anew with it.
        """
        if ts <= self._runtime.ts:
            return
        if ts > time.time_ns() - CATCH_UP_SECONDS_MAX * 1_000_000_000:
            logger.warning(
                "a client has seen commit %d and this node is at %d; it is to come again", ts, self._runtime.ts
            )
            self._session.close(1011, "InternalServerError")
        else:
            logger.error("a client has seen commit %d, which is lost: the newest is %d", ts, self._runtime.ts)

    async def _update(self) -> None:
        waited = False
        while True:
            await self._update_due.wait()
            self._update_due.clear()
            if self._session.returning and not waited:
                await asyncio.sleep(RESEND_SECONDS)
                waited = True
            await self._caught_up.wait()
            update = self._session.begin_update(self._runtime.ts)
            if update is not None:
                answers = await self._answers(update)
                self._session.finish_update(update, answers, wall_ns=time.time_ns())
                self._turn()

    async def _answers(self, update: Update) -> dict[QueryId, Answer]:
        for query_id in update.removed:
            self._unsubscribe(query_id)
        with self._runtime.queries.holding(update.ts):
            asking = [self._loop.create_task(self._answer(query, update.caller, update.ts)) for query in update.run]
            try:
                answers = await asyncio.gather(*asking)
            finally:
                for task in asking:
                    task.cancel()
        return {query.query_id: answer for query, answer in zip(update.run, answers, strict=True)}

    async def _answer(self, query: AddQuery, caller: Caller, ts: Timestamp) -> Answer:
        async with self._query_slots:
            try:
                key = self._key(query, caller)
            except values.InvalidValue as error:
                return _invalid(query.path, error)
            self._subscribe(query.query_id, key, caller)
            answer = await self._runtime.queries.at(key, caller.identity, ts)
            if answer.journal != key.journal:
                # From here on the query is asked with its journal: its page keeps its end.
                key = replace(key, journal=answer.journal)
                self._subscribe(query.query_id, key, caller)
                answer = await self._runtime.queries.at(key, caller.identity, ts)
            return answer

    def _key(self, query: AddQuery, caller: Caller) -> QueryKey:
        """What to ask a query by."""
        before = self._subscriptions.get(query.query_id)
        if before is None:
            args = values.canonical(values.decode(query.args))
            return self._runtime.query_key(query.path, args, public=not caller.admin, journal=query.journal)
        return replace(before.key, public=not caller.admin) if before.caller != caller else before.key

    def _subscribe(self, query_id: QueryId, key: QueryKey, caller: Caller) -> None:
        """Sees to it that the connection hears of changes of a query."""
        before = self._subscriptions.get(query_id)
        if before is not None and before.caller == caller and before.key is key:
            return
        end = self._runtime.queries.subscribe(key, caller.identity, lambda: self._invalidated(query_id))
        self._unsubscribe(query_id)
        self._subscriptions[query_id] = _Subscription(key, caller, end)

    def _invalidated(self, query_id: QueryId) -> None:
        self._session.invalidate(query_id)
        self._update_due.set()

    def _unsubscribe(self, query_id: QueryId) -> None:
        subscription = self._subscriptions.pop(query_id, None)
        if subscription is not None:
            subscription.end()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._session.deadline()
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._session.handle_deadline(now=self._loop.time())
        self._turn()
        self._arm()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        """Ends the connection when one of its tasks failed; how is for the client to know what to do next."""
        self._work.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        match error:
            case None:
                return
            case Disconnected():
                for part in self._conversation:
                    part.cancel()
            case asyncio.CancelledError():
                # Those that the connection cancels itself it closes before: the runtime has been closed under it.
                self._session.close(1001, "ServerShuttingDown")
            case Overloaded():
                logger.warning("a client is sent away for now: %s", error)
                self._session.close(1013, "TooManyConcurrentRequests")
            case ProviderUnavailable():
                # Not for the token: the client is to come back with it, and nobody is to be logged out.
                logger.warning("a client is sent away for now: %s", error)
                self._session.close(1011, "InternalServerError")
            case StorageError():
                logger.error("the store failed: %s", error)
                self._session.close(1011, "InternalServerError")
            case _:
                logger.error("a connection failed", exc_info=error)
                self._session.close(1011, "InternalServerError")
        self._turn()


def _invalid(path: str, error: values.InvalidValue) -> Answer:
    return Answer(failure=Failure(f"Server Error\nUncaught {error.code}: an argument of {path[:_SHOWN_MAX]}: {error}"))
