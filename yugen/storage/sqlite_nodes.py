"""One SQLite file under several server processes: the *nodes* of one machine.

Each node has a connection that writes. Who writes next is settled by a lock on a file of its own, whose waiters the
kernel wakes: SQLite's own way is to sleep and try again, by which one of two busy nodes may get nowhere for seconds.
Within its turn a node reads what others appended since it last looked, decides, appends and syncs.

One node does what there is one of: moving the WAL into the database, and working keys into totals.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import apsw

from yugen.keys import has_totals
from yugen.storage.board import Board
from yugen.storage.interface import Change, Commit, Decide, StorageError, Timestamp, check_rising
from yugen.storage.sqlite import SqliteStore
from yugen.storage.sqlite_batch import Batch
from yugen.storage.sqlite_schema import unpack_keys
from yugen.storage.sqlite_writer import Writer

NEWS_MAX: Final = 4096
"""Changes that `news` reads at a time."""

_FAR_BEHIND_NS: Final = 1_000_000_000
"""How much later than what a node knows the newest commit may be for the node to catch up within its turn."""

_NEWS: Final = """
    SELECT
        json_group_array(json_array(
            ts, length(key), length(before), length(after), length(keys_before), length(keys_after)
        )),
        CAST(group_concat(
            coalesce(key, '') || coalesce(before, '') || coalesce(after, '')
                || coalesce(keys_before, '') || coalesce(keys_after, ''),
            ''
        ) AS BLOB),
        (SELECT ts FROM horizon)
    FROM (
        SELECT * FROM log
        WHERE ts > ?1 AND ts <= coalesce((SELECT ts FROM log WHERE ts > ?1 ORDER BY ts, n LIMIT 1 OFFSET ?2), ?3)
        ORDER BY ts, n
    )
"""
"""All rows in one: SQLite gives up the interpreter lock for every row, and others wait for us while we get it back."""

_EVER: Final = 2**63 - 1

logger = logging.getLogger(__name__)


class NodeStore(SqliteStore):
    """A `Store` in a SQLite file, and the `Peers` of a node that shares it.

    Args:
        path: the database file. Whoever starts the nodes has locked it.
        board: what the nodes share.
        node: the number of this node.
        tends: whether this is the node that does what there is one of.
        thread: as of `SqliteStore`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        board: Board,
        node: int,
        *,
        tends: bool,
        thread: Executor | None = None,
    ) -> None:
        self._board = board
        self._node = node
        self._tends = tends
        super().__init__(path, thread=thread)

    @property
    def newest(self) -> Timestamp:
        """As `Peers.newest`."""
        return self._board.newest

    async def news(self) -> Sequence[Commit]:
        """As `Peers.news`."""
        reader = self._open_reader()
        commits = await self._on_thread(self._read_then_tend)
        reader.release()
        return commits

    def listen(self, told: Callable[[], None]) -> None:
        """As `Peers.listen`."""

        def rung() -> None:
            self._board.hush(self._node)
            told()

        asyncio.get_running_loop().add_reader(self._board.bell(self._node), rung)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """As `Peers.alone`."""
        beginning = self._thread.submit(self._node_writer.begin_turn)

        def end() -> None:
            # On the thread, after it: whoever is cancelled meanwhile has begun it all the same.
            if beginning.exception() is None:
                self._node_writer.end_turn()

        try:
            await asyncio.shield(asyncio.wrap_future(beginning))
            yield
        finally:
            if not self._closed:
                self._thread.submit(end)

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._board.bell(self._node))
        await super().close()

    def _make_writer(self) -> NodeWriter:
        self._node_writer = NodeWriter(self._path, self._board, self._node, tends=self._tends)
        return self._node_writer

    def _read_then_tend(self) -> Sequence[Commit]:
        commits = self._node_writer.news()
        if commits:
            self._thread.submit(self._node_writer.tend)
        return commits


