"""What runs, told to a collector of OpenTelemetry as spans: requests, runs of functions, and commits.

One trace holds what happens for one request. A run is the child of its request or of the action that calls it, a
commit that of its mutation; what runs again links to the mutation that has written what it had read.

The span of a run is made when that has ended, so nothing is kept of those under way. That children can name their
parents before those are there, ids are made of what both know: of a span of the seed of the run, of a trace of the
request id.

Nothing of anybody's data is in a span: no arguments and results, no text of errors, no tokens, headers and addresses.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from yugen import __version__
from yugen.functions.names import SYSTEM_PREFIX
from yugen.runtime.causes import Cause, Why
from yugen.runtime.outcome import Answer
from yugen.runtime.run import Run
from yugen.storage.interface import Timestamp

QUEUE_MAX: Final = 2048
"""Spans that wait for the collector, unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise; more are dropped, and counted."""

BATCH_MAX: Final = 512
"""Spans that are sent at once, unless OTEL_BSP_MAX_EXPORT_BATCH_SIZE says otherwise."""

FLUSH_SECONDS_MAX: Final = 2.0
"""How long a collector that does not answer may hold up the end of the server."""

CAUSES_MAX: Final = 1024
"""Mutations whose spans are remembered, for commits and for what runs again because of them."""

_NOT_FOUND: Final = 404
_FAULT: Final = 500
_NAME: Final = re.compile(r"[\w.]{1,100}")
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Traces:
    """Makes the spans of a server.

    Args:
        exporter: sends spans; called on a thread.
        queue_max: how many may wait for it.
        attributes: of the server itself, which go with every span.
    """

    def __init__(self, exporter: SpanExporter, queue_max: int, attributes: Mapping[str, str]) -> None:
        self._ids = _Ids()
        self._delivery = _Delivery(exporter, queue_max)
        # One of its own: what the app does with OpenTelemetry is the app's business.
        self._provider = TracerProvider(
            resource=Resource.create(dict(attributes)), id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(self._delivery)
        self._tracer = self._provider.get_tracer("yugen", __version__)
        self._key = os.urandom(16)
        self._requests: dict[str, SpanContext] = {}  # those under way, by their ids
        self._mutations: OrderedDict[tuple[str, str], SpanContext] = OrderedDict()  # by path and request id

    @classmethod
    def of(cls, exporter: str, environ: Mapping[str, str]) -> Self:
        """What the variables of OpenTelemetry say, with an exporter by the name they have for it.

        Raises:
            ValueError: they make no sense.
        """
        return cls(_exporter(exporter, environ), _queue_max(environ), _attributes(environ))

    @property
    def dropped(self) -> int:
        """Spans that were not delivered: there were too many, or the collector did not take them."""
        return self._delivery.dropped

    def close(self) -> None:
        """Sends what there is, within `FLUSH_SECONDS_MAX`, and ends."""
        closing = threading.Thread(target=self._provider.shutdown, name="yugen-traces-close", daemon=True)
        closing.start()
        closing.join(FLUSH_SECONDS_MAX)

    def request(self, request_id: str, scope: Scope) -> Span:
        """Begins the span of a request, in the trace that its `traceparent` names, if it has one."""
        self._ids.choose(trace=self._trace_of(request_id))
        span = self._tracer.start_span(
            scope["method"],
            context=_remote(scope),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": scope["method"],
                "url.scheme": scope.get("scheme", "http"),
                "yugen.request_id": request_id,
            },
        )
        self._requests[request_id] = span.get_span_context()
        return span

    def answered(self, span: Span, request_id: str, method: str, route: str, status: int) -> None:
        """Ends the span of a request.

        Args:
            span: what `request` gave.
            request_id: of the request.
            method: of the request.
            route: what was asked for, without secrets.
            status: of the answer; 0 if there was none.
        """
        if self._requests.get(request_id) is span.get_span_context():
            del self._requests[request_id]
        if status != _NOT_FOUND:  # what anybody may look for is no route
            span.update_name(f"{method} {route}")
            span.set_attribute("http.route", route)
        if status:
            span.set_attribute("http.response.status_code", status)
        if status >= _FAULT or not status:
            span.set_status(StatusCode.ERROR)
        span.end()

    def ended(self, run: Run, answer: Answer, seconds: float, why: Why) -> None:
        """Takes note of a run that took so many seconds, and of why it ran."""
        if run.path.startswith(SYSTEM_PREFIX):
            return
        attributes: dict[str, str | int] = {
            "yugen.kind": run.kind,
            "yugen.function": run.path,
            "yugen.request_id": run.request_id,
            "yugen.outcome": "ok" if answer.failure is None else "failed",
        }
        if answer.failure is not None:
            name = answer.failure.detail.partition(":")[0]
            attributes["error.type"] = name if _NAME.fullmatch(name) else "Error"
        if why.caller is not None:
            attributes["yugen.caller"] = why.caller.path
        if why.scheduled:
            attributes["yugen.scheduled"] = why.scheduled
        if why.subscribers:
            attributes["yugen.subscribers"] = why.subscribers
        if why.cause is not None or why.again:
            attributes["yugen.caused_by"] = _named(why.cause)
        self._ids.choose(trace=self._trace_of(run.request_id), span=self._id_of(run))
        links = self._links(why.cause)
        span = self._span(f"{run.kind} {run.path}", self._parent(run, why), seconds, attributes, links)
        if run.kind == "mutation":
            self._remember(run, span)

    def committed(self, run: Run, ts: Timestamp, seconds: float) -> None:
        """Takes note of the commit of a mutation, which took so many seconds from when it was asked for."""
        written = self._mutations.get((run.path, run.request_id))
        if written is not None:
            attributes: dict[str, str | int] = {"yugen.request_id": run.request_id, "yugen.timestamp": ts}
            self._ids.choose()
            self._span("commit", _within(written), seconds, attributes)

    def _span(
        self,
        name: str,
        parent: Context,
        seconds: float,
        attributes: Mapping[str, str | int],
        links: Sequence[Link] = (),
    ) -> SpanContext:
        """A span that ends now."""
        now = time.time_ns()
        began = now - int(seconds * 1e9)
        span = self._tracer.start_span(name, context=parent, attributes=attributes, links=links, start_time=began)
        if "error.type" in attributes:
            span.set_status(StatusCode.ERROR)
        span.end(now)
        return span.get_span_context()

    def _parent(self, run: Run, why: Why) -> Context:
        """Where a run belongs: to the action that calls it, or else to its request, if that is one of HTTP."""
        request = self._requests.get(run.request_id)
        if why.caller is None:
            return Context() if request is None else _within(request)
        if request is not None:
            trace, flags = request.trace_id, request.trace_flags
        else:
            trace = self._trace_of(run.request_id)
            # Samplers go by the id of the trace. So this is what becomes of the action, too.
            sampled = self._provider.sampler.should_sample(None, trace, why.caller.path).decision
            flags = TraceFlags(TraceFlags.SAMPLED if sampled is Decision.RECORD_AND_SAMPLE else TraceFlags.DEFAULT)
        return _within(SpanContext(trace, self._id_of(why.caller), is_remote=False, trace_flags=flags))

    def _links(self, cause: Cause | None) -> list[Link]:
        written = None if cause is None or cause.origin is None else self._mutations.get(cause.origin)
        return [] if written is None else [Link(written)]

    def _remember(self, run: Run, span: SpanContext) -> None:
        self._mutations[run.path, run.request_id] = span
        if len(self._mutations) > CAUSES_MAX:
            self._mutations.popitem(last=False)

    def _id_of(self, run: Run) -> int:
        return self._digest(run.seed, 8)  # keyed, for nobody is to know the seed

    def _trace_of(self, request_id: str) -> int:
        return self._digest(request_id.encode(), 16)

    def _digest(self, text: bytes, size: int) -> int:
        return int.from_bytes(hashlib.blake2b(text, digest_size=size, key=self._key).digest(), "big")


class _Ids(RandomIdGenerator):
    """Gives the next span the ids that are chosen for it."""

    def __init__(self) -> None:
        self._trace = self._span = 0

    def choose(self, *, trace: int = 0, span: int = 0) -> None:
        """Has the next span, if it begins a trace, begin this one, and be this one; 0 for any."""
        self._trace, self._span = trace, span

    def generate_trace_id(self) -> int:
        return self._trace or super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self._span or super().generate_span_id()


class _Delivery(BatchSpanProcessor):
    """Hands spans to an exporter, many at once on a thread, and counts those that do not get there.

    Args:
        exporter: the exporter.
        queue_max: how many spans may wait.
    """

    def __init__(self, exporter: SpanExporter, queue_max: int) -> None:
        self._counted = _Counted(exporter)
        self._queue_max = queue_max
        self._queued = 0
        self._refused = 0
        batch_max = None if "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" in os.environ else min(BATCH_MAX, queue_max)
        super().__init__(self._counted, queue_max, max_export_batch_size=batch_max)

    @property
    def dropped(self) -> int:
        """How many did not get there."""
        return self._refused + self._counted.failed

    def on_end(self, span: ReadableSpan) -> None:
        """Queues a span, if there is room."""
        if not span.context.trace_flags.sampled:
            return
        if self._queued - self._counted.taken >= self._queue_max:
            self._refused += 1
            return
        self._queued += 1
        super().on_end(span)


class _Counted(SpanExporter):
    """Counts what an exporter is given, and what of it has failed."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.taken = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self.taken += len(spans)
            if result is not SpanExportResult.SUCCESS:
                self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _within(parent: SpanContext) -> Context:
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _remote(scope: Scope) -> Context:
    """The trace that a request belongs to, by https://www.w3.org/TR/trace-context/."""
    carrier = {
        name.decode(): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in (b"traceparent", b"tracestate")
    }
    return _PROPAGATOR.extract(carrier, Context()) if carrier else Context()


