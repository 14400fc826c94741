from __future__ import annotations

import pytest

from reliability.fuzzing.sockets import converse_judged, read, run
from reliability.fuzzing.surface import Finding
from reliability.fuzzing.world import SECRET, Reply


async def test_hostile_input_over_sockets_harms_nobody() -> None:
    outcome = await run(15, seed=1)

    assert outcome.failures == []
    assert {name: counts.total() for name, counts in outcome.counts.items()} == {"http": 5, "raw": 5, "socket": 5}
    assert "0 wrong" in outcome.canary
    assert outcome.memory[0] > 1


def frame(opcode: int, payload: bytes) -> bytes:
    return bytes((0x80 | opcode, len(payload))) + payload


def test_how_a_socket_is_closed_is_judged() -> None:
    fatal = frame(1, b'{"type":"FatalError","error":"x"}')
    assert converse_judged(b"") == "taken"
    assert converse_judged(fatal + frame(8, b"\x03\xf0Bad")) == "1008 Bad"
    for wrong in (frame(8, b"\x03\xf3"), fatal + frame(8, b"\x03\xe8"), frame(1, SECRET.encode())):
        with pytest.raises(Finding):
            converse_judged(wrong)


def test_responses_are_read_one_after_the_other() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    reply = Reply(raw=head + b"{}" + b"HTTP/1.1 404 Not Found\r\nX: y\r\n\r\nno")
    read(reply)
    assert (reply.statuses, reply.bodies, reply.heads[1]) == ([200, 404], [b"{}", b"no"], {"x": "y"})
