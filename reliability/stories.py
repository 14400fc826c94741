"""What is written to a store by the machines that try its disk, and what it must hold after each commit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from yugen.keys import document_key, entry_key, index_prefix, prefix_end
from yugen.storage.interface import Change, Commit, RequestRecord, Store, Timestamp

TABLE: Final = 70
_DOCUMENTS: Final = 40
SIZES: Final = (20, 20, 20, 300, 3000, 30_000)
"""Bytes of documents: of many in a page, and of many pages in one."""


class Story:
    """Commits by a seed: documents that come, change and go, of an index, a count and a sum, for requests of clients.

    Attributes:
        states: what documents there are after each commit, by its timestamp.
        ends: the timestamps that a store may have for its newest: those of commits that end an append.
        requests: the timestamps of requests, by their number.
        acknowledged: the newest timestamp of an append that has returned.
        trimmed: up to where its log is gone.
        forgotten: up to where its requests may be gone.
    """

    SESSION: Final = "story"

    def __init__(self, seed: int, sizes: Sequence[int] = SIZES) -> None:
        self._dice = random.Random(seed)
        self._sizes = sizes
        self._requests = 0
        self.states: dict[Timestamp, dict[bytes, bytes]] = {0: {}}
        self.ends: set[Timestamp] = {0}
        self.requests: dict[int, Timestamp] = {}
        self.acknowledged: Timestamp = 0
        self.trimmed: Timestamp = 0
        self.forgotten: Timestamp = 0

    def copy(self) -> Story:
        """Another that has come as far, and goes on by itself."""
        copied = Story(0, self._sizes)
        copied._dice.setstate(self._dice.getstate())
        copied._requests = self._requests
        copied.states, copied.ends, copied.requests = dict(self.states), set(self.ends), dict(self.requests)
        copied.acknowledged, copied.trimmed = self.acknowledged, self.trimmed
        copied.forgotten = self.forgotten
        return copied

    async def append(self, store: Store, commits: int) -> None:
        """Appends some commits at once. Those of an append that fails are forgotten, unless they are found later."""
        batch: list[Commit] = []

        def decide(_: Sequence[Commit], newest: Timestamp) -> Sequence[Commit]:
            for each in [ts for ts in self.states if ts > newest]:
                del self.states[each]  # of an append that has failed
                self.ends.discard(each)
            self.requests = {number: ts for number, ts in self.requests.items() if ts <= newest}
            batch.extend(self._commit(max(self.states)) for _ in range(commits))
            self.ends.add(batch[-1].ts)
            return batch

        await store.append(decide)
        self.acknowledged = batch[-1].ts

    async def forget(self, store: Store, through: Timestamp) -> None:
        """Has a store forget the requests up to a timestamp."""
        self.forgotten = max(self.forgotten, through)
        await store.forget_requests(through)

    def _commit(self, newest: Timestamp) -> Commit:
        dice, before = self._dice, self.states[newest]
        after, changes, ts = dict(before), list[Change](), newest + dice.randint(1, 3)
        for number in dice.sample(range(_DOCUMENTS), dice.choice((0, 1, 1, 2, 5))):
            key = document_key(TABLE, number.to_bytes(16, "big"))
            image = None if key in before and dice.random() < 0.2 else self._image()
            if image is None:
                after.pop(key)
            else:
                after[key] = image
            entries = [() if each is None else entries_of(number, each) for each in (before.get(key), image)]
            changes.append(Change(key, before.get(key), image, *entries))
        self.states[ts] = after
        self._requests += 1
        self.requests[self._requests] = ts
        return Commit(ts, tuple(changes), RequestRecord(self.SESSION, self._requests, b"digest", str(ts).encode()))

    def _image(self) -> bytes:
        rank = self._dice.randrange(100)
        return f"{rank:02}".encode() + self._dice.randbytes(self._dice.choice(self._sizes))


def entries_of(number: int, image: bytes) -> tuple[bytes, ...]:
    """The entries of a document: in an index, a count and a sum."""
    rank, internal = float(image[:2]), number.to_bytes(16, "big")
    by_rank = entry_key(TABLE, 1, [rank], internal)
    count = entry_key(TABLE, 48, [rank % 3], internal, None)
    ranks = entry_key(TABLE, 49, [], internal, rank)
    return by_rank, count, ranks


def whole(slot: int) -> tuple[bytes, bytes]:
    """The interval of all that is in one index."""
    prefix = index_prefix(TABLE, slot)
    return prefix, prefix_end(prefix)


async def check_holds(store: Store, story: Story, ts: Timestamp) -> int:
    """Checks that everything a store says of a moment is what the story says; returns how many rows it gave.

    Raises:
        AssertionError: it is not.
    """
    expected = story.states[ts]
    snapshot = await store.snapshot(ts)
    try:
        rows = await snapshot.scan(*whole(0), limit=10_000)
        assert {row.key: row.value for row in rows} == expected, f"other documents at {ts}"
        entries = await snapshot.scan(*whole(1), limit=10_000)
        wanted = sorted(
            (entries_of(int.from_bytes(key[-16:], "big"), value)[0], value) for key, value in expected.items()
        )
        assert [tuple(each) for each in entries] == wanted, f"another index at {ts}"
        for key, value in expected.items():
            assert await snapshot.get(key) == value, f"another document at {ts}"
        assert await snapshot.count(*whole(48)) == len(expected), f"another count at {ts}"
        total = await snapshot.total(*whole(49))
        assert float(total.sum) == sum(int(value[:2]) for value in expected.values()), f"another sum at {ts}"
    finally:
        snapshot.close()
    for number, at in story.requests.items():
        if story.forgotten < at <= ts:
            found = await store.find_request(Story.SESSION, number)
            assert found is not None, f"the request {number} is not known"
            assert (found[0].value, found[1]) == (str(at).encode(), at), f"another answer of the request {number}"
    return len(rows) + len(entries)
