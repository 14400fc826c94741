"""The checkers of timestamps, sessions, effects and ends: silent about what is in order, and not about what is not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reliability import records
from reliability.checkers.convergence import convergence
from reliability.checkers.once import once, scheduled_once
from reliability.checkers.replay import Replay
from reliability.checkers.serializability import Append, Read, Transaction, anomalies, windows
from reliability.checkers.sessions import Sessions
from reliability.history import lists
from reliability.history.check import in_their_rounds
from reliability.records import Event, Operation, View, subscription

COUNTER = subscription("f:counter", {"name": "x"})
LISTS = subscription("f:scan", {"low": "00000/00000", "high": "00000/00002"})


def bump(ts: int | None, value: Any, *, called: int | None = None, client: str = "a", outcome: Any = "ok") -> Operation:
    """A bump of x that took the nanosecond of its timestamp."""
    at = (ts or 0) * 10 if called is None else called
    answered = None if outcome == "lost" else at + 5
    return Operation(client, "f:bump", {"token": f"{client} {at}", "name": "x"}, at, answered, outcome, value, ts)


def view(ts: int, value: Any, *, at: int | None = None, client: str = "w", connection: int = 0) -> View:
    return View(client, ts * 10 + 7 if at is None else at, ts, {COUNTER: value}, connection)


def replayed(*events: Event) -> list[str]:
    replay = Replay(lists.model)
    replay.take(events)
    return [violation.rule for violation in replay.violations]


def in_session(*events: Event) -> list[str]:
    sessions = Sessions()
    sessions.take(events)
    return [violation.rule for violation in sessions.violations]


def test_answers_and_views_are_those_of_the_model_at_their_timestamps() -> None:
    replay = Replay(lists.model)
    replay.take([view(2, 1), bump(5, 2), bump(2, 1), view(4, 1), view(5, 2), view(1, None)])
    assert replay.violations == []
    assert (replay.operations, replay.views, replay.results) == (2, 4, 4)
    replay.take([bump(7, 3)])
    assert replay.violations == []
    assert replay.state["counter x"] == 3


@pytest.mark.parametrize(
    ("events", "rule"),
    [
        ([bump(1, 1), bump(2, 1)], "wrong answer"),  # a lost update
        ([bump(1, 1), bump(2, 3)], "wrong answer"),  # one that was carried out twice
        ([bump(1, 2), bump(2, 1)], "wrong answer"),  # timestamps that are not in the order of commits
        ([bump(1, 1), view(1, None)], "wrong view"),  # a stale one
        ([bump(1, 1), bump(2, 2), view(1, 2)], "wrong view"),  # one of the newest, and not of its timestamp
        ([bump(1, 1), bump(1, 2)], "timestamps do not rise"),
        ([bump(2, 1, called=0), bump(1, 2, called=10)], "real time"),
    ],
)
def test_what_is_not_of_its_timestamp_is_found(events: list[Event], rule: str) -> None:
    assert rule in replayed(*events)


def test_results_of_one_view_are_of_one_moment() -> None:
    steps = [["append", "00000/00001", 1]]
    append = Operation("a", "f:transact", {"token": "t", "steps": steps}, 0, 5, "ok", [[1]], 10)
    both = View("w", 205, 20, {COUNTER: 1, LISTS: {"00000/00001": [1]}})
    assert replayed(append, bump(20, 1), both) == []
    assert replayed(append, bump(20, 1), replace(both, results={COUNTER: 1, LISTS: {}})) == ["wrong view"]
    assert replayed(append, bump(20, 1), replace(both, ts=15)) == ["wrong view"]


def test_real_time_counts_across_parts() -> None:
    replay = Replay(lists.model)
    replay.take([bump(5, 1)])
    replay.take([bump(4, 2, called=100)])
    assert "real time" in {violation.rule for violation in replay.violations}


def test_what_is_shown_late_is_held_against_its_own_round() -> None:
    rounds: list[list[Event]] = [[bump(2, 1), bump(4, 2), view(2, 1)], [view(2, 1, client="v"), bump(6, 3), view(4, 2)]]
    replay = Replay(lists.model)
    for events in in_their_rounds(rounds):
        replay.take(events)
    assert (replay.violations, replay.operations, replay.views) == ([], 3, 3)
    assert replayed(*rounds[0], view(2, 2)) == ["wrong view"]


def test_what_was_lost_is_there_or_not_and_once() -> None:
    lost = bump(None, None, called=12, client="b", outcome="lost")
    assert replayed(bump(1, 1), lost, bump(2, 2)) == []
    assert replayed(bump(1, 1), lost, bump(2, 3)) == []
    assert replayed(bump(1, 1), lost, view(2, 2)) == []
    assert replayed(bump(1, 1), lost, bump(2, 4)) == ["wrong answer"]
    assert replayed(bump(1, 1), lost, bump(2, 3), bump(3, 3)) == ["wrong answer"]
    assert replayed(bump(1, 2, called=1), lost) == ["wrong answer"]  # it was called later than that was answered
    more = bump(None, None, called=13, client="c", outcome="lost")
    assert replayed(bump(1, 1), lost, more, bump(2, 4)) == []


def test_a_client_does_not_go_back() -> None:
    assert in_session(view(1, 1), view(2, 2), view(2, 2), view(3, 3)) == []
    assert in_session(view(2, 2, at=1), view(1, 1, at=2)) == ["goes back"]
    assert in_session(view(2, 2, at=1), view(1, 1, at=2, connection=1)) == ["goes back"]
    assert in_session(view(2, 2, at=1), view(1, 1, at=2, client="other")) == []


def test_a_client_sees_its_own_writes() -> None:
    own = bump(5, 1, called=10, client="w")
    assert in_session(view(4, None, at=12), own, view(5, 1, at=15), view(6, 1, at=20)) == []
    assert in_session(own, view(4, None, at=16)) == ["misses its own write"]
    assert in_session(own, view(4, None, at=16, connection=3)) == ["misses its own write"]
    assert in_session(replace(own, client="another"), view(4, None, at=16)) == []


def test_sessions_count_connections() -> None:
    sessions = Sessions()
    sessions.take([view(1, 1), view(2, 1), view(3, 1, connection=2), view(4, 1, connection=2)])
    sessions.take([view(5, 1, connection=3)])
    assert (sessions.views, sessions.reconnects) == (5, 2)


@pytest.mark.parametrize(
    ("outcome", "times", "right"),
    [
        ("ok", 1, True),
        ("ok", 0, False),
        ("ok", 2, False),
        ("failed", 0, True),
        ("failed", 1, False),
        ("lost", 0, True),
        ("lost", 1, True),
        ("lost", 2, False),
    ],
)
def test_effects_are_there_as_often_as_they_must_be(outcome: Any, times: int, right: bool) -> None:
    operation = bump(1, 1, outcome=outcome)
    assert (once([operation], [operation.args["token"]] * times) == []) == right
    assert (scheduled_once([operation], [operation.args["token"]] * times) == []) == right


def test_effects_of_nobody_are_found() -> None:
    assert [violation.rule for violation in once([], ["t"])] == ["unasked"]


def test_all_show_in_the_end_what_is_there() -> None:
    last = [view(1, 1, client="a"), view(2, 2, client="b"), view(2, 2, client="a")]
    assert convergence(last, {COUNTER: 2}, ["a", "b"]) == []
    assert [each.rule for each in convergence(last[:2], {COUNTER: 2}, ["a", "b"])] == ["not converged"]
    assert [each.rule for each in convergence(last, {COUNTER: 2}, ["a", "c"])] == ["not shown"]


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    events: list[Event] = [bump(1, 1), view(1, {"a": [1]}), bump(None, None, called=2, outcome="lost")]
    records.write(events, tmp_path / "h")
    assert list(records.read(tmp_path / "h")) == events


def of_key(key: str, invoked: int, *, value: int = 1) -> Transaction:
    return Transaction("c", invoked, invoked + 1, (Append(key, value), Read(key, (value,))))


def test_long_histories_are_judged_in_windows() -> None:
    history = [of_key(f"{n:06}", 2 * n) for n in range(5000)]
    parts = list(windows(history, size=1000))
    assert [len(part) for part in parts] == [1000] * 5
    assert [part for each in parts for part in each] == history
    assert not any(map(anomalies, parts))
    overlapping = [*history[:1500], replace(history[0], invoked=1, completed=4000), *history[1500:]]
    overlapping.sort(key=lambda each: each.invoked)
    assert len(next(windows(overlapping, size=1000))) == 2002


def test_windows_have_no_key_in_common() -> None:
    with pytest.raises(ValueError, match="occurs in more than one part"):
        list(windows([of_key("x", 0), of_key("y", 2), of_key("x", 4)], size=1))
    with pytest.raises(ValueError, match="by when they were invoked"):
        list(windows([of_key("x", 2), of_key("y", 0)], size=1))


def good(seed: int) -> list[Event]:
    """A history of a database without a fault: two clients change things, one of them watches."""
    dice = random.Random(seed)
    state: dict[str, Any] = {}
    events: list[Event] = []
    for ts in range(1, 30):
        if dice.random() < 0.4:
            function, args = "f:bump", {"token": f"{ts}", "name": "x"}
        else:
            keys = [lists.key(0, dice.randrange(3)) for _ in range(2)]
            steps = [["append", keys[0], ts], ["read", keys[1]], ["scan", "00000/00000", "00000/00002"]]
            function, args = "f:transact", {"token": f"{ts}", "steps": steps}  # type: ignore[dict-item]
        value, changes = lists.model(state, function, args)
        state.update(changes)
        events.append(Operation(f"c{ts % 2}", function, args, ts * 10, ts * 10 + 5, "ok", value, ts))
        results = {}
        for key in (COUNTER, LISTS):
            name, _, text = key.partition(" ")
            results[key] = lists.model(state, name, json.loads(text))[0]
        events.append(View("c0", ts * 10 + 6, ts, results))
    return events


def judged(events: list[Event]) -> bool:
    """Whether a history is right for those who look at timestamps and for those who look at effects."""
    operations = [event for event in events if isinstance(event, Operation)]
    return replayed(*events) == in_session(*events) == [] and once(operations, [f"{ts}" for ts in range(1, 30)]) == []


def drop(events: list[Event], place: int, dice: random.Random) -> None:
    """A mutation that was answered is nowhere."""
    del events[place]


def double(events: list[Event], place: int, dice: random.Random) -> None:
    """One was carried out twice, and its second answer counts."""
    known = events[place]
    assert isinstance(known, Operation)
    events.insert(place + 1, replace(known, called=known.called + 1, ts=known.ts))


def swap(events: list[Event], place: int, dice: random.Random) -> None:
    """Two have each other's timestamp."""
    other = dice.choice([each for each in range(0, len(events), 2) if each != place])
    first, second = events[place], events[other]
    assert isinstance(first, Operation)
    assert isinstance(second, Operation)
    events[place], events[other] = replace(first, ts=second.ts), replace(second, ts=first.ts)


def stale(events: list[Event], place: int, dice: random.Random) -> None:
    """A view shows what was there before."""
    late, early = events[place + 1], events[place - 1]
    assert isinstance(late, View)
    assert isinstance(early, View)
    assume(late.results != early.results)
    events[place + 1] = replace(late, results=early.results)


def rewind(events: list[Event], place: int, dice: random.Random) -> None:
    """A view is of an earlier moment than the ones before."""
    late, early = events[place + 1], events[place - 3]
    assert isinstance(late, View)
    assert isinstance(early, View)
    events[place + 1] = replace(early, at=late.at)


@given(st.integers(0, 1000))
def test_a_good_history_is_right(seed: int) -> None:
    assert judged(good(seed))


@pytest.mark.parametrize("fault", [drop, double, swap, stale, rewind])
@given(seed=st.integers(0, 1000), place=st.integers(2, 28))
def test_any_fault_in_a_good_history_is_found(
    fault: Callable[[list[Event], int, random.Random], None], seed: int, place: int
) -> None:
    events = good(seed)
    fault(events, 2 * place, random.Random(seed))
    assert not judged(events)
