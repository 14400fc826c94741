"""A small storm passes, and one that takes too long is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from reliability.loads import storm as module
from reliability.loads.storm import storm


async def test_a_crowd_comes_sees_and_comes_back(tmp_path: Path) -> None:
    figures, failures = await storm(tmp_path / "data", clients=30, queries=3)
    assert failures == []
    assert figures["subscriptions"] == 90
    assert 0 < figures["seconds until all were back"] < module.BACK_SECONDS


async def test_what_takes_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONVERGED_SECONDS", 0.0)
    monkeypatch.setattr(module, "LEFT_MIB", -1)
    _, failures = await storm(tmp_path / "data", clients=3, queries=1, restarts=False)
    assert any("until all showed one commit; 0 s are allowed" in each for each in failures)
    assert any("after the crowd has left" in each for each in failures)
