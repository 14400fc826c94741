from __future__ import annotations

import pytest

from reliability import fuzz
from yugen.ids import InvalidId


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
    real = fuzz.decode_id

    def lenient(text: str) -> tuple[int, bytes]:
        try:
            return real(text)
        except InvalidId:
            return 1, bytes(16)

    monkeypatch.setattr(fuzz, "decode_id", lenient)

    assert fuzz.tried("ids", 100, seed=0)[1]
