from __future__ import annotations

import sys
from pathlib import Path

import httpx2 as httpx

from reliability.serving import ROOT, Process, serving
from tests.authenticator import Authenticator

KEYS = ROOT / "examples/keys"


async def test_the_program_of_the_guide(tmp_path: Path) -> None:
    async with serving(KEYS / "app", tmp_path / "data") as server:
        origin = f"http://localhost:{server.port}"
        async with httpx.AsyncClient(base_url=server.url, headers={"Origin": origin}) as browser:
            asked = (await browser.post("/auth/sign-up/passkey/options", json={"name": "Ada"})).json()
            made = Authenticator(origin).make(asked["options"])
            assert (await browser.post("/auth/sign-up/passkey", json={"credential": made})).status_code == 200
            asked_for = {"name": "Backups", "scopes": ["tasks:read"], "expiresIn": 90 * 86_400_000}
            key = (await browser.post("/auth/api-keys", json=asked_for)).json()["key"]
            token = (await browser.post("/auth/token")).json()["token"]

        async def add(credentials: str) -> httpx.Response:
            async with httpx.AsyncClient(headers={"Authorization": f"Bearer {credentials}"}) as client:
                call = {"path": "tasks:add", "args": {"title": "oil"}}
                return await client.post(f"{server.url}/api/mutation", json=call)

        env = {"YUGEN_URL": server.url, "TASKS_KEY": key}
        async with Process(sys.executable, KEYS / "backup.py", env=env) as program:
            await program.printed(r"^\[\]$")
            assert (await add(key)).json()["errorData"]["code"] == "ScopeMissing"
            await add(token)
            await program.printed(r"^\['oil'\]$")
