"""Servers of tests start in a moment: see `reliability.zygote`."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from reliability import serving
from reliability.zygote import Zygote
from yugen.runtime import spawn


@pytest.fixture(scope="session", autouse=True)
def _zygote() -> Iterator[None]:
    with (
        Zygote() as zygote,
        patch.object(serving, "zygote", zygote),
        patch.object(spawn, "_spawn", zygote.start_nursery),
    ):
        yield


_spawn = spawn._spawn


@pytest.fixture
def started_as_people_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """`yugen` is what is installed, with its own imports, and forked from nothing; so is what runs an app."""
    monkeypatch.setattr(serving, "zygote", None)
    monkeypatch.setattr(spawn, "_spawn", _spawn)
