"""What is to happen in a run, as a list, so that parts of it can be left out."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

from reliability.history import lists
from reliability.simulation.app import kept_id
from reliability.simulation.loop import seeded

FAULTS: Final = (
    "cut",
    "swallow",
    "stall",
    "partition",
    "slow network",
    "slow disk",
    "crash",
    "disk",
    "clock",
    "restart",
    "stop",
    "kill",
    "deploy",
    "forget",
)
"""The kinds of faults; a seed has some of them."""

SECONDS: Final = 20.0
"""How long a run is disturbed."""

LOG_SECONDS: Final = (2.0, 3.0, 5.0)
"""How long the log is kept; a seed has one of these."""

TWO_NODES: Final = 0.3
"""The share of seeds in which two nodes serve."""

_KEPT: Final = 3
"""How many documents are imported."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens.

    Attributes:
        at: when, in seconds.
        what: a mutation, "watch", "unwatch", "page", "ask", "act", "back", "import", or a kind of fault.
        client: whose step it is; -1 for faults of everybody.
        args: what belongs to it.
    """

    at: float
    what: str
    client: int
    args: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.at:9.4f} {self.what} {'' if self.client < 0 else self.client} {self.args}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A run.

    Attributes:
        clients: how many there are.
        nodes: how many processes serve them.
        tended: whether the store does soon what it otherwise does when there is much of it: checkpoints, totals.
        log_seconds: how long the log is kept.
        steps: what happens, in order.
    """

    seed: int
    clients: int
    nodes: int
    tended: bool
    log_seconds: float
    steps: tuple[Step, ...]


