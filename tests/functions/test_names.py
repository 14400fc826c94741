"""The spellings of function names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.functions.names import ComponentNotFound, FunctionNotFound, canonical_path, component_path, is_export


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("messages:list", "messages:list"),
        ("messages.js:list", "messages:list"),
        ("admin/users:list", "admin/users:list"),
        ("tasks", "tasks:default"),
        ("tasks.js", "tasks:default"),
        ("tasks:default", "tasks:default"),
        ("tasks.js:default", "tasks:default"),
        ("_private/m_1:_x1", "_private/m_1:_x1"),
    ],
)
def test_all_spellings_of_a_name_are_one_path(text: str, path: str) -> None:
    assert canonical_path(text) == path
    assert canonical_path(path) == path


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":",
            "messages:",
            ":list",
            "a:b:c",
            "/a:b",
            "a/:b",
            "a//b:c",
            "../a:b",
            "a/..:b",
            "a..b:c",
            "_:a",
            "a:__",
        ),
        *("a b:c", "a:b c", "a:b-c", "a\n:b", "a:b\n", "a:b\x00", "größe:a", "a:größe", "a:1b", "os\\path:a"),
        *(f"{'a' * 65}:b", f"a:{'b' * 65}", f"{'a/' * 600}a:b", "a" * 1_000_000),
    ],
)
def test_what_no_function_can_be_called_is_not_found(text: str) -> None:
    with pytest.raises(FunctionNotFound) as caught:
        canonical_path(text)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


def test_what_administrators_are_told_begins_as_the_command_line_expects() -> None:
    for text in ("a b", "x" * 2000):
        with pytest.raises(FunctionNotFound, match=r"^Could not find function `"):
            canonical_path(text, public=False)
        with pytest.raises(FunctionNotFound, match=r"^Could not find public function for `"):
            canonical_path(text)


@pytest.mark.parametrize("component", ["billing", "a/b", "ü:\n", "x" * 5000])
def test_a_function_of_a_component_is_refused_in_its_own_words(component: str) -> None:
    with pytest.raises(ComponentNotFound) as caught:
        canonical_path(component_path(component, "messages:list"))
    assert str(caught.value).startswith(
        "You do not have permission to perform this operation: an app has no components"
    )
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@given(st.text(max_size=30) | st.text("ab/._:js-", max_size=12))
def test_every_text_has_one_path_or_none(text: str) -> None:
    try:
        path = canonical_path(text)
    except FunctionNotFound:
        return
    assert canonical_path(path) == path
    module, _, export = path.rpartition(":")
    assert is_export(export)
    assert ":" not in module
    assert ".." not in path
