from __future__ import annotations

import pytest

from yugen_client.address import sync_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:3210", "ws://localhost:3210/api/sync"),
        ("http://localhost:3210/", "ws://localhost:3210/api/sync"),
        ("https://happy-otter-123.convex.cloud", "wss://happy-otter-123.convex.cloud/api/sync"),
        ("https://host/base/", "wss://host/base/api/sync"),
        ("wss://[::1]:80", "wss://[::1]:80/api/sync"),
    ],
)
def test_the_socket_is_under_the_deployment(url: str, expected: str) -> None:
    assert sync_url(url) == expected


@pytest.mark.parametrize(
    "url", ["", "localhost:3210", "ftp://host", "http://", "http://host?a=1", "http://host#a", "https://a.convex.site"]
)
def test_other_addresses_are_refused_by_name(url: str) -> None:
    with pytest.raises(ValueError, match=r"give the|write it like") as raised:
        sync_url(url)
    assert repr(url) in str(raised.value)
