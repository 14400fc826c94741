"""Completion for shells: scripts that know the commands and options of the parser, and start no Python."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

Completes = Sequence[str] | Literal["file", "folder", ""] | None
"""What may stand in a place: some words, a file, a folder, something nobody knows, or (None) nothing."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command; `value` is what follows it."""

    names: tuple[str, ...]
    help: str
    value: Completes


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes:
        path: its name after the names of the commands that it is one of; none for the program itself.
        help: what it does.
        commands: the commands that follow it.
        options: its options.
        value: what follows it that is no option.
        parser: its parser.
    """

    path: tuple[str, ...]
    help: str
    commands: tuple[str, ...]
    options: tuple[Option, ...]
    value: Completes
    parser: argparse.ArgumentParser


def walk(parser: argparse.ArgumentParser, path: tuple[str, ...] = (), help: str = "") -> Iterator[Command]:
    """The command of a parser, and all those that follow it."""
    actions: list[Any] = parser._actions  # argparse has no other list of what it takes
    groups = [action for action in actions if isinstance(action.choices, dict)]
    inner = {name: (each, _help(group, name)) for group in groups for name, each in group.choices.items()}
    options = [
        Option(tuple(each.option_strings), _short(each.help), _value(each)) for each in actions if each.option_strings
    ]
    others = [_value(each) for each in actions if not each.option_strings and each not in groups]
    known = next((value for value in others if value), "" if others else None)
    yield Command(path, _short(help), tuple(inner), tuple(options), known, parser)
    for name, (each, text) in inner.items():
        yield from walk(each, (*path, name), text)


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell.

    Args:
        parser: of the program.
        shell: bash, zsh or fish.
    """
    return _SCRIPTS[shell](list(walk(parser)))


def _help(group: Any, name: str) -> str:
    return next((each.help or "" for each in group._choices_actions if each.dest == name), "")


def _value(action: Any) -> Completes:
    if action.nargs == 0:
        return None
    if action.choices:
        return [str(choice) for choice in action.choices]
    if action.type is Path:
        return "folder" if action.metavar == "DIR" or action.dest in ("app", "data") else "file"
    return ""


def _short(text: str | None) -> str:
    """The first sentence of a help text."""
    return (text or "").partition(". ")[0].removesuffix(".").replace("%%", "%")


def _key(path: Sequence[str]) -> str:
    return "".join(f" {name}" for name in path)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _either(words: Sequence[str]) -> str:
    return " | ".join(map(_quoted, words))


# bash and zsh, whose functions are much the same ----------------------------------------------------------------------


_BASH_FILES: Final = (
    "_yugen_files() {",
    "    local name",
    "    compopt -o filenames 2>/dev/null",  # bash then quotes them, and goes on after folders
    '    COMPREPLY=() && while IFS= read -r name; do COMPREPLY+=("$name"); done < <(compgen "$1" -- "$current")',
    "}",
)


def _bash(commands: Sequence[Command]) -> str:
    def values(value: Completes) -> str:
        match value:
            case "file":
                return "_yugen_files -f"
            case "folder":
                return "_yugen_files -d"
            case "" | None:
                return "COMPREPLY=()"
            case words:
                return f'COMPREPLY=($(compgen -W {_quoted(" ".join(words))} -- "$current"))'

    lines = [
        "# Completion of yugen for bash, made by `yugen completion bash`.",
        *_BASH_FILES,
        "_yugen() {",
        '    local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD - 1]}" command="" i',
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        '        case "$command ${COMP_WORDS[i]}" in',
        f'            {_either(_paths(commands))}) command="$command ${{COMP_WORDS[i]}}" ;;',
        "        esac",
        "    done",
        '    case "$command $before" in',
        *(f"        {_either(keys)}) {values(value)}; return ;;" for keys, value in _with_values(commands)),
        "    esac",
        "    if [[ $current == -* ]]; then",
        '        case "$command" in',
        *(f"            {_quoted(_key(each.path))}) {values(_options(each))} ;;" for each in commands),
        "        esac",
        "    else",
        '        case "$command" in',
        *(f"            {_quoted(_key(each.path))}) {values(each.commands or each.value)} ;;" for each in commands),
        "        esac",
        "    fi",
        "}",
        "complete -F _yugen yugen",
    ]
    return "\n".join(lines) + "\n"


