"""Mutations on their way from a call to an answer: run, proposed, and run again while they lose against others.

The usual case takes no task: a call is given to the runner, its outcome to the committer, and its answer to whoever
called. Only a mutation that has lost, or that may have been carried out before, has a task of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from yugen.errors import Refused
from yugen.identity import Identity
from yugen.intervals import point
from yugen.runtime.causes import CALLED, Cause, Causes, Loss, Ran, Why
from yugen.runtime.commit import Committer, Conflict, Proposal
from yugen.runtime.outcome import Answer, MutationAnswer, Outcome, refused
from yugen.runtime.pressure import Pressure
from yugen.runtime.run import Run
from yugen.runtime.runner import Overloaded, Runner
from yugen.runtime.writes import request_key
from yugen.storage.interface import Peers, RequestRecord, StorageError, Store, Timestamp

ATTEMPTS_MAX: Final = 16
"""How often a mutation runs before its conflicts are reported."""

LOSSES_MAX: Final = 3
"""How often a mutation loses against others before those that come new wait for it."""

SESSIONS_MAX: Final = 100_000
"""Sessions of which it is remembered how far they have come; of others the store knows."""

logger = logging.getLogger(__name__)


class Request(NamedTuple):
    """A client's mutation by the names that stay the same when it is sent again."""

    session: str
    number: int

    @property
    def id(self) -> str:
        """The request id that stands in errors (protocol.md 2.12)."""
        return hashlib.sha256(f"{self.session}|{self.number}".encode(errors="surrogatepass")).hexdigest()[:16]


_CLOSING: Final = "The server is closing."

Answered: TypeAlias = Callable[[MutationAnswer | BaseException], None]
"""Told of a mutation's answer, or of why there is none, before others hear of its effects."""


Committed: TypeAlias = Callable[[Run, Timestamp, float], None]
"""Told of the timestamp at which a run was committed, and how many seconds after it was proposed."""


class InvalidRequest(Refused):
    """A request that was used before for something else."""

    code = "InvalidRequest"


class Busy(Refused):
    """A mutation that has waited too long on a node that does not keep up.

    Args:
        path: the function.
    """

    code = "Overloaded"

    def __init__(self, path: str) -> None:
        super().__init__(f"the server has more to do than it can, and has not run {path[:1024]}; try again later.")


@dataclass(slots=True, eq=False)
class Call:
    """A mutation that somebody waits for.

    Attributes:
        path: the function.
        args: its arguments' canonical JSON.
        identity: who calls.
        public: whether internal functions look missing.
        request: what the client calls it, if a client does.
        request_id: what stands before the text of an error.
        answered: told of the answer.
        job: the id of what is scheduled and runs by this, if it does.
        why: why it runs, the first time.
        repeated: whether it may have been carried out before.
        losses: how often it has run in vain.
        lost_to: what made it do so last, if that is known.
        attempt: gets whether the attempt under way was the last, where a task waits for that.
        running: gets the outcome of what runs.
    """

    path: str
    args: bytes
    identity: Identity | None
    public: bool
    request: Request | None
    request_id: str
    answered: Answered
    job: str | None = None
    why: Why = CALLED
    repeated: bool = False
    losses: int = 0
    lost_to: Cause | None = None
    attempt: asyncio.Future[bool] | None = None
    running: asyncio.Future[Outcome] | None = None

    @property
    def digest(self) -> bytes:
        """What tells this call from any other under the same request."""
        caller = self.identity and self.identity.token_identifier
        return hashlib.sha256(repr((self.path, caller)).encode() + b"\0" + self.args).digest()


