"""The messages of the sync protocol: frozen values out of a client's JSON, and JSON out of the server's values.

Client messages (protocol, 2.3) keep function arguments as parsed JSON: they are decoded where the function runs. Server
messages (protocol, 2.4) are put together as bytes around results that are encoded already and are never parsed again.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from yugen.functions.names import component_path
from yugen.runtime.outcome import Answer, Failure, MutationAnswer
from yugen.storage.interface import Timestamp
from yugen.values import InvalidValue, parse_json

QueryId: TypeAlias = int
"""Names a subscription within one connection; the client's choice."""

RequestId: TypeAlias = int
"""Names a mutation or action within one client session; the client's choice, from one counter for both."""

U32_MAX: Final = (1 << 32) - 1

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HALF: Final = re.compile("[\ud800-\udfff]")
_CALLS: Final = ("ModifyQuerySet", "Mutation", "Action")
_SHOWN_MAX: Final = 40


class ProtocolError(Exception):
    """A client sent what no correct client sends.

    Attributes:
        code: a short name that never changes.
        sentence: what was wrong, where, and what was expected.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code, sentence)
        self.code = code
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"


# Client messages ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connect:
    """Who is calling; the first message of a connection.

    `connection_count` and `last_close_reason` are what the client says of its earlier connections, good for logs only.
    `max_observed_timestamp` is the newest timestamp it has seen on any of them, `client_ms` its own clock in
    milliseconds since the epoch; the Rust client says 0, which means that it does not tell.
    """

    session_id: str
    connection_count: int
    last_close_reason: str | None
    max_observed_timestamp: Timestamp | None
    client_ms: float | None = None


class AddQuery(NamedTuple):
    """Subscribe to a query. `args` is parsed JSON; `journal` is what an earlier run of the query asked to remember."""

    query_id: QueryId
    path: str
    args: dict[str, Any]
    journal: str | None


@dataclass(frozen=True, slots=True)
class RemoveQuery:
    """End a subscription."""

    query_id: QueryId


@dataclass(frozen=True, slots=True)
class ModifyQuerySet:
    """Changes to the set of subscriptions, one after the other, which lead from one version of it to the next."""

    base_version: int
    new_version: int
    modifications: tuple[AddQuery | RemoveQuery, ...]


class Mutation(NamedTuple):
    """Run a mutation. `args` is parsed JSON."""

    request_id: RequestId
    path: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Action:
    """Run an action. `args` is parsed JSON."""

    request_id: RequestId
    path: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class UserToken:
    """A JWT that says who the user is."""

    token: str


@dataclass(frozen=True, slots=True)
class AdminKey:
    """A key to everything; `acting_as` holds the attributes of the user the administrator wants to be, if any."""

    key: str
    acting_as: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class NoToken:
    """Nobody in particular."""


Token: TypeAlias = UserToken | AdminKey | NoToken


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Act as somebody else from here on. `base_version` is the identity version this replaces."""

    base_version: int
    token: Token


@dataclass(frozen=True, slots=True)
class Event:
    """Telemetry, which nobody here reads."""


ClientMessage: TypeAlias = Connect | ModifyQuerySet | Mutation | Action | Authenticate | Event


def parse(text: str) -> ClientMessage | None:
    """The message in a text frame, or None when it is of a type from the future, to be passed over.

    Raises:
        ProtocolError: the text is no message; the sentence names the field.
    """
    try:
        message = parse_json(text)
    except InvalidValue as error:
        message = _call_with_halves(text)
        if message is None:
            raise ProtocolError("InvalidJson", f"The message is {error}.") from None
    if not isinstance(message, dict):
        raise ProtocolError("InvalidMessage", f"A message must be an object; {_found(message)}.")
    kind = message.get("type")
    if not isinstance(kind, str):
        raise _Fields(message, "message").wrong("type", "a string")
    read = _READERS.get(kind)
    return read(_Fields(message, kind)) if read else None


def _call_with_halves(text: str) -> dict[str, Any] | None:
    """A call in whose arguments are halves of surrogate pairs, for the decoder of these to refuse; None if it is none.

    JavaScript may cut a string in the middle of a character, and its client sends that like any other. A FatalError
    would be the end of it, where only one call is wrong (protocol, trap 30).
    """
    try:
        message = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and message.get("type") in _CALLS else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


class _Missing:
    """Stands where a message lacks a field; null is something else."""


