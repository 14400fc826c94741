"""Every kind of value through every client into storage and back: the same, byte for byte, also after a restart."""

from __future__ import annotations

import base64
import json
import math
import random
import struct
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx2 as httpx
import orjson
import pytest
import pytest_asyncio

from reliability.serving import Process, Server, serving
from tests.apps import write_app
from yugen import values
from yugen.values import Int64

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"

APP: Final = """
    from typing import Any

    from yugen import UNSET, ActionCtx, Document, Index, MutationCtx, QueryCtx, action, mutation, query


    class Kept(Document, table="kept"):
        author: str
        name: str
        value: Any

        by_name = Index("author", "name", unique=True)


    class Sorted(Document, table="sorted"):
        value: Any | UNSET = UNSET

        by_value = Index("value")


    @mutation
    async def keep(ctx: MutationCtx, author: str, name: str, value: Any) -> Any:
        await ctx.db.insert(Kept(author=author, name=name, value=value))
        return value


    @query
    async def kept(ctx: QueryCtx, author: str, name: str) -> Any:
        found = await ctx.db.query(Kept).with_index(Kept.by_name, author=author, name=name).unique()
        return found.value


    @mutation
    async def sort(ctx: MutationCtx, given: list[Any]) -> None:
        for one in given:
            await ctx.db.insert(Sorted(**one))


    @query
    async def in_order(ctx: QueryCtx) -> Any:
        found = await ctx.db.query(Sorted).with_index(Sorted.by_value).collect()
        return [{} if each.value is UNSET else {"value": each.value} for each in found]


    @query
    async def wrap(ctx: QueryCtx, value: Any) -> Any:
        return [value]


    @action
    async def wrap_in_action(ctx: ActionCtx, value: Any) -> Any:
        return [value]
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENT_SPARE: Final = 1000
"""Bytes of a document beside the value in it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("values")
    async with serving(write_app(folder, values=APP), folder / "data") as server:
        yield server


def nested(levels: int, inside: Any, *, objects: bool = False) -> Any:
    """So many arrays or objects around a value."""
    for _ in range(levels):
        inside = {"": inside} if objects else [inside]
    return inside


def number(bits: int) -> float:
    (made,) = struct.unpack("<d", bits.to_bytes(8, "little"))
    return float(made)


