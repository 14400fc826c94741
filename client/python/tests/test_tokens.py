from __future__ import annotations

from typing import Any

import pytest
from scripted import token

from yugen_client import AdminAuth
from yugen_client.tokens import refresh_seconds

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("claims", "fresh", "seconds"),
    [
        ({"iat": NOW - 500, "exp": NOW + 100}, False, 90.0),
        ({"iat": NOW - 500, "exp": NOW + 100}, True, 590.0),  # the clock of this machine may be wrong
        ({"exp": NOW + 100}, True, 90.0),
        ({"exp": NOW + 5}, False, 2.5),
        ({"iat": NOW, "exp": NOW + 8}, True, 4.0),
        ({"exp": NOW - 5}, True, None),
        ({"iat": NOW - 500, "exp": NOW - 100}, False, 0.0),
        ({"iat": NOW, "exp": NOW + 2}, True, None),
        ({"iat": NOW}, True, None),
        ({"iat": NOW, "exp": "tomorrow"}, True, None),
        ({"iat": True, "exp": True}, False, None),
    ],
)
def test_when_to_replace_a_token(claims: dict[str, Any], fresh: bool, seconds: float | None) -> None:
    assert refresh_seconds(token(**claims), fresh=fresh, now=NOW) == seconds


@pytest.mark.parametrize("value", [None, AdminAuth("key"), "opaque", "a.b", "a.!.c", "a.W10.c", "a.bm8.c", "a.é.c"])
def test_what_does_not_say_when_it_ends(value: Any) -> None:
    assert refresh_seconds(value, fresh=True, now=NOW) is None


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(AdminAuth("secret", acting_as={"subject": "ada"}))
