"""Which pages may ask for things in the name of whoever sits before them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from yugen.auth.requests import AuthRequest


def is_trusted(request: AuthRequest, origin: str | None) -> bool:
    """Whether a request comes from a page of ours, of a trusted origin, or from no page at all.

    Args:
        request: the request.
        origin: its header `Origin`, which browsers send with all that can change anything, and scripts cannot set.
    """
    if origin is None:
        if request.http.headers.get("sec-fetch-site") in ("same-origin", "none"):
            return True
        return not request.has_cookies
    own = {
        origin_of(request.base),
        origin_of(request.ctx.env["CONVEX_SITE_URL"]),
        origin_of(str(request.http.base_url)),
    }
    if origin in own or origin in request.auth.origins:
        return True
    if request.ctx.env["YUGEN_ENVIRONMENT"] == "prod":
        return False
    # Whoever works on an app has the server of its pages on another port.
    host = urlsplit(origin).hostname or ""
    return host in ("localhost", "127.0.0.1", "::1") and origin == origin_of(origin)


def origin_of(url: str) -> str:
    """The origin of an address as browsers write it."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    standard = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, standard) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
