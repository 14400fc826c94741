"""A collector of OpenTelemetry for tests: takes spans over HTTP and decodes them as the real ones do."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status


class Span(NamedTuple):
    """A span that was received; ids are in hexadecimal digits, and empty where there is none."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    failed: bool
    nanoseconds: int
    links: tuple[str, ...]
    attributes: dict[str, str | int]
    resource: dict[str, str | int]


class Collector:
    """What was sent.

    Attributes:
        url: where to send it.
        sent: the requests, decoded but not parsed.
        status: what they are answered with.
        answers: set while they are answered; others wait.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent: list[bytes] = []
        self.status = 200
        self.answers = Event()
        self.answers.set()

    def spans(self) -> list[Span]:
        """All spans, in the order in which they ended."""
        found = []
        for body in self.sent:
            for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _attributes(each.resource.attributes)
                for scope in each.scope_spans:
                    found += [_span(span, resource) for span in scope.spans]
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector at a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
            collector.sent.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            collector.answers.wait()
            self.send_response(collector.status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.answers.set()
            server.shutdown()
            thread.join()


def _span(span, resource: dict[str, str | int]) -> Span:  # type: ignore[no-untyped-def]
    return Span(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.status.code == Status.STATUS_CODE_ERROR,
        span.end_time_unix_nano - span.start_time_unix_nano,
        tuple(link.span_id.hex() for link in span.links),
        _attributes(span.attributes),
        resource,
    )


def _attributes(given) -> dict[str, str | int]:  # type: ignore[no-untyped-def]
    return {each.key: _value(each.value) for each in given}


def _value(value: AnyValue) -> str | int:
    return value.string_value or value.int_value
