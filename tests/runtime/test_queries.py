from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import Callable, Sequence

import pytest

from yugen.identity import Identity
from yugen.intervals import Interval, point
from yugen.runtime.causes import Rerun, Why
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.queries import Queries, QueryKey, Subscription
from yugen.runtime.writes import Written
from yugen.storage.interface import Change, Commit

A, B = QueryKey("a:a", b"{}"), QueryKey("b:b", b"{}")
ADA, BOB = Identity.of("issuer", "ada"), Identity.of("issuer", "bob")


class Bench:
    """Queries over one key each, whose answer is the timestamp they ran at; executions wait while the gate is shut."""

    def __init__(self, cached_bytes_max: int = 1 << 20) -> None:
        self.queries = Queries(self._execute, 10, cached_bytes_max=cached_bytes_max)
        self.ran: list[tuple[str, int]] = []
        self.callers: list[Identity | None] = []
        self.told: list[str] = []
        self.personal = False
        self.journal: str | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.reads: Callable[[QueryKey], Sequence[Interval]] = lambda key: [point(key.path.encode())]

    async def _execute(self, key: QueryKey, caller: Identity | None, ts: int, why: Why) -> Outcome:
        self.ran.append((key.path, ts))
        self.callers.append(caller)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        answer = Answer(str(ts).encode(), journal=key.journal or self.journal)
        return Outcome(answer, tuple(self.reads(key)), reads_identity=self.personal)

    def write(self, ts: int, *keys: QueryKey) -> None:
        self.queries.publish(Written(Commit(ts, tuple(Change(key.path.encode(), None, b"{}") for key in keys))))

    def subscribe(self, key: QueryKey, name: str = "", caller: Identity | None = None) -> Subscription:
        return self.queries.subscribe(key, caller, lambda: self.told.append(name or key.path))

    async def at(self, key: QueryKey, ts: int, caller: Identity | None = None) -> int:
        return int((await self.queries.at(key, caller, ts)).value or b"")

    def ask(self, key: QueryKey, ts: int, caller: Identity | None = None) -> asyncio.Task[int]:
        return asyncio.create_task(self.at(key, ts, caller))


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_answer_is_computed_once_for_all_who_ask() -> None:
    bench = Bench()
    assert await asyncio.gather(*(bench.at(A, 10) for _ in range(100))) == [10] * 100
    assert await bench.at(A, 10) == 10
    assert bench.ran == [("a:a", 10)]


async def test_an_administrator_asks_another_question() -> None:
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
    bench = Bench(cached_bytes_max=5000)
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


@pytest.mark.parametrize("ranges", [0, 1, 10])
async def test_an_answer_that_is_kept_takes_no_more_than_is_counted(ranges: int) -> None:
    bench = Bench(cached_bytes_max=1 << 30)
    bench.reads = lambda key: [(key.args + b"%d" % place, key.args + b"%d~" % place) for place in range(ranges)]
    count = 200
    tracemalloc.start()
    try:
        for number in range(count):
            await bench.at(QueryKey("q:q", b'{"number":%d}' % number), 10)
        bench.ran.clear()
        bench.callers.clear()
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    counted = bench.queries.measure()["yugen_query_cache_bytes"]
    assert bench.queries.statistics()["kept"] == count
    assert taken <= counted < 2 * taken


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
    bench.queries.publish(Written(Commit(20, (Change(b"x", None, b"{}"),))))
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

    stops += [bench.queries.subscribe(A, None, leave), bench.queries.subscribe(B, None, leave)]
    await asyncio.gather(bench.at(A, 10), bench.at(B, 10))
    bench.write(20, A, B)
    assert bench.told == ["left"]
    assert bench.queries.statistics() == {"kept": 0, "subscribed": 0, "running": 0, "intervals": 0}


async def test_one_callable_may_subscribe_twice() -> None:
    bench = Bench()
    stops = [bench.queries.subscribe(A, None, bench.gate.set) for _ in range(2)]
    await bench.at(A, 10)
    stops[0]()
    bench.gate.clear()
    bench.write(20, A)
    assert bench.gate.is_set()


