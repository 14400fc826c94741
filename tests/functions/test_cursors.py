"""Cursors open for the query they were made for, and for nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.functions.cursors import Cursors, InvalidCursor

CURSORS = Cursors(bytes(32))


@given(st.binary(), st.binary())
def test_a_place_comes_back_and_always_has_the_same_text(place: bytes, query: bytes) -> None:
    cursor = CURSORS.seal(place, query)
    assert cursor == Cursors(bytes(32)).seal(place, query)
    assert CURSORS.open(cursor, query) == place


def test_a_cursor_shows_nothing_of_its_place() -> None:
    assert "secret" not in CURSORS.seal(b"secret", b"")


@pytest.mark.parametrize("cursor", ["", "a", "?", "AAAA", "é", "\ud800", "A" * 5000, CURSORS.seal(b"x", b"q") + "A"])
def test_any_other_text_is_an_invalid_cursor(cursor: str) -> None:
    with pytest.raises(InvalidCursor) as caught:
        CURSORS.open(cursor, b"q")
    assert caught.value.data == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
    assert str(caught.value).startswith("InvalidCursor: the cursor is not one of this query")


def test_a_cursor_is_bound_to_its_query_and_its_secret() -> None:
    cursor = CURSORS.seal(b"x", b"q")
    for cursors, query in [(CURSORS, b"other"), (Cursors(b"\x01" * 32), b"q")]:
        with pytest.raises(InvalidCursor):
            cursors.open(cursor, query)
