"""Several stores over one SQLite file, as each process of a server has one."""

from __future__ import annotations

import asyncio
import errno
import fcntl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import apsw
import pytest

from reliability.vfs import Operation, faulty_disk
from tests.storage.model import TOTALS, History, Note, append, expected_all, read_all
from yugen.storage import sqlite_nodes
from yugen.storage.board import Board
from yugen.storage.interface import AlreadyCarriedOut, Commit, RequestRecord, StorageError, Timestamp
from yugen.storage.sqlite import SqliteStore
from yugen.storage.sqlite_nodes import NodeStore, finish
from yugen.storage.sqlite_writer import lock_file

A, B, C = Note(1, "ada"), Note(2, "bob"), Note(3, "c\0d")
REQUEST = RequestRecord("session", 4, b"digest", b'"value"')

Pair = tuple[NodeStore, NodeStore]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    board = Board(2)
    async with AsyncExitStack() as opened:
        stores = (
            NodeStore(tmp_path / "app.db", board, 0, tends=True),
            NodeStore(tmp_path / "app.db", board, 1, tends=False),
        )
        for store in stores:
            opened.push_async_callback(store.close)
            assert await store.open() == 0
        yield stores


async def told(store: NodeStore, *commits: Commit) -> list[Commit]:
    """What an append is told of what others committed."""
    news: list[Commit] = []

    def decide(arrived: Sequence[Commit], newest: Timestamp) -> Sequence[Commit]:
        news.extend(arrived)
        return commits

    await store.append(decide)
    return news


async def test_each_is_told_once_of_what_the_other_appended(pair: Pair) -> None:
    one, other = pair
    history = History()
    first, second = history.commit(10, {1: A, 2: B}), history.commit(20, {1: None, 3: C})
    empty, third = history.commit(30, {}), history.commit(40, {2: A})
    await append(one, first, second, empty)
    assert one.newest == other.newest == 30
    assert await other.news() == [first, second, empty]
    assert await other.news() == []
    assert await told(other, third) == []
    assert await told(one) == [third]
    assert await one.news() == []
    snapshot = await one.snapshot(40)
    assert await read_all(snapshot) == expected_all(history.at(40))
    snapshot.close()


@pytest.mark.parametrize("told_by", ["news", "append"])
async def test_who_sees_what_another_died_before_saying_says_it(told_by: str, tmp_path: Path) -> None:
    history = History()
    boards = Board(2), Board(2)  # what the first one says nobody hears
    async with AsyncExitStack() as opened:
        for board in boards:
            opened.callback(board.close)
        one, other = (NodeStore(tmp_path / "app.db", board, n, tends=False) for n, board in enumerate(boards))
        for store in (one, other):
            opened.push_async_callback(store.close)
            await store.open()
        commit = history.commit(10, {1: A})
        await append(one, commit)
        assert other.newest == 0
        assert await (other.news() if told_by == "news" else told(other)) == [commit]
        assert other.newest == 10


async def test_an_append_knows_the_newest_timestamp_of_all(pair: Pair) -> None:
    one, other = pair
    history = History()
    await append(one, history.commit(10, {1: A}))
    with pytest.raises(ValueError, match="greater than 10"):
        await append(other, Commit(10, ()))
    await append(other, history.commit(11, {1: B}))


async def test_news_come_in_parts_that_end_with_a_commit(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_nodes, "NEWS_MAX", 3)
    one, other = pair
    history = History()
    commits = [history.commit(ts, {1: A if ts % 20 else B, ts: C}) for ts in range(10, 60, 10)]
    await append(one, *commits)
    parts = []
    while some := await other.news():
        parts.append(some)
    assert len(parts) > 1
    assert [commit for part in parts for commit in part] == commits


