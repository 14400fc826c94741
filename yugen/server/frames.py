"""WebSocket frames: ordinary ones by hand, which is quick, and all others by the `websockets` library.

Ordinary is one whole text message that has arrived in one piece. That is nearly everything clients send, and the
library, which has to be ready for the rest, takes nine times as long over it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.streams import StreamReader
from websockets.typing import BytesLike

try:
    from websockets.speedups import apply_mask
except ImportError:  # not built on every platform
    from websockets.utils import apply_mask

_WHOLE_TEXT = 0x81
_MASKED = 0x80

_last: tuple[str, bytes] = ("", b"\x81\x00")


def text_frame(text: str) -> bytes:
    """A text message for a client.

    One text that goes to many clients in a row is encoded once, and they share the bytes of the frame.
    """
    global _last  # noqa: PLW0603 -- one for all connections
    known, frame = _last
    if text is known:
        return frame
    payload = text.encode()
    size = len(payload)
    if size < 126:
        frame = bytes((_WHOLE_TEXT, size)) + payload
    elif size < 65536:
        frame = b"\x81\x7e" + size.to_bytes(2, "big") + payload
    else:
        frame = b"\x81\x7f" + size.to_bytes(8, "big") + payload
    _last = text, frame
    return frame


def other_frame(opcode: Opcode, payload: BytesLike = b"") -> bytes:
    """Anything else for a client."""
    return Frame(opcode, payload).serialize(mask=False)


@dataclass(frozen=True, slots=True)
class Violation:
    """What ends a connection: the code to close it with, and what was wrong."""

    code: CloseCode
    reason: str


Incoming = str | bytes | Frame | Close | Violation
"""A message, a ping or pong, the client's close, or the fault after which nothing more is read."""


class FrameReader:
    """Makes messages of what one client sends.

    Args:
        size_max: bytes of a message.
    """

    __slots__ = ("_message", "_opcode", "_parser", "_size_max", "_stream")

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        # What came so far of a message in fragments, and whether that is text.
        self._message: bytearray | None = None
        self._opcode = Opcode.TEXT
        # What came so far of a frame, and the library's parser that waits for the rest.
        self._stream: StreamReader | None = None
        self._parser: Generator[None, None, Frame] | None = None

    def read(self, data: bytes) -> list[Incoming]:
        """All that has become complete with these bytes, in order. A close or a violation is the last there is."""
        found: list[Incoming] = []
        try:
            self._read(data, found)
        except ProtocolError as error:
            found.append(Violation(CloseCode.PROTOCOL_ERROR, str(error)))
        except UnicodeDecodeError as error:
            found.append(Violation(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}"))
        except PayloadTooBig as error:
            found.append(Violation(CloseCode.MESSAGE_TOO_BIG, str(error)))
        return found

    def _read(self, data: bytes, found: list[Incoming]) -> None:
        place, end = 0, len(data)
        if self._stream is None and self._message is None:
            while end - place >= 6 and data[place] == _WHOLE_TEXT and (size := data[place + 1] - _MASKED) >= 0:
                start = place + 6
                if size == 126:
                    size = data[place + 2] << 8 | data[place + 3]
                    start += 2
                stop = start + size
                if stop > end or size == 127 or size > self._size_max:
                    break
                found.append(apply_mask(data[start:stop], data[start - 4 : start]).decode())
                place = stop
        if place < end:
            if self._stream is None:
                self._stream = StreamReader()
            self._stream.feed_data(data[place:] if place else data)
            self._parse(self._stream, found)

    def _parse(self, stream: StreamReader, found: list[Incoming]) -> None:
        """Reads frames until the stream is empty, or ends within one."""
        while self._parser is not None or stream.buffer:
            if self._parser is None:
                room = self._size_max - len(self._message or b"")
                self._parser = Frame.parse(stream.read_exact, mask=True, max_size=room)
            try:
                next(self._parser)
            except StopIteration as end:
                self._parser = None
                self._take(end.value, found)
                if end.value.opcode is Opcode.CLOSE:
                    return
            else:
                return
        self._stream = None

    def _take(self, frame: Frame, found: list[Incoming]) -> None:
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            found.append(frame)
            return
        if frame.opcode is Opcode.CLOSE:
            close = Close.parse(frame.data)
            if self._message is not None:
                raise ProtocolError("incomplete fragmented message")
            found.append(close)
            return
        if frame.opcode is Opcode.CONT:
            if self._message is None:
                raise ProtocolError("unexpected continuation frame")
        elif self._message is not None:
            raise ProtocolError("expected a continuation frame")
        else:
            self._opcode = frame.opcode
            self._message = bytearray()
        self._message += frame.data
        if frame.fin:
            message, self._message = self._message, None
            found.append(message.decode() if self._opcode is Opcode.TEXT else bytes(message))
