"""WebSockets for an ASGI app under uvicorn, at the cost of little more than the writes themselves.

uvicorn hands a connection over once it has read a request for an upgrade. The handshake is the `websockets` library's,
and so are all frames but the ordinary ones (`yugen/server/frames.py`). An idle connection keeps neither its request nor
the library's state, and one timer at a time: for the next ping, for its pong, or for the client to be gone.

Differences from uvicorn's own class, other than speed: no compression, no response of the app's own instead of a
handshake (`websocket.http.response`), and reading pauses not at each message, but when more comes while one waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from uvicorn.protocols.utils import ClientDisconnected, get_local_addr, get_remote_addr, is_ssl
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import CLOSED, CLOSING, CONNECTING, OPEN, State
from websockets.server import ServerProtocol

from yugen.server.frames import FrameReader, Violation, other_frame, text_frame
from yugen.server.unread import Unread

if TYPE_CHECKING:
    from starlette.types import Message, Scope
    from uvicorn.config import Config
    from uvicorn.server import ServerState

CLOSE_SECONDS_MAX = 10.0
"""How long a client may take to read what was sent to it before the connection ended, and to answer a close."""

_UNSENT_MAX = 32
_UNSENT_SIZE_MAX = 8192
"""More frames, or a larger one, are written at once: what `send` waits for is what the transport holds."""

logger = logging.getLogger(__name__)


class WebSocketProtocol(asyncio.Protocol):
    """One connection: what uvicorn takes as `ws`.

    Sending waits only while the transport holds more than its high-water mark: with room, an app's `send` is over
    without having suspended.
    """

    __slots__ = (
        "_answering",
        "_app_state",
        "_config",
        "_ended",
        "_goodbye",
        "_handshake",
        "_has_room",
        "_incoming",
        "_loop",
        "_paused",
        "_ping",
        "_reader",
        "_receiver",
        "_server",
        "_state",
        "_timer",
        "_transport",
        "_unread",
        "_unread_bytes",
        "_unsent",
    )

    _transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        ended: Callable[[], None] | None = None,
        unread: Unread | None = None,
    ) -> None:
        self._ended = ended
        self._unread = unread or Unread()
        self._unread_bytes = 0  # of the transport's, as far as they are counted
        self._config = config
        self._server = server_state
        self._app_state = app_state
        self._loop = asyncio.get_running_loop()
        self._state: State = CONNECTING
        # The library's state and its answer, until the app has accepted.
        self._handshake: tuple[ServerProtocol, Response] | None = None
        self._reader = FrameReader(config.ws_max_size)

        # What the app has not received: text, bytes, and other events as they are. `_goodbye` comes after it, for ever.
        self._incoming: deque[str | bytes | Message] = deque()
        self._goodbye: Message | None = None
        self._receiver: asyncio.Future[None] | None = None
        self._paused = False
        # Set when the client reads again, and there only while it does not.
        self._has_room: asyncio.Event | None = None

        self._timer: asyncio.TimerHandle | None = None
        self._ping = b""
        # Who has asked for something is likely to get several messages for it, and gets those of one turn of the loop
        # in one write, for a write costs more than all before it. To who only listens, waiting would be for nothing.
        self._answering = False
        self._unsent: list[bytes] | None = None

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)  # type: ignore[arg-type]  # it knows its own classes only

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._ended is not None:
            self._ended()
        if self._timer is not None:
            self._timer.cancel()
        self._end(CloseCode.ABNORMAL_CLOSURE)
        self.resume_writing()

    def eof_received(self) -> None:
        self._end(CloseCode.ABNORMAL_CLOSURE)
        self._hang_up()

    def pause_writing(self) -> None:
        self._has_room = asyncio.Event()
        self._unread_bytes = self._unread.hold(self._transport)

    def resume_writing(self) -> None:
        self._unread.remove(self._unread_bytes)
        self._unread_bytes = 0
        if self._has_room is not None:
            self._has_room.set()
            self._has_room = None

    def data_received(self, data: bytes) -> None:
        if self._state is CONNECTING:
            self._connect(data)
            return
        if self._state is CLOSED:
            return
        if self._incoming and not self._paused and self._state is OPEN:
            self._paused = True
            self._transport.pause_reading()
        for message in self._reader.read(data):
            if isinstance(message, (str, bytes)):
                if self._state is OPEN:
                    self._incoming.append(message)
                    self._answering = True
            elif self._state is not CLOSED:
                self._control(message)
        self._wake()

    def _control(self, frame: Frame | Close | Violation) -> None:
        if isinstance(frame, Frame):
            if frame.opcode is Opcode.PING:
                if self._has_room is None:  # who asks and never reads is not to pile up answers
                    self._put(other_frame(Opcode.PONG, frame.data))
            elif self._ping and frame.data == self._ping and self._state is OPEN:
                self._ping = b""
                self._wait_to_ping()
            return
        if self._state is OPEN:
            # A close without a code is answered in kind.
            payload = b"" if frame.code == CloseCode.NO_STATUS_RCVD else Close(frame.code, frame.reason).serialize()
            self._put(other_frame(Opcode.CLOSE, payload))
        self._end(frame.code, frame.reason)
        self._hang_up()

    # Before the connection is open

    def _connect(self, data: bytes) -> None:
        if self._handshake is not None:  # a client may send nothing before it has got the answer
            self._end(CloseCode.ABNORMAL_CLOSURE)
            self._transport.abort()
            return
        handshake = ServerProtocol()
        handshake.receive_data(data)
        request = next(iter(handshake.events_received()), None)
        if not isinstance(request, Request):  # it is too long for the library, which says so
            self._transport.write(b"".join(handshake.data_to_send()))
            self._end(CloseCode.ABNORMAL_CLOSURE)
            self._hang_up()
            return
        response = handshake.accept(request)
        self._handshake = handshake, response
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._respond(response)
            self._end(CloseCode.ABNORMAL_CLOSURE)
            self._hang_up()
            return
        self._incoming.append({"type": "websocket.connect"})
        task = self._loop.create_task(self._run(self._scope(request)))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def _scope(self, request: Request) -> Scope:
        path, _, query = request.path.partition("?")
        root = self._config.root_path
        headers = request.headers
        subprotocols = headers.get_all("Sec-WebSocket-Protocol")
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self._transport) else "ws",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "root_path": root,
            "path": root + unquote(path),
            "raw_path": (root + path).encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": [
                (name.lower().encode(), value.encode("latin-1")) for name, value in request.headers.raw_items()
            ],
            "subprotocols": [name.strip() for names in subprotocols for name in names.split(",")],
            "state": self._app_state.copy(),
            "extensions": {},
        }

    def _respond(self, response: Response) -> None:
        assert self._handshake is not None
        handshake, _ = self._handshake
        handshake.send_response(response)
        self._transport.write(b"".join(handshake.data_to_send()))
        self._handshake = None

    def _accept(self, message: Message) -> None:
        assert self._handshake is not None
        _, response = self._handshake
        for name, value in message.get("headers", ()):
            response.headers[name.decode("latin-1")] = value.decode("latin-1")
        if message.get("subprotocol"):
            response.headers["Sec-WebSocket-Protocol"] = message["subprotocol"]
        self._respond(response)
        self._state = OPEN
        self._wait_to_ping()

    def _reject(self, status: HTTPStatus) -> None:
        assert self._handshake is not None
        handshake, _ = self._handshake
        self._respond(handshake.reject(status, ""))
        self._end(CloseCode.ABNORMAL_CLOSURE)
        self._hang_up()

    # The app's side

    async def _run(self, scope: Scope) -> None:
        try:
            serving = self._config.loaded_app(scope, self._receive, self._send)
            del scope  # the headers of an idle connection would be some KiB
            await serving
        except ClientDisconnected:
            pass
        except Exception:
            logger.exception("the app failed")
            if self._state is OPEN:
                self._close(CloseCode.INTERNAL_ERROR)
        finally:
            if self._state is CONNECTING:
                self._reject(HTTPStatus.INTERNAL_SERVER_ERROR)
            elif self._state is OPEN:
                self._end(CloseCode.ABNORMAL_CLOSURE)
                self._hang_up()

    async def _receive(self) -> Message:
        while not self._incoming:
            if self._goodbye is not None:
                return self._goodbye
            self._receiver = self._loop.create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        message = self._incoming.popleft()
        if self._paused and not self._incoming:
            self._resume_reading()
        if type(message) is str:
            return {"type": "websocket.receive", "text": message}
        if type(message) is bytes:
            return {"type": "websocket.receive", "bytes": message}
        return cast("Message", message)

    async def _send(self, message: Message) -> None:
        while self._has_room is not None:
            await self._has_room.wait()
        kind = message["type"]
        if self._state is OPEN:
            if kind == "websocket.send":
                text = message.get("text")
                if text is not None:
                    self._put(text_frame(text))
                else:
                    self._put(other_frame(Opcode.BINARY, message["bytes"]))
                return
            if kind == "websocket.close":
                self._close(message.get("code", CloseCode.NORMAL_CLOSURE), message.get("reason") or "")
                return
        elif self._state is CONNECTING:
            if kind == "websocket.accept":
                self._accept(message)
                return
            if kind == "websocket.close":
                self._reject(HTTPStatus.FORBIDDEN)
                return
        elif self._state is CLOSED:
            raise ClientDisconnected
        raise RuntimeError(f"{kind} cannot be sent in state {self._state.name}")

    def _put(self, frame: bytes) -> None:
        if not self._answering:
            self._transport.write(frame)
            return
        if self._unsent is None:
            self._unsent = [frame]
            self._loop.call_soon(self._flush)
        else:
            self._unsent.append(frame)
        if len(frame) > _UNSENT_SIZE_MAX or len(self._unsent) > _UNSENT_MAX:
            self._flush()

    def _flush(self) -> None:
        self._answering = False
        unsent, self._unsent = self._unsent, None
        if unsent is not None and not self._transport.is_closing():
            self._transport.writelines(unsent)

    # The end

    def shutdown(self) -> None:
        """The server leaves: says so to the client and to the app."""
        if self._state is CONNECTING and self._handshake is not None:
            self._reject(HTTPStatus.SERVICE_UNAVAILABLE)
        elif self._state is OPEN:
            self._put(other_frame(Opcode.CLOSE, Close(CloseCode.SERVICE_RESTART, "").serialize()))
            self._end(CloseCode.SERVICE_RESTART)
        self._hang_up()

    def _close(self, code: int, reason: str = "") -> None:
        """Closes from the app's side: the connection ends when the client has answered, or has had its time."""
        self._put(other_frame(Opcode.CLOSE, Close(code, reason).serialize()))
        self._end(code, reason)
        self._state = CLOSING
        self._resume_reading()
        self._in(CLOSE_SECONDS_MAX, self._transport.abort)

    def _end(self, code: int, reason: str = "") -> None:
        """Nothing more is sent, and the app hears of the end after what it has not received yet."""
        self._state = CLOSED
        if self._goodbye is None:
            self._goodbye = {"type": "websocket.disconnect", "code": int(code), "reason": reason}
        self._wake()

    def _hang_up(self) -> None:
        """Ends the connection once the client has what was sent, or has had its time for it."""
        if not self._transport.is_closing():
            self._flush()
            self._transport.close()
            self._in(CLOSE_SECONDS_MAX, self._transport.abort)

    # Waiting

    def _wake(self) -> None:
        receiver = self._receiver
        if receiver is not None and not receiver.done() and (self._incoming or self._goodbye is not None):
            receiver.set_result(None)

    def _resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def _wait_to_ping(self) -> None:
        if self._config.ws_ping_interval:
            self._in(self._config.ws_ping_interval, self._send_ping)

    def _send_ping(self) -> None:
        self._ping = os.urandom(4)
        self._put(other_frame(Opcode.PING, self._ping))
        if self._config.ws_ping_timeout:
            self._in(self._config.ws_ping_timeout, self._miss_pong)
        else:
            self._wait_to_ping()

    def _miss_pong(self) -> None:
        if self._paused:  # it may be there, and is not read because the app is behind
            self._wait_to_ping()
            return
        self._put(other_frame(Opcode.CLOSE, Close(CloseCode.INTERNAL_ERROR, "no pong").serialize()))
        self._end(CloseCode.INTERNAL_ERROR, "no pong")
        self._hang_up()

    def _in(self, seconds: float, do: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, do)
