"""The sync protocol as a client may speak it: frames, and whole conversations with a session."""

from __future__ import annotations

import json
import random
from base64 import b64decode, b64encode
from typing import Any, Final

from websockets.frames import Close

from reliability.fuzzing import spoil
from reliability.fuzzing.surface import TAKEN, Finding, Surface, plain
from yugen.runtime.outcome import Answer, Failure, MutationAnswer
from yugen.server.frames import FrameReader, Incoming, Violation
from yugen.sync.session import CheckToken, RunAction, RunMutation, ServerSession

_SESSION: Final = "3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11"
_CLOSES: Final = {1000, 1003, 1008, 1013}
_VALUE: Final = Answer(b"1")
_FAILED: Final = Answer(failure=Failure("[Request ID: x] Server Error"))


class _Peer:
    """The owner of a session, that does its work at once, and who holds what it says against the protocol.

    Args:
        answers: decides for each piece of work, one after the other, whether it succeeds.
    """

    def __init__(self, answers: str) -> None:
        self.session = ServerSession(now=0.0)
        self._answers = iter(answers or "y")
        self._ts = 0
        self._asked: list[tuple[str, int]] = []
        self._version: Any = None
        self.fatal: list[str] = []
        self.rejected = False
        self.sent: list[Any] = []

    def turn(self) -> None:
        """Does what there is to do, and hears what is said."""
        while work := self.session.take_work():
            for each in work:
                good = next(self._answers, "y") == "y"
                match each:
                    case RunMutation():
                        self._ts += 1
                        self._asked.append(("MutationResponse", each.request_id))
                        mutation = MutationAnswer(_VALUE, self._ts) if good else MutationAnswer(_FAILED, None)
                        self.session.mutation_finished(each.request_id, mutation)
                    case RunAction():
                        self._asked.append(("ActionResponse", each.request_id))
                        self.session.action_finished(each.request_id, _VALUE if good else _FAILED)
                    case CheckToken() if good:
                        self.session.token_accepted(each.token)
                    case CheckToken():
                        self.rejected = True
                        self.session.token_rejected("no")
        self._ts += 1
        if (update := self.session.begin_update(self._ts)) is not None:
            self.session.finish_update(update, {query.query_id: _VALUE for query in update.run})
        for message in self.session.messages_to_send(now=0.0):
            self._hear(json.loads(bytes(message)))

    def _hear(self, message: Any) -> None:
        self.sent.append(message)
        match message["type"]:
            case "MutationResponse" | "ActionResponse" as kind:
                if (kind, message["requestId"]) not in self._asked:
                    raise Finding(f"it answers what it has not had done: {message}")
                self._asked.remove((kind, message["requestId"]))
            case "Transition":
                start, end = message["startVersion"], message["endVersion"]
                if self._version is not None and start != self._version:
                    raise Finding(f"after {self._version} comes {message}")
                if _number(end["ts"]) < _number(start["ts"]) or end["querySet"] < start["querySet"]:
                    raise Finding(f"a version goes back: {message}")
                self._version = end
            case "FatalError":
                self.fatal.append(message["error"])


def _number(ts: str) -> int:
    return int.from_bytes(b64decode(ts), "little")


def conversations(given: dict[str, Any]) -> str:
    """Conversations: bad input ends in one FatalError and 1008, after which nothing more is said."""
    peer, said = _Peer(str(given.get("answers"))), given.get("said")
    for text in said if isinstance(said, list) else ():
        peer.session.receive(str(text))
        peer.turn()
        close = peer.session.close_requested()
        if (close is not None and close.code == 1008) != (len(peer.fatal) == 1):
            raise Finding(f"closed with {close}, having sent {peer.sent}")
        if peer.rejected and (close is None or peer.sent[-1]["type"] not in ("AuthError", "FatalError")):
            raise Finding(f"a token was no good, and it goes on with {peer.sent}")
        if close is not None:
            if close.code not in _CLOSES or (peer.fatal and not peer.fatal[0].startswith(f"{close.reason}: ")):
                raise Finding(f"closed with {close}, having sent {peer.sent}")
            peer.session.receive('{"type":"Event","eventType":"x","event":{}}')
            if peer.session.take_work() or peer.session.messages_to_send(now=0.0):
                raise Finding("it still answers after its close")
            return close.reason or str(close.code)
    return TAKEN


