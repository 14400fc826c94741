"""The soak tells growth from noise, and a short one finds nothing."""

from __future__ import annotations

import dataclasses
import random
import re
from pathlib import Path

import pytest

from reliability.canary import Report
from reliability.resources import MIB, Usage, growth
from reliability.soak import _of_canary, judge, soak

STEADY = Usage(
    seconds=0.0, server=60 * MIB, workers=50 * MIB, processes=4, files=60, database=60 * MIB, stored=20 * MIB
)


def samples(**per_second: float) -> list[Usage]:
    """An hour's, with noise and caches that fill up at first, in which each of these grows by so much a second."""
    dice = random.Random(4)
    made = []
    for second in range(0, 3600, 5):
        full = min(second / 600, 1.0)
        values = {name: int(getattr(STEADY, name) * (0.7 + 0.3 * full)) for name in ("server", "workers")}
        values |= {"files": STEADY.files + dice.randint(-10, 10), "processes": STEADY.processes}
        values = {name: value + int(per_second.get(name, 0.0) * second) for name, value in values.items()}
        values["server"] += dice.randint(-MIB, MIB)
        values["stored"] = int(STEADY.stored * full + per_second.get("stored", 0.0) * second)
        values["database"] = int(STEADY.database * full + per_second.get("database", 0.0) * second)
        made.append(Usage(seconds=float(second), **values))
    return made


def test_what_fills_up_and_stays_is_no_growth() -> None:
    assert judge(samples()) == []


@pytest.mark.parametrize(
    ("name", "per_second"),
    [("server", 3000), ("workers", 5000), ("files", 0.02), ("processes", 0.002), ("stored", 9000), ("database", 12000)],
)
def test_what_grows_is_named(name: str, per_second: float) -> None:
    assert [failure.partition(":")[0] for failure in judge(samples(**{name: per_second}))] == [name]


def test_what_is_kept_for_days_may_come() -> None:
    grows = samples(database=12_000)
    assert judge(grows, for_days=3600 * 12_000) == []
    assert judge(grows, for_days=3600 * 1_000) != []


def test_a_few_samples_tell_nothing() -> None:
    assert judge([]) == ["memory: 0 samples tell nothing"]
    assert judge(samples()[:8]) == ["memory: 5 samples tell nothing"]


def test_what_sticks_out_is_not_growth() -> None:
    line = [(float(second), 2.0 * second) for second in range(100)]
    assert growth(line) == pytest.approx(198.0)
    line[-1] = (99.0, 1e9)
    assert growth(line) == pytest.approx(198.0)


def test_what_is_late_is_told_unless_it_may_be() -> None:
    overloaded, other = "Overloaded: come again", "StorageFull"
    report = Report(written=3, latencies=[0.1, 6.0], refused={overloaded: 1}, wrong=["7 was seen after 8"])
    assert _of_canary(report, 30.0) == ["canary: 7 was seen after 8"]
    assert len(_of_canary(report, None)) == 4
    assert len(_of_canary(dataclasses.replace(report, refused={other: 1}), 5.0)) == 4


async def test_ordinary_use_is_answered_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failures = await soak(tmp_path / "data", seconds=6.0, users=8, seed=1, every=0.1, pause=0.05, out=None, late=60.0)
    # In seconds nothing can be said of memory: nothing has warmed up.
    of_memory = ("server:", "workers:", "files:", "processes:", "stored:", "memory:")
    assert [each for each in failures if not each.startswith(of_memory)] == []
    told = capsys.readouterr().out
    assert "0 wrong" in told
    kept = re.search(r"^([1-9]\d*) KiB of the database are kept for days", told, re.MULTILINE)
    assert kept is not None
    assert int(kept[1]) < 1024
