"""What serves while a `Yugen` does, and the error where nothing can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from yugen.runtime.retention import Retention
from yugen.runtime.runtime import Runtime
from yugen.runtime.scheduler import Scheduler
from yugen.server.caller import Callers
from yugen.server.everywhere import Everywhere
from yugen.server.exports import Exports
from yugen.server.files import FileService
from yugen.server.imports import Imports
from yugen.server.variables import EnvironmentVariables


class NotServing(Exception):
    """There is no backend to ask; the text says why, as far as clients may know."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What serves while it does.

    Attributes:
        runtime: the engine.
        callers: checks who a client says it is.
        exports: makes archives of the data.
        imports: brings in documents from files.
        files: takes in and finds files.
        variables: changes environment variables.
        scheduler: runs what is scheduled, on the node that does.
        retention: forgets what is kept for a time, on the node that does.
        everywhere: what other nodes remember, if there are any.
        on_close: called when it is closed, by those in this process who listen to the runtime.
    """

    runtime: Runtime
    callers: Callers
    exports: Exports
    imports: Imports
    files: FileService
    variables: EnvironmentVariables
    scheduler: Scheduler | None = None
    retention: Retention | None = None
    everywhere: Everywhere | None = None
    on_close: set[Callable[[], None]] = field(default_factory=set)

    async def close(self) -> None:
        """Gives up what is under way and lets go of the data."""
        for told in tuple(self.on_close):
            told()
        if self.scheduler is not None:
            await self.scheduler.close()
        if self.retention is not None:
            await self.retention.close()
        await self.callers.close()
        await self.exports.close()
        await self.imports.close()
        await self.files.close()
        await self.runtime.close()
