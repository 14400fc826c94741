from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from yugen.catalog import Catalog, TableSpec
from yugen.keys import document_key
from yugen.runtime.causes import CALLED, Cause, Why
from yugen.runtime.formats import FIELD_SIZE_MAX, Format, Json, Readable
from yugen.runtime.outcome import Answer, Failure, Outcome, Used
from yugen.runtime.queries import QueryKey
from yugen.runtime.run import Run
from yugen.server import logs
from yugen.server.logs import RunLog
from yugen.server.runs import Runs
from yugen.storage.interface import Change

RUN = Run("query", "notes:count", b'{"password":"hunter2"}', True, 1, 0.0, b"", "0123456789abcdef")
GOOD = Answer(b"1.0", log_lines=("[LOG] 'one'", "[LOG] 'two'"))
BAD = Answer(failure=Failure("[Request ID: 01] Server Error\nUncaught ValueError: cold\n    at add (notes.py:3:1)"))


class Stream:
    """What has been written to standard error so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def getvalue(self) -> str:
        for handler in logging.getLogger().handlers:
            handler.flush()
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def stream(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    """Standard error. What logging was set up to be is so again afterwards."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    root, own = logging.getLogger(), logging.getLogger("yugen")
    handlers, level, own_level = root.handlers[:], root.level, own.level
    yield Stream(capsys)
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    own.setLevel(own_level)


def readable(stream: Stream) -> list[str]:
    """The lines after their time of day."""
    return [line[9:] if line[2:3] == ":" else line for line in stream.getvalue().splitlines()]


async def test_runs_are_kept_whatever_callers_get_to_see() -> None:
    runs = Runs()
    assert RunLog(lines_to_callers=False, runs=runs).ended(RUN, Outcome(GOOD), 0.1).log_lines == ()
    assert [ran.lines for ran in runs.after(0)] == [GOOD.log_lines]


async def test_a_run_is_one_line(stream: Stream) -> None:
    logs.configure(readable=True)
    RunLog(lines_to_callers=True).ended(RUN, Outcome(Answer(b"1.0")), 0.0015)
    [line] = readable(stream)
    assert line.startswith("INFO     query notes:count ran in ")
    assert line.endswith(" ms, read 0 documents")


async def test_what_belongs_to_a_run_stands_below_it(stream: Stream) -> None:
    logs.configure(readable=True)
    RunLog(lines_to_callers=True).ended(RUN, Outcome(GOOD), 0.0015)
    RunLog(lines_to_callers=True).ended(RUN, Outcome(BAD), 0.0015)
    lines = readable(stream)
    assert lines[1:3] == ["    [LOG] 'one'", "    [LOG] 'two'"]
    assert lines[3].startswith("WARNING  query notes:count failed in ")
    assert lines[4:] == ["    Uncaught ValueError: cold", "        at add (notes.py:3:1)"]


async def test_a_failure_without_a_cause_shows_its_request(stream: Stream) -> None:
    logs.configure(readable=True)
    answer = Answer(failure=Failure("[Request ID: 01] Server Error"))
    RunLog(lines_to_callers=True).ended(RUN, Outcome(answer), 0.0015)
    assert readable(stream)[1] == "    [Request ID: 01] Server Error"


async def test_json_is_one_line_with_everything(stream: Stream) -> None:
    logs.configure(readable=False)
    RunLog(lines_to_callers=True).ended(RUN, Outcome(GOOD), 0.0015)
    RunLog(lines_to_callers=True).ended(RUN, Outcome(BAD), 0.0015)
    good, bad = map(json.loads, stream.getvalue().splitlines())
    assert good["level"] == "info"
    assert good["time"].endswith("+00:00")
    assert good["kind"] == "query"
    assert good["function"] == "notes:count"
    assert good["request_id"] == "0123456789abcdef"
    assert good["milliseconds"] >= 0
    assert good["lines"] == ["[LOG] 'one'", "[LOG] 'two'"]
    assert bad["level"] == "warning"
    assert "cold" in bad["error"]
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize("form", [Readable(coloured=False), Json()])
@pytest.mark.parametrize("answer", [Answer(b"1.0"), GOOD, BAD])
async def test_a_run_reads_the_same_when_others_listen_too(stream: Stream, form: Format, answer: Answer) -> None:
    logs.configure(readable=isinstance(form, Readable))
    also = logging.StreamHandler(text := io.StringIO())
    also.setFormatter(form)
    log = RunLog(lines_to_callers=True)
    listeners: list[list[logging.Handler]] = [[], [also]]
    for others in listeners:
        logging.getLogger("yugen").handlers = others
        log.ended(RUN, Outcome(answer), 0.0254)
    logging.getLogger("yugen").handlers = []
    lines = [re.sub(r"\d\d:\d\d:\d\d(\.\d+)?", "", line) for line in stream.getvalue().splitlines(keepends=True)]
    count = len(lines) // 2
    assert lines[:count] == lines[count:]
    assert "".join(lines[count:]) == re.sub(r"\d\d:\d\d:\d\d(\.\d+)?", "", text.getvalue())


