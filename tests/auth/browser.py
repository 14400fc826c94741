"""A browser of somebody who signs in to an app in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2 as httpx

from reliability import jar
from yugen.testing import Caller, TestApp

APP = Path(__file__).parent / "app"
ISSUER = "http://127.0.0.1:3210/http"


class Browser:
    """Somebody's browser: keeps cookies, and says from which page it asks."""

    def __init__(self, app: TestApp, origin: str | None = "http://test", *, address: str = "127.0.0.1") -> None:
        self.app = app
        self.headers: dict[str, str] = {} if origin is None else {"Origin": origin}
        self.jar: dict[str, str] = {}
        self.address = address

    async def ask(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        if self.jar:
            headers["Cookie"] = jar.header(self.jar)
        response = await self.app.fetch(f"/auth{path}", method=method, address=self.address, headers=headers, **options)
        jar.keep(self.jar, response)
        return response

    async def post(self, path: str, **fields: Any) -> httpx.Response:
        return await self.ask(path, "POST", json=fields)

    async def sign_in(self, name: str) -> dict[str, Any]:
        response = await self.post("/sign-in/name", name=name)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def caller(self) -> Caller:
        """Who calls functions with the token of this browser."""
        session = (await self.ask("/session")).json()
        return self.app.as_user(issuer=ISSUER, subject=session["user"]["id"], sid=session["session"]["id"])
