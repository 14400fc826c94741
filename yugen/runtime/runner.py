"""Where functions run: the interface between the engine and whatever runs the functions of an app.

A server runs functions in worker processes (`yugen.runtime.pool`); tests and programs that embed an app run them on
their own event loop (`yugen.runtime.inline`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from yugen.catalog import Catalog
from yugen.functions.info import AppInfo, RunKind
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run

CallBack = Callable[[RunKind, str, bytes], Awaitable[Answer]]
"""How an action's calls come back: what it is called as, the canonical path, the arguments' encoded JSON. Those of kind
`http` are about the request that it answers, see `yugen.runtime.exchange.Wire`."""


class Overloaded(Exception):
    """More is asked than can be done in time; to be tried again later."""


class Closing(Overloaded):
    """Nothing more is begun, for the server stops."""

    def __init__(self) -> None:
        super().__init__("The server is closing; try again in a moment.")


class Runner(Protocol):
    """Runs the functions of one app. What it gives back is plain data; it commits nothing."""

    @property
    def info(self) -> AppInfo: ...

    async def start(self, catalog: Catalog) -> None:
        """Gets ready to run over a deployment with these tables. A catalog that grows is seen to grow.

        It may be called again, with another catalog.
        """

    def transact(self, run: Run) -> Awaitable[Outcome]:
        """Runs a query at `run.ts`, or a mutation at that or after those before it in line, which its outcome says.

        A runner that gives a future spares its caller a task.

        Raises:
            Overloaded: too much is waiting already.
        """

    async def act(self, run: Run, call: CallBack) -> Answer:
        """Runs an action, or an HTTP action, whose answer is what is still to be sent of its response."""

    async def finish(self) -> None:
        """Waits until nothing runs. What is given to it meanwhile is waited for as well."""

    async def drain(self) -> None:
        """Waits for actions that run, as long as they may take when the server stops; then cancels them.

        Those that hold out are ended by `close`.
        """

    async def close(self) -> None:
        """Ends what runs. Called once, also when `start` failed or was not called."""