async def test_a_listener_that_fails_does_not_keep_others_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    def broken() -> None:
        raise ValueError("no ears")

    bench.queries.subscribe(A, None, broken)
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


async def test_an_answer_that_does_not_look_at_who_asks_is_shared_by_all() -> None:
    bench = Bench()
    assert await asyncio.gather(*(bench.at(A, 10, caller) for caller in (ADA, BOB, None))) == [10] * 3
    assert await bench.at(A, 10, BOB) == 10
    assert bench.callers == [ADA]


async def test_an_answer_that_looks_at_who_asks_is_for_them_alone() -> None:
    bench = Bench()
    bench.personal = True
    assert await asyncio.gather(*(bench.at(A, 10, caller) for caller in (ADA, BOB, ADA))) == [10] * 3
    assert await bench.at(A, 10, BOB) == 10
    assert bench.callers == [ADA, BOB]


async def test_personal_answers_run_side_by_side_once_they_are_known_to_be() -> None:
    bench = Bench()
    bench.personal = True
    await bench.at(A, 10, ADA)
    bench.gate.clear()
    asked = [bench.ask(A, 10, caller) for caller in (BOB, None)]
    await settled()
    assert bench.callers == [ADA, BOB, None]
    bench.gate.set()
    assert await asyncio.gather(*asked) == [10, 10]


async def test_whoever_subscribes_is_told_when_a_shared_answer_ends() -> None:
    bench = Bench()
    stops = [bench.subscribe(A, caller.subject, caller) for caller in (ADA, BOB)]
    await asyncio.gather(*(bench.at(A, 10, each) for each in (ADA, BOB)))
    bench.write(20, A)
    assert bench.told == ["ada", "bob"]
    await bench.at(A, 20, BOB)
    assert bench.callers == [ADA, BOB]
    for stop in stops:
        stop()
    assert bench.queries.statistics()["subscribed"] == 0


async def test_only_its_owner_is_told_when_a_personal_answer_ends() -> None:
    bench = Bench()
    bench.personal = True
    bench.subscribe(A, "ada", ADA)
    bench.subscribe(A, "bob", BOB)
    await bench.at(A, 10, ADA)
    bench.reads = lambda key: [point(b"elsewhere")]
    await bench.at(A, 10, BOB)
    bench.write(20, A)
    assert bench.told == ["ada"]
    bench.write(30, QueryKey("elsewhere", b""))
    assert bench.told == ["ada", "bob"]


@pytest.mark.parametrize("personal", [True, False])
async def test_a_query_may_begin_and_cease_to_look_at_who_asks(personal: bool) -> None:
    bench = Bench()
    bench.personal = personal
    await asyncio.gather(*(bench.at(A, 10, each) for each in (ADA, BOB)))
    bench.write(20, A)
    bench.personal = not personal
    assert await asyncio.gather(*(bench.at(A, 20, caller) for caller in (ADA, BOB))) == [20, 20]
    ran = len(bench.ran)
    assert await asyncio.gather(*(bench.at(A, 20, caller) for caller in (ADA, BOB))) == [20, 20]
    assert len(bench.ran) == ran


async def test_personal_answers_that_nobody_subscribes_to_give_way_to_newer_ones() -> None:
    bench = Bench(cached_bytes_max=5000)
    bench.personal = True
    bench.subscribe(A, "nobody")
    for n in range(100):
        await bench.at(A, 10, Identity.of("issuer", str(n)))
    await bench.at(A, 10, Identity.of("issuer", "99"))
    assert len(bench.ran) == 100
    await bench.at(A, 10, Identity.of("issuer", "0"))
    assert len(bench.ran) == 101


async def test_an_answer_with_a_journal_is_known_under_its_journal_too() -> None:
    bench = Bench()
    bench.journal = "up to 7"
    page = QueryKey("a:a", b"{}", journal="up to 7")
    await bench.at(A, 10)
    bench.subscribe(page, "page")
    assert (await bench.queries.at(page, None, 10)).journal == "up to 7"
    assert len(bench.ran) == 1
    bench.write(20, A)
    assert bench.told == ["page"]
    assert await bench.at(page, 20) == 20


