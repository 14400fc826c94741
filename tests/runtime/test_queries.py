from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from yugen.intervals import Interval, point
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.queries import Queries, QueryKey
from yugen.storage.interface import Change, Commit

A, B = QueryKey("a:a", b"{}"), QueryKey("b:b", b"{}")


class Bench:
    """Queries over one key each, whose answer is the timestamp they ran at; executions wait while the gate is shut."""

    def __init__(self, cached_bytes_max: int = 1 << 20) -> None:
        self.queries = Queries(self._execute, 10, cached_bytes_max=cached_bytes_max)
        self.ran: list[tuple[str, int]] = []
        self.told: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.reads: Callable[[QueryKey], Sequence[Interval]] = lambda key: [point(key.path.encode())]

    async def _execute(self, key: QueryKey, ts: int) -> Outcome:
        self.ran.append((key.path, ts))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Outcome(Answer(str(ts).encode()), tuple(self.reads(key)))

    def write(self, ts: int, *keys: QueryKey) -> None:
        self.queries.publish(Commit(ts, tuple(Change(key.path.encode(), None, b"{}") for key in keys)))

    def subscribe(self, key: QueryKey, name: str = "") -> Callable[[], None]:
        return self.queries.subscribe(key, lambda: self.told.append(name or key.path))

    async def at(self, key: QueryKey, ts: int) -> int:
        return int((await self.queries.at(key, ts)).value or b"")

    def ask(self, key: QueryKey, ts: int) -> asyncio.Task[int]:
        return asyncio.create_task(self.at(key, ts))


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_answer_is_computed_once_for_all_who_ask() -> None:
    bench = Bench()
    assert await asyncio.gather(*(bench.at(A, 10) for _ in range(100))) == [10] * 100
    assert await bench.at(A, 10) == 10
    assert bench.ran == [("a:a", 10)]


async def test_another_identity_is_another_question() -> None:
    bench = Bench()
    await bench.at(QueryKey("a:a", b"{}", public=False), 10)
    await bench.at(A, 10)
    assert len(bench.ran) == 2


async def test_a_commit_that_overlaps_runs_a_query_once_for_100_subscribers() -> None:
    bench = Bench()
    for n in range(100):
        bench.subscribe(A, str(n))
    await bench.at(A, 10)
    bench.write(20, A)
    assert bench.told == [str(n) for n in range(100)]
    assert await asyncio.gather(*(bench.at(A, 20) for _ in range(100))) == [20] * 100
    assert bench.ran == [("a:a", 10), ("a:a", 20)]


async def test_a_commit_elsewhere_runs_nothing() -> None:
    bench = Bench()
    bench.subscribe(A)
    await bench.at(A, 10)
    bench.write(20, B)
    assert bench.told == []
    assert await bench.at(A, 20) == 10
    assert len(bench.ran) == 1


async def test_commits_before_the_next_question_add_up() -> None:
    bench = Bench()
    bench.subscribe(A)
    await bench.at(A, 10)
    for ts in (20, 30, 40):
        bench.write(ts, A)
    assert bench.told == ["a:a"]
    assert await bench.at(A, 40) == 40
    assert len(bench.ran) == 2


async def test_older_timestamps_are_answered_while_held() -> None:
    bench = Bench()
    with bench.queries.holding(10):
        bench.write(20, A)
        assert await bench.at(A, 20) == 20
        assert await bench.at(A, 10) == 10
        assert await bench.at(A, 20) == 20  # the older answer has not taken the place of the newer
        assert bench.ran == [("a:a", 20), ("a:a", 10)]
    bench.write(30, B)
    with pytest.raises(LookupError):
        await bench.at(A, 10)


async def test_an_answer_that_ended_is_still_right_before_its_end() -> None:
    bench = Bench()
    bench.subscribe(A)
    await bench.at(A, 10)
    with bench.queries.holding(10):
        bench.write(20, A)
        assert await bench.at(A, 10) == 10
    assert len(bench.ran) == 1


async def test_a_commit_during_the_run_ends_the_answer() -> None:
    bench = Bench()
    bench.subscribe(A)
    bench.gate.clear()
    asking = bench.ask(A, 10)
    await settled()
    bench.write(20, B)
    bench.write(30, A)
    assert bench.told == []
    bench.gate.set()
    assert await asking == 10
    assert bench.told == ["a:a"]
    assert await bench.at(A, 30) == 30


async def test_those_who_ask_at_different_times_during_one_run_all_get_theirs() -> None:
    bench = Bench()
    bench.gate.clear()
    early = bench.ask(A, 10)
    await settled()
    bench.write(20, A)
    late = [bench.ask(A, 20) for _ in range(10)]
    await settled()
    bench.gate.set()
    assert await early == 10
    assert await asyncio.gather(*late) == [20] * 10
    assert bench.ran == [("a:a", 10), ("a:a", 20)]


async def test_who_subscribes_after_the_end_of_the_answer_they_get_is_told() -> None:
    bench = Bench()
    bench.subscribe(A, "first")
    await bench.at(A, 10)
    with bench.queries.holding(10):
        bench.write(20, A)
        bench.subscribe(A, "second")
        bench.told.clear()
        assert await bench.at(A, 10) == 10
    assert "second" in bench.told


async def test_who_subscribes_and_gets_an_answer_older_than_the_kept_one_is_told() -> None:
    bench = Bench()
    with bench.queries.holding(10):
        bench.write(20, A)
        assert await bench.at(A, 20) == 20
        bench.subscribe(A)
        assert await bench.at(A, 10) == 10
    assert bench.told == ["a:a"]