class NodeWriter(Writer):
    """The connection of one node that writes."""

    def __init__(self, path: Path, board: Board, node: int, *, tends: bool) -> None:
        super().__init__(path)
        self._board = board
        self._node = node
        self._tends = tends
        self._turn = _Turn(Path(f"{path}.turn"))

    def news(self) -> list[Commit]:
        """Some of the commits that others appended and that this has not told of."""
        assert self._connection is not None, "the store is open"
        known = self._newest
        try:
            commits = self._take_news(self._connection, NEWS_MAX)
            if self._newest > self._board.newest:
                with self._turn:  # who has committed has not come to say so yet, or has died before
                    self._board.raise_to(self._newest)
        except (apsw.Error, OSError) as error:
            self._newest = known  # what nobody was told of is read again
            raise self._failure(error) from error
        return commits

    def append(self, decide: Decide) -> Sequence[Commit]:
        self._check_not_stopped()
        news = []
        known = self._newest
        try:
            while self._board.newest > self._newest + _FAR_BEHIND_NS and (some := self.news()):
                news += some  # such as after a pause: the others need not wait for that
            with self._turn:
                with self._transaction() as connection:
                    news += self._take_news(connection, _EVER)
                    known = self._newest  # `decide` tells of the news, whatever becomes of what it decides
                    self._board.raise_to(known)  # for those who have died before they did
                    commits = decide(news, known)
                    check_rising(known, commits)
                    batch = Batch(commits)
                    if commits:
                        batch.write(connection)
                if commits:
                    known = commits[-1].ts
                    self._dirty += batch.dirty
                    self._recent_requests += batch.requests
                    self._board.raise_to(known)
        finally:
            self._newest = known  # what nobody was told of is read again
        if commits:
            self._board.ring(but=self._node)
        return commits

    def scrub(self) -> None:
        with self._turn:
            super().scrub()

    def begin_turn(self) -> None:
        """Lets no other node append until `end_turn`."""
        try:
            self._turn.__enter__()
        except OSError as error:
            raise self._failure(error) from error

    def end_turn(self) -> None:
        """Lets the others append again."""
        self._turn.__exit__()

    def tend(self) -> None:
        if self._tends:
            super().tend()

    def close(self) -> None:
        super().close()
        self._turn.close()

    def _open(self) -> None:
        with self._turn:
            super()._open()
            self._board.raise_to(self._newest)
        assert self._connection is not None
        self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)

    def _truncate_wal(self, connection: apsw.Connection) -> None:
        with self._turn:
            super()._truncate_wal(connection)

    def _take_lock(self) -> None:
        """None: whoever has started us holds it, for as long as any of its nodes lives."""

    def _take_news(self, connection: apsw.Connection, limit: int) -> list[Commit]:
        headers, content, horizon = connection.execute(_NEWS, (self._newest, limit, _EVER)).get
        if horizon > self._newest:
            self._stopped = (
                f"this node knows commits up to {self._newest} and the log reaches back to {horizon} only, so it can "
                "learn of no more: it ends, and another one takes its place."
            )
            raise StorageError(self._stopped, stopped=True)
        commits = _to_commits(json.loads(headers), content or b"")
        if commits:
            self._newest = commits[-1].ts
            if self._tends:
                self._dirty += sum(map(_dirt, commits))
                self._recent_requests += len(commits)  # about as many
        return commits

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        with self._turn, super()._transaction() as connection:
            yield connection


class _Turn:
    """The right to write, which one node has at a time. It ends with the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        if self._depth == 0:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._depth -= 1
        if self._depth == 0:
            try:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            except OSError:
                self.close()  # which lets go of it, too: the others wait for it without end

    def close(self) -> None:
        """Gives up the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _to_commits(headers: Sequence[Sequence[Any]], content: bytes) -> list[Commit]:
    commits = []
    place = 0
    for ts, rows in groupby(headers, key=itemgetter(0)):
        changes = []
        for _, *sizes in rows:
            parts: list[bytes | None] = []
            for size in sizes:
                parts.append(None if size is None else content[place : place + size])
                place += size or 0
            key, before, after, keys_before, keys_after = parts
            if key is not None:
                keys = unpack_keys(keys_before or b""), unpack_keys(keys_after or b"")
                changes.append(Change(key, before, after, *keys))
        commits.append(Commit(ts, tuple(changes)))
    return commits


def _dirt(commit: Commit) -> int:
    """How many keys a commit has left that totals do not know of."""
    return sum(
        has_totals(key)
        for change in commit.changes
        if change.keys_before != change.keys_after
        for key in {*change.keys_before, *change.keys_after}
    )


def finish(path: Path) -> None:
    """Moves what is left in the WAL into the database, when its nodes are gone. Failing at that loses nothing."""
    try:
        writer = _Closing(path)
        writer.open()
        writer.close()
    except StorageError as error:
        logger.warning("the database %s is not put in order: %s", path, error)


class _Closing(Writer):
    """Opens a database whose lock is held already."""

    def _take_lock(self) -> None:
        pass
