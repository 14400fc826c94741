"""Mail to those who sign in, and who sends it."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Literal, Protocol

from yugen.auth import crypto
from yugen.functions.context import ActionCtx, MutationCtx
from yugen.functions.declare import internal_action
from yugen.functions.extensions import extension_of

logger = logging.getLogger("yugen.auth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A message.

    Attributes:
        to: the address.
        subject: its subject.
        text: what it says.
        html: the same as HTML, if there is any.
        key: a text that is the same each time this message is tried, for senders that send one with the same key once.
    """

    to: str
    subject: str
    text: str
    html: str | None = None
    key: str | None = None


class Sender(Protocol):
    """Sends mail."""

    async def send(self, mail: Mail) -> None:
        """Hands a message on. What it raises has it tried again later."""


class Console:
    """Shows mail in the log, for those who work on an app. It would give away secrets anywhere else."""

    async def send(self, mail: Mail) -> None:
        """Shows a message."""
        logger.warning("mail to %s: %s\n%s", mail.to, mail.subject, mail.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Smtp:
    """Sends mail by a server that takes it from us (RFC 6409).

    Args:
        host: its name.
        sender: from whom the mail is: `Tasks <no-reply@example.com>`.
        port: 587 for `starttls`, 465 for `tls`.
        user: the name to sign in with, if it wants one.
        password: the password.
        security: how the connection is kept from others; `none` for a server on this machine only.
        timeout: seconds until it is given up.
    """

    host: str
    sender: str
    port: int = 587
    user: str | None = None
    password: str | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    timeout: float = 30.0

    async def send(self, mail: Mail) -> None:
        """Hands a message to the server.

        Raises:
            OSError: it cannot be reached, or does not take it.
        """
        await asyncio.to_thread(self._send, mail)

    def _send(self, mail: Mail) -> None:
        import smtplib  # noqa: PLC0415 -- for those who send mail
        import ssl  # noqa: PLC0415 -- as above

        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, mail.to, mail.subject
        if mail.key is not None:
            # A message that comes twice, because its first answer was lost, can be told to be the same.
            message["Message-ID"] = f"<{re.sub('[^A-Za-z0-9]+', '-', mail.key)}@{self.host}>"
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Auto-Submitted"] = "auto-generated"  # so that nobody's holiday answers it (RFC 3834)
        message.set_content(mail.text)
        if mail.html is not None:
            message.add_alternative(mail.html, subtype="html")
        context = ssl.create_default_context()
        with (
            smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout, context=context)
            if self.security == "tls"
            else smtplib.SMTP(self.host, self.port, timeout=self.timeout)
        ) as server:
            if self.security == "starttls":
                server.starttls(context=context)
            if self.user is not None:
                server.login(self.user, self.password or "")
            server.send_message(message)


async def send(ctx: MutationCtx, mail: Mail | None) -> None:
    """Has a message sent once the transaction has committed, and again where that does not work.

    Args:
        ctx: the context of the transaction.
        mail: the message; None does as much without sending any, so that nobody can tell by the time it takes.
    """
    from yugen.functions.retry import Retry  # noqa: PLC0415 -- of those who send

    fields = None if mail is None else [mail.to, mail.subject, mail.text, mail.html]
    # What is to be sent waits in the database, and holds what opens an account.
    sealed = crypto.seal(ctx.env[crypto.SECRET_VARIABLE], "mail", fields)
    retry = Retry(attempts=6, first=2, factor=4)  # for some ten minutes, which is as long as codes are good
    await ctx.outbox.with_retry(retry).send(f"auth: mail {crypto.digest(sealed)[:32]}", deliver, sealed=sealed)


@internal_action
async def deliver(ctx: ActionCtx, sealed: str) -> None:
    """Sends a message that waits."""
    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    fields = crypto.unseal(ctx.env[crypto.SECRET_VARIABLE], "mail", sealed)
    if fields is None:
        return
    to, subject, text, html = fields
    sender = extension_of(ctx, Auth).sender
    if sender is None:
        if ctx.env["YUGEN_ENVIRONMENT"] == "prod":
            raise RuntimeError("there is nobody to send mail; write `Auth(..., sender=Smtp(...))` in auth.py")
        sender = Console()
    await sender.send(Mail(to=to, subject=subject, text=text, html=html, key=ctx.idempotency_key))
