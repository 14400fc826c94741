"""Which pages may ask for things in the name of whoever sits before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yugen.auth.errors import AuthError
from yugen.origins import cross_site, origin_of, parse_origin, safe_redirect

if TYPE_CHECKING:
    from yugen.auth.requests import AuthRequest

LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")


def trusted_origins(request: AuthRequest) -> tuple[str, ...]:
    """The origins whose pages may ask: those of the deployment, those that the app names, and that of the page itself.

    Whoever works on an app has the server of its pages on another port of the same machine.
    """
    own = (request.base, request.ctx.env["CONVEX_SITE_URL"])
    trusted = [str(origin) for origin in map(origin_of, own) if origin is not None]
    page = parse_origin(request.http.headers.get("origin", ""))
    if request.ctx.env["YUGEN_ENVIRONMENT"] != "prod" and page is not None and page.host in LOCAL_HOSTS:
        trusted.append(str(page))
    return (*trusted, *request.auth.origins)


def safe_target(request: AuthRequest, target: str) -> str | None:
    """An address that a request names, if a browser can be sent there; None if not."""
    trusted = trusted_origins(request)
    page = origin_of(target)
    if request.ctx.env["YUGEN_ENVIRONMENT"] != "prod" and page is not None and page.host in LOCAL_HOSTS:
        trusted = (*trusted, str(page))  # also where the form was on a page of ours
    return safe_redirect(target, request.base, trusted)


def destination(request: AuthRequest, field: str) -> str | None:
    """Where a request says that a browser is to go afterwards, in one of its fields; None if it does not say.

    Raises:
        AuthError: that is neither with us nor with an origin that is trusted.
    """
    target = request.optional(field)
    if target is None:
        return None
    found = safe_target(request, target)
    if found is None:
        raise AuthError(
            "BadRedirect",
            f"`{field}` leads neither to this site nor to one it trusts; see `origins` of `Auth`.",
            field=field,
        )
    return found


def is_from_trusted_page(request: AuthRequest) -> bool:
    """Whether a request comes from a page of ours, of a trusted origin, or from no page at all (faults.md 31)."""
    return not cross_site(request.http.headers, str(request.http.base_url), trusted_origins(request))
