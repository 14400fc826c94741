"""What a hostile server may say to our Python client."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from reliability.fuzzing import spoil
from reliability.fuzzing.surface import TAKEN, Finding, Surface, plain
from yugen.sync import messages
from yugen_client import values
from yugen_client.errors import ClientError, ProtocolError
from yugen_client.messages import decode_server, encode_client
from yugen_client.outcome import Success
from yugen_client.session import Refused, Session, TokenRefused


def answers(given: Any) -> str:
    """Messages of a server: each is taken, or refused by a ProtocolError upon which the client begins anew."""
    session = Session("3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11")
    queries = [session.subscribe("notes:list", {}), session.subscribe("notes:pages", {"a": 1.0})]
    session.mutation("notes:add", {})
    session.action("notes:act", {})
    session.open(now_ms=0)
    outcome, heard = TAKEN, given.get("heard")
    for text in heard if isinstance(heard, list) else ():
        try:
            message = decode_server(str(text))
            for event in session.receive(message) if message is not None else ():
                if isinstance(event, Refused | TokenRefused):
                    outcome = type(event).__name__
        except ProtocolError:
            outcome = "ProtocolError"
        _read(session, queries)
        if outcome != TAKEN:
            break
    session.closed("why not")
    check_told(map(encode_client, session.open(now_ms=1)))
    return outcome


def check_told(texts: Iterable[str]) -> None:
    """Whether a server takes what a client says to it, whatever the client has heard before from another one.

    Raises:
        Finding: it does not.
    """
    for text in texts:
        try:
            messages.parse(text)
        except messages.ProtocolError as error:
            raise Finding(f"{error}, says a server to {text[:500]}") from None


def _read(session: Session, queries: list[int]) -> None:
    """Reads what the client shows, as its user would."""
    for query in queries:
        if isinstance(found := session.shown(query), Success):
            with suppress(ClientError):  # which is raised to those who read it
                values.decode(found.value)


def _version(number: int) -> dict[str, Any]:
    return {"querySet": number, "identity": 0, "ts": b64encode(number.to_bytes(8, "little")).decode()}


def _value(dice: random.Random) -> Any:
    """A result: any value, a page, or what nests deeper than a value may."""
    kind = dice.randrange(10)
    if kind < 7:
        return spoil.encoded_value(dice)
    if kind < 9:
        ends = {"splitCursor": dice.choice((None, "s")), "pageStatus": dice.choice((None, "SplitRequired"))}
        return {"page": [1.0] * dice.randrange(9), "isDone": dice.random() < 0.5, "continueCursor": "c", **ends}
    nested: Any = 1.0
    for _ in range(dice.choice((63, 64, 65, 900))):
        nested = [nested]
    return nested


def _message(dice: random.Random, at: int) -> Any:
    query = {"queryId": dice.randrange(3), "logLines": ["x"], "journal": dice.choice((None, "j"))}
    updated = {"type": "QueryUpdated", **query, "value": _value(dice)}
    failed = {"type": "QueryFailed", **query, "errorMessage": "no", "errorData": spoil.encoded_value(dice)}
    removed = {"type": "QueryRemoved", "queryId": dice.randrange(3)}
    transition = {
        "type": "Transition",
        "startVersion": _version(at),
        "endVersion": _version(at + 1),
        "modifications": [dice.choice((updated, failed, removed)) for _ in range(dice.randrange(4))],
    }
    text, cut = json.dumps(transition), dice.randrange(1, 50)
    response = {"requestId": dice.randrange(3), "success": dice.random() < 0.7, "result": "r", "logLines": []}
    return dice.choice(
        (
            *(transition, transition, transition, {"type": "Ping"}, {"type": "FatalError", "error": "x"}),
            {"type": "MutationResponse", **response, "ts": _version(at)["ts"]},
            {"type": "ActionResponse", **response},
            {"type": "AuthError", "error": "x", "baseVersion": 0, "authUpdateAttempted": dice.random() < 0.5},
            {"type": "TransitionChunk", "chunk": text[:cut], "partNumber": 0, "totalParts": 2, "transitionId": "1"},
            {"type": "TransitionChunk", "chunk": text[cut:], "partNumber": 1, "totalParts": 2, "transitionId": "1"},
            {"type": "Unknown", "x": 1},
        )
    )


def said(dice: random.Random) -> Any:
    """What a server says on one connection."""
    heard, at = list[str](), 0
    for _ in range(dice.randrange(1, 10)):
        message = _message(dice, at)
        at += message["type"] == "Transition"
        heard.append(spoil.hostile(dice, message) if dice.random() < 0.2 else json.dumps(message))
    return {"heard": heard}


SURFACES: Final[tuple[Surface, ...]] = (plain(said, answers),)