class _Fields:
    """The fields of one object in a client message. `place` is where it stands, for errors."""

    __slots__ = ("_fields", "place")

    def __init__(self, fields: dict[str, Any], place: str) -> None:
        self._fields = fields
        self.place = place

    def u32(self, name: str) -> int:
        value = self._fields.get(name, _Missing)
        if type(value) is not int or not 0 <= value <= U32_MAX:  # a bool is an int to isinstance, not to the protocol
            raise self.wrong(name, f"an integer from 0 to {U32_MAX}")
        return value

    def string(self, name: str) -> str:
        value = self._fields.get(name, _Missing)
        if not isinstance(value, str) or _has_half(value):
            raise self.wrong(name, "a string")
        return value

    def optional_string(self, name: str) -> str | None:
        value = self._fields.get(name)
        if value is not None and (not isinstance(value, str) or _has_half(value)):
            raise self.wrong(name, "a string or null")
        return value

    def uuid(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            raise self.wrong(name, "a UUID such as 3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11")
        return value

    def optional_timestamp(self, name: str) -> Timestamp | None:
        value = self._fields.get(name)
        if value is None:
            return None
        try:
            raw = a2b_base64(value, strict_mode=True) if isinstance(value, str) else b""
        except ValueError:
            raw = b""
        if len(raw) != 8:
            raise self.wrong(name, "the base64 of 8 bytes")
        return int.from_bytes(raw, "little")

    def number_or_none(self, name: str) -> float | None:
        value = self._fields.get(name)
        return value if type(value) in (int, float) else None

    def args(self) -> dict[str, Any]:
        args = self._get("args")
        if isinstance(args, list) and len(args) == 1:
            [args] = args
        if not isinstance(args, dict):
            raise self.wrong("args", "an array that holds one object")
        return args

    def optional_object(self, name: str) -> _Fields | None:
        value = self._fields.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, "an object or null")
        return _Fields(value, f"{self.place}.{name}")

    def objects(self, name: str) -> list[_Fields]:
        values = self._get(name)
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.wrong(name, "an array of objects")
        return [_Fields(value, f"{self.place}.{name}[{position}]") for position, value in enumerate(values)]

    def whole(self) -> dict[str, Any]:
        return self._fields

    def wrong(self, name: str, expected: str) -> ProtocolError:
        found = _found(self._get(name))
        return ProtocolError("InvalidMessage", f"{self.place}.{name} must be {expected}; {found}.")

    def _get(self, name: str) -> Any:
        return self._fields.get(name, _Missing)


def _has_half(text: str) -> bool:
    """Whether there is half of a surrogate pair in it."""
    return not text.isascii() and _HALF.search(text) is not None


def _found(value: object) -> str:
    """What stands where something else was expected, without repeating much of it."""
    if value is _Missing:
        return "it is missing"
    match value:
        case None:
            return "it is null"
        case bool():
            return "it is a boolean"
        case int() | float():
            return f"it is {value}"
        case str():
            shown = value if len(value) <= _SHOWN_MAX else value[:_SHOWN_MAX] + "…"
            return f"it is {shown!r}"
        case list():
            return "it is an array"
        case _:
            return "it is an object"


def _read_connect(fields: _Fields) -> Connect:
    return Connect(
        session_id=fields.uuid("sessionId"),
        connection_count=fields.u32("connectionCount"),
        last_close_reason=fields.optional_string("lastCloseReason"),
        max_observed_timestamp=fields.optional_timestamp("maxObservedTimestamp"),
        client_ms=fields.number_or_none("clientTs") or None,  # some clients send nothing there, or 0
    )


def _read_modify_query_set(fields: _Fields) -> ModifyQuerySet:
    base_version, new_version = fields.u32("baseVersion"), fields.u32("newVersion")
    if new_version <= base_version:
        raise fields.wrong("newVersion", f"greater than baseVersion {base_version}")
    modifications = tuple(_read_modification(modification) for modification in fields.objects("modifications"))
    return ModifyQuerySet(base_version, new_version, modifications)


def _read_modification(fields: _Fields) -> AddQuery | RemoveQuery:
    match fields.string("type"):
        case "Add":
            return AddQuery(fields.u32("queryId"), _read_path(fields), fields.args(), fields.optional_string("journal"))
        case "Remove":
            return RemoveQuery(fields.u32("queryId"))
    raise fields.wrong("type", '"Add" or "Remove"')


def _read_path(fields: _Fields) -> str:
    path, component = fields.string("udfPath"), fields.optional_string("componentPath")
    return component_path(component, path) if component else path


def _read_mutation(fields: _Fields) -> Mutation:
    return Mutation(fields.u32("requestId"), _read_path(fields), fields.args())


