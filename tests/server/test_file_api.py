"""Sending and fetching files over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette

from tests.server.peers import Bench, bench
from yugen.functions.addresses import Upload
from yugen.server import file_api
from yugen.server.backend import Backend
from yugen.server.file_api import FileApi
from yugen.server.http import Endpoints

CONTENT = bytes(range(256)) * 4000
DIGEST = b64encode(hashlib.sha256(CONTENT).digest()).decode()
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made
        await made.files.close()


@pytest.fixture
async def client(notes: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async def backend() -> Backend:
        return notes.backend

    app = Starlette(routes=FileApi(Endpoints(backend, requests_max=100)).routes())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://yugen") as made:
        yield made


def upload_url(notes: Bench, *, now: float | None = None, **limits: Any) -> str:
    return notes.files.addresses.upload(Upload(**limits), time.time() * 1000 if now is None else now)


async def sent(notes: Bench, client: httpx.AsyncClient, content: bytes, kind: str | None = None) -> dict[str, Any]:
    """The record of a file that was sent."""
    headers = {} if kind is None else {"Content-Type": kind}
    answer = await client.post(upload_url(notes), content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    record = await notes.files.get(answer.json()["storageId"])
    assert record is not None
    return dict(record)


def stored(notes: Bench) -> list[Path]:
    folder = notes.deployment.folder / "files"
    return [path for path in folder.rglob("*") if path.is_file()]


def url_of(record: dict[str, Any]) -> str:
    return f"/api/storage/{record['uuid']}"


async def test_a_file_comes_back_as_it_was_sent(notes: Bench, client: httpx.AsyncClient) -> None:
    record = await sent(notes, client, CONTENT, "image/png")
    assert (record["sha256"], record["size"], record["contentType"]) == (DIGEST, len(CONTENT), "image/png")
    got = await client.get(url_of(record))
    assert got.content == CONTENT
    expected = {
        "content-type": "image/png",
        "content-length": str(len(CONTENT)),
        "digest": f"sha-256={DIGEST}",
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=2592000",
        "etag": ETAG,
        "x-content-type-options": "nosniff",
    }
    assert {name: got.headers.get(name) for name in expected} == expected
    head = await client.head(url_of(record))
    assert (head.status_code, head.content) == (200, b"")
    assert {name: head.headers.get(name) for name in expected} == expected


@pytest.mark.parametrize("size", [0, 1])
async def test_files_without_a_type_have_none(notes: Bench, client: httpx.AsyncClient, size: int) -> None:
    record = await sent(notes, client, CONTENT[:size])
    assert "contentType" not in record
    got = await client.get(url_of(record), headers={"Range": "bytes=0-"})
    assert (got.status_code, got.content) == (206 if size else 200, CONTENT[:size])
    assert "content-type" not in got.headers


async def test_ranges_and_conditions(notes: Bench, client: httpx.AsyncClient) -> None:
    url = url_of(await sent(notes, client, CONTENT, "video/mp4"))

    async def ask(**headers: str) -> httpx.Response:
        return await client.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})

    part = await ask(Range="bytes=300000-300009", If_Range=ETAG)
    assert (part.status_code, part.content) == (206, CONTENT[300000:300010])
    assert part.headers["content-range"] == f"bytes 300000-300009/{len(CONTENT)}"
    assert part.headers["content-length"] == "10"
    assert "digest" not in part.headers
    known = await ask(If_None_Match=ETAG)
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", ETAG)
    assert "content-length" not in known.headers
    for ranges in ("bytes=0-1,2-3", f"bytes={len(CONTENT)}-"):
        refused = await ask(Range=ranges)
        assert (refused.status_code, refused.content) == (416, b"")
        assert refused.headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert (await ask(If_Match='"other"')).status_code == 412
    assert (await ask(Range="bytes=9-1")).content == CONTENT


@pytest.mark.parametrize(
    ("kind", "active"),
    [
        ("text/html", True),
        ("TEXT/HTML; charset=utf-8", True),
        ("image/svg+xml", True),
        ("application/xhtml+xml", True),
        ("application/xml", True),
        ("text/xsl", True),
        ("image/png", False),
        ("application/pdf", False),
        ("text/plain; note=html", False),
        ("text/plain; charset=utf-8", False),
        ('video/mp4; codecs="avc1.42E01E, mp4a.40.2"', False),
        ("audio/webm;codecs=opus", False),
        # Browsers take the last of several types, and some take what they do not know for what it looks like.
        ("text/plain; a=b, text/html", True),
        ("text/plain;,text/html", True),
        ("image/png,text/html", True),
        ('text/plain; a="b, text/html', True),
        ("text/x-unknown", True),
        ("multipart/x-mixed-replace; boundary=b", True),
        ("message/rfc822", True),
        ("*/*", True),
        (" ", True),
    ],
)
async def test_what_may_have_scripts_is_confined(
    notes: Bench, client: httpx.AsyncClient, kind: str, active: bool
) -> None:
    got = await client.get(url_of(await sent(notes, client, b"<script>", kind)))
    assert (got.headers.get("content-disposition") == "attachment") == active
    assert ("sandbox" in got.headers.get("content-security-policy", "")) == active
    assert got.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "x",
        "..%2F..%2Fadmin_key",
        "%2e%2e/%2e%2e/admin_key",
        "%00",
        "a" * 3000,
        "00000000-0000-0000-0000-00000000000g",
        "00000000-0000-0000-0000-000000000000/../x",
    ],
)
async def test_what_is_no_address(client: httpx.AsyncClient, path: str) -> None:
    got = await client.get(f"/api/storage/{path}")
    assert (got.status_code, got.json()["code"]) == (400, "InvalidStoragePath")


async def test_an_id_is_no_address_and_a_deleted_file_has_none(notes: Bench, client: httpx.AsyncClient) -> None:
    record = await sent(notes, client, b"x")
    assert (await client.get(f"/api/storage/{record['_id']}")).status_code == 400
    missing = await client.get("/api/storage/00000000-0000-4000-8000-000000000000")
    assert (missing.status_code, missing.json()["code"]) == (404, "FileNotFound")
    private = notes.files.addresses.private(record["_id"], time.time() * 1000 + 60_000)
    assert (await client.get(private)).content == b"x"
    from tests.engine import encoded, value_of  # noqa: PLC0415

    answer = await notes.runtime.mutate("_system/files:delete", encoded(id=record["_id"]), public=False)
    assert value_of(answer.answer) is True
    for url in (url_of(record), private):
        assert (await client.get(url)).status_code == 404


async def test_tokens(notes: Bench, client: httpx.AsyncClient) -> None:
    """Forged, of something else, of another deployment, and too late."""
    record = await sent(notes, client, b"x")
    now = time.time() * 1000
    addresses = notes.files.addresses
    good, late = upload_url(notes), upload_url(notes, now=now - 3_600_001)
    private, expired = addresses.private(record["_id"], now + 60_000), addresses.private(record["_id"], now - 1)
    elsewhere = type(addresses)(bytes(range(32)), "http://yugen")
    token = private.partition("token=")[2]
    invalid = [
        f"{good[:-2]}{'A' if good[-2] != 'A' else 'B'}{good[-1]}",
        good.partition("=")[0] + "=",
        good.partition("?")[0],
        good.partition("=")[0] + "=" + token,  # of a private address
        good.partition("=")[0] + "=" + "x" * 5000,
        elsewhere.upload(Upload(), now),
    ]
    for url in invalid:
        got = await client.post(url, content=b"y")
        assert (got.status_code, got.json()["code"]) == (401, "StorageTokenInvalid"), url
    got = await client.post(late, content=b"y")
    assert (got.status_code, got.json()["code"]) == (401, "StorageTokenExpired")
    answer = await client.get(private)
    assert answer.content == b"x"
    assert 50 <= int(answer.headers["cache-control"].rpartition("=")[2]) <= 60
    assert (await client.get(expired)).json()["code"] == "StorageTokenExpired"
    for url in (f"{private[:-3]}AAA", elsewhere.private(record["_id"], now + 60_000)):
        assert (await client.get(url)).json()["code"] == "StorageTokenInvalid"
    assert len(stored(notes)) == 1


async def test_an_address_is_good_for_many_files_or_for_one(notes: Bench, client: httpx.AsyncClient) -> None:
    many, one = upload_url(notes), upload_url(notes, once="nonce")
    ids = {(await client.post(many, content=b"x")).json()["storageId"] for _ in range(3)}
    assert len(ids) == 3
    answers = await asyncio.gather(*(client.post(one, content=b"x") for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    again = await client.post(one, content=b"x")
    assert (again.status_code, again.json()["code"]) == (401, "StorageTokenUsed")
    assert len(stored(notes)) == 4


async def test_a_file_that_is_larger_than_its_address_allows(notes: Bench, client: httpx.AsyncClient) -> None:
    async def unsaid() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"xxx"

    url = upload_url(notes, size_max=10)
    assert (await client.post(url, content=b"x" * 10)).status_code == 200
    for content in (b"x" * 11, unsaid()):
        refused = await client.post(url, content=content)
        assert (refused.status_code, refused.json()["code"]) == (413, "FileTooLarge")
    assert len(stored(notes)) == 1


async def test_what_is_announced_must_come(notes: Bench, client: httpx.AsyncClient) -> None:
    url = upload_url(notes)
    right = await client.post(url, content=CONTENT, headers={"Digest": f"md5=x, SHA-256={DIGEST}"})
    assert right.status_code == 200
    wrong = await client.post(url, content=b"other", headers={"Digest": f"sha-256={DIGEST}"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "Sha256Mismatch")
    kind = await client.post(url, content=b"x", headers={"Content-Type": "x" * 256})
    assert (kind.status_code, kind.json()["code"]) == (400, "InvalidFile")
    assert len(stored(notes)) == 1


async def test_an_upload_that_ends_early_or_stalls_leaves_nothing(
    notes: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def backend() -> Backend:
        return notes.backend

    api = Starlette(routes=FileApi(Endpoints(backend, requests_max=100)).routes())
    monkeypatch.setattr(file_api, "STALL_SECONDS_MAX", 0.05)
    for ending, status in (({"type": "http.disconnect"}, 400), (None, 408)):
        messages: list[Any] = [{"type": "http.request", "body": bytes(2_000_000), "more_body": True}]
        answers: list[Any] = []

        async def receive(messages: list[Any] = messages, ending: Any = ending) -> Any:
            if messages:
                return messages.pop()
            return ending or await asyncio.get_running_loop().create_future()

        async def send(message: Any, answers: list[Any] = answers) -> None:
            answers.append(message)

        path, _, query = upload_url(notes).partition("?")
        scope = {
            "type": "http",
            "method": "POST",
            "path": path.removeprefix("http://127.0.0.1:3210"),
            "query_string": query.encode(),
            "headers": [],
        }
        await api(scope, receive, send)
        assert answers[0]["status"] == status
        assert stored(notes) == []


async def test_a_damaged_file_is_not_sent(
    notes: Bench, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    record = await sent(notes, client, CONTENT)
    [path] = stored(notes)
    path.write_bytes(CONTENT[:-1] + b"\x00")
    with pytest.raises(file_api.BrokenOff):
        await client.get(url_of(record))
    assert f"the file {record['_id']} cannot be sent: The bytes of the file" in caplog.text
    # From here on it is known.
    for headers in ({}, {"Range": "bytes=0-1"}):
        got = await client.get(url_of(record), headers=headers)
        assert (got.status_code, got.json()["code"]) == (500, "FileDamaged")


@pytest.mark.parametrize("how", ["other", "shorter", "gone"])
async def test_what_is_seen_to_be_damaged_at_once_is_said(notes: Bench, client: httpx.AsyncClient, how: str) -> None:
    record = await sent(notes, client, b"content")
    [path] = stored(notes)
    match how:
        case "other":
            path.write_bytes(b"another")
        case "shorter":
            path.write_bytes(b"cont")
        case _:
            path.unlink()
    got = await client.get(url_of(record))
    assert (got.status_code, got.json()["code"]) == (500, "FileDamaged")


async def test_a_disk_that_is_full(
    notes: Bench, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import errno  # noqa: PLC0415
    import os  # noqa: PLC0415

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        refused = await client.post(upload_url(notes), content=CONTENT)
    assert (refused.status_code, refused.json()["code"]) == (507, "StorageFull")
    assert "is full" in caplog.text
    assert stored(notes) == []
    assert (await client.post(upload_url(notes), content=CONTENT)).status_code == 200


async def test_a_reader_that_stalls_is_left(
    notes: Bench, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await sent(notes, client, CONTENT)

    async def backend() -> Backend:
        return notes.backend

    monkeypatch.setattr(file_api, "STALL_SECONDS_MAX", 0.05)
    api = FileApi(Endpoints(backend, requests_max=100))

    async def never(*_: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    scope = {"type": "http", "method": "GET", "path": url_of(record), "query_string": b"", "headers": []}
    with pytest.raises(file_api.BrokenOff, match="nobody has read"):
        await Starlette(routes=api.routes())(scope, never, never)
    assert notes.backend.files.readings == 0


async def test_only_so_many_are_on_their_way(
    notes: Bench, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await sent(notes, client, CONTENT)
    monkeypatch.setattr(file_api, "READINGS_MAX", 0)
    assert (await client.get(url_of(record))).status_code == 503
    assert (await client.head(url_of(record))).status_code == 200
