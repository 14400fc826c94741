"""Running one function over one snapshot, from encoded arguments to an outcome.

Nothing here commits, caches or sends. The same coroutine runs in a worker process, where it never suspends, and on an
event loop over a store that answers later.
"""

from __future__ import annotations

import itertools
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from yugen import keys, values
from yugen.catalog import ENVIRONMENT, Catalog
from yugen.errors import Refused, YugenError
from yugen.functions.context import ActionCtx, Auth, Call, MutationCtx, QueryCtx, Surroundings
from yugen.functions.cursors import Cursors
from yugen.functions.database import DatabaseReader, DatabaseWriter, SystemDatabase
from yugen.functions.declare import Function
from yugen.functions.info import Kind, RunKind
from yugen.functions.names import SYSTEM_PREFIX, FunctionNotFound, canonical_path
from yugen.functions.pagination import Pages
from yugen.functions.registry import App, Registered, WrongKind
from yugen.functions.storage import FilePlace
from yugen.functions.tables import Tables
from yugen.runtime import logs
from yugen.runtime.budget import Budget, check_size
from yugen.runtime.exchange import Wire
from yugen.runtime.limits import MemoryLimitExceeded, RunLimits
from yugen.runtime.outcome import Answer, Failure, Outcome, Used
from yugen.runtime.run import Run
from yugen.runtime.transaction import Transaction
from yugen.runtime.turns import ForeignAwait
from yugen.schema import as_wire
from yugen.storage.interface import Snapshot
from yugen.system.context import SystemMutationCtx, SystemQueryCtx
from yugen.system.deployment import Deployment
from yugen.system.scheduler import check_pending, succeeded

CALL_DEPTH_MAX = 8
"""How deep functions may call one another (protocol.md 10)."""

_YUGEN = Path(__file__).parent.parent

SystemCtx = TypeVar("SystemCtx", SystemQueryCtx, SystemMutationCtx)

logger = logging.getLogger(__name__)


class CalledFunctionFailed(Exception):
    """A function that an action called has failed with an error that carries no data."""


