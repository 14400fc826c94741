"""Moving the entries of a large table from one set of indexes to another, while the app serves.

The indexes that come and go are marked as not ready, so nothing reads them, and are part of the table, so every write
keeps their entries. What is left are the documents that were there before and that nobody writes meanwhile: writers,
however busy, only leave less to do. Going over documents again and again is harmless: a commit that puts entries where
they are already changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence, Set

from yugen import keys, values
from yugen.catalog import INDEXES, Catalog, TableSpec
from yugen.intervals import point
from yugen.runtime.commit import Committer, Conflict, Proposal
from yugen.runtime.deploy import Reindexing, enter_indexes, finished
from yugen.runtime.transaction import Transaction
from yugen.storage.interface import Change, StorageError, Store, Timestamp

BATCH = 200
"""Documents in one commit; the others that wait for it wait a few milliseconds."""

PAUSE_SECONDS = 0.001
"""How long others may go first after each batch."""

_TOLD_EVERY = 100_000

logger = logging.getLogger(__name__)


class Reindexer:
    """Does what a deployment has left to do.

    Args:
        store: where the documents are.
        committer: commits among everybody else's.
        newest: gives the newest published timestamp.
        random_bytes: gives that many random bytes.

    Attributes:
        going: what it does beside everything else, if there was anything to do.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        newest: Callable[[], Timestamp],
        *,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._committer = committer
        self._newest = newest
        self._random_bytes = random_bytes
        self.going: asyncio.Task[None] | None = None

    def begin(self, works: Sequence[Reindexing]) -> None:
        """Does what there is to do, beside everything else. Nothing else of it may be going on."""
        if works:
            self.going = asyncio.get_running_loop().create_task(self._run_all(works))

    async def stop(self) -> None:
        """Leaves what is not done to the next time."""
        if self.going is not None:
            self.going.cancel()
            await asyncio.wait([self.going])
            self.going = None

    async def _run_all(self, works: Sequence[Reindexing]) -> None:
        for work in works:
            try:
                await self.run(work)
            except StorageError as error:
                logger.error("the indexes of %s are not ready: %s", work.after.name, error)

    async def run(self, work: Reindexing) -> None:
        """Moves all entries of a table, and then marks its indexes as ready."""
        name = work.after.name
        logger.info("indexes of %s: building", name)
        place: bytes | None = keys.index_prefix(work.after.number, 0)
        end = await self._end(work.after)
        written: set[bytes] = set()
        done = 0
        while place is not None:
            try:
                place, moved = await self._move_some(work, place, end, written)
            except Conflict as conflict:
                if conflict.cause is not None and conflict.cause.change is not None:
                    written.add(conflict.cause.change.key)  # whoever wrote it has moved its entries
                continue
            written.clear()
            done += moved
            if done // _TOLD_EVERY > (done - moved) // _TOLD_EVERY:
                logger.info("indexes of %s: %d documents", name, done)
            await asyncio.sleep(PAUSE_SECONDS)
        while not await self._enter(work.after):
            pass
        logger.info("indexes of %s: ready, %d documents", name, done)

    async def _end(self, table: TableSpec) -> bytes:
        """The key after the last document there is; those that come later are written with their entries."""
        start = keys.index_prefix(table.number, 0)
        ts = self._newest()
        with self._committer.holding(ts):
            snapshot = await self._store.snapshot(ts)
            try:
                last = await snapshot.scan(start, keys.prefix_end(start), reverse=True, limit=1)
            finally:
                snapshot.close()
        return last[0].key + b"\x00" if last else start

    async def _move_some(
        self, work: Reindexing, start: bytes, end: bytes, written: Set[bytes]
    ) -> tuple[bytes | None, int]:
        """Moves the entries of some documents; where to go on, None at the end, and how many they were.

        Raises:
            Conflict: somebody wrote one of them, other than those in `written`, which are left alone.
        """
        ts = self._newest()
        with self._committer.holding(ts):
            snapshot = await self._store.snapshot(ts)
            try:
                rows = await snapshot.scan(start, end, limit=BATCH)
            finally:
                snapshot.close()
            moving = [row for row in rows if row.key not in written]
            changes = []
            for row in moving:
                document = values.loads(row.value)
                assert isinstance(document, dict)
                internal = keys.internal_of(row.key)
                moved = (table.entry_keys(document, internal) for table in (work.before, work.after))
                changes.append(Change(row.key, row.value, row.value, *moved))
            if changes:
                reads = tuple(point(row.key) for row in moving)
                await self._committer.commit(Proposal(ts, reads, tuple(changes)))
        return (rows[-1].key + b"\x00" if len(rows) == BATCH else None), len(rows)

    async def _enter(self, table: TableSpec) -> bool:
        """Makes the indexes of a table those it is to have; False if somebody else did something to them."""
        ts = self._newest()
        with self._committer.holding(ts):
            snapshot = await self._store.snapshot(ts)
            try:
                transaction = Transaction(snapshot, Catalog(), now=ts / 1_000_000, random_bytes=self._random_bytes)
                start = keys.index_prefix(INDEXES.number, 0)
                entered = []
                for row in await transaction.rows(start, keys.prefix_end(start)).take(1_000_000):
                    document = values.loads(row.value)
                    assert isinstance(document, dict)
                    if document["table"] == table.name:
                        entered.append(document)
                await enter_indexes(transaction, entered, {table.name: finished(table, ts)})
                proposal = Proposal(ts, tuple(transaction.reads), transaction.changes)
            finally:
                snapshot.close()
            try:
                await self._committer.commit(proposal)
            except Conflict:
                return False
        return True
