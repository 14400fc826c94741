from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.intervals import Interval, IntervalSet, point
from yugen.runtime.writes import RecentWrites, Written, overlap, request_key, written_keys
from yugen.storage.interface import Change, Commit, RequestRecord

keys = st.binary(max_size=2)


def commit(ts: int, *written: bytes) -> Commit:
    return Commit(ts, tuple(Change(key, None, b"{}") for key in written))


@given(st.lists(st.tuples(keys, keys), max_size=12), st.sets(keys, max_size=12))
def test_overlap_is_a_key_in_an_interval(pairs: list[Interval], written: set[bytes]) -> None:
    reads = tuple(IntervalSet(pairs))
    expected = {(interval, key) for interval in reads for key in written if interval[0] <= key < interval[1]}
    found = overlap(reads, sorted(written))
    assert found in expected if expected else found is None


def test_a_commit_writes_its_documents_and_their_entries_old_and_new() -> None:
    change = Change(b"d", b"{}", b"[]", (b"old", b"same"), (b"new", b"same"))
    record = RequestRecord("s", 1, b"", b"")
    assert written_keys(Commit(1, (change,))) == [b"d", b"new", b"old", b"same"]
    assert request_key("s", 1) in written_keys(Commit(1, (), record))


def test_a_document_that_stays_as_it_is_concerns_only_the_readers_of_where_it_comes_and_goes() -> None:
    change = Change(b"d", b"{}", b"{}", (b"old", b"same"), (b"new", b"same"))
    assert written_keys(Commit(1, (change,))) == [b"new", b"old"]


def test_requests_have_keys_of_their_own() -> None:
    names = [("s", 1), ("s", 11), ("s1", 1), ("1 s", 1), ("s", -1)]
    assert len({request_key(*name) for name in names}) == len(names)


def written(ts: int, *keys: bytes) -> Written:
    return Written(commit(ts, *keys))


def first(writes: RecentWrites, reads: list[Interval], after: int) -> int | None:
    found = writes.first_overlap(reads, after)
    return None if found is None else found.ts


def test_the_first_overlap_after_a_timestamp() -> None:
    writes = RecentWrites(10)
    with writes.holding(10):
        for ts, key in ((20, b"a"), (30, b"b"), (40, b"a")):
            writes.add(written(ts, key))
        assert first(writes, [point(b"a")], 10) == 20
        assert first(writes, [point(b"a")], 19) == 20
        assert first(writes, [point(b"a")], 20) == 40
        assert writes.first_overlap([point(b"a")], 40) is None
        assert first(writes, [(b"b", b"c")], 10) == 30
        assert writes.first_overlap([], 10) is None


def test_only_what_is_held_is_kept() -> None:
    writes = RecentWrites(10)
    writes.add(written(20, b"a"))
    assert (writes.floor, len(writes)) == (20, 0)
    with writes.holding(20):
        writes.add(written(30, b"a"))
        with writes.holding(30):
            writes.add(written(40, b"a"))
        assert (writes.floor, len(writes)) == (20, 2)
    writes.add(written(50, b"a"))
    assert (writes.floor, len(writes)) == (50, 0)


def test_what_is_forgotten_is_not_guessed_at() -> None:
    writes = RecentWrites(10)
    writes.add(written(20, b"a"))
    with pytest.raises(LookupError, match="after 10 are not all known"):
        writes.first_overlap([], 10)
    with pytest.raises(LookupError), writes.holding(19):
        pass
