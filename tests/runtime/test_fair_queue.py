from __future__ import annotations

from yugen.runtime.fair_queue import FairQueue


def filled(*items: str) -> FairQueue[str]:
    """A queue of words, whose kinds are their first letters."""
    queue: FairQueue[str] = FairQueue()
    for item in items:
        queue.add(item[0], item)
    return queue


def taken(queue: FairQueue[str]) -> list[str]:
    return [queue.take() for _ in range(len(queue))]


def test_kinds_take_turns_and_each_keeps_its_order() -> None:
    queue = filled("a1", "a2", "a3", "b1", "c1", "c2")
    assert sorted(queue) == ["a1", "a2", "a3", "b1", "c1", "c2"]
    assert taken(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert len(queue) == 0


def test_who_comes_late_has_a_turn_before_what_waits_of_others() -> None:
    queue = filled("a1", "a2", "a3")
    assert queue.take() == "a1"
    queue.add("b", "b1")
    assert taken(queue) == ["a2", "b1", "a3"]


def test_what_is_put_back_is_next_in_its_order() -> None:
    queue = filled("a1", "b1")
    for item in ("b0", "c0", "a0"):
        queue.put_back(item[0], item)
    assert taken(queue) == ["a0", "c0", "b0", "a1", "b1"]


def test_what_is_dropped_does_not_wait() -> None:
    queue = filled("a1", "a2", "b1")
    queue.drop(lambda item: item in ("a1", "b1"))
    assert (len(queue), taken(queue)) == (1, ["a2"])
    queue = filled("a1")
    queue.clear()
    assert (len(queue), [*queue]) == (0, [])
