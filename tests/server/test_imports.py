"""Imports as the convex command line brings them in: parts of a file, an import, a confirmation."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette

from tests.engine import ask, change, encoded, value_of
from tests.server.peers import SECONDS_MAX, Bench, bench, until_blocked
from yugen.server import imports
from yugen.server.backend import Backend
from yugen.server.deployment import DeploymentApi
from yugen.server.http import Endpoints
from yugen.server.imports import Imports
from yugen.server.runs import Runs
from yugen.storage.interface import StorageError

ROWS = b'{"book": "a", "text": "x"}\n{"book": "a", "text": "y"}\n'


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


@pytest.fixture
async def client(notes: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async def backend() -> Backend:
        return notes.backend

    app = Starlette(routes=DeploymentApi(Endpoints(backend, requests_max=100), Runs()).routes())
    headers = {"Authorization": f"Convex {notes.admin_key.file.read_text().strip()}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://yugen/api", headers=headers
    ) as made:
        yield made


async def post(client: httpx.AsyncClient, path: str, body: Any) -> Any:
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def add_part(client: httpx.AsyncClient, token: str, content: bytes, number: int = 1) -> httpx.Response:
    params = {"uploadToken": token, "partNumber": str(number)}
    return await client.post("/import/upload_part", params=params, content=content)


async def upload(client: httpx.AsyncClient, *parts: bytes) -> tuple[str, list[str]]:
    token = (await client.post("/import/start_upload")).json()["uploadToken"]
    assert len(token) >= 40
    return token, [(await add_part(client, token, part, number)).json() for number, part in enumerate(parts, 1)]


async def finish(client: httpx.AsyncClient, token: str, parts: list[str], **wanted: str) -> httpx.Response:
    wanted = {"tableName": "notes", "format": "jsonLines", "mode": "requireEmpty"} | wanted
    body = {"import": wanted, "uploadToken": token, "partTokens": parts}
    return await client.post("/import/finish_upload", json=body)


async def uploaded(client: httpx.AsyncClient, *parts: bytes, **wanted: str) -> str:
    """The id of an import that has begun."""
    token, tokens = await upload(client, *parts)
    response = await finish(client, token, tokens, **wanted)
    assert response.status_code == 200, response.text
    return str(response.json()["importId"])


async def state(notes: Bench, import_id: str) -> Any:
    args = encoded(importId=import_id)
    return value_of(await notes.runtime.query("_system/cli/queryImport", args, public=False))["state"]


async def idle(imports: Imports) -> None:
    """Waits until nothing is done for any import any more."""
    async with asyncio.timeout(SECONDS_MAX):
        while imports._jobs:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def reached(notes: Bench, import_id: str) -> Any:
    """What has become of an import, once nothing is done for it any more."""
    await idle(notes.backend.imports)
    return await state(notes, import_id)


def files(notes: Bench) -> list[str]:
    folder = notes.deployment.imports
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*")) if folder.is_dir() else []


async def test_a_file_comes_in_parts_and_becomes_documents(notes: Bench, client: httpx.AsyncClient) -> None:
    import_id = await uploaded(client, ROWS[:10], ROWS[10:])
    waiting = await reached(notes, import_id)
    assert waiting["state"] == "waiting_for_confirmation"
    assert "notes | 2      | 0" in waiting["message_to_confirm"]
    assert await ask(notes.runtime, "notes:texts", book="a") == []
    [file] = notes.deployment.imports.iterdir()
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
    assert await post(client, "/perform_import", {"importId": import_id}) == {}
    assert (await state(notes, import_id))["state"] in ("in_progress", "completed")
    assert (await reached(notes, import_id))["state"] == "completed"
    assert await ask(notes.runtime, "notes:texts", book="a") == ["x", "y"]
    assert files(notes) == []


async def test_an_empty_file_has_no_parts(notes: Bench, client: httpx.AsyncClient) -> None:
    import_id = await uploaded(client)
    assert (await reached(notes, import_id))["state"] == "waiting_for_confirmation"


async def test_a_part_that_is_sent_again_counts_once(notes: Bench, client: httpx.AsyncClient) -> None:
    token, [lost, first] = await upload(client, ROWS[:10], ROWS[:10])
    second = (await add_part(client, token, ROWS[10:])).json()
    import_id = (await finish(client, token, [first, second])).json()["importId"]
    assert lost != first
    assert (await reached(notes, import_id))["state"] == "waiting_for_confirmation"


async def test_what_cannot_be_imported_fails_with_its_reason(notes: Bench, client: httpx.AsyncClient) -> None:
    import_id = await uploaded(client, ROWS + b"{")
    failed = await reached(notes, import_id)
    assert failed["state"] == "failed"
    assert failed["error_message"].startswith("row 3 is not valid JSON")
    assert failed["error_message"].endswith("\nNothing was imported.")
    assert files(notes) == []
    refused = await client.post("/perform_import", json={"importId": import_id})
    assert (refused.status_code, refused.json()["code"]) == (400, "ImportNotPossible")


async def test_what_changed_since_it_was_tried_out_counts(notes: Bench, client: httpx.AsyncClient) -> None:
    import_id = await uploaded(client, ROWS)
    assert (await reached(notes, import_id))["state"] == "waiting_for_confirmation"
    await change(notes.runtime, "notes:add", book="b", text="z")
    await post(client, "/perform_import", {"importId": import_id})
    assert "Table notes has documents already" in (await reached(notes, import_id))["error_message"]
    assert await ask(notes.runtime, "notes:texts", book="a") == []


async def test_one_can_be_canceled_until_it_is_done(notes: Bench, client: httpx.AsyncClient) -> None:
    import_id = await uploaded(client, ROWS)
    await reached(notes, import_id)
    assert await post(client, "/cancel_import", {"importId": import_id}) == {}
    assert "canceled" in (await state(notes, import_id))["error_message"]
    assert files(notes) == []
    assert (await client.post("/cancel_import", json={"importId": import_id})).status_code == 400


async def test_one_that_is_canceled_while_it_runs_leaves_nothing(notes: Bench, client: httpx.AsyncClient) -> None:
    import_id = await uploaded(client, ROWS)
    await reached(notes, import_id)
    await post(client, "/perform_import", {"importId": import_id})
    notes.probe.gate.clear()
    await until_blocked()
    canceling = asyncio.create_task(post(client, "/cancel_import", {"importId": import_id}))
    await until_blocked()
    notes.probe.gate.set()
    await asyncio.gather(canceling, return_exceptions=True)
    ended = await reached(notes, import_id)
    written = await ask(notes.runtime, "notes:texts", book="a")
    assert (ended["state"], written) in [("failed", []), ("completed", ["x", "y"])]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/import/start_upload", None),
        ("/import/upload_part", None),
        ("/import/finish_upload", {}),
        ("/perform_import", {}),
        ("/cancel_import", {}),
    ],
)
async def test_only_administrators_import(client: httpx.AsyncClient, path: str, body: Any) -> None:
    refused = await client.post(path, json=body, headers={"Authorization": "Convex yugen|wrong"})
    assert (refused.status_code, refused.json()["code"]) == (403, "BadDeployKey")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "BadJsonBody"),
        ({"uploadToken": "{token}", "partTokens": [7], "import": {"format": "csv", "mode": "append"}}, "BadJsonBody"),
        ({"uploadToken": "{token}", "partTokens": [], "import": {"format": "csv"}}, "BadJsonBody"),
        (
            {"uploadToken": "{token}", "partTokens": [], "import": {"format": "xml", "mode": "append"}},
            "ArgumentValidationError",
        ),
        (
            {"uploadToken": "{token}", "partTokens": [], "import": {"format": "csv", "mode": "mix"}},
            "ArgumentValidationError",
        ),
        (
            {
                "uploadToken": "{token}",
                "partTokens": ["../../admin_key"],
                "import": {"format": "csv", "mode": "append"},
            },
            "UploadNotFound",
        ),
        (
            {"uploadToken": "../x", "partTokens": [], "import": {"format": "csv", "mode": "append"}},
            "UploadNotFound",
        ),
        (
            {
                "uploadToken": "{token}",
                "partTokens": [],
                "import": {"format": "csv", "mode": "append", "componentPath": "billing"},
            },
            "ComponentNotFound",
        ),
    ],
)
async def test_what_nobody_should_send(
    notes: Bench, client: httpx.AsyncClient, body: dict[str, Any], code: str
) -> None:
    token, _ = await upload(client)
    if body.get("uploadToken") == "{token}":
        body = {**body, "uploadToken": token}
    refused = await client.post("/import/finish_upload", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, code)
    for path in ("/perform_import", "/cancel_import"):
        for wrong in ({}, {"importId": 7}, {"importId": "x"}):
            assert (await client.post(path, json=wrong)).status_code == 400
    assert not [name for name in files(notes) if name.startswith("file-")]


async def test_a_file_that_is_too_large_is_given_up(
    notes: Bench, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "UPLOAD_SIZE_MAX", 25)
    token, _ = await upload(client, bytes(20))
    refused = await add_part(client, token, bytes(6))
    assert (refused.status_code, refused.json()["code"]) == (400, "ImportTooLarge")
    assert (await add_part(client, token, b"")).json()["code"] == "UploadNotFound"
    assert files(notes) == []


async def test_the_oldest_of_too_many_uploads_is_given_up(
    notes: Bench, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "UPLOADS_MAX", 2)
    tokens = [(await upload(client, b"x"))[0] for _ in range(3)]
    assert (await add_part(client, tokens[0], b"x")).json()["code"] == "UploadNotFound"
    assert (await add_part(client, tokens[1], b"x")).status_code == 200
    assert len(list(notes.deployment.imports.iterdir())) == 2


async def test_a_disk_that_takes_nothing(notes: Bench, client: httpx.AsyncClient) -> None:
    token, [part] = await upload(client, b"x")
    for file in list(notes.deployment.imports.rglob("*/*")):
        file.unlink()
    next(notes.deployment.imports.iterdir()).rmdir()
    refused = await add_part(client, token, b"x")
    assert (refused.status_code, refused.json()["code"]) == (400, "UploadFailed")
    assert (await finish(client, token, [part])).json()["code"] == "UploadFailed"
    assert files(notes) == []


async def test_a_place_that_is_taken(notes: Bench, client: httpx.AsyncClient) -> None:
    notes.deployment.folder.write_text("in the way")
    refused = await client.post("/import/start_upload")
    assert (refused.status_code, refused.json()["code"]) == (400, "UploadFailed")


async def test_after_a_restart_only_files_that_are_waited_for_are_left(notes: Bench, client: httpx.AsyncClient) -> None:
    import_id = await uploaded(client, ROWS)
    await reached(notes, import_id)
    await upload(client, b"half a file")
    (notes.deployment.imports / "file-0123").write_text("forgotten")
    again = Imports(notes.runtime, notes.deployment)
    await again.start()
    assert len(files(notes)) == 1
    await again.perform(import_id)
    await idle(again)
    assert (await state(notes, import_id))["state"] == "completed"
    assert files(notes) == []


async def test_closing_gives_up_what_is_under_way(notes: Bench, client: httpx.AsyncClient) -> None:
    token, parts = await upload(client, ROWS)
    import_id = (await finish(client, token, parts)).json()["importId"]
    await notes.backend.imports.close()
    assert not notes.backend.imports._jobs
    again = Imports(notes.runtime, notes.deployment)
    await again.start()
    assert (await state(notes, import_id))["state"] in ("failed", "waiting_for_confirmation")


async def test_a_store_that_fails_fails_the_import(
    notes: Bench, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*args: object, **kwargs: object) -> None:
        raise StorageError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(notes.runtime, "query_once", broken)
        import_id = await uploaded(client, ROWS)
        await idle(notes.backend.imports)
    assert (await state(notes, import_id))["error_message"] == "the disk is gone\nNothing was imported."
    assert "an import has failed" in caplog.text  # its file could not be forgotten either
