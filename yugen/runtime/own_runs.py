"""Running Yugen's own functions before there is anything to serve: for deployments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from yugen import values
from yugen.functions.info import Kind
from yugen.functions.names import canonical_path
from yugen.runtime.deploy import DeployError
from yugen.runtime.run import Run
from yugen.runtime.runner import Runner
from yugen.runtime.times import Times
from yugen.storage.interface import Change, Timestamp


class OwnRuns:
    """Runs them; what `deploy` takes as `Functions`.

    Args:
        runner: where.
        times: of the documents that they write.
        random_bytes: gives that many random bytes.
    """

    def __init__(self, runner: Runner, times: Times, random_bytes: Callable[[int], bytes]) -> None:
        self._runner = runner
        self._times = times
        self._random_bytes = random_bytes

    async def query(self, path: str, ts: Timestamp, /, **args: Any) -> Any:
        """As `Functions.query`."""
        return (await self._run("query", path, ts, args))[0]

    async def mutation(self, path: str, ts: Timestamp, /, **args: Any) -> tuple[Any, tuple[Change, ...]]:
        """As `Functions.mutation`."""
        return await self._run("mutation", path, ts, args)

    async def _run(
        self, kind: Kind, path: str, ts: Timestamp, args: Mapping[str, Any]
    ) -> tuple[Any, tuple[Change, ...]]:
        run = Run(
            kind,
            canonical_path(path),
            values.canonical(args),
            False,
            ts,
            self._times.next(),
            self._random_bytes(16),
            self._random_bytes(8).hex(),
            long=True,
        )
        outcome = await self._runner.transact(run)
        if outcome.answer.failure is not None:
            raise DeployError(outcome.answer.failure.message.partition("\n")[2] or outcome.answer.failure.message)
        assert outcome.answer.value is not None
        return values.loads(outcome.answer.value), outcome.changes