def _read_action(fields: _Fields) -> Action:
    return Action(fields.u32("requestId"), _read_path(fields), fields.args())


def _read_authenticate(fields: _Fields) -> Authenticate:
    return Authenticate(fields.u32("baseVersion"), _read_token(fields))


def _read_token(fields: _Fields) -> Token:
    match fields.string("tokenType"):
        case "User":
            return UserToken(fields.string("value"))
        case "Admin":
            # JavaScript writes the first name, Rust and Python the second.
            user = fields.optional_object("impersonating") or fields.optional_object("acting_as")
            return AdminKey(fields.string("value"), _read_user(user) if user else None)
        case "None":
            return NoToken()
    raise fields.wrong("tokenType", '"User", "Admin" or "None"')


def _read_user(fields: _Fields) -> dict[str, Any]:
    if fields.optional_string("tokenIdentifier") is None:
        fields.string("issuer")
        fields.string("subject")
    return fields.whole()


_READERS: Final[dict[str, Callable[[_Fields], ClientMessage]]] = {
    "Connect": _read_connect,
    "ModifyQuerySet": _read_modify_query_set,
    "Mutation": _read_mutation,
    "Action": _read_action,
    "Authenticate": _read_authenticate,
    "Event": lambda _: Event(),
}


# Server messages ---------------------------------------------------------------------------------------------------


class Version(NamedTuple):
    """What a client has seen: its query set and its identity up to these versions, and the database at `ts`."""

    query_set: int
    identity: int
    ts: Timestamp


PING: Final = b'{"type":"Ping"}'


class Clocks(NamedTuple):
    """What a Transition says of time, by which clients tell a slow network from a clock that is wrong.

    `skew_ms` is how far the client's clock was ahead when it connected, `server_ns` the server's clock now. Both or
    neither: JavaScript takes null for a number and warns of a network that is not slow (protocol, trap 10).
    """

    skew_ms: int
    server_ns: int


def transition(start: Version, end: Version, modifications: Iterable[bytes], clocks: Clocks | None = None) -> bytes:
    """Moves the client from one version to another; `query_result` and `query_removed` make the modifications."""
    return transition_start(start, end, modifications) + transition_tail(clocks)


def transition_start(start: Version, end: Version, modifications: Iterable[bytes]) -> bytes:
    """What a Transition says to all clients that it moves from the one version to the other."""
    return b'{"type":"Transition","startVersion":%b,"endVersion":%b,"modifications":[%b]' % (
        _version(start),
        _version(end),
        b",".join(modifications),
    )


def transition_tail(clocks: Clocks | None) -> bytes:
    """What it says to one of them."""
    return b',"clientClockSkew":%d,"serverTs":%d}' % clocks if clocks else b"}"


def transition_pieces(
    start: Version, end: Version, modifications: Iterable[Sequence[bytes]], clocks: Clocks | None = None
) -> list[bytes]:
    """The text of a Transition in pieces, without a copy of what queries give. Modifications are in pieces, too."""
    pieces = [transition_start(start, end, ())[:-1]]
    for modification in modifications:
        if len(pieces) > 1:
            pieces.append(b",")
        pieces += modification
    pieces.append(b"]" + transition_tail(clocks))
    return pieces


class LateMessage:
    """A message that is made when it is sent.

    To make all that is due at once would take long where it is much, and the client may read the first and no other.

    Args:
        size: about how many bytes it has.
        make: makes it.
    """

    __slots__ = ("_make", "_size")

    def __init__(self, size: int, make: Callable[[], bytes]) -> None:
        self._size = size
        self._make = make

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return self._make()


Message: TypeAlias = bytes | LateMessage
"""What is sent to a client: `bytes` of it are the message, and its length is about how long that is."""


def transition_whole(pieces: Sequence[bytes]) -> LateMessage:
    """One Transition, whose text is given in pieces, as one message."""
    return LateMessage(sum(map(len, pieces)), partial(b"".join, pieces))


def transition_chunks(pieces: Iterable[bytes], transition_id: int, *, size: int) -> list[LateMessage]:
    """One Transition as messages that each hold at most `size` bytes of its text, which is given in pieces.

    The client puts them together; nothing but a Ping may come between them.
    """
    parts: list[list[memoryview]] = [[]]
    room = size
    for piece in pieces:
        view, start = memoryview(piece), 0
        while start < len(piece):
            end = min(start + room, len(piece))
            while end < len(piece) and piece[end] & 0xC0 == 0x80:  # inside of a character
                end -= 1
            if end > start:
                parts[-1].append(view[start:end])
                room -= end - start
                start = end
            if start < len(piece):
                parts.append([])
                room = size
    return [
        LateMessage(sum(map(len, part)), partial(_transition_chunk, part, number, len(parts), transition_id))
        for number, part in enumerate(parts)
    ]


