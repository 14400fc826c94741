"""Where functions run: the interface, and the runner for one process that trusts its functions.

A server runs functions in worker processes (`yugen.runtime.pool`); tests and programs that embed an app run them on
their own event loop, where a debugger sees them and nothing limits them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from yugen.catalog import Catalog
from yugen.functions.info import AppInfo, Kind
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run
from yugen.storage.interface import Store

if TYPE_CHECKING:
    from yugen.functions.declare import Function
    from yugen.functions.registry import App

CallBack = Callable[[Kind, str, bytes], Awaitable[Answer]]
"""How an action's calls come back: what it is called as, the canonical path, the arguments' encoded JSON."""


class Runner(Protocol):
    """Runs the functions of one app. What it gives back is plain data; it commits nothing."""

    @property
    def info(self) -> AppInfo: ...

    async def start(self, catalog: Catalog) -> None:
        """Gets ready to run over a deployment with these tables. A catalog that grows is seen to grow."""

    async def transact(self, run: Run) -> Outcome:
        """Runs a query or a mutation at `run.ts`.

        Raises:
            Overloaded: too much is waiting already.
        """

    async def act(self, run: Run, call: CallBack) -> Answer:
        """Runs an action."""

    async def close(self) -> None: ...


class Overloaded(Exception):
    """More is asked than can be done in time; to be tried again later."""


class InlineRunner:
    """Runs functions on the event loop of the caller."""

    def __init__(self, app: App, store: Store, *, development: bool = True) -> None:
        from yugen.functions.registry import describe

        self.info = describe(app)
        self._app = app
        self._store = store
        self._development = development

    async def start(self, catalog: Catalog) -> None:
        from yugen.runtime.execute import Executor

        self._executor = Executor(self._app, catalog, development=self._development)

    async def transact(self, run: Run) -> Outcome:
        snapshot = await self._store.snapshot(run.ts)
        try:
            return await self._executor.transact(run, snapshot)
        finally:
            snapshot.close()

    async def act(self, run: Run, call: CallBack) -> Answer:
        async def outward(kind: Kind, target: Function[Any, Any] | str, args: Mapping[str, Any]) -> Any:
            registered = self._executor.reference(target)
            answer = await call(kind, registered.path, self._executor.encode_arguments(args))
            return self._executor.received(registered, answer)

        return await self._executor.act(run, outward)

    async def close(self) -> None:
        pass
