"""Spans of a real server, sent to a collector that decodes them as the real ones do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx
import pytest

from reliability.serving import serving
from tests.apps import write_app
from tests.otlp import Span, collecting
from yugen.functions.info import RunKind
from yugen.runtime.causes import CALLED
from yugen.runtime.outcome import Answer
from yugen.runtime.run import Run
from yugen.server.telemetry import TracesUnavailable, traces_of
from yugen.server.traces import Traces
from yugen.server.yugen import Yugen
from yugen_client import AsyncClient, FunctionError

SECRET = "canary-5d41402abc4b2a76"
APP = """
    from yugen import ActionCtx, Document, MutationCtx, QueryCtx, action, mutation, query


    class Note(Document, table="notes"):
        text: str


    @query
    async def count(ctx: QueryCtx) -> int:
        return len(await ctx.db.query(Note).collect())


    @mutation
    async def add(ctx: MutationCtx, text: str) -> str:
        if not text:
            raise LookupError("no text in " + repr(ctx))
        await ctx.db.insert(Note(text=text))
        return text


    @action
    async def add_twice(ctx: ActionCtx, text: str) -> None:
        await ctx.run_mutation(add, text=text)
        await ctx.run_mutation(add, text=text)
"""
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def one(spans: list[Span], name: str, **attributes: str | int) -> Span:
    found = [each for each in spans if each.name == name and each.attributes.items() >= attributes.items()]
    assert len(found) == 1, (name, attributes, [each.name for each in spans])
    return found[0]


async def test_a_trace_has_the_request_what_runs_for_it_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
        monkeypatch.setenv("YUGEN_RELEASE", "notes@7")
        async with (
            serving(write_app(tmp_path, f=APP), tmp_path / "data", development=False) as server,
            AsyncClient(server.url) as client,
            httpx.AsyncClient(base_url=server.url) as http,
        ):
            counts = client.subscribe("f:count")
            assert await anext(counts) == 0
            body = {"path": "f:add_twice", "args": {"text": SECRET}}
            headers = {"traceparent": PARENT, "X-Request-Id": "from-the-proxy", "Authorization": f"Bearer {SECRET}"}
            assert (await http.post("/api/action", json=body, headers=headers)).status_code == 401
            del headers["Authorization"]
            acted = await http.post(f"/api/action?token={SECRET}", json=body, headers=headers)
            assert acted.json()["status"] == "success"
            assert acted.headers["x-request-id"] == "from-the-proxy"
            while await anext(counts) < 2:
                pass
            with pytest.raises(FunctionError) as failed:
                await client.mutation("f:add", {"text": ""})
            assert await client.action("f:add_twice", {"text": "again"}) is None
        spans = collector.spans()  # it has sent all by the time it has ended
        told = b"\n".join(body for _, _, body in collector.receiver.sent).decode("latin-1")

    assert {(each.resource["service.name"], each.resource["service.version"]) for each in spans} == {
        ("yugen", "notes@7")
    }
    assert spans[0].resource["deployment.environment.name"] == "staging"

    # Over HTTP: the request in the trace of whoever asks, in it the action, and in that the mutations and commits.
    request = one(spans, "POST /api/action", **{"http.response.status_code": 200})
    assert (request.trace, request.parent) == tuple(PARENT.split("-")[1:3])
    assert request.kind == 2
    inside = [each for each in spans if each.trace == request.trace and each.attributes["yugen.request_id"]]
    assert one(spans, "POST /api/action", **{"http.response.status_code": 401}) in inside
    action = one(inside, "action f:add_twice")
    assert (action.parent, action.failed) == (request.id, False)
    assert action.attributes["yugen.request_id"] == "from-the-proxy"
    mutations = [each for each in inside if each.name == "mutation f:add"]
    assert [each.parent for each in mutations] == [action.id] * 2
    assert {each.attributes["yugen.caller"] for each in mutations} == {"f:add_twice"}
    commits = [each for each in inside if each.name == "commit"]
    assert [each.parent for each in commits] == [each.id for each in mutations]
    assert all(0 < each.nanoseconds < 10e9 for each in commits)

    # Over the socket: a trace of its own, of the same form.
    other = one([each for each in spans if each.trace != request.trace], "action f:add_twice")
    assert other.parent == ""
    children = [each for each in spans if each.parent == other.id]
    assert [(each.name, each.trace) for each in children] == [("mutation f:add", other.trace)] * 2

    # What runs again says because of whom.
    again = [each for each in spans if each.attributes.get("yugen.caused_by") == "f:add"]
    assert {each.name for each in again} == {"query f:count"}
    assert {each.attributes["yugen.subscribers"] for each in again} == {1}
    assert all(each.links and set(each.links) <= {span.id for span in spans} for each in again)

    broken = one(spans, "mutation f:add", **{"yugen.outcome": "failed"})
    assert (broken.failed, broken.attributes["error.type"]) == (True, "LookupError")
    assert str(broken.attributes["yugen.request_id"]) in str(failed.value)
    for canary in (SECRET, "no text in", "127.0.0.1", (tmp_path / "data" / "admin_key").read_text().strip()):
        assert canary not in told


RUN = Run("query", "f:count", b"{}", True, 1, 0.0, b"seed", "0123456789abcdef")


def traces(**environ: str) -> Traces:
    made = traces_of({"OTEL_TRACES_EXPORTER": "otlp", **environ})
    assert made is not None
    return made


def test_what_finds_no_room_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        collector.receiver.answers.clear()
        made = traces(OTEL_BSP_MAX_QUEUE_SIZE="5")
        for _ in range(1000):
            made.ended(RUN, Answer(b"1"), 0.1, CALLED)
        assert made.dropped == 995
        collector.receiver.answers.set()
        made.close()
        assert len(collector.spans()) == 5
        assert made.dropped == 995


def test_a_collector_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setattr("yugen.server.traces.FLUSH_SECONDS_MAX", 0.01)
        collector.receiver.answers.clear()
        made = traces()
        made.ended(RUN, Answer(b"1"), 0.1, CALLED)
        made.close()
        assert not collector.receiver.answers.is_set()


def test_what_the_collector_refuses_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        collector.receiver.status = 400
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        made = traces()
        for _ in range(3):
            made.ended(RUN, Answer(b"1"), 0.1, CALLED)
        made.close()
        assert (len(collector.receiver.sent), made.dropped) == (1, 3)


@pytest.mark.parametrize("kind", ["mutation", "action"])
def test_samplers_are_asked(kind: RunKind, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
        made = traces()
        for number in range(400):
            outer = RUN._replace(kind="action", path="f:outer", seed=b"o%d" % number, request_id=f"{number:016x}")
            inner = outer._replace(kind=kind, path="f:inner", seed=b"i%d" % number)
            made.ended(inner, Answer(b"1"), 0.1, CALLED._replace(caller=outer))
            made.ended(outer, Answer(b"1"), 0.2, CALLED)
        made.close()
        spans = collector.spans()
    outer_ids = {each.id: each.trace for each in spans if each.name == "action f:outer"}
    inner_ids = {each.parent: each.trace for each in spans if each.name == f"{kind} f:inner"}
    assert 100 < len(outer_ids) < 300
    assert inner_ids == outer_ids


def test_nothing_is_loaded_for_those_who_do_without() -> None:
    assert traces_of({}) is None
    assert traces_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}) is None
    assert traces_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}) is None


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "none of otlp, console and none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "it speaks http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "not how many spans may wait"),
    ],
)
def test_what_cannot_be_had_is_said(environ: dict[str, str], says: str) -> None:
    with pytest.raises(TracesUnavailable, match=says):
        traces_of(environ)


async def test_a_server_does_not_start_without_what_it_is_told_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "jaeger")
    with pytest.raises(TracesUnavailable):
        await Yugen(write_app(tmp_path, f=APP), database=tmp_path / "data").start()


def test_a_server_without_the_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    monkeypatch.delitem(sys.modules, "yugen.server.traces", raising=False)
    with pytest.raises(TracesUnavailable, match=r"pip install 'yugen\[otel\]'"):
        traces_of({"OTEL_TRACES_EXPORTER": "otlp"})


def test_the_packages_are_loaded_by_nothing_else() -> None:
    code = "import sys, json, yugen.cli.main, yugen.server.asgi; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert not [name for name in json.loads(printed) if name.startswith("opentelemetry")]
