"""A collector of OpenTelemetry for tests: takes spans over HTTP and decodes them as the real ones do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.receiver import Receiver, receiving


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
    """What a receiver was sent, as spans.

    Attributes:
        receiver: takes what is sent.
        url: where to send it.
    """

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.url = receiver.url

    def spans(self) -> list[Span]:
        """All spans, in the order in which they ended."""
        found = []
        for path, kind, body in self.receiver.sent:
            assert (path, kind) == ("/v1/traces", "application/x-protobuf")
            for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _attributes(each.resource.attributes)
                for scope in each.scope_spans:
                    found += [_span(span, resource) for span in scope.spans]
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector at a free port of this machine."""
    with receiving() as receiver:
        yield Collector(receiver)


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
