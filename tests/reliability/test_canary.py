"""The canary sees what it is for: what is late, lost, wrong or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from reliability.canary import Canary, watching
from reliability.serving import ROOT, serving
from tests.apps import write_app

APP = ROOT / "reliability/loads/app"
CODE = (APP / "canary.py").read_text()


async def test_it_sees_all_that_it_writes(tmp_path: Path) -> None:
    async with (
        serving(APP, tmp_path / "data", development=False) as server,
        watching(server.url, every=0.01) as watch,
        Canary(server.url, every=0.01) as canary,
    ):
        await canary.until(30)
    assert len(canary.report.latencies) == canary.report.written >= 30
    assert not canary.report.failures(p99=60.0, longest=60.0)
    assert watch.report.latencies
    assert not watch.report.failures(p99=60.0, longest=60.0)
    assert "canary: p99" in "".join(canary.report.failures(p99=0.0, longest=0.0))


@pytest.mark.parametrize(
    ("here", "there", "said"),
    [
        ("number=number, proof=proof)\n    return perch", "number=number)\n    return perch", "proof of another"),
        ("number=number, proof=proof)\n    return perch", "proof=proof)\n    return perch", "was written over"),
        ("    return await ctx.db.query(Perch)", "    return None and await ctx.db.query(Perch)", "never seen"),
        ("    perch = await", "    if number == 3:\n        raise ValueError\n    perch = await", "refused 1 times"),
    ],
)
async def test_it_says_what_is_wrong(tmp_path: Path, here: str, there: str, said: str) -> None:
    assert here in CODE
    app = write_app(tmp_path, canary=CODE.replace(here, there))
    async with (
        serving(app, tmp_path / "data", development=False) as server,
        Canary(server.url, every=0.01, settle=0.2) as canary,
    ):
        await canary.until(10)
    assert any(said in failure for failure in canary.report.failures()), canary.report.failures()


async def test_it_says_that_it_has_seen_nothing(tmp_path: Path) -> None:
    async with Canary("http://127.0.0.1:9", settle=0.0) as canary:
        pass
    assert "canary: it has seen nothing" in canary.report.failures()
