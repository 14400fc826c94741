"""`crons.py`: functions that run again and again.

```python
from yugen import Crons
from . import reports

crons = Crons()
crons.interval("look for news", reports.fetch, minutes=10)
crons.daily("write the report", reports.write, hour=6, tz="Europe/Paris")
crons.cron("close the month", "0 3 1 * *", reports.close, args={"notify": True})
```
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from yugen.functions.declare import Action, DeclarationError, Function, Mutation

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_WEEKDAYS: Final[dict[str, int]] = {
    "sunday": 0,
    "monday": 1,
    "tuesday": 2,
    "wednesday": 3,
    "thursday": 4,
    "friday": 5,
    "saturday": 6,
}

NAME_LENGTH_MAX: Final = 256

Target: TypeAlias = Mutation[Any, Any] | Action[Any, Any] | str


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many milliseconds."""

    milliseconds: float

    def first(self, now: float) -> float:
        """The first time from now on: at once."""
        return now

    def next(self, last: float, now: float) -> tuple[float, int]:
        """The first time after `now` in a row of which `last` is one, and how many there are in between."""
        missed = max(0, math.floor((now - last) / self.milliseconds))
        return last + (missed + 1) * self.milliseconds, missed

    def to_data(self) -> list[Any]:
        return ["interval", self.milliseconds]


@dataclass(frozen=True, slots=True)
class CronLine:
    """At the times of a cron line, as clocks of a time zone show them.

    Where the clock is put forward, what would be in the hour that is left out is at its end; where it is put back, what
    is at one time of the day is there the first time, and what is every so many minutes goes on throughout.
    """

    line: str
    tz: str

    def first(self, now: float) -> float:
        """The first time from now on."""
        return self.next(now, now)[0]

    def next(self, last: float, now: float) -> tuple[float, int]:
        """The first time after `now`, and how many there are in between it and `last`, 1000 at most."""
        zone = ZoneInfo(self.tz)
        missed = 0
        for each in CronSim(self.line, datetime.fromtimestamp(last / 1000, UTC).astimezone(zone)):
            at = each.timestamp() * 1000
            if at > now:
                return at, missed
            missed += 1
            if missed == _MISSED_MAX:
                break
        return next(
            CronSim(self.line, datetime.fromtimestamp(now / 1000, UTC).astimezone(zone))
        ).timestamp() * 1000, missed

    def to_data(self) -> list[Any]:
        return ["cron", self.line, self.tz]


_MISSED_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Cron:
    """A function that runs again and again.

    Attributes:
        name: what it goes by.
        function: the function, or its path.
        times: when it runs.
        args: its arguments by name.
    """

    name: str
    function: Target
    times: Interval | CronLine
    args: Mapping[str, Any] = field(default_factory=dict)


class Crons:
    """The functions of an app that run again and again; `crons = Crons()` in `crons.py`.

    Each takes a name of its own, a mutation or an action, and its arguments. It does not run twice at once: times that
    pass while it runs, or while the server is down, are left out.
    """

    def __init__(self) -> None:
        self.all: dict[str, Cron] = {}

    def interval(
        self,
        name: str,
        function: Target,
        /,
        *,
        seconds: float = 0,
        minutes: float = 0,
        hours: float = 0,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """Every so many seconds, minutes and hours together, the first time when this is deployed.

        Raises:
            DeclarationError: it is not a positive time.
        """
        milliseconds = timedelta(seconds=seconds, minutes=minutes, hours=hours) / timedelta(milliseconds=1)
        if milliseconds < 1000:
            raise DeclarationError(f"The cron {name!r} needs an interval of a second or more, such as seconds=30.")
        self._add(name, function, Interval(milliseconds), args)

    def hourly(self, name: str, function: Target, /, *, minute: int = 0, args: Mapping[str, Any] | None = None) -> None:
        """Every hour, so many minutes past it."""
        self.cron(name, f"{minute} * * * *", function, args=args)

    def daily(
        self,
        name: str,
        function: Target,
        /,
        *,
        hour: int = 0,
        minute: int = 0,
        tz: str = "UTC",
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """Every day at a time of a time zone."""
        self.cron(name, f"{minute} {hour} * * *", function, tz=tz, args=args)

    def weekly(
        self,
        name: str,
        function: Target,
        /,
        *,
        day: Weekday = "monday",
        hour: int = 0,
        minute: int = 0,
        tz: str = "UTC",
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """Every week, on a day at a time of a time zone."""
        if day not in _WEEKDAYS:
            raise DeclarationError(f"The cron {name!r}: there is no day {day!r}; write one of {', '.join(_WEEKDAYS)}.")
        self.cron(name, f"{minute} {hour} * * {_WEEKDAYS[day]}", function, tz=tz, args=args)

    def monthly(
        self,
        name: str,
        function: Target,
        /,
        *,
        day: int = 1,
        hour: int = 0,
        minute: int = 0,
        tz: str = "UTC",
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """Every month that has this day, at a time of a time zone."""
        self.cron(name, f"{minute} {hour} {day} * *", function, tz=tz, args=args)

    def cron(
        self, name: str, line: str, function: Target, /, *, tz: str = "UTC", args: Mapping[str, Any] | None = None
    ) -> None:
        """At the times of a cron line of five fields: minute, hour, day of the month, month, day of the week.

        Raises:
            DeclarationError: the line is none, or there is no such time zone.
        """
        if len(line.split()) != 5:
            raise DeclarationError(
                f'The cron {name!r}: write a line of five fields, such as "0 3 * * *", not {line!r}.'
            )
        try:
            ZoneInfo(tz)
        except Exception:
            text = f'The cron {name!r}: there is no time zone {tz!r}; write one such as "Europe/Paris".'
            raise DeclarationError(text) from None
        try:
            CronSim(line, datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise DeclarationError(f"The cron {name!r}: {line!r} is no cron line: {error}.") from None
        self._add(name, function, CronLine(line, tz), args)

    def _add(self, name: str, function: Target, times: Interval | CronLine, args: Mapping[str, Any] | None) -> None:
        if not 0 < len(name) <= NAME_LENGTH_MAX:
            raise DeclarationError(f"A cron needs a name of 1 to {NAME_LENGTH_MAX} characters, not {name!r:.300}.")
        if name in self.all:
            raise DeclarationError(f"There are two crons {name!r}; give one of them another name.")
        if not isinstance(function, str | Function):
            raise DeclarationError(f"The cron {name!r}: {function!r} is no mutation and no action; decorate it.")
        self.all[name] = Cron(name, function, times, args or {})
