from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from yugen.intervals import point
from yugen.runtime.commit import Committer, Conflict, Proposal
from yugen.runtime.line import Line, Place, Unsettled
from yugen.runtime.writes import Written
from yugen.storage.interface import Change, Commit, Decide, StorageError
from yugen.storage.memory import MemoryStore
from yugen.storage.overlay import Laid


def key(n: int) -> bytes:
    return b"\x00\x00\x00\x40" + n.to_bytes(16, "big")


def change(n: int, before: bytes | None = None, after: bytes | None = b"{}") -> Change:
    return Change(key(n), before, after)


class Unlucky(MemoryStore):
    """A store whose next append fails when it is told so."""

    fails = False

    async def append(self, decide: Decide) -> Sequence[Commit]:
        if self.fails:
            self.fails = False
            decide((), self._newest)
            raise StorageError("the disk is full")
        return await super().append(decide)


class Bench:
    """A committer, two lines, and what became of what was proposed."""

    def __init__(self) -> None:
        self.store = Unlucky()
        self.published: list[int] = []
        self.committer = Committer(self.store, 0, clock=lambda: 0, published=self._publish)
        self.committer.hold(0)
        self.line, self.other = Line(), Line()
        self.results: dict[str, Any] = {}

    def _publish(self, commits: Sequence[Written]) -> None:
        self.published += [written.ts for written in commits]

    def propose(self, name: str, place: Place | None, *, reads: Sequence[int] = (), writes: Sequence[int] = ()) -> None:
        proposal = Proposal(0, tuple(point(key(n)) for n in sorted(reads)), tuple(map(change, writes)), place=place)
        self.committer.propose(proposal, lambda result: self.results.update({name: result}))

    async def settle(self) -> None:
        """Waits until all that was proposed has its result, as whatever comes after has."""
        await self.committer.commit(Proposal(0, (), ()))

    def conflicts(self) -> set[str]:
        return {name for name, result in self.results.items() if isinstance(result, Conflict)}


async def test_those_of_one_line_have_seen_one_another_in_one_append_and_across() -> None:
    bench = Bench()
    for name in "abc":
        bench.propose(name, bench.line.enter(0)[0], reads=[1], writes=[1])
    await bench.settle()
    bench.propose("d", bench.line.enter(0)[0], reads=[1], writes=[1])
    bench.propose("stranger", None, reads=[1], writes=[1])
    bench.propose("other", bench.other.enter(0)[0], reads=[1], writes=[1])
    await bench.settle()
    assert bench.conflicts() == {"stranger", "other"}
    await bench.committer.close()


async def test_what_others_wrote_is_unseen_until_it_is_published_and_the_place_is_given_out() -> None:
    bench = Bench()
    early = bench.line.enter(0)[0]
    bench.propose("other", bench.other.enter(0)[0], writes=[1])
    await bench.settle()
    bench.propose("early", early, reads=[1])
    bench.propose("late", bench.line.enter(bench.published[-1])[0], reads=[1], writes=[1])
    await bench.settle()
    assert bench.conflicts() == {"early"}
    assert bench.results["late"] == 2
    await bench.committer.close()


async def test_those_that_saw_what_was_revoked_run_again_and_those_after_the_word_of_it_do_not() -> None:
    bench = Bench()
    first, second, third = (bench.line.enter(0)[0] for _ in range(3))
    bench.propose("other", bench.other.enter(0)[0], writes=[9])
    bench.propose("first", first, reads=[9], writes=[1])  # which conflicts
    bench.propose("second", second, reads=[1], writes=[2])  # in the same append
    bench.propose("apart", third, reads=[3], writes=[3])
    fourth, revoked = bench.line.enter(0)
    assert revoked == ()
    await bench.settle()
    bench.propose("fourth", fourth, reads=[2])  # in another
    fifth, revoked = bench.line.enter(0)
    assert revoked == (first.number, second.number)
    bench.propose("fifth", fifth, reads=[1, 2])
    await bench.settle()
    assert bench.conflicts() == {"first", "second", "fourth"}
    assert bench.line.enter(0)[1] == (fourth.number,)
    await bench.committer.close()