def message(dice: random.Random, at: int) -> dict[str, Any]:
    """A message of a client, valid where `at` is the version of its query set and identity."""
    argument = spoil.encoded_value(dice)
    call = {"udfPath": "notes:list", "args": [argument if dice.random() < 0.1 else {"topic": argument}]}
    add = {"type": "Add", "queryId": dice.randrange(4), "journal": None, **call}
    remove = {"type": "Remove", "queryId": dice.randrange(4)}
    ts = b64encode(dice.randbytes(8)).decode()
    user = {"tokenIdentifier": "x|y"}
    return dice.choice(
        (
            {"type": "Connect", "sessionId": _SESSION, "connectionCount": 0, "maxObservedTimestamp": ts},
            {"type": "ModifyQuerySet", "baseVersion": at, "newVersion": at + 1, "modifications": [add]},
            {"type": "ModifyQuerySet", "baseVersion": at, "newVersion": at + 1, "modifications": [add, remove]},
            {"type": dice.choice(("Mutation", "Action")), "requestId": at, **call},
            {"type": "Authenticate", "baseVersion": 0, "tokenType": dice.choice(("User", "None")), "value": "e.y.J"},
            {"type": "Authenticate", "baseVersion": at, "tokenType": "Admin", "value": "k", "impersonating": user},
            {"type": "Event", "eventType": "x", "event": {}},
        )
    )


def said(dice: random.Random) -> list[str]:
    """What a client says, some of it spoiled. Versions mostly go on from where they were, as clients have them."""
    texts, version = list[str](), 0
    for at in range(dice.randrange(1, 12)):
        kind = message(dice, version if dice.random() < 0.9 else at)
        if at == 0 and dice.random() < 0.7:
            kind = {"type": "Connect", "sessionId": _SESSION, "connectionCount": dice.randrange(3)}
        version += kind["type"] == "ModifyQuerySet"
        texts.append(spoil.hostile(dice, kind) if dice.random() < 0.2 else json.dumps(kind))
    return texts


def _conversation(dice: random.Random) -> dict[str, Any]:
    return {"said": said(dice), "answers": "".join(dice.choices("yn", (4, 1), k=8))}


def frame(dice: random.Random, payload: bytes | None = None) -> bytes:
    """A frame of a client, valid more often than not."""
    payload = b"x" * dice.randrange(300) if payload is None else payload
    opcode, mask = dice.choice((1, 1, 1, 0, 2, 8, 9, 11)), dice.randbytes(4)
    first = opcode | (0x80 if dice.random() < 0.9 else 0) | (dice.choice((0x10, 0x40)) if dice.random() < 0.05 else 0)
    size = len(payload) if dice.random() < 0.95 else dice.choice((1 << 16, 1 << 31, 1 << 63, (1 << 64) - 1))
    masked = 0x80 if dice.random() < 0.95 else 0
    return bytes((first,)) + _length(size, masked) + mask + _masked(payload, mask)


def text_frame(text: str, mask: bytes = b"mask") -> bytes:
    """The one frame of a text."""
    payload = text.encode("utf-8", "surrogatepass")
    return b"\x81" + _length(len(payload), 0x80) + mask + _masked(payload, mask)


def _length(size: int, masked: int) -> bytes:
    if size < 126:
        return bytes((masked | size,))
    if size < 1 << 16:
        return bytes((masked | 126,)) + size.to_bytes(2, "big")
    return bytes((masked | 127,)) + size.to_bytes(8, "big")


def _masked(payload: bytes, mask: bytes) -> bytes:
    pad = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(len(payload)) if payload else b""


def frames(given: dict[str, Any]) -> str:
    """Frames: what they say does not depend on how they arrive in pieces, and a violation has its code."""
    sent, cuts = str(given.get("bytes")).encode("latin-1", "replace"), given.get("cuts")
    whole, pieces, reader = FrameReader(1 << 16).read(sent), list[Incoming](), FrameReader(1 << 16)
    for size in (*(cuts if isinstance(cuts, list) else ()), len(sent)):
        if pieces and isinstance(pieces[-1], Close | Violation):
            break
        if sent[:size]:
            pieces += reader.read(sent[:size])
        sent = sent[size:]
    if pieces != whole:
        raise Finding(f"{whole!r} in one piece, {pieces!r} in several")
    if not whole or not isinstance(whole[-1], Violation):
        return TAKEN
    if whole[-1].code not in (1002, 1007, 1009):
        raise Finding(f"closes with {whole[-1]}")
    return str(int(whole[-1].code))


def _frames(dice: random.Random) -> dict[str, Any]:
    sent = b"".join(frame(dice) for _ in range(dice.randrange(1, 5)))
    if dice.random() < 0.3:
        sent = spoil.corrupt_bytes(dice, sent)
    return {"bytes": sent.decode("latin-1"), "cuts": [dice.randrange(1, 200) for _ in range(12)]}


SURFACES: Final[tuple[Surface, ...]] = (plain(_conversation, conversations), plain(_frames, frames))
