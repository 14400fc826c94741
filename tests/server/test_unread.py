from __future__ import annotations

from yugen.server.unread import Unread


def test_one_may_leave_as_much_as_is_left_for_the_others() -> None:
    unread = Unread(100)
    assert not unread.add(51)
    assert unread.add(50)
    assert not unread.add(26)
    assert unread.add(25)
    assert unread.add(12)
    assert (unread.bytes, unread.refused) == (87, 2)
    unread.remove(50)
    assert unread.add(31)


def test_who_leaves_little_finds_room_where_others_have_taken_all_they_can() -> None:
    unread = Unread(1 << 20)
    hoarders = [0] * 100
    for _ in range(1000):
        for place, held in enumerate(hoarders):
            if unread.add(held + 1024):  # each as much as it gets, and more each time
                unread.remove(held)
                hoarders[place] = held + 1024
    assert unread.bytes == sum(hoarders)
    assert all(unread.add(1024) for _ in range(4))
