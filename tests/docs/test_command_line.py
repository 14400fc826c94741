"""The page about the command line has every command and option there is, and no other, and shows what tests run."""

from __future__ import annotations

import re

import pytest

from reliability.serving import ROOT
from yugen.cli.completion import Command, walk
from yugen.cli.main import make_parser

PAGE = (ROOT / "docs/command-line.md").read_text()
COMMANDS = [command for command in walk(make_parser()) if command.path]
COMMON = ("-h", "--help", "--json", "--url", "--data", "--admin-key", "--app")
"""What the beginning of the page tells of all commands."""


def name(command: Command) -> str:
    return f"yugen {' '.join(command.path)}"


def section(command: Command) -> str:
    found = re.search(rf"^##+ {re.escape(name(command))}$(.*?)(?=^##+ yugen |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/command-line.md has no section {name(command)}"
    return found[1]


def examples() -> set[str]:
    """What the help shows, all of which tests/cli/test_commands.py runs."""
    return {line.strip() for command in COMMANDS for line in (command.parser.epilog or "").splitlines()}


@pytest.mark.parametrize("command", COMMANDS, ids=name)
def test_a_command_and_all_its_options_are_told_of(command: Command) -> None:
    text = section(command)
    for option in command.options:
        assert any(each in COMMON or each in text for each in option.names), option.names


def test_nothing_is_told_of_that_there_is_not() -> None:
    known = {each for command in COMMANDS for option in command.options for each in option.names}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= known
    assert set(re.findall(r"^##+ (yugen .*)$", PAGE, re.MULTILINE)) == set(map(name, COMMANDS))


def test_what_is_shown_is_run() -> None:
    shown = [line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]
    assert shown
    assert set(shown) <= examples()
