"""How the pages look, and what browsers are told about them: one column, light or dark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from yugen.auth.pages.html import Content, Html, element, join

SCRIPT: Final = "pages.js"
STYLE: Final = "pages.css"

_COLOUR: Final = re.compile(r"#(?:[0-9a-fA-F]{3}){1,2}")


def document(*, title: str, site: str | None, logo: str | None, base: str, content: Content) -> Html:
    """A whole page.

    Args:
        title: its heading.
        site: the name of the app.
        logo: the address of its picture.
        base: the address that all of ours begin with.
        content: what is below the heading.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="robots", content="noindex"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title if site is None else f"{title} · {site}"),
        element("link", rel="icon", href="data:,"),
        element("link", rel="stylesheet", href=f"{base}/{STYLE}"),
        element("script", src=f"{base}/{SCRIPT}", type="module"),
    )
    brand = [
        None if logo is None else element("img", src=logo, alt="" if site else "Home", height=40),
        None if site is None else element("span", site),
    ]
    body = element(
        "body",
        element("main", element("p", *brand, class_="brand") if logo or site else None, element("h1", title), content),
    )
    return join(Html("<!doctype html>\n"), element("html", head, body, lang="en"))


def headers(*, images: Sequence[str] = (), forms: Sequence[str] = ()) -> dict[str, str]:
    """What goes with every page.

    Nothing on it comes from elsewhere, no other page may frame it, and forms go to us. The referrer policy is not
    `no-referrer`, with which browsers would not say of a form from which origin it comes (Fetch, 3.2).

    Args:
        images: from where else pictures may come, as origins.
        forms: where else a form may lead in the end, as origins.
    """
    policy = {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "connect-src": ["'self'"],
        "img-src": ["'self'", "data:", *images],
        "form-action": ["'self'", *forms],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {' '.join(sources)}" for name, sources in policy.items()),
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def stylesheet(accent: str) -> str:
    """The style sheet, with the colour of buttons and links."""
    return _STYLE.replace("ACCENT", accent).replace("ON_IT", "#fff" if _is_dark(accent) else "#000")


def checked_colour(text: str) -> str:
    """A colour as a style sheet may have it.

    Raises:
        ValueError: it is none.
    """
    if not _COLOUR.fullmatch(text):
        raise ValueError(f"Pages: accent={text!r} is no colour; write it as #4338ca.")
    return text.lower()


def _is_dark(colour: str) -> bool:
    """Whether white stands out from a colour more than black does (WCAG 2.2, relative luminance)."""
    digits = colour[1:]
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    linear = []
    for place in (0, 2, 4):
        part = int(digits[place : place + 2], 16) / 255
        linear.append(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05


_STYLE: Final = """\
:root {
  color-scheme: light dark;
  --accent: ACCENT; --on-accent: ON_IT; --link: color-mix(in oklab, var(--accent), #000 30%);
  --page: #f5f5f4; --card: #fff; --text: #1c1917; --soft: #57534e; --line: #a8a29e; --edge: #e7e5e4;
  --bad: #b91c1c; --bad-back: #fef2f2; --good: #166534; --good-back: #f0fdf4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --link: color-mix(in oklab, var(--accent), #fff 55%);
    --page: #1c1917; --card: #292524; --text: #fafaf9; --soft: #d6d3d1; --line: #78716c; --edge: #44403c;
    --bad: #fca5a5; --bad-back: #450a0a; --good: #86efac; --good-back: #052e16;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: clamp(1rem, 6vh, 4rem) 1rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
main {
  max-width: 26rem; margin: 0 auto; padding: clamp(1.25rem, 5vw, 2.25rem); background: var(--card);
  border: 1px solid var(--edge); border-radius: 1rem; box-shadow: 0 1px 3px rgb(0 0 0 / .08);
}
.brand { display: flex; align-items: center; gap: .6rem; margin: 0 0 1.25rem; font-weight: 600; color: var(--soft); }
h1 { margin: 0 0 1.25rem; font-size: 1.6rem; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 0 0 .75rem; font-size: 1.1rem; }
p { margin: 0 0 1rem; }
section { margin-top: 1.75rem; padding-top: 1.5rem; border-top: 1px solid var(--edge); }
form, .field, .box { margin: 0 0 1rem; }
label { display: block; margin-bottom: .3rem; font-weight: 500; }
input:not([type=checkbox]) {
  width: 100%; min-height: 2.75rem; padding: .5rem .75rem; font: inherit; color: inherit; background: var(--card);
  border: 1px solid var(--line); border-radius: .5rem;
}
input[aria-invalid=true] { border: 2px solid var(--bad); }
.box { display: flex; gap: .6rem; align-items: center; flex-wrap: wrap; }
.box input { width: 1.25rem; height: 1.25rem; margin: 0; accent-color: var(--accent); }
.box label { margin: 0; }
button, .button {
  display: block; width: 100%; min-height: 2.75rem; padding: .55rem 1rem; font: inherit; font-weight: 600;
  text-align: center; text-decoration: none; border: 1px solid var(--line); border-radius: .5rem;
  background: transparent; color: var(--text); cursor: pointer;
}
button:hover, .button:hover { border-color: var(--text); }
button.primary, .button.primary { background: var(--accent); color: var(--on-accent); border-color: transparent; }
button.primary:hover, .button.primary:hover { filter: brightness(1.08); }
button.danger { color: var(--bad); border-color: var(--bad); }
button.small { display: inline-block; width: auto; min-height: 2.25rem; padding: .25rem .75rem; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
a { color: var(--link); }
.hint { margin: .3rem 0 0; font-size: .9rem; color: var(--soft); }
.error { margin: .3rem 0 0; color: var(--bad); font-weight: 500; flex-basis: 100%; }
.error::before { content: "\\26a0\\20" / ""; }
.alert, .notice { padding: .7rem .9rem; border-radius: .5rem; border-inline-start: 4px solid; }
.alert { color: var(--bad); background: var(--bad-back); }
.notice { color: var(--good); background: var(--good-back); }
.or { display: flex; align-items: center; gap: .75rem; color: var(--soft); }
.or::before, .or::after { content: ""; flex: 1; border-top: 1px solid var(--edge); }
.more { margin: 1.25rem 0 0; color: var(--soft); }
.rows { list-style: none; margin: 0 0 1rem; padding: 0; }
.rows li { display: flex; gap: 1rem; align-items: center; justify-content: space-between; padding: .6rem 0;
  border-bottom: 1px solid var(--edge); }
.rows li:last-child { border: 0; }
.rows li > span { white-space: nowrap; color: var(--soft); }
.rows form { margin: 0; flex: none; }
.rows p { margin: 0; }
code, pre { font: .95rem ui-monospace, monospace; }
pre { padding: .75rem; background: var(--page); border-radius: .5rem; white-space: pre-wrap; user-select: all; }
details { margin: 0 0 1rem; }
summary { cursor: pointer; font-weight: 500; padding: .35rem 0; }
.qr { width: 12rem; height: 12rem; margin: 0 auto 1rem; display: block; background: #fff; padding: .5rem; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
[hidden] { display: none !important; }
"""