def _zsh(commands: Sequence[Command]) -> str:
    def values(value: Completes) -> str:
        match value:
            case "file":
                return "_files"
            case "folder":
                return "_files -/"
            case "" | None:
                return "true"
            case words:
                return f"compadd -- {' '.join(map(_quoted, words))}"

    def described(kind: str, found: Sequence[tuple[str, str]]) -> str:
        texts = " ".join(_quoted(f"{name.replace(':', chr(92) + ':')}:{text}") for name, text in found)
        return f"found=({texts}); _describe {kind} found"

    helps = {each.path: each.help for each in commands}
    lines = [
        "#compdef yugen",
        "# Completion of yugen for zsh, made by `yugen completion zsh`.",
        "_yugen() {",
        "    local current=$words[CURRENT] before=$words[CURRENT-1] command='' word",
        "    local -a found",
        "    for word in ${words[2,CURRENT-1]}; do",
        '        case "$command $word" in',
        f'            ({_either(_paths(commands))}) command="$command $word" ;;',
        "        esac",
        "    done",
        '    case "$command $before" in',
        *(f"        ({_either(keys)}) {values(value)}; return ;;" for keys, value in _with_values(commands)),
        "    esac",
        "    if [[ $current == -* ]]; then",
        '        case "$command" in',
        *(
            f"            ({_quoted(_key(each.path))}) "
            f"{described('option', [(name, option.help) for option in each.options for name in option.names])} ;;"
            for each in commands
        ),
        "        esac",
        "    else",
        '        case "$command" in',
        *(
            f"            ({_quoted(_key(each.path))}) "
            + (
                described("command", [(name, helps[*each.path, name]) for name in each.commands])
                if each.commands
                else values(each.value)
            )
            + " ;;"
            for each in commands
        ),
        "        esac",
        "    fi",
        "}",
        'if [[ $funcstack[1] == _yugen ]]; then _yugen "$@"; else compdef _yugen yugen; fi',
    ]
    return "\n".join(lines) + "\n"


def _paths(commands: Sequence[Command]) -> list[str]:
    return [_key(each.path) for each in commands if each.path]


def _options(command: Command) -> list[str]:
    return [name for option in command.options for name in option.names]


def _with_values(commands: Sequence[Command]) -> Iterator[tuple[list[str], Completes]]:
    """What follows options, each with the commands and the names that it follows."""
    for command in commands:
        for option in command.options:
            if option.value is not None:
                yield [f"{_key(command.path)} {name}" for name in option.names], option.value


# fish -----------------------------------------------------------------------------------------------------------------


def _fish(commands: Sequence[Command]) -> str:
    helps = {each.path: each.help for each in commands}
    lines = [
        "# Completion of yugen for fish, made by `yugen completion fish`.",
        "function __yugen_at",
        "    set -l command ''",
        "    for word in (commandline -opc)[2..]",
        '        switch "$command $word"',
        f"            case {' '.join(map(_fish_quoted, _paths(commands)))}",
        '                set command "$command $word"',
        "        end",
        "    end",
        '    test "$command" = "$argv[1]"',
        "end",
        "complete -c yugen -f",
    ]
    for command in commands:
        at = f"complete -c yugen -n {_fish_quoted(f'__yugen_at {_fish_quoted(_key(command.path))}')}"
        lines += [f"{at} -a {name} -d {_fish_quoted(helps[*command.path, name])}" for name in command.commands]
        for option in command.options:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            lines.append(f"{at} {names}{_fish_value(option.value)} -d {_fish_quoted(option.help)}")
        if command.value is not None:
            lines.append(f"{at}{_fish_place(command.value)}")
    return "\n".join(lines) + "\n"


def _fish_value(value: Completes) -> str:
    match value:
        case None:
            return ""
        case "file":
            return " -r -F"
        case "folder":
            return " -x -a '(__fish_complete_directories)'"
        case "":
            return " -x"
        case words:
            return f" -x -a {_fish_quoted(' '.join(words))}"


def _fish_place(value: Completes) -> str:
    match value:
        case "file":
            return " -F"
        case "folder":
            return " -a '(__fish_complete_directories)'"
        case "" | None:
            return " -f"
        case words:
            return f" -a {_fish_quoted(' '.join(words))}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SCRIPTS: Final[dict[str, Callable[[Sequence[Command]], str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
