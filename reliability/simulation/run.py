"""Carries a plan out, and holds what came of it against what was promised."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import yugen_client.connection
from reliability.checkers.convergence import convergence
from reliability.checkers.once import once, scheduled_once
from reliability.checkers.replay import Replay
from reliability.checkers.serializability import anomalies
from reliability.checkers.sessions import Sessions
from reliability.disk import tended_often
from reliability.history import lists
from reliability.records import Event, Operation, View, subscription
from reliability.simulation.app import model
from reliability.simulation.client import Client
from reliability.simulation.clock import Clock, machine
from reliability.simulation.loop import SimulatedLoop, Stalled, seeded
from reliability.simulation.network import DELAY_SECONDS, Network
from reliability.simulation.plan import Plan, Step
from reliability.simulation.server import Server
from reliability.vfs import FaultyVFS, faulty_disk
from yugen import values
from yugen.functions.registry import App
from yugen.runtime.interval_index import IntervalIndex
from yugen.runtime.own import value_of
from yugen.storage import sqlite_connect

QUIET_SECONDS = 600.0
"""How long clients may take, after the last fault, until all is answered and all show the same."""

FINAL: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    *(("g:range", {"shelf": shelf, "low": 0, "high": 9}) for shelf in "ab"),
    *(("g:totals", {"shelf": shelf, "low": 0, "high": 9}) for shelf in "ab"),
    ("f:scan", {"low": lists.key(0, 0), "high": lists.key(0, 9)}),
)


@dataclass
class Report:
    """What came of a run.

    Attributes:
        violations: which promises were broken, and where.
        counts: what happened, and what was checked.
        trace: a line for each thing that happened.
    """

    seed: int
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """The same for runs that are the same."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:16]


