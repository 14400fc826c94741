"""Hostile input: `python -m reliability fuzz [--inputs N] [--seed N] [--surface NAME]`.

Each input is a valid thing, changed by chance in its structure or in its text. A surface may take it or refuse it with
the error that it declares; anything else is a finding, which is printed with the input and the seed. The counts of
what was taken and refused show that neither side is empty.
"""

from __future__ import annotations

import argparse
import json
import random
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from websockets.frames import Close

from yugen.functions.cursors import Cursors, InvalidCursor
from yugen.ids import InvalidId, decode_id, encode_id
from yugen.server.frames import FrameReader, Incoming, Violation
from yugen.sync.session import ServerSession
from yugen.values import InvalidValue, dumps, loads

_ODD: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1 << 32, 1 << 64, 1e308, -0.0, float("nan"), float("inf")),
    *("", "\0", "\ud800", "é" * 99, "../..", "os:system", "__class__:x", "x" * 3000),
    *([], {}, [[]], {"$integer": "AAAAAAAAAAA="}, {"$integer": "?"}, {"$bytes": 7}, {"$float": "AA=="}, {"$x": 1}),
)
_ODD_TEXTS: Final = ("NaN", "1e999", "9" * 5000, "[" * 3000, '"\\ud800"', "\0", "\r\n", "{}", ",", '"', "\u2028")
_SESSION: Final = "3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11"
_CLOSES: Final = {1003, 1008, 1013}


class Finding(Exception):
    """A surface did what it must not do."""


def change(dice: random.Random, value: Any) -> Any:
    """The structure with one part replaced, dropped, doubled or wrapped."""
    if isinstance(value, dict) and value and dice.random() < 0.8:
        name = dice.choice(list(value))
        rest = {key: item for key, item in value.items() if key != name}
        return rest if dice.random() < 0.2 else {**value, name: change(dice, value[name])}
    if isinstance(value, list) and value and dice.random() < 0.8:
        at = dice.randrange(len(value))
        return [*value[:at], *([change(dice, value[at])] * dice.randrange(3)), *value[at + 1 :]]
    return [value] if dice.random() < 0.1 else dice.choice(_ODD)


def corrupt(dice: random.Random, text: str) -> str:
    """The text cut, with something put in, or with one character replaced."""
    at = dice.randrange(len(text) + 1)
    match dice.randrange(3):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + dice.choice(_ODD_TEXTS) + text[at:]
        case _:
            return text[:at] + chr(dice.randrange(0x300)) + text[at + 1 :]


def hostile(dice: random.Random, value: Any) -> str:
    """The JSON of a value: one time in four as it is, else changed in structure, in text, or in both."""
    kind = dice.randrange(4)
    if kind & 1:
        value = change(dice, value)
    text = json.dumps(value)
    return corrupt(dice, text) if kind & 2 else text


def _value(dice: random.Random, depth: int = 3) -> Any:
    kind = dice.randrange(6 if depth else 4)
    if kind < 4:
        return (dice.random() * 1e6, dice.random() < 0.5, "s" * dice.randrange(9), {"$bytes": "AA=="})[kind]
    items = [_value(dice, depth - 1) for _ in range(dice.randrange(4))]
    return items if kind == 4 else {f"f{at}": item for at, item in enumerate(items)}


def values(dice: random.Random) -> tuple[str, str]:
    """Wire values: what is taken has one text, which is taken for the same value again."""
    text = hostile(dice, _value(dice))
    try:
        value = loads(text)
    except InvalidValue:
        return text, "InvalidValue"
    again = dumps(value)
    if dumps(loads(again)) != again:
        raise Finding(f"{text!r} is not the same after a round trip")
    return text, "taken"


def ids(dice: random.Random) -> tuple[str, str]:
    """Ids: what is taken is exactly what is given for its parts."""
    text = encode_id(dice.randrange(1 << dice.randrange(1, 27)), dice.randbytes(16))
    text = corrupt(dice, text) if dice.random() < 0.7 else text
    try:
        parts = decode_id(text)
    except InvalidId:
        return text, "InvalidId"
    if encode_id(*parts) != text:
        raise Finding(f"{text!r} is taken, but is no id")
    return text, "taken"


_CURSORS: Final = Cursors(bytes(range(32)))


def cursors(dice: random.Random) -> tuple[str, str]:
    """Cursors: what opens is the place that was sealed, for the query it was sealed for."""
    place, query = dice.randbytes(dice.randrange(1, 40)), dice.choice((b"a", b"b"))
    text = _CURSORS.seal(place, b"a")
    text = corrupt(dice, text) if dice.random() < 0.6 else text
    try:
        opened = _CURSORS.open(text, query)
    except InvalidCursor:
        return text, "InvalidCursor"
    if opened != place or query != b"a":
        raise Finding(f"{text!r} opens for {query!r} as {opened!r}")
    return text, "taken"


