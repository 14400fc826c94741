"""Which pages may ask for things in the name of whoever sits before them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from yugen.auth.errors import AuthError
from yugen.origins import safe_redirect

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


def destination(request: AuthRequest, field: str) -> str | None:
    """Where a request says that a browser is to go afterwards, in one of its fields; None if it does not say.

    Raises:
        AuthError: that is neither with us nor with an origin that is trusted.
    """
    target = request.optional(field)
    if target is None:
        return None
    trusted = list(request.auth.origins)
    origin = _origin_or_none(target)
    if origin is not None and is_trusted(request, origin):
        trusted.append(origin)  # also a page of the author's, who works on it on another port
    found = safe_redirect(target, origin_of(request.base), trusted)
    if found is None:
        raise AuthError(
            "BadRedirect",
            f"`{field}` leads neither to this site nor to one it trusts; see `origins` of `Auth`.",
            field=field,
        )
    return found


def _origin_or_none(target: str) -> str | None:
    try:
        return origin_of(target) if urlsplit(target).hostname else None
    except ValueError:
        return None


def origin_of(url: str) -> str:
    """The origin of an address as browsers write it."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    standard = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, standard) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
