"""What a client says it is."""

from __future__ import annotations

import pytest

from yugen.sync.client import ClientInfo


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("python-0.8.1", ClientInfo("python", (0, 8))),
        ("python-convex-0.8.1", ClientInfo("python-convex", (0, 8))),
        ("npm-cli-1.2.3", ClientInfo("npm-cli", (1, 2))),
        ("rust-0.10.4-alpha.1", ClientInfo("rust", (0, 10))),
        ("1.48.0", ClientInfo("npm", (1, 48))),
        ("yugen-browser-0.1.0", ClientInfo("yugen-browser", (0, 1))),
        ("", ClientInfo()),
        (None, ClientInfo()),
        ("nonsense", ClientInfo()),
        ("npm-1", ClientInfo()),
        ("npm-" + "9" * 50 + ".1.1", ClientInfo()),
    ],
)
def test_names_and_versions(text: str | None, client: ClientInfo) -> None:
    assert ClientInfo.parse(text, name="npm") == client


@pytest.mark.parametrize(
    ("text", "takes"),
    [
        ("1.28.0", True),
        ("2.0.0", True),
        ("1.27.9", False),
        ("python-0.8.1", False),
        ("npm-cli-1.48.0", False),
        ("yugen-python-0.1.0", True),
        ("", False),
    ],
)
def test_only_clients_that_are_known_to_take_chunks_get_them(text: str, takes: bool) -> None:
    assert ClientInfo.parse(text, name="npm").takes_chunks is takes
