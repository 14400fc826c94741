"""Whether a server is well and whether it is to be sent clients, for those who start and those who send them.

Neither answer asks the database or the app for anything, so they cost the same whoever asks, however often and
whatever the server has to do. They are given before addresses are counted and hosts are checked: what balances load
asks by an address, and often.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from yugen import __version__
from yugen.server.http import JsonResponse, error_response
from yugen.server.yugen import Yugen

HEALTH: Final = "/health"
READY: Final = "/ready"


class Verdict(NamedTuple):
    """An answer: good, or a code and a sentence of what is not."""

    code: str = ""
    message: str = ""


def health(yugen: Yugen) -> Verdict:
    """Whether this process can go on. What is not well is mended by starting it again, and by nothing else."""
    if yugen.has_failed:
        return Verdict("StorageStopped", "This process can commit nothing any more and is to be started again.")
    return Verdict()


def readiness(yugen: Yugen) -> Verdict:
    """Whether clients are to be sent here."""
    if (verdict := health(yugen)).code:
        return verdict
    if yugen.is_draining:
        return Verdict("Draining", "This server is shutting down and takes no new clients.")
    if not yugen.is_serving:
        return Verdict("NotServing", yugen.obstacle or "This server is starting.")
    return Verdict()


class Health:
    """An ASGI app that answers `/health` and `/ready`, and leaves all else to another.

    Args:
        yugen: what is looked at.
        app: the other.
    """

    def __init__(self, yugen: Yugen, app: ASGIApp) -> None:
        self._answers = {HEALTH: health, READY: readiness}
        self._yugen = yugen
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            judge = self._answers.get(scope["path"].removeprefix(scope.get("root_path", "")))
            if judge is not None:
                code, message = judge(self._yugen)
                if code:
                    response = error_response(503, code, message)
                else:
                    response = JsonResponse(orjson.dumps({"status": "ok", "version": __version__}))
                response.headers["Cache-Control"] = "no-store"
                await response(scope, receive, send)
                return
        serving = self._app(scope, receive, send)
        del scope  # the headers of an idle connection would be some KiB
        await serving
