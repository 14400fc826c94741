"""Running one function over one snapshot, from encoded arguments to an outcome.

Nothing here commits, caches or sends. The same coroutine runs in a worker process, where it never suspends, and on an
event loop over a store that answers later.
"""

from __future__ import annotations

import functools
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

from yugen import bounds, keys, values
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
from yugen.functions.rules import Rules
from yugen.functions.scheduling import check_arguments
from yugen.functions.storage import FilePlace
from yugen.functions.tables import Tables
from yugen.runtime import logs
from yugen.runtime.budget import Budget, check_size, check_steps
from yugen.runtime.exchange import Wire
from yugen.runtime.limits import MemoryLimitExceeded, RunLimits
from yugen.runtime.masking import Mask
from yugen.runtime.outcome import Answer, Failure, Outcome, Used
from yugen.runtime.run import Run
from yugen.runtime.transaction import Transaction
from yugen.runtime.turns import ForeignAwait
from yugen.schema import as_wire
from yugen.storage.interface import Snapshot
from yugen.system import workflows
from yugen.system.context import SystemMutationCtx, SystemQueryCtx
from yugen.system.deployment import Deployment
from yugen.system.scheduler import NotPending, check_pending, succeeded

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
        logs_failures: whether errors that nobody raises on purpose are logged here; if not, each failure has its
            traceback with it, for whoever logs it then; one of code has it either way.

    Attributes:
        mask: puts dots in the place of values of environment variables, in what functions log and fail with.
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
        self.mask = Mask()
        self._environment: Mapping[str, str] | None = None  # whose values the mask knows

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
        if run.job is not None:
            return await self._carried_out(run, run.job, calls)
        registered = self._called(run)
        result = await calls.invoke(registered, self._arguments(run.args), depth=1)
        return self._encoded(registered, result)

    async def _carried_out(self, run: Run, job: str, calls: _Calls) -> bytes:
        """What is scheduled: a mutation, a query that is a step of a workflow, or a workflow that goes on."""
        own = calls.system_ctx(SystemMutationCtx)
        registered = self.app.find(run.path, public=run.public)
        if registered.kind == "workflow":
            return await self._resumed(registered, run, job, own)
        with calls.unaccounted():
            _check_kind(registered, await check_pending(own, job))
        result = await calls.invoke(registered, self._arguments(run.args), depth=1)
        text = self._encoded(registered, result)
        with calls.unaccounted():
            await succeeded(own, job, lambda: values.loads(text))
        return text

    async def _resumed(self, registered: Registered, run: Run, job: str, ctx: SystemMutationCtx) -> bytes:
        from yugen.runtime.replay import Called, Replay  # noqa: PLC0415 -- not every app has workflows

        history = await workflows.resume(ctx, job)
        if history is None:
            raise NotPending

        def find(target: Function[Any, Any] | str, given: Mapping[str, Any]) -> Called:
            step = self.reference(target)
            if step.kind == "workflow":
                raise WrongKind(f"{step.path} is a workflow; have a mutation start it that is a step.")
            encoded = step.signature.encode_arguments(given, self.catalog)
            args = self._arguments(encoded)
            check_arguments(step.path, args)
            return Called(step.kind, step.path, args, lambda result: step.signature.result(result, self.catalog))

        with logs.captured_apart(self._limits) as lines:
            replay = Replay(
                history,
                find=find,
                check_steps=lambda count: check_steps(count, self._limits.workflow_steps),
                refuse=lambda frames: self.foreign_await(run, frames),
                fresh=lines.clear,
            )
            kwargs = registered.signature.bind(history.args, self.catalog)
            replayed = replay.run(lambda ctx: registered.function.handler(ctx, **kwargs))
        if replayed.ended:
            result = registered.signature.result(replayed.result, self.catalog)
            replayed = replayed._replace(result=values.loads(self._encoded(registered, result)))
        await workflows.record(ctx, history, replayed)
        return b"null"

    async def act(self, run: Run, call: Call) -> Answer:
        """Runs an action, whose queries, mutations and actions go through `call`."""
        return await self._answer(run, self._acted(run, self._action_ctx(run, call)))

    async def _acted(self, run: Run, ctx: ActionCtx) -> bytes:
        registered = self._called(run)
        kwargs = registered.signature.bind(self._arguments(run.args), self.catalog)
        result = await registered.function.handler(ctx, **kwargs)
        return self._encoded(registered, registered.signature.result(result, self.catalog))

    async def respond(self, run: Run, call: Call, wire: Wire) -> Answer:
        """Runs an HTTP action, whose queries, mutations and actions go through `call`, its request through `wire`."""
        return await self._answer(run, self._responded(run, self._action_ctx(run, call), wire))

    def _action_ctx(self, run: Run, call: Call) -> ActionCtx:
        auth = Auth(run.identity, None if run.request is None else run.request.rejected)
        surroundings = Surroundings(auth, run.now, run.seed, self.catalog.environment, self.named)
        surroundings.files = self.files
        surroundings.extensions = self.app.extensions
        ctx = ActionCtx(surroundings, call)
        ctx.idempotency_key = run.key
        return ctx

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
        if self._environment is not self.catalog.environment:
            self._environment = self.catalog.environment
            self.mask.add(self._environment)
        with logs.captured(self._limits, self.mask) as lines:
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
        is_fault = not isinstance(error, Refused | YugenError)
        if is_fault or not self._logs_failures:
            found = self._traceback(error)
        if is_fault and self._logs_failures:
            self._log(run, error)
        detail = self.mask(f"{_described(error)}{self._places(error)}")
        shown = self._development or isinstance(error, Refused)
        return Failure(f"{prefix}\nUncaught {detail}" if shown else prefix, data, detail, found)

    def _log(self, run: Run, error: BaseException) -> None:
        if self.mask:
            text = "".join(traceback.format_exception(error))
            if (masked := self.mask(text)) != text:
                # Without the error itself, which every handler would show as it is.
                logger.error("%s failed [Request ID: %s]\n%s", run.path, run.request_id, masked)
                return
        logger.error("%s failed [Request ID: %s]", run.path, run.request_id, exc_info=error)

    def foreign_await(self, run: Run, frames: Iterator[FrameType]) -> ForeignAwait:
        """The error of a run that has awaited what it must not, at the innermost of its frames."""
        ours = next((frame for frame in frames if self.is_ours(frame.f_code.co_filename)), None)
        place = f" in {Path(ours.f_code.co_filename).name}:{ours.f_lineno}" if ours else ""
        what, instead = "queries and mutations", "do this in an action"
        if self.app.functions[run.path].kind == "workflow":
            what, instead = "workflows", "wait with `ctx.sleep` or `ctx.wait_for_event`, and do anything else in a step"
        return ForeignAwait(
            f"{run.path} awaited something other than its `ctx`{place}; {what} may await nothing else, so that they "
            f"can run again at any time: {instead}."
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
        return self.mask("".join(shown.format()).rstrip())

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
        self._surroundings.extensions = executor.app.extensions

    async def invoke(
        self, registered: Registered, args: Mapping[str, Any], depth: int, *, ruled: bool | None = None
    ) -> Any:
        """What a function gives.

        Args:
            registered: the function.
            args: its arguments as values of the wire.
            depth: how many functions have called one another by then.
            ruled: whether it is under the rules of the app, as it is if the first of those is for clients.
        """
        rules = self._executor.app.rules
        if rules is not None and ruled is not False:
            own = registered.system or registered.extension or registered.function.above_rules
            ruled = not own and (registered.function.public if ruled is None else ruled)
        if depth > CALL_DEPTH_MAX:
            raise RecursionError(f"functions call one another more than {CALL_DEPTH_MAX} deep at {registered.path}")
        catalog = self._executor.catalog
        kwargs = registered.signature.bind(args, catalog)

        async def call(
            kind: Kind, reference: Function[Any, Any] | str, given: Mapping[str, Any], *, ruled: bool | None = ruled
        ) -> Any:
            target = self._executor.reference(reference)
            _check_kind(target, kind)
            decoded = values.loads(target.signature.encode_arguments(given, catalog))
            assert isinstance(decoded, dict)
            if kind == "query":
                return await self.invoke(target, decoded, depth + 1, ruled=ruled)
            # What it writes and undoes must not get mixed with what its caller writes meanwhile.
            async with ctx.db.turn:
                return await self.invoke(target, decoded, depth + 1, ruled=ruled)

        if rules and ruled:
            ctx: Any = self._ruled(registered, call, functools.partial(call, ruled=False), rules)
        else:
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

    def _ruled(self, registered: Registered, call: Call, trusted: Call, rules: Rules) -> QueryCtx:
        """The context of a function whose database is under rules; `trusted` calls functions that are not."""
        from yugen.functions.restricted import RestrictedReader, RestrictedWriter, Ruling  # noqa: PLC0415 -- few apps have rules

        transaction, tables, pages = self._transaction, self._executor._tables, self.pages
        open_ctx = QueryCtx(DatabaseReader(transaction, tables, pages), self._surroundings, trusted)
        # In a query nothing changes that a rule has decided by.
        ruling = Ruling(rules, open_ctx, {} if registered.kind == "query" else None)
        if registered.kind == "query":
            return QueryCtx(RestrictedReader(transaction, tables, pages, ruling), self._surroundings, call)
        return MutationCtx(RestrictedWriter(transaction, tables, pages, ruling), self._surroundings, call)

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

    def _read_environment(self, name: str | None) -> None:
        """Notes that it counts as read, though not from the snapshot: if it is newer, the run does not hold."""
        by_name = keys.index_prefix(ENVIRONMENT.number, 2)
        if name is None:
            self._transaction.reads.add(by_name, keys.prefix_end(by_name))
        elif isinstance(name, str):
            self._transaction.reads.add(*bounds.interval(by_name, [name], None))


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
        if registered.kind == "workflow":
            raise WrongKind(f"{registered.path} is a workflow, and is not called; start it with `ctx.workflows.start`.")
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
