"""What the server keeps for a time only, with times so short that much of it is forgotten within a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from yugen.runtime import past, retention
from yugen.runtime.past import PAST_SECONDS
from yugen.runtime.retention import LOG_SECONDS_MIN, LOOK_SECONDS, RETRY_SECONDS, Retention
from yugen.runtime.runtime import Runtime
from yugen.storage.interface import StorageError, Timestamp


@contextmanager
def forgetting(log_seconds: float) -> Iterator[None]:
    """Has the log be kept for so long and no longer. The times that have to do with that keep their proportions."""
    share = log_seconds / LOG_SECONDS_MIN
    with ExitStack() as patches:
        for module, name, seconds in (
            (retention, "LOG_SECONDS_MIN", LOG_SECONDS_MIN),
            (retention, "LOOK_SECONDS", LOOK_SECONDS),
            (retention, "RETRY_SECONDS", RETRY_SECONDS),
            (past, "PAST_SECONDS", PAST_SECONDS),
        ):
            patches.enter_context(patch.object(module, name, seconds * share))
        yield


class Trimming(Retention):
    """Retention that counts what it meets.

    Args:
        runtime: the engine of a life.
        log_seconds: how long the log is kept.
        counts: what has happened, of all lives.
        begins: called when the log is about to be trimmed.

    Attributes:
        is_at_it: whether the log is being trimmed.
    """

    def __init__(self, runtime: Runtime, log_seconds: float, counts: Counter[str], begins: Callable[[], None]) -> None:
        super().__init__(runtime, log_seconds)
        self._counts = counts
        self._begins = begins
        self.is_at_it = False

    @property
    def oldest(self) -> Timestamp:
        """Of what the log has, as far as this life knows."""
        return 0 if self._logged is None else self._logged.oldest

    async def trim(self) -> None:
        before = self._logged
        self._begins()
        self.is_at_it = True
        try:
            await super().trim()
        except StorageError:
            self._counts["trimmings that failed"] += 1
            raise
        finally:
            self.is_at_it = False
        if before is not None and self._logged is not None and self._logged.oldest > before.oldest:
            self._counts["trimmings"] += 1
