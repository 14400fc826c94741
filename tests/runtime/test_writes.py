from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from yugen.guards import ANYTHING
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


SMALL = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """Commits of some keys, timestamps that are held and released, and what is asked of all that."""
    interval = st.tuples(SMALL, SMALL).map(lambda ends: (min(ends), max(ends) + b"\x00"))
    ago = st.integers(0, 12)
    step = (
        st.tuples(st.just("commit"), st.sets(SMALL, max_size=2))
        | st.tuples(st.just("renew"), st.none())
        | st.tuples(st.sampled_from(["hold", "release"]), ago)
        | st.tuples(st.just("ask"), st.tuples(ago, st.lists(interval, max_size=2), st.booleans()))
    )
    return [("hold", 0), *draw(st.lists(step, max_size=60))]


MOVES: list[tuple[str, Any]] = [("commit", {b"a"}), ("hold", 0), ("commit", {b"b"}), ("release", 0), ("commit", {b"c"})]


@given(histories(), st.integers(1, 4))
@example([("hold", 0), *MOVES], 4)  # the floor comes to stand within a stretch
@example([("hold", 0), ("commit", {b"a"}), ("ask", (2, [(b"a", b"b")], True))], 1)  # only what has a guard was read
@example([("hold", 0), ("renew", None), ("ask", (2, [(b"a", b"b")], False))], 1)
def test_it_finds_what_one_finds_who_looks_at_each_commit(steps: list[tuple[str, Any]], stretch: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yugen.runtime.writes._STRETCH_MAX", stretch)
        writes = RecentWrites(10)
        commits: list[Written] = []
        held: list[int] = []
        newest = 10
        for kind, what in steps:
            match kind:
                case "commit" | "renew":
                    newest += 10
                    made = Written(commit(newest, *sorted(what or ())), renews=kind == "renew")
                    writes.add(made)
                    commits.append(made)
                case "hold" if newest - 5 * what >= writes.floor:
                    held.append(newest - 5 * what)
                    writes.hold(held[-1])
                case "release" if held:
                    writes.release(held.pop(what % len(held)))
                case "ask" if newest - 5 * what[0] >= writes.floor:
                    after, reads = newest - 5 * what[0], tuple(IntervalSet(what[1]))
                    later = [each for each in commits if each.ts > after]
                    touching = [each for each in later if each.touches(reads)]
                    given = ((), [(each, ANYTHING) for each in reads]) if what[2] else (reads, ())
                    assert writes.first_overlap(given[0], after, given[1]) is (touching[0] if touching else None)
                    assert list(writes.after(after)) == later
            kept = [each for each in commits if each.ts > writes.floor]
            assert len(writes) == len(kept)


def test_of_many_commits_few_are_looked_at_closer(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def touches(self: Written, reads: object, guarded: object) -> bool:
        nonlocal looks
        looks += 1
        return False

    monkeypatch.setattr(Written, "touches", touches)
    writes = RecentWrites(0)
    with writes.holding(0):
        for ts in range(1, 1001):
            writes.add(written(ts, f"{ts % 97:02}".encode()))
        assert writes.first_overlap([(b"98", b"99")], 0) is None
        assert looks == 1000 % 64
        looks = 0
        assert writes.first_overlap([(b"98", b"99")], 990) is None
        assert looks == 10
