"""How a server and its worker processes talk: frames of plain data over a stream socket.

A frame is a length in 4 bytes, little endian, and a tuple in Python's own marshal form; both ends are of one
interpreter. What crosses is named here and nowhere else.
"""

from __future__ import annotations

import marshal
import select
import socket
import sys
from typing import Any, Final, cast

from yugen.catalog import IndexSpec, TableSpec
from yugen.guards import Guard
from yugen.identity import Identity
from yugen.runtime.exchange import Head
from yugen.runtime.line import Place
from yugen.runtime.outcome import Answer, Failure, Outcome, Used
from yugen.runtime.run import Run
from yugen.storage.interface import Change

Message = tuple[Any, ...]
"""A tuple whose first element says what it is."""

_LENGTH_SIZE: Final = 4
_CHUNK: Final = 256 * 1024
_FILE_SIZE: Final = 4  # of a file descriptor, a C int


def pack(message: Message) -> bytes:
    """A message as one frame."""
    body = marshal.dumps(message)
    return len(body).to_bytes(_LENGTH_SIZE, "little") + body


class Unpacker:
    """Makes messages of a stream of bytes that arrive in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete with these bytes."""
        self._buffer += data
        messages: list[Message] = []
        place = 0
        while len(self._buffer) - place >= _LENGTH_SIZE:
            start = place + _LENGTH_SIZE
            end = start + int.from_bytes(self._buffer[place:start], "little")
            if len(self._buffer) < end:
                break
            messages.append(marshal.loads(memoryview(self._buffer)[start:end]))
            place = end
        del self._buffer[:place]
        return messages


class BlockingChannel:
    """One end of a channel, for code that has nothing else to do than to wait for it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._unpacker = Unpacker()
        self._files: list[int] = []

    def send(self, message: Message, files: tuple[int, ...] = ()) -> None:
        """Sends a message, and open files with it."""
        frame = pack(message)
        sent = socket.send_fds(self.socket, [frame], files) if files else 0
        self.socket.sendall(frame[sent:])

    def receive(self) -> list[Message]:
        """The next messages, at least one; none when the other end is gone."""
        messages: list[Message] = []
        while not messages:
            data = self.socket.recv(_CHUNK)
            if not data:
                return []
            messages = self._unpacker.feed(data)
        return messages

    def has_come(self, seconds: float) -> bool:
        """Whether there is something to receive, or comes in that time; also that the other end is gone."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def receive_ready(self) -> list[Message]:
        """The messages that are here already."""
        try:
            data = self.socket.recv(_CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        return self._unpacker.feed(data)

    def receive_file_ready(self) -> tuple[Message, int | None] | None:
        """The next message and the open file that came with it, or None while it is not wholly here.

        For channels on which one message is answered by one.

        Raises:
            EOFError: the other end is gone.
        """
        try:
            # Not socket.recv_fds, which takes flags and forgets them in Python 3.11.
            data, ancillary, _, _ = self.socket.recvmsg(_CHUNK, socket.CMSG_LEN(_FILE_SIZE), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        if not data:
            raise EOFError("the other end of the channel is gone")
        for _, kind, content in ancillary:
            if kind == socket.SCM_RIGHTS:
                self._files.append(int.from_bytes(content, sys.byteorder))
        messages = self._unpacker.feed(data)
        if not messages:
            return None
        return messages[0], self._files.pop() if self._files else None


def run_to_data(run: Run) -> Message:
    """A run as plain data."""
    who = run.identity
    identity = (who.token_identifier, who.subject, who.issuer, who.claims_json) if who else None
    return (
        run.kind,
        run.path,
        run.args,
        run.public,
        run.ts,
        run.now,
        run.seed,
        run.request_id,
        identity,
        run.journal,
        run.long,
        run.job,
        None if run.request is None else run.request.to_data(),
        run.key,
    )


def run_from_data(data: Message) -> Run:
    """The run that `run_to_data` was given."""
    kind, path, args, public, ts, now, seed, request_id, identity, journal, long, job, request, key = data
    who = Identity(*identity) if identity else None
    head = Head.from_data(request) if request else None
    return Run(kind, path, args, public, ts, now, seed, request_id, who, journal, long, job, head, key)


def answer_to_data(answer: Answer) -> Message:
    """An answer as plain data."""
    failure = None if answer.failure is None else tuple(answer.failure)
    return (answer.value, failure, answer.log_lines, answer.journal)


def answer_from_data(data: Message) -> Answer:
    """The answer that `answer_to_data` was given."""
    value, failure, log_lines, journal = data
    return Answer(value, Failure(*failure) if failure else None, log_lines, journal)


def outcome_to_data(outcome: Outcome) -> Message:
    """An outcome as plain data."""
    changes = tuple(map(tuple, outcome.changes))
    guarded = tuple((interval, guard.keep, guard.fields, guard.places) for interval, guard in outcome.guarded)
    return (
        answer_to_data(outcome.answer),
        outcome.reads,
        changes,
        outcome.reads_identity,
        guarded,
        tuple(outcome.used),
    )


def outcome_from_data(data: Message, place: Place | None = None) -> Outcome:
    """The outcome that `outcome_to_data` was given, of a run in this place."""
    answer, reads, changes, reads_identity, guarded, used = data
    return Outcome(
        answer_from_data(answer),
        reads,
        tuple(map(Change._make, changes)),
        reads_identity,
        tuple((interval, Guard(keep, fields, places)) for interval, keep, fields, places in guarded),
        Used(*used),
        place,
    )


def table_to_data(table: TableSpec) -> Message:
    """A table as plain data."""
    indexes = tuple(
        (index.name, index.slot, index.fields, index.unique, index.since, index.going, index.total)
        for index in table.indexes
    )
    return (table.name, table.number, indexes)


def table_from_data(data: Message) -> TableSpec:
    """The table that `table_to_data` was given."""
    name, number, indexes = data
    return TableSpec(cast("str", name), number, tuple(IndexSpec(*index) for index in indexes))
