"""Tests for apps: the real engine in memory, on the test's own event loop, with a clock that the test moves.

```python
from yugen.testing import TestApp

async def test_sending() -> None:
    async with TestApp("app") as t:
        ada = t.as_user(subject="ada", name="Ada")
        await ada.mutation(messages.send, body="hi")
        assert [m.body for m in await t.query(messages.list_messages)] == ["hi"]
```
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, cast, overload
from urllib.parse import parse_qs, urlsplit

from yugen import values
from yugen.catalog import Catalog
from yugen.errors import FunctionFailed
from yugen.files.place import MEMORY
from yugen.functions.arguments import ArgumentValidationError, Signature
from yugen.functions.context import MutationCtx
from yugen.functions.declare import Action, Function, Mutation, Query, by_name
from yugen.functions.info import AppInfo, Kind
from yugen.functions.names import canonical_path
from yugen.functions.registry import App, Registered, load
from yugen.functions.storage import FileNotFound, FilePlace, InvalidFile, StorageId, StoredFile
from yugen.identity import Identity
from yugen.runtime.environment import Variables
from yugen.runtime.inline import InlineRunner
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.queries import QueryKey
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack
from yugen.runtime.runtime import Runtime
from yugen.runtime.scheduler import Scheduler
from yugen.runtime.setup import LOCAL_URL, site_below
from yugen.server.files import FileService
from yugen.server.limits import Limits
from yugen.server.site import Site
from yugen.storage.memory import MemoryStore, Pause
from yugen.system.deployment import Deployment
from yugen.variables import built_in, check_variable
from yugen.vault import KEY_BYTES, Vault

if TYPE_CHECKING:
    import httpx2 as httpx

__all__ = ["FunctionFailed", "TestApp", "Watch", "explore"]

P = ParamSpec("P")
R = TypeVar("R")

_AHEAD_NS = 10_000_000
"""By how much the times of runs may be ahead of the clock, and so that of what they schedule: each has its own."""

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""What time it is in a test that does not say otherwise."""

_PAUSES_MAX: Final = 4
_RUN = "testing:run"


