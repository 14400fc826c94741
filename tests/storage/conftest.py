from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from yugen.storage.memory import MemoryStore
from yugen.storage.sqlite import SqliteStore

AnyStore = MemoryStore | SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyStore]:
    store: AnyStore = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "app.db")
    assert await store.open() == 0
    yield store
    await store.close()