async def test_one_that_fails_runs_again_if_it_saw_what_was_revoked() -> None:
    bench = Bench()
    wrote, failed, held = (bench.line.enter(0)[0] for _ in range(3))
    bench.store.fails = True
    bench.propose("wrote", wrote, writes=[1])
    with pytest.raises(StorageError):
        await bench.settle()
    bench.propose("failed", failed, reads=[1])
    bench.propose("held", held, reads=[2])
    await bench.settle()
    assert isinstance(bench.results["wrote"], StorageError)
    assert isinstance(bench.results["failed"], Conflict)
    assert bench.results["held"] == 0
    assert bench.published == []
    await bench.committer.close()


async def test_a_line_knows_how_far_it_is_settled() -> None:
    bench = Bench()
    places = [bench.line.enter(0)[0] for _ in range(3)]
    bench.propose("a", places[0], writes=[1])
    bench.propose("b", places[1], writes=[1])
    await bench.settle()
    assert (bench.line.settled, bench.line.ts) == (places[1].number, bench.published[-1])
    assert bench.line.enter(0)[0].ts == bench.published[-1]
    await bench.committer.close()


class Laying(RuleBasedStateMachine):
    """What a worker lays over the store, beside a list of its members' changes."""

    def __init__(self) -> None:
        super().__init__()
        self.unsettled = Unsettled()
        self.members: list[tuple[int, list[Change]]] = []
        self.last = 0

    @rule(changes=st.dictionaries(st.integers(0, 4), st.booleans(), min_size=1, max_size=3))
    def add(self, changes: dict[int, bool]) -> None:
        self.last += 1
        made = []
        for n, there in changes.items():
            before = self.unsettled.overlay.get(key(n)) or Laid(b"stored", (key(100 + n),))
            entries = (key(1000 * self.last + n),) if there else ()
            text = b"%d" % self.last if there else None
            made.append(Change(key(n), before.value, text, before.entry_keys, entries))
        self.unsettled.add(self.last, made)
        self.members.append((self.last, made))

    @precondition(lambda self: self.members)
    @rule(data=st.data(), settles=st.booleans())
    def settle(self, data: st.DataObject, settles: bool) -> None:
        numbers = [number for number, _ in self.members]
        revoked = data.draw(st.sets(st.sampled_from([*numbers, 0]), max_size=2))
        settled = data.draw(st.sampled_from(numbers)) if settles else 0
        self.unsettled.revoke(tuple(revoked))
        self.unsettled.settle(settled)
        self.members = [each for each in self.members if each[0] > settled and each[0] not in revoked]

    @invariant()
    def the_newest_of_each_document_lies_there_and_hides_what_the_oldest_replaces(self) -> None:
        changes: dict[bytes, list[Change]] = {}
        for _, made in self.members:
            for each in made:
                changes.setdefault(each.key, []).append(each)
        overlay = self.unsettled.overlay
        assert len(overlay) == len(changes)
        for laid, of in changes.items():
            assert overlay.get(laid) == Laid(of[-1].after, of[-1].keys_after, of[0].keys_before)

    @rule()
    def look(self) -> None:
        """Its rows are those of the documents that lie there; before it is asked for them, it keeps no account."""
        overlay = self.unsettled.overlay
        laid = [overlay.get(key(n)) for n in range(5)]
        expected = {
            key(n): each.entry_keys for n, each in enumerate(laid) if each is not None and each.value is not None
        }
        assert overlay._row_keys is not None or overlay._unsorted.keys() <= overlay._documents.keys()
        assert list(overlay._sorted()) == sorted({*expected, *chain.from_iterable(expected.values())})


TestLaying = Laying.TestCase
