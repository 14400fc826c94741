"""One sync connection: a session, the socket it talks through, and the runtime that does its work.

The session decides, this carries out. A task reads messages. All else is done in rounds, which serve every connection
for which something has happened: transitions are made, messages written and functions begun by plain calls. A client
that does not read is not listened to, and misses transitions instead of piling them up.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol, assert_never

from yugen import values
from yugen.errors import Refused, TokenRejected
from yugen.runtime.disk_failures import known_failure
from yugen.runtime.mutations import Call, Request
from yugen.runtime.outcome import MutationAnswer, refused
from yugen.runtime.own import value_of
from yugen.runtime.queries import Subscription
from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Runtime
from yugen.server.caller import ANYONE, Admitted, Caller, Callers, ProviderUnavailable, Standing
from yugen.server.newcomers import Newcomers
from yugen.server.rounds import Round, Rounds
from yugen.server.sessions import Sessions
from yugen.server.stepping import Done, step
from yugen.server.subscriptions import Answers, Subscriptions, invalid_argument
from yugen.server.unread import Unread
from yugen.server.writer import SEND_SECONDS_MAX, NothingRead, TooMuchUnread, Writer
from yugen.storage.interface import StorageError, Timestamp
from yugen.sync import messages
from yugen.sync.client import ClientInfo
from yugen.sync.messages import Connect, NoToken, QueryId, UserToken
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

CATCH_UP_SECONDS_MAX = 10.0
"""How far this node may be behind what a client has seen elsewhere and still be expected to get there."""

FRAMES_AT_ONCE = 128
"""How many messages of one client are taken before they are answered."""

RESEND_SECONDS = 0.05
"""How long a client that comes back is silent when it has sent again what it has no answer to."""

RESEND_SECONDS_MAX = 1.0
"""How long its first results wait for that at most."""

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


class ActionRefused(Refused):
    """An action that has not been begun, for there are too many."""

    code = "Overloaded"


class Connection:
    """Serves one client until it leaves or breaks the rules.

    Args:
        socket: the accepted transport.
        runtime: does the work.
        callers: checks who the client says it is.
        client: what kind of client it is.
        limits: what the client may ask for at once.
        sessions: knows on which other connections the client was or is.
        newcomers: has its first results wait while those of many others are made.
        rounds: serves this connection along with others.
        unread: counts what it and others are yet to read.

    Attributes:
        gone: done when the connection has ended, and all it has started.
    """

    # There are thousands of connections, nearly all of them idle: what they are made of is small.
    __slots__ = (
        "_acknowledged",
        "_answered",
        "_callers",
        "_catching_up",
        "_closing",
        "_due",
        "_ended",
        "_heard",
        "_held_back",
        "_hung_up",
        "_is_new",
        "_loop",
        "_may_read",
        "_mutation",
        "_mutations_done",
        "_newcomers",
        "_reading",
        "_rounds",
        "_runtime",
        "_session",
        "_sessions",
        "_settling",
        "_socket",
        "_standing",
        "_standing_checks",
        "_subscriptions",
        "_timer",
        "_work",
        "_writer",
        "gone",
    )

    def __init__(
        self,
        socket: Socket,
        runtime: Runtime,
        callers: Callers,
        *,
        client: ClientInfo | None = None,
        limits: SessionLimits | None = None,
        sessions: Sessions | None = None,
        newcomers: Newcomers | None = None,
        rounds: Rounds | None = None,
        unread: Unread | None = None,
    ) -> None:
        self._socket = socket
        self._sessions = sessions
        self._rounds = rounds or Rounds()
        self._newcomers = newcomers or Newcomers()
        self._is_new = True  # up to its first results
        self._runtime = runtime
        self._callers = callers
        self._loop = asyncio.get_running_loop()
        limits = limits or SessionLimits()
        self._session = ServerSession(now=self._loop.time(), caller=ANYONE, client=client, limits=limits)
        self._subscriptions = Subscriptions(runtime, limits.answer_bytes, self._stale, self._has_answers, self._fail)
        self._standing: Subscription | None = None  # tells when the caller is no longer who they are
        self._standing_checks = 0  # how many look just now whether that is so
        self._writer = Writer(socket, self._turn, self._fail, unread)

        # What other nodes still do for this client, and whether it has been left to them.
        self._settling: Awaitable[None] | None = None
        self._hung_up = False
        # Whether this node is catching up with the others for this connection, and has.
        self._catching_up = False
        self._acknowledged: Timestamp = 0  # by any node, before what the client said last

        # Whether a round is to serve this connection; what it will find to be answered; whether it has closed.
        self._due = False
        self._answered: tuple[Update, Answers] | None = None
        self._closing = False
        # Whether a client that has come back is still given time before its first results; whether it has used it.
        self._held_back = False
        self._heard = False
        self._timer: asyncio.TimerHandle | None = None

        self._reading: asyncio.Task[None] | None = None
        self._may_read: asyncio.Future[None] | None = None
        self._work: set[asyncio.Task[Any]] = set()
        # The mutation that runs, of which there is one at a time, and who waits for its end.
        self._mutation: Call | None = None
        self._mutations_done: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.gone: asyncio.Future[None] = self._loop.create_future()

    async def serve(self) -> None:
        """Runs the connection to its end: the client is gone, or has been sent everything up to the close.

        Mutations and actions that run by then are waited for: a client that leaves does not take back what it asked.
        """
        self._arm()
        self._reading = self._loop.create_task(self._read())
        self._reading.add_done_callback(self._finished)
        try:
            try:
                await self._ended
            finally:
                self.hang_up()
            while self._work:
                await asyncio.wait(self._work)
            if self._mutation is not None:
                self._mutations_done = self._loop.create_future()
                await self._mutations_done
        finally:
            self._abandon()
            self._reading = None  # its error leads back here
            if self._sessions is not None and self._session.connect is not None:
                self._sessions.leave(self._session.connect.session_id, self)
            self.gone.set_result(None)

    @property
    def lags(self) -> bool:
        """Whether the client is yet to read what was sent to it."""
        return self._writer.lags

    def shut_down(self, code: int, reason: str) -> None:
        """Ends the connection from the server's side; what its functions have not committed is lost."""
        self._session.close(code, reason)
        self._turn()
        self._abandon()

    def expire_token(self, error: str) -> None:
        """Asks a client that is signed in with a token for another, on a new connection."""
        self._session.expire_token(error)
        self._turn()

    def abort(self) -> None:
        """Ends the connection without a word to its client."""
        self._end()
        self._abandon()

    def hang_up(self) -> None:
        """Ends the connection without a word to its client, but lets what runs for it come to its end."""
        self._hung_up = True
        self._session.close(1001, "ClientGone")
        self._end()
        if self._reading is not None:
            self._reading.cancel()
        self._writer.stop()
        if self._timer is not None:
            self._timer.cancel()
        self._subscriptions.end()
        self._settle_in()
        self._stand_on(None)
        if self._session.unknown_messages:
            logger.info("passed over %d messages of unknown types from one client", self._session.unknown_messages)

    def _abandon(self) -> None:
        for task in self._work:
            task.cancel()
        if self._mutation is not None:
            self._runtime.abandon(self._mutation)

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    # Messages in -----------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        waiting: Awaitable[str | bytes] | None = None
        while True:
            self._hear(await (waiting or self._socket.receive()))
            waiting = None
            # What else has come by now is answered along with it.
            for _ in range(FRAMES_AT_ONCE - 1):
                if self._session.is_full:
                    break
                try:
                    receiving = step(self._socket.receive())
                except Disconnected:
                    while self._due:  # noqa: ASYNC110 -- what it said before it left, it said
                        await asyncio.sleep(0)
                    raise
                if not isinstance(receiving, Done):
                    waiting = receiving
                    break
                self._hear(receiving.result)
            await asyncio.sleep(0)  # for the round, after which most can be listened to
            while not self._listens:
                self._may_read = self._loop.create_future()
                await self._may_read

    def _hear(self, frame: str | bytes) -> None:
        self._heard = True
        connected = self._session.connect is not None
        self._session.receive(frame, wall_ns=time.time_ns())
        self._acknowledged = self._runtime.acknowledged
        if not connected and self._session.connect is not None:
            self._connected(self._session.connect)
        self._turn()

    @property
    def _listens(self) -> bool:
        """Whether the client has read everything, and what it has said is not too much.

        Where mutations are refused, what a client says while some of its own wait is read later in one go: to read it
        piece by piece would cost more than to refuse it.
        """
        return not (
            self._due
            or self._writer.lags
            or self._session.is_full
            or (self._runtime.refusing and self._session.mutations_waiting)
        )

    def _connected(self, connect: Connect) -> None:
        if self._sessions is not None:
            self._settling = self._sessions.enter(connect.session_id, connect.connection_count, self)
        if self._session.returning:
            self._held_back = True
            self._give_time(self._loop.time() + RESEND_SECONDS_MAX)

    def _give_time(self, until: float) -> None:
        self._heard = False
        self._loop.call_later(RESEND_SECONDS, self._give_results, self._loop.time() + RESEND_SECONDS, until)

    def _give_results(self, due: float, until: float) -> None:
        now = self._loop.time()
        # Where this process itself was held up, what the client has said meanwhile is still to be read.
        if (self._heard or now > due + RESEND_SECONDS / 2) and now < until:
            self._give_time(until)
        else:
            self._held_back = False
            self._turn()

    # Messages and work out -------------------------------------------------------------------------------------------

    def _turn(self, commit: Timestamp | None = None) -> None:
        """Sees to it that this connection is served, after anything has happened to the session.

        Args:
            commit: the timestamp of what has happened, if that is a commit that may concern many.
        """
        if not self._due:
            self._due = True
            self._rounds.add(self, commit)

    def serve_in(self, round: Round) -> None:
        """As `Due.serve_in`: says and begins whatever the session has by now."""
        self._due = False
        if self._ended.done():
            return
        has_closed = self._session.has_closed
        try:
            if has_closed:
                self._settle_in()
            else:
                self._update(round)
            self._write(round)
        except Exception as error:
            self._fail(error)
            if has_closed:
                self._end()  # it cannot even say goodbye, and would try again and again
        if self._may_read is not None and self._listens:
            self._may_read.set_result(None)
            self._may_read = None

    def _update(self, round: Round) -> None:
        if self._standing_checks:
            return  # What ends a session changes its queries too, and whoever is to sign in again is not to see that.
        if self._answered is not None:
            update, answers = self._answered
            self._answered = None
            self._session.finish_update(update, answers, wall_ns=round.wall_ns, texts=round.texts)
            self._settle_in()
        if self._subscriptions.asking:
            return
        due = None
        if self._may_update():
            if self._is_new and self._session.is_update_due and not self._newcomers.admit(self):
                return
            due = self._session.begin_update(self._runtime.ts)
        if due is None:
            self._newcomers.leave(self)  # until it reads, or has the answers to its own mutations
            return
        at_hand = self._subscriptions.answer(due)
        if at_hand is not None:
            self._session.finish_update(due, at_hand, wall_ns=round.wall_ns, texts=round.texts)
            self._settle_in()

    def _may_update(self) -> bool:
        """Whether the client reads, and this node has seen all that it has."""
        if self._writer.lags or self._held_back or self._catching_up:
            return False
        if self._acknowledged > self._runtime.ts:
            if self._session.is_update_due:
                self._catching_up = True
                self._start(self._catch_up())
            return False
        return True

    def admitted(self) -> None:
        """As `Newcomer.admitted`."""
        self._turn()

    def _settle_in(self) -> None:
        """Is no newcomer any more: it has its first results, or gets none."""
        if self._is_new:
            self._is_new = False
            self._newcomers.leave(self)

    async def _catch_up(self) -> None:
        """Has the next update show whatever another node had acknowledged when the client asked for it."""
        try:
            await self._runtime.latest()
        finally:
            self._catching_up = False
        self._turn()

    def _write(self, round: Round) -> None:
        """Writes what there is to say, and starts what is due then: a client that lags gets nothing more done."""
        if not self._writer.lags and not self._closing:
            close = self._session.close_requested()
            self._closing = close is not None
            self._writer.write(self._session.messages_to_send(now=round.now), close)
        if self._writer.lags:
            return
        if self._closing:
            self._end()
        # Again and again, for a mutation that is refused makes way for the next one at once.
        while begun := self._session.take_work():
            for work in begun:
                self._begin(work)

    def _stale(self, query_id: QueryId) -> None:
        self._session.invalidate(query_id)
        self._turn(self._runtime.ts)

    def _has_answers(self, update: Update, answers: Answers) -> None:
        self._answered = update, answers
        self._turn()

    # Work ------------------------------------------------------------------------------------------------------------

    def _begin(self, work: Work) -> None:
        match work:
            case RunMutation():
                if self._settling is None:
                    self._mutate(work)
                else:
                    self._start(self._mutate_when_settled(work, self._settling))
            case RunAction():
                self._start(self._act(work))
            case CheckToken():
                self._start(self._check_token(work))
            case CheckTimestamp():
                if work.ts > self._runtime.ts:
                    self._start(self._check_timestamp(work.ts))
            case _:
                assert_never(work)

    async def _mutate_when_settled(self, work: RunMutation, settling: Awaitable[None]) -> None:
        """Begins a mutation when other nodes have finished what they run for this client."""
        await asyncio.shield(settling)
        self._settling = None
        if not self._hung_up:  # or else the client sends it again where it is now
            self._mutate(work)

    def _mutate(self, work: RunMutation) -> None:
        def answered(answer: MutationAnswer | BaseException) -> None:
            self._mutation = None
            if self._mutations_done is not None:
                self._mutations_done.set_result(None)
            failure = known_failure(answer) if isinstance(answer, BaseException) else None
            if failure is not None:
                answer = MutationAnswer(refused(failure, request_id), None)
            if isinstance(answer, BaseException):
                self._fail(answer)
            else:
                self._session.mutation_finished(work.request_id, answer)
                self._turn()

        connect = self._session.connect
        request = Request(connect.session_id, work.request_id) if connect else None
        request_id = request.id if request else secrets.token_hex(8)
        refusal = self._runtime.refusal(work.path, request_id, work.received_ns)
        if refusal is not None:
            answered(refusal)
            return
        try:
            args = values.canonical(values.decode(work.args))
        except values.InvalidValue as error:
            answered(MutationAnswer(invalid_argument(work.path, error), None))
            return
        caller: Caller = work.caller
        self._mutation = self._runtime.call(
            work.path,
            args,
            caller.identity,
            answered,
            public=not caller.admin,
            request=request,
            request_id=request_id,
        )
        self._runtime.begin(self._mutation)

    async def _act(self, work: RunAction) -> None:
        caller: Caller = work.caller
        connect = self._session.connect
        request_id = Request(connect.session_id, work.request_id).id if connect else secrets.token_hex(8)
        try:
            args = values.canonical(values.decode(work.args))
        except values.InvalidValue as error:
            answer = invalid_argument(work.path, error)
        else:
            try:
                answer = await self._runtime.act(
                    work.path, args, caller.identity, public=not caller.admin, request_id=request_id
                )
            except Overloaded as error:
                # Sent away, a client could not ask again: it would take this for an action that was lost, and those
                # that run for it too.
                answer = refused(ActionRefused(str(error)), request_id)
        self._session.action_finished(work.request_id, answer)
        self._turn()

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
            self._turn()
            return
        seconds = None if admitted.expires_at is None else admitted.expires_at - time.time()
        self._session.token_accepted(admitted.caller, expires=None if seconds is None else self._loop.time() + seconds)
        self._arm()
        self._turn()
        self._stand_on(admitted.standing)

    def _stand_on(self, standing: Standing | None) -> None:
        """Listens from here on to what tells whether the caller is still who they are, and to nothing else."""
        if self._standing is not None:
            self._standing()
            self._standing = None
        if standing is not None and not self._hung_up:
            key = self._runtime.query_key(standing.path, standing.args, public=False)
            value = standing.value
            self._standing = self._runtime.queries.subscribe(key, None, lambda: self._look_at_standing(value))
            self._look_at_standing(value)  # it may have changed since it was asked

    def _look_at_standing(self, value: Any) -> None:
        if self._standing is not None and not self._hung_up:
            self._standing_checks += 1
            self._start(self._check_standing(self._standing, value))

    async def _check_standing(self, standing: Subscription, value: Any) -> None:
        try:
            answer = await standing.at(await self._runtime.latest())
            if standing is self._standing and value_of(answer) != value:
                self.expire_token("The session has ended; sign in again.")
        finally:
            self._standing_checks -= 1
        self._turn()

    async def _check_timestamp(self, ts: Timestamp) -> None:
        """Sends a client away that has seen more than this node has, as long as the node may be about to see it too.

        What is longer ago will not come any more: the data is not what it was, and the client begins anew with it. What
        is of a time to come, no client has seen: one that says so is served, or it would come again for ever.
        """
        if ts <= await self._runtime.latest():
            return
        ahead = (ts - time.time_ns()) / 1_000_000_000
        if ahead > CATCH_UP_SECONDS_MAX:
            logger.warning("a client says that it has seen commit %d, and the newest is %d", ts, self._runtime.ts)
        elif ahead > -CATCH_UP_SECONDS_MAX:
            logger.warning(
                "a client has seen commit %d and this node is at %d; it is to come again", ts, self._runtime.ts
            )
            self._session.close(1011, "InternalServerError")
            self._turn()
        else:
            logger.error("a client has seen commit %d, which is lost: the newest is %d", ts, self._runtime.ts)

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

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Ends the connection when something of it failed; how is for the client to know what to do next."""
        match error:
            case Disconnected() | TooMuchUnread():
                self._end()
            case NothingRead():
                logger.info("a client has read nothing for %g s and is cut off", SEND_SECONDS_MAX)
                self._end()
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
