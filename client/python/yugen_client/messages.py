"""The messages of the sync protocol, both ways, as frozen values.

Arguments, results and error data stay in their encoded form here (see `values`), so that nothing is decoded that
nobody reads. `decode_server` and `encode_client` are what a client needs; the other two let a test be the server.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel

from yugen_client.absent import ABSENT
from yugen_client.errors import ProtocolError
from yugen_client.outcome import Failure, Outcome, Success
from yugen_client.values import Json

QueryId: TypeAlias = int
RequestId: TypeAlias = int


def _timestamp_from_wire(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        if info.mode == "json":
            raise ValueError("a timestamp is eight bytes in base64")
        return value
    try:
        data = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a timestamp is not base64: {error}") from None
    if len(data) != 8:
        raise ValueError(f"a timestamp has 8 bytes, not {len(data)}")
    return int.from_bytes(data, "little")


def _timestamp_to_wire(value: int) -> str:
    return base64.b64encode(value.to_bytes(8, "little")).decode("ascii")


Timestamp: TypeAlias = Annotated[
    int, BeforeValidator(_timestamp_from_wire), PlainSerializer(_timestamp_to_wire, when_used="json")
]
"""A commit timestamp. On the wire: unsigned, 8 bytes little endian, in base64. Only its order has a meaning."""

OptionalJson: TypeAlias = Annotated[Any, Field(exclude_if=lambda value: value is ABSENT)]
"""Encoded JSON, or ABSENT for a field that is not there."""


def _text(value: object) -> object:
    if not (value is ABSENT or value is None or isinstance(value, str)):
        raise ValueError("a journal is text or null")
    return value


Journal: TypeAlias = Annotated[OptionalJson, BeforeValidator(_text)]
"""What a server notes of a query's pages, which goes back to it as it came; None to forget it, ABSENT to keep it."""


class _Message(BaseModel):
    model_config = ConfigDict(
        frozen=True, strict=True, alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True
    )


# From the client


class Connect(_Message):
    """The first message of every connection."""

    type: Literal["Connect"] = "Connect"
    session_id: str
    connection_count: int
    last_close_reason: str | None
    max_observed_timestamp: Timestamp | None = Field(default=None, exclude_if=lambda value: value is None)
    client_ts: int


class Authenticate(_Message):
    """Who the session speaks for from now on."""

    type: Literal["Authenticate"] = "Authenticate"
    base_version: int
    token_type: Literal["User", "Admin", "None"] = "User"
    value: str | None = Field(default=None, exclude_if=lambda value: value is None)
    impersonating: dict[str, Any] | None = Field(default=None, exclude_if=lambda value: value is None)


class AddQuery(_Message):
    """Subscribe to a query."""

    type: Literal["Add"] = "Add"
    query_id: QueryId
    udf_path: str
    args: tuple[Json, ...]
    journal: Journal = ABSENT


class RemoveQuery(_Message):
    """End a subscription."""

    type: Literal["Remove"] = "Remove"
    query_id: QueryId


class ModifyQuerySet(_Message):
    """Move the set of subscribed queries from one version to the next."""

    type: Literal["ModifyQuerySet"] = "ModifyQuerySet"
    base_version: int
    new_version: int
    modifications: tuple[Annotated[AddQuery | RemoveQuery, Field(discriminator="type")], ...]


class Mutation(_Message):
    """Run a mutation; the server runs one request of a session once, however often it is sent."""

    type: Literal["Mutation"] = "Mutation"
    request_id: RequestId
    udf_path: str
    args: tuple[Json, ...]


class Action(_Message):
    """Run an action."""

    type: Literal["Action"] = "Action"
    request_id: RequestId
    udf_path: str
    args: tuple[Json, ...]


# From the server


class StateVersion(_Message):
    """Where a session stands: the query set and the identity it has taken in, and the time of its results."""

    query_set: int = 0
    identity: int = 0
    ts: Timestamp = 0


class QueryUpdated(_Message):
    """A query's new result. A `journal` that is absent leaves the known one."""

    type: Literal["QueryUpdated"] = "QueryUpdated"
    query_id: QueryId
    value: Json
    log_lines: tuple[str, ...] = ()
    journal: Journal = ABSENT

    @property
    def outcome(self) -> Outcome:
        return Success(self.value)