@pytest.mark.parametrize("milliseconds", [0.0, 0.004, 0.005, 1.0, 12.3456, 1e9])
async def test_a_line_is_what_json_dumps_gives(milliseconds: float) -> None:
    created = 1_700_000_000.9996
    text = Json().ran(created, "INFO", "yugen.run", RUN, "ran", milliseconds, 3, {"error": "é", "lines": ["a", "b"]})
    event = json.loads(text)
    assert datetime.fromisoformat(event["time"]).timestamp() == 1_700_000_000.999
    assert event["milliseconds"] == pytest.approx(milliseconds, abs=0.0051)
    assert json.dumps({**event, "milliseconds": 0}) == re.sub(r'(?<="milliseconds": )[\d.]+', "0", text)
    record = logging.LogRecord("yugen.run", logging.INFO, "", 0, "%s", (event["message"],), None)
    record.created = created
    record.fields = {name: event[name] for name in list(event)[4:]}
    assert json.loads(Json().format(record)) == event


@pytest.mark.parametrize("lines_to_callers", [True, False])
async def test_lines_go_to_callers_in_development(stream: Stream, lines_to_callers: bool) -> None:
    logs.configure(readable=False)
    expected = GOOD.log_lines if lines_to_callers else ()
    assert RunLog(lines_to_callers=lines_to_callers).ended(RUN, Outcome(GOOD), 0.1) == Answer(
        b"1.0", log_lines=expected
    )
    assert stream.getvalue().count("two") == 1


WRITE = Cause(5, ("notes:add", "0" * 16), Change(document_key(10_001, bytes(16)), None, b"{}"), None)
NOTES = Catalog([TableSpec("notes", 10_001)])


@pytest.mark.parametrize(
    ("run", "why", "words"),
    [
        (RUN, CALLED, "called"),
        (RUN, Why(subscribers=2), "subscribed"),
        (RUN, Why(Cause.new_code(5), 1), "the code has changed"),
        (RUN, Why(WRITE, 1), "notes:add wrote to notes"),
        (RUN, Why(WRITE._replace(origin=None, change=None), 1), "another node wrote something of it"),
        (RUN._replace(kind="mutation"), CALLED, ""),
        (RUN._replace(kind="mutation"), Why(WRITE, again=True), "again, for notes:add wrote to notes first"),
        (RUN._replace(kind="mutation"), Why(again=True), "again, for another was faster"),
    ],
)
async def test_why_a_function_ran(stream: Stream, run: Run, why: Why, words: str) -> None:
    logs.configure(readable=True)
    log = RunLog(lines_to_callers=True, tells_why=True)
    log.catalog = lambda: NOTES
    log.ended(run, Outcome(Answer(b"1"), used=Used(0.1, 3)), 0.0015, why)
    [line] = readable(stream)
    assert line == f"INFO     {run.kind} notes:count ran in 1.5 ms, read 3 documents{'; ' if words else ''}{words}"


async def test_an_answer_from_the_cache_is_a_line_too(stream: Stream) -> None:
    logs.configure(readable=True)
    log = RunLog(lines_to_callers=True, tells_why=True)
    for path, subscribed in (("notes:count", True), ("notes:count", False), ("_system/tables:list", False)):
        log.kept(QueryKey(path, b"{}"), subscribed)
    start = "INFO     query notes:count answered from the cache; "
    assert readable(stream) == [f"{start}subscribed", f"{start}called"]


