"""What a server measures of itself, in the text format of Prometheus.

Each node is measured by a plain call that reads what is there anyway; only what happens is counted as it happens, in
whole numbers. Whoever scrapes any node gets all of them, told apart by the label `node`.

Names and units follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import _lru_cache_wrapper
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from yugen.functions.info import RunKind
from yugen.runtime.causes import CALLED, Why
from yugen.runtime.meters import BOUNDS, Histogram
from yugen.runtime.outcome import Answer
from yugen.runtime.pool import WorkerPool
from yugen.runtime.run import Run
from yugen.storage.sqlite_connect import memory_bytes

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from yugen.server.backend import Backend
    from yugen.server.yugen import Yugen

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = tuple[str, ...]
Measured: TypeAlias = dict[str, dict[Labels, Any]]
"""Of each metric by its name, the values by their labels; that of a histogram is its counts and its sum."""

_PAGE_BYTES: Final = resource.getpagesize()


class Described(NamedTuple):
    """What there is to know of a metric.

    Attributes:
        type: as Prometheus calls it.
        help: what it is.
        labels: what tells its values apart, beside the node.
    """

    type: str
    help: str
    labels: Labels = ()


METRICS: Final[Mapping[str, Described]] = {
    "yugen_runs_total": Described("counter", "Runs of functions that have ended.", ("kind", "outcome")),
    "yugen_run_seconds": Described("histogram", "How long functions ran, from asked for to ended.", ("kind",)),
    "yugen_mutation_conflicts_total": Described(
        "counter", "Runs of mutations that lost against another and ran again."
    ),
    "yugen_mutations_under_way": Described("gauge", "Mutations that have begun and have no answer yet."),
    "yugen_mutations_refused_total": Described("counter", "Mutations refused because the server did not keep up."),
    "yugen_overloaded": Described("gauge", "1 while mutations that have waited for long are refused."),
    "yugen_commit_seconds": Described("histogram", "How long an append to the log took, until it was durable."),
    "yugen_publish_seconds": Described(
        "histogram", "From the timestamp of a commit, of whichever node, to when this node has told its subscribers."
    ),
    "yugen_commits_total": Described("counter", "Commits of this node."),
    "yugen_commit_queue": Described("gauge", "Commits that wait for their append."),
    "yugen_newest_commit_timestamp_seconds": Described("gauge", "The newest timestamp that this node shows."),
    "yugen_storage_stopped": Described("gauge", "1 when the node can commit nothing any more and is to be restarted."),
    "yugen_storage_damaged": Described("gauge", "1 once something was met that is damaged on the disk."),
    "yugen_database_bytes": Described("gauge", "Size of a file of the database.", ("file",)),
    "yugen_sqlite_memory_bytes": Described("gauge", "Memory of the server process that SQLite has."),
    "yugen_log_changes": Described("gauge", "Changes of documents that the log has; of the node that trims it."),
    "yugen_log_seconds": Described("gauge", "From the oldest of them to the newest commit."),
    "yugen_disk_bytes": Described("gauge", "Size of the disk that the data is on."),
    "yugen_disk_free_bytes": Described("gauge", "What of it is free for the server."),
    "yugen_connections": Described("gauge", "Open sync connections."),
    "yugen_connections_max": Described("gauge", "How many there may be."),
    "yugen_connections_refused_total": Described("counter", "Connections refused, as there were that many."),
    "yugen_connections_waiting": Described(
        "gauge", "New connections that wait for their handshake, or for their first results.", ("stage",)
    ),
    "yugen_connections_lagging": Described("gauge", "Connections whose clients are yet to read what was sent to them."),
    "yugen_unread_bytes": Described("gauge", "What was said to clients and they are yet to read."),
    "yugen_unread_bytes_max": Described("gauge", "How much that may be."),
    "yugen_unread_refused_total": Described("counter", "Clients cut off, as there was too much of it."),
    "yugen_http_requests": Described("gauge", "Requests of the HTTP API that have no answer yet."),
    "yugen_http_requests_max": Described("gauge", "How many there may be."),
    "yugen_http_requests_refused_total": Described("counter", "Requests refused, as there were that many."),
    "yugen_sockets": Described("gauge", "Open sockets of clients, whatever for."),
    "yugen_sockets_max": Described("gauge", "How many there may be."),
    "yugen_sockets_refused_total": Described(
        "counter", "Sockets refused, as there were that many in all, or of that address.", ("reason",)
    ),
    "yugen_queries_live": Described("gauge", "Queries with their arguments that are subscribed to or kept."),
    "yugen_subscriptions": Described("gauge", "Subscriptions of clients to queries."),
    "yugen_queries_live_bytes": Described("gauge", "Size of the answers that are subscribed to, with what they read."),
    "yugen_queries_live_bytes_max": Described("gauge", "How large that may be."),
    "yugen_query_cache_bytes": Described("gauge", "Size of the answers that are kept and nobody subscribes to."),
    "yugen_query_cache_bytes_max": Described("gauge", "How large that may be."),
    "yugen_intervals": Described("gauge", "Ranges that live answers depend on."),
    "yugen_recent_commits": Described("gauge", "Commits that are kept in memory for answers that are being made."),
    "yugen_sessions_remembered": Described("gauge", "Sessions whose last request is kept in memory; 100,000 at most."),
    "yugen_kept_entries": Described("gauge", "Entries of what else is kept, within bounds.", ("of",)),
    "yugen_scheduled_pending": Described(
        "gauge", "What is scheduled next, up to some hundred; of the first node.", ("kind",)
    ),
    "yugen_scheduled_running": Described("gauge", "Functions that were scheduled and run.", ("kind",)),
    "yugen_scheduler_lag_seconds": Described("gauge", "For how long what is scheduled next has been due.", ("kind",)),
    "yugen_workers": Described("gauge", "Processes that run functions.", ("role",)),
    "yugen_workers_lost_total": Described(
        "counter", "Those that have ended, or were ended, while functions ran in them.", ("role",)
    ),
    "yugen_runs_under_way": Described("gauge", "Functions that run.", ("role",)),
    "yugen_runs_waiting": Described("gauge", "Queries and mutations that wait for a worker."),
    "yugen_event_loop_lag_seconds": Described(
        "histogram", "How late the event loop comes to what is due, by a look a second."
    ),
    "yugen_http_answers_total": Described(
        "counter", "Answers over HTTP, as 2xx; none for those that nobody waited for.", ("status",)
    ),
    "yugen_key_fetches_total": Described(
        "counter", "How often keys of providers of tokens were asked for.", ("outcome",)
    ),
    "yugen_certificate_expiry_timestamp_seconds": Described(
        "gauge", "Until when the certificate for TLS is good, where there is one."
    ),
    "yugen_address_refusals_total": Described("counter", "Refused to addresses that asked too often.", ("surface",)),
    "yugen_addresses_counted": Described("gauge", "Addresses whose requests are counted.", ("surface",)),
    "yugen_spans_dropped_total": Described("counter", "Spans of traces that were not delivered."),
    "yugen_reports_dropped_total": Described("counter", "Errors that were not sent to Sentry, as there were too many."),
    "process_resident_memory_bytes": Described("gauge", "Memory of the server process."),
    "process_cpu_seconds_total": Described("counter", "Time of the processor that the server process has taken."),
    "process_open_fds": Described("gauge", "Open files and sockets of the server process."),
    "process_max_fds": Described("gauge", "How many of them it may have."),
    "process_start_time_seconds": Described("gauge", "When the server process began, since the epoch."),
}
"""All metrics, in the order in which they are shown."""

_STARTED: Final = time.time()


class RunMeters:
    """Counts runs as they end."""

    def __init__(self) -> None:
        self._ended: dict[tuple[RunKind, str], int] = {}
        self._seconds: dict[RunKind, Histogram] = {}

    def ended(self, run: Run, answer: Answer, seconds: float, why: Why = CALLED) -> None:
        """Counts a run that took so many seconds."""
        key = (run.kind, "ok" if answer.failure is None else "failed")
        self._ended[key] = self._ended.get(key, 0) + 1
        histogram = self._seconds.get(run.kind)
        if histogram is None:
            histogram = self._seconds[run.kind] = Histogram()
        histogram.observe(seconds)

    def measure(self) -> Measured:
        """What was counted."""
        return {
            "yugen_runs_total": {tuple(key): count for key, count in self._ended.items()},
            "yugen_run_seconds": {(kind,): _of(histogram) for kind, histogram in self._seconds.items()},
        }


def measure(yugen: Yugen, backend: Backend) -> Measured:
    """What there is to be measured of a node just now."""
    limits, disk = yugen.limits, os.statvfs(yugen.data)
    measured = yugen.run_meters.measure() | {name: _values(value) for name, value in backend.runtime.measure().items()}
    single = {
        "yugen_storage_stopped": int(yugen.has_failed),
        "yugen_sqlite_memory_bytes": memory_bytes(),
        "yugen_disk_bytes": disk.f_blocks * disk.f_frsize,
        "yugen_disk_free_bytes": disk.f_bavail * disk.f_frsize,
        "yugen_connections": yugen.connection_count,
        "yugen_connections_max": limits.server.connections,
        "yugen_connections_refused_total": yugen.connections_refused,
        "yugen_spans_dropped_total": 0 if yugen.traces is None else yugen.traces.dropped,
        "yugen_reports_dropped_total": 0 if yugen.reports is None else yugen.reports.dropped,
        "yugen_connections_lagging": yugen.lagging,
        "yugen_unread_bytes": yugen.unread.bytes,
        "yugen_unread_bytes_max": yugen.unread.bytes_max,
        "yugen_unread_refused_total": yugen.unread.refused,
        "yugen_http_requests": yugen.http_requests.under_way,
        "yugen_http_requests_max": limits.server.requests,
        "yugen_http_requests_refused_total": yugen.http_requests.refused,
        "yugen_sockets": len(yugen.sockets),
        "yugen_sockets_max": yugen.sockets.most,
        "process_resident_memory_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES,
        "process_cpu_seconds_total": time.process_time(),
        "process_open_fds": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 -- nothing is to be made of the names
        "process_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "process_start_time_seconds": _STARTED,
    }
    measured |= {name: {(): value} for name, value in single.items()}
    measured["yugen_database_bytes"] = {
        (name,): size
        for name, suffix in (("data", ""), ("wal", "-wal"))
        if (size := _size(yugen.database.with_name(yugen.database.name + suffix))) is not None
    }
    for part in (backend.retention, backend.scheduler):
        if part is not None:
            measured |= {name: _values(value) for name, value in part.measure().items()}
    fetches, lag = yugen.key_fetches, yugen.loop_lag.seconds
    measured["yugen_key_fetches_total"] = {("ok",): fetches.ok, ("failed",): fetches.failed}
    measured["yugen_event_loop_lag_seconds"] = _values(lag)
    measured["yugen_http_answers_total"] = {
        (f"{digit}xx" if digit else "none",): count for digit, count in yugen.answers.items()
    }
    if yugen.certificate_expires is not None:
        measured["yugen_certificate_expiry_timestamp_seconds"] = {(): yugen.certificate_expires()}
    runner = backend.runtime.runner
    if isinstance(runner, WorkerPool):
        there = runner.statistics()
        measured["yugen_workers"] = {
            ("transaction",): there["transaction_workers"],
            ("action",): there["action_workers"],
        }
        measured["yugen_workers_lost_total"] = {
            ("transaction",): there["transaction_workers_lost"],
            ("action",): there["action_workers_lost"],
        }
        measured["yugen_runs_under_way"] = {("transaction",): there["running"], ("action",): there["actions"]}
        measured["yugen_runs_waiting"] = {(): there["waiting"]}
    waiting = {"handshake": yugen.handshakes.waiting, "results": yugen.newcomers.waiting}
    measured["yugen_connections_waiting"] = {(stage,): count for stage, count in waiting.items()}
    measured["yugen_kept_entries"] |= {
        ("runs",): yugen.runs.kept,
        ("files_sent",): backend.files.readings,
        ("files_deleted",): backend.files.deleted,
        ("uploads",): backend.imports.uploads,
        ("elsewhere",): yugen.elsewhere,
        ("memos",): memos(),
    }
    measured["yugen_sockets_refused_total"] = {(reason,): count for reason, count in yugen.sockets.refused.items()}
    refusals, counted = yugen.address_limits.refusals, yugen.address_limits.counted
    measured["yugen_address_refusals_total"] = {(surface,): count for surface, count in refusals.items()}
    measured["yugen_addresses_counted"] = {(surface,): count for surface, count in counted.items()}
    return measured


def memos() -> int:
    """How many results of plain code are remembered: of each function of a module, as many as its `lru_cache` keeps."""
    kept = {
        value
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "yugen"
        for value in vars(module).values()
        if isinstance(value, _lru_cache_wrapper)
    }
    return sum(memo.cache_info().currsize for memo in kept)


def render(nodes: Iterable[tuple[int, Measured]]) -> bytes:
    """The measures of all nodes, as Prometheus reads them."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 -- not for those who never ask

    registry = CollectorRegistry()
    registry.register(_Collected(list(nodes)))
    return generate_latest(registry)


