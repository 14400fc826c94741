from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from yugen.server.frames import FrameReader, Violation, other_frame, text_frame

SIZE_MAX = 70_000

TEXT, BINARY, CONT, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
FIN, RSV1 = 0x80, 0x40


def sent(head: int, payload: bytes = b"", *, mask: bytes = b"\x0f\xf0\x55\x01", claim: int | None = None) -> bytes:
    """A frame as a client sends it; without a mask if that is empty, and of another length than it says by `claim`."""
    size = len(payload) if claim is None else claim
    masked = 0x80 if mask else 0
    if size < 126:
        header = struct.pack("!BB", head, masked | size)
    elif size < 65536:
        header = struct.pack("!BBH", head, masked | 126, size)
    else:
        header = struct.pack("!BBQ", head, masked | 127, size)
    body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload)) if mask else payload
    return header + mask + body


def read(*pieces: bytes) -> list[Any]:
    """What becomes of the pieces of a stream."""
    reader = FrameReader(SIZE_MAX)
    return [message for piece in pieces for message in reader.read(piece)]


def parted(stream: bytes, places: list[int]) -> list[bytes]:
    cuts = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:stop] for start, stop in itertools.pairwise(cuts)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, SIZE_MAX])
def test_messages_of_every_length(size: int) -> None:
    text = "x" * size
    data = sent(FIN | TEXT, text.encode())
    assert read(data) == [text]
    assert read(data + data, data) == [text] * 3
    assert read(data[:1], data[1:7], data[7:]) == [text]
    frame = text_frame(text)
    assert frame == Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


def test_a_text_is_made_a_frame_once() -> None:
    text = "".join(["é"] * 100)
    frame = text_frame(text)
    assert text_frame(text) is frame
    text_frame("another")
    assert text_frame(text) == frame


def test_what_is_not_ordinary() -> None:
    assert read(sent(FIN | BINARY, b"\x00\xff")) == [b"\x00\xff"]
    assert read(sent(TEXT, b"\xc3"), sent(FIN | PING, b"?"), sent(CONT), sent(FIN | CONT, b"\xa9")) == [
        Frame(Opcode.PING, b"?"),
        "é",
    ]
    assert read(sent(FIN | PONG, b"!"), sent(FIN | TEXT, b"a")) == [Frame(Opcode.PONG, b"!"), "a"]
    assert read(sent(FIN | CLOSE) + sent(FIN | TEXT, b"after")) == [Close(1005, "")]
    assert read(sent(FIN | CLOSE)) == [Close(1005, "")]
    assert read(sent(FIN | CLOSE, b"\x03\xe9bye")) == [Close(1001, "bye")]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (sent(FIN | TEXT, b"a", mask=b""), 1002),
        (sent(FIN | RSV1 | TEXT, b"a"), 1002),
        (sent(FIN | 0x3), 1002),
        (sent(FIN | CONT, b"a"), 1002),
        (sent(TEXT, b"a") + sent(FIN | TEXT, b"b"), 1002),
        (sent(TEXT, b"a") + sent(FIN | BINARY, b"b"), 1002),
        (sent(PING), 1002),
        (sent(FIN | PING, b"x" * 126), 1002),
        (sent(TEXT, b"a") + sent(FIN | CLOSE), 1002),
        (sent(FIN | CLOSE, b"\x03"), 1002),
        (sent(FIN | CLOSE, b"\x03\xed"), 1002),
        (sent(FIN | CLOSE, b"\x03\xe9\xff"), 1007),
        (sent(FIN | TEXT, b"\xff"), 1007),
        (sent(TEXT, b"\xc3") + sent(FIN | CONT, b"\x28"), 1007),
        (sent(FIN | TEXT, b"x" * (SIZE_MAX + 1)), 1009),
        (sent(FIN | TEXT, claim=SIZE_MAX + 1), 1009),
        (sent(FIN | TEXT, claim=2**64 - 1), 1009),
        (sent(TEXT, b"x" * SIZE_MAX) + sent(CONT, b"x"), 1009),
    ],
)
def test_what_is_wrong_comes_after_what_was_right(bad: bytes, code: int) -> None:
    before, violation = read(sent(FIN | TEXT, b"before") + bad)
    assert before == "before"
    assert isinstance(violation, Violation)
    assert violation.code == code


def test_a_small_limit_holds_for_ordinary_frames() -> None:
    [violation] = FrameReader(10).read(sent(FIN | TEXT, b"x" * 11))
    assert isinstance(violation, Violation)
    assert violation.code == 1009


def test_empty_fragments_take_no_room() -> None:
    reader = FrameReader(SIZE_MAX)
    assert reader.read(sent(TEXT) + sent(CONT) * 1000) == []
    assert reader._message == bytearray()
    assert reader.read(sent(FIN | CONT, b"end")) == ["end"]


def test_a_frame_in_parts_leaves_nothing_behind() -> None:
    reader = FrameReader(SIZE_MAX)
    data = sent(FIN | TEXT, b"a" * 300)
    assert reader.read(data[:200]) == []
    assert reader.read(data[200:]) == ["a" * 300]
    assert reader._stream is None
    assert reader._parser is None


frames = st.builds(
    sent,
    st.sampled_from(
        [FIN | TEXT] * 6 + [TEXT, CONT, FIN | CONT, FIN | BINARY, FIN | PING, FIN | PONG, FIN | CLOSE, 0x83]
    ),
    st.one_of(
        st.text(max_size=20).map(str.encode),
        st.binary(max_size=4),
        st.sampled_from([b"x" * 125, b"x" * 126, b"x" * 400, b"\x03\xe8", b"\x03\xe8ok"]),
    ),
    mask=st.sampled_from([b"\0\0\0\0", b"\x01\x02\x03\x04", b"\xff\x00\xff\x00"]),
)


def by_the_library(stream: bytes) -> tuple[list[Any], int | None]:
    """Messages and closes, and the code the library ends the connection with because of the stream."""
    protocol = ServerProtocol(state=OPEN, max_size=SIZE_MAX)
    protocol.receive_data(stream)
    found: list[Any] = []
    parts: list[bytes] = []
    opcode = Opcode.TEXT
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            opcode = frame.opcode
        if frame.opcode is Opcode.CLOSE:
            found.append(Close.parse(frame.data))
        elif frame.opcode in (Opcode.PING, Opcode.PONG):
            found.append(frame)
        else:
            parts.append(bytes(frame.data))
            if frame.fin:
                whole = b"".join(parts)
                parts.clear()
                if opcode is Opcode.BINARY:
                    found.append(whole)
                else:
                    try:
                        found.append(whole.decode())
                    except UnicodeDecodeError:
                        return found, 1007
    if protocol.parser_exc is not None:
        assert protocol.close_sent is not None
        return found, protocol.close_sent.code
    return found, None


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 5000), max_size=6))
def test_a_stream_means_what_it_means_to_the_library(parts: list[bytes], places: list[int]) -> None:
    stream = b"".join(parts)
    found: list[Any] = []
    reader = FrameReader(SIZE_MAX)
    for piece in parted(stream, places):
        found += reader.read(piece)
        if found and isinstance(found[-1], Close | Violation):
            break
    code = found.pop().code if found and isinstance(found[-1], Violation) else None
    expected, expected_code = by_the_library(stream)
    assert found == expected
    assert code == expected_code


def test_other_frames() -> None:
    assert other_frame(Opcode.PING, b"1234") == b"\x89\x041234"
    assert other_frame(Opcode.CLOSE) == b"\x88\x00"
