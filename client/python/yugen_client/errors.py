"""Everything this package raises on purpose.

ClientError
├── FunctionError           the function failed on the server
├── InvalidValue            a value has no form on the wire, or what came is not a value (also a ValueError)
├── InvalidResult           a result is not of the type that was asked for
├── TransferFailed          a file could not be sent or fetched
├── TooManyRequests         the client has too many calls without an answer already; nothing was sent
├── ConnectionLost          an action was running when the connection dropped
├── ClientClosed            the client was closed
├── AuthenticationFailed    the server refused the token, and there is no better one
├── ServerRefused           the server ended the session for good
└── ProtocolError           a message breaks the protocol; the client reconnects by itself
"""

from __future__ import annotations

from typing import Any

from yugen_client.absent import ABSENT


class ClientError(Exception):
    """Base of the errors of this package."""


class FunctionError(ClientError):
    """A query, mutation or action failed on the server.

    Attributes:
        message: What the server says. In production it is redacted, unless the function raised the error for you.
        data: What the function attached to the error (`YugenError` or `ConvexError`), else None.
        has_data: Whether anything was attached, since None itself can be.
    """

    def __init__(self, message: str, data: Any = ABSENT) -> None:
        super().__init__(message)
        self.message = message
        self.has_data = data is not ABSENT
        self.data = data if self.has_data else None


class InvalidValue(ClientError, ValueError):
    """A Python value that cannot be sent, or a received one that cannot be read."""


class InvalidResult(ClientError):
    """A function returned what is not of the type that the call asked for, or that the function declares."""


class TransferFailed(ClientError):
    """A file could not be sent or fetched.

    Attributes:
        status: The HTTP status that the server answered with; None if there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class TooManyRequests(ClientError):
    """So many mutations and actions of this client have no answer yet that one more is not taken. It was not sent."""


class ConnectionLost(ClientError):
    """The connection dropped while an action was running. The action may have run, in part or wholly."""


class ClientClosed(ClientError):
    """The client was closed. A mutation that was still waiting may have been committed or not."""


class AuthenticationFailed(ClientError):
    """The server refused the token, and `auth` gave no other one."""


class ServerRefused(ClientError):
    """The server ended the session and told this client not to come back."""


class ProtocolError(ClientError):
    """A message that the protocol does not allow at this point."""
