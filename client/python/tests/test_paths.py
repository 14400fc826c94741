from __future__ import annotations

import pytest

from yugen_client.paths import canonical_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("messages:list", "messages:list"),
        ("messages.js:list", "messages:list"),
        ("admin/users:list", "admin/users:list"),
        ("mail", "mail:default"),
        ("mail.js", "mail:default"),
    ],
)
def test_spellings_of_one_function(path: str, expected: str) -> None:
    assert canonical_path(path) == expected


@pytest.mark.parametrize("path", ["", ":", ":list", "messages:", ".js:list"])
def test_names_of_nothing(path: str) -> None:
    with pytest.raises(ValueError, match="not the name of a function"):
        canonical_path(path)
