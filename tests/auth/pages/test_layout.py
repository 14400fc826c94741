"""What the pages look like, and what browsers are told of them."""

from __future__ import annotations

import pytest

from yugen.auth.pages.layout import checked_colour, document, headers, stylesheet


@pytest.mark.parametrize(
    ("accent", "on_it"),
    [("#000", "#fff"), ("#4338ca", "#fff"), ("#ff0", "#000"), ("#ffffff", "#000"), ("#777", "#000")],
)
def test_what_is_written_on_a_colour_can_be_read(accent: str, on_it: str) -> None:
    assert f"--accent: {accent}; --on-accent: {on_it};" in stylesheet(accent)


@pytest.mark.parametrize("colour", ["red", "#12", "#12345g", "#fff; } body { display: none", ""])
def test_a_colour_is_one(colour: str) -> None:
    with pytest.raises(ValueError, match="is no colour; write it as"):
        checked_colour(colour)


def test_nothing_comes_from_elsewhere_and_nobody_frames_it() -> None:
    given = headers(forms=["https://app.example.com"])
    policy = dict(part.split(" ", 1) for part in given["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["form-action"] == "'self' https://app.example.com"
    assert given["X-Frame-Options"] == "DENY"


def test_a_page_says_whose_it_is_and_escapes_it() -> None:
    html = document(title="Sign in", site="A & <B>", logo='/l"ogo.svg', base="/auth", content=None)
    assert "<title>Sign in · A &amp; &lt;B&gt;</title>" in html
    assert 'src="/l&quot;ogo.svg"' in html
    assert html.startswith('<!doctype html>\n<html lang="en">')
