"""TLS: what is spoken, and a certificate that is renewed while the server runs."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
import uvloop
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate

from tests.apps import write_app
from tests.server.certificates import certified
from tests.server.peers import NOTES, SECONDS_MAX
from yugen.server.listen import Server
from yugen.server.tls import Certificate
from yugen.server.yugen import Yugen
from yugen_client import AsyncClient

HOST = "localhost"
COUNT = {"path": "notes:count", "args": {"book": "a"}}


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    certified(tmp_path, HOST)
    return Certificate(tmp_path / "certificate.pem", tmp_path / "key.pem")


@asynccontextmanager
async def listening(certificate: Certificate) -> AsyncIterator[int]:
    """Shakes hands with whoever comes; gives the port."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=certificate.context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def shown(port: int, trusted: ssl.SSLContext | None = None) -> bytes:
    """The certificate that a server shows, which must be good for those who trust something."""
    if trusted is None:
        trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(SECONDS_MAX):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted, server_hostname=HOST)
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
    return found


async def test_requests_and_sockets_come_over_tls(tmp_path: Path, certificate: Certificate) -> None:
    trusted = ssl.create_default_context(cafile=certificate.file)
    app = write_app(tmp_path, notes=NOTES)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with Yugen(app, database=tmp_path / "data", hsts_seconds=60) as yugen:
        ready = asyncio.Event()
        server = Server(yugen, ready.set, certificate=certificate)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await ready.wait()
        async with httpx.AsyncClient(verify=trusted, base_url=f"https://{HOST}:{port}") as client:
            response = await client.post("/api/query", json=COUNT)
            assert response.json() == {"status": "success", "value": 0.0}
            assert response.headers["strict-transport-security"] == "max-age=60"
            large = await client.post("/api/query", json=COUNT | {"args": {"book": "a" * 1_000_000}})
            assert large.json()["status"] == "success"
        # What is not TLS has no answer.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(SECONDS_MAX):
            assert b"HTTP" not in await reader.read()
        writer.close()
        server.should_exit = True
        async with asyncio.timeout(SECONDS_MAX):
            await serving


async def test_a_client_stays_subscribed_over_tls(
    tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    app = write_app(tmp_path, notes=NOTES)
    listener = socket.create_server(("127.0.0.1", 0))
    async with Yugen(app, database=tmp_path / "data") as yugen:
        ready = asyncio.Event()
        server = Server(yugen, ready.set, certificate=certificate)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await ready.wait()
        async with (
            asyncio.timeout(SECONDS_MAX),
            AsyncClient(f"https://{HOST}:{listener.getsockname()[1]}") as client,
        ):
            async for count in client.subscribe("notes:count", {"book": "a"}):
                if count == 3:
                    break
                await client.mutation("notes:add", {"book": "a", "text": "x" * 100_000})
        server.should_exit = True
        async with asyncio.timeout(SECONDS_MAX):
            await serving


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_present_versions_are_spoken(certificate: Certificate, version: ssl.TLSVersion) -> None:
    trusted = ssl.create_default_context(cafile=certificate.file)
    trusted.minimum_version = trusted.maximum_version = version
    async with listening(certificate) as port:
        assert await shown(port, trusted)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_older_ones_are_not(certificate: Certificate) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    async with listening(certificate) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await shown(port, old)


async def renewed(tmp_path: Path, certificate: Certificate, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "yugen.server.tls")
    (tmp_path / "new").mkdir(exist_ok=True)
    async with listening(certificate) as port:
        before = await shown(port)
        assert await shown(port) == before
        _, trusted = certified(tmp_path / "new", HOST)
        # Between the two files there is a moment at which they do not belong together.
        (tmp_path / "new" / "certificate.pem").replace(certificate.file)
        assert await shown(port) == before
        assert await shown(port) == before
        assert "cannot be renewed" in caplog.text
        assert len(caplog.records) == 1  # once, not with each handshake
        (tmp_path / "new" / "key.pem").replace(certificate.key)
        after = await shown(port, trusted)
        assert after != before
        certificate.key.unlink()
        assert await shown(port) == after


async def test_a_renewed_certificate_is_taken_up(
    tmp_path: Path, certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    await renewed(tmp_path, certificate, caplog)


def test_so_it_is_on_the_event_loop_that_serves(
    tmp_path: Path, certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    uvloop.run(renewed(tmp_path, certificate, caplog))


def test_what_cannot_be_used_is_said_at_once(tmp_path: Path, certificate: Certificate) -> None:
    (tmp_path / "other").mkdir()
    certified(tmp_path / "other", HOST)
    (tmp_path / "garbage.pem").write_text("garbage")
    secret = load_pem_private_key(certificate.key.read_bytes(), None)
    (tmp_path / "locked.pem").write_bytes(
        secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    )
    for file, key, why in (
        (certificate.file, tmp_path / "other" / "key.pem", "KEY_VALUES_MISMATCH"),
        (certificate.file, tmp_path / "missing.pem", "No such file"),
        (tmp_path / "garbage.pem", certificate.key, "PEM"),
        (certificate.file, tmp_path / "locked.pem", "the key has a password"),
    ):
        with pytest.raises(OSError, match=f"cannot be used with the key .*{why}.*--tls-cert and --tls-key"):
            Certificate(file, key)


async def test_those_who_watch_see_when_it_ends(certificate: Certificate, tmp_path: Path) -> None:
    yugen = Yugen(write_app(tmp_path, notes=NOTES), database=tmp_path / "data")
    Server(yugen, certificate=certificate)
    assert yugen.certificate_expires is not None
    ends = load_pem_x509_certificate((tmp_path / "certificate.pem").read_bytes()).not_valid_after_utc
    assert yugen.certificate_expires() == ends.timestamp() > time.time()
