"""Surfaces that are a text which somebody else may have written: values, ids, cursors, files of variables."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import warnings
from functools import cache
from typing import Any, Final

from convex import values as official

from reliability.fuzzing import spoil
from reliability.fuzzing.surface import TAKEN, Finding, Surface, plain
from yugen.cli import dotenv
from yugen.cli.main import make_parser
from yugen.functions.cursors import Cursors, InvalidCursor
from yugen.ids import InvalidId, decode_id, encode_id
from yugen.values import InvalidValue, dumps, loads
from yugen.variables import InvalidVariable, check_variable
from yugen_client import values as client_values
from yugen_client.errors import InvalidValue as ClientInvalidValue


def values(given: str) -> str:
    """Wire values: what is taken has one text, which is taken for the same value again, also by the clients."""
    try:
        value = loads(given)
    except InvalidValue:
        return "InvalidValue"
    again = dumps(value)
    if dumps(loads(again)) != again:
        raise Finding("it is not the same after a round trip")
    wire = json.loads(again)
    if _by_client(wire) != wire:
        raise Finding(f"our client makes {_by_client(wire)!r} of {again!r}")
    theirs = _by_official(wire)
    if theirs is None:
        return f"{TAKEN}, not by the official client"
    if theirs != wire:
        raise Finding(f"the official client makes {theirs!r} of {again!r}")
    return TAKEN


def _by_client(wire: Any) -> Any:
    try:
        return client_values.encode(client_values.decode(wire))
    except ClientInvalidValue as error:
        return f"an error: {error}"


def _by_official(wire: Any) -> Any:
    """What the official client makes of a value; None where it does not take it.

    It takes fewer names of fields, and no text with half a character; that is for it to say.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            return official.convex_to_json(official.json_to_convex(wire))
    except (ValueError, TypeError):
        return None


def _value(dice: random.Random) -> str:
    return spoil.hostile(dice, spoil.encoded_value(dice))


def ids(given: str) -> str:
    """Ids: what is taken is exactly what is given for its parts."""
    try:
        parts = decode_id(given)
    except InvalidId:
        return "InvalidId"
    if encode_id(*parts) != given:
        raise Finding("it is taken, but is no id")
    return TAKEN


def _id(dice: random.Random) -> str:
    text = encode_id(dice.randrange(1 << dice.randrange(1, 27)), dice.randbytes(16))
    return spoil.corrupt(dice, text) if dice.random() < 0.7 else text


_CURSORS: Final = Cursors(bytes(range(32)))


def cursors(given: dict[str, Any]) -> str:
    """Cursors: what opens is a place that was sealed, for the query that it was sealed for."""
    place, query = str(given.get("place")).encode("latin-1"), str(given.get("query")).encode()
    text, at = _CURSORS.seal(place, b"a"), given.get("at")
    if at is not None:
        text = text[:at] + str(given.get("put", "")) + text[at + int(given.get("over", 0)) :]
    try:
        opened = _CURSORS.open(text, query)
    except InvalidCursor:
        return "InvalidCursor"
    if opened != place or query != b"a":
        raise Finding(f"{text!r} opens for {query!r} as {opened!r}")
    return TAKEN


def _cursor(dice: random.Random) -> dict[str, Any]:
    place, query = dice.randbytes(dice.randrange(1, 40)).decode("latin-1"), dice.choice("aaab")
    if dice.random() < 0.3:
        return {"place": place, "query": query, "at": None}
    put = dice.choice(("", chr(dice.randrange(0x300)), *spoil.ODD_TEXTS))
    return {"place": place, "query": query, "at": dice.randrange(90), "put": put, "over": dice.choice((0, 1, 99))}


def variables(given: str) -> str:
    """Files of environment variables: what is read is written so that it reads the same, and can be set or not."""
    try:
        read = dotenv.parse(given)
    except dotenv.InvalidFile:
        return "InvalidFile"
    if dotenv.parse(dotenv.write(read)) != read:
        raise Finding(f"{read!r} is written as {dotenv.write(read)!r}")
    for name, value in read.items():
        try:
            check_variable(name, value)
        except InvalidVariable as error:
            if len(value) > 20 and value in str(error):
                raise Finding("its error shows the value") from None
            return "InvalidVariable"
    return TAKEN


def _dotenv(dice: random.Random) -> str:
    lines = []
    for _ in range(dice.randrange(1, 5)):
        name = dice.choice(("A", "PATH_2", "_x", "CONVEX_SITE_URL", "é", "9", "A B", "x" * 300))
        value = dice.choice(
            ('"a\\nb"', "'$X'", "plain # note", '"', "''", "a=b", "\\", "v" * 9000, "é\ud800", '"a\nb"')
        )
        lines.append(f"{dice.choice(('', 'export ', '# ', ' '))}{name}{dice.choice('== :')}{value}")
    text = dice.choice(("\n", "\r\n", "\r", "")).join(lines)
    return spoil.corrupt(dice, text) if dice.random() < 0.5 else text


def words(given: list[str]) -> str:
    """Words of a command line: options for a command, or an exit with what is wrong and status 2."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            options = _parser().parse_args([str(each) for each in given])
        except SystemExit as error:
            if error.code not in (0, 2) or not said.getvalue():
                raise Finding(f"it ends with {error.code} and says {said.getvalue()!r}") from None
            return f"status {error.code}"
    return TAKEN if getattr(options, "command", None) is not None else "no command"


@cache
def _parser() -> argparse.ArgumentParser:
    return make_parser()


def _words(dice: random.Random) -> list[str]:
    commands = (
        "dev",
        "serve",
        "run",
        "import",
        "export",
        "data",
        "env",
        "logs",
        "codegen",
        "init",
        "why",
        "doctor",
        "x",
        "",
    )
    options = (
        *(
            "--port",
            "--port=0x1",
            "--port=99999999999999999999",
            "--port=-1",
            "--data",
            "--url",
            "--limits",
            "--workers=0",
        ),
        *(
            "--environment=x",
            "--table",
            "--format=zip",
            "--",
            "--help",
            "-h",
            "--json",
            "--watch",
            "--identity",
            "--limit",
        ),
    )
    odd = ("{", "é", "\ud800", "../..", "a=b", "@file", "-", "\0", "x" * 3000, "1", "1e999", "notes:list", "set", "NaN")
    return [dice.choice(commands), *(dice.choice((*options, *odd)) for _ in range(dice.randrange(5)))]


SURFACES: Final[tuple[Surface, ...]] = (
    plain(_value, values),
    plain(_id, ids),
    plain(_cursor, cursors),
    plain(_dotenv, variables),
    plain(_words, words, 20),
)
