from __future__ import annotations

import pytest

from reliability import fuzz
from yugen.functions.cursors import Cursors
from yugen.ids import InvalidId, decode_id
from yugen.server.frames import FrameReader
from yugen.sync.session import ServerSession


@pytest.mark.parametrize("name", fuzz.SURFACES)
def test_hostile_input_is_taken_or_refused_as_declared(name: str) -> None:
    counts, found = fuzz.tried(name, 2000, seed=0)

    assert found == []
    assert counts["taken"] > 100
    assert counts.total() - counts["taken"] > 100


def test_an_error_that_is_not_declared_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: object) -> tuple[int, bytes]:
        raise IndexError

    monkeypatch.setattr(fuzz, "decode_id", broken)

    assert len(fuzz.tried("ids", 10, seed=0)[1]) == 10


def test_an_id_that_is_taken_for_another_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = decode_id

    def lenient(text: str) -> tuple[int, bytes]:
        try:
            return real(text)
        except InvalidId:
            return 1, bytes(16)

    monkeypatch.setattr(fuzz, "decode_id", lenient)

    assert fuzz.tried("ids", 100, seed=0)[1]


def test_a_session_that_goes_on_after_bad_input_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerSession, "close", lambda *_: None)

    assert fuzz.tried("conversations", 100, seed=0)[1]


def test_a_cursor_that_opens_for_another_query_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Cursors.open
    monkeypatch.setattr(Cursors, "open", lambda self, cursor, _: real(self, cursor, b"a"))

    assert fuzz.tried("cursors", 100, seed=0)[1]


def test_a_reader_of_frames_that_forgets_what_came_before_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = FrameReader.read
    monkeypatch.setattr(FrameReader, "read", lambda _, data: real(FrameReader(1 << 16), data))

    assert fuzz.tried("frames", 100, seed=0)[1]
