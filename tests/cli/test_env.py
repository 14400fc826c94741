from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.calling import call, done
from tests.cli.chat import write_chat
from yugen.vault import new_key


@pytest.fixture
def here(tmp_path: Path) -> list[str]:
    done("run", "messages:list", "--data", tmp_path / "data", "--app", write_chat(tmp_path))
    return ["--data", str(tmp_path / "data")]


def test_variables_are_set_and_removed(here: list[str], tmp_path: Path) -> None:
    assert done("env", "set", "GREETING", "hello", *here).err == "Set GREETING.\n"
    done("env", "set", "PAIR=a=b", *here)
    done("env", "set", "SECRET", *here, stdin="from a file\n")
    assert done("env", "list", *here).out == "GREETING=hello\nPAIR=a=b\nSECRET='from a file'\n"
    assert done("env", "list", "--json", *here).json == [{"GREETING": "hello", "PAIR": "a=b", "SECRET": "from a file"}]
    assert done("env", "get", "PAIR", *here).out == "a=b\n"
    assert done("env", "get", "PAIR", "--json", *here).json == ["a=b"]
    assert done("run", "messages:hidden", "--app", tmp_path / "app", *here).json == ["hello"]
    assert done("env", "unset", "PAIR", "SECRET", *here).err == "Removed PAIR, SECRET.\n"
    assert done("env", "list", *here).out == "GREETING=hello\n"


def test_variables_that_are_not_there(here: list[str]) -> None:
    done("env", "set", "A", "1", *here)
    called = call("env", "get", "B", *here)
    assert (called.status, called.err) == (1, "There is no variable B; set it with `yugen env set B`.\n")
    called = call("env", "unset", "A", "B", *here)
    assert (called.status, called.err) == (1, "There is no variable B; see which there are with `yugen env list`.\n")
    assert done("env", "list", *here).out == "A=1\n"


def test_a_file_is_set_as_a_whole_or_not_at_all(here: list[str], tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text('# ours\nA=1\nexport B="two\\nlines"\n')
    assert done("env", "import", file, *here).err == "Set A, B.\n"
    listed = done("env", "list", *here).out
    assert listed == "A=1\nB='two\nlines'\n"
    done("env", "unset", "A", "B", *here)
    done("env", "import", "-", *here, stdin=listed)
    assert done("env", "list", *here).out == listed
    for text, fault in [
        ("A=3\nwhat\n", "line 2 is not like NAME=VALUE. Nothing was set."),
        ("\n", "There are no variables in"),
    ]:
        file.write_text(text)
        called = call("env", "import", file, *here)
        assert called.status in (1, 2)
        assert fault in called.err
    called = call("env", "import", "-", *here, stdin=f"A=3\nC={'x' * 10_000}\n")
    assert (called.status, "C is longer than" in called.err) == (1, True)
    assert done("env", "list", *here).out == listed


def test_a_file_that_cannot_be_read(here: list[str], tmp_path: Path) -> None:
    assert "No such file" in call("env", "import", tmp_path / "none", *here).err
    (tmp_path / "latin").write_bytes(b"A=\xe9")
    assert "not in UTF-8" in call("env", "import", tmp_path / "latin", *here).err


class Interrupted(io.StringIO):
    """Standard input at which somebody presses Ctrl-C."""

    def read(self, size: int | None = -1) -> str:
        raise KeyboardInterrupt


def test_a_value_that_does_not_come(here: list[str]) -> None:
    for command in (["set", "A"], ["import", "-"]):
        called = call("env", *command, *here, stdin=Interrupted())
        assert (called.status, called.out, called.err) == (130, "", "")
    latin = io.TextIOWrapper(io.BytesIO(b"\xe9"), encoding="utf-8")
    called = call("env", "set", "A", *here, stdin=latin)
    assert (called.status, called.err) == (1, "The value of A is not in UTF-8. Nothing was set.\n")
    called = call("env", "set", "A", "\udce9", *here)  # as Python makes it of an argument in Latin-1
    assert (called.status, called.err.startswith("Text cannot be read or written as it is (")) == (1, True)
    assert done("env", "list", *here).out == ""


def test_what_the_deployment_refuses_is_told(here: list[str]) -> None:
    called = call("env", "set", "1A", "x", *here)
    assert called.status == 1
    assert called.err.startswith("'1A' cannot name an environment variable")


def test_a_command_must_follow(here: list[str]) -> None:
    assert call("env").status == 2


def test_only_names(here: list[str]) -> None:
    assert done("env", "list", "--names", *here).out == ""
    assert done("env", "list", "--names", "--json", *here).json == [[]]
    done("env", "import", "-", *here, stdin="B=a secret\nA=1\n")
    assert done("env", "list", "--names", *here).out == "A\nB\n"
    assert done("env", "list", "--names", "--json", *here).json == [["A", "B"]]


def test_the_documents_of_variables_do_not_show_what_they_hold(here: list[str]) -> None:
    done("env", "set", "A", "a secret", *here)
    [document] = done("data", "_environment_variables", "--json", *here).json
    assert document.keys() == {"_id", "_creationTime", "name", "size"}
    assert (document["name"], document["size"]) == ("A", 8)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_secret_is_typed_where_nobody_sees_it(here: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(prompt: str) -> str:
        assert prompt == "The value of A: "
        return "rosebud"

    monkeypatch.setattr("yugen.cli.env.getpass", typed)
    monkeypatch.setattr("tests.cli.calling.io", SimpleNamespace(StringIO=Terminal))
    assert done("env", "set", "A", *here).err == "Set A.\n"
    monkeypatch.undo()
    assert done("env", "get", "A", *here).out == "rosebud\n"


def test_another_key(here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "data" / "encryption_key"
    done("env", "set", "A", "1", *here)
    before = file.read_text()
    assert done("env", "rotate", *here).err == "Made a new key, sealed 1 variable with it, and dropped the old one.\n"
    assert file.read_text() != before
    assert done("env", "rotate", "--json", *here).json == [{"variables": 1, "given": False, "dropped": 1}]
    monkeypatch.setenv("YUGEN_ENCRYPTION_KEY", new_key())
    done("env", "set", "B", "2", *here)
    assert done("env", "rotate", *here).err == (
        "Sealed 2 variables with the first key of YUGEN_ENCRYPTION_KEY; no other is needed any more.\n"
    )
    assert not file.exists()
    assert done("env", "list", *here).out == "A=1\nB=2\n"
    monkeypatch.setenv("YUGEN_ENCRYPTION_KEY", "hunter2")
    called = call("env", "list", *here)
    assert (called.status, called.out) == (1, "")
    assert called.err.startswith("The key in YUGEN_ENCRYPTION_KEY is no key: write 32 random bytes in base 64")


def test_a_key_that_is_missing(here: list[str], tmp_path: Path) -> None:
    done("env", "set", "A", "1", *here)
    (tmp_path / "data" / "encryption_key").unlink()
    called = call("env", "list", *here)
    assert called.status == 1
    assert (
        "A was sealed with another key than those at hand. Put the key back, set it again, or remove it." in called.err
    )
    assert "The environment variable A was sealed with another key" in call("env", "rotate", *here).err
    assert done("env", "list", "--names", *here).out == "A\n"
    done("env", "unset", "A", *here)
    assert done("env", "list", *here).out == ""
