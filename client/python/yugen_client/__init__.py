"""The Python client of Yugen, for any server that speaks Convex's sync protocol."""

from yugen_client.async_client import AsyncClient, Subscription
from yugen_client.errors import (
    AuthenticationFailed,
    ClientClosed,
    ClientError,
    ConnectionLost,
    FunctionError,
    InvalidValue,
    ProtocolError,
    ServerRefused,
)
from yugen_client.session import ConnectionState
from yugen_client.sync_client import Client, SyncSubscription
from yugen_client.values import Int64
from yugen_client.version import __version__

__all__ = [
    "AsyncClient",
    "AuthenticationFailed",
    "Client",
    "ClientClosed",
    "ClientError",
    "ConnectionLost",
    "ConnectionState",
    "FunctionError",
    "Int64",
    "InvalidValue",
    "ProtocolError",
    "ServerRefused",
    "Subscription",
    "SyncSubscription",
    "__version__",
]
