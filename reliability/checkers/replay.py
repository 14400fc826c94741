"""Whether every answer and every view is what a plain model of the app gives, at the timestamp that the server named.

Mutations are carried out again one after the other, in the order of their timestamps; between them, at its timestamp,
each result of each view is compared. That is all that serializability in timestamp order and consistent snapshots say.
Real time comes on top: what is called after an answer was there has a later timestamp than that answer's.

Of a mutation nobody was told about, it is not known whether it took place, nor when. It is taken to have taken place,
once, right before the first answer that is otherwise wrong and that it makes right. That finds it for all models whose
answers tell what they build on.
"""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import Any, Final, Protocol, TypeAlias

from reliability.checkers.violation import Violation
from reliability.records import Event, Operation, View

State: TypeAlias = Mapping[str, Any]
"""What is stored, by names that the model gives; values are replaced and never changed."""

LOST_AT_ONCE_MAX: Final = 3
"""How many mutations without an answer are tried together to explain one answer."""


class Refused(Exception):
    """What a model raises where the app raises."""


class Model(Protocol):
    """An app in plain Python: a function without a state of its own."""

    def __call__(self, state: State, function: str, args: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """What a query or a mutation returns in a state, and what it changes of the state."""


class Replay:
    """Carries a history out again, a part at a time; all timestamps of a part are above those of the parts before.

    Attributes:
        state: what is stored now.
        violations: what was not as the model says.
        operations: how many answers were compared.
        results: how many results of views were compared.
        views: how many views these were in.
        landed: mutations without an answer of which it was seen that they have taken place.
    """

    def __init__(self, model: Model, state: State | None = None) -> None:
        self._model = model
        self._ts = -1
        self._answered: tuple[int, str] = (-1, "")  # the newest timestamp of an answer in the parts before, and whose
        self._lost: list[Operation] = []
        self.state: dict[str, Any] = dict(state or {})
        self.violations: list[Violation] = []
        self.operations = self.results = self.views = 0
        self.landed: list[Operation] = []

    def take(self, events: Iterable[Event]) -> None:
        """Goes on with the next part."""
        timed: list[Operation | View] = []
        for event in events:
            if isinstance(event, View):
                timed.append(event)
            elif event.outcome == "lost":
                self._lost.append(event)
            elif event.outcome == "ok" and event.ts is not None:
                timed.append(event)
        self._check_real_time([event for event in timed if isinstance(event, Operation)])
        for event in sorted(timed, key=_place):
            if isinstance(event, Operation):
                self._carry_out(event)
            else:
                self._compare(event)

    def _check_real_time(self, operations: list[Operation]) -> None:
        answers = sorted(operations, key=lambda each: each.answered or 0)
        newest, place = self._answered, 0
        for operation in sorted(operations, key=lambda each: each.called):
            while place < len(answers) and (answers[place].answered or 0) < operation.called:
                newest = max(newest, (answers[place].ts or 0, _name(answers[place])))
                place += 1
            # What changes nothing may share a timestamp with what it has seen.
            if (operation.ts or 0) < newest[0]:
                detail = (
                    f"{_name(operation)} at {operation.ts} was called after the answer of {newest[1]} at {newest[0]}"
                )
                self.violations.append(Violation("real time", detail))
        self._answered = max([newest, *((each.ts or 0, _name(each)) for each in answers[place:])])

    def _carry_out(self, operation: Operation) -> None:
        assert operation.ts is not None
        value, changes = self._answer(operation.function, operation.args)
        if value != operation.value and self._find_lost(
            [(operation.function, operation.args, operation.value)], operation.answered
        ):
            value, changes = self._answer(operation.function, operation.args)
        self.operations += 1
        if value != operation.value:
            detail = f"{_name(operation)} at {operation.ts} returned {operation.value!r}, and not {value!r}"
            self.violations.append(Violation("wrong answer", detail))
        if operation.ts < self._ts or (operation.ts == self._ts and changes):
            detail = f"{_name(operation)} at {operation.ts} changes something after a commit at {self._ts}"
            self.violations.append(Violation("timestamps do not rise", detail))
        if changes:
            self._ts = max(self._ts, operation.ts)
            self.state.update(changes)

    def _compare(self, view: View) -> None:
        self.views += 1
        wanted = [(*_subscription(key), value) for key, value in view.results.items()]
        self.results += len(wanted)
        if self._wrong(self.state, wanted) and not self._find_lost(wanted, view.at):
            for function, args, value in self._wrong(self.state, wanted):
                expected = self._answer(function, args)[0]
                detail = f"{view.client} showed {value!r} of {function} {args} at {view.ts}, and not {expected!r}"
                self.violations.append(Violation("wrong view", detail))

    def _wrong(self, state: State, wanted: list[tuple[str, dict[str, Any], Any]]) -> list[tuple[str, Any, Any]]:
        return [each for each in wanted if self._answer(each[0], each[1], state)[0] != each[2]]

    def _answer(self, function: str, args: Mapping[str, Any], state: State | None = None) -> tuple[Any, Any]:
        try:
            return self._model(self.state if state is None else state, function, args)
        except Refused as refused:
            return refused, {}

    def _find_lost(self, wanted: list[tuple[str, dict[str, Any], Any]], before: int | None) -> bool:
        """Carries out what was lost and explains these answers, if there is such; returns whether there is."""
        candidates = [each for each in self._lost if before is None or each.called < before]
        for count in range(1, LOST_AT_ONCE_MAX + 1):
            for chosen in permutations(candidates, count):
                changed: dict[str, Any] = {}
                for each in chosen:
                    changed.update(self._answer(each.function, each.args, ChainMap(changed, self.state))[1])
                if not self._wrong(ChainMap(changed, self.state), wanted):
                    self.state.update(changed)
                    self.landed.extend(chosen)
                    self._lost = [each for each in self._lost if each not in chosen]
                    return True
        return False


def _place(event: Operation | View) -> tuple[int, bool]:
    """Its place in the order of timestamps; a view or a query at the timestamp of a commit comes after it."""
    return (event.ts or 0, isinstance(event, View) or "token" not in event.args)


def _subscription(key: str) -> tuple[str, dict[str, Any]]:
    function, _, args = key.partition(" ")
    return function, json.loads(args)


def _name(operation: Operation) -> str:
    return f"{operation.function} {operation.args} of {operation.client}"