def _transition_chunk(text: Sequence[memoryview], number: int, count: int, transition_id: int) -> bytes:
    return b'{"type":"TransitionChunk","chunk":%b,"partNumber":%d,"totalParts":%d,"transitionId":"%d"}' % (
        orjson.dumps(b"".join(text).decode()),
        number,
        count,
        transition_id,
    )


def query_result(query_id: QueryId, answer: Answer) -> bytes:
    """A modification: the query now gives this value, or this failure."""
    return b"".join(query_result_pieces(query_id, answer))


def query_result_pieces(query_id: QueryId, answer: Answer) -> tuple[bytes, ...]:
    """As `query_result`, without a copy of the value."""
    failure = answer.failure
    journal = b"null" if answer.journal is None else _string(answer.journal)
    if failure is None:
        assert answer.value is not None
        return (
            b'{"type":"QueryUpdated","queryId":%d,"value":' % query_id,
            answer.value,
            b',"logLines":%b,"journal":%b}' % (_strings(answer.log_lines), journal),
        )
    return (
        b'{"type":"QueryFailed","queryId":%d,"errorMessage":%b,"logLines":%b,"journal":%b%b}'
        % (
            query_id,
            _string(failure.message),
            _strings(answer.log_lines),
            journal,
            _error_data(failure),
        ),
    )


def query_removed(query_id: QueryId) -> bytes:
    """A modification: the query is gone."""
    return b'{"type":"QueryRemoved","queryId":%d}' % query_id


def mutation_response(request_id: RequestId, mutation: MutationAnswer) -> bytes:
    """The answer to a mutation. Without a later Transition up to its `ts` clients take no notice of it."""
    assert (mutation.ts is None) == (mutation.answer.failure is not None)
    return b'{"type":"MutationResponse","requestId":%d,%b,"ts":%b}' % (
        request_id,
        _response(mutation.answer),
        b"null" if mutation.ts is None else _timestamp(mutation.ts),
    )


def action_response(request_id: RequestId, answer: Answer) -> bytes:
    """The answer to an action."""
    return b'{"type":"ActionResponse","requestId":%d,%b}' % (request_id, _response(answer))


def auth_error(error: str, *, base_version: int, attempted: bool) -> bytes:
    """The client's token is bad; `base_version` is the identity of the last Transition sent.

    `attempted` tells that it is the token of the last Authenticate, and not one that was good until now. Without it, or
    with another `base_version`, clients send the same token again for ever (protocol, trap 21).
    """
    return b'{"type":"AuthError","error":%b,"baseVersion":%d,"authUpdateAttempted":%b}' % (
        _string(error),
        base_version,
        b"true" if attempted else b"false",
    )


def fatal_error(error: str) -> bytes:
    """The client broke the protocol. The JavaScript client stops for good, so this is for nothing else."""
    return b'{"type":"FatalError","error":%b}' % _string(error)


def _response(answer: Answer) -> bytes:
    """The fields that the answers to mutations and to actions share."""
    failure = answer.failure
    if failure is None:
        assert answer.value is not None
        return b'"success":true,"result":%b,"logLines":%b' % (answer.value, _strings(answer.log_lines))
    return b'"success":false,"result":%b,"logLines":%b%b' % (
        _string(failure.message),
        _strings(answer.log_lines),
        _error_data(failure),
    )


def _error_data(failure: Failure) -> bytes:
    # Clients take data that is null for data: only its absence says that the app raised no error of its own.
    return b"" if failure.data is None else b',"errorData":%b' % failure.data


def _version(version: Version) -> bytes:
    return b'{"querySet":%d,"identity":%d,"ts":%b}' % (version.query_set, version.identity, _timestamp(version.ts))


@lru_cache(maxsize=256)  # a commit is told of by many messages, and once more by those that follow on it
def _timestamp(ts: Timestamp) -> bytes:
    return b'"%b"' % b2a_base64(ts.to_bytes(8, "little"), newline=False)


def _strings(texts: Sequence[str]) -> bytes:
    return b"[%b]" % b",".join(map(_string, texts)) if texts else b"[]"


def _string(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        # Half of a surrogate pair, perhaps from a print or an error message, would end the connection if it went out.
        return orjson.dumps(text.encode("utf-8", "replace").decode())