class QueryFailed(_Message):
    """A query raised instead of returning."""

    type: Literal["QueryFailed"] = "QueryFailed"
    query_id: QueryId
    error_message: str
    log_lines: tuple[str, ...] = ()
    journal: Journal = ABSENT
    error_data: OptionalJson = ABSENT

    @property
    def outcome(self) -> Outcome:
        return Failure(self.error_message, self.error_data)


class QueryRemoved(_Message):
    """The server has forgotten a query that was removed."""

    type: Literal["QueryRemoved"] = "QueryRemoved"
    query_id: QueryId


Modification: TypeAlias = Annotated[QueryUpdated | QueryFailed | QueryRemoved, Field(discriminator="type")]


class Transition(_Message):
    """Moves the session from one version to another; all results in it are valid at `end_version.ts`."""

    type: Literal["Transition"] = "Transition"
    start_version: StateVersion
    end_version: StateVersion
    modifications: tuple[Modification, ...]


class TransitionChunk(_Message):
    """One part of the text of a Transition that is too long for one message."""

    type: Literal["TransitionChunk"] = "TransitionChunk"
    chunk: str
    part_number: int
    total_parts: int
    transition_id: str


class _Response(_Message):
    request_id: RequestId
    success: bool
    result: Json
    log_lines: tuple[str, ...] = ()
    error_data: OptionalJson = ABSENT

    @model_validator(mode="after")
    def _failure_has_a_message(self) -> Self:
        if not self.success and not isinstance(self.result, str):
            raise ValueError("the result of a failed request is its message, a string")
        return self

    @property
    def outcome(self) -> Outcome:
        return Success(self.result) if self.success else Failure(self.result, self.error_data)


class MutationResponse(_Response):
    """How a mutation ended; `ts` is its commit timestamp, and None if it failed."""

    type: Literal["MutationResponse"] = "MutationResponse"
    ts: Timestamp | None = None

    @model_validator(mode="after")
    def _success_has_a_timestamp(self) -> Self:
        if self.success and self.ts is None:
            raise ValueError("a successful mutation has a commit timestamp")
        return self


class ActionResponse(_Response):
    """How an action ended."""

    type: Literal["ActionResponse"] = "ActionResponse"


class AuthError(_Message):
    """The server refuses the session's token: a new one (`auth_update_attempted`), or one that expired in use."""

    type: Literal["AuthError"] = "AuthError"
    error: str
    base_version: int | None = None
    auth_update_attempted: bool = True


class FatalError(_Message):
    """The server wants nothing more from this client."""

    type: Literal["FatalError"] = "FatalError"
    error: str


class Ping(_Message):
    """A sign of life from a server that has nothing else to say."""

    type: Literal["Ping"] = "Ping"


ClientMessage: TypeAlias = Connect | Authenticate | ModifyQuerySet | Mutation | Action
ServerMessage: TypeAlias = (
    Transition | TransitionChunk | MutationResponse | ActionResponse | AuthError | FatalError | Ping
)

_CLIENT_MESSAGE: TypeAdapter[ClientMessage] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="type")])
_SERVER_MESSAGE: TypeAdapter[ServerMessage] = TypeAdapter(Annotated[ServerMessage, Field(discriminator="type")])


def encode_client(message: ClientMessage) -> str:
    """The text of a client's message."""
    return message.model_dump_json()


def encode_server(message: ServerMessage) -> str:
    """The text of a server's message."""
    return message.model_dump_json()


def decode_client(text: str | bytes) -> ClientMessage:
    """The client's message in `text`.

    Raises:
        ProtocolError: It holds none.
    """
    try:
        return _CLIENT_MESSAGE.validate_json(text)
    except ValidationError as error:
        raise _protocol_error(error) from None


def decode_server(text: str | bytes) -> ServerMessage | None:
    """The server's message in `text`, or None if it is of a kind that this version does not know.

    Raises:
        ProtocolError: `text` is not a message.
    """
    try:
        return _SERVER_MESSAGE.validate_json(text)
    except ValidationError as error:
        if error.errors(include_input=False)[0]["type"] == "union_tag_invalid" and not error.errors()[0]["loc"]:
            return None
        raise _protocol_error(error) from None


def _protocol_error(error: ValidationError) -> ProtocolError:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"]) or "the message"
    return ProtocolError(f"not a message of the sync protocol: {place}: {first['msg']}")