class Mutations:
    """The mutations of one node.

    Args:
        store: knows what was carried out before.
        runner: runs them.
        committer: commits them.
        causes: is told of those that lose.
        pressure: tells when there are too many.
        prepare: makes the next run of a call, or the answer of one that nothing can be run for.
        ended: told of each run that has ended, how many seconds after it was asked for, and why it ran; gives what its
            caller gets.
        failed: told of errors of the store.
        committed: told of each commit, if anyone wants to know.
        peers: the other nodes over the same store, if there may be any.
    """

    def __init__(
        self,
        store: Store,
        runner: Runner,
        committer: Committer,
        causes: Causes,
        *,
        pressure: Pressure,
        prepare: Callable[[Call], Run | Answer],
        ended: Callable[[Run, Outcome, float, Why], Answer],
        failed: Callable[[StorageError], None],
        committed: Committed | None = None,
        peers: Peers | None = None,
    ) -> None:
        self._failed = failed
        self._committed = committed
        self._store = store
        self._runner = runner
        self._committer = committer
        self._causes = causes
        self._pressure = pressure
        self._count = 0  # of those that have begun
        self.conflicts = 0
        self.refused = 0
        self._prepare = prepare
        self._ended = ended
        self._peers = peers
        # Mutations that have lost a race take turns, so that each of them loses at most to newcomers; and one that
        # loses to many of these keeps them out while it runs.
        self._contended = asyncio.Lock()
        self._newcomers = asyncio.Event()
        self._newcomers.set()
        # Requests that run, and the same ones sent again meanwhile: of two runs at once one might fail, its caller be
        # told so, and the other commit after that.
        self._under_way: dict[Request, deque[Call]] = {}
        # Those who wait until none of a session runs.
        self._settling: dict[str, list[asyncio.Future[None]]] = {}
        # The last requests that were begun, by session; what comes after has not been carried out before.
        self._last: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Those that wait for what must be alone, and who waits for those that have begun before it.
        self._held: list[Call] | None = None
        self._all_done: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Begins when all that have begun have come to their end; those that come meanwhile wait until it ends."""
        assert self._held is None, "one at a time"
        self._held = []
        try:
            if self._count:
                self._all_done = asyncio.get_running_loop().create_future()
                await self._all_done
            yield
        finally:
            held, self._held, self._all_done = self._held, None, None
            for call in held:
                self.begin(call)

    @property
    def refusing(self) -> bool:
        """As `Pressure.refusing`."""
        return self._pressure.refusing

    @property
    def under_way(self) -> int:
        """How many have begun and have no answer yet."""
        return self._count

    @property
    def sessions(self) -> int:
        """Of how many sessions it is remembered how far they have come."""
        return len(self._last)

    def refusal(self, path: str, request_id: str, received_ns: int | None) -> MutationAnswer | None:
        """The answer of a mutation that has waited for its turn, if that is better not run any more.

        Args:
            path: the function.
            request_id: what stands in errors.
            received_ns: when the mutation was received, on the clock of `Pressure`; None if that was now.
        """
        if not self._pressure.refuses(received_ns, self._count):
            return None
        self.refused += 1
        return MutationAnswer(refused(Busy(path), request_id), None)

    def begin(self, call: Call) -> None:
        """Runs a mutation until it commits or fails by itself, and then has its caller told, perhaps at once."""
        if self._held is not None:
            self._held.append(call)
            return
        self._count += 1
        request = call.request
        if request is None:
            self._begin(call)
        elif (same := self._under_way.get(request)) is not None:
            same.append(call)
        else:
            self._under_way[request] = deque()
            self._begin_request(request, call)

    def _begin_request(self, request: Request, call: Call) -> None:
        if request.number > self._last.get(request.session, request.number):
            self._last[request.session] = request.number
            self._begin(call)
        else:
            self._start(self._find_out(request, call))

    async def _find_out(self, request: Request, call: Call) -> None:
        """Begins a mutation of which it is not certain that it is new."""
        try:
            last = await self._store.last_request(request.session)
        except Exception as error:
            self._finish(call, error)
            return
        call.repeated = request.number <= last
        self._last[request.session] = max(last, request.number, self._last.pop(request.session, 0))
        if len(self._last) > SESSIONS_MAX:
            del self._last[next(iter(self._last))]
        self._begin(call)

    def _begin(self, call: Call) -> None:
        if call.repeated or not self._newcomers.is_set():
            self._start(self._take_turns(call))
        else:
            self._attempt(call)

    async def _take_turns(self, call: Call) -> None:
        await self._newcomers.wait()
        if not await self._last_attempt(call):
            await self._again(call)

    async def _again(self, call: Call) -> None:
        """Runs a mutation that has lost until it does not lose any more."""
        async with self._contended, AsyncExitStack() as alone:
            try:
                while call.losses < ATTEMPTS_MAX:
                    if call.losses == LOSSES_MAX:
                        self._newcomers.clear()
                        if self._peers is not None:
                            await alone.enter_async_context(self._peers.alone())
                    if await self._last_attempt(call):
                        return
                text = f"{call.path[:1024]} kept conflicting with other mutations; try again in a moment."
                self._finish(call, Overloaded(text))
            except StorageError as error:
                self._finish(call, error)  # other nodes cannot be kept from appending, nor could this one append
            finally:
                self._newcomers.set()

    async def _last_attempt(self, call: Call) -> bool:
        """An attempt; whether it was the last, and the caller is told."""
        before: MutationAnswer | Exception | None
        try:
            before = await self._answer_before(call)
        except Exception as error:
            before = error
        if before is not None:
            self._finish(call, before)
            return True
        call.attempt = asyncio.get_running_loop().create_future()
        self._attempt(call)
        return await call.attempt

    def _attempt(self, call: Call) -> None:
        """Runs a mutation once and has it committed; it finishes, or it has lost."""
        run = self._prepare(call)
        if isinstance(run, Answer):
            self._finish(call, MutationAnswer(run, None))
            return
        self._committer.hold(run.ts)
        began = time.perf_counter()

        def ran(running: asyncio.Future[Outcome]) -> None:
            try:
                outcome = running.result()
            except BaseException as error:  # also one that no function may catch, such as pytest's: somebody waits
                self._committer.release(run.ts)
                self._finish(call, Overloaded(_CLOSING) if isinstance(error, asyncio.CancelledError) else error)
                return
            seconds = time.perf_counter() - began
            why = Why(call.lost_to, again=True) if call.losses else call.why
            self._propose(call, run, outcome, self._ended(run, outcome, seconds, why), seconds)

        call.running = asyncio.ensure_future(self._runner.transact(run))
        call.running.add_done_callback(ran)

    async def settled(self, session: str) -> None:
        """Waits until no mutation runs that a client has sent under this session, which goes on at another node."""
        while any(request.session == session for request in self._under_way):
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settling.setdefault(session, []).append(done)
            await done
        self._last.pop(session, None)  # should it come back, nobody here knows how far it has come

    def abandon(self, call: Call) -> None:
        """Takes back a mutation that nobody waits for any more, unless it has run and is being committed."""
        if call.running is not None:
            call.running.cancel()
        elif self._held is not None and call in self._held:
            self._held.remove(call)
            call.answered(Overloaded(_CLOSING))

    def _propose(self, call: Call, run: Run, outcome: Outcome, answer: Answer, seconds: float) -> None:
        failed = answer.failure is not None
        reads, record = outcome.reads, None
        if call.request is not None and not failed:
            assert answer.value is not None
            session, number = call.request
            record = RequestRecord(session, number, call.digest, answer.value, answer.log_lines)
            if call.repeated:
                # That there was no record is something this attempt has read.
                reads = (point(request_key(session, number)), *reads)
        origin = (run.path, call.request_id)
        proposal = Proposal(run.ts, reads, outcome.changes, record, outcome.guarded, origin, outcome.place)
        proposed = 0.0 if self._committed is None else time.perf_counter()

        def settled(result: Timestamp | Exception) -> None:
            self._committer.release(run.ts)
            if isinstance(result, Conflict):
                self._lose(call, run, outcome, seconds, result)
            elif isinstance(result, Exception):
                self._finish(call, result)
            else:
                if self._committed is not None and outcome.changes:
                    self._committed(run, result, time.perf_counter() - proposed)
                self._finish(call, MutationAnswer(answer, None if failed else result))

        if outcome.place is None and record is None and not outcome.changes and self._peers is None:
            settled(run.ts)
        else:
            self._committer.propose(proposal, settled)

    def _lose(self, call: Call, run: Run, outcome: Outcome, seconds: float, conflict: Conflict) -> None:
        call.losses += 1
        self.conflicts += 1
        call.lost_to = conflict.cause
        ran = Ran.of("mutation", run.path, run.args, run.ts, outcome, seconds)
        self._causes.add_loss(Loss(ran, call.request_id, conflict.cause, call.losses))
        if call.request is not None:
            call.repeated = True  # perhaps that was why
        if call.attempt is not None:
            call.attempt.set_result(False)
        else:
            self._start(self._again(call))

    def _finish(self, call: Call, answer: MutationAnswer | BaseException) -> None:
        self._count -= 1
        if isinstance(answer, StorageError):
            self._failed(answer)
        if call.attempt is not None and not call.attempt.done():
            call.attempt.set_result(True)
        try:
            call.answered(answer)
        finally:
            if self._all_done is not None and not self._count and not self._all_done.done():
                self._all_done.set_result(None)
            if call.request is not None:
                same = self._under_way.pop(call.request)
                for waiting in self._settling.pop(call.request.session, ()):
                    if not waiting.done():
                        waiting.set_result(None)
                if same:
                    following = same.popleft()
                    self._under_way[call.request] = same
                    self._begin_request(call.request, following)

    async def _answer_before(self, call: Call) -> MutationAnswer | None:
        """The answer of a request that was carried out before, or None."""
        if call.request is None:
            return None
        found = await self._store.find_request(*call.request)
        if found is None:
            return None
        record, committed_ts = found
        if record.digest != call.digest:
            error = InvalidRequest(
                f"request {call.request.number} of this session was another call before; use a new request id for a "
                "new call."
            )
            return MutationAnswer(refused(error, call.request_id), None)
        await self._committer.catch_up(committed_ts)  # it is durable, and may not be published yet
        return MutationAnswer(Answer(record.value, log_lines=record.log_lines), committed_ts)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
