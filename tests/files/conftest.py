"""Stores of files, of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.object_store import ObjectStore, object_store
from yugen.files.local import LocalFiles
from yugen.files.memory import MemoryFiles
from yugen.files.objects import ObjectFiles
from yugen.files.store import FileStore


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with object_store() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    match request.param:
        case "local":
            return LocalFiles(tmp_path / "files")
        case "memory":
            return MemoryFiles()
        case _:
            request.getfixturevalue("s3")
            return ObjectFiles("s3://bucket/some/prefix")
