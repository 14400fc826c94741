from __future__ import annotations

from yugen.server.sessions import Sessions


class Line:
    def __init__(self) -> None:
        self.hung_up = False

    def hang_up(self) -> None:
        self.hung_up = True


def test_only_the_newest_connection_of_a_client_stays() -> None:
    sessions = Sessions()
    first, second, stale, other = Line(), Line(), Line(), Line()
    sessions.enter("a", 1, first)
    sessions.enter("b", 0, other)
    sessions.enter("a", 2, second)
    sessions.enter("a", 0, stale)
    assert [line.hung_up for line in (first, second, stale, other)] == [True, False, True, False]
    sessions.leave("a", first)
    sessions.leave("a", stale)
    assert len(sessions) == 2
    sessions.leave("a", second)
    sessions.leave("b", other)
    assert len(sessions) == 0


def test_clients_that_do_not_count_their_connections_keep_them_all() -> None:
    sessions = Sessions()
    lines = [Line(), Line()]
    for line in lines:
        sessions.enter("a", 0, line)
    assert not any(line.hung_up for line in lines)
    for line in lines:
        sessions.leave("a", line)
    assert len(sessions) == 0
