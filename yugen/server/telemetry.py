"""What the environment asks to be told of what runs, beside the log: nothing is loaded that nobody asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from yugen.errors import Refused
from yugen.runtime.causes import Why
from yugen.runtime.outcome import Answer
from yugen.runtime.run import Run

if TYPE_CHECKING:
    from yugen.server.traces import Traces

EXPORTER: Final = "OTEL_TRACES_EXPORTER"
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Any of these has traces made."""


class Listener(Protocol):
    """Hears of runs."""

    def ended(self, run: Run, answer: Answer, seconds: float, why: Why) -> None:
        """Takes note of a run that took so many seconds, and of why it ran."""


class TracesUnavailable(Refused):
    """The environment asks for traces that cannot be made."""

    code = "TracesUnavailable"


def traces_of(environ: Mapping[str, str]) -> Traces | None:
    """What the variables of OpenTelemetry ask for; nothing if none of them asks for traces.

    Raises:
        TracesUnavailable: they ask for what is not here, or make no sense.
    """
    exporter = environ.get(EXPORTER, "").strip()
    wanted = exporter or any(environ.get(name) for name in ENDPOINTS)
    if not wanted or exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        from yugen.server.traces import Traces  # noqa: PLC0415 -- not for those who do without
    except ImportError as error:
        raise TracesUnavailable(
            f"The environment asks for traces ({EXPORTER} or {ENDPOINTS[0]}), and OpenTelemetry is not installed: "
            "pip install 'yugen[otel]'."
        ) from error
    try:
        return Traces.of(exporter or "otlp", environ)
    except ValueError as error:
        raise TracesUnavailable(f"Traces cannot be made as the environment has it: {error}") from None