class Executor:
    """Runs the functions of one app.

    Args:
        app: the loaded app.
        catalog: the tables of the deployment.
        secret: seals cursors.
        development: whether the text of errors goes to clients.
        deployment: where it runs, and where its files are.
        limits: what its functions may use.
        logs_failures: whether errors that nobody raises on purpose are logged here; if not, a failure has its traceback
            with it, for whoever logs it then.
    """

    def __init__(
        self,
        app: App,
        catalog: Catalog,
        *,
        secret: bytes,
        development: bool,
        deployment: Deployment,
        limits: RunLimits | None = None,
        logs_failures: bool = True,
    ) -> None:
        self.app = app
        self.catalog = catalog
        self.deployment = deployment
        self._cursors = Cursors(secret)
        self._tables = Tables(app.documents, strict=app.strict)
        self._without_classes = Tables({}, references=app.documents)
        self._development = development
        self._limits = limits or RunLimits()
        self.files = FilePlace(secret, deployment.url, deployment.files, deployment.folder)
        self._logs_failures = logs_failures

    async def transact(self, run: Run, snapshot: Snapshot) -> Outcome:
        """Runs a query or a mutation over `snapshot`. Every failure of the function is in the outcome."""
        began = time.perf_counter()
        budget = Budget(None if run.path.startswith(SYSTEM_PREFIX) else self._limits)
        transaction = Transaction(
            snapshot, self.catalog, now=run.now, random_bytes=_random_bytes(run.seed), budget=budget
        )
        calls = _Calls(self, run, transaction)
        answer = await self._answer(run, self._transacted(run, calls))
        if calls.pages.journal is not None:
            answer = answer._replace(journal=calls.pages.journal)
        changes = transaction.changes if run.kind == "mutation" and not answer.failure else ()
        used = Used(time.perf_counter() - began, budget.documents_read)
        return Outcome(answer, tuple(transaction.reads), changes, calls.auth.was_read, transaction.guarded, used)

    async def _transacted(self, run: Run, calls: _Calls) -> bytes:
        registered = self._called(run)
        if run.job is None:
            result = await calls.invoke(registered, self._arguments(run.args), depth=1)
        else:
            own = calls.system_ctx(SystemMutationCtx)
            with calls.unaccounted():
                await check_pending(own, run.job)
            result = await calls.invoke(registered, self._arguments(run.args), depth=1)
            with calls.unaccounted():
                await succeeded(own, run.job)
        return self._encoded(registered, result)

    async def act(self, run: Run, call: Call) -> Answer:
        """Runs an action, whose queries, mutations and actions go through `call`."""
        surroundings = Surroundings(Auth(run.identity), run.now, run.seed, self.catalog.environment, self.named)
        surroundings.files = self.files
        return await self._answer(run, self._acted(run, ActionCtx(surroundings, call)))

    async def _acted(self, run: Run, ctx: ActionCtx) -> bytes:
        registered = self._called(run)
        kwargs = registered.signature.bind(self._arguments(run.args), self.catalog)
        result = await registered.function.handler(ctx, **kwargs)
        return self._encoded(registered, registered.signature.result(result, self.catalog))

    async def respond(self, run: Run, call: Call, wire: Wire) -> Answer:
        """Runs an HTTP action, whose queries, mutations and actions go through `call`, its request through `wire`."""
        assert run.request is not None
        auth = Auth(run.identity, run.request.rejected)
        surroundings = Surroundings(auth, run.now, run.seed, self.catalog.environment, self.named)
        return await self._answer(run, self._responded(run, ActionCtx(surroundings, call), wire))

    async def _responded(self, run: Run, ctx: ActionCtx, wire: Wire) -> bytes:
        from yugen.runtime.responding import Exchange, respond  # noqa: PLC0415 -- imports Starlette, for apps that have routes

        assert run.request is not None
        action = self.app.http.get(run.request.route)
        if action is None:
            raise FunctionNotFound(run.path, public=False)
        exchange = Exchange(run.request, wire, response_bytes=self._limits.http_response_bytes)
        return await respond(action, ctx, exchange)

    def _called(self, run: Run) -> Registered:
        registered = self.app.find(run.path, public=run.public)
        _check_kind(registered, run.kind)
        return registered

    def _arguments(self, text: bytes) -> dict[str, Any]:
        if text == b"{}":
            return {}
        args = values.loads(text)
        assert isinstance(args, dict)
        figure = self._limits.arguments_bytes
        if values.may_exceed(text, figure):
            check_size(values.size(args), "arguments_bytes", figure, "takes arguments of")
        return args

    def _encoded(self, registered: Registered, result: Any) -> bytes:
        text, figure = registered.signature.encode_result(result), self._limits.result_bytes
        if values.may_exceed(text, figure):
            # Not by parsing the text, which takes twelve times as much memory as that has bytes.
            check_size(registered.signature.result_size(result), "result_bytes", figure, "gives a result of")
        return text

    def reference(self, target: Function[Any, Any] | str) -> Registered:
        """The function that another function refers to, internal ones included."""
        path = canonical_path(target) if isinstance(target, str) else self.app.path_of(target)
        return self.app.find(path, public=False)

    def named(self, target: Function[Any, Any] | str, given: Mapping[str, Any]) -> tuple[str, Any]:
        """The path of the function that another function refers to, and these arguments of it as values of the wire."""
        registered = self.reference(target)
        return registered.path, values.loads(registered.signature.encode_arguments(given, self.catalog))

    def received(self, registered: Registered, answer: Answer) -> Any:
        """The result of a function that an action has called, or its failure raised here."""
        for line in answer.log_lines:
            logs.relay(line)
        if answer.failure is not None:
            if answer.failure.data is not None:
                raise YugenError(values.loads(answer.failure.data))
            raise CalledFunctionFailed(f"{registered.path}: {answer.failure.message}")
        assert answer.value is not None
        return registered.signature.decode_result(answer.value, self.catalog)

    async def _answer(self, run: Run, body: Awaitable[bytes]) -> Answer:
        value, failed = None, None
        with logs.captured(self._limits) as lines:
            try:
                value = await body
            except (Exception, SystemExit) as error:
                failed = error
        failure = None if failed is None else self.failure(run, failed)
        return Answer(value, failure, tuple(lines))

    def failure(self, run: Run, error: BaseException) -> Failure:
        """What the caller learns of an error (protocol.md 2.12).

        A `YugenError` carries its data, a `Refused` its sentence. Any other error is the app's own business: clients
        of a deployment in development see it with its place, others only the request id to look for in the logs.
        """
        prefix = f"[Request ID: {run.request_id}] Server Error"
        data = None
        if isinstance(error, YugenError):
            try:
                data = values.dumps(error.data, fallback=as_wire)
            except values.InvalidValue as fault:
                error = TypeError(f"the data of a YugenError must be a value of the wire: {fault}")
        if isinstance(error, MemoryError):
            error = MemoryLimitExceeded(run.path, self._limits.memory_bytes)
        found = ""
        if not self._logs_failures:
            found = self._traceback(error)
        elif not isinstance(error, Refused | YugenError):
            logger.error("%s failed [Request ID: %s]", run.path, run.request_id, exc_info=error)
        detail = f"{_described(error)}{self._places(error)}"
        shown = self._development or isinstance(error, Refused)
        return Failure(f"{prefix}\nUncaught {detail}" if shown else prefix, data, detail, found)

    def foreign_await(self, run: Run, frames: Iterator[FrameType]) -> ForeignAwait:
        """The error of a run that has awaited what it must not, at the innermost of its frames."""
        ours = next((frame for frame in frames if self.is_ours(frame.f_code.co_filename)), None)
        place = f" in {Path(ours.f_code.co_filename).name}:{ours.f_lineno}" if ours else ""
        return ForeignAwait(
            f"{run.path} awaited something other than its `ctx`{place}; queries and mutations may await nothing else, "
            "so that they can run again at any time: do this in an action."
        )

    def is_ours(self, filename: str) -> bool:
        """Whether a file is one of the app's."""
        return Path(filename).is_relative_to(self.app.folder)

    def _traceback(self, error: BaseException) -> str:
        """Where it was raised, without frames of Yugen; nothing for what the app has no part in."""
        if not any(self.is_ours(frame.filename) for frame in traceback.extract_tb(error.__traceback__)):
            return ""
        shown = traceback.TracebackException.from_exception(error, compact=True)
        chain: list[traceback.TracebackException | None] = [shown]
        while chain:
            one = chain.pop()
            if one is not None:
                kept = [frame for frame in one.stack if not Path(frame.filename).is_relative_to(_YUGEN)]
                one.stack = traceback.StackSummary.from_list(kept)
                chain += [one.__cause__, one.__context__, *(one.exceptions or ())]
        return "".join(shown.format()).rstrip()

    def _places(self, error: BaseException) -> str:
        if isinstance(error, Refused) or (isinstance(error, YugenError) and not self._development):
            return ""  # in production, an error that an app raises on purpose is no fault to look for
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if self.is_ours(frame.filename)]
        return "".join(
            f"\n    at {frame.name} ({Path(frame.filename).name}:{frame.lineno}:{(frame.colno or 0) + 1})"
            for frame in reversed(frames)
        )