async def test_who_stops_waiting_takes_the_answer_from_nobody() -> None:
    bench = Bench()
    bench.gate.clear()
    first, second = bench.ask(A, 10), bench.ask(A, 10)
    await settled()
    first.cancel()
    await settled()
    bench.gate.set()
    assert await second == 10
    assert len(bench.ran) == 1


async def test_a_run_that_fails_fails_for_all_who_wait_and_leaves_nothing() -> None:
    bench = Bench()
    bench.error = OSError("no store")
    for result in await asyncio.gather(bench.at(A, 10), bench.at(A, 10), return_exceptions=True):
        assert result is bench.error
    assert len(bench.ran) == 1
    assert bench.queries.statistics() == {"kept": 0, "subscribed": 0, "running": 0, "intervals": 0}
    bench.error = None
    assert await bench.at(A, 10) == 10


async def test_a_subscriber_outlives_a_run_that_fails() -> None:
    bench = Bench()
    bench.subscribe(A)
    await bench.at(A, 10)
    bench.write(20, A)
    bench.error = OSError("no store")
    with pytest.raises(OSError, match="no store"):
        await bench.at(A, 20)
    bench.error = None
    assert await bench.at(A, 20) == 20
    bench.write(30, A)
    assert bench.told == ["a:a", "a:a"]


async def test_what_nobody_subscribes_to_goes_when_it_ends() -> None:
    bench = Bench()
    await bench.at(A, 10)
    await bench.at(B, 10)
    bench.write(20, A)
    assert bench.queries.statistics() == {"kept": 1, "subscribed": 0, "running": 0, "intervals": 1}


async def test_answers_nobody_subscribes_to_make_room_the_oldest_first() -> None:
    bench = Bench(cached_bytes_max=4000)
    keys = [QueryKey(f"q:{n}", b"{}") for n in range(5)]
    bench.subscribe(keys[4])
    for key in keys:
        await bench.at(key, 10)
    assert bench.queries.statistics()["kept"] == 4
    bench.ran.clear()
    await bench.at(keys[1], 10)  # kept, and the last to go from now on
    await bench.at(keys[0], 10)
    await bench.at(keys[1], 10)
    assert [path for path, _ in bench.ran] == ["q:0"]
    await bench.at(keys[2], 10)
    assert [path for path, _ in bench.ran] == ["q:0", "q:2"]


async def test_an_answer_larger_than_all_room_is_given_and_not_kept() -> None:
    bench = Bench(cached_bytes_max=100)
    assert await bench.at(A, 10) == 10
    assert bench.queries.statistics() == {"kept": 0, "subscribed": 0, "running": 0, "intervals": 0}


async def test_nothing_is_left_when_all_have_unsubscribed_and_all_has_ended() -> None:
    bench = Bench()
    bench.reads = lambda key: [(b"a", b"b"), point(b"x"), (b"y", b"z")]
    stops = [bench.subscribe(key) for key in (A, A, B)]
    await asyncio.gather(bench.at(A, 10), bench.at(B, 10))
    assert bench.queries.statistics() == {"kept": 2, "subscribed": 2, "running": 0, "intervals": 3}
    for stop in stops:
        stop()
        stop()  # harmless
    assert bench.queries.statistics()["subscribed"] == 0
    bench.queries.publish(Commit(20, (Change(b"x", None, b"{}"),)))
    assert bench.told == []
    assert bench.queries.statistics() == {"kept": 0, "subscribed": 0, "running": 0, "intervals": 0}


async def test_unsubscribing_during_the_run_lets_the_answer_be_kept() -> None:
    bench = Bench()
    stop = bench.subscribe(A)
    bench.gate.clear()
    asking = bench.ask(A, 10)
    await settled()
    stop()
    bench.gate.set()
    assert await asking == 10
    assert bench.queries.statistics() == {"kept": 1, "subscribed": 0, "running": 0, "intervals": 1}


async def test_listeners_may_unsubscribe_themselves_and_others() -> None:
    bench = Bench()
    stops: list[Callable[[], None]] = []

    def leave() -> None:
        bench.told.append("left")
        for stop in stops:
            stop()

    stops += [bench.queries.subscribe(A, leave), bench.queries.subscribe(B, leave)]
    await asyncio.gather(bench.at(A, 10), bench.at(B, 10))
    bench.write(20, A, B)
    assert bench.told == ["left"]
    assert bench.queries.statistics() == {"kept": 0, "subscribed": 0, "running": 0, "intervals": 0}


async def test_one_callable_may_subscribe_twice() -> None:
    bench = Bench()
    stops = [bench.queries.subscribe(A, bench.gate.set) for _ in range(2)]
    await bench.at(A, 10)
    stops[0]()
    bench.gate.clear()
    bench.write(20, A)
    assert bench.gate.is_set()


async def test_a_listener_that_fails_does_not_keep_others_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    def broken() -> None:
        raise ValueError("no ears")

    bench.queries.subscribe(A, broken)
    bench.subscribe(A)
    await bench.at(A, 10)
    bench.write(20, A)
    assert bench.told == ["a:a"]
    assert "a listener of a:a failed" in caplog.text


async def test_closing_stops_what_runs() -> None:
    bench = Bench()
    bench.gate.clear()
    asking = bench.ask(A, 10)
    await settled()
    await bench.queries.close()
    await asyncio.wait([asking])
    assert asking.cancelled()
