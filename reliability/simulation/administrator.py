"""What is done beside the clients: asking for what is and was, forgetting old requests, and importing documents."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from reliability.checkers.violation import Violation
from reliability.records import Event, Operation
from reliability.simulation.machine import Machine
from reliability.simulation.verdict import Report
from yugen import values
from yugen.runtime.own import change, value_of
from yugen.runtime.runtime import Runtime, TimestampOutOfReach
from yugen.storage.interface import StorageError, Timestamp

AWAY_SECONDS = 3.0
"""How long what a client has said may be under way on a connection that it has left."""


class Administrator:
    """Somebody with the keys of the server.

    Args:
        machine: has the servers, whose lives do and die with what is asked of them.
        report: takes what is counted, and what is wrong.
        events: takes what is done.
        note: writes a line of the trace.
        log_seconds: how long the log is kept.

    Attributes:
        forgotten: up to when requests were to be forgotten.
    """

    def __init__(
        self,
        machine: Machine,
        report: Report,
        events: list[Event],
        note: Callable[[str], None],
        log_seconds: float,
    ) -> None:
        self._machine, self._report, self._events, self._note = machine, report, events, note
        self._log_seconds = log_seconds
        self._moments: list[tuple[int, Timestamp]] = []  # what the newest timestamp was, and when
        self._imports: dict[str, Operation] = {}  # of which nobody knows what has become
        self.forgotten: Timestamp = 0

    def look(self) -> None:
        """Notes what the newest timestamp is."""
        serving = [each.runtime.acknowledged for each in self._machine.servers if each.runtime is not None]
        if serving:
            self._moments.append((time.monotonic_ns(), max(serving)))

    def ask(self, function: str, args: dict[str, Any], waits: float) -> None:
        """Asks once, as anybody may over HTTP, for the result at what was the newest timestamp some seconds ago."""
        self._have(lambda runtime: self._ask(runtime, function, args, waits))

    def _have(self, done: Callable[[Runtime], Coroutine[Any, Any, None]]) -> None:
        """Has something be done by one of those who serve, if anybody does."""
        server = self._machine.anyone()
        if server is not None and server.runtime is not None:
            server.ask(done(server.runtime))

    async def _ask(self, runtime: Runtime, function: str, args: dict[str, Any], waits: float) -> None:
        called = time.monotonic_ns()
        try:
            ts = await runtime.latest()
            await asyncio.sleep(waits)
            value = value_of(await runtime.query_at(function, values.canonical(args), None, ts))
        except (StorageError, TimestampOutOfReach) as error:
            self._note(f"not told: {error}")
            return
        self._told("asked once", function, args, called, value, ts)

    def look_back(self, function: str, args: dict[str, Any], share: float) -> None:
        """Asks for a result as of an earlier moment, as far back as the log reaches.

        Args:
            function: the query.
            args: its arguments.
            share: which of the moments that were noted: 0 is the first one, and 1 the last.
        """
        if self._moments:
            moment = self._moments[int(share * (len(self._moments) - 1))]
            self._have(lambda runtime: self._look_back(runtime, function, args, *moment))

    async def _look_back(
        self, runtime: Runtime, function: str, args: dict[str, Any], noted: int, ts: Timestamp
    ) -> None:
        try:
            value = value_of(await runtime.query_at(function, values.canonical(args), None, ts, any_age=True))
        except TimestampOutOfReach as error:
            self._note(f"not told: {error}")
            age = (time.monotonic_ns() - noted) / 1e9
            if age < self._log_seconds or ts > runtime.ts:
                self._report.claim([Violation("forgotten too soon", f"what was there {age} seconds ago: {error}")])
            self._report.counts["looks behind the log"] += 1
        except StorageError as error:
            self._note(f"not told: {error}")
        else:
            self._told("looks back", function, args, noted, value, ts)  # which began when that was the newest

    def _told(self, what: str, function: str, args: dict[str, Any], called: int, value: Any, ts: Timestamp) -> None:
        """Takes down an answer, for somebody who has not seen anything else."""
        self._report.counts[what] += 1
        client = f"{what} {self._report.counts[what]}"
        self._events.append(Operation(client, function, args, called, time.monotonic_ns(), "ok", value, ts))

    def forget(self, waiting_since: int | None) -> None:
        """Has all requests be forgotten that nobody can send again.

        Args:
            waiting_since: when the first call was made that a client has no answer to, by the monotonic clock.
        """
        before = time.monotonic_ns() - int(AWAY_SECONDS * 1e9)
        before = before if waiting_since is None else min(before, waiting_since)
        through = max((ts for noted, ts in self._moments if noted <= before), default=0)
        if through > self.forgotten:
            self._have(lambda runtime: self._forget(runtime, through))

    async def _forget(self, runtime: Runtime, through: Timestamp) -> None:
        before, self.forgotten = self.forgotten, max(self.forgotten, through)
        try:
            await runtime.forget_requests(through)
        except StorageError as error:
            self._note(f"old requests are not forgotten: {error}")
            return
        answered = (each for each in self._events if isinstance(each, Operation) and "token" in each.args)
        self._report.counts["requests forgotten"] += sum(before < (each.ts or 0) <= through for each in answered)

    def bring_in(self, token: str, documents: Mapping[str, str]) -> None:
        """Imports the table `kept` anew, under ids that were there before or not.

        Args:
            token: of this import and no other.
            documents: their texts, by id.
        """
        self._have(lambda runtime: self._bring_in(runtime, token, documents))

    async def _bring_in(self, runtime: Runtime, token: str, documents: Mapping[str, str]) -> None:
        file = token.replace("/", "-")
        folder = self._machine.among.deployment.imports
        folder.mkdir(exist_ok=True)
        rows = [json.dumps({"_id": name, "text": text}) for name, text in documents.items()]
        (folder / file).write_text("\n".join(rows))
        args = {"token": token, "documents": dict(documents)}
        called = time.monotonic_ns()
        try:
            given = {"file": file, "form": "jsonLines", "mode": "replace", "table": "kept"}
            begun = await change(runtime, "_system/imports:begin", **given)
            tried = {"state": "waiting_for_confirmation", "notes": []}
            await change(runtime, "_system/imports:checked", id=begun, state=tried)
            await change(runtime, "_system/imports:confirm", id=begun)
            self._imports[token] = Operation(f"import {token}", "k:import", args, called, None, "lost")
            answer = await runtime.mutate("_system/imports:perform", values.canonical({"id": begun}), public=False)
        except StorageError as error:
            self._note(f"not imported: {error}")
            if not error.stopped:  # or else only the next life knows
                self._imports.pop(token, None)
            return
        del self._imports[token]
        assert answer.ts is not None
        self._told("imports", "k:import", args, called, value_of(answer.answer), answer.ts)

    def lost(self) -> Sequence[Operation]:
        """Imports of which it is not known whether they have taken place."""
        return list(self._imports.values())
