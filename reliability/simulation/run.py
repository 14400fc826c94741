"""Carries a plan out, and holds what came of it against what was promised."""

from __future__ import annotations

import asyncio
import gc
import logging
import tempfile
import warnings
from collections.abc import Awaitable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import yugen_client.connection
from reliability.disk import tended_often
from reliability.history import lists
from reliability.records import Event, Operation, subscription
from reliability.simulation.administrator import Administrator
from reliability.simulation.client import Client
from reliability.simulation.clock import Clock, machine
from reliability.simulation.forgetting import forgetting
from reliability.simulation.jobs import CRON_SECONDS
from reliability.simulation.loop import LIFE, SimulatedLoop, Stalled, seeded
from reliability.simulation.machine import Machine
from reliability.simulation.network import DELAY_SECONDS, Network
from reliability.simulation.plan import Plan, Step
from reliability.simulation.verdict import Report, of_the_cron, of_the_file, of_the_history, of_what_is_stored
from reliability.vfs import FaultyVFS, faulty_disk
from yugen import values
from yugen.functions.registry import App
from yugen.runtime.interval_index import IntervalIndex
from yugen.runtime.own import value_of
from yugen.server import subscriptions
from yugen.storage.interface import StorageError

QUIET_SECONDS = 300.0
"""How long clients may take, after the last fault, until all is answered and all show the same."""

HEARING_SECONDS: Final = (0.01, 0.01, 0.3)
"""How long it takes at most until a node hears that another one has committed; a seed has one of these."""

FINAL: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    *(("g:range", {"shelf": shelf, "low": 0, "high": 9}) for shelf in "ab"),
    *(("g:totals", {"shelf": shelf, "low": 0, "high": 9}) for shelf in "ab"),
    ("f:scan", {"low": lists.key(0, 0), "high": lists.key(0, 9)}),
    ("k:all", {}),
)


class _Errors(logging.Handler):
    """Hears of errors in the log, of which there are none but those that a failing disk explains."""

    def __init__(self, one: Run) -> None:
        super().__init__(logging.ERROR)
        self._one = one

    def emit(self, record: logging.LogRecord) -> None:
        if (life := LIFE.get()) is not None and life.ended:
            return  # it was killed within what it complains of
        text, error = record.getMessage(), record.exc_info[1] if record.exc_info else None
        self._one.note(f"logged {text}")
        if not self._one.disk_failures or not (error is None or isinstance(error, StorageError)):
            self._one.report.violations.append(f"logged: {text}: {error!r}")
        else:
            self._one.report.counts["errors logged that the disk explains"] += 1


