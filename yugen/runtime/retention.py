"""Forgetting what is kept for a time only: the log of changes, and the answers of mutations."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from yugen.runtime.runtime import Runtime
from yugen.storage.interface import Logged, StorageError, Timestamp

LOG_SECONDS: Final = 3600.0
"""How long the log is kept, unless somebody says otherwise."""

LOG_SECONDS_MIN: Final = 60.0
"""How long what was the newest timestamp can be read at in any case, by a clock that nobody sets.

For so long a mutation can be sent again in any case, too. It is more than `PAST_SECONDS` and than any function waits
for its turn, and more than a node may be silent for.
"""

REQUESTS_SECONDS: Final = 14 * 86_400.0
"""How long the answers of mutations are kept for clients that send them again; as in Convex.

A client that was away for longer, with a mutation that it has no answer to, has it carried out once more.
"""

LOOK_SECONDS: Final = 10.0
"""How often the log is trimmed."""

SWEEP_SECONDS: Final = 86_400.0
"""How often old answers are forgotten: for that, all are gone through."""

RETRY_SECONDS: Final = 60.0
"""How long it waits when the store fails."""

logger = logging.getLogger(__name__)


class Retention:
    """Forgets, beside everything else, what has been kept for long enough. One node of a deployment does.

    Args:
        runtime: the engine, which has been started.
        log_seconds: how long the log is kept. Less than `LOG_SECONDS_MIN` is taken for that.
    """

    def __init__(self, runtime: Runtime, log_seconds: float = LOG_SECONDS) -> None:
        self._logged: Logged | None = None  # when it was last trimmed
        self._runtime = runtime
        self._log_seconds = log_seconds
        # What the newest timestamp was, by the clock of the event loop, which nobody sets; the oldest first.
        self._seen: deque[tuple[float, Timestamp]] = deque()
        self._tasks: list[asyncio.Task[None]] = []

    def serve(self) -> None:
        """Forgets by itself from here on."""
        trims = self._repeatedly(self.trim, LOOK_SECONDS, "the log is not trimmed")
        # Until it knows what was there a while ago, it would forget nothing.
        begin = LOG_SECONDS_MIN + LOOK_SECONDS
        sweeps = self._repeatedly(self.sweep, SWEEP_SECONDS, "old requests are not forgotten", begin=begin)
        self._tasks = [asyncio.create_task(trims), asyncio.create_task(sweeps)]

    async def close(self) -> None:
        """Forgets nothing more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def measure(self) -> dict[str, float]:
        """What there is of the log, by the names of `yugen.server.metrics`."""
        if self._logged is None:
            return {}
        changes, oldest, newest = self._logged
        return {"yugen_log_changes": changes, "yugen_log_seconds": (newest - oldest) / 1e9}

    async def trim(self) -> None:
        """Deletes what the log has had for long enough.

        Raises:
            StorageError: the store failed.
        """
        self._logged = await self._runtime.trim_log(self._through(self._log_seconds))

    async def sweep(self) -> None:
        """Forgets the answers of mutations that have been there for long enough.

        Raises:
            StorageError: the store failed.
        """
        await self._runtime.forget_requests(self._through(REQUESTS_SECONDS))

    def _through(self, seconds: float) -> Timestamp:
        """What was the newest timestamp so long ago, by two clocks: timestamps follow one that may be set."""
        now = asyncio.get_running_loop().time()
        self._seen.append((now, self._runtime.ts))
        while len(self._seen) > 1 and self._seen[1][0] <= now - LOG_SECONDS_MIN:
            self._seen.popleft()
        seen_at, seen = self._seen[0]
        return max(0, min(seen, self._ago(seconds))) if seen_at <= now - LOG_SECONDS_MIN else 0

    def _ago(self, seconds: float) -> Timestamp:
        return int((self._runtime.now / 1000 - seconds) * 1e9)

    async def _repeatedly(
        self, work: Callable[[], Awaitable[None]], seconds: float, failed: str, *, begin: float = 0.0
    ) -> None:
        await asyncio.sleep(begin)
        while True:
            wait = seconds
            try:
                await work()
            except StorageError as error:
                logger.warning("%s yet: %s", failed, error)
                wait = RETRY_SECONDS
            await asyncio.sleep(wait)