def made() -> Iterator[tuple[str, Any]]:
    """Values by name, each of which fits into a document."""
    dice = random.Random(4)
    yield "special numbers", [math.nan, math.inf, -math.inf, -0.0, 0.0]
    # Around the powers of two and of ten at which ways to write a number change.
    powers = [2.0**exponent for exponent in (-1074, -1023, -1022, -1, 52, 53, 62, 63, 64, 1023)]
    powers += [10.0**exponent for exponent in (-7, -6, 16, 17, 21, 22)]
    near = [math.nextafter(power, side) for power in powers for side in (-math.inf, math.inf)]
    yield "numbers", [*powers, *near, *(-each for each in near), sys.float_info.max, -sys.float_info.max, 0.1 + 0.2]
    yield "numbers of any bits", [each for _ in range(500) if (each := number(dice.getrandbits(64))) == each]
    corners = [0, 2**31, 2**32, 2**53, 2**63]
    yield "integers", [Int64(n) for c in corners for n in (-c, -c + 1, c - 1) if n >= -(2**63)] + [Int64(2**53 + 1)]
    yield "integers of any bits", [Int64(dice.getrandbits(64) - 2**63) for _ in range(100)]
    yield "bytes of all lengths", [dice.randbytes(length) for length in range(65)]
    yield "all bytes", bytes(range(256))
    yield "many bytes", dice.randbytes(values.DOCUMENT_SIZE_MAX - DOCUMENT_SPARE)
    for name, text in {
        "quotes": "\"'`\\/\b\f\n\r\t",
        "separators": "\u2028\u2029\u0085\ufeff",
        "combining": "e\u0301 \u00e9 \u1112\u1161\u11ab \ud55c",
        "right to left": "\u05e9\u05dc\u05d5\u05dd \u202e abc \u202c \u0645\u0631\u062d\u0628\u0627",
        "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1ef\U0001f1f5 \U0001f44d\U0001f3fd",
        "ends of planes": "\ud7ff\ue000\uffff\U00010000\U0001ffff\U0010ffff",
        "NUL": "\0",
        "NUL inside": "a\0b",
        "template": "${a} {{b}} %s",
        "tag": '{"$bytes": ""}',
    }.items():
        yield f"text: {name}", text
    yield "text: the basic plane", "".join(chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000)
    yield "text: other planes", "".join(chr(dice.randrange(0x10000, 0x110000)) for _ in range(5000))
    yield "long text", "\U0001f319" * ((values.DOCUMENT_SIZE_MAX - DOCUMENT_SPARE) // 4)
    yield "arrays in arrays", nested(15, 1.5)
    yield "objects in objects", nested(15, "deep", objects=True)
    yield "empty containers", [[], {}, [[]], [{}], {"": {}}, {"a": []}]
    yield "8192 elements", [float(n) for n in range(8192)]
    yield "1024 fields", {f"f{n:04}": n / 2 for n in range(1024)}
    letters = "".join(map(chr, range(32, 127)))
    yield "names of one letter", {letter: letter for letter in letters if letter != "$"}
    yield "long names", {letters.replace("$", "") * 10 + "x" * 84: 1.0, "x" * 1024: 2.0, "": 3.0, "y$": 4.0}
    yield (
        "names with a meaning",
        {name: name for name in ("_id", "constructor", "hasOwnProperty", "length", "toString")},
    )


@cache
def cases() -> dict[str, bytes]:
    """The canonical texts of values, by name: those of the golden file, and those made here."""
    golden = json.loads((GOLDEN / "values.json").read_text())["valid"]
    texts = {f"golden: {case['name']}": values.canonical(values.decode(case["encoded"])) for case in golden}
    return texts | {name: values.canonical(value) for name, value in made()}


CLIENTS: Final = {
    "official": ("node", "roundtrip.mjs"),
    "http": ("node", "roundtrip.mjs"),
    "own": ("node", "roundtrip.mjs"),
    "python-official": (sys.executable, "roundtrip.py"),
    "python-http": (sys.executable, "roundtrip.py"),
    "python-own": (sys.executable, "roundtrip.py"),
}


async def play(client: str, url: str, author: str, mode: str, texts: Mapping[str, bytes], folder: Path) -> None:
    """Has a client keep, read or pass on values by name; each must come back as the same text."""
    given, came = folder / "given.json", folder / "came.json"
    given.write_bytes(b"{%b}" % b",".join(b"%b:%b" % (orjson.dumps(name), text) for name, text in texts.items()))
    program, script = CLIENTS[client]
    async with Process(program, HERE / script, client, url, author, mode, given, came) as process:
        assert await process.ended() == 0, "\n".join(process.lines)
    results = json.loads(came.read_text())
    assert results.keys() == texts.keys()
    for name, structures in results.items():
        for structure in structures:
            assert values.canonical(values.decode(structure)) == texts[name], f"{name} by {client}"


class Api:
    """The HTTP API at the level of bytes."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def call(self, kind: str, path: str, args: bytes) -> bytes:
        """The text of a function's value."""
        body = b'{"path":"values:%b","format":"convex_encoded_json","args":%b}' % (path.encode(), args)
        response = await self._client.post(f"/api/{kind}", content=body, headers={"Content-Type": "application/json"})
        start, end = b'{"status":"success","value":', b"}"
        assert response.content.startswith(start), response.content[:300]
        return response.content.removeprefix(start).removesuffix(end)

    async def keep(self, author: str, name: str, text: bytes) -> bytes:
        args = b'{"author":%b,"name":%b,"value":%b}' % (orjson.dumps(author), orjson.dumps(name), text)
        return await self.call("mutation", "keep", args)

    async def kept(self, author: str, name: str) -> bytes:
        return await self.call("query", "kept", orjson.dumps({"author": author, "name": name}))


@asynccontextmanager
async def calling(server: Server) -> AsyncIterator[Api]:
    async with httpx.AsyncClient(base_url=server.url) as client:
        yield Api(client)


def sorted_text(text: bytes) -> bytes:
    """The same JSON with sorted fields, which JavaScript does not keep in order; numbers stay as they are written."""
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)


async def check_kept(server: Server) -> None:
    """All that was kept by anyone is there in the very same bytes."""
    async with calling(server) as api:
        for author in (*CLIENTS, "bytes"):
            for name, text in cases().items():
                came = await api.kept(author, name)
                assert (came if author == "bytes" else sorted_text(came)) == text, f"{name} by {author}"