async def test_an_answer_is_at_hand_from_its_run_to_its_end() -> None:
    bench = Bench()
    subscription = bench.subscribe(A)
    assert bench.queries.kept(A, None, 10) is subscription.answer(10) is None
    await bench.at(A, 10)
    assert bench.queries.kept(A, None, 10) == subscription.answer(10) == Answer(b"10")
    bench.write(20, A)
    assert bench.queries.kept(A, None, 20) is subscription.answer(20) is None
    assert bench.queries.kept(B, None, 20) is None
    assert bench.queries.statistics()["kept"] == 1


async def test_who_asks_is_told_once_whoever_asked_first() -> None:
    bench = Bench()
    subscription = bench.subscribe(A)
    told: list[object] = []
    bench.queries.ask(A, None, 10, told.append)
    subscription.ask(10, told.append)
    assert told == []
    await settled()
    assert told == [Answer(b"10"), Answer(b"10")]
    subscription.ask(10, told.append)
    assert told == [Answer(b"10")] * 3
    assert bench.ran == [("a:a", 10)]


async def test_who_waits_for_the_run_of_another_timestamp_has_theirs_kept() -> None:
    bench = Bench()
    bench.gate.clear()
    told: list[object] = []
    bench.queries.ask(A, None, 10, told.append)
    bench.write(20, A)
    bench.queries.ask(A, None, 20, told.append)
    bench.write(30, B)
    with pytest.raises(LookupError):
        bench.queries.ask(A, None, 5, told.append)
    await settled()
    bench.gate.set()
    await settled()
    assert told == [Answer(b"10"), Answer(b"20")]
    bench.write(40, B)
    with pytest.raises(LookupError):  # and not for longer
        bench.queries.hold(20)


async def test_closing_tells_those_who_wait_for_what_has_not_begun() -> None:
    bench = Bench()
    told: list[object] = []
    bench.queries.ask(A, None, 10, told.append)
    await bench.queries.close()
    [error] = told
    assert isinstance(error, asyncio.CancelledError)
    assert bench.ran == []