class _Calls:
    """The functions of one transaction, calling one another.

    Attributes:
        auth: who calls the first of them.
        pages: what they have read of paginated queries.
    """

    __slots__ = ("_executor", "_surroundings", "_transaction", "auth", "pages")

    def __init__(self, executor: Executor, run: Run, transaction: Transaction) -> None:
        self._executor = executor
        self._transaction = transaction
        self.auth = Auth(run.identity)
        self.pages = Pages(executor._cursors, remembers=run.kind == "query", journal=run.journal)
        self._surroundings = Surroundings(
            self.auth, run.now, run.seed, executor.catalog.environment, executor.named, self._read_environment
        )
        self._surroundings.files = executor.files

    async def invoke(self, registered: Registered, args: Mapping[str, Any], depth: int) -> Any:
        if depth > CALL_DEPTH_MAX:
            raise RecursionError(f"functions call one another more than {CALL_DEPTH_MAX} deep at {registered.path}")
        catalog = self._executor.catalog
        kwargs = registered.signature.bind(args, catalog)

        async def call(kind: Kind, reference: Function[Any, Any] | str, given: Mapping[str, Any]) -> Any:
            target = self._executor.reference(reference)
            _check_kind(target, kind)
            decoded = values.loads(target.signature.encode_arguments(given, catalog))
            assert isinstance(decoded, dict)
            if kind == "query":
                return await self.invoke(target, decoded, depth + 1)
            # What it writes and undoes must not get mixed with what its caller writes meanwhile.
            async with ctx.db.turn:
                return await self.invoke(target, decoded, depth + 1)

        ctx = self._context(registered, call)
        if registered.kind == "query" or depth == 1:  # of the first one that fails, nothing is committed anyway
            result = await registered.function.handler(ctx, **kwargs)
        else:
            with self._transaction.savepoint():
                result = await registered.function.handler(ctx, **kwargs)
        return registered.signature.result(result, catalog)

    def _context(self, registered: Registered, call: Call) -> Any:
        executor, surroundings = self._executor, self._surroundings
        if registered.system:
            if registered.kind == "query":
                return self.system_ctx(SystemQueryCtx, call)
            return self.system_ctx(SystemMutationCtx, call)
        if registered.kind == "query":
            return QueryCtx(DatabaseReader(self._transaction, executor._tables, self.pages), surroundings, call)
        return MutationCtx(DatabaseWriter(self._transaction, executor._tables, self.pages), surroundings, call)

    @contextmanager
    def unaccounted(self) -> Iterator[None]:
        """What is read and written within is Yugen's own, and does not count as the function's."""
        budget, self._transaction.budget = self._transaction.budget, Budget(None)
        try:
            yield
        finally:
            self._transaction.budget = budget

    def system_ctx(self, of_kind: type[SystemCtx], call: Call | None = None) -> SystemCtx:
        """The context of one of Yugen's own functions; without `call`, one that calls no others."""
        executor = self._executor
        database = SystemDatabase(self._transaction, executor._without_classes, self.pages)
        ctx = of_kind(database, self._surroundings, call or _calls_nothing)
        ctx.app = executor.app
        ctx.tables = executor._tables
        ctx.deployment = executor.deployment
        return ctx

    def _read_environment(self) -> None:
        """Notes that they count as read, though not from the snapshot: if they are newer, the run does not hold."""
        start = keys.index_prefix(ENVIRONMENT.number, 0)
        self._transaction.reads.add(start, keys.prefix_end(start))


async def _calls_nothing(kind: Kind, reference: Function[Any, Any] | str, given: Mapping[str, Any]) -> Any:
    raise AssertionError


def relayed(answer: Answer) -> bytes:
    """What an action was answered that has asked the server something about the request it answers.

    Raises:
        CalledFunctionFailed: the server could not do it.
    """
    if answer.value is None:
        raise CalledFunctionFailed(answer.failure.message if answer.failure else "the server has no answer")
    return answer.value


def _random_bytes(seed: bytes) -> Callable[[int], bytes]:
    """Bytes that nobody can tell without the seed, also from others of them or from what `ctx.random` gives."""
    numbers = itertools.count()
    return lambda size: blake2b(next(numbers).to_bytes(8, "big"), key=seed, digest_size=size).digest()


def _check_kind(registered: Registered, kind: RunKind) -> None:
    if registered.kind != kind:
        own = _a(registered.kind)
        raise WrongKind(f"{registered.path} is {own}; call it as {own}, not as {_a(kind)}.")


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "action" else f"a {kind}"


def _described(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "its text could not be made"
    return f"{error.code if isinstance(error, Refused) else type(error).__name__}: {text}"
