"""One sync connection: a session, the socket it talks through, and the runtime that does its work.

The session decides, this carries out. Three tasks share a connection: one reads frames, one prepares transitions, one
writes. Functions run beside them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, assert_never

from yugen import values
from yugen.runtime.outcome import Answer, Failure, MutationAnswer
from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Request, Runtime
from yugen.server.caller import ADMIN, ANYONE, AdminKey, Caller
from yugen.storage.interface import StorageError
from yugen.sync import messages
from yugen.sync.messages import AddQuery, NoToken, QueryId, UserToken
from yugen.sync.session import CheckToken, RunAction, RunMutation, ServerSession, SessionLimits, Update, Work

logger = logging.getLogger(__name__)

SEND_SECONDS_MAX = 60.0
"""How long a client may take to read one message before it counts as gone."""


class Disconnected(Exception):
    """The client is gone."""


class Socket(Protocol):
    """The transport of one connection."""

    async def receive(self) -> str | bytes:
        """The next frame.

        Raises:
            Disconnected: there will be none.
        """

    async def send(self, text: bytes) -> None:
        """Sends a text frame; waits while the client does not read."""

    async def close(self, code: int, reason: str) -> None: ...


class Connection:
    """Serves one client until it leaves or breaks the rules.

    Args:
        socket: the accepted transport.
        runtime: does the work.
        admin_key: tells administrators.
        limits: what the client may ask for at once.

    Attributes:
        gone: done when the connection has ended.
    """

    def __init__(
        self, socket: Socket, runtime: Runtime, admin_key: AdminKey, limits: SessionLimits | None = None
    ) -> None:
        self._socket = socket
        self._runtime = runtime
        self._admin_key = admin_key
        self._loop = asyncio.get_running_loop()
        self._session = ServerSession(now=self._loop.time(), limits=limits)
        self._callers: dict[int, Caller] = {0: ANYONE}
        self._subscriptions: dict[QueryId, Callable[[], None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_write = asyncio.Event()
        self._to_update = asyncio.Event()
        self._writing = False
        self.gone: asyncio.Future[None] = self._loop.create_future()

    async def serve(self) -> None:
        """Runs the connection to its end: the client is gone, or everything said before a close has been written."""
        self._arm()
        reading, writing, updating = (self._start(work) for work in (self._read(), self._write(), self._update()))
        try:
            await asyncio.wait([reading, writing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._session.close(1001, "ClientGone")
            self._timer.cancel()
            for task in (reading, writing, updating):
                task.cancel()
            await asyncio.gather(reading, writing, updating, return_exceptions=True)
            for unsubscribe in self._subscriptions.values():
                unsubscribe()
            self.gone.set_result(None)

    def shut_down(self, code: int, reason: str) -> None:
        """Ends the connection from the server's side."""
        self._session.close(code, reason)
        self._turn()

    async def _read(self) -> None:
        while True:
            self._session.receive(await self._socket.receive())
            self._turn()

    def _turn(self) -> None:
        """After anything has happened to the session: starts what it wants done, and lets the other tasks look."""
        for work in self._session.take_work():
            self._start(self._do(work))
        self._to_write.set()
        self._to_update.set()

    async def _do(self, work: Work) -> None:
        match work:
            case RunMutation():
                await self._mutate(work)
            case RunAction():
                await self._act(work)
            case CheckToken():
                self._check_token(work)
            case _:
                assert_never(work)
        self._turn()

    async def _mutate(self, work: RunMutation) -> None:
        connect = self._session.connect
        request = Request(connect.session_id, work.request_id) if connect else None
        caller = self._callers[work.identity]

        def answered(answer: MutationAnswer) -> None:
            self._session.mutation_finished(work.request_id, answer)
            self._turn()

        try:
            args = values.canonical(values.decode(work.args))
        except values.InvalidValue as error:
            return answered(MutationAnswer(_invalid(work.path, error), None))
        await self._runtime.mutate(
            work.path, args, caller.identity, public=not caller.admin, request=request, answered=answered
        )

    async def _act(self, work: RunAction) -> None:
        caller = self._callers[work.identity]
        try:
            args = values.canonical(values.decode(work.args))
        except values.InvalidValue as error:
            answer = _invalid(work.path, error)
        else:
            answer = await self._runtime.act(work.path, args, caller.identity, public=not caller.admin)
        self._session.action_finished(work.request_id, answer)

    def _check_token(self, work: CheckToken) -> None:
        match work.token:
            case NoToken():
                caller = ANYONE
            case messages.AdminKey(key) if self._admin_key.opens(key):
                caller = ADMIN
            case messages.AdminKey():
                return self._session.token_rejected("The admin key is not the one of this deployment.")
            case UserToken():
                return self._session.token_rejected(
                    "This deployment has no auth providers, so nobody can sign in; declare them in auth.py."
                )
            case _:
                assert_never(work.token)
        self._callers[work.identity] = caller
        self._session.token_accepted()

    async def _update(self) -> None:
        while True:
            await self._to_update.wait()
            self._to_update.clear()
            # A client that has not read its last message gets the next transition when it has, with all that came
            # meanwhile.
            while not self._writing and (update := self._session.begin_update(self._runtime.ts)) is not None:
                self._session.finish_update(update, await self._answers(update))
                self._to_write.set()
                await asyncio.sleep(0)

    async def _answers(self, update: Update) -> dict[QueryId, Answer]:
        caller = self._callers[update.identity]
        for query_id in update.removed:
            self._unsubscribe(query_id)
        with self._runtime.queries.holding(update.ts):
            answers = await asyncio.gather(*(self._answer(query, caller, update.ts) for query in update.run))
        return {query.query_id: answer for query, answer in zip(update.run, answers, strict=True)}

    async def _answer(self, query: AddQuery, caller: Caller, ts: int) -> Answer:
        try:
            args = values.canonical(values.decode(query.args))
        except values.InvalidValue as error:
            return _invalid(query.path, error)
        key = self._runtime.query_key(query.path, args, caller.identity, public=not caller.admin)
        self._unsubscribe(query.query_id)
        self._subscriptions[query.query_id] = self._runtime.queries.subscribe(
            key, lambda: self._invalidated(query.query_id)
        )
        return await self._runtime.queries.at(key, ts)

    def _invalidated(self, query_id: QueryId) -> None:
        self._session.invalidate(query_id)
        self._to_update.set()

    def _unsubscribe(self, query_id: QueryId) -> None:
        unsubscribe = self._subscriptions.pop(query_id, None)
        if unsubscribe is not None:
            unsubscribe()

    async def _write(self) -> None:
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            self._writing = True
            while frames := self._session.messages_to_send(now=self._loop.time()):
                for frame in frames:
                    async with asyncio.timeout(SEND_SECONDS_MAX):
                        await self._socket.send(frame)
            self._writing = False
            close = self._session.close_requested()
            if close is not None:
                await self._socket.close(close.code, close.reason)
                return
            self._to_update.set()

    def _arm(self) -> None:
        deadline = self._session.deadline()
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._session.handle_deadline(now=self._loop.time())
        self._to_write.set()
        self._arm()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        """Ends the connection when one of its tasks failed, by whose fault it tells from the error."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        match error:
            case None:
                return
            case Disconnected() | TimeoutError():
                self._session.close(1001, "ClientGone")
            case Overloaded():
                self._session.close(1013, "TooManyConcurrentRequests")
            case StorageError():
                logger.error("the store failed: %s", error)
                self._session.close(1011, "InternalServerError")
            case _:
                logger.error("a connection failed", exc_info=error)
                self._session.close(1011, "InternalServerError")
        self._to_write.set()


def _invalid(path: str, error: values.InvalidValue) -> Answer:
    return Answer(failure=Failure(f"Server Error\nUncaught {error.code}: an argument of {path}: {error}"))
