# ruff: noqa: T201 -- printing is what is tested
from __future__ import annotations

import asyncio
import logging
import sys

import pytest

from yugen.runtime import logs
from yugen.runtime.limits import RunLimits

LIMITS = RunLimits()


def test_print_gives_a_line_for_each_line() -> None:
    with logs.captured(LIMITS) as lines:
        print("one")
        print("two\nthree")
        print("a", end="")
        print("b")
        print()
        print("unfinished", end="")
    assert lines == ["[LOG] 'one'", "[LOG] 'two'", "[LOG] 'three'", "[LOG] 'ab'", "[LOG] ''", "[LOG] 'unfinished'"]


def test_logging_gives_lines_with_their_levels() -> None:
    with logs.captured(LIMITS) as lines:
        logger = logging.getLogger("yugen.function")
        logger.debug("d")
        logger.info("%s items", 3)
        logger.warning("w")
        logger.error("e")
        logger.critical("c")
    assert lines == ["[DEBUG] 'd'", "[INFO] '3 items'", "[WARN] 'w'", "[ERROR] 'e'", "[ERROR] 'c'"]


def test_any_logger_counts_and_exceptions_come_with_their_traceback() -> None:
    with logs.captured(LIMITS) as lines:
        try:
            raise ValueError("oh")
        except ValueError:
            logging.getLogger("some.library").exception("it failed")
    assert len(lines) == 1
    assert lines[0].startswith("[ERROR] 'it failed\nTraceback")
    assert "ValueError: oh" in lines[0]


def test_outside_everything_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    with logs.captured(LIMITS) as lines:
        pass
    print("out", end="")
    sys.stdout.writelines(["a", "b"])
    sys.stdout.flush()
    assert lines == []
    assert capsys.readouterr().out == "outab"
    assert sys.stdout.encoding.lower() == "utf-8"
    assert not sys.stdout.isatty()


def test_writelines_is_captured() -> None:
    with logs.captured(LIMITS) as lines:
        sys.stdout.writelines(["a\n", "b"])
    assert lines == ["[LOG] 'a'", "[LOG] 'b'"]


def test_long_lines_are_cut() -> None:
    with logs.captured(LIMITS) as lines:
        print("x" * (LIMITS.log_line_size + 1))
        print("y" * LIMITS.log_line_size)
    assert lines[0] == f"[LOG] '{'x' * LIMITS.log_line_size}… (cut at 4096 characters)'"
    assert lines[1] == f"[LOG] '{'y' * LIMITS.log_line_size}'"


def test_lines_beyond_the_limit_are_left_out_with_a_word() -> None:
    with logs.captured(LIMITS) as lines:
        for n in range(LIMITS.log_lines + 10):
            print(n)
    assert len(lines) == LIMITS.log_lines + 1
    assert lines[-2:] == ["[LOG] '255'", "[WARN] 'More than 256 lines were logged; the rest is left out.'"]


async def test_runs_side_by_side_keep_their_lines_apart() -> None:
    async def run(name: str) -> list[str]:
        with logs.captured(LIMITS) as lines:
            for n in range(3):
                print(name, end="")
                await asyncio.sleep(0)
                print(n)
        return lines

    one, other = await asyncio.gather(run("a"), run("b"))
    assert one == ["[LOG] 'a0'", "[LOG] 'a1'", "[LOG] 'a2'"]
    assert other == ["[LOG] 'b0'", "[LOG] 'b1'", "[LOG] 'b2'"]


def test_a_run_within_a_run_keeps_its_lines_until_they_are_relayed() -> None:
    with logs.captured(LIMITS) as outer:
        print("before")
        with logs.captured(LIMITS) as inner:
            print("within")
        for line in inner:
            logs.relay(line)
    assert outer == ["[LOG] 'before'", "[LOG] 'within'"]


def test_warnings_outside_still_reach_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with logs.captured(LIMITS):
        pass
    monkeypatch.setattr(logging.getLogger(), "handlers", [logs._handler])
    logging.getLogger("some.library").warning("careful")
    logging.getLogger("some.library").info("by the way")
    assert capsys.readouterr().err == "careful\n"


def test_a_record_that_cannot_be_formatted_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.LogRecord("name", logging.INFO, "file", 1, "%d", ("x",), None)
    with logs.captured(LIMITS) as lines:
        logs._handler.emit(record)
        print("on")
    assert lines == ["[LOG] 'on'"]
    assert "--- Logging error ---" in capsys.readouterr().err
