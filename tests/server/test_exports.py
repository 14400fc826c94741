"""Exports as they are asked for, made and sent."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx2 as httpx
import pytest
from starlette.applications import Starlette

from tests.engine import change, encoded, value_of
from tests.server.peers import SECONDS_MAX, Bench, bench, until_blocked
from yugen.runtime.own import CallRefused
from yugen.server.backend import Backend
from yugen.server.deployment import DeploymentApi
from yugen.server.exports import Exports
from yugen.server.http import Endpoints
from yugen.server.runs import Runs


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        await change(made.runtime, "notes:add", book="a", text="x")
        yield made


@pytest.fixture
async def client(notes: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async def backend() -> Backend:
        return notes.backend

    app = Starlette(routes=DeploymentApi(Endpoints(backend, requests_max=100), Runs()).routes())
    headers = {"Authorization": f"Convex {notes.admin_key.file.read_text().strip()}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://yugen/api/export", headers=headers
    ) as made:
        yield made


async def latest(notes: Bench) -> Any:
    return value_of(await notes.runtime.query("_system/cli/exports:getLatest", encoded(), public=False))


async def finished(notes: Bench) -> Any:
    """The newest export once it is made, or not."""
    async with asyncio.timeout(SECONDS_MAX):
        while notes.backend.exports._busy:  # noqa: ASYNC110
            await asyncio.sleep(0)
    return await latest(notes)


async def test_an_export_is_asked_for_and_fetched(notes: Bench, client: httpx.AsyncClient) -> None:
    assert (await client.post("/request/zip?includeStorage=false")).status_code == 200
    begun = await latest(notes)
    assert begun["state"] in ("in_progress", "completed")
    done = await finished(notes)
    assert (done["state"], done["start_ts"]) == ("completed", begun["start_ts"])
    sent = await client.get(f"/zip/{done['start_ts']}")
    assert sent.status_code == 200
    assert sent.headers["content-type"] == "application/zip"
    assert sent.headers["content-disposition"] == f"attachment; filename=snapshot_{done['start_ts']}.zip"
    assert len(sent.content) == done["size"]
    with ZipFile(io.BytesIO(sent.content)) as archive:
        assert b'"text":"x"' in archive.read("notes/documents.jsonl")


async def test_one_is_made_at_a_time(notes: Bench, client: httpx.AsyncClient) -> None:
    notes.probe.gate.clear()
    first = asyncio.create_task(client.post("/request/zip"))
    await until_blocked()
    refused = await client.post("/request/zip?includeStorage=true")
    assert (refused.status_code, refused.json()["code"]) == (400, "ExportInProgress")
    notes.probe.gate.set()
    assert (await first).status_code == 200
    await finished(notes)
    assert (await client.post("/request/zip?includeStorage=true")).status_code == 200
    assert (await finished(notes))["format"] == {"format": "zip", "include_storage": True}


async def test_only_administrators_get_at_them(notes: Bench, client: httpx.AsyncClient) -> None:
    await client.post("/request/zip")
    ts = (await finished(notes))["start_ts"]
    for headers in ({"Authorization": ""}, {"Authorization": "Convex yugen|wrong"}):
        assert (await client.post("/request/zip", headers=headers)).status_code in (400, 403)
        assert (await client.get(f"/zip/{ts}", headers=headers)).status_code in (400, 403)
    del client.headers["Authorization"]
    assert (await client.get(f"/zip/{ts}")).status_code == 403


async def test_one_that_is_not_there(client: httpx.AsyncClient) -> None:
    missing = await client.get("/zip/1234")
    assert (missing.status_code, missing.json()["code"]) == (400, "ExportNotFound")
    assert (await client.get("/zip/../../admin_key")).status_code == 404


async def test_one_that_fails_is_recorded_and_in_nobodys_way(
    notes: Bench, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    notes.deployment.folder.write_text("in the way")
    await client.post("/request/zip")
    assert (await finished(notes))["state"] == "failed"
    assert "has failed: [Errno 20] Not a directory" in caplog.text
    notes.deployment.folder.unlink()
    await client.post("/request/zip")
    assert (await finished(notes))["state"] == "completed"


async def test_what_is_left_of_an_earlier_server_is_cleared_away(notes: Bench) -> None:
    exports = notes.backend.exports
    await exports.request(include_storage=False)
    ts = (await finished(notes))["start_ts"]
    (notes.deployment.exports / f"{ts}.zip.0123.part").write_text("half")
    (notes.deployment.exports / "17.zip").write_text("forgotten")
    await exports.start()
    assert [file.name for file in notes.deployment.exports.iterdir()] == [f"{ts}.zip"]
    assert exports.find(ts)
    assert exports.find(17) is None


async def test_closing_gives_up_what_is_being_made(notes: Bench) -> None:
    exports = Exports(notes.runtime, notes.deployment)
    await exports.request(include_storage=False)
    notes.probe.gate.clear()
    await exports.close()
    notes.probe.gate.set()
    assert not exports._busy
    assert (await latest(notes))["state"] in ("in_progress", "completed")


async def test_a_request_that_cannot_be_noted_begins_nothing(notes: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*args: Any, **kwargs: Any) -> None:
        raise CallRefused("Nothing", "no")

    with monkeypatch.context() as patch:
        patch.setattr("yugen.server.exports.change", refuse)
        with pytest.raises(CallRefused, match="no"):
            await notes.backend.exports.request(include_storage=False)
    await notes.backend.exports.request(include_storage=False)
    assert (await finished(notes))["state"] == "completed"
