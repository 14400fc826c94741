from __future__ import annotations

import asyncio

import pytest

from yugen.catalog import Catalog
from yugen.functions.info import AppInfo
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack
from yugen.runtime.versions import Versions


class Runner:
    """A runner that answers with its name once its gate is open."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.info = AppInfo({}, {}, shapes={"name": name})
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = 0
        self._closed = 0
        self.close_fails = False

    def closed(self) -> int:
        """How often it has been closed."""
        return self._closed

    async def start(self, catalog: Catalog) -> None:
        pass

    async def transact(self, run: Run) -> Outcome:
        assert not self._closed
        self.running += 1
        await self.gate.wait()
        self.running -= 1
        return Outcome(Answer(self.name.encode()))

    async def act(self, run: Run, call: CallBack) -> Answer:
        return (await self.transact(run)).answer

    async def finish(self) -> None:
        await self.gate.wait()

    async def drain(self) -> None:
        self.drained = True

    async def close(self) -> None:
        self._closed += 1
        if self.close_fails:
            raise OSError("it cannot")


def at(ts: int) -> Run:
    return Run("query", "a:a", b"{}", True, ts, 0.0, b"", "0" * 16)


async def name_at(versions: Versions, ts: int) -> str:
    return ((await versions.transact(at(ts))).answer.value or b"").decode()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_each_timestamp_has_its_version() -> None:
    runners = [Runner(name) for name in "abc"]
    versions = Versions(runners[0])
    held = [asyncio.Event(), asyncio.Event()]
    for runner, since, event in zip(runners[1:], (10, 20), held, strict=True):

        async def unasked(event: asyncio.Event = event) -> None:
            await event.wait()

        versions.take_up(runner, since, unasked())
    assert [await name_at(versions, ts) for ts in (1, 9, 10, 19, 20, 99)] == list("aabbcc")
    assert versions.info == runners[2].info
    held[1].set()
    await settled()
    assert [runner.closed() for runner in runners] == [0, 1, 0]
    assert [await name_at(versions, ts) for ts in (9, 10, 20)] == list("acc")
    await versions.close()
    assert [runner.closed() for runner in runners] == [1, 1, 1]


async def test_a_version_ends_when_what_runs_of_it_has() -> None:
    first = Runner("a")
    versions = Versions(first)
    first.gate.clear()
    running = asyncio.ensure_future(versions.transact(at(1)))
    versions.take_up(Runner("b"), 10, settled())
    await settled()
    await settled()
    assert not first.closed()
    first.gate.set()
    assert (await running).answer.value == b"a"
    await versions.finish()
    assert first.closed() == 1
    assert len(versions) == 1
    await versions.close()
    assert first.closed() == 1


async def test_closing_does_not_wait_for_what_runs() -> None:
    first, second = Runner("a"), Runner("b")
    versions = Versions(first)
    first.gate.clear()
    running = asyncio.ensure_future(versions.transact(at(1)))
    versions.take_up(second, 10, settled())
    await settled()
    await versions.close()
    assert (first.closed(), second.closed()) == (1, 1)
    running.cancel()


async def test_a_version_that_does_not_end_well_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    first = Runner("a")
    first.close_fails = True
    versions = Versions(first)
    versions.take_up(Runner("b"), 10, settled())
    await versions.finish()
    assert "it cannot" in caplog.text
    await versions.close()
