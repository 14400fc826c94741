"""The Python client of Yugen, for any server that speaks Convex's sync protocol."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from yugen_client.async_client import AsyncClient
    from yugen_client.errors import (
        AuthenticationFailed,
        ClientClosed,
        ClientError,
        ConnectionLost,
        FunctionError,
        InvalidResult,
        InvalidValue,
        ProtocolError,
        ServerRefused,
        TooManyRequests,
        TransferFailed,
    )
    from yugen_client.frames import to_pandas, to_polars
    from yugen_client.local_store import LocalStore
    from yugen_client.pages import PagedResults, PaginatedSubscription
    from yugen_client.session import ConnectionState
    from yugen_client.subscriptions import Subscription, SubscriptionGroup
    from yugen_client.sync_client import Client, SyncPaginatedSubscription, SyncSubscription, SyncSubscriptionGroup
    from yugen_client.tokens import AdminAuth
    from yugen_client.values import Int64
    from yugen_client.version import __version__

_HOMES: Final = {
    "yugen_client.async_client": ("AsyncClient",),
    "yugen_client.errors": (
        "AuthenticationFailed",
        "ClientClosed",
        "ClientError",
        "ConnectionLost",
        "FunctionError",
        "InvalidResult",
        "InvalidValue",
        "ProtocolError",
        "ServerRefused",
        "TooManyRequests",
        "TransferFailed",
    ),
    "yugen_client.frames": ("to_pandas", "to_polars"),
    "yugen_client.local_store": ("LocalStore",),
    "yugen_client.pages": ("PagedResults", "PaginatedSubscription"),
    "yugen_client.session": ("ConnectionState",),
    "yugen_client.subscriptions": ("Subscription", "SubscriptionGroup"),
    "yugen_client.sync_client": ("Client", "SyncPaginatedSubscription", "SyncSubscription", "SyncSubscriptionGroup"),
    "yugen_client.tokens": ("AdminAuth",),
    "yugen_client.values": ("Int64",),
    "yugen_client.version": ("__version__",),
}
"""Where each name is defined. It is imported when it is first used, so that importing this package costs nothing."""

_HOME: Final = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AdminAuth",
    "AsyncClient",
    "AuthenticationFailed",
    "Client",
    "ClientClosed",
    "ClientError",
    "ConnectionLost",
    "ConnectionState",
    "FunctionError",
    "Int64",
    "InvalidResult",
    "InvalidValue",
    "LocalStore",
    "PagedResults",
    "PaginatedSubscription",
    "ProtocolError",
    "ServerRefused",
    "Subscription",
    "SubscriptionGroup",
    "SyncPaginatedSubscription",
    "SyncSubscription",
    "SyncSubscriptionGroup",
    "TooManyRequests",
    "TransferFailed",
    "__version__",
    "to_pandas",
    "to_polars",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
