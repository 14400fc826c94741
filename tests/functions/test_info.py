"""What a server knows of an app survives the way between processes."""

from __future__ import annotations

import json

from yugen.functions.info import AppInfo, FunctionInfo, IndexInfo
from yugen.functions.providers import JwtProvider, OidcProvider

INFO = AppInfo(
    {
        "messages:list": FunctionInfo("query", public=True),
        "messages:clear": FunctionInfo("mutation", public=False, long=True),
    },
    {"messages": {"by_author": IndexInfo(("author", "address.city"), unique=True)}, "users": {}},
    (
        OidcProvider(issuer="https://id.example", audience="app"),
        JwtProvider(issuer="me", jwks="https://me.example/keys", algorithm="ES256"),
    ),
)


def test_info_is_the_same_after_its_data() -> None:
    assert AppInfo.from_data(INFO.to_data()) == INFO


def test_its_data_can_be_json() -> None:
    assert AppInfo.from_data(json.loads(json.dumps(INFO.to_data()))) == INFO
