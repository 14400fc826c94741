"""How often what has failed is tried again, and after how long."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Final, Self

from yugen.errors import Refused

ATTEMPTS_MAX: Final = 100
FACTOR_MAX: Final = 100.0


class InvalidRetry(Refused):
    """Figures that make no sense together."""

    code = "InvalidRetry"


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a step or a message is tried, and how long is waited in between.

    Attributes:
        attempts: how often it is tried at most, the first time included.
        first: seconds after the first attempt that has failed.
        factor: how many times longer each wait is than the one before.
        longest: seconds that no wait exceeds.

    Raises:
        InvalidRetry: one of them is out of its range.
    """

    attempts: int = 4
    first: float = 1.0
    factor: float = 2.0
    longest: float = 3600.0

    ONCE: ClassVar[Retry]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InvalidRetry(f"Retry: `{field.name}` must be a number and not {value!r}.")
        if self.attempts != int(self.attempts) or not 1 <= self.attempts <= ATTEMPTS_MAX:
            raise InvalidRetry(f"Retry: `attempts` is {self.attempts!r}; give from 1 to {ATTEMPTS_MAX}.")
        if self.first < 0 or self.longest < 0:
            raise InvalidRetry("Retry: `first` and `longest` are seconds; give 0 or more.")
        if not 1 <= self.factor <= FACTOR_MAX:
            raise InvalidRetry(f"Retry: `factor` is {self.factor!r}; give from 1 to {FACTOR_MAX:g}.")

    def seconds_after(self, attempts: int) -> float | None:
        """How long to wait after so many attempts have failed; None after the last."""
        if attempts >= self.attempts:
            return None
        return min(self.longest, self.first * self.factor ** (attempts - 1))

    def to_data(self) -> dict[str, float]:
        """The same as a value of the wire."""
        return {name: float(value) for name, value in asdict(self).items()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "attempts": int(data["attempts"])})


Retry.ONCE = Retry(attempts=1)