async def test_values_are_the_same_for_every_client_and_after_a_restart(tmp_path: Path) -> None:
    app = write_app(tmp_path, values=APP)
    async with serving(app, tmp_path / "data") as server:
        for client in CLIENTS:
            await play(client, server.url, client, "keep", cases(), tmp_path)
        async with calling(server) as api:
            for name, text in cases().items():
                assert await api.keep("bytes", name, text) == text
        await check_kept(server)
        await server.stop()
        await server.start()
        await check_kept(server)
        for client, author in zip(CLIENTS, [*[*CLIENTS][1:], "bytes"], strict=True):
            await play(client, server.url, author, "read", cases(), tmp_path)


@pytest.mark.parametrize("client", CLIENTS)
async def test_values_too_large_for_a_document_pass_functions(client: str, server: Server, tmp_path: Path) -> None:
    given = {
        # The arguments are one more object around it, and the result one more array.
        "63 arrays": nested(63, None),
        "63 objects": nested(63, "deep", objects=True),
        "many bytes": random.Random(5).randbytes(3 << 20),
        "long text": "\U0001f319" * (1 << 19),
        "8192 times 16 numbers": [[float(n)] * 16 for n in range(8192)],
    }
    texts = {name: values.canonical(value) for name, value in given.items()}
    await play(client, server.url, client, "wrap", texts, tmp_path)


async def test_every_nan_is_kept_as_it_is(server: Server) -> None:
    """Clients send one NaN alone, but the order of the index knows them all."""
    async with calling(server) as api:
        for n, bits in enumerate((0x7FF8 << 48, 0xFFF8 << 48, (0x7FF0 << 48) + 1, (0xFFFF << 48) + 0xABC)):
            text = b'{"$float":"%b"}' % base64.b64encode(bits.to_bytes(8, "little"))
            assert await api.keep("nan", str(n), text) == text
            assert await api.kept("nan", str(n)) == text
    assert values.canonical(math.nan) == b'{"$float":"AAAAAAAA+H8="}'


def mixed(dice: random.Random, depth: int = 2) -> Any:
    """A value of any type, often close to others."""
    kind = dice.randrange(9 if depth else 7)
    match kind:
        case 0:
            return dice.choice([None, True, False])
        case 1:
            return Int64(dice.choice([-1, 1]) * dice.getrandbits(dice.choice([2, 32, 62])))
        case 2:
            return dice.choice(
                [math.nan, math.inf, -math.inf, -0.0, 0.0, 1.0, -1.0, 2.0**53, number(dice.getrandbits(62))]
            )
        case 3 | 4:
            return "".join(
                dice.choice("\0ab\x7f\xe9\u20ac\uffff\U00010000\U0010ffff") for _ in range(dice.randrange(4))
            )
        case 5 | 6:
            return bytes(dice.choice((0, 1, 127, 128, 255)) for _ in range(dice.randrange(4)))
        case 7:
            return [mixed(dice, depth - 1) for _ in range(dice.randrange(4))]
        case _:
            return {dice.choice(["", "a", "b", "ab", "B"]): mixed(dice, depth - 1) for _ in range(dice.randrange(4))}


async def test_the_order_of_an_index_is_the_order_of_the_official_client(server: Server, tmp_path: Path) -> None:
    golden = [case["values"] for case in json.loads((GOLDEN / "keys.json").read_text()) if len(case["values"]) == 1]
    dice = random.Random(6)
    texts = {orjson.dumps(value) for [value] in golden if value != {"$undefined": None}}
    texts |= {values.canonical(mixed(dice)) for _ in range(1000)}
    given = [b"{}", *(b'{"value":%b}' % text for text in sorted(texts))]
    dice.shuffle(given)
    (tmp_path / "given.json").write_bytes(b"[%b]" % b",".join(given))
    async with Process("node", HERE / "order.mjs", tmp_path / "given.json") as node:
        assert await node.ended() == 0, "\n".join(node.lines)
    positions = json.loads(node.lines[-1])
    async with calling(server) as api:
        await api.call("mutation", "sort", b'{"given":[%b]}' % b",".join(given))
        in_order = await api.call("query", "in_order", b"{}")
    assert in_order == b"[%b]" % b",".join(given[position] for position in positions)