def _named(cause: Cause | None) -> str:
    """What has written what a function had read."""
    if cause is None:
        return "another"
    if cause.is_new_code:
        return "new code"
    return "another node" if cause.origin is None else cause.origin[0]


def _exporter(name: str, environ: Mapping[str, str]) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter()
    if name != "otlp":
        raise ValueError(f"OTEL_TRACES_EXPORTER is {name!r}, and none of otlp, console and none.")
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if (protocol := environ.get(variable, "http/protobuf")) != "http/protobuf":
            raise ValueError(
                f"{variable} is {protocol!r}; it speaks http/protobuf, to the port 4318 of most collectors."
            )
    return OTLPSpanExporter()


def _queue_max(environ: Mapping[str, str]) -> int:
    text = environ.get("OTEL_BSP_MAX_QUEUE_SIZE", str(QUEUE_MAX))
    if not (text.isdecimal() and int(text)):
        raise ValueError(f"OTEL_BSP_MAX_QUEUE_SIZE is {text!r}, and not how many spans may wait.")
    return int(text)


def _attributes(environ: Mapping[str, str]) -> dict[str, str]:
    given = {"service.version": environ.get("YUGEN_RELEASE") or __version__}
    if "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        given["service.name"] = environ.get("OTEL_SERVICE_NAME") or "yugen"
    return given