def _message(dice: random.Random, at: int) -> dict[str, Any]:
    call = {"udfPath": "notes:list", "args": [_value(dice) if dice.random() < 0.1 else {"a": _value(dice)}]}
    add = {"type": "Add", "queryId": dice.randrange(4), "journal": None, **call}
    ts = b64encode(dice.randbytes(8)).decode()
    return dice.choice(
        (
            {"type": "Connect", "sessionId": _SESSION, "connectionCount": 0, "maxObservedTimestamp": ts},
            {"type": "ModifyQuerySet", "baseVersion": at, "newVersion": at + 1, "modifications": [add]},
            {"type": dice.choice(("Mutation", "Action")), "requestId": at, **call},
            {"type": "Authenticate", "baseVersion": 0, "tokenType": dice.choice(("User", "None")), "value": "e.y.J"},
            {"type": "Event", "eventType": "x", "event": {}},
        )
    )


def conversations(dice: random.Random) -> tuple[str, str]:
    """Conversations: bad input ends in one FatalError and 1008, after which nothing more is said."""
    session, said = ServerSession(now=0.0), list[str]()
    for at in range(dice.randrange(1, 12)):
        message = _message(dice, at)
        said.append(hostile(dice, message) if dice.random() < 0.3 else json.dumps(message))
        session.receive(said[-1])
        session.take_work()
        sent = [json.loads(text) for text in session.messages_to_send(now=0.0)]
        close, fatal = session.close_requested(), [text for text in sent if text["type"] == "FatalError"]
        if (close is not None and close.code == 1008) != (len(fatal) == 1):
            raise Finding(f"closed with {close}, having sent {sent}, after {said!r}")
        if close is not None:
            if close.code not in _CLOSES or (fatal and not fatal[0]["error"].startswith(f"{close.reason}: ")):
                raise Finding(f"closed with {close}, having sent {sent}, after {said!r}")
            session.receive(json.dumps(_message(dice, at)))
            if session.take_work() or session.messages_to_send(now=0.0):
                raise Finding(f"still answers after its close: {said!r}")
            return repr(said), close.reason
    return repr(said), "taken"


def _frame(dice: random.Random) -> bytes:
    opcode, mask, payload = dice.choice((1, 1, 1, 0, 2, 8, 9, 11)), dice.randbytes(4), b"x" * dice.randrange(300)
    first = opcode | (0x80 if dice.random() < 0.9 else 0) | (dice.choice((0x10, 0x40)) if dice.random() < 0.05 else 0)
    size = len(payload) if dice.random() < 0.95 else dice.choice((1 << 16, 1 << 31, 1 << 63, (1 << 64) - 1))
    masked = 0x80 if dice.random() < 0.95 else 0
    length = bytes((masked | size,)) if size < 126 else bytes((masked | 127,)) + size.to_bytes(8, "big")
    if 126 <= size < 1 << 16:
        length = bytes((masked | 126,)) + size.to_bytes(2, "big")
    return bytes((first,)) + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def frames(dice: random.Random) -> tuple[str, str]:
    """Frames: what they say does not depend on how they arrive in pieces, and a violation has its code."""
    sent = b"".join(_frame(dice) for _ in range(dice.randrange(1, 5)))
    if dice.random() < 0.3:
        at = dice.randrange(len(sent))
        sent = sent[:at] + dice.randbytes(1) + sent[at + 1 :]
    whole, pieces, reader = FrameReader(1 << 16).read(sent), list[Incoming](), FrameReader(1 << 16)
    while sent and not (pieces and isinstance(pieces[-1], Close | Violation)):
        at = dice.randrange(1, 200)
        pieces += reader.read(sent[:at])
        sent = sent[at:]
    if pieces != whole:
        raise Finding(f"{whole!r} in one piece, {pieces!r} in several")
    if not whole or not isinstance(whole[-1], Violation):
        return "", "taken"
    if whole[-1].code not in (1002, 1007, 1009):
        raise Finding(f"closes with {whole[-1]}")
    return "", str(int(whole[-1].code))


SURFACES: Final[dict[str, Callable[[random.Random], tuple[str, str]]]] = {
    each.__name__: each for each in (values, ids, cursors, conversations, frames)
}


def tried(name: str, inputs: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Tries a surface; returns how many inputs were taken or refused by which error, and what was found."""
    counts, found = Counter[str](), list[str]()
    for number in range(seed, seed + inputs):
        try:
            _, outcome = SURFACES[name](random.Random(f"{name} {number}"))
        except Exception as error:  # anything that is not declared is what is looked for
            outcome = "found"
            found.append(f"{name}, --inputs 1 --seed {number}: {type(error).__name__}: {error}")
        counts[outcome] += 1
    return counts, found


def main(words: Sequence[str]) -> bool:
    """Tries the surfaces; returns whether everything held."""
    options = argparse.ArgumentParser(prog="python -m reliability fuzz")
    options.add_argument("--inputs", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--surface", choices=SURFACES, action="append")
    chosen = options.parse_args(words)
    names = chosen.surface or list(SURFACES)
    held = True
    for name in names:
        counts, found = tried(name, max(1, chosen.inputs // len(names)), chosen.seed)
        figures = ", ".join(f"{outcome} {count}" for outcome, count in counts.most_common())
        print(f"{name}: {counts.total()} inputs from seed {chosen.seed}: {figures}", flush=True)
        for line in found[:5]:
            print(f"  {line[:2000]}", flush=True)
        held = held and not found
    return held
