"""What a surface is, how it is tried, and what is kept of what was found."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reliability.fuzzing.shrink import shrunk

CORPUS: Final = Path(__file__).parent / "corpus"

TAKEN: Final = "taken"
"""The outcome of an input that was not refused, or how it begins."""

FOUND_MAX: Final = 5
"""Findings of one run of a surface, each of another kind, that are made short and told; all are counted."""

Given = Any
"""An input: plain JSON data, so that it can be kept in a file and made shorter."""

Attempt = Callable[[Given], Awaitable[str]]
"""Tries an input; gives `TAKEN` or the error by which it was refused. Whatever it raises is a finding."""


class Finding(Exception):
    """A surface did what it must not do."""


@dataclass(frozen=True, slots=True)
class Surface:
    """A place where input comes in.

    Attributes:
        name: what it is called on the command line.
        make: makes an input by chance.
        open: gets ready what inputs are tried with.
        says: in one line, what it takes in and what must hold.
        weight: the share of inputs that it gets, beside those of the others: what is slow gets fewer.
    """

    name: str
    make: Callable[[random.Random], Given]
    open: Callable[[], AbstractAsyncContextManager[Attempt]]
    says: str = ""
    weight: int = 100


def plain(make: Callable[[random.Random], Given], attempt: Callable[[Given], str], weight: int = 100) -> Surface:
    """A surface that needs nothing but a function, by whose name it goes."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Attempt]:
        async def tried(given: Given) -> str:
            return attempt(given)

        yield tried

    return Surface(attempt.__name__, make, opened, (attempt.__doc__ or "").partition("\n")[0], weight)


@dataclass(frozen=True, slots=True)
class Found:
    """An input that has shown a fault.

    Attributes:
        surface: where.
        why: what was wrong.
        given: the input, made short.
        seed: what made it, if chance did.
    """

    surface: str
    why: str
    given: Given
    seed: int | None = None

    def __str__(self) -> str:
        again = "" if self.seed is None else f" (--surface {self.surface} --inputs 1 --seed {self.seed})"
        why = self.why if len(self.why) < 1200 else f"{self.why[:300]} ... {self.why[-900:]}"
        return f"{self.surface}{again}: {why}\n    {json.dumps(self.given)[:1000]}"


@dataclass(slots=True)
class Tally:
    """What has become of the inputs of one surface.

    Attributes:
        counts: how many had which outcome.
        found: the first findings.
        seconds: how long it took.
    """

    counts: Counter[str] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: Tally) -> None:
        """Adds what has become of other inputs of the same surface."""
        self.counts += other.counts
        self.found += [each for each in other.found if len(self.found) < FOUND_MAX]
        self.seconds += other.seconds

    @property
    def taken(self) -> int:
        return sum(count for outcome, count in self.counts.items() if outcome.startswith(TAKEN))

    @property
    def refused(self) -> int:
        return self.counts.total() - self.taken - self.counts["found"]


def dice_of(name: str, seed: int) -> random.Random:
    """The dice that make the input of a seed at the surface of this name."""
    return random.Random(f"{name} {seed}")


async def tried(surface: Surface, seeds: Iterable[int], attempt: Attempt) -> Tally:
    """Tries the inputs of these seeds. What shows a fault is made shorter."""
    tally, began, known = Tally(), time.monotonic(), set[tuple[str, str]]()
    for seed in seeds:
        given = surface.make(dice_of(surface.name, seed))
        why = None
        try:
            outcome = await attempt(given)
        except Exception as error:  # anything that is not declared is what is looked for
            outcome, why = "found", error
        tally.counts[outcome] += 1
        if why is not None and len(known) < FOUND_MAX and _kind(why) not in known:
            known.add(_kind(why))
            tally.found.append(await _shortened(surface, attempt, given, seed, why))
    tally.seconds = time.monotonic() - began
    return tally


async def _shortened(surface: Surface, attempt: Attempt, given: Given, seed: int, why: Exception) -> Found:
    last = why

    async def fails(candidate: Given) -> bool:
        nonlocal last
        try:
            await attempt(candidate)
        except Exception as error:
            if _kind(error) == _kind(why):
                last = error
                return True
        return False

    short = await shrunk(given, fails)
    return Found(surface.name, f"{type(last).__name__}: {last}", short, seed)


def _kind(error: Exception) -> tuple[str, str]:
    """What errors have in common that are about the same."""
    last = str(error).rstrip().rpartition("\n")[2]
    return type(error).__name__, re.sub("[0-9]+", "", last)[:40]


def kept(surface: Surface) -> Iterator[tuple[str, Given]]:
    """What was once found at a surface, by the names of the files."""
    for file in sorted(CORPUS.glob(f"{surface.name}-*.json")):
        yield file.stem, json.loads(file.read_text())["input"]


async def replayed(surface: Surface, attempt: Attempt) -> tuple[int, list[Found]]:
    """Tries what was once found; returns how many there are, and which still show a fault."""
    count, found = 0, list[Found]()
    for name, given in kept(surface):
        count += 1
        try:
            await attempt(given)
        except Exception as error:
            found.append(Found(surface.name, f"{name}: {type(error).__name__}: {error}", given))
    return count, found
