"""What Prometheus reads, of a server that has had something to do."""

from __future__ import annotations

from pathlib import Path

import httpx2 as httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from reliability.serving import Server, serving
from tests.apps import write_app
from yugen.networks import canonical_address
from yugen.runtime.meters import BOUNDS
from yugen.runtime.queries import LIVE_BYTES_MAX
from yugen.server.metrics import METRICS, memos, render
from yugen.server.unread import UNREAD_BYTES_MAX
from yugen_client import AsyncClient, FunctionError

APP = """
    import os
    from yugen import ActionCtx, Document, MutationCtx, QueryCtx, YugenError, action, mutation, query


    class Note(Document, table="notes"):
        text: str


    @query
    async def count(ctx: QueryCtx) -> int:
        return len(await ctx.db.query(Note).collect())


    @action
    async def dies(ctx: ActionCtx) -> None:
        os._exit(1)


    @mutation
    async def later(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(1000, add, text="later")


    @mutation
    async def add(ctx: MutationCtx, text: str) -> None:
        if not text:
            raise YugenError("no text")
        await ctx.db.insert(Note(text=text))
"""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(server: Server, key: str) -> Samples:
    async with httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.get("/metrics", headers={"Authorization": f"Convex {key}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """Of all nodes together."""
    found = [value for (each, has), value in samples.items() if each == name and has >= labels.items()]
    assert found, name
    return sum(found)


@pytest.mark.parametrize("nodes", [1, 2])
async def test_what_a_server_has_done(nodes: int, tmp_path: Path) -> None:
    options = ("--workers", str(nodes)) if nodes > 1 else ()
    async with (
        serving(write_app(tmp_path, f=APP), tmp_path / "data", *options, development=False) as server,
        AsyncClient(server.url) as client,
    ):
        key = (tmp_path / "data" / "admin_key").read_text().strip()
        for number in range(5):
            await client.mutation("f:add", {"text": str(number)})
        with pytest.raises(FunctionError):
            await client.mutation("f:add", {"text": ""})
        async for count in client.subscribe("f:count"):
            assert count == 5
            break
        await client.mutation("f:later")
        with pytest.raises(FunctionError, match="ActionLost"):
            await client.action("f:dies")
        async with httpx.AsyncClient(base_url=server.url) as anybody:
            assert (await anybody.get("/metrics")).status_code == 403
            assert (await anybody.get("/metrics", params={"key": key})).status_code == 403
        samples = await scrape(server, key)

    assert {dict(labels)["node"] for _, labels in samples} == {str(number) for number in range(nodes)}
    assert total(samples, "yugen_runs_total", kind="mutation", outcome="ok") >= 5
    assert total(samples, "yugen_runs_total", kind="mutation", outcome="failed") == 1
    assert total(samples, "yugen_run_seconds_count", kind="mutation") >= 6
    assert total(samples, "yugen_run_seconds_bucket", kind="mutation", le="+Inf") >= 6
    assert 0 < total(samples, "yugen_run_seconds_sum", kind="mutation") < 60
    assert total(samples, "yugen_commits_total") >= 5
    assert total(samples, "yugen_commit_seconds_count") <= total(samples, "yugen_commits_total")
    # In this process the newest commit is told of at once; another node hears of it soon.
    assert total(samples, "yugen_publish_seconds_count") >= 5
    assert 0 < total(samples, "yugen_publish_seconds_sum") < 60
    assert total(samples, "yugen_workers_lost_total", role="action") == 1
    assert total(samples, "yugen_workers_lost_total", role="transaction") == 0
    assert total(samples, "yugen_scheduled_running") == total(samples, "yugen_scheduler_lag_seconds") == 0
    assert total(samples, "yugen_http_answers_total", status="4xx") == 2
    assert total(samples, "yugen_disk_bytes") > total(samples, "yugen_disk_free_bytes") > 0
    assert total(samples, "process_max_fds") > total(samples, "process_open_fds") > 0
    assert total(samples, "yugen_connections") == 1
    assert total(samples, "yugen_queries_live") >= 1
    assert total(samples, "yugen_queries_live_bytes") > 1000
    assert total(samples, "yugen_queries_live_bytes_max") == nodes * LIVE_BYTES_MAX
    assert total(samples, "yugen_unread_bytes_max") == nodes * UNREAD_BYTES_MAX
    assert total(samples, "yugen_kept_entries", of="versions") == nodes
    assert total(samples, "yugen_kept_entries", of="runs") >= 1
    assert total(samples, "yugen_kept_entries", of="files_sent") == 0
    assert total(samples, "yugen_kept_entries", of="memos") > 0
    assert total(samples, "yugen_mutations_under_way") == total(samples, "yugen_overloaded") == 0
    assert total(samples, "yugen_storage_stopped") == 0
    assert total(samples, "yugen_workers", role="transaction") >= nodes
    assert total(samples, "yugen_database_bytes", file="data") > 0
    assert total(samples, "process_resident_memory_bytes") > 10_000_000
    names = {name for name, _ in samples}
    missing = {
        name
        for name, described in METRICS.items()
        if (f"{name}_count" if described.type == "histogram" else name) not in names
    }
    assert missing == {"yugen_certificate_expiry_timestamp_seconds"}  # there is none


def test_a_histogram_is_cumulative() -> None:
    counts = [1, 2, *(0 for _ in BOUNDS[2:]), 4]
    text = render([(3, {"yugen_run_seconds": {("query",): (counts, 250.5)}})]).decode()
    assert 'yugen_run_seconds_bucket{kind="query",le="0.001",node="3"} 1.0' in text
    assert 'yugen_run_seconds_bucket{kind="query",le="60.0",node="3"} 3.0' in text
    assert 'yugen_run_seconds_bucket{kind="query",le="+Inf",node="3"} 7.0' in text
    assert 'yugen_run_seconds_sum{kind="query",node="3"} 250.5' in text


def test_names_are_as_prometheus_wants_them() -> None:
    for name, described in METRICS.items():
        assert name.endswith("_total") == (described.type == "counter")
        assert described.help.endswith(".")


def test_what_plain_code_remembers_is_counted_once_and_has_a_bound() -> None:
    canonical_address.cache_clear()
    before = memos()
    for number in range(5000):
        canonical_address(f"10.0.{number >> 8}.{number & 255}")
    assert memos() - before == canonical_address.cache_parameters()["maxsize"] == 4096