class _Collected:
    def __init__(self, nodes: Sequence[tuple[int, Measured]]) -> None:
        self._nodes = nodes

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import Metric  # noqa: PLC0415 -- as above

        for name, (type_, help_, label_names) in METRICS.items():
            metric = Metric(name.removesuffix("_total") if type_ == "counter" else name, help_, type_)
            for node, measured in self._nodes:
                for labels, value in measured.get(name, {}).items():
                    named = {"node": str(node), **dict(zip(label_names, labels, strict=True))}
                    if type_ == "histogram":
                        _add_histogram(metric, name, named, *value)
                    else:
                        metric.add_sample(name, named, value)
            if metric.samples:
                yield metric


def _add_histogram(metric: Metric, name: str, labels: dict[str, str], counts: Sequence[int], total: float) -> None:
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), accumulate(counts), strict=True):
        metric.add_sample(f"{name}_bucket", {**labels, "le": bound}, count)
    metric.add_sample(f"{name}_count", labels, sum(counts))
    metric.add_sample(f"{name}_sum", labels, total)


def _values(value: Any) -> dict[Labels, Any]:
    match value:
        case Histogram():
            return {(): _of(value)}
        case dict():
            return {(label,): each for label, each in value.items()}
        case _:
            return {(): value}


def _of(histogram: Histogram) -> tuple[list[int], float]:
    return histogram.counts, histogram.seconds


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
