"""Files in memory, and nowhere."""

from __future__ import annotations

from yugen.files.memory import Nowhere
from yugen.files.store import new_key


def test_nowhere_keeps_nothing() -> None:
    store = Nowhere()
    writer = store.create(key := new_key())
    writer.write(b"content")
    writer.finish()
    reader = store.open(key, 0, 7)
    assert reader.read() == b""
