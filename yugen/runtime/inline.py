"""Running functions on the event loop of the caller, where a debugger sees them and nothing limits them."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import copy_context
from functools import partial
from typing import Any

from yugen.catalog import Catalog
from yugen.functions.declare import Function
from yugen.functions.info import Kind
from yugen.functions.registry import App, describe
from yugen.functions.storage import FilePlace
from yugen.runtime.exchange import What
from yugen.runtime.execute import Executor, relayed
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack
from yugen.runtime.setup import LOCAL_URL
from yugen.runtime.turns import TransactionLoop
from yugen.storage.interface import Store
from yugen.system.deployment import Deployment
from yugen.system.functions import with_system_functions


class InlineRunner:
    """A `Runner` for one process that trusts its functions.

    Args:
        app: the loaded app.
        store: what it reads; whoever opens it runs the functions.
        secret: seals cursors.
        development: whether the text of errors goes to callers.
        deployment: what Yugen's own functions know of where it runs; data beside the app, by default.
        limits: what its functions may use; how long they run is not limited here.
        isolated: whether queries and mutations may await nothing but their context, as in a worker; the store must then
            answer reads at once.

    Attributes:
        app: the app with Yugen's own functions.
    """

    def __init__(
        self,
        app: App,
        store: Store,
        *,
        secret: bytes,
        development: bool = True,
        deployment: Deployment | None = None,
        limits: RunLimits | None = None,
        isolated: bool = False,
    ) -> None:
        self._isolated = isolated
        self.app = with_system_functions(app)
        self.info = describe(self.app)
        self._store = store
        self._secret = secret
        self._development = development
        self._limits = limits
        self._deployment = deployment or Deployment(LOCAL_URL, app.folder.parent / ".yugen")

    async def start(self, catalog: Catalog) -> None:
        self._executor = Executor(
            self.app,
            catalog,
            secret=self._secret,
            development=self._development,
            deployment=self._deployment,
            limits=self._limits,
        )

    @property
    def files(self) -> FilePlace:
        """Where files are."""
        return self._executor.files

    async def transact(self, run: Run) -> Outcome:
        snapshot = await self._store.snapshot(run.ts)
        try:
            running = self._executor.transact(run, snapshot)
            if not self._isolated:
                return await running
            loop = TransactionLoop(partial(self._executor.foreign_await, run))
            return copy_context().run(loop.run, running)
        finally:
            snapshot.close()

    async def act(self, run: Run, call: CallBack) -> Answer:
        async def outward(kind: Kind, target: Function[Any, Any] | str, args: Mapping[str, Any]) -> Any:
            registered = self._executor.reference(target)
            encoded = registered.signature.encode_arguments(args, self._executor.catalog)
            answer = await call(kind, registered.path, encoded)
            return self._executor.received(registered, answer)

        async def wire(what: What, data: bytes) -> bytes:
            return relayed(await call("http", what, data))

        if run.request is not None:
            return await self._executor.respond(run, outward, wire)
        return await self._executor.act(run, outward)

    async def finish(self) -> None:
        pass  # what runs does so in the tasks of those who asked for it, and needs nothing that `close` ends

    async def drain(self) -> None:
        pass  # the tasks of those who asked are theirs to end

    async def close(self) -> None:
        pass
