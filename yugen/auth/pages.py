"""The ready-made pages, and where those who have sent one of their forms come to."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from yugen.auth.parts import Part

if TYPE_CHECKING:
    from starlette.responses import Response

    from yugen.auth.errors import AuthError
    from yugen.auth.requests import AuthRequest


class Pages(Part):
    """Plain pages by which people sign in."""

    name = "pages"

    def done(self, request: AuthRequest, path: str, given: Mapping[str, Any]) -> Response:
        """Where somebody comes to whose form was taken."""
        from starlette.responses import RedirectResponse  # noqa: PLC0415 -- of those who have pages

        return RedirectResponse("/auth/account", 303)

    def failed(self, request: AuthRequest, path: str, error: AuthError) -> Response:
        """What somebody sees whose form was not taken."""
        from starlette.responses import HTMLResponse  # noqa: PLC0415 -- as above

        return HTMLResponse(f"<p>{escape(str(error))}</p>", int(error.data["status"]))
