from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.cli.dotenv import InvalidFile, parse, write

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("\ufeffA=1", {"A": "1"}),
        ("A=1\r\nB = 2 \r\n", {"A": "1", "B": "2"}),
        ("# note\n\n  A=1 # one\n#B=2", {"A": "1"}),
        ("A=a#b", {"A": "a#b"}),
        ("A=", {"A": ""}),
        ("A=1\nA=2", {"A": "2"}),
        ("export A='$B \\n' # x", {"A": "$B \\n"}),
        ('A="a\\n\\"b\\" \\\\ \\$c \\d"', {"A": 'a\n"b" \\ $c \\d'}),
        ("A='one\ntwo'\nB=3", {"A": "one\ntwo", "B": "3"}),
        ("A= # nothing", {"A": ""}),
        ("A=#ff0000 # red", {"A": "#ff0000"}),
        ("A= 'a b'", {"A": "a b"}),
        ("KEY=https://example.org/?a=b&c=d", {"KEY": "https://example.org/?a=b&c=d"}),
    ],
)
def test_lines_are_variables(text: str, variables: dict[str, str]) -> None:
    assert parse(text) == variables


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("A=1\nB", "line 2 is not like NAME=VALUE"),
        ("1A=2", "line 1 is not like NAME=VALUE"),
        ("A='x", "line 1 has no closing quote"),
        ('A=1\n\nB="x\\"', "line 3 has no closing quote"),
        ("A='x'y", "line 1 goes on after the closing quote"),
    ],
)
def test_what_is_no_line_is_named(text: str, fault: str) -> None:
    with pytest.raises(InvalidFile, match=fault):
        parse(text)


@given(st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["Cs"]))))
def test_what_was_written_is_read(variables: dict[str, str]) -> None:
    assert parse(write(variables)) == variables
