"""Completion as the shells do it, where they are installed; bash always is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.calling import call, done
from yugen.cli.completion import script, walk
from yugen.cli.main import make_parser

LINES = [
    ("yugen exp", {"export"}),
    ("yugen env ", {"list", "get", "set", "unset", "rotate", "import"}),
    ("yugen env un", {"unset"}),
    ("yugen data --ord", {"--order"}),
    ("yugen data users --order ", {"asc", "desc"}),
    ("yugen logs --kind m", {"mutation"}),
    ("yugen completion ", {"bash", "zsh", "fish"}),
    ("yugen import --data here users.j", {"users.jsonl"}),
]


def complete(shell: str, line: str, folder: Path, *, before: str = "") -> set[str]:
    """What a shell offers for the last word of a line, after it has run a program of its own."""
    words = line.split(" ")
    if shell == "bash":
        quoted = " ".join(f"'{word}'" for word in words)
        call = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _yugen; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        command = ["bash", "--norc", "-c", f"{before}\n{script(make_parser(), 'bash')}\n{call}"]
    else:
        command = ["fish", "--no-config", "-c", f"{before}\n{script(make_parser(), 'fish')}\ncomplete -C '{line}'"]
    printed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    assert not printed.stderr
    return {text.split("\t")[0] for text in printed.stdout.splitlines() if text}


@pytest.mark.parametrize(("line", "offered"), LINES)
@pytest.mark.parametrize(
    "shell",
    ["bash", pytest.param("fish", marks=pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed"))],
)
def test_what_comes_next_is_offered(tmp_path: Path, shell: str, line: str, offered: set[str]) -> None:
    (tmp_path / "users.jsonl").touch()
    assert complete(shell, line, tmp_path) == offered


def test_bash_quotes_names_of_files_and_goes_on_after_folders(tmp_path: Path) -> None:
    (tmp_path / "my users.jsonl").touch()
    (tmp_path / "my data *").mkdir()
    compopt = 'compopt() { echo "told: $*"; }'  # which bash has only while it completes something
    told = "told: -o filenames"
    assert complete("bash", "yugen import my", tmp_path, before=compopt) == {told, "my users.jsonl", "my data *"}
    assert complete("bash", "yugen data --data my", tmp_path, before=compopt) == {told, "my data *"}
    assert complete("bash", "yugen data --order a", tmp_path, before=compopt) == {"asc"}


@pytest.mark.parametrize(
    "shell",
    [
        "bash",
        *(
            pytest.param(each, marks=pytest.mark.skipif(not shutil.which(each), reason=f"{each} is not installed"))
            for each in ("zsh", "fish")
        ),
    ],
)
def test_a_shell_can_read_its_script(shell: str) -> None:
    text = done("completion", shell).out
    subprocess.run([shell, "-n"], input=text, check=True, capture_output=True, text=True)


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
@pytest.mark.parametrize(
    ("words", "offered"), [("env ''", "list"), ("data --order ''", "asc"), ("data --li", "--limit")]
)
def test_zsh_runs_it(words: str, offered: str) -> None:
    # Its completion system wants a terminal, so what it would be told is written down instead.
    program = f"""
        compdef() {{ true; }}
        _files() {{ print files; }}
        compadd() {{ print -l -- "$@"; }}
        _describe() {{ print -l -- ${{(P)2}}; }}
        {script(make_parser(), "zsh")}
        words=(yugen {words}); CURRENT=$#words; _yugen
    """
    printed = subprocess.run(["zsh", "-f", "-c", program], check=True, capture_output=True, text=True)
    assert not printed.stderr
    assert offered in {line.split(":")[0] for line in printed.stdout.splitlines()}


def test_a_script_knows_every_command_and_option() -> None:
    for shell in ("bash", "zsh", "fish"):
        text = script(make_parser(), shell)
        for command in walk(make_parser()):
            assert "".join(f" {name}" for name in command.path) in text
            for option in command.options:
                assert all(name.lstrip("-") in text for name in option.names)


def test_other_shells() -> None:
    called = call("completion", "tcsh")
    assert called.status == 2
    assert "bash" in called.err
