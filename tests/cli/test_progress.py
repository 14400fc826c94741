from __future__ import annotations

import asyncio
import io

import pytest

from yugen.cli.progress import Progress, in_words, waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("done", "total", "seconds", "line"),
    [
        (0, 10_000_000, 0.0, f"Sending [{'-' * 30}]   0% of 10.0 MB"),
        (5_000_000, 10_000_000, 9.0, f"Sending [{'#' * 15}{'-' * 15}]  50% of 10.0 MB"),
        (20_000_000, 10_000_000, 9.0, f"Sending [{'#' * 30}] 100% of 10.0 MB"),
        (5, None, 9.4, "Sending 9 s"),
        (0, 0, 0.0, "Sending 0 s"),
    ],
)
def test_the_line(done: int, total: int | None, seconds: float, line: str) -> None:
    assert in_words("Sending", done, total, seconds) == line


def test_a_terminal_shows_it_and_is_left_clean() -> None:
    terminal = Terminal()
    progress = Progress("Sending", 100, terminal)
    progress.advance(50)
    progress.advance(50)  # too soon after the other
    progress.clear()
    assert terminal.getvalue().count("Sending") == 1
    assert " 50% " in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_elsewhere_nothing_is_shown() -> None:
    stream = io.StringIO()
    progress = Progress("Sending", 100, stream)
    progress.advance(100)
    progress.clear()
    assert stream.getvalue() == ""


async def test_waiting_shows_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    async with waiting("Importing"):
        while not terminal.getvalue():  # noqa: ASYNC110 -- the line is drawn in the next turn
            await asyncio.sleep(0)
    assert terminal.getvalue() == "\r\x1b[KImporting 0 s\r\x1b[K"
