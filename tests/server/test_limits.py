from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from reliability.loads.raw import closed, one_who_never_reads
from reliability.serving import serving
from tests.apps import write_app
from yugen.server.limits import BadLimit, Limits, parse
from yugen_client import AsyncClient


def test_every_limit_has_a_name_of_its_own() -> None:
    parts = asdict(Limits()).values()
    assert len({name for part in parts for name in part}) == sum(map(len, parts))


def test_limits_are_given_by_name() -> None:
    limits = Limits.of(parse(["documents_read=10", "transaction_seconds=0.5", "requests=2", "answer_bytes=1_000"]))
    assert (limits.run.documents_read, limits.run.transaction_seconds) == (10, 0.5)
    assert (limits.server.requests, limits.session.answer_bytes) == (2, 1000)
    assert Limits.of({}) == Limits()


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("documents=10", "There is no limit 'documents'; there are transaction_seconds, "),
        ("documents_read", "'documents_read' sets no limit; write it like documents_read=64000."),
        ("documents_read=many", "'documents_read=many' sets no limit"),
        ("documents_read=1.5", "The limit documents_read is a whole number above 0, not 1.5."),
        ("documents_read=0", "The limit documents_read is a whole number above 0, not 0."),
        ("documents_read=nan", "The limit documents_read is a whole number above 0, not nan."),
        ("documents_read=inf", "The limit documents_read is a whole number above 0, not inf."),
        ("transaction_seconds=-1", "The limit transaction_seconds is a number above 0, not -1."),
    ],
)
def test_a_setting_that_is_no_limit_says_so(setting: str, fault: str) -> None:
    with pytest.raises(BadLimit) as refused:
        Limits.of(parse([setting]))
    assert str(refused.value).startswith(fault)


async def test_what_clients_together_may_have_is_as_the_command_line_says(tmp_path: Path) -> None:
    source = """
        from yugen import QueryCtx, query


        @query
        async def filled(ctx: QueryCtx, number: int, size: int) -> str:
            return "x" * size
    """
    options = ("--limit", "live_bytes=20000000", "--limit", "unread_bytes=2000000")
    large = [{"number": number, "size": 9_000_000} for number in range(2)]
    adds = [{"type": "Add", "queryId": each["number"], "udfPath": "f:filled", "args": [each]} for each in large]
    too_much = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": adds}
    async with (
        serving(write_app(tmp_path, f=source), tmp_path / "data", *options, development=False) as server,
        AsyncClient(server.url) as client,
    ):
        assert await closed(server.port, json.dumps(too_much)) == "1013 TooManyConcurrentRequests"
        await server.printed("may take 20,000,000; raise `live_bytes`")
        with closing(await one_who_never_reads(server.port, ("f:filled", large[0]))):
            await server.printed("a client reads too slowly")
        assert await client.query("f:filled", {"number": 0, "size": 2}) == "xx"
