"""A mail server on a socket, as far as sending to it goes (RFC 5321, 3207 and 4954)."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reliability.serving import SECONDS_MAX


@dataclass
class MailServer:
    """What a server is like, and what came.

    Attributes:
        certificate: for TLS, if it speaks that.
        implicit: whether TLS begins at once, rather than when the client says STARTTLS.
        login: the name and the password that it wants before anything else.
        refusals: how many messages it refuses for now.
        port: where it is.
        received: the messages, with from whom and to whom, and whether they came over TLS.
    """

    certificate: ssl.SSLContext | None = None
    implicit: bool = False
    login: tuple[str, str] | None = None
    refusals: int = 0
    port: int = 0
    received: list[tuple[str, str, EmailMessage, bool]] = field(default_factory=list)
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def came(self, count: int) -> None:
        """Waits until so many messages have come."""
        async with asyncio.timeout(SECONDS_MAX), self._more:
            await self._more.wait_for(lambda: len(self.received) >= count)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: str) -> None:
            writer.write(line.encode() + b"\r\n")
            await writer.drain()

        sender = to = ""
        is_secure, is_known = self.implicit, self.login is None
        await say("220 mail.test")
        try:
            while line := await reader.readline():
                verb, _, rest = line.decode().strip().partition(" ")
                verb = verb.upper()
                if verb == "EHLO":
                    offers = [] if is_secure or self.certificate is None else ["STARTTLS"]
                    offers += [] if self.login is None else ["AUTH PLAIN"]
                    for offer in ["mail.test", *offers]:
                        await say(f"250-{offer}")
                    await say("250 SIZE 1000000")
                elif verb == "STARTTLS" and self.certificate is not None:
                    await say("220 go on")
                    await writer.start_tls(self.certificate)
                    is_secure = True
                elif verb == "AUTH":
                    _, name, password = base64.b64decode(rest.split()[1]).decode().split("\0")
                    is_known = (name, password) == self.login
                    await say("235 welcome" if is_known else "535 no")
                elif verb == "MAIL":
                    sender = rest.partition("<")[2].partition(">")[0]
                    await say("250 ok" if is_known else "530 sign in first")
                elif verb == "RCPT":
                    to = rest.partition("<")[2].partition(">")[0]
                    await say("250 ok")
                elif verb == "DATA":
                    if self.refusals:
                        self.refusals -= 1
                        await say("451 busy, come back later")
                        continue
                    await say("354 go on")
                    lines = []
                    while (part := await reader.readline()) != b".\r\n":
                        lines.append(part.removeprefix(b"."))
                    message = message_from_bytes(b"".join(lines), policy=policy.default)
                    async with self._more:
                        self.received.append((sender, to, message, is_secure))
                        self._more.notify_all()
                    await say("250 taken")
                elif verb == "QUIT":
                    await say("221 bye")
                    break
                else:
                    await say("250 ok" if verb in ("RSET", "NOOP") else "502 no such thing")
        except (ConnectionError, ssl.SSLError):
            pass  # a client that did not like the certificate
        finally:
            writer.close()


@asynccontextmanager
async def listening(server: MailServer) -> AsyncIterator[MailServer]:
    """A server that listens."""
    secure = server.certificate if server.implicit else None
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=secure)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await listener.wait_closed()


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A certificate for this machine, which nobody else has signed, and the file by which clients may trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "certificate.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    return context, chain
