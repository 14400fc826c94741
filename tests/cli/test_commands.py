"""Every command there is: its help has examples, and each of these does what it should against a real server."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from reliability.serving import YUGEN, Process, Server, serving
from tests.cli.calling import call, done_there
from tests.cli.chat import write_chat
from yugen.cli.commands import moment, whole
from yugen.cli.completion import Command, walk
from yugen.cli.main import make_parser

LEAVES = [command for command in walk(make_parser()) if not command.commands]
"""Every command that others do not follow. One that comes new is run here by the examples of its help."""

ENDLESS = ("dev", "serve", "--watch", "--follow")
"""What goes on until it is interrupted."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


def name(command: Command) -> str:
    return " ".join(command.path)


def examples(command: Command) -> list[str]:
    text = (command.parser.epilog or "").partition("examples:\n")[2].partition("\n\n")[0]
    return [line.strip() for line in text.splitlines()]


@dataclass
class Shell:
    """A folder in which a newcomer works, with a server that runs."""

    folder: Path
    server: Server

    async def reset(self) -> None:
        """Puts there what the examples take for given."""
        files = {
            "users.jsonl": '{"name": "Ada"}\n',
            "users.csv": "name,zip\nBob,00501\n",
            "key.txt": "secret\n",
            ".env": "A=1\n",
            "none.jsonl": "",
        }
        for each in self.folder.iterdir():
            if each.is_file():
                each.unlink()
        for file, text in files.items():
            (self.folder / file).write_text(text)
        here = ("--url", self.server.url, "--data", self.folder / ".yugen")
        await done_there("import", self.folder / "none.jsonl", "--table", "users", "--replace", "--yes", *here)
        await done_there("env", "set", "GREETING", "hello", *here)
        await done_there("export", self.folder / "backup.zip", *here)
        await done_there("run", "messages:list", *here)  # for the log

    def process(self, line: str) -> Process:
        """What a shell does with a line."""
        env = {"PATH": f"{YUGEN.parent}:/usr/bin:/bin", "YUGEN_URL": self.server.url}
        return Process("bash", "-c", line, cwd=self.folder, env=env)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shell(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shell]:
    folder = tmp_path_factory.mktemp("work")
    async with serving(write_chat(folder), folder / ".yugen") as server:
        yield Shell(folder, server)


@pytest.mark.parametrize("command", LEAVES, ids=name)
async def test_the_examples_of_its_help_do_what_they_should(command: Command, shell: Shell, tmp_path: Path) -> None:
    assert examples(command), f"yugen {name(command)} has no examples in its help"
    await shell.reset()
    for line in examples(command):
        assert line.startswith("yugen ") or "$(yugen " in line
        told = line
        if command.path[0] in ("dev", "serve"):
            told = f"{line} --host 127.0.0.1 --port 0 --data {shlex.quote(str(tmp_path / 'data'))}"
        async with shell.process(f"exec {told}" if line.startswith("yugen ") else told) as process:
            if any(part in line.split() for part in ENDLESS):
                await process.printed(r"\S")
                if command.path[0] in ("dev", "serve"):
                    await process.printed("Yugen is ready at")
                process.interrupt()
                assert await process.ended() in (0, 130), process.lines
            else:
                assert await process.ended() == 0, "\n".join([line, *process.lines])


@pytest.mark.parametrize("command", list(walk(make_parser())), ids=lambda command: name(command) or "yugen")
async def test_its_help_says_what_it_does(command: Command) -> None:
    called = call(*command.path, "--help")
    assert called.status == 0
    assert called.out.startswith(f"usage: {' '.join(('yugen', *command.path))}")
    for option in command.options:
        assert option.help, f"{option.names} of yugen {name(command)} is not explained"
        assert all(each in called.out for each in option.names)
    if command.path:
        assert "exit status:" in called.out
        assert all(each in called.out for each in examples(command))


async def test_output_that_is_data_can_be_had_as_json() -> None:
    without = {name(each) for each in LEAVES if not any("--json" in option.names for option in each.options)}
    # What these print is no data: a server's log, a word that it is done, a script.
    assert without >= {"dev", "serve", "completion"}
    assert without.isdisjoint(
        {"run", "data", "import", "export", "env list", "env get", "logs", "functions", "why", "doctor"}
    )


@pytest.mark.parametrize("text", ["x", "10", "10y", "2026-13-01"])
async def test_what_is_no_time_is_refused(text: str) -> None:
    called = call("logs", "--since", text)
    assert called.status == 2
    assert f"{text} is no time; write 10m, or 2026-01-31T12:00" in called.err


async def test_times_are_ago_or_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 100_000.0)
    assert [moment(text) for text in ("30s", "1.5m", "2h", "1d")] == [99_970, 99_910, 92_800, 13_600]
    assert moment("2026-01-31T12:00:00+00:00") == 1_769_860_800


async def test_numbers_have_bounds() -> None:
    number: Callable[[str], int] = whole(1, 10)
    assert number("10") == 10
    assert call("data", "messages", "--limit", "0").status == 2