class Run:
    """One run."""

    def __init__(self, plan: Plan, app: App, folder: Path, disk: FaultyVFS, loop: SimulatedLoop, clock: Clock) -> None:
        self._plan, self._loop, self._disk, self._clock = plan, loop, disk, clock
        self.report = Report(plan.seed)
        self.events: list[Event] = []
        self._network = Network(loop, seeded(plan.seed, "network"), self.note)
        dice = seeded(plan.seed, "server")
        self._machine = Machine(
            app, folder, loop, disk, self._network, dice, self.note, nodes=plan.nodes, log_seconds=plan.log_seconds
        )
        self._administrator = Administrator(self._machine, self.report, self.events, self.note, plan.log_seconds)
        self._clients = [
            Client(f"c{n}", self._network, seeded(plan.seed, f"client {n}"), self._told, lambda: self._acknowledged)
            for n in range(plan.clients)
        ]
        loop.set_exception_handler(self._failed)
        bells = seeded(plan.seed, "bells")
        loop.hearing = partial(bells.uniform, 0, bells.choice(HEARING_SECONDS))
        loop.jitter = partial(seeded(plan.seed, "timers").uniform, 0, 1e-6)
        self._folder = folder
        self._disk_failures_before = 0
        self._acknowledged = 0
        self._back: dict[str, tuple[int, int]] = {}  # of each client: its connections and timestamp, last seen
        self._latest = 0.0  # the furthest that the wall clock was set ahead

    @property
    def disk_failures(self) -> int:
        """How many operations of the disk were made to fail."""
        return self._disk_failures_before + self._disk.failed

    def note(self, line: str) -> None:
        line = line.replace(f"{self._folder}/", "")  # which is another each time
        self.report.trace.append(f"{self._loop.now:12.6f} {line}")

    def _told(self, event: Event) -> None:
        """Takes down what a client has done or seen."""
        self.events.append(event)
        if isinstance(event, Operation):
            self._acknowledged = max(self._acknowledged, event.ts or 0)
        else:
            connection, ts = self._back.get(event.client, (0, event.ts))
            trimming = self._machine.first.trimming
            if event.connection > connection and trimming is not None and trimming.oldest > ts:
                self.report.counts["back after the log was trimmed"] += 1
            self._back[event.client] = event.connection, event.ts

    def _failed(self, loop: Any, context: dict[str, Any]) -> None:
        self.report.violations.append(f"unhandled: {context.get('exception', context.get('message'))!r}")

    async def carry_out(self) -> None:
        """Does all of the plan, then waits for the end."""
        self._machine.start()
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
            self.report.violations.append(f"not settled: waiting {waiting}, life {self._machine.is_alive}")

    def _do(self, step: Step) -> None:
        self.report.counts[step.what if step.client < 0 or ":" not in step.what else "mutations"] += 1
        self.note(f"plan {step}")
        self._administrator.look()
        later, wire = self._network.later, self._network.wires.get(f"c{step.client}")
        now, share = self._loop.now, step.args.get("share", 0.0)
        match step.what:
            case "watch":
                self._clients[step.client].watch(step.args["function"], step.args["args"])
            case "unwatch" if step.args["number"] == 0:
                self._clients[step.client].unwatch_pages()
            case "unwatch":
                self._clients[step.client].unwatch(step.args["number"])
            case "page":
                self._clients[step.client].watch_page(step.args["shelf"], step.args["size"])
            case "ask":
                self._administrator.ask(**step.args)
            case "back":
                self._administrator.look_back(**step.args)
            case "import":
                self._administrator.bring_in(**step.args)
            case "forget":
                since = [client.waiting_since for client in self._clients if client.waiting_since is not None]
                self._administrator.forget(min(since, default=None))
            case "act":
                self._clients[step.client].act("j:called", step.args)
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
                if share < 0.5:
                    self._network.cut_all()
            case "slow network":
                self._network.slow = share * 0.5
                later(now + 1, setattr, self._network, "slow", DELAY_SECONDS)
            case "slow disk":
                self._machine.among.slow = share * 0.5
                later(now + 1, setattr, self._machine.among, "slow", 0.004)
            case "crash" if step.args["trimming"]:
                self._machine.among.before_trimming = partial(self._machine.die_within, 1 + step.args["n"] % 20)
            case "crash":
                self._machine.die_within(1 + step.args["n"] % 60, power=share < 0.5)
            case "restart":
                self._machine.cut_power("at once")
            case "kill":
                self._machine.kill(self._machine.servers[step.args["n"] % self._plan.nodes])
            case "disk" if step.args["trimming"]:
                self._machine.among.before_trimming = partial(self._fail_disk, step.args["n"], share)
            case "disk":
                self._fail_disk(step.args["n"], share)
            case "stop":
                self._machine.stop()
            case "deploy":
                self._machine.first.deploy()
            case "clock":
                self._clock.jumped += (share * 2 - 1) * 3600
                self._latest = max(self._latest, self._clock.jumped)
            case function:
                self._clients[step.client].mutate(function, step.args)

    def _fail_disk(self, n: int, share: float) -> None:
        kinds = (("sync", "EIO"), ("write", "EIO"), ("write", "ENOSPC"), ("write", "torn"), ("write", "short"))
        operation, fault = kinds[n % len(kinds)]
        self._disk_failures_before += self._disk.failed
        self._disk.fail(operation, 1 + n % 17, fault, persistent=share < 0.3, seed=n)  # type: ignore[arg-type]
        self._network.later(self._loop.now + 1, self._disk.heal)

    def _heal(self) -> None:
        self.note("all faults end")
        self._network.slow, self._machine.among.slow = DELAY_SECONDS, 0.004
        self._network.heal()
        self._disk.heal()
        self._machine.among.before_trimming = None
        self._clock.jumped = self._latest  # what was scheduled while it was ahead is due now
        for wire in self._network.wires.values():
            wire.read_on()
        self._machine.start()

    async def _settle(self) -> None:
        pauses = _pauses()
        machine = self._machine
        while any(client.waiting for client in self._clients) or not machine.serves or machine.is_doomed:
            await next(pauses)
        while machine.is_asked:
            await next(pauses)
        for client in self._clients:
            for function, args in FINAL:
                client.watch(function, args)
        self._clients[0].mutate("f:bump", {"token": f"{self._plan.seed:05}/99999", "name": "last"})
        while self._clients[0].waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        runtime, pauses = self._machine.first.runtime, _pauses()
        assert runtime is not None
        while True:
            final = {subscription(function, args): await self._asked(function, args) for function, args in FINAL}
            shows = all(all(client.shown.get(key) == value for key, value in final.items()) for client in self._clients)
            if shows and not await self._asked("j:left", {}):
                break
            await next(pauses)
        assert self._machine.first.runtime is runtime, "nothing fails any more"
        before = ticks = len(await self._asked("j:ticks", {}))
        while ticks == before:  # the scheduler may only now see that somebody has set the clock
            await asyncio.sleep(0.5)
            ticks = len(await self._asked("j:ticks", {}))
        await asyncio.sleep(2.5 * CRON_SECONDS)  # for what would come twice
        await of_what_is_stored(self.report, self.events, self._asked, final, [client.name for client in self._clients])
        lane = values.canonical({"lane": "mutation", "limit": 100.0})
        due = value_of(await runtime.query_once("_system/scheduler:pending", lane))
        now = len(await self._asked("j:ticks", {}))
        of_the_cron(self.report, now, now - ticks, due)
        self.note(f"settled; {len(self._clients)} clients converged")
        for client in self._clients:
            assert client.task is not None
            client.task.cancel()
        self._machine.stop(for_good=True)
        while self._machine.is_alive:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)

    async def _asked(self, function: str, args: dict[str, Any]) -> Any:
        """The newest result of a query."""
        assert self._machine.first.runtime is not None
        return value_of(await self._machine.first.runtime.query(function, values.canonical(args)))

    def close(self) -> None:
        """Lets go of what is left."""
        self._machine.close()

    def judge(self) -> None:
        """Holds all that was told, and the file, against what was promised."""
        self.report.claim(f"told: {wrong}" for client in self._clients for wrong in client.wrong)
        self.report.claim(f"left over: {task}" for task in self._machine.left)
        self.events += self._administrator.lost()
        of_the_history(self.report, self.events, self.disk_failures)
        of_the_file(self.report, self._machine.path, self._administrator.forgotten)
        self.report.counts.update(self._machine.counts)
        self.report.counts.update(self._network.counts)
        self.report.counts["pages seen again"] += sum(client.pages for client in self._clients)