@pytest.mark.parametrize("asks", ["news", "append"])
async def test_a_node_for_which_the_log_is_gone_stops(asks: str, pair: Pair) -> None:
    one, other = pair
    history = History()
    await append(one, history.commit(10, {1: A}))
    assert await told(other) != []
    await append(one, history.commit(20, {1: B}), history.commit(30, {1: C}), history.commit(40, {1: A}))
    await one.trim(10)
    assert [commit.ts for commit in await told(other)] == [20, 30, 40]
    await append(one, history.commit(50, {1: B}), history.commit(60, {1: C}))
    await one.trim(50)
    for _ in range(2):
        with pytest.raises(StorageError, match=r"up to 40 and the log reaches back to 50 only.*another one") as caught:
            await (other.news() if asks == "news" else told(other, history.commit(70, {1: A})))
        assert caught.value.stopped
    assert other.stopped
    assert not one.stopped


async def test_a_node_far_behind_catches_up_before_its_turn(pair: Pair) -> None:
    one, other = pair
    history = History()
    commits = [history.commit(second * 10**9, {second: A}) for second in range(1, 6)]
    await append(one, *commits)
    assert await told(other) == commits


async def test_a_request_that_another_carried_out_is_named(pair: Pair) -> None:
    one, other = pair
    history = History()
    await append(one, history.commit(10, {1: A}, REQUEST))
    new = REQUEST._replace(session="new")
    with pytest.raises(AlreadyCarriedOut) as refused:
        await append(other, Commit(20, (), new), Commit(30, (), REQUEST))
    assert refused.value.requests == {("session", 4)}
    assert await other.find_request("new", 4) is None
    assert await other.find_request("session", 4) == (REQUEST, 10)
    await append(other, Commit(20, (), new))
    assert await one.find_request("new", 4) == (new, 20)


async def test_nobody_appends_while_one_is_alone(pair: Pair) -> None:
    one, other = pair
    history = History()
    async with one.alone():
        waiting = asyncio.create_task(append(other, Commit(30, ())))
        await append(one, history.commit(10, {1: A}))
        await append(one, history.commit(20, {1: B}))
        assert not waiting.done()
    await waiting
    assert [commit.ts for commit in await one.news()] == [30]


async def test_one_that_gives_up_waiting_to_be_alone_holds_up_nobody(pair: Pair) -> None:
    one, other = pair

    async def be_alone() -> None:
        async with other.alone():
            raise AssertionError

    async with one.alone():
        impatient = asyncio.create_task(be_alone())
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.wait([impatient])
    await append(one, Commit(10, ()))
    await append(other, Commit(20, ()))


