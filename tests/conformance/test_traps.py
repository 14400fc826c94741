"""Traps of the protocol (protocol.md 9) that published clients fall into, and that they are kept from."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import convex
import convex.http_client
import pytest
import pytest_asyncio

from reliability.serving import Process, Server, serving
from tests.apps import write_app
from yugen_client import AsyncClient, FunctionError, InvalidValue

HERE = Path(__file__).parent

pytestmark = pytest.mark.asyncio(loop_scope="module")
either_client = pytest.mark.parametrize("client", ["official", "own"])

APP: Final = """
    import asyncio
    from typing import Any

    from yugen import ActionCtx, Document, Index, MutationCtx, QueryCtx, YugenError, action, mutation, query


    class Thing(Document, table="things"):
        channel: str

        by_channel = Index("channel")


    def nested(depth: int) -> Any:
        return [nested(depth - 1)] if depth else 0


    ODD: dict[str, Any] = {
        "a name beyond ASCII": {"é": 1},
        "a name with $": {"$date": 1},
        "a tag": {"$integer": "AQAAAAAAAAA="},
        "a tag and more": {"$bytes": "", "a": 1},
        "a name with a newline": {"a\\nb": 1},
        "a long name": {"x" * 1025: 1},
        "half of a character": "\\ud800",
        "half of a character in a name": {"\\udc00": 1},
        "half of a character deep inside": [{"a": ["fine", "\\ud83d"]}],
        "a name that is no string": {1: 1},
        "a large integer": 2**53 + 1,
        "an object": object(),
        "65 levels": nested(65),
        "8193 elements": [0] * 8193,
        "1025 fields": {str(number): 0 for number in range(1025)},
    }


    @query
    async def returned(ctx: QueryCtx, kind: str) -> Any:
        return ODD[kind]


    @query
    async def raised(ctx: QueryCtx, kind: str) -> None:
        raise YugenError(ODD[kind])


    @mutation
    async def keep(ctx: MutationCtx, kind: str) -> Any:
        await ctx.db.insert(Thing(channel="never kept"))
        return ODD[kind]


    @action
    async def acted(ctx: ActionCtx, kind: str) -> Any:
        return ODD[kind]


    @query
    async def printed(ctx: QueryCtx) -> str:
        print("\\ud800")
        return "printed"


    @query
    async def said(ctx: QueryCtx) -> None:
        raise ValueError("\\ud800")


    @query
    async def count(ctx: QueryCtx, channel: str) -> int:
        return len(await ctx.db.query(Thing).with_index(Thing.by_channel, channel=channel).collect())


    @mutation
    async def bump(ctx: MutationCtx, channel: str) -> None:
        await ctx.db.insert(Thing(channel=channel))


    @mutation
    async def length(ctx: MutationCtx, text: str) -> int:
        return len(text)


    @action
    async def measured(ctx: ActionCtx, text: str) -> int:
        return len(text)


    @query
    async def counted(ctx: QueryCtx, text: str) -> int:
        return len(text)


    @query
    async def long(ctx: QueryCtx, channel: str, letter: str, mebibytes: float) -> str:
        return f"{await count(ctx, channel)}{letter * int(mebibytes * (1 << 20))}"


    @query
    async def numbers(ctx: QueryCtx) -> Any:
        return [3, -7, 2**53, True, 1.0, float("nan"), float("inf"), -0.0]


    @action
    async def slow(ctx: ActionCtx) -> None:
        await asyncio.sleep(60)


    @query
    async def caller(ctx: QueryCtx) -> str | None:
        identity = await ctx.auth.get_user_identity()
        return identity and identity.subject
"""

ODD: Final = {
    "a name beyond ASCII": "printable ASCII",
    "a name with $": "'$date' begins with $",
    "a tag": "'$integer' begins with $",
    "a tag and more": "'$bytes' begins with $",
    "a name with a newline": "printable ASCII",
    "a long name": "longer than 1024 bytes",
    "half of a character": "half of a surrogate pair",
    "half of a character in a name": "printable ASCII",
    "half of a character deep inside": "[0].a[1]: this string has half of a surrogate pair",
    "a name that is no string": "a field name is a string, not int",
    "a large integer": "an integer beyond ±2^53",
    "an object": "object is not a value",
    "65 levels": "more than 64 deep",
    "8193 elements": "8193 elements",
    "1025 fields": "1025 fields",
}
"""What is wrong with each."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traps")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(folder: Path) -> AsyncIterator[Server]:
    async with serving(write_app(folder, odd=APP), folder / "data") as server:
        yield server


@pytest.fixture(scope="module")
def admin_key(server: Server, folder: Path) -> str:
    return (folder / "data" / "admin_key").read_text().strip()


async def play(name: str, client: str, url: str, *arguments: str) -> list[Any]:
    """Runs a scenario to its end and returns what it reports."""
    async with Process("node", HERE / f"{name}.mjs", client, url, f"{name}-{client}", *arguments) as node:
        assert await node.ended() == 0, "\n".join(node.lines)
    return [json.loads(line) for line in node.lines if line.startswith('{"')]