class _Errors(logging.Handler):
    def __init__(self, report: Report, note: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._report = report
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self._note(f"logged {record.getMessage()}")
        if record.exc_info and record.exc_info[1] is not None:
            self._report.violations.append(f"logged: {record.getMessage()}: {record.exc_info[1]!r}")


class Run:
    """One run."""

    def __init__(self, plan: Plan, app: App, folder: Path, disk: FaultyVFS, loop: SimulatedLoop, clock: Clock) -> None:
        self._plan, self._loop, self._disk, self._clock = plan, loop, disk, clock
        self.report = Report(plan.seed)
        self.events: list[Event] = []
        self._network = Network(loop, seeded(plan.seed, "network"), self._note)
        self._server = Server(app, folder, loop, disk, self._network, seeded(plan.seed, "server"), self._note)
        self._clients = [
            Client(f"c{n}", self._network, seeded(plan.seed, f"client {n}"), self.events.append)
            for n in range(plan.clients)
        ]
        loop.set_exception_handler(self._failed)

        self._folder = folder

    def _note(self, line: str) -> None:
        line = line.replace(f"{self._folder}/", "")  # which is another each time
        self.report.trace.append(f"{self._loop.now:12.6f} {line}")

    def _failed(self, loop: Any, context: dict[str, Any]) -> None:
        self.report.violations.append(f"unhandled: {context.get('exception', context.get('message'))!r}")

    async def carry_out(self) -> None:
        """Does all of the plan, then waits for the end."""
        self._server.start()
        for client in self._clients:
            client.start()
        for step in self._plan.steps:
            await asyncio.sleep(max(0.0, step.at - self._loop.now))
            self._do(step)
        self._heal()
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                await self._settle()
        except TimeoutError:
            waiting = {client.name: client.waiting for client in self._clients}
            self.report.violations.append(f"not settled: waiting {waiting}, life {self._server._life is not None}")

    def _do(self, step: Step) -> None:
        self.report.counts[step.what if step.client < 0 or ":" not in step.what else "mutations"] += 1
        self._note(f"plan {step}")
        later, wire = self._network.later, self._network.wires.get(f"c{step.client}")
        now, share = self._loop.now, step.args.get("share", 0.0)
        match step.what:
            case "watch":
                self._clients[step.client].watch(step.args["function"], step.args["args"])
            case "unwatch":
                self._clients[step.client].unwatch(step.args["number"])
            case "cut" if wire is not None:
                wire.cut()
            case "swallow" if wire is not None:
                wire.swallows = True
            case "stall" if wire is not None:
                wire.stalled = True
                later(now + share * 5, wire.read_on)
            case "cut" | "swallow" | "stall":
                pass
            case "partition":
                self._network.partition()
                later(now + share * 2, self._network.heal)
                self._network.cut_all()
            case "slow network":
                self._network.slow = share * 0.5
                later(now + 1, setattr, self._network, "slow", DELAY_SECONDS)
            case "slow disk":
                self._server.slow = share * 0.5
                later(now + 1, setattr, self._server, "slow", 0.004)
            case "crash":
                self._server.crash_within(1 + step.args["n"] % 60)
            case "restart":
                self._server.crash("all at once")
                later(now + share, self._server.start)
            case "disk":
                kinds = (("sync", "EIO"), ("write", "EIO"), ("write", "ENOSPC"), ("write", "torn"), ("write", "short"))
                operation, fault = kinds[step.args["n"] % len(kinds)]
                self._disk.fail(operation, 1 + step.args["n"] % 17, fault, persistent=share < 0.3, seed=step.args["n"])  # type: ignore[arg-type]
                later(now + 1, self._disk.heal)
            case "clock":
                self._clock.jumped += (share * 2 - 1) * 3600
            case function:
                self._clients[step.client].mutate(function, step.args)

    def _heal(self) -> None:
        self._note("all faults end")
        self._network.slow, self._server.slow = DELAY_SECONDS, 0.004
        self._network.heal()
        self._server._countdown = -1
        self.report.counts["disk operations failed"] += self._disk.failed
        self._disk.heal()
        for wire in self._network.wires.values():
            wire.read_on()
        self._server.start()

    async def _settle(self) -> None:
        while any(client.waiting for client in self._clients) or self._server.runtime is None:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        for client in self._clients:
            for function, args in FINAL:
                client.watch(function, args)
        seen = {client.name: client.views for client in self._clients}
        self._clients[0].mutate("f:bump", {"token": f"{self._plan.seed:05}/99999", "name": "last"})
        while self._clients[0].waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        done: list[Any] = []
        schedulers = self._asked("scheduled")
        while True:
            runtime = self._server.runtime
            if runtime is not None:
                low, high = f"{self._plan.seed:05}/", f"{self._plan.seed:05}/~"
                asked = values.canonical({"round": f"{self._plan.seed:05}", "low": low, "high": high})
                done = value_of(await runtime.query("f:done", asked))
                final = {
                    subscription(function, args): value_of(await runtime.query(function, values.canonical(args)))
                    for function, args in FINAL
                }
                shows = all(
                    all(client.shown.get(key) == value for key, value in final.items()) for client in self._clients
                )
                if shows and len([row for row in done if row[1]]) >= len(schedulers):
                    break
            await asyncio.sleep(0.1)
        await asyncio.sleep(5)  # for what would come twice
        assert self._server.runtime is not None
        done = value_of(await self._server.runtime.query("f:done", asked))
        operations = [each for each in self.events if isinstance(each, Operation) and each.function.startswith("f:")]
        self._claim(once(operations, (token for token, scheduled in done if not scheduled)))
        self._claim(scheduled_once(schedulers, (token for token, scheduled in done if scheduled)))
        views = [each for each in self.events if isinstance(each, View)]
        self._claim(convergence(views, final, [client.name for client in self._clients]))
        self.report.counts["effects"] += len(done)
        self.report.counts["scheduled"] += len(schedulers)
        self._note(f"settled; {len(seen)} clients converged")

    def _asked(self, ends: str) -> list[Operation]:
        return [
            each
            for each in self.events
            if isinstance(each, Operation) and each.args.get("ends") == ends and each.outcome == "ok"
        ]

    def _claim(self, violations: Any) -> None:
        self.report.violations += map(str, violations)

    def judge(self) -> None:
        """Holds the history against the checkers, and the file against SQLite."""
        replay, sessions = Replay(model), Sessions()
        replay.take(self.events)
        sessions.take(self.events)
        self._claim([*replay.violations, *sessions.violations])
        transactions = [
            each
            for each in map(lists.transaction, (e for e in self.events if isinstance(e, Operation)))
            if each is not None
        ]
        self._claim(anomalies(sorted(transactions, key=lambda each: each.invoked)))
        with closing(sqlite_connect.connect(self._server.path)) as connection:
            found = connection.pragma("integrity_check")
        if found != "ok":
            self.report.violations.append(f"integrity: {found}")
        self.report.counts.update(self._server.counts)
        self.report.counts.update(self._network.counts)
        self.report.counts.update(
            {
                "answers replayed": replay.operations,
                "views": replay.views,
                "results compared": replay.results,
                "transactions": len(transactions),
            }
        )


def run(plan: Plan, app: App) -> Report:
    """Carries a plan out, and judges it."""
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None
    loop = SimulatedLoop()
    with tempfile.TemporaryDirectory(prefix="simulated-", dir=parent) as name, machine(plan.seed, loop) as clock:  # noqa: SIM117
        with faulty_disk() as disk, tended_often() if plan.tended else nullcontext():
            asyncio.set_event_loop(loop)
            gc.disable()  # it would come at moments that depend on what was run before
            one = Run(plan, app, Path(name), disk, loop, clock)
            errors = _Errors(one.report, one._note)
            logger = logging.getLogger("yugen")
            logger.addHandler(errors)
            propagated, logger.propagate = logger.propagate, False
            logging.getLogger("yugen_client").disabled = True
            try:
                with (
                    patch.object(yugen_client.connection, "connect", _connector(one)),
                    patch.object(IntervalIndex, "readers", _ordered),
                ):
                    loop.run_until_complete(one.carry_out())
                one.judge()
            except Stalled:
                one.report.violations.append("stalled: everybody waits, and nothing is going to happen")
            except Exception as error:
                one.report.violations.append(f"the run failed: {error!r}")
            finally:
                logger.removeHandler(errors)
                logger.propagate = propagated
                loop.set_exception_handler(lambda *_: None)
                logging.disable(logging.CRITICAL)  # whoever is buried complains
                loop.bury()
                loop.close()
                asyncio.set_event_loop(None)
                report = one.report
                del one
                gc.enable()
                gc.collect()
                logging.disable(logging.NOTSET)
    return report


_readers = IntervalIndex.readers


def _ordered(index: IntervalIndex[Any], keys: Any) -> list[Any]:
    """Who reads, in an order that does not follow from where in memory they are."""
    return sorted(_readers(index, keys), key=lambda slot: repr(slot.query.key))


def _connector(one: Run) -> Any:
    async def connect(url: str, **_: Any) -> Any:
        name = url.split("/")[2]
        return await one._network.connect(name)

    return connect
