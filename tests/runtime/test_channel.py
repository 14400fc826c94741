from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.catalog import IndexSpec, TableSpec
from yugen.identity import Identity
from yugen.runtime.channel import (
    BlockingChannel,
    Unpacker,
    answer_from_data,
    answer_to_data,
    outcome_from_data,
    outcome_to_data,
    pack,
    run_from_data,
    run_to_data,
    table_from_data,
    table_to_data,
)
from yugen.runtime.outcome import Answer, Failure, Outcome
from yugen.runtime.run import Run
from yugen.storage.interface import Change

messages = st.lists(
    st.tuples(st.sampled_from(["run", "skip"]), st.integers(0, 2**70), st.none() | st.binary(max_size=300)), max_size=5
)


@given(messages, st.data())
def test_messages_arrive_whole_and_in_order_however_their_bytes_are_cut(
    sent: list[tuple[object, ...]], data: st.DataObject
) -> None:
    stream = b"".join(map(pack, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    unpacker = Unpacker()
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [message for piece in pieces for message in unpacker.feed(piece)] == sent


Ends = tuple[BlockingChannel, BlockingChannel]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield BlockingChannel(ours), BlockingChannel(theirs)


def test_receive_gives_what_was_sent_and_nothing_when_the_other_end_is_gone(ends: Ends) -> None:
    ours, theirs = ends
    assert theirs.receive_ready() == []
    ours.send(("a", 1))
    ours.send(("b", b"\x00" * 10_000))
    ours.socket.close()
    received: list[object] = []
    while messages := theirs.receive():
        received += messages
    assert received == [("a", 1), ("b", b"\x00" * 10_000)]


def test_it_is_known_whether_something_has_come(ends: Ends) -> None:
    ours, theirs = ends
    assert not theirs.has_come(0.0)
    ours.send(("a",))
    assert theirs.has_come(60.0)
    assert theirs.receive() == [("a",)]
    assert not theirs.has_come(0.01)
    ours.socket.close()
    assert theirs.has_come(60.0)


def test_an_open_file_arrives_with_its_message(ends: Ends) -> None:
    ours, theirs = ends
    assert theirs.receive_file_ready() is None
    reading, writing = os.pipe()
    ours.send(("here",), (writing,))
    ours.send(("nothing",))
    message, file = theirs.receive_file_ready() or pytest.fail("no message")
    assert message == ("here",)
    assert file is not None
    os.write(file, b"x")
    assert os.read(reading, 1) == b"x"
    assert theirs.receive_file_ready() == (("nothing",), None)
    for each in (reading, writing, file):
        os.close(each)
    ours.socket.close()
    with pytest.raises(EOFError):
        theirs.receive_file_ready()


def test_a_message_that_has_not_wholly_arrived_is_waited_for(ends: Ends) -> None:
    ours, theirs = ends
    frame = pack(("loaded", "x" * 100))
    ours.socket.send(frame[:50])
    assert theirs.receive_file_ready() is None
    ours.socket.send(frame[50:])
    assert theirs.receive_file_ready() == (("loaded", "x" * 100), None)


IDENTITY = Identity("i|s", "s", "i")
ANSWERS = [
    Answer(b"null"),
    Answer(b"[1.0]", log_lines=("[LOG] 'a'",)),
    Answer(failure=Failure("no")),
    Answer(failure=Failure("no", b"null", "ValueError: no")),
]


@pytest.mark.parametrize("identity", [None, IDENTITY])
def test_a_run_crosses_as_it_is(identity: Identity | None) -> None:
    run = Run("query", "a:b", b"{}", False, 2**62, 1.5, b"seed", "0" * 16, identity, journal="j", long=True)
    [crossed] = Unpacker().feed(pack(run_to_data(run)))
    assert run_from_data(crossed) == run


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_and_an_outcome_cross_as_they_are(answer: Answer) -> None:
    changes = (Change(b"k", None, b"{}", (), (b"e",)), Change(b"l", b"{}", None, (b"e", b"f"), ()))
    for outcome in (Outcome(answer), Outcome(answer, ((b"a", b"b"), (b"c", b"d")), changes, reads_identity=True)):
        [first, second] = Unpacker().feed(pack(answer_to_data(answer)) + pack(outcome_to_data(outcome)))
        assert answer_from_data(first) == answer
        assert outcome_from_data(second) == outcome


def test_a_table_crosses_as_it_is() -> None:
    index = IndexSpec("by_a", 2, ("a", "b.c"), unique=True, since=None)
    for table in (TableSpec("t", 10_001), TableSpec("t", 10_001, (index,))):
        [crossed] = Unpacker().feed(pack(table_to_data(table)))
        assert table_from_data(crossed) == table