async def test_a_traceback_takes_the_place_of_the_error(stream: Stream) -> None:
    logs.configure(readable=True)
    traceback = 'Traceback (most recent call last):\n  File "notes.py", line 3, in add\nValueError: cold'
    failed = Answer(failure=Failure("[Request ID: 01] Server Error", traceback=traceback), log_lines=("[LOG] 'one'",))
    RunLog(lines_to_callers=True).ended(RUN, Outcome(failed), 0.0015)
    assert readable(stream)[1:] == ["    [LOG] 'one'", *(f"    {line}" for line in traceback.splitlines())]


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, None, True), (True, "1", False), (False, None, False)]
)
async def test_runs_are_coloured_on_terminals(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, terminal: bool, no_color: str | None, coloured: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    logs.configure(readable=True)
    RunLog(lines_to_callers=True).ended(RUN, Outcome(GOOD), 0.0015)
    RunLog(lines_to_callers=True).ended(RUN, Outcome(BAD), 0.0015)
    text = stream.getvalue()
    assert ("\x1b[36mquery\x1b[0m \x1b[1mnotes:count\x1b[0m ran in 1.5 ms" in text) == coloured
    assert ("\x1b[31m failed in 1.5 ms\x1b[0m" in text) == coloured
    assert ("\x1b" in text) == coloured


HOSTILE = "\r\n12:00:00 ERROR forged\x1b[2J\u2028\u202e\x00"


def test_text_cannot_forge_lines(stream: Stream) -> None:
    logs.configure(readable=True)
    fields: Any = {"fields": {"error": f"first\n{HOSTILE}", "lines": [HOSTILE]}}
    logging.getLogger("yugen").error("client said %s", HOSTILE, extra=fields)
    text = stream.getvalue()
    assert text.count("\n    ") == text.count("\n") - 1, "every line but the first is indented"
    assert len(text.splitlines()) == text.count("\n")
    assert all(each.isprintable() for each in text.replace("\n", ""))


def test_json_cannot_be_forged(stream: Stream) -> None:
    logs.configure(readable=False)
    logging.getLogger("yugen").error("client said %s", HOSTILE)
    [line] = stream.getvalue().splitlines()
    assert line.isascii()
    assert json.loads(line)["message"] == f"client said {HOSTILE}"


@pytest.mark.parametrize("as_text", [True, False])
def test_long_fields_are_cut(stream: Stream, as_text: bool) -> None:
    logs.configure(readable=as_text)
    logging.getLogger("yugen").error("%s", "x" * 1_000_000, extra={"fields": {"lines": ["y" * 1_000_000]}})
    assert len(stream.getvalue()) < 3 * FIELD_SIZE_MAX


@pytest.mark.parametrize("as_text", [True, False])
def test_a_traceback_is_there_to_its_end(stream: Stream, as_text: bool) -> None:
    logs.configure(readable=as_text)
    try:
        raise ZeroDivisionError("the cause")
    except ZeroDivisionError:
        logging.getLogger("yugen").exception("it failed")
    assert "ZeroDivisionError: the cause" in stream.getvalue()
    if as_text:
        assert all(line.startswith("    ") for line in readable(stream)[1:])
    else:
        assert json.loads(stream.getvalue())["message"] == "it failed"


def test_libraries_log_warnings(stream: Stream) -> None:
    logs.configure(readable=True)
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("uvicorn.error").warning("odd")
    logging.getLogger("yugen.server").info("reloaded")
    assert [line.split() for line in readable(stream)] == [["WARNING", "odd"], ["INFO", "reloaded"]]


def test_bad_text_from_a_client_leaves_no_traceback(stream: Stream) -> None:
    logs.configure(readable=True)
    try:
        b"\xff".decode()
    except UnicodeDecodeError:
        logging.getLogger("uvicorn.error").exception("Invalid UTF-8 sequence received from client.")
    assert stream.getvalue() == ""


def test_colours_are_for_terminals(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    logs.configure(readable=True)
    logging.getLogger("yugen").error("red")
    assert "\x1b[31mERROR" in stream.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    logs.configure(readable=True)
    logging.getLogger("yugen").error("plain")
    assert "\x1b" not in stream.getvalue().splitlines()[1]
