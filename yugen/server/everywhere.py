"""What administrators ask of a deployment, asked of all its nodes, or of the one that does it.

The first node makes exports and carries out imports, whose uploads are files and tokens of one process. Runs and what
made queries run again are remembered by the node where they happened.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Runtime
from yugen.server.exchange import Exchange, Handler
from yugen.server.exports import Exports
from yugen.server.imports import Imports
from yugen.server.metrics import Measured
from yugen.server.runs import Ran, Runs
from yugen.system.deployment import Deployment

FIRST: Final = 0
"""The number of the node that does what there is one of."""


def first_handlers(exports: Exports, imports: Imports) -> dict[str, Handler]:
    """What the first node does for the others."""

    async def request_export(include_storage: bool) -> None:
        await exports.request(include_storage=include_storage)

    async def finish_upload(token: str, parts: list[str], form: str, mode: str, table: str | None) -> str:
        return await imports.finish_upload(token, parts, form=form, mode=mode, table=table)

    return {
        "exports.request": request_export,
        "imports.start_upload": imports.start_upload,
        "imports.add_part": imports.add_part,
        "imports.finish_upload": finish_upload,
        "imports.perform": imports.perform,
        "imports.cancel": imports.cancel,
    }


class ExportsElsewhere(Exports):
    """The exports of a deployment whose first node makes them. Archives are files that all nodes can read.

    Args:
        runtime: as of `Exports`.
        deployment: as of `Exports`.
        exchange: calls the first node.
    """

    def __init__(self, runtime: Runtime, deployment: Deployment, exchange: Exchange) -> None:
        super().__init__(runtime, deployment)
        self._exchange = exchange

    async def start(self) -> None:
        """Nothing: what is unfinished is the first node's."""

    async def request(self, *, include_storage: bool) -> None:
        await self._exchange.call(FIRST, "exports.request", include_storage)


class ImportsElsewhere(Imports):
    """The imports of a deployment whose first node carries them out.

    Args:
        runtime: as of `Imports`.
        deployment: as of `Imports`.
        exchange: calls the first node.
    """

    def __init__(self, runtime: Runtime, deployment: Deployment, exchange: Exchange) -> None:
        super().__init__(runtime, deployment)
        self._exchange = exchange

    async def start(self) -> None:
        """Nothing: what is unfinished is the first node's."""

    async def start_upload(self) -> str:
        return str(await self._exchange.call(FIRST, "imports.start_upload"))

    async def add_part(self, token: str, content: bytes) -> str:
        return str(await self._exchange.call(FIRST, "imports.add_part", token, content))

    async def finish_upload(self, token: str, parts: Sequence[str], *, form: str, mode: str, table: str | None) -> str:
        return str(await self._exchange.call(FIRST, "imports.finish_upload", token, list(parts), form, mode, table))

    async def perform(self, import_id: str) -> None:
        await self._exchange.call(FIRST, "imports.perform", import_id)

    async def cancel(self, import_id: str) -> None:
        await self._exchange.call(FIRST, "imports.cancel", import_id)


class Everywhere:
    """What all nodes remember.

    Args:
        exchange: calls the others.
        others: their numbers.
        runs: the last runs of this one.
    """

    def __init__(self, exchange: Exchange, others: Sequence[int], runs: Runs) -> None:
        self._exchange = exchange
        self._others = others
        self._runs = runs

    def handlers(self, runtime: Runtime, measure: Callable[[], Measured]) -> dict[str, Handler]:
        """What every node answers the others."""

        async def measured() -> Measured:
            return measure()

        async def why(function: str | None, limit: int) -> list[dict[str, Any]]:
            return runtime.queries.causes.to_json(runtime.catalog, function=function, limit=limit)

        async def runs(cursor: float) -> tuple[list[tuple[Any, ...]], float]:
            return [tuple(ran) for ran in self._runs.after(cursor)], self._runs.bound()

        return {"why": why, "runs": runs, "runs.wait": self._runs.wait_after, "measure": measured}

    async def measure(self) -> dict[int, Measured]:
        """What the other nodes measure of themselves, by their numbers."""
        return await self._answers("measure")

    async def why(
        self, occurrences: Iterable[dict[str, Any]], *, function: str | None, limit: int
    ) -> list[dict[str, Any]]:
        """What happened on all nodes of late, the newest first, given what did on this one."""
        others = await self._ask("why", function, limit)
        merged = heapq.merge(occurrences, *others, key=lambda each: -each["at"])
        return list(islice(merged, limit))

    @property
    def closed(self) -> bool:
        """As `Runs.closed`."""
        return self._runs.closed

    @property
    def newest(self) -> float:
        """As `Runs.newest`: what is newer has not been anywhere."""
        return self._runs.bound()

    async def read(self, cursor: float) -> tuple[list[Ran], float]:
        """As `Runs.read`, of all nodes.

        Of each node only what is not newer than what all of them have told: what comes later of any of them has a later
        cursor than the one that is returned.
        """
        own = self._runs.after(cursor), self._runs.bound()
        others = [([Ran(*ran) for ran in runs], bound) for runs, bound in await self._ask("runs", cursor)]
        end = min(bound for _, bound in (own, *others))
        found = heapq.merge(*(runs for runs, _ in (own, *others)), key=attrgetter("cursor"))
        return [ran for ran in found if ran.cursor <= end], max(end, cursor)

    async def wait_after(self, cursor: float) -> None:
        """As `Runs.wait_after`, of all nodes."""
        waiting = [asyncio.ensure_future(self._runs.wait_after(cursor))]
        waiting += [asyncio.ensure_future(self._wait(other, cursor)) for other in self._others]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    async def _wait(self, node: int, cursor: float) -> None:
        """Waits for a run on another node; for ever, if that node goes."""
        try:
            await self._exchange.call(node, "runs.wait", cursor)
        except Overloaded:
            await asyncio.get_running_loop().create_future()

    async def _ask(self, what: str, *args: Any) -> list[Any]:
        """What the others answer. One that has gone has forgotten everything."""
        return list((await self._answers(what, *args)).values())

    async def _answers(self, what: str, *args: Any) -> dict[int, Any]:
        """As `_ask`, by the numbers of those that answer."""
        answers = await asyncio.gather(
            *(self._exchange.call(other, what, *args) for other in self._others), return_exceptions=True
        )
        both = zip(self._others, answers, strict=True)
        return {node: answer for node, answer in both if not isinstance(answer, BaseException)}