async def test_one_that_cannot_be_alone_says_so_and_takes_its_turns_later(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair

    flock = fcntl.flock

    def refused(file: int, operation: int) -> None:
        # Whoever has a turn gives it back: a node may be tending the database just now.
        if operation == fcntl.LOCK_EX:
            raise OSError(errno.ENOLCK, "No locks available")
        flock(file, operation)

    with monkeypatch.context() as broken:
        broken.setattr(fcntl, "flock", refused)
        with pytest.raises(StorageError, match="No locks available"):
            async with one.alone():
                raise AssertionError
    for store in pair:
        async with store.alone():
            pass
    await append(one, Commit(10, ()))
    await append(other, Commit(20, ()))


async def test_what_could_not_be_told_is_told_later(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = pair
    commit = History().commit(10, {1: A})
    raise_to = one._board.raise_to
    monkeypatch.setattr(one._board, "raise_to", lambda ts: None)  # as if it died before
    await append(one, commit)
    monkeypatch.setattr(one._board, "raise_to", raise_to)

    flock = fcntl.flock

    def refused(file: int, operation: int) -> None:
        # Whoever has a turn gives it back: a node may be tending the database just now.
        if operation == fcntl.LOCK_EX:
            raise OSError(errno.ENOLCK, "No locks available")
        flock(file, operation)

    with monkeypatch.context() as broken:
        broken.setattr(fcntl, "flock", refused)
        with pytest.raises(StorageError, match="No locks available"):
            await other.news()
    assert await other.news() == [commit]
    assert other.newest == 10


async def test_a_turn_that_cannot_be_given_back_keeps_nobody_waiting(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    flock = fcntl.flock

    def kept(file: int, operation: int) -> None:
        if operation == fcntl.LOCK_UN:
            raise OSError(errno.ENOLCK, "No locks available")
        flock(file, operation)

    with monkeypatch.context() as broken:
        broken.setattr(fcntl, "flock", kept)
        await append(one, Commit(10, ()))
        await append(other, Commit(20, ()))
    await append(one, Commit(30, ()))


async def test_the_bell_rings_for_all_but_who_appended(pair: Pair) -> None:
    rung = [0, 0]
    heard = asyncio.Event()

    def listen(number: int) -> None:
        def ring() -> None:
            rung[number] += 1
            heard.set()

        pair[number].listen(ring)

    for number in (0, 1):
        listen(number)
    await append(pair[0], Commit(10, ()))
    await heard.wait()
    assert rung == [0, 1]


async def test_the_first_node_tends_what_all_leave(pair: Pair, tmp_path: Path) -> None:
    """Totals are worked in, and the WAL is moved, also when it appends nothing itself."""
    one, other = pair
    history = History()
    for ts in range(1, 60):
        await append(other, history.commit(ts, {ts: A}))
    while await one.news():
        pass
    await one._on_thread(lambda: None)  # behind what it does after the news
    reader = apsw.Connection(str(tmp_path / "app.db"), flags=apsw.SQLITE_OPEN_READONLY)
    assert reader.execute("SELECT count(*) FROM dirty").get < 16
    reader.close()
    snapshot = await other.snapshot(59)
    assert await read_all(snapshot) == expected_all(history.at(59))
    assert TOTALS
    snapshot.close()


async def test_a_database_that_is_locked_for_nodes_is_nobody_elses(pair: Pair, tmp_path: Path) -> None:
    lock_file(tmp_path / "app.db")
    with pytest.raises(StorageError, match="in use by process"):
        await SqliteStore(tmp_path / "app.db").open()


async def test_what_nodes_leave_is_put_in_order(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    store = NodeStore(path, Board(1), 0, tends=True)
    await store.open()
    await append(store, Commit(10, ()))
    await store.close()
    assert path.with_name("app.db-wal").exists()
    finish(path)
    assert not path.with_name("app.db-wal").exists()
    single = SqliteStore(path)
    assert await single.open() == 10
    await single.close()


async def test_putting_in_order_what_is_no_database_only_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(b"no database" * 1000)
    finish(path)
    assert "not put in order" in caplog.text


async def test_what_was_read_ahead_of_an_append_that_fails_is_told_of_by_the_next(pair: Pair, tmp_path: Path) -> None:
    one, other = pair
    first = History().commit(10_000_000_000, {1: A})
    await append(one, first)  # far later than what the other knows
    connection = other._node_writer._connection
    assert connection is not None
    connection.set_busy_timeout(10)
    outsider = apsw.Connection(str(tmp_path / "app.db"))
    outsider.set_busy_timeout(3000)  # while they tend what they have written
    outsider.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError):
        await told(other)
    outsider.execute("ROLLBACK")
    outsider.close()
    assert await told(other) == [first]


async def test_one_begins_while_another_moves_the_log_into_the_database(tmp_path: Path) -> None:
    with faulty_disk() as disk:
        board = Board(2)
        one = NodeStore(tmp_path / "app.db", board, 0, tends=True)
        other = NodeStore(tmp_path / "app.db", board, 1, tends=False)
        await one.open()
        await append(one, History().commit(10, {1: A}))
        begun: list[Timestamp] = []

        def begin(operation: Operation, path: Path) -> None:
            if operation == "write" and path.name == "app.db" and not begun:
                disk.on_operation = None
                begun.append(other._node_writer.open())

        disk.on_operation = begin
        connection = one._node_writer._connection
        assert connection is not None
        await one._on_thread(lambda: connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE))
        assert begun == [10]
        await other.close()
        await one.close()