async def test_who_takes_an_answer_badly_keeps_it_from_nobody(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    def broken(_: object) -> None:
        raise ValueError("no ears")

    told: list[object] = []
    bench.queries.ask(A, None, 10, broken)
    bench.queries.ask(A, None, 10, told.append)
    await settled()
    assert told == [Answer(b"10")]
    assert "an answer of a:a was taken badly" in caplog.text


async def test_new_code_ends_every_answer_and_says_so() -> None:
    bench = Bench()
    bench.subscribe(A)
    await bench.at(A, 10)
    await bench.at(B, 10)
    bench.queries.renew(Commit(20, ()))
    assert bench.told == ["a:a"]
    assert await bench.at(A, 20) == 20
    assert await bench.at(B, 20) == 20
    assert [each.cause.is_new_code for each in bench.queries.causes if isinstance(each, Rerun)] == [True]


async def test_an_answer_of_the_code_before_holds_only_for_its_time() -> None:
    bench = Bench()
    bench.subscribe(A)
    bench.gate.clear()
    early = bench.ask(A, 10)
    await settled()
    with bench.queries.holding(10):
        bench.queries.renew(Commit(20, ()))
        late = bench.ask(A, 20)
        bench.gate.set()
        assert (await early, await late) == (10, 20)
        assert await bench.at(B, 10) == 10  # asked for only now, of the time before
    assert await bench.at(B, 20) == 20


async def test_one_can_wait_until_nobody_holds_the_time_before() -> None:
    bench = Bench()
    bench.queries.hold(10)
    bench.queries.hold(10)
    bench.queries.renew(Commit(20, ()))
    waiting = [asyncio.create_task(bench.queries.released_before(ts)) for ts in (10, 20, 20)]
    await settled()
    assert [each.done() for each in waiting] == [True, False, False]
    bench.queries.release(10)
    await settled()
    assert not waiting[1].done()
    bench.queries.release(10)
    await asyncio.gather(*waiting)


async def test_what_is_answered_without_a_run_is_told() -> None:
    bench = Bench()
    told: list[tuple[str, bool]] = []
    bench.queries.kept_told = lambda key, subscribed: told.append((key.path, subscribed))
    await bench.at(A, 10)
    assert told == []
    await bench.at(A, 10)
    assert told == [("a:a", False)]


async def test_an_answer_that_all_forgo_is_not_kept_and_they_hear_of_its_end() -> None:
    bench = Bench()
    bench.reads = lambda key: [point(b"b"), (b"d", b"f"), point(b"x")]
    one, two = bench.subscribe(A, "one"), bench.subscribe(A, "two")
    assert await bench.at(A, 10) == 10
    whole = bench.queries.live_bytes
    assert whole == one.size
    one.forgo()
    one.forgo()  # harmless
    assert two.answer(10) is not None
    two.forgo()
    assert bench.queries.live_bytes == one.size < whole
    assert bench.queries.kept(A, None, 10) is None
    assert bench.queries.statistics()["intervals"] == 1
    assert bench.told == []
    bench.queries.publish(Written(Commit(20, (Change(b"e", None, b"{}"),))))
    assert bench.told == ["one", "two"]
    assert two.answer(20) is None  # and so it is wanted again
    assert await two.at(20) == Answer(b"20")
    assert two.answer(20) == Answer(b"20")
    assert bench.queries.live_bytes == whole
    two()
    assert bench.queries.live_bytes == one.size < whole
    one()
    assert bench.queries.statistics() == {"kept": 0, "subscribed": 0, "running": 0, "intervals": 0}
    assert bench.queries.live_bytes == 0


async def test_who_asks_once_gets_what_subscribers_forgo_and_disturbs_nobody() -> None:
    bench = Bench()
    subscription = bench.subscribe(A)
    await bench.at(A, 10)
    subscription.forgo()
    assert [*await asyncio.gather(bench.at(A, 10), bench.at(A, 10))] == [10, 10]
    assert bench.ran == [("a:a", 10)] * 2
    assert bench.told == []
    bench.write(20, A)
    assert bench.told == ["a:a"]


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_is_kept_and_forgone_what_it_takes_is_counted_and_every_end_is_told(seed: int) -> None:
    """The figures are added up anew after each step; whose answer is not right any more has heard of it."""
    chance = random.Random(seed)
    bench = Bench(cached_bytes_max=3000)
    keys = [QueryKey(name, b"{}") for name in "abcd"]
    more = [point(b"x"), point(b"y")]
    bench.reads = lambda key: [point(key.path.encode()), *more[chance.randrange(3) :]]
    newest, written = 10, dict.fromkeys(keys, 10)
    holding: dict[Subscription, int] = {}  # and of when the answer is that each of them has got

    async def asks(subscription: Subscription) -> None:
        holding[subscription] = int((await subscription.at(newest)).value or b"")
        bench.told[:] = [name for name in bench.told if name != names[subscription]]

    names: dict[Subscription, str] = {}
    for step in range(150):
        bench.personal = chance.random() < 0.2
        subscriber = chance.choice(list(holding)) if holding else None
        match chance.choice(["subscribe", "leave", "ask", "ask", "forgo", "forgo", "write", "at"]):
            case "subscribe":
                made = bench.subscribe(chance.choice(keys), str(step), chance.choice([None, ADA]))
                names[made] = str(step)
                await asks(made)
            case "leave" if subscriber is not None:
                subscriber()
                del holding[subscriber]
            case "ask" if subscriber is not None:
                await asks(subscriber)
            case "forgo" if subscriber is not None:
                subscriber.forgo()
            case "write":
                newest += 10
                key = chance.choice(keys)
                bench.write(newest, key)
                written[key] = newest
            case "at":
                await bench.at(chance.choice(keys), newest)
        queries = bench.queries
        slots = [slot for query in queries._queries.values() for slot in query.slots()]
        results = [slot.result for slot in slots if slot.result is not None]
        assert queries.live_bytes + queries._idle_bytes == sum(result.size for result in results)
        assert queries._idle_bytes <= 3000
        assert len(queries._index) == len({each for result in results if result.end is None for each in result.reads})
        for subscription, ts in holding.items():
            assert ts >= written[subscription.key] or names[subscription] in bench.told
    for subscription in holding:
        subscription()
    assert bench.queries.live_bytes == 0