def run(plan: Plan, app: App) -> Report:
    """Carries a plan out, and judges it."""
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None
    loop = SimulatedLoop()
    with tempfile.TemporaryDirectory(prefix="simulated-", dir=parent) as name, machine(plan.seed, loop) as clock:
        tending = tended_often() if plan.tended else nullcontext()
        with faulty_disk() as disk, tending, forgetting(plan.log_seconds):
            asyncio.set_event_loop(loop)
            gc.disable()  # it would come at moments that depend on what was run before
            one = Run(plan, app, Path(name), disk, loop, clock)
            errors = _Errors(one)
            logger = logging.getLogger("yugen")
            logger.addHandler(errors)
            propagated, logger.propagate = logger.propagate, False
            try:
                with (
                    patch.object(logging.getLogger("yugen_client"), "disabled", new=True),
                    patch.object(yugen_client.connection, "connect", _connector(one)),
                    patch.object(IntervalIndex, "readers", _ordered),
                    patch.object(subscriptions, "QUERIES_AT_ONCE_MAX", 2),  # few clients ask for more than 32
                ):
                    loop.run_until_complete(one.carry_out())
                one.judge()
            except Stalled as stalled:
                one.report.violations.append(f"stalled: {stalled}")
            except Exception as error:
                one.report.violations.append(f"the run failed: {error!r}")
            finally:
                logger.removeHandler(errors)
                logger.propagate = propagated
                loop.set_exception_handler(lambda *_: None)
                logging.disable(logging.CRITICAL)  # whoever is buried complains
                with warnings.catch_warnings(action="ignore"):
                    loop.bury()
                one.close()
                loop.close()
                asyncio.set_event_loop(None)
                report = one.report
                del one
                gc.enable()
                gc.collect()
                logging.disable(logging.NOTSET)
    return report


def _pauses() -> Iterator[Awaitable[None]]:
    """Waits that get longer, so that what does not come is not looked for again and again."""
    seconds = 0.1
    while True:
        yield asyncio.sleep(seconds)
        seconds = min(seconds * 1.2, 10.0)


_readers = IntervalIndex.readers


def _ordered(index: IntervalIndex[Any], keys: Any) -> list[Any]:
    """Who reads, in an order that does not follow from where in memory they are."""
    return sorted(_readers(index, keys), key=lambda slot: repr(slot.query.key))


def _connector(one: Run) -> Any:
    async def connect(url: str, **_: Any) -> Any:
        name = url.split("/")[2]
        return await one._network.connect(name)

    return connect
