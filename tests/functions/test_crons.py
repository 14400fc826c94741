"""The times of crons, over leap days, ends of months and changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.apps import write_app
from yugen.functions.crons import CronLine, Crons, Interval
from yugen.functions.declare import DeclarationError
from yugen.functions.registry import AppError, load


def ms(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


def times(line: CronLine, start: str, count: int) -> list[str]:
    """The first times after one."""
    found, at = [], ms(start)
    for _ in range(count):
        at, missed = line.next(at, at)
        assert missed == 0
        found.append(datetime.fromtimestamp(at / 1000, UTC).isoformat().removesuffix(":00+00:00"))
    return found


@pytest.mark.parametrize(
    ("line", "tz", "start", "expected"),
    [
        ("30 2 * * *", "UTC", "2028-02-28T00:00Z", ["2028-02-28T02:30", "2028-02-29T02:30", "2028-03-01T02:30"]),
        ("0 0 29 2 *", "UTC", "2026-03-01T00:00Z", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 0 31 * *", "UTC", "2026-01-01T00:00Z", ["2026-01-31T00:00", "2026-03-31T00:00", "2026-05-31T00:00"]),
        # The clock is put forward from 2:00 to 3:00 at 1:00 UTC.
        (
            "30 2 * * *",
            "Europe/Paris",
            "2026-03-28T00:00Z",
            ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"],
        ),
        # The clock is put back from 3:00 to 2:00 at 1:00 UTC.
        (
            "30 2 * * *",
            "Europe/Paris",
            "2026-10-24T12:00Z",
            ["2026-10-25T00:30", "2026-10-26T01:30", "2026-10-27T01:30"],
        ),
        (
            "*/30 * * * *",
            "Europe/Paris",
            "2026-10-25T00:15Z",
            ["2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30", "2026-10-25T02:00"],
        ),
        ("0 9 * * 1", "America/New_York", "2026-03-02T00:00Z", ["2026-03-02T14:00", "2026-03-09T13:00"]),
    ],
)
def test_times_of_a_cron_line(line: str, tz: str, start: str, expected: list[str]) -> None:
    assert times(CronLine(line, tz), start, len(expected)) == expected


@given(
    milliseconds=st.integers(1000, 10**9),
    last=st.integers(0, 2 * 10**12),
    passed=st.integers(0, 10**12),
)
def test_an_interval_keeps_its_beat(milliseconds: int, last: int, passed: int) -> None:
    interval = Interval(float(milliseconds))
    following, missed = interval.next(last, last + passed)
    assert following > last + passed
    assert following - milliseconds <= last + passed
    assert following == last + (missed + 1) * milliseconds


def test_times_that_have_passed_are_counted_and_left_out() -> None:
    daily = CronLine("0 3 * * *", "UTC")
    assert daily.next(ms("2026-01-01T03:00Z"), ms("2026-01-04T12:00Z")) == (ms("2026-01-05T03:00Z"), 3)
    minutely = CronLine("* * * * *", "UTC")
    assert minutely.next(ms("2026-01-01T00:00Z"), ms("2027-01-01T00:00Z")) == (ms("2027-01-01T00:01Z"), 1000)


@pytest.mark.parametrize(
    ("declare", "error"),
    [
        (lambda crons: crons.interval("x", "a:b"), "an interval of a second or more"),
        (lambda crons: crons.interval("x", "a:b", seconds=0.5), "an interval of a second or more"),
        (lambda crons: crons.cron("x", "* * * *", "a:b"), "five fields"),
        (lambda crons: crons.cron("x", "61 * * * *", "a:b"), "no cron line: Bad minute"),
        (lambda crons: crons.cron("x", "* * * * *", "a:b", tz="Mars/Olympus"), "no time zone 'Mars/Olympus'"),
        (lambda crons: crons.hourly("x", "a:b", minute=60), "Bad minute"),
        (lambda crons: crons.daily("x", "a:b", hour=24), "Bad hour"),
        (lambda crons: crons.weekly("x", "a:b", day="someday"), "there is no day 'someday'"),
        (lambda crons: crons.monthly("x", "a:b", day=32), "Bad day-of-month"),
        (lambda crons: crons.cron("x", "0 0 30 2 *", "a:b"), "Bad day-of-month"),
        (lambda crons: crons.hourly("", "a:b"), "needs a name"),
        (lambda crons: crons.hourly("x", print), "no mutation and no action"),
        (lambda crons: [crons.hourly("x", "a:b") for _ in range(2)], "two crons 'x'"),
    ],
)
def test_what_is_no_cron_is_refused(declare: object, error: str) -> None:
    with pytest.raises(DeclarationError, match=error):
        declare(Crons())  # type: ignore[operator]


FUNCTIONS = """
    from typing import Any

    from yugen import MutationCtx, QueryCtx, mutation, query


    @mutation
    async def clean(ctx: MutationCtx, days: float) -> None:
        pass


    @mutation
    async def keep(ctx: MutationCtx, text: str) -> None:
        pass


    @mutation
    async def any_(ctx: MutationCtx, **args: Any) -> None:
        pass


    @query
    async def look(ctx: QueryCtx) -> None:
        pass
"""

CRONS = """
    from yugen import Crons

    from . import jobs

    crons = Crons()
    crons.{}
"""


DEEP = "[" * 16 + "]" * 16


def test_an_app_says_what_runs_when(tmp_path: Path) -> None:
    declared = CRONS.format("daily('clean up', jobs.clean, hour=4, args={'days': 7})")
    app = load(write_app(tmp_path, jobs=FUNCTIONS, crons=declared))
    cron = app.crons["clean up"]
    assert (cron.path, cron.args, cron.times) == ("jobs:clean", {"days": 7}, CronLine("0 4 * * *", "UTC"))


@pytest.mark.parametrize(
    ("declared", "error"),
    [
        ("hourly('x', jobs.look)", "the cron 'x': jobs:look is a query"),
        ("hourly('x', 'jobs:gone')", "the cron 'x': Could not find function `jobs:gone`"),
        ("hourly('x', jobs.clean)", "the cron 'x': .*days"),
        ("hourly('x', jobs.clean, minute=99)", "Bad minute"),
        (
            f"hourly('x', 'jobs:any_', args={{'a': {DEEP}}})",
            "the cron 'x': The arguments of jobs:any_ cannot be kept",
        ),
        ("hourly('x', 'jobs:keep', args={'text': 'x' * 1_000_000})", "the cron 'x': .*take 1,000,009 bytes"),
    ],
)
def test_a_cron_that_cannot_run_is_refused_with_its_file(tmp_path: Path, declared: str, error: str) -> None:
    with pytest.raises(AppError, match=error) as refused:
        load(write_app(tmp_path, jobs=FUNCTIONS, crons=CRONS.format(declared)))
    assert "crons.py" in str(refused.value)


@pytest.mark.parametrize("text", ["crons = []", "from yugen import Crons\nothers = Crons()\n"])
def test_crons_py_holds_crons(tmp_path: Path, text: str) -> None:
    with pytest.raises(AppError, match=r"crons = Crons\(\)"):
        load(write_app(tmp_path, crons=text))


def test_a_minute_is_a_minute() -> None:
    crons = Crons()
    crons.interval("x", "a:b", minutes=1, seconds=30, hours=1)
    assert crons.all["x"].times == Interval(timedelta(hours=1, minutes=1, seconds=30) / timedelta(milliseconds=1))
