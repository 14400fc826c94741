from __future__ import annotations

import os
from pathlib import Path

import pytest

from reliability.resources import usage


def test_the_disk_is_added_up_by_what_it_is_for(tmp_path: Path) -> None:
    for name, size in (("app.sqlite3", 100), ("app.sqlite3-wal", 1000), ("files/a", 10), ("files/parts/b", 20)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    found = usage(os.getpid(), tmp_path, 1.5)
    assert (found.seconds, found.database, found.stored) == (1.5, 100, 30)
    assert found.server > 0
    assert found.processes >= 1


def test_a_file_that_goes_while_it_is_looked_at_counts_as_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: True)  # as it still was
    (tmp_path / "there").write_bytes(bytes(5))
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # its name is listed, and that is all there is
    assert usage(os.getpid(), tmp_path, 0.0).stored == 5
