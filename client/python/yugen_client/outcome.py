"""How a function ended, in the encoded form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from yugen_client.absent import ABSENT
from yugen_client.errors import FunctionError
from yugen_client.values import Json, canonical_json, decode


@dataclass(frozen=True, slots=True)
class Success:
    """The function returned `value`."""

    value: Json

    def unwrap(self) -> Any:
        """The value as Python objects, new ones at each call, so that two readers cannot disturb each other."""
        return decode(self.value)


@dataclass(frozen=True, slots=True)
class Failure:
    """The function failed; `data` is ABSENT unless the function attached some to its error."""

    message: str
    data: Json = ABSENT

    def unwrap(self) -> Any:
        """Raises the failure as a FunctionError."""
        raise FunctionError(self.message, ABSENT if self.data is ABSENT else decode(self.data))


Outcome: TypeAlias = Success | Failure


def same_outcome(one: Outcome, other: Outcome) -> bool:
    """Whether a reader could not tell the two apart; plain `==`, which is quick, would take `True` for `1.0`."""
    return one is other or (one == other and _fingerprint(one) == _fingerprint(other))


def _fingerprint(outcome: Outcome) -> tuple[str | None, ...]:
    match outcome:
        case Success(value):
            return (canonical_json(value),)
        case Failure(message, data):
            return message, None if data is ABSENT else canonical_json(data)
