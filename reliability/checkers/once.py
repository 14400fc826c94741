"""Exactly once: what was answered has happened once, what failed has not, what nobody was told of not twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from reliability.checkers.violation import Violation
from reliability.records import Operation, Outcome

_ALLOWED: Final[dict[Outcome, tuple[int, ...]]] = {"ok": (1,), "failed": (0,), "lost": (0, 1)}


def once(operations: Iterable[Operation], applied: Iterable[str]) -> list[Violation]:
    """Compares the mutations of a history with what was found in the end.

    Args:
        operations: mutations, each with its `token`.
        applied: the token of each effect that is stored, as often as it is stored.
    """
    left = Counter(applied)
    violations: list[Violation] = []
    for operation in operations:
        token = operation.args["token"]
        times = left.pop(token, 0)
        if times not in _ALLOWED[operation.outcome]:
            violations.append(Violation(f"{operation.outcome}, {times} times", f"{operation.function} {token}"))
    violations += [Violation("unasked", f"{token} is stored {times} times") for token, times in left.items()]
    return violations


def scheduled_once(schedulers: Iterable[Operation], ran: Iterable[str]) -> list[Violation]:
    """The same for what mutations have scheduled, which has run by now; it has the token of who scheduled it."""
    return [Violation(f"scheduled: {each.rule}", each.detail) for each in once(schedulers, ran)]