class Caller:
    """Calls functions as somebody."""

    def __init__(self, app: TestApp, identity: Identity | None) -> None:
        self._app = app
        self.identity = identity

    @overload
    async def query(self, reference: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def query(self, reference: str, /, **kwargs: Any) -> Any: ...
    async def query(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """The result of a query now, as its annotation has it. Internal functions can be called too.

        Raises:
            YugenError: the function raised one.
            FunctionFailed: it failed otherwise.
        """
        registered, given = self._app._call("query", reference, args, kwargs)
        answer = await self._app.runtime.query(registered.path, given, self.identity, public=False)
        return self._app._result(registered, _shown(answer))

    @overload
    async def mutation(self, reference: Mutation[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def mutation(self, reference: str, /, **kwargs: Any) -> Any: ...
    async def mutation(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Runs a mutation; otherwise as `query`."""
        registered, given = self._app._call("mutation", reference, args, kwargs)
        answer = (await self._app.runtime.mutate(registered.path, given, self.identity, public=False)).answer
        return self._app._result(registered, _shown(answer))

    @overload
    async def action(self, reference: Action[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def action(self, reference: str, /, **kwargs: Any) -> Any: ...
    async def action(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Runs an action; otherwise as `query`."""
        registered, given = self._app._call("action", reference, args, kwargs)
        answer = await self._app.runtime.act(registered.path, given, self.identity, public=False)
        return self._app._result(registered, _shown(answer))

    async def fetch(
        self, path: str, /, *, method: str = "GET", address: str = "127.0.0.1", **options: Any
    ) -> httpx.Response:
        """The response of an HTTP action to a request, whose body has been read.

        Args:
            path: the path of the request, such as `/hook?id=1`.
            method: its method.
            address: of the client, as `request.client.host`.
            options: the rest of the request, as `httpx` takes it: `headers`, `params`, `json`, `data`, `content`.
        """
        import httpx2 as httpx  # noqa: PLC0415 -- for those who test HTTP actions

        app = self._app

        async def runtime() -> Runtime:
            return app.runtime

        async def identify(request: object) -> tuple[Identity | None, str | None]:
            return self.identity, None

        site = Site(runtime, identify, development=True, request_bytes=app._limits.http_request_bytes)
        transport = httpx.ASGITransport(site, client=(address, 40_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    async def watch(self, reference: Query[..., Any] | str, /, **kwargs: Any) -> Watch:
        """Subscribes to a query, as a client would."""
        registered, given = self._app._call("query", reference, (), kwargs)
        watch = Watch(self._app, registered, self._app.runtime.query_key(registered.path, given, public=False), self)
        await watch._catch_up()
        return watch

    @asynccontextmanager
    async def assert_reruns(
        self,
        reference: Query[..., Any] | str,
        /,
        *,
        at_most: int | None = None,
        exactly: int | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Watch]:
        """Checks how often a subscribed query runs again for what happens in the block.

        Args:
            reference: the query.
            at_most: how often it may run again.
            exactly: how often it must.
            kwargs: its arguments.

        Raises:
            AssertionError: it did otherwise; the text says which writes made it run.
        """
        watch = await self.watch(reference, **kwargs)
        before = watch.runs
        yield watch
        await self._app.settle()
        reruns = watch.runs - before
        if (at_most is not None and reruns > at_most) or (exactly is not None and reruns != exactly):
            wanted = f"at most {at_most}" if exactly is None else f"exactly {exactly}"
            times = "once" if reruns == 1 else f"{reruns} times"
            reasons = self._app._reasons(watch.path, reruns)
            raise AssertionError(f"{watch.path} ran again {times}, {wanted} expected:{reasons}")


class TestApp(Caller):
    """An app, running in memory.

    Args:
        app: the app package, or its folder.
        now: what time it is.
        seed: of the dice, of ids, and of the order in which what goes on at the same time takes its turns.
        environment: the environment variables, beside those that are built in.
        limits: of what functions may use, by name.
        before: writes documents as an earlier version of the app has left them, for migrations to be tested: a function
            of a context, run before the app is deployed, in an app without classes, so that documents are dicts.

    Attributes:
        runtime: the engine.
    """

    __test__ = False  # pytest collects classes by this name

    def __init__(
        self,
        app: str | Path | ModuleType,
        *,
        now: datetime = START,
        seed: int = 0,
        environment: Mapping[str, str] | None = None,
        limits: Mapping[str, float] | None = None,
        before: Callable[[MutationCtx], Awaitable[Any]] | None = None,
    ) -> None:
        super().__init__(self, None)
        self._loaded = _load(_folder(app))
        self._now_ns = int(now.timestamp() * 1_000_000_000)
        self._environment = environment or {}
        key = secrets.token_bytes(KEY_BYTES)
        self._variables = Variables(Vault(lambda: (key,)), lambda: built_in(LOCAL_URL, site_below(LOCAL_URL), "test"))
        dice = random.Random(seed)
        # A transaction lets others run before and after it, or does not: another seed is another interleaving.
        turns = random.Random(dice.random())

        async def pause() -> None:
            for _ in range(turns.randrange(_PAUSES_MAX) if seed else 0):
                await asyncio.sleep(0)

        self._before = before
        self._pause = pause
        self._dice = dice
        self._limits = Limits.of(limits or {}).run
        self._store = MemoryStore(_at_once)
        # The functions of a test are added to a copy; the app itself is loaded once for all tests.
        self._loaded = replace(self._loaded, functions=dict(self._loaded.functions))
        self.runtime, self._runner = self._engine(self._loaded)
        self._watches: list[Watch] = []

    def _engine(self, app: App) -> tuple[Runtime, _Runner]:
        at = Deployment(LOCAL_URL, app.folder.parent / ".yugen", files=MEMORY)
        inline = InlineRunner(app, self._store, secret=bytes(32), deployment=at, limits=self._limits, isolated=True)
        runner = _Runner(inline, self._pause)
        runtime = Runtime(
            self._store,
            runner,
            variables=self._variables,
            clock=lambda: self._now_ns,
            random_bytes=self._dice.randbytes,
        )
        return runtime, runner

    async def __aenter__(self) -> Self:
        self._now_ns -= _AHEAD_NS  # what is done here has times of its own, after which none of a test is to come late
        if self._before is not None:
            bare = replace(self._loaded, functions={}, documents={}, migrations={}, strict=False)
            earlier, runner = self._engine(bare)
            await earlier.start()
            await _in_transaction(earlier, runner, self._before)
            await earlier.close()
        await self.runtime.start()
        self._now_ns += _AHEAD_NS
        self._files = FileService(self.runtime, self._runner.files, clock=lambda: self._now_ns / 1_000_000_000)
        self._scheduler = Scheduler(self.runtime, self._limits)
        await self._scheduler.start()
        made = {name: secrets.token_urlsafe(32) for each in self._loaded.extensions.values() for name in each.secrets}
        if environment := {**made, **self._environment}:
            changes = []
            for name, value in environment.items():
                check_variable(name, value)
                sealed = self._variables.vault.seal(name, value)
                changes.append({"name": name, "sealed": sealed, "size": len(value.encode())})
            await self.mutation("_system/environment:update", changes=changes)
        return self

    async def __aexit__(self, *_: object) -> None:
        for watch in self._watches:
            watch.close()
        await self._files.close()
        await self._scheduler.close()
        await self.runtime.close()

    @property
    def now(self) -> datetime:
        """What time it is."""
        return datetime.fromtimestamp(self._now_ns / 1_000_000_000, UTC)

    async def advance(self, duration: timedelta | None = None, /, **units: float) -> None:
        """Moves the clock: `await t.advance(days=3)`, or by a `timedelta`.

        What is scheduled runs when its time comes, in order, with the clock as it is then; `await t.advance()` runs
        what is due now.

        Raises:
            Endless: something schedules itself at once, again and again.
        """
        duration = timedelta(**units) if duration is None else duration
        until = self._now_ns + int(duration / timedelta(microseconds=1)) * 1000
        while (due := await self._scheduler.run_due()) is not None and due * 1_000_000 <= until + _AHEAD_NS:
            self._now_ns = max(self._now_ns, math.ceil(due * 1_000_000))
        self._now_ns = until
        await self._files.renewals.look()
        await self.settle()

    async def upload(self, url: str, content: bytes, *, content_type: str | None = None) -> StorageId:
        """Sends a file to an address that `ctx.storage.generate_upload_url()` gave, as a client does; returns its id.

        Raises:
            Refused: the address is not good, or not for such a file.
        """
        upload = self._files.addresses.read_upload(_token(url), self._now_ns / 1_000_000)
        if upload.size_max is not None and len(content) > upload.size_max:
            raise InvalidFile(f"A file sent to this address has at most {upload.size_max} bytes.")
        return cast("StorageId", await self._files.take(upload, _pieces(content), content_type, None))

    async def download(self, url: str) -> bytes:
        """What a client finds at an address that `ctx.storage.get_url(...)` gave.

        Raises:
            Refused: there is nothing, or not any more.
        """
        token = _token(url)
        if token:
            file_id, _ = self._files.addresses.read_private(token, self._now_ns / 1_000_000)
            record = await self._files.get(file_id)
        else:
            record = await self._files.find(url.rpartition("/")[2])
        if record is None:
            raise FileNotFound("There is no such file; it may have been deleted.")
        return await StoredFile(self._runner.files, record).read()

    def as_user(self, *, subject: str, issuer: str = "https://test", **claims: Any) -> Caller:
        """Somebody who is signed in, with these claims."""
        return Caller(self, Identity.of(issuer, subject, claims))

    async def run(self, body: Callable[[MutationCtx], Awaitable[R]], /) -> R:
        """Runs a function of the test in a transaction, to prepare or to look at documents."""
        return await _in_transaction(self.runtime, self._runner, body)

    async def settle(self) -> None:
        """Waits until everyone who watches a query has its newest result."""
        while any(watch._stale for watch in self._watches):
            for watch in self._watches:
                await watch._catch_up()

    def _call(
        self, kind: Kind, reference: Function[Any, Any] | str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Registered, bytes]:
        path = canonical_path(reference) if isinstance(reference, str) else self._loaded.path_of(reference)
        registered = self._runner.find(path)
        try:
            encoded = registered.signature.encode_arguments(by_name(reference, args, kwargs), self.runtime.catalog)
        except ArgumentValidationError as error:
            raise FunctionFailed(f"Uncaught {error.code}: {error}") from None
        return registered, values.canonical(values.loads(encoded))

    def _result(self, registered: Registered, answer: Answer) -> Any:
        _raise(answer)
        assert answer.value is not None
        return registered.signature.decode_result(answer.value, self.runtime.catalog)

    def _reasons(self, path: str, count: int) -> str:
        reruns = self.runtime.queries.causes.to_json(self.runtime.catalog, function=path, limit=count)
        return "".join(f"\n  {_reason(rerun['because'])}" for rerun in reversed(reruns))


class Watch:
    """A subscription to a query.

    Attributes:
        path: the function.
    """

    def __init__(self, app: TestApp, registered: Registered, key: QueryKey, caller: Caller) -> None:
        self.path = registered.path
        self._app = app
        self._registered = registered
        self._key = key
        self._identity = caller.identity
        self._stale = True
        self._answer: Answer | None = None
        self._end = app.runtime.queries.subscribe(key, self._identity, self._invalidate)
        app._watches.append(self)

    @property
    def runs(self) -> int:
        """How often the query has run, for whomever."""
        return self._app._runner.runs[self._key.path, self._key.args]

    async def value(self) -> Any:
        """The newest result.

        Raises:
            YugenError: the function raised one.
            FunctionFailed: it failed otherwise.
        """
        await self._catch_up()
        assert self._answer is not None
        return self._app._result(self._registered, self._answer)

    def close(self) -> None:
        """Ends the subscription."""
        self._end()

    def _invalidate(self) -> None:
        self._stale = True

    async def _catch_up(self) -> None:
        while self._stale:
            self._stale = False
            runtime = self._app.runtime
            self._answer = await runtime.queries.at(self._key, self._identity, runtime.ts)


async def explore(
    app: str | Path | ModuleType,
    scenario: Callable[[TestApp], Awaitable[None]],
    *,
    seeds: Iterable[int] = range(1, 101),
    **options: Any,
) -> None:
    """Plays a scenario again and again, each time with what goes on at the same time in another order.

    A scenario calls functions side by side, with `asyncio.gather`, and asserts what must hold in whatever order they
    took their turns. So it finds the races between an app's own mutations, when an action or a client makes a decision
    on what may have changed by the time it acts on it.

    Args:
        app: the app package, or its folder.
        scenario: is given a fresh app each time.
        seeds: one for each order.
        options: as of `TestApp`.

    Raises:
        BaseException: whatever the scenario raised, with a note that says by which seed it can be played again.
    """
    for seed in seeds:
        async with TestApp(app, seed=seed, **options) as t:
            try:
                await scenario(t)
            except BaseException as error:
                error.add_note(f"The order of seed {seed}: play it again with TestApp(..., seed={seed}).")
                raise


class _Runner:
    """A runner that counts runs by function and arguments, and pauses around them."""

    def __init__(self, runner: InlineRunner, pause: Pause) -> None:
        self._runner = runner
        self._pause = pause
        self.runs: Counter[tuple[str, bytes]] = Counter()

    @property
    def info(self) -> AppInfo:
        return self._runner.info

    def find(self, path: str) -> Registered:
        return self._runner.app.find(path, public=False)

    def add(self, registered: Registered) -> None:
        """Adds a function, or puts it in the place of another."""
        functions: Any = self._runner.app.functions
        functions[registered.path] = registered

    @property
    def files(self) -> FilePlace:
        return self._runner.files

    async def start(self, catalog: Catalog) -> None:
        await self._runner.start(catalog)

    async def transact(self, run: Run) -> Outcome:
        self.runs[run.path, run.args] += 1
        await self._pause()
        outcome = await self._runner.transact(run)
        await self._pause()
        return outcome

    async def act(self, run: Run, call: CallBack) -> Answer:
        return await self._runner.act(run, call)

    async def finish(self) -> None:
        await self._runner.finish()

    async def drain(self) -> None:
        await self._runner.drain()

    async def close(self) -> None:
        await self._runner.close()


async def _in_transaction(runtime: Runtime, runner: _Runner, body: Callable[[MutationCtx], Awaitable[R]]) -> R:
    results: list[R] = []

    async def handler(ctx: MutationCtx) -> None:
        results.append(await body(ctx))

    function: Mutation[[], None] = Mutation(handler, public=False, name="run")
    runner.add(Registered(_RUN, function, Signature(_RUN, function)))
    _raise(_shown((await runtime.mutate(_RUN, b"{}", public=False)).answer))
    return results[-1]


async def _at_once() -> None:
    """No pause."""


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _token(url: str) -> str:
    return parse_qs(urlsplit(url).query).get("token", [""])[0]


def _shown(answer: Answer) -> Answer:
    """An answer whose lines are printed, for pytest to show them when the test fails."""
    for line in answer.log_lines:
        sys.stdout.write(f"{line}\n")
    return answer


def _folder(app: str | Path | ModuleType) -> Path:
    if isinstance(app, ModuleType):
        return Path(next(iter(app.__path__))).resolve()
    return Path(app).resolve()


@lru_cache(maxsize=16)
def _load(folder: Path) -> App:
    return load(folder, fresh=False)


def _raise(answer: Answer) -> None:
    if answer.failure is not None:
        raise answer.failure.error()


def _reason(because: Mapping[str, Any]) -> str:
    what = because.get("change", "wrote")
    fields = f" ({', '.join(because['fields'])})" if because.get("fields") else ""
    return f"{because['mutation']} {what} {because.get('table')} {because.get('document')}{fields}"
