"""Which pages are trusted, and where a browser may be sent; what a real Chromium makes of hostile addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.chromium import chromium, empty_window
from yugen.origins import BadOrigin, Origins, cross_site, is_trusted, parse_origin, safe_redirect

OWN = "https://api.example.com"
TRUSTED = ("https://app.example.com", "https://*.example.org", "http://localhost:5173")


@pytest.mark.parametrize(
    "origin",
    [
        "https://api.example.com",
        "https://API.Example.COM",
        "HTTPS://api.example.com:443",
        "https://app.example.com",
        "https://a.example.org",
        "https://a.b.example.org:443",
        "http://localhost:5173",
    ],
)
def test_our_own_and_those_that_are_named_are_trusted(origin: str) -> None:
    assert is_trusted(origin, OWN, TRUSTED)


FOREIGN = [
    None,
    "",
    "null",
    "https://evil.example",
    "https://app.example.com.evil.example",
    "https://evilapp.example.com",
    "https://evil-example.org",
    "https://example.org",
    "https://evilexample.org",
    "https://.example.org",
    "https://a..example.org",
    "https://a.example.org.evil.example",
    "https://example.org.a",
    "https://app.example.com@evil.example",
    "https://user@app.example.com",
    "https://app.example.com:444",
    "https://app.example.com:0443x",
    "https://app.example.com:",
    "https://app.example.com:99999999",
    "http://app.example.com",
    "http://api.example.com",
    "http://localhost",
    "http://localhost:5174",
    "wss://app.example.com",
    "https://app.example.com/",
    "https://app.example.com#",
    "https://app.example.com\\",
    " https://app.example.com",
    "https://app.example.com\n",
    "https://app.example.com, https://evil.example",
    "https://app.example.com https://evil.example",
    "https://app.example.com.",
    "https://\uff41pp.example.com",
    "https://app%2eexample.com",
    "https:app.example.com",
    "//app.example.com",
    "*",
    "https://*.example.org",
    "file://",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_no_other_is(origin: str | None) -> None:
    assert not is_trusted(origin, OWN, TRUSTED)
    assert not is_trusted(origin, "https://other.example")


def test_an_address_of_ours_names_our_origin() -> None:
    assert is_trusted(OWN, f"{OWN}/http/x?y")
    assert not is_trusted("https://evil.example", "https://evil.example@api.example.com/")
    assert safe_redirect(f"{OWN}/x", f"{OWN}/http") == f"{OWN}/x"


def test_nothing_is_trusted_where_our_own_origin_is_unknown() -> None:
    assert not is_trusted("null", "null")
    assert not is_trusted("", "")


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://example.com:443", "https://example.com"),
        ("http://example.com:080", "http://example.com"),
        ("http://example.com:8080", "http://example.com:8080"),
        ("HTTP://[::0:1]:80", "http://[::1]"),
        ("http://127.0.0.1:3210", "http://127.0.0.1:3210"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("http://127.1", "None"),
        ("http://2130706433", "None"),
        ("http://0x7f.0.0.0x1", "None"),
        ("http://127.0.0.1.", "None"),
        ("http://[::1", "None"),
        ("http://[1:2]", "None"),
    ],
)
def test_origins_are_read_as_browsers_write_them(text: str, origin: str) -> None:
    assert str(parse_origin(text)) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://*",
        "https://*.com",
        "https://*.1.2.3.4",
        "https://*.[::1]",
        "https://*.*.example.com",
        "https://a.*.example.com",
        "https://*example.com",
        "*://app.example.com",
        "null",
    ],
)
def test_what_is_to_be_trusted_is_an_origin(text: str) -> None:
    with pytest.raises(BadOrigin, match=r"is not an origin; write|is too wide"):
        Origins([text])


@pytest.mark.parametrize(
    ("headers", "is_cross_site"),
    [
        ({"origin": OWN}, False),
        ({"origin": "https://app.example.com", "sec-fetch-site": "cross-site", "cookie": "s=1"}, False),
        ({"origin": "https://evil.example", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "null", "cookie": "s=1"}, True),
        ({"origin": "https://api.example.com.evil.example"}, True),
        ({"origin": ""}, True),
        ({"sec-fetch-site": "same-origin", "cookie": "s=1"}, False),
        ({"sec-fetch-site": "none", "cookie": "s=1"}, False),
        ({"sec-fetch-site": "same-site", "cookie": "s=1"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": ""}, True),
        ({"cookie": "s=1"}, True),
        ({}, False),
        ({"authorization": "Bearer x"}, False),
    ],
)
def test_requests_of_foreign_pages_are_told(headers: Mapping[str, str], is_cross_site: bool) -> None:
    assert cross_site(headers, OWN, TRUSTED) is is_cross_site


HARMLESS = [
    "/",
    "/notes",
    "/notes?next=%2Fhome&q=//x",
    "/notes#part",
    "/a/@b:c;d",
    "https://app.example.com",
    "https://app.example.com/a?b#c",
    "HTTPS://App.Example.Com:443/a",
    "https://api.example.com/x",
    "https://deep.a.example.org/x",
    "http://localhost:5173/?code=1",
]

HOSTILE = [
    "",
    " ",
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "\x00//evil.example",
    "\x1f/\\evil.example",
    "/\r\n/evil.example",
    "/a\r\nLocation: https://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https:\\\\evil.example",
    "https:/\\evil.example",
    "ht\ntps://evil.example",
    "http:evil.example",
    "https://evil.example",
    "https://evil.example/https://app.example.com",
    "https://app.example.com@evil.example",
    "https://app.example.com:443@evil.example",
    "https://app.example.com%40evil.example",
    "https://user:pass@app.example.com",
    "https://evil.example\\@app.example.com",
    "https://evil.example#@app.example.com",
    "https://evil.example?app.example.com",
    "https://app.example.com.evil.example",
    "https://app.example.com\\.evil.example",
    "https://app.example.com:80",
    "http://app.example.com/",
    "https://app。example。com",
    "https://evil。example",
    "https://[::1]/",
    "https://2130706433/",
    "/%2fevil.example",
    "/%2F%2Fevil.example",
    "/%5cevil.example",
    "/%5C/evil.example",
    "/%09/evil.example",
    "/%0d%0aLocation:x",
    "/.//evil.example",
    "/..//evil.example",
    "/%2e//evil.example",
    "/a/..//evil.example",
    "evil.example",
    "./evil.example",
    "?next=/",
    "#part",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "blob:https://app.example.com/1",
    "view-source:https://app.example.com",
    "ftp://app.example.com/",
    "/" + "a" * 2048,
    "/ü",
    "/a b",
]


@pytest.mark.parametrize("target", HARMLESS)
def test_a_browser_may_be_sent_to_us_and_to_whom_we_trust(target: str) -> None:
    assert safe_redirect(target, OWN, TRUSTED) == target


@pytest.mark.parametrize("target", HOSTILE)
def test_a_browser_is_sent_nowhere_else(target: str) -> None:
    assert safe_redirect(target, OWN, TRUSTED) is None


def resolved(target: str) -> str | None:
    """The origin that a browser arrives at from our own page, as the URL Standard has it; None for other schemes."""
    target = re.sub("[\t\n\r]", "", target.strip("".join(map(chr, range(33)))))
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", target, re.DOTALL)
    if found is not None:
        scheme, rest = found[1].lower(), found[2].replace("\\", "/")
        if scheme not in ("http", "https"):
            return None
        if scheme == "https" and not rest.startswith("//"):
            return OWN  # of our own scheme it is relative
        rest = rest.lstrip("/")
    else:
        rest = target.replace("\\", "/")
        scheme = "https"
        if not rest.startswith("//"):
            return OWN
        rest = rest.lstrip("/")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    host = authority.rpartition("@")[2].lower()
    return str(parse_origin(f"{scheme}://{host}") or f"{scheme}://{host}")


PIECES = st.sampled_from(
    [
        *("/", "\\", "//", "https:", "http:", "https://", "javascript:", "data:", "@", ":", ":443", ":80", "?", "#"),
        *(
            "%2f",
            "%5c",
            "%09",
            "%00",
            "\t",
            "\n",
            "\r",
            "\x00",
            "\x0b",
            "\x7f",
            " ",
            "\u3002",
            "\uff0f",
            ".",
            "..",
            "*.",
        ),
        *(
            "app.example.com",
            "api.example.com",
            "example.org",
            "a.",
            "evil.example",
            "localhost",
            "[::1]",
            "127.1",
            "x",
        ),
    ]
)


@given(st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=20))
@example("/x")
@example("https://a.example.org/x")
def test_whatever_is_let_through_stays_with_us(target: str) -> None:
    allowed = safe_redirect(target, OWN, TRUSTED)
    if allowed is not None:
        assert allowed == target
        assert is_trusted(resolved(target), OWN, TRUSTED)


@pytest.mark.browser
async def test_chromium_agrees() -> None:
    # Alone, what is let through would be judged by what we think that browsers do.
    targets = [*HARMLESS, *HOSTILE]
    async with chromium() as browser:
        page = (await empty_window(browser)).page
        origins = await page.evaluate(
            """([targets, own]) => targets.map((target) => {
                try {
                    const url = new URL(target, own + "/auth/callback");
                    return [url.protocol, url.origin, url.username + url.password];
                } catch { return null; }
            })""",
            [targets, OWN],
        )
    arrived = dict(zip(targets, origins, strict=True))
    for target in HARMLESS:
        protocol, origin, userinfo = arrived[target]
        assert protocol in ("http:", "https:")
        assert is_trusted(origin, OWN, TRUSTED), target
        assert userinfo == ""
    # The table is of attacks: most of it would have led away.
    away = [each for each in HOSTILE if (at := arrived[each]) is None or not is_trusted(at[1], OWN, TRUSTED)]
    assert len(away) > len(HOSTILE) / 2
    modelled = {each: at for each, at in arrived.items() if at is not None and each.isascii() and "%40" not in each}
    for target, (protocol, origin, _) in modelled.items():
        expected = resolved(target)
        if protocol in ("http:", "https:") and "2130706433" not in target:
            assert expected == origin, target