@either_client
async def test_trap_3_what_no_client_can_decode_is_an_error_of_the_one_call(client: str, server: Server) -> None:
    *calls, printed, said, counts = await play("odd", client, server.url, *ODD)
    for complaint, call in zip(ODD.values(), calls, strict=True):
        for text in (*call["returned"], call["raised"]):
            assert complaint in text
    # Trap 27: nor does half of a character get out where nothing checks for it.
    assert printed == {"printed": "printed"}
    assert "Uncaught ValueError: ?\n" in said["said"]
    assert counts == {"counts": [0, 1], "connections": 1}


async def test_trap_3_nor_can_the_own_python_client_be_stopped(server: Server) -> None:
    channel = {"channel": "odd python"}
    async with AsyncClient(server.url) as client:
        counts = client.subscribe("odd:count", channel)
        assert await anext(counts) == 0
        for kind, complaint in ODD.items():
            calls = [client.query("odd:returned", {"kind": kind}), client.query("odd:raised", {"kind": kind})]
            calls += [client.mutation("odd:keep", {"kind": kind}), client.action("odd:acted", {"kind": kind})]
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, FunctionError)
                assert complaint in str(error)
        assert await client.query("odd:printed") == "printed"
        await client.mutation("odd:bump", channel)
        assert await anext(counts) == 1
        assert client.connection_state.connection_count == 1


@either_client
async def test_trap_21_the_client_takes_notice_of_each_refusal_and_gives_up(client: str, server: Server) -> None:
    """Trap 33: and it waits for each close to be answered, which it is while the action still runs."""
    asked, lost, caller, count = await play("refused", client, server.url)
    assert asked == {"asked": [False, True, True, True] if client == "official" else [False, True]}
    assert ("Connection lost while action" if client == "official" else "may have run or not") in lost["lost"]
    assert caller["caller"] is None
    assert caller["connections"] <= 5
    assert count == {"count": 2}


async def test_trap_24_large_results_reach_the_official_python_client(server: Server) -> None:
    async with Process(sys.executable, HERE / "large.py", server.url) as client:
        assert await client.ended() == 0, "\n".join(client.lines)
    report = json.loads(client.lines[-1])
    assert report["first"] == ["0a", "0b", "0c"]
    assert "ResultTooLarge" in report["too large"]
    assert report["lengths"] == [9 * 2**20 + 1] * 3


@either_client
async def test_trap_25_arguments_that_are_too_large_are_refused_by_an_answer(client: str, server: Server) -> None:
    refused, taken, lengths = await play("large", client, server.url)
    for text in refused["refused"]:
        assert "LimitExceeded" in text
    assert taken == {"taken": 15 * 2**20}
    assert lengths == {"lengths": [9 * 2**20 + 1] * 2, "connections": 1}


async def test_trap_25_the_own_python_client_learns_what_is_too_large(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        large, too_large = "x" * (15 * 2**20), "x" * (17 * 2**20)
        for call, name in ((client.mutation, "length"), (client.action, "measured"), (client.query, "counted")):
            with pytest.raises(FunctionError, match="LimitExceeded"):
                await call(f"odd:{name}", {"text": too_large})
        assert await client.mutation("odd:length", {"text": large}) == len(large)
        long: list[dict[str, Any]] = [{"channel": "large python", "letter": letter, "mebibytes": 9} for letter in "ab"]
        group = client.subscribe_all({args["letter"]: ("odd:long", args) for args in long})
        assert {len(text) for text in (await anext(group)).values()} == {9 * 2**20 + 1}  # in parts
        assert client.connection_state.connection_count == 1


async def test_trap_26_numbers_have_a_point_for_the_python_http_client(server: Server) -> None:
    numbers = convex.http_client.ConvexHttpClient(server.url).query("odd:numbers", {})
    assert [type(number) for number in numbers] == [float, float, float, bool, float, float, float, float]
    assert numbers[:5] == [3, -7, 2**53, True, 1]
    assert [str(number) for number in numbers[5:]] == ["nan", "inf", "-0.0"]


@either_client
async def test_trap_30_half_of_a_character_ends_one_call_and_not_the_client(client: str, server: Server) -> None:
    *failed, end = await play("half", client, server.url)
    assert len(failed) == 3
    for call in failed:
        assert "surrogate" in call["message"]
    assert end == {"length": 1, "connections": 1}


async def test_trap_30_the_own_python_client_sends_no_half_of_a_character(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        for call, name in ((client.mutation, "length"), (client.action, "measured"), (client.query, "counted")):
            with pytest.raises(InvalidValue, match="surrogate"):
                await call(f"odd:{name}", {"text": "\ud800"})
        assert await client.mutation("odd:length", {"text": "a"}) == 1
        assert client.connection_state.connection_count == 1


@pytest.mark.parametrize("end", ["/", "//"])
async def test_trap_35_an_address_may_end_in_slashes(end: str, server: Server, admin_key: str) -> None:
    url = server.url + end
    assert await play("admin", "official", url, admin_key) == [{"caller": "ada"}]
    assert convex.http_client.ConvexHttpClient(url).query("odd:caller", {}) is None
    async with AsyncClient(url) as client:
        assert await client.query("odd:caller") is None


async def test_trap_35_a_path_that_the_official_python_client_drops_is_not_missed(server: Server) -> None:
    def ask() -> Any:
        return convex.ConvexClient(f"{server.url}/deployments/mine").query("odd:caller")

    assert await asyncio.to_thread(ask) is None


async def test_trap_36_the_official_client_acts_as_a_user(server: Server, admin_key: str) -> None:
    assert await play("admin", "official", server.url, admin_key) == [{"caller": "ada"}]