def make(seed: int) -> Plan:
    """The plan of a seed."""
    dice = seeded(seed, "plan")
    clients = dice.randint(3, 5)
    seconds = dice.choice((2.0, 5.0, SECONDS))
    steps: list[Step] = []
    jobs: list[tuple[float, str]] = []
    hot = [_query(dice, f"n{number}", "ab"[number % 2]) for number in range(3)]  # which many want, at any moment
    for number in range(dice.randint(50, 150)):
        at, client = dice.random() * seconds, dice.randrange(clients)
        token = f"{seed:05}/{number:05}"
        lot = dice.random() * 1.17
        name, shelf = f"n{dice.randrange(8)}", dice.choice("ab")
        if lot < 0.2:
            inner, ends = _transaction(dice, number * 10)
            steps.append(Step(at, "f:transact", client, {"token": token, "steps": inner, "ends": ends}))
        elif lot < 0.25:
            parts = [_transaction(dice, 10_000 + number * 100 + part * 10) for part in range(dice.randint(1, 3))]
            steps.append(Step(at, "g:nested", client, {"token": token, "parts": parts}))
        elif lot < 0.32:
            steps.append(Step(at, "f:bump", client, {"token": token, "name": dice.choice("xy")}))
        elif lot < 0.37:
            seconds_later = dice.choice((0.0, dice.random() * 0.1, dice.random() * 3))
            args = {"token": token, "kind": dice.choice(("mutation", "action")), "seconds": seconds_later}
            steps.append(Step(at, "j:later", client, args))
            jobs.append((at + seconds_later, token))
        elif lot < 0.4 and jobs:
            due, job = dice.choice(jobs)
            steps.append(
                Step(max(due + dice.uniform(-0.03, 0.02), 0), "j:cancel", client, {"token": token, "job": job})
            )
        elif lot < 0.42:
            steps.append(Step(at, "act", client, {"token": token}))
        elif lot < 0.57:
            args = {"token": token, "name": name, "shelf": shelf, "rank": dice.randrange(6)}
            steps.append(Step(at, "g:put", client, args))
        elif lot < 0.65:
            steps.append(Step(at, "g:drop", client, {"token": token, "name": name}))
        elif lot < 0.7:
            steps.append(Step(at, "g:pop", client, {"token": token, "shelf": shelf}))
        elif lot < 0.75:
            other = f"n{dice.randrange(8)}"
            steps.append(Step(at, "g:swap", client, {"token": token, "one": name, "other": other}))
        elif lot < 0.9:
            function, args = dice.choice(hot) if dice.random() < 0.6 else _query(dice, name, shelf)
            steps.append(Step(at, "watch", client, {"function": function, "args": args}))
        elif lot < 0.93:
            steps.append(Step(at, "page", client, {"shelf": shelf, "size": dice.randint(1, 3)}))
        elif lot < 0.97:
            function, args = dice.choice(hot) if dice.random() < 0.6 else _query(dice, name, shelf)
            steps.append(Step(at, "ask", client, {"function": function, "args": args, "waits": dice.random() * 0.1}))
        elif lot < 1.0:
            steps.append(Step(at, "unwatch", client, {"number": dice.randrange(10)}))
        elif lot < 1.04:
            args = {"token": token, "name": name, "shelf": shelf, "rank": dice.randrange(6)}
            steps.append(Step(at, "g:claim", client, args))
        elif lot < 1.08:
            function, args = dice.choice(hot) if dice.random() < 0.6 else _query(dice, name, shelf)
            steps.append(Step(at, "back", -1, {"function": function, "args": args, "share": dice.random()}))
        elif lot < 1.1:
            documents = {kept_id(each): f"{token} {each}" for each in range(_KEPT) if dice.random() < 0.5}
            steps.append(Step(at, "import", -1, {"token": token, "documents": documents}))
        elif lot < 1.14:
            function = dice.choice(("k:get", "k:all"))
            args = {"id": kept_id(dice.randrange(_KEPT))} if function == "k:get" else {}
            steps.append(Step(at, "watch", client, {"function": function, "args": args}))
        elif lot < 1.155:
            steps.append(Step(at, "k:drop", client, {"token": token, "id": kept_id(dice.randrange(_KEPT))}))
        else:
            args = {"token": token, "id": kept_id(dice.randrange(_KEPT)), "text": token}
            steps.append(Step(at, "k:write", client, args))
    kinds_on = [kind for kind in FAULTS if dice.random() < 0.5]
    for kind in kinds_on:
        for _ in range(dice.randint(1, 4)):
            client = dice.randrange(clients) if kind in ("cut", "swallow", "stall") else -1
            extent = {"n": dice.randrange(1_000_000), "share": dice.random(), "trimming": dice.random() < 0.3}
            steps.append(Step(dice.random() * seconds, kind, client, extent))
    log_seconds = dice.choice(LOG_SECONDS)
    nodes = 2 if dice.random() < TWO_NODES else 1
    return Plan(seed, clients, nodes, dice.random() < 0.5, log_seconds, tuple(sorted(steps, key=lambda step: step.at)))


def _transaction(dice: random.Random, value: int) -> tuple[list[list[Any]], str]:
    """What a transaction of lists does, which appends values from `value` on, and how it ends."""
    steps: list[list[Any]] = []
    for place in range(dice.randint(1, 4)):
        kind, key = dice.choice(("append", "append", "read", "scan")), lists.key(0, dice.randrange(5))
        if kind == "append":
            steps.append([kind, key, value + place])
        else:
            steps.append([kind, key] if kind == "read" else [kind, lists.key(0, 0), lists.key(0, 4)])
    return steps, dice.choice(("", "", "refused", "scheduled"))


def _query(dice: random.Random, name: str, shelf: str) -> tuple[str, dict[str, Any]]:
    low = dice.randrange(6)
    high = dice.randint(low, 5)
    choices: tuple[tuple[str, dict[str, Any]], ...] = (
        ("g:range", {"shelf": shelf, "low": low, "high": high}),
        ("g:first", {"shelf": shelf, "count": dice.randint(1, 3), "order": dice.choice(("asc", "desc"))}),
        ("g:filtered", {"shelf": shelf, "rank": low}),
        ("g:get", {"name": name}),
        ("g:totals", {"shelf": shelf, "low": low, "high": high}),
        ("f:scan", {"low": lists.key(0, low % 3), "high": lists.key(0, 4)}),
        ("f:counter", {"name": dice.choice("xy")}),
    )
    return dice.choice(choices)
